"""What several families share: activations, heads split and merged, the walk through a stack of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from notebook_kit.errors import ConfigurationError, InputError, near_matches
from notebook_kit.nn.attention import record_attention, replayable

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_fast": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "linear": lambda x: x,
}


class OutputOptions(TypedDict, total=False):
    """What a model may be asked to return besides its result; None leaves it to the config."""

    output_attentions: bool | None
    output_hidden_states: bool | None


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation that a config names, such as `"gelu"`.

    Raises:
        ConfigurationError: If there is none of that name.
    """
    try:
        return ACTIVATIONS[name]
    except KeyError:
        raise ConfigurationError(
            f"There is no activation {name!r}. {near_matches(name, ACTIVATIONS)}".rstrip(),
            next_step=f"Use one of {', '.join(ACTIVATIONS)}.",
        ) from None


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`(batch, tokens, heads * head_dim)` to `(batch, heads, tokens, head_dim)`."""
    B, T, C = x.shape
    return x.view(B, T, heads, C // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """`(batch, heads, tokens, head_dim)` back to `(batch, tokens, heads * head_dim)`."""
    B, H, T, D = x.shape
    return x.transpose(1, 2).reshape(B, T, H * D)


def embed_tokens(table: nn.Embedding, input_ids: Tensor | None, inputs_embeds: Tensor | None = None) -> Tensor:
    """Look ids up in the vocabulary: `(batch, tokens)` to `(batch, tokens, width)`; or pass on what was looked up before.

    Raises:
        InputError: If an id is outside the vocabulary. (On a GPU the device itself stops the program.)
    """
    if inputs_embeds is not None or input_ids is None:
        assert inputs_embeds is not None
        return inputs_embeds
    try:
        return table(input_ids)
    except IndexError:
        low, high = int(input_ids.min()), int(input_ids.max())
        raise InputError(
            f"Token ids go from {low} to {high}, and this model's vocabulary has ids 0 to {table.num_embeddings - 1}.",
            next_step="Use the tokenizer of this very checkpoint; after add_tokens, call model.resize_token_embeddings(len(tokenizer)).",
        ) from None


def embed_segments(table: nn.Embedding, token_type_ids: Tensor | None) -> Tensor:
    """Look segments up: `(batch, tokens, width)`, or `(width,)` where all tokens are of the first.

    Raises:
        InputError: If there is no such segment. (On a GPU the device itself stops the program.)
    """
    if token_type_ids is None:
        return table.weight[0]
    try:
        return table(token_type_ids)
    except IndexError:
        low, high = int(token_type_ids.min()), int(token_type_ids.max())
        raise InputError(
            f"token_type_ids go from {low} to {high}, and this model has segments 0 to {table.num_embeddings - 1}.",
            next_step="Use the tokenizer of this very checkpoint, or leave token_type_ids out.",
        ) from None


def check_length(tokens: int, most: int) -> None:
    """Raise an InputError if a sequence has more tokens than the model has positions."""
    if tokens > most:
        raise InputError(
            f"The input has {tokens} tokens, and this model has positions for {most}.",
            next_step=f"Call the tokenizer with truncation=True, max_length={most}, or split the text.",
        )


def input_size(input_ids: Tensor | None, inputs_embeds: Tensor | None) -> tuple[int, int, torch.device]:
    """`(batch, tokens, device)` of whichever of the two was given.

    Raises:
        InputError: If neither or both were given, it is no tensor, or the shape is not that of a batch of tokens.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise InputError(
            "A model takes either input_ids or inputs_embeds; "
            + ("neither" if input_ids is None else "both")
            + " came.",
            next_step="Call model(**tokenizer(text, return_tensors='pt')).",
        )
    given = input_ids if input_ids is not None else inputs_embeds
    assert given is not None
    expected = 2 if input_ids is not None else 3
    name = "input_ids" if input_ids is not None else "inputs_embeds"
    if not isinstance(given, Tensor):
        raise InputError(
            f"{name} is a {type(given).__name__}, where a tensor was expected.",
            next_step="Call the tokenizer with return_tensors='pt', or wrap the numbers in torch.tensor(...).",
        )
    if given.dim() != expected:
        shape = "(batch, tokens)" if input_ids is not None else "(batch, tokens, width)"
        raise InputError(
            f"{name} has shape {tuple(given.shape)}, where {shape} was expected.",
            next_step="For a single sequence, add the batch dimension with unsqueeze(0), or let the tokenizer do it: return_tensors='pt'.",
        )
    if given.shape[1] == 0:
        raise InputError(
            f"{name} holds no tokens: its shape is {tuple(given.shape)}.", next_step="Leave empty inputs out."
        )
    return given.shape[0], given.shape[1], given.device


def positions_after_padding(input_ids: Tensor | None, inputs_embeds: Tensor | None, table: nn.Embedding) -> Tensor:
    """RoBERTa's positions: `padding_idx` for padding, and from `padding_idx + 1` on for what is none: `(batch or 1, tokens)`.

    With `inputs_embeds` nothing tells what is padding, so every place is counted.

    Raises:
        InputError: If there are more tokens than positions.
    """
    _, T, device = input_size(input_ids, inputs_embeds)
    padding = table.padding_idx
    assert padding is not None
    most = table.num_embeddings - padding - 1
    if input_ids is None:
        check_length(T, most)
        return torch.arange(padding + 1, padding + 1 + T, device=device)[None]
    token = input_ids.ne(padding).long()
    if most < T:  # padding takes no position
        check_length(int(token.sum(dim=1).max()), most)
    return token.cumsum(dim=1) * token + padding


def run_layers(
    owner: nn.Module,
    layers: Iterable[nn.Module],
    sites: Sequence[Any],
    hidden: Tensor,
    *inputs: Any,
    output_attentions: bool,
    output_hidden_states: bool,
) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
    """Send `hidden` through a stack, each layer called as `layer(hidden, *inputs, site)`.

    Args:
        owner: The module that holds `sites`; its `gradient_checkpointing` says whether activations are recomputed in the backward pass.
        layers: The layers, in order (ALBERT walks through the same one again and again).
        sites: One for each layer; where attentions are recorded by the caller, anything that a layer wants in its place.
        hidden: `(batch, tokens, width)`.
        *inputs: What every layer is given besides, such as the mask.
        output_attentions: Also return each layer's attention.
        output_hidden_states: Also return what went into the first layer and what came out of each.

    Returns:
        The last hidden state, all hidden states or None, all attentions or None.
    """
    states: list[Tensor] = [hidden]
    save_memory = getattr(owner, "gradient_checkpointing", False) and owner.training and torch.is_grad_enabled()
    recording = record_attention(owner, detach=False) if output_attentions else nullcontext()
    with recording as record:
        for layer, site in zip(layers, sites, strict=True):
            if save_memory:
                hidden = checkpoint(replayable(layer), hidden, *inputs, site, use_reentrant=False)
            else:
                hidden = layer(hidden, *inputs, site)
            if output_hidden_states:
                states.append(hidden)
    return hidden, tuple(states) if output_hidden_states else None, record.of(sites) if record is not None else None
