"""Building blocks of decoders and encoder-decoders: decoder inputs from labels, the cache of a call, the joint output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor

from notebook_kit.errors import ConfigurationError, InputError, a_kind
from notebook_kit.nn.attention import AttentionSite
from notebook_kit.nn.cache import KVCache, as_cache
from notebook_kit.nn.outputs import BaseModelOutput, Seq2SeqModelOutput

if TYPE_CHECKING:
    from notebook_kit.configuration import PretrainedConfig

__all__ = [
    "DecoderOptions",
    "as_encoder_output",
    "check_decoder_input",
    "check_start",
    "decoder_cache",
    "decoder_sites",
    "end_of_text_states",
    "seq2seq_output",
    "shift_tokens_right",
]


class DecoderOptions(TypedDict, total=False):
    """What a decoder can return besides its result; None leaves it to the config."""

    use_cache: bool | None
    output_attentions: bool | None
    output_hidden_states: bool | None


def shift_tokens_right(input_ids: Tensor, config: PretrainedConfig) -> Tensor:
    """The decoder's input for these labels, `(batch, tokens)`: shifted one position to the right, after the start token.

    Args:
        input_ids: `(batch, tokens)`; ignored labels (-100) become padding.
        config: Provides `decoder_start_token_id` and `pad_token_id`.

    Raises:
        ConfigurationError: If the config lacks one of these tokens, or the vocabulary lacks the start token.
    """
    start, pad = getattr(config, "decoder_start_token_id", None), config.pad_token_id
    if start is None or pad is None:
        missing = "decoder_start_token_id" if start is None else "pad_token_id"
        raise ConfigurationError(
            f"The decoder's input cannot be derived from the labels: the config has no {missing}.",
            next_step=f"Set model.config.{missing}, or pass decoder_input_ids.",
        )
    check_start([start], config)
    first = torch.full_like(input_ids[:, :1], start)
    shifted = torch.cat([first, input_ids[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == -100, pad)


def check_start(starts: list[int], config: PretrainedConfig) -> None:
    """Check that the vocabulary has the tokens that decoded texts begin with.

    Args:
        starts: Token ids, one for all texts or one per text.
        config: Provides `vocab_size`, itself or in the configuration of its decoder.

    Raises:
        ConfigurationError: If an id is outside the vocabulary.

    Example:
        >>> from notebook_kit import WhisperConfig
        >>> check_start([50257], WhisperConfig(vocab_size=300))
        Traceback (most recent call last):
        notebook_kit.errors.ConfigurationError: The decoder's start token is 50257, and this model's vocabulary has ids 0 to 299.
        → Set decoder_start_token_id, in model.config and in model.generation_config, to the id of the token that ...
    """
    size = getattr(config.get_text_config(), "vocab_size", None)
    missing = next((start for start in starts if size is not None and not 0 <= start < size), None)
    if missing is not None:
        raise ConfigurationError(
            f"The decoder's start token is {missing}, and this model's vocabulary has ids 0 to {size - 1}.",  # type: ignore[operator]
            next_step="Set decoder_start_token_id, in model.config and in model.generation_config, to the id of the token that "
            "the decoder's texts begin with.",
        )


def check_decoder_input(input_ids: Tensor | None, inputs_embeds: Tensor | None, config: PretrainedConfig) -> None:
    """Check that a decoder whose input cannot be derived from the encoder's has exactly one.

    Args:
        input_ids: The call's `decoder_input_ids`, or those from its labels.
        inputs_embeds: The call's `decoder_inputs_embeds`.
        config: Provides `decoder_start_token_id` for the error, if it has one.

    Raises:
        InputError: If neither or both were passed.

    Example:
        >>> from notebook_kit import T5Config
        >>> check_decoder_input(torch.tensor([[0, 5]]), None, T5Config())
    """
    if input_ids is not None and inputs_embeds is not None:
        raise InputError(
            "The decoder takes either decoder_input_ids or decoder_inputs_embeds, and got both.",
            next_step="Leave one of them out.",
        )
    if input_ids is None and inputs_embeds is None:
        start = getattr(config, "decoder_start_token_id", None)
        begin = "" if start is None else f", beginning with {start}"
        raise InputError(
            "The decoder has no input: decoder_input_ids and decoder_inputs_embeds are both None.",
            next_step=f"Pass decoder_input_ids{begin}; a model with a head also takes labels, and its generate needs no "
            "decoder input.",
        )


def as_encoder_output(encoder_outputs: Any) -> BaseModelOutput:
    """The encoder's output as an object; callers may also pass a tuple or a dictionary.

    Raises:
        InputError: If it is none of these.
    """
    names = ("last_hidden_state", "hidden_states", "attentions")
    if isinstance(encoder_outputs, BaseModelOutput):
        return encoder_outputs
    if isinstance(encoder_outputs, dict):
        return BaseModelOutput({name: encoder_outputs.get(name) for name in names})
    if hasattr(encoder_outputs, "last_hidden_state"):
        return BaseModelOutput({name: getattr(encoder_outputs, name, None) for name in names})
    if isinstance(encoder_outputs, tuple | list) and encoder_outputs:
        return BaseModelOutput(zip(names, encoder_outputs, strict=False))
    raise InputError(
        f"encoder_outputs is {a_kind(encoder_outputs)}; expected the encoder's output.",
        next_step="Pass encoder_outputs=model.get_encoder()(**inputs).",
    )


def decoder_cache(decoder: Any, past_key_values: Any, use_cache: bool | None) -> KVCache | None:
    """The cache for a decoder's call: `past_key_values`, or else a new one if `use_cache` (by default the config) asks for it."""
    if past_key_values is not None:
        return as_cache(past_key_values)
    if (decoder.config.use_cache and not decoder.training) if use_cache is None else use_cache:
        return KVCache()
    return None


