"""The prompt of a generation: the caller's tensors, checked, and the encoder's output for an encoder-decoder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import ConfigurationError, InputError, a_kind, near_matches, warn
from notebook_kit.generation.configuration import REPLACED, GenerationConfig
from notebook_kit.generation.processors import as_ids
from notebook_kit.nn.cache import KVCache, as_cache
from notebook_kit.nn.encoder_decoder import check_start
from notebook_kit.nn.inputs import inputs_of
from notebook_kit.nn.many_rows import fast_products

__all__ = ["Prompt", "read_prompt"]

_OBJECTS = ("logits_processor", "stopping_criteria", "streamer", "generator")
_OF_DECODERS = ("attention_mask", "inputs_embeds", "past_key_values", "token_type_ids", "position_ids")
_OF_SEQ2SEQ = ("attention_mask", "encoder_outputs", "past_key_values", "decoder_input_ids", "decoder_attention_mask")


@dataclass
class Prompt:
    """The start of the sequences: one row per input.

    Attributes:
        ids: `(inputs, tokens)`: the first tokens of the sequences.
        mask: `(inputs, positions)`: 1 for a token, 0 for padding; None without padding.
        embeds: `(inputs, positions, width)`: vectors in place of ids for a decoder's first call.
        cache: The cache of an earlier call.
        encoder_outputs: The encoder's output; None for a decoder.
        encoder_mask: `(inputs, source tokens)`, or None.
        source_ids: `(inputs, tokens)`: the encoder's input or a decoder's prompt; None if that was not ids.
        more: Further inputs of the model's `forward`, by name.
    """

    ids: Tensor
    mask: Tensor | None = None
    embeds: Tensor | None = None
    cache: KVCache | None = None
    encoder_outputs: Any = None
    encoder_mask: Tensor | None = None
    source_ids: Tensor | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def hidden_positions(self) -> int:
        """The number of positions that have vectors in place of ids, so that the sequences do not contain them."""
        return 0 if self.embeds is None else self.embeds.shape[1] - self.ids.shape[1]


def read_prompt(
    model: Any, inputs: Tensor | None, config: GenerationConfig, eos: list[int], tensors: dict[str, Any]
) -> Prompt:
    """Check the inputs of a call, and run the encoder of an encoder-decoder.

    Args:
        model: The model.
        inputs: The first argument of `generate`.
        config: All settings.
        eos: The tokens that end a sequence.
        tensors: The call's tensors by name.

    Raises:
        InputError: For an unknown argument (with near matches), or inputs that are missing, duplicate or of a wrong kind.
        ConfigurationError: If no start token for the decoder is configured.
    """
    tensors = {name: value for name, value in tensors.items() if value is not None}
    if "input_ids" in tensors:
        if inputs is not None:
            raise InputError("The prompt came twice: as first argument and as input_ids.", next_step="Pass it once.")
        inputs = tensors.pop("input_ids")
    is_seq2seq = model.generation_kind == "encoder-decoder"
    is_float = isinstance(inputs, Tensor) and inputs.is_floating_point()
    is_signal = is_seq2seq and is_float  # its encoder may read samples or pixels
    is_ids = isinstance(inputs, Tensor) and inputs.dim() == 2 and not is_float
    if inputs is not None and not (is_ids or is_signal):
        what = f"of shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else a_kind(inputs)
        raise InputError(
            f"The prompt is {what}, where a tensor of token ids (batch, tokens) was expected.",
            next_step="Call model.generate(**tokenizer(text, return_tensors='pt')).",
        )
    if is_seq2seq:
        encoder = inputs_of(model.get_encoder()).names
        if "token_type_ids" not in encoder:
            tensors.pop("token_type_ids", None)  # some tokenizers add it
        known: tuple[str, ...] = (*_OF_SEQ2SEQ, *encoder)
    else:
        known = _OF_DECODERS  # position_ids follow from the mask, and decoders have no token types
    _check_names(model, tensors, known)
    for name, value in tensors.items():
        if name.endswith(("_ids", "_mask", "_embeds")) and not isinstance(value, Tensor):
            raise InputError(f"{name} is {a_kind(value)}.", next_step="Pass a tensor.")
        dimensions = 3 if name.endswith("_embeds") else 2
        if name in (*_OF_DECODERS, *_OF_SEQ2SEQ) and isinstance(value, Tensor) and value.dim() != dimensions:
            shape = "(batch, tokens, width)" if dimensions == 3 else "(batch, tokens)"
            raise InputError(f"{name} has shape {tuple(value.shape)}.", next_step=f"Pass a tensor {shape}.")
    tensors["past_key_values"] = as_cache(tensors.get("past_key_values"))
    inputs = None if inputs is None else inputs.to(model.device)
    tensors = {name: value.to(model.device) if isinstance(value, Tensor) else value for name, value in tensors.items()}
    more = {name: value for name, value in tensors.items() if name not in known}
    read = _read_encoder_decoder if is_seq2seq else _read_decoder
    return read(model, inputs, config, eos, tensors, more)


def _check_names(model: Any, names: Iterable[str], known: tuple[str, ...]) -> None:
    """Check that each name is `known`, or a parameter of the model's `forward`.

    Raises:
        InputError: For a name that is neither, with near matches, or what to use instead.
    """
    inputs = inputs_of(model)
    for name in names:
        if name in known or (name in inputs.names and name not in inputs.labels):
            continue
        hint = near_matches(name, [*GenerationConfig.names(), *known, *inputs.names, *_OBJECTS])
        step = "Correct the name, or leave it out; help(model.generate) lists all arguments."
        if name in REPLACED:
            hint, step = "", REPLACED[name]
        raise InputError(
            f"generate has no argument {name!r} for {type(model).__name__}. {hint}".rstrip(), next_step=step
        )


def _read_decoder(
    model: Any,
    inputs: Tensor | None,
    config: GenerationConfig,
    eos: list[int],
    tensors: dict[str, Any],
    more: dict[str, Any],
) -> Prompt:
    embeds, cache, mask = (tensors.get(name) for name in ("inputs_embeds", "past_key_values", "attention_mask"))
    if embeds is not None and embeds.shape[-1] != (width := model.get_input_embeddings().embedding_dim):
        raise InputError(
            f"inputs_embeds have a width of {embeds.shape[-1]}, and the model one of {width}.",
            next_step="Compute them with model.get_input_embeddings()(input_ids).",
        )
    if inputs is None and embeds is not None:
        inputs = torch.empty(embeds.shape[0], 0, dtype=torch.long, device=model.device)
    elif inputs is None:
        if config.bos_token_id is None:
            raise InputError("There is no prompt.", next_step="Pass input_ids, or a bos_token_id to start from.")
        inputs = torch.full((1, 1), config.bos_token_id, dtype=torch.long, device=model.device)
    B, T = inputs.shape
    if T == 0 and embeds is None:
        raise InputError("The prompt contains no tokens.", next_step="Pass at least the tokenizer's bos token.")
    if embeds is not None and not config.use_cache:
        raise InputError("inputs_embeds need the cache.", next_step="Leave use_cache=True with inputs_embeds.")
    if cache is not None and cache.length >= T and embeds is None:
        raise InputError(
            f"past_key_values hold {cache.length} tokens, and the prompt has {T}: no new token is left to read.",
            next_step="Pass the whole text that begins with the cached tokens.",
        )
    if mask is None and embeds is None:
        mask = _mask_of(inputs, config.pad_token_id, eos)
    if mask is not None:
        expected = T if embeds is None else embeds.shape[1]
        if mask.shape != (B, expected):
            raise InputError(
                f"attention_mask has shape {tuple(mask.shape)}, and the prompt has {B} x {expected} tokens.",
                next_step="Pass all of the tokenizer's output: model.generate(**batch).",
            )
        if not bool(mask[:, -1].all()):
            warn(
                "Some prompts are padded on the right, so the new tokens follow padding. Create the tokenizer with "
                'padding_side="left".'
            )
    return Prompt(inputs, mask=mask, embeds=embeds, cache=cache, source_ids=inputs if T else None, more=more)


def _read_encoder_decoder(
    model: Any,
    inputs: Tensor | None,
    config: GenerationConfig,
    eos: list[int],
    tensors: dict[str, Any],
    more: dict[str, Any],
) -> Prompt:
    encoder = model.get_encoder()
    accepted = inputs_of(encoder)
    encoded, mask = tensors.get("encoder_outputs"), tensors.get("attention_mask")
    ids = inputs if inputs is not None and not inputs.is_floating_point() else None
    if mask is None and ids is not None:
        mask = _mask_of(ids, config.pad_token_id, eos)
    if mask is not None and mask.device.type == "cpu" and bool(mask.all()):
        mask = None
    if encoded is None:
        call = {name: value for name, value in tensors.items() if name in accepted.names and name != "attention_mask"}
        if inputs is not None:
            call[accepted.main] = inputs
        if not call:
            raise InputError(f"The encoder of {type(model).__name__} has no input.", next_step=f"Pass {accepted.main}.")
        if "attention_mask" in accepted.names:
            call["attention_mask"] = mask
        if config.return_dict_in_generate:
            call |= {name: True for name in ("output_attentions", "output_hidden_states") if getattr(config, name)}
        with fast_products(encoder, (), call):
            encoded = encoder(**call)
    starts = as_ids(config.decoder_start_token_id if config.decoder_start_token_id is not None else config.bos_token_id)
    start_ids: Any = tensors.get("decoder_input_ids")
    start_mask = tensors.get("decoder_attention_mask")
    if not starts and start_ids is None:
        raise ConfigurationError(
            "The generation config has no start token for the decoder.",
            next_step="Pass decoder_start_token_id (T5 and Marian start with the padding token).",
        )
    if start_ids is None:
        check_start(starts, model.config)
    states = encoded[0]
    if len(starts) not in (0, 1, len(states)):
        raise InputError(
            f"decoder_start_token_id has {len(starts)} tokens for {len(states)} inputs.",
            next_step="Pass one token, or one per input.",
        )
    first = torch.tensor(starts, device=states.device)[:, None].expand(len(states), 1) if starts else None
    if start_ids is None:
        start_ids = first
    elif first is not None and not model.prompt_is_complete and bool((start_ids[:, :1] != first).all()):
        start_ids = torch.cat([first, start_ids], dim=1)
        if start_mask is not None:
            start_mask = torch.cat([torch.ones_like(start_mask[:, :1]), start_mask], dim=1)
    return Prompt(
        start_ids,
        mask=start_mask,
        cache=tensors.get("past_key_values"),
        encoder_outputs=encoded,
        encoder_mask=mask,
        source_ids=ids,
        more=more,
    )


def _mask_of(ids: Tensor, pad: int | None, eos: list[int]) -> Tensor | None:
    """Infer the mask from the padding token, unless that token also ends sequences."""
    if pad is None or pad in eos or not bool((ids == pad).any()):
        return None
    return (ids != pad).long()
