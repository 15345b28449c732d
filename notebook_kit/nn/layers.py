"""Building blocks of several families: activations, embeddings, relative positions, the loop over a stack of layers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from notebook_kit.errors import ConfigurationError, InputError, a_kind, near_matches
from notebook_kit.nn.attention import AttentionRecord, record_attention, replayable
from notebook_kit.nn.diagnosis import as_tensors
from notebook_kit.nn.few_rows import KINDS, here, is_bare, is_ordinary_call, is_plain
from notebook_kit.nn.many_rows import fast_products, fused_product, layer_product
from notebook_kit.nn.rows import rows_for, rows_of_scores


def gelu_tanh(x: Tensor) -> Tensor:
    """The approximation of GELU by tanh."""
    return F.gelu(x, approximate="tanh")


def quick_gelu(x: Tensor) -> Tensor:
    """The approximation of GELU by a sigmoid, as in CLIP."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "linear": lambda x: x,
}

FEW = 1 << 13
"""Up to so many numbers, as in a step of generation, torch's own kernel for GELU takes a third of the time of oneDNN's, which torch
calls for numbers that lie in memory in their order: 13 instead of 40 microseconds."""

# By `id`, as some callables cannot be hashed: what oneDNN computes with a product, as torch does. (Its ReLU of NaN is 0, which would
# hide that a model has diverged.)
_FUSED = {id(F.gelu): ("gelu", "none"), id(gelu_tanh): ("gelu", "tanh")}
_IN_PLACE: dict[int, Callable[[Tensor], Tensor]] = {
    id(F.relu): torch.relu_,
    id(F.silu): lambda x: F.silu(x, inplace=True),
    id(quick_gelu): lambda x: x.mul_((1.702 * x).sigmoid_()),
}
_OF_INT8 = _IN_PLACE | {
    id(F.gelu): lambda x: torch.ops.aten.gelu_(_turned(x)),
    id(gelu_tanh): lambda x: torch.ops.aten.gelu_(x, approximate="tanh"),
}


class OutputOptions(TypedDict, total=False):
    """What a model can return besides its result; None leaves it to the config."""

    output_attentions: bool | None
    output_hidden_states: bool | None


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation function with a config's name for it, such as `"gelu"`.

    Raises:
        ConfigurationError: If the name is unknown.
    """
    try:
        return ACTIVATIONS[name]
    except KeyError:
        raise ConfigurationError(
            f"Unknown activation {name!r}. {near_matches(name, ACTIVATIONS)}".rstrip(),
            next_step=f"Use one of {', '.join(ACTIVATIONS)}.",
        ) from None


def activated(layer: nn.Module, activation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`activation(layer(x))`, in one operation or in place, where models compute with `many_rows.FastProducts` or 8-bit weights.

    With a hook on the layer, and everywhere else, both are called. GELU of infinity may be NaN.

    Args:
        layer: The first linear layer of a feed-forward block, or any other layer.
        activation: From `activation`, or any other function or module.
        x: `(..., in)`.

    Example:
        >>> from notebook_kit.nn.many_rows import FastProducts
        >>> layer, gelu, x = nn.Linear(512, 512), activation("gelu"), torch.ones(64, 512)
        >>> with torch.no_grad(), FastProducts():
        ...     fast = activated(layer, gelu, x)
        >>> torch.allclose(fast, gelu(layer(x)), atol=1e-5)
        True
    """
    if torch.compiler.is_compiling():
        return activation(layer(x))
    # Of the class itself: one derived from it may have another `forward`.
    if (of_int8 := vars(type(layer)).get("activated_in_place")) is not None:
        finish = _OF_INT8.get(id(activation))
        if finish is not None and x.dtype == torch.float32 and is_bare(layer) and is_ordinary_call():
            return of_int8(layer, x, finish)
    if not getattr(here, "fast", False):
        return _applied(activation, layer(x))
    if (post := _FUSED.get(id(activation))) is not None and _is_equal(activation, post):
        out = layer_product(layer, x, post)
        return _applied(activation, layer(x)) if out is None else out
    if (in_place := _IN_PLACE.get(id(activation))) is not None and (out := layer_product(layer, x)) is not None:
        return in_place(out)
    return activation(layer(x))