def decoder_sites(
    layers: int, heads: int, encoder: str = "text", alone: bool = False
) -> list[tuple[AttentionSite, AttentionSite]]:
    """For each layer, the sites of a decoder's self-attention and its cross-attention to the encoder axis named `encoder`.

    A decoder that is `alone` reads a text without an encoder, and does not use the second of each pair.
    """
    return [
        (
            AttentionSite(layer, heads, "decoder", rows="text" if alone else "decoder text"),
            AttentionSite(layer, heads, "cross", columns=encoder),
        )
        for layer in range(layers)
    ]


def seq2seq_output(decoder_output: Any, encoder_output: BaseModelOutput) -> Seq2SeqModelOutput:
    """One output from those of the decoder and the encoder."""
    return Seq2SeqModelOutput(
        last_hidden_state=decoder_output.last_hidden_state,
        past_key_values=decoder_output.past_key_values,
        decoder_hidden_states=decoder_output.hidden_states,
        decoder_attentions=decoder_output.attentions,
        cross_attentions=decoder_output.cross_attentions,
        encoder_last_hidden_state=encoder_output.last_hidden_state,
        encoder_hidden_states=encoder_output.hidden_states,
        encoder_attentions=encoder_output.attentions,
    )


def end_of_text_states(states: Tensor, input_ids: Tensor, config: PretrainedConfig) -> Tensor:
    """The state at each row's last end-of-text token: `(batch, width)`.

    Raises:
        InputError: If a row has no such token, or the decoder got a different number of tokens than the encoder.
    """
    if states.shape[1] != input_ids.shape[1]:
        raise InputError(
            f"The decoder got {states.shape[1]} tokens and the encoder {input_ids.shape[1]}.",
            next_step="Leave decoder_input_ids out: to classify a text, both halves read it.",
        )
    ends = input_ids.eq(config.eos_token_id)  # type: ignore[arg-type]
    if not ends.is_meta and not bool(ends.any(dim=1).all()):  # a graph is traced without values
        raise InputError(
            f"A text has no end-of-text token (id {config.eos_token_id}), from which its prediction is computed.",
            next_step="Call the tokenizer with add_special_tokens=True, and do not truncate the ids afterwards.",
        )
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    last = torch.where(ends, places, -1).max(dim=1).values
    return states[torch.arange(states.shape[0], device=states.device), last]
