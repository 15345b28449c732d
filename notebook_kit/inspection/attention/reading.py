"""A `Reading`: the attention of one input, from a record or from bare tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import Axis, Groups, named_tokens
from notebook_kit.inspection.attention.samples import Notice
from notebook_kit.nn.attention import AttentionRecord

__all__ = ["Reading", "read_record", "read_tensors"]


@dataclass(frozen=True, eq=False)
class Reading:
    """The attention of a model on one input.

    Args:
        layers: One `(heads, from, to)` tensor per layer, float32 or float16, on the CPU, finite.
        numbers: The model's number of each of those layers.
        rows: The tokens that attend.
        columns: The tokens attended to.
        notices: Notices for the user: `(key in the interface's strings, values)`.
        inputs: The inputs of the model, each with a batch dimension of 1; empty for bare tensors.
        kind: The kind of attention: "self", "decoder" or "cross".
        part: The part of the model that was read, see `parts_of`; the kind for a model without sites.
        has_windows: Whether positions attend only within windows, or to a reduced grid.
        groups: For the rows and for the columns, the positions of the model that each position stands for; None for one each.
        is_pooled: Whether neighbouring positions are merged, other than padding.
    """

    layers: tuple[Tensor, ...]
    numbers: tuple[int, ...]
    rows: Axis
    columns: Axis
    notices: tuple[Notice, ...] = ()
    inputs: dict[str, Tensor] = field(default_factory=dict)
    kind: str = "self"
    part: str = ""
    has_windows: bool = False
    groups: tuple[Groups | None, Groups | None] = (None, None)
    is_pooled: bool = False

    @property
    def heads(self) -> tuple[int, ...]:
        """The number of heads of each layer."""
        return tuple(layer.shape[0] for layer in self.layers)

    @property
    def is_square(self) -> bool:
        """Whether rows and columns are the same tokens, so that positions can be compared."""
        return self.rows is self.columns

    def layer(self, number: int) -> Tensor:
        """The attention of the layer with this number: `(heads, from, to)`.

        Raises:
            InputError: If there is no such layer.
        """
        if number not in self.numbers:
            raise InputError(
                f"There is no layer {number} here.", next_step=f"Name one of {', '.join(map(str, self.numbers))}."
            )
        return self.layers[self.numbers.index(number)]

    def of(
        self, number: int, heads: Sequence[int], combine: str = "mean", more: Sequence[tuple[int, int]] = ()
    ) -> Tensor:
        """One or more heads as one matrix, `(from, to)`, float32.

        Args:
            number: The layer.
            heads: Which heads of it.
            combine: How several heads are combined: "mean" or "max".
            more: Further heads, as pairs (layer, head).

        Raises:
            InputError: If there is no such head.
        """
        layer = self.layer(number)
        unknown = [head for head in heads if not 0 <= head < layer.shape[0]]
        if unknown or not heads:
            raise InputError(
                f"Layer {number} has no head {', '.join(map(str, unknown)) or '(none was named)'}.",
                next_step=f"Its heads go from 0 to {layer.shape[0] - 1}.",
            )
        if len(heads) == 1 and not more:
            return layer[heads[0]].float()
        chosen = layer[list(heads)].float()
        if more:
            chosen = torch.cat([chosen, *(self.of(other, [head])[None] for other, head in more)])
        return chosen.amax(0) if combine == "max" else chosen.mean(0)


def read_tensors(
    attentions: Any,
    tokens: Sequence[Any] | Axis | None = None,
    to_tokens: Sequence[Any] | Axis | None = None,
    *,
    numbers: Sequence[int] | None = None,
    example: int = 0,
    kind: str = "self",
    notices: tuple[Notice, ...] = (),
    inputs: dict[str, Tensor] | None = None,
) -> Reading:
    """Make a reading from bare tensors.

    Args:
        attentions: `(layers, heads, from, to)`, or a list with one `(heads, from, to)` or `(batch, heads, from, to)` per layer.
        tokens: Labels of the tokens that attend; their positions by default.
        to_tokens: Labels of the tokens attended to, if they differ (cross-attention).
        numbers: The numbers of the layers; 0, 1, 2, ... by default.
        example: Which example of a batch.
        kind: The kind of attention.
        notices: Notices to include in the reading.
        inputs: The inputs of the model.

    Raises:
        InputError: If the shapes are not those of attention, the labels do not fit, or no value is finite.

    Example:
        >>> reading = read_tensors(torch.full((2, 3, 4, 4), 0.25), tokens="a b c d".split())
        >>> reading.heads, reading.rows.labels
        ((3, 3), ('a', 'b', 'c', 'd'))
    """
    layers = [_layer(layer, position, example) for position, layer in enumerate(_layers(attentions))]
    F, T = layers[0].shape[1:]
    for position, layer in enumerate(layers):
        if tuple(layer.shape[1:]) != (F, T):
            raise InputError(
                f"The layers differ: layer 0 is {F} x {T} tokens, layer {position} is "
                f"{layer.shape[1]} x {layer.shape[2]}.",
                next_step="Pass layers that attend over the same tokens.",
            )
    if F == 0 or T == 0 or any(layer.shape[0] == 0 for layer in layers):
        raise InputError("This attention has no tokens or no heads.", next_step="Pass a text with tokens.")
    rows = _axis(tokens, F, "tokens")
    columns = rows if to_tokens is None and F == T else _axis(to_tokens, T, "to_tokens")
    for side, known, size in (("tokens", rows, F), ("to_tokens", columns, T)):
        if len(known) != size:
            raise InputError(
                f"The attention is {F} x {T}, but {side} has {len(known)} labels.",
                next_step=f"Pass {size} labels, special tokens included, as the model saw them.",
            )
    names = tuple(numbers) if numbers is not None else tuple(range(len(layers)))
    kept, found = _finite(layers, names)
    notices = (*notices, *found)
    return Reading(tuple(kept), names, rows, columns, notices, inputs or {}, kind)


def read_record(
    record: AttentionRecord,
    tokens: Sequence[Any] | Axis | None = None,
    to_tokens: Sequence[Any] | Axis | None = None,
    *,
    kind: str | None = None,
    example: int = 0,
) -> Reading:
    """Make a reading from what `record_attention` recorded; of several calls, the last.

    Args:
        record: The record.
        tokens: As for `read_tensors`.
        to_tokens: As for `read_tensors`.
        kind: The kind of attention; needed if the record holds several.
        example: Which example of a batch.

    Raises:
        InputError: If nothing was recorded, or the record holds several kinds of attention and `kind` is None.
    """
    kinds = {site.kind for site in record.sites}
    if kind is None and len(kinds) > 1:
        raise InputError(
            f"This record holds attention of {len(kinds)} kinds: {', '.join(sorted(kinds))}.",
            next_step='Name one, as in kind="cross".',
        )
    kind = kind or next(iter(kinds), "self")
    numbers = sorted({site.layer for site in record.sites if site.kind == kind})
    calls = {number: record.steps(number, kind) for number in numbers}
    if not numbers or not all(calls.values()):
        raise InputError(
            "Nothing has been recorded yet.",
            next_step="Call the model inside the `with record_attention(...)` block, then pass the record.",
        )
    return read_tensors(
        [calls[number][-1] for number in numbers], tokens, to_tokens, numbers=numbers, kind=kind, example=example
    )


# ---------------------------------------------------------------------------------------------------------------------


def _axis(labels: Any, size: int, name: str) -> Axis:
    """The axis that these labels describe; their positions by default."""
    if isinstance(labels, Axis):
        return labels
    if labels is None:
        return named_tokens(range(size))
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        raise InputError(f"{name}={labels!r} is not a list of labels.", next_step=f"Pass a list of {size} labels.")
    return named_tokens(list(labels))


def _layers(attentions: Any) -> list[Any]:
    if isinstance(attentions, list | tuple):
        if not attentions:
            raise InputError("The list of attentions is empty.", next_step="Pass one tensor per layer.")
        return list(attentions)
    try:
        tensor = torch.as_tensor(attentions)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"Attention cannot be read from an object of type {type(attentions).__name__}.",
            next_step="Pass a model or a pipeline and then what it reads, a record of record_attention, or a tensor (layers, heads, from, "
            "to).",
        ) from error
    if tensor.dim() == 3:
        return [tensor]
    if tensor.dim() != 4:
        raise InputError(
            f"A tensor of shape {tuple(tensor.shape)} is not attention.",
            next_step="Pass (layers, heads, from, to), or a list with one (heads, from, to) per layer.",
        )
    if tensor.shape[0] == 0:
        raise InputError("This attention has no layers.", next_step="Pass at least one.")
    return list(tensor)


def _layer(layer: Any, position: int, example: int) -> Tensor:
    try:
        tensor = torch.as_tensor(layer).detach()
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"Layer {position} is {'None' if layer is None else type(layer).__name__}, not attention weights.",
            next_step='Load a transformers model with attn_implementation="eager" and call it with output_attentions=True.',
        ) from error
    if tensor.dim() == 4 and not 0 <= example < tensor.shape[0]:
        raise InputError(
            f"There is no example {example}: this batch has {tensor.shape[0]}.", next_step="Name one with example=."
        )
    if tensor.dim() == 4:
        tensor = tensor[example]
    if tensor.dim() != 3:
        raise InputError(
            f"Layer {position} has the shape {tuple(tensor.shape)}, which is not that of attention.",
            next_step="Each layer must be (heads, from, to) or (batch, heads, from, to).",
        )
    if tensor.is_complex():
        raise InputError(f"Layer {position} holds complex numbers.", next_step="Pass real weights.")
    kept = tensor if tensor.dtype in (torch.float16, torch.float32) else tensor.float()
    return kept.cpu()


def _finite(layers: list[Tensor], numbers: tuple[int, ...]) -> tuple[list[Tensor], list[Notice]]:
    """The layers with 0 in place of non-finite weights, and notices about those and about negative weights."""
    kept, where, count, total, negative = [], [], 0, 0, False
    for number, layer in zip(numbers, layers, strict=True):
        total += layer.numel()
        # NumPy's min and max are ten times as fast as torch's here, and both are NaN if any weight is.
        low, high = float(layer.numpy().min()), float(layer.numpy().max())
        negative = negative or low < 0
        if math.isfinite(low) and math.isfinite(high):
            kept.append(layer)
            continue
        fine = torch.isfinite(layer)
        bad = (~fine).flatten(1).sum(1)
        where += [f"layer {number} · head {head}" for head in torch.nonzero(bad).flatten().tolist()]
        count += int(bad.sum())
        kept.append(torch.where(fine, layer, torch.zeros((), dtype=layer.dtype)))
        negative = negative or bool((kept[-1] < 0).any())
    if count == total:
        raise InputError(
            "All weights are NaN or infinite.",
            next_step="Check the model for rows that are fully masked, or for overflow at half precision.",
        )
    notices: list[Notice] = []
    if count:
        shown = ", ".join(where[:12]) + (f" … +{len(where) - 12}" if len(where) > 12 else "")
        notices.append(("notice_not_finite", {"count": count, "heads": shown}))
    if negative:
        notices.append(("notice_negative", {}))
    return kept, notices
