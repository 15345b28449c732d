"""The results of `generate` with `return_dict_in_generate=True`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from notebook_kit.nn.outputs import ModelOutput

__all__ = [
    "GenerateBeamDecoderOnlyOutput",
    "GenerateBeamEncoderDecoderOutput",
    "GenerateDecoderOnlyOutput",
    "GenerateEncoderDecoderOutput",
]


class GenerateDecoderOnlyOutput(ModelOutput):
    """From a decoder, by greedy search, sampling or contrastive search. Step-by-step values have one entry per new token.

    Attributes:
        sequences: `(rows, tokens)`: prompt and continuation.
        scores: With `output_scores`: the scores after all rules, each `(rows, vocabulary)`.
        logits: With `output_logits`: the model's logits, of the same shape.
        attentions: With `output_attentions`: for each step a tuple over layers of `(rows, heads, new tokens, tokens so far)`.
        hidden_states: With `output_hidden_states`: for each step a tuple over layers of `(rows, new tokens, width)`.
        past_key_values: The cache of all tokens but the last: `generate(sequences, past_key_values=...)` continues from it.
    """

    sequences: Tensor = None  # type: ignore[assignment]
    scores: tuple[Tensor, ...] | None = None
    logits: tuple[Tensor, ...] | None = None
    attentions: tuple[Any, ...] | None = None
    hidden_states: tuple[Any, ...] | None = None
    past_key_values: Any = None


class GenerateEncoderDecoderOutput(ModelOutput):
    """Like `GenerateDecoderOnlyOutput`, from an encoder-decoder; the encoder's values have one row per input."""

    sequences: Tensor = None  # type: ignore[assignment]
    scores: tuple[Tensor, ...] | None = None
    logits: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Any, ...] | None = None
    cross_attentions: tuple[Any, ...] | None = None
    decoder_hidden_states: tuple[Any, ...] | None = None
    past_key_values: Any = None


class GenerateBeamDecoderOnlyOutput(ModelOutput):
    """Like `GenerateDecoderOnlyOutput`, by beam search. Step-by-step values have one row per beam.

    Attributes:
        sequences_scores: `(rows,)`: the sum of the tokens' log-probabilities, divided by `length ** length_penalty`.
        scores: Log-probabilities after all rules.
        beam_indices: `(rows, new tokens)`: the row of `scores` from which each token was chosen; -1 after a sequence's end.
    """

    sequences: Tensor = None  # type: ignore[assignment]
    sequences_scores: Tensor | None = None
    scores: tuple[Tensor, ...] | None = None
    logits: tuple[Tensor, ...] | None = None
    beam_indices: Tensor | None = None
    attentions: tuple[Any, ...] | None = None
    hidden_states: tuple[Any, ...] | None = None
    past_key_values: Any = None


class GenerateBeamEncoderDecoderOutput(ModelOutput):
    """Like `GenerateBeamDecoderOnlyOutput`, from an encoder-decoder; the encoder's values have one row per input."""

    sequences: Tensor = None  # type: ignore[assignment]
    sequences_scores: Tensor | None = None
    scores: tuple[Tensor, ...] | None = None
    logits: tuple[Tensor, ...] | None = None
    beam_indices: Tensor | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Any, ...] | None = None
    cross_attentions: tuple[Any, ...] | None = None
    decoder_hidden_states: tuple[Any, ...] | None = None
    past_key_values: Any = None
