"""What encoder-decoder families share: labels moved on to the decoder's input, the encoder's states handed over, recording."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor, nn

from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.nn.attention import AttentionRecord, AttentionSite, record_attention
from notebook_kit.nn.outputs import BaseModelOutput, Seq2SeqModelOutput

if TYPE_CHECKING:
    from notebook_kit.configuration import PretrainedConfig
    from notebook_kit.nn.cache import KVCache

__all__ = [
    "DecoderOptions",
    "decoder_cache",
    "decoder_sites",
    "encoded",
    "end_of_text_states",
    "join_outputs",
    "recording",
    "shift_tokens_right",
]


class DecoderOptions(TypedDict, total=False):
    """What an encoder-decoder may be asked for besides its result; None leaves it to the config."""

    use_cache: bool | None
    output_attentions: bool | None
    output_hidden_states: bool | None


def shift_tokens_right(input_ids: Tensor, config: PretrainedConfig) -> Tensor:
    """The decoder's input for these labels: each token moves one place on, and the start token comes first.

    Args:
        input_ids: `(batch, tokens)`; -100, the mark of places that do not count, becomes padding.
        config: For its `decoder_start_token_id` and `pad_token_id`.

    Raises:
        ConfigurationError: If the config does not name both tokens.
    """
    start, pad = getattr(config, "decoder_start_token_id", None), config.pad_token_id
    if start is None or pad is None:
        missing = "decoder_start_token_id" if start is None else "pad_token_id"
        raise ConfigurationError(
            f"The decoder's input follows from the labels only where the config has a {missing}, and it has none.",
            next_step=f"Set model.config.{missing}, or pass decoder_input_ids.",
        )
    shifted = input_ids.new_full(input_ids.shape, start)
    shifted[:, 1:] = input_ids[:, :-1]
    return shifted.masked_fill_(shifted == -100, pad)


def encoded(encoder_outputs: Any) -> BaseModelOutput:
    """The encoder's output as an object, which callers may also give as a tuple or a dictionary."""
    if isinstance(encoder_outputs, BaseModelOutput):
        return encoder_outputs
    if isinstance(encoder_outputs, dict) or hasattr(encoder_outputs, "last_hidden_state"):
        names = ("last_hidden_state", "hidden_states", "attentions")
        get = encoder_outputs.get if isinstance(encoder_outputs, dict) else lambda n: getattr(encoder_outputs, n, None)
        return BaseModelOutput({name: get(name) for name in names})
    if not isinstance(encoder_outputs, tuple | list) or not encoder_outputs:
        raise InputError(
            f"encoder_outputs is a {type(encoder_outputs).__name__}, where the encoder's output was expected.",
            next_step="Pass encoder_outputs=model.get_encoder()(**inputs).",
        )
    return BaseModelOutput(zip(("last_hidden_state", "hidden_states", "attentions"), encoder_outputs, strict=False))


def decoder_cache(decoder: Any, past_key_values: KVCache | None, use_cache: bool | None) -> KVCache | None:
    """The cache that a decoder's call goes on with: the one that came, or a new one if one is wanted."""
    if past_key_values is not None:
        return past_key_values
    if (decoder.config.use_cache and not decoder.training) if use_cache is None else use_cache:
        from notebook_kit.nn.cache import KVCache

        return KVCache()
    return None


def decoder_sites(layers: int, heads: int, encoder: str = "text") -> list[tuple[AttentionSite, AttentionSite]]:
    """For each layer of a decoder, where it attends to itself and where to the encoder, whose axis is named `encoder`."""
    return [
        (
            AttentionSite(layer, heads, "decoder", rows="decoder text"),
            AttentionSite(layer, heads, "cross", columns=encoder),
        )
        for layer in range(layers)
    ]


@contextmanager
def recording(owner: nn.Module, wanted: bool) -> Iterator[AttentionRecord | None]:
    """Keep all attentions of `owner` with their gradients, if they are wanted."""
    if not wanted:
        yield None
        return
    with record_attention(owner, detach=False) as record:
        yield record


def join_outputs(decoder_output: Any, encoder_output: BaseModelOutput) -> Seq2SeqModelOutput:
    """One output of the two halves."""
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
        InputError: If a row has none, or the decoder was given something else than the encoder.
    """
    if states.shape[1] != input_ids.shape[1]:
        raise InputError(
            f"The decoder was given {states.shape[1]} tokens and the encoder {input_ids.shape[1]}.",
            next_step="Leave decoder_input_ids out: to classify a text, both halves read it.",
        )
    ends = input_ids.eq(config.eos_token_id)  # type: ignore[arg-type]
    if not bool(ends.any(dim=1).all()):
        raise InputError(
            f"A text has no end-of-text token (id {config.eos_token_id}), at which its prediction is read.",
            next_step="Call the tokenizer with add_special_tokens=True, and do not cut the ids afterwards.",
        )
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    last = torch.where(ends, places, -1).max(dim=1).values
    return states[torch.arange(len(states), device=states.device), last]