def _applied(activation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if activation is not F.gelu or (turned := _turned(x)) is x:
        return activation(x)
    return F.gelu(turned).t().view(x.shape)


def _turned(x: Tensor) -> Tensor:
    """A view of few numbers, for which torch does not call oneDNN; others unchanged."""
    if not (is_ordinary_call() and x.dtype in KINDS and is_plain(x, x.dtype) and x.is_contiguous()):
        return x
    count = x.numel()
    return x.view(2, -1).t() if 0 < count <= FEW and not count % 2 else x


@functools.cache
def _is_equal(activation: Callable[[Tensor], Tensor], post: tuple[str, str]) -> bool:
    """Whether the activations of this processor's fused products are those of torch, up to rounding."""
    with torch.inference_mode():
        x = torch.linspace(-20, 20, 512 * 16, dtype=torch.float32, device="cpu").view(512, 16)
        x[0], x[1] = torch.nan, 0
        try:
            found = fused_product(x, torch.eye(16, dtype=torch.float32, device="cpu"), None, post)
        except (AttributeError, RuntimeError, TypeError):  # not in this build of torch
            return False
        return torch.allclose(found, activation(x), rtol=1e-6, atol=1e-6, equal_nan=True)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`(batch, tokens, heads * head_dim)` to `(batch, heads, tokens, head_dim)`."""
    B, T, C = x.shape
    return x.view(B, T, heads, C // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """`(batch, heads, tokens, head_dim)` back to `(batch, tokens, heads * head_dim)`."""
    B, H, T, D = x.shape
    return x.transpose(1, 2).reshape(B, T, H * D)


def apply_dropout(dropout: nn.Dropout, x: Tensor) -> Tensor:
    """`dropout(x)`, skipped outside training: 24 calls per token would take 2 % of the time for generation."""
    return dropout(x) if dropout.training else x


class DropPath(nn.Module):
    """Stochastic depth: in training, leaves out a residual branch for some examples of a batch.

    Args:
        rate: The probability; the examples that remain are scaled to keep the mean.

    Source: Huang et al., Deep Networks with Stochastic Depth, 2016.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.rate or not self.training:
            return x
        return x * F.dropout(x.new_ones(x.shape[0], *(1,) * (x.dim() - 1)), self.rate)


def stochastic_depths(rate: float, layers: int) -> list[float]:
    """The rate of `DropPath` for each layer: it grows evenly from 0 to `rate`.

    Example:
        >>> stochastic_depths(0.2, 3)
        [0.0, 0.1, 0.2]
    """
    return [rate * layer / max(layers - 1, 1) for layer in range(layers)]


def token_table(rows: int, width: int, padding: int | None) -> nn.Embedding:
    """Token embeddings; the row of the padding token, if the vocabulary has it, is not trained."""
    return nn.Embedding(rows, width, padding_idx=padding if padding is not None and -rows <= padding < rows else None)


def embed_tokens(table: nn.Embedding, input_ids: Tensor | None, inputs_embeds: Tensor | None = None) -> Tensor:
    """Token embeddings, `(batch, tokens, width)`: those of `input_ids` `(batch, tokens)`, or `inputs_embeds` unchanged.

    Raises:
        InputError: If an id is outside the vocabulary. (On a GPU, PyTorch aborts with a device-side assertion instead.)
    """
    if inputs_embeds is not None:
        return inputs_embeds
    assert input_ids is not None
    try:
        return table(input_ids)
    except IndexError:
        low, high = int(input_ids.min()), int(input_ids.max())
        raise InputError(
            f"Token ids go from {low} to {high}, and this model's vocabulary has ids 0 to {table.num_embeddings - 1}.",
            next_step="Use this checkpoint's own tokenizer; after add_tokens, call model.resize_token_embeddings(len(tokenizer)).",
        ) from None


def embed_segments(table: nn.Embedding, token_type_ids: Tensor | None) -> Tensor:
    """Segment embeddings, `(batch, tokens, width)`; without `token_type_ids` that of the first segment, `(width,)`.

    Raises:
        InputError: If a segment does not exist. (On a GPU, PyTorch aborts with a device-side assertion instead.)
    """
    if token_type_ids is None:
        return table.weight[0]
    try:
        return table(token_type_ids)
    except IndexError:
        low, high = int(token_type_ids.min()), int(token_type_ids.max())
        raise InputError(
            f"token_type_ids go from {low} to {high}, and this model has segments 0 to {table.num_embeddings - 1}.",
            next_step="Use this checkpoint's own tokenizer, or leave token_type_ids out.",
        ) from None


def check_length(tokens: int, limit: int) -> None:
    """Raise an InputError if a sequence has more tokens than the model has positions."""
    if tokens > limit:
        raise InputError(
            f"The input has {tokens} tokens, and this model has positions for {limit}.",
            next_step=f"Call the tokenizer with truncation=True, max_length={limit}, or split the text.",
        )


def input_size(input_ids: Tensor | None, inputs_embeds: Tensor | None) -> tuple[int, int, torch.device]:
    """`(batch, tokens, device)` of whichever input was passed.

    Raises:
        InputError: If neither or both were passed, the input is not a tensor, or its shape is not that of a batch of tokens.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise InputError(
            "A model takes either input_ids or inputs_embeds, and got "
            + ("neither." if input_ids is None else "both."),
            next_step="Call model(**tokenizer(text, return_tensors='pt')).",
        )
    given, name, axes = (
        (inputs_embeds, "inputs_embeds", "(batch, tokens, width)")
        if input_ids is None
        else (input_ids, "input_ids", "(batch, tokens)")
    )
    if not isinstance(given, Tensor):
        raise InputError(f"{name} is {a_kind(given)}; expected a tensor.", next_step=as_tensors(given))
    if given.dim() != axes.count(",") + 1:
        raise InputError(
            f"{name} has shape {tuple(given.shape)}; expected {axes}.",
            next_step="For a single sequence, add the batch dimension with unsqueeze(0), or let the tokenizer do it: return_tensors='pt'.",
        )
    if given.shape[1] == 0:
        raise InputError(
            f"{name} contains no tokens: its shape is {tuple(given.shape)}.", next_step="Leave empty inputs out."
        )
    return given.shape[0], given.shape[1], given.device


def positions_after_padding(input_ids: Tensor | None, inputs_embeds: Tensor | None, table: nn.Embedding) -> Tensor:
    """RoBERTa's positions, `(batch or 1, tokens)`: `padding_idx` for padding; tokens count up from `padding_idx + 1`.

    Padding cannot be recognized in `inputs_embeds`, so there every position counts as a token.

    Raises:
        InputError: If there are more tokens than positions.
    """
    _, T, device = input_size(input_ids, inputs_embeds)
    padding = table.padding_idx
    assert padding is not None
    limit = table.num_embeddings - padding - 1
    if input_ids is None:
        check_length(T, limit)
        return torch.arange(padding + 1, padding + 1 + T, device=device)[None]
    is_token = input_ids.ne(padding).long()
    if limit < T:  # padding does not use up positions
        check_length(int(is_token.sum(dim=1).max()), limit)
    return is_token.cumsum(dim=1) * is_token + padding


def distance_buckets(distance: Tensor, both_ways: bool, buckets: int, farthest: int) -> Tensor:
    """Group distances between positions into buckets: one per distance when near, logarithmically wider ones when far.

    Args:
        distance: Position of the key minus position of the query, integers of any shape.
        both_ways: Use half of the buckets for later positions; otherwise these count as distance 0 (in a causal decoder).
        buckets: Number of buckets.
        farthest: All distances from this one on share the last bucket.

    Returns:
        Bucket indices from 0 to `buckets - 1`, of the shape of `distance`.

    Source: Raffel et al., Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, 2020,
    section 2.1, and the code published with it.
    """
    start = torch.zeros_like(distance)
    if both_ways:
        buckets //= 2
        start = (distance > 0).long() * buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = buckets // 2
    scaled = torch.log(distance.clamp(min=1).float() / exact) / math.log(farthest / exact) * (buckets - exact)
    far = (exact + scaled.long()).clamp(max=buckets - 1)
    return start + torch.where(distance < exact, distance, far)


def recording(owner: nn.Module, output_attentions: bool | None) -> AbstractContextManager[AttentionRecord | None]:
    """Record all attention weights of `owner`, with their gradients, if asked to; None leaves it to `owner.config`."""
    wanted = owner.config.output_attentions if output_attentions is None else output_attentions  # type: ignore[union-attr]
    return record_attention(owner, detach=False) if wanted else nullcontext()


def without_dropped(layers: Iterable[Any], sites: Sequence[Any], layerdrop: float) -> tuple[list[Any], list[Any]]:
    """The layers that LayerDrop keeps, and their sites: each is dropped with the probability `layerdrop`.

    Source: Fan et al., Reducing Transformer Depth on Demand with Structured Dropout, 2020.
    """
    pairs = [pair for pair in zip(layers, sites, strict=True) if not layerdrop or torch.rand(()) >= layerdrop]
    return [layer for layer, _ in pairs], [site for _, site in pairs]


def run_layers(
    owner: nn.Module,
    layers: Iterable[Callable[..., Tensor]],
    sites: Sequence[Any],
    hidden: Tensor,
    *inputs: Any,
    final: Callable[[Tensor], Tensor] | None = None,
    output_attentions: bool | None = None,
    output_hidden_states: bool | None = None,
) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
    """Run a stack of layers, calling each as `layer(hidden, *inputs, site)`.

    A last layer of whose states a head reads only some is called as `layer(hidden, *inputs, site, rows)`; see `nn.rows`.

    Args:
        owner: The module with the `sites` and the `config`. In training, its `gradient_checkpointing` decides whether
            activations are recomputed in the backward pass.
        layers: The layers, in order; a layer may occur several times, as in ALBERT.
        sites: The last argument of each layer: its `AttentionSite`, or anything else if the caller records attention.
        hidden: `(batch, tokens, width)`.
        *inputs: Further inputs of every layer, such as the mask.
        final: Applied to the last layer's output, such as a norm.
        output_attentions: Also return each layer's attention weights; None leaves it to `owner.config`.
        output_hidden_states: Also return the input of the first layer and the output of each; None leaves it to
            `owner.config`.

    Returns:
        The last hidden state, all hidden states or None, all attention weights or None. The last of all hidden states is
        the one after `final`.
    """
    if output_hidden_states is None:
        output_hidden_states = owner.config.output_hidden_states  # type: ignore[union-attr, assignment]
    # States that come from a convolution may lie in memory by channels, and sums with them would keep that layout in all layers.
    hidden = hidden.contiguous()
    states: list[Tensor] = [hidden]
    recompute = owner.__dict__.get("gradient_checkpointing", False) and owner.training and torch.is_grad_enabled()
    # An encoder may be called alone, rather than by a model, whose calls are in such a block.
    with fast_products(owner, (hidden,), {}), recording(owner, output_attentions) as record:
        calls = [(layer, (*inputs, site)) for layer, site in zip(layers, sites, strict=True)]
        if calls and record is None and not output_hidden_states and (rows := rows_for(calls[-1][0])) is not None:
            layer, given = calls[-1]
            calls[-1] = layer, (*(rows_of_scores(each, rows) for each in given), rows)
        for layer, given in calls:
            if recompute:
                hidden = checkpoint(replayable(layer), hidden, *given, use_reentrant=False)
            else:
                hidden = layer(hidden, *given)
            if output_hidden_states:
                states.append(hidden)
    if final is not None:
        hidden = states[-1] = final(hidden)
    return hidden, tuple(states) if output_hidden_states else None, record.of(sites) if record is not None else None


def rows_near_mean(old: Tensor, count: int) -> Tensor:
    """New rows around the mean of the old ones, with a billionth of their covariance: `(count, ...)`.

    Source: Hewitt, Initializing New Word Embeddings for Pretrained Language Models, 2021.
    """
    values = old.detach().float()
    mean = values.mean(dim=0)
    if old.dim() == 1:
        return mean + 1e-9 * values.std(dim=0) * torch.randn(count, device=old.device)
    centered = values - mean
    root, failed = torch.linalg.cholesky_ex(1e-9 * (centered.T @ centered) / len(values))
    if failed:  # fewer rows than columns
        return mean.expand(count, -1)
    return mean + torch.randn(count, len(mean), device=old.device) @ root.T
