"""Attention from a model and its input, from a record, or from bare tensors, as one `Reading`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.inspection.attention.axes import Axis, named_tokens
from notebook_kit.inspection.attention.objects import objects_of
from notebook_kit.inspection.attention.pictures import picture_sample
from notebook_kit.inspection.attention.samples import Notice, Sample
from notebook_kit.nn.attention import AttentionRecord, AttentionSite, record_attention, sites_of
from notebook_kit.nn.inputs import inputs_of

__all__ = [
    "KEPT_BYTES",
    "Reading",
    "evaluating",
    "has_sites",
    "parts_of",
    "read",
    "read_model",
    "read_record",
    "read_tensors",
    "recorded",
    "requested_attentions",
]

KEPT_BYTES = 256 * 2**20
"""Attention up to this size is kept as float32; above it, layer by layer as float16, which takes half."""

UNFOLDED_CELLS = 2**25
"""The largest matrix into which attention within windows, or to a reduced grid, is unfolded."""

QUICK_CELLS = 2**18
"""Of several parts of a model, the first whose matrices have at most so many weights is read by default."""


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


def read(model: nn.Module, sample: Any, *, kind: str | None = None, image_processor: Any = None) -> Reading:
    """Run a model on a sample and read its attention.

    Args:
        model: A model of notebook_kit, or one of `transformers`.
        sample: The input, from a tokenizer, an image processor, a feature extractor, or anything else; see `Sample`. Or an
            image in any form that `load_image` takes, or what the image processor returns for it.
        kind: The kind of attention, for a model with several: "self", "decoder" or "cross"; or a part, see `parts_of`.
        image_processor: For an image; by default that of the checkpoint that the model was loaded from.

    Raises:
        InputError: If the model does not return its attention, or the sample lacks an axis that it attends over.

    Example:
        >>> from notebook_kit import BertConfig, BertModel
        >>> from notebook_kit.inspection.attention.axes import named_tokens
        >>> model = BertModel(BertConfig(hidden_size=32, num_attention_heads=4, num_hidden_layers=2, vocab_size=50,
        ...                              intermediate_size=64))
        >>> reading = read(model, Sample({"input_ids": torch.tensor([[2, 7, 3]])}, {"text": named_tokens("abc")}))
        >>> reading.heads, reading.rows.labels
        ((4, 4), ('a', 'b', 'c'))
    """
    if not isinstance(sample, Sample):
        sample = picture_sample(model, sample, image_processor)
    inputs = _inputs(model, sample.features)
    notices = sample.notices
    part, has_windows, outputs = "self", False, None
    with evaluating(model):
        if has_sites(model):
            part, sites = _chosen_part(model, sample, kind)
            kind, rows, columns = sites[0].kind, sites[0].rows, sites[0].columns
            has_windows = sites[0].unfold is not None
            cells = len(sample.axis(rows)) * len(sample.axis(columns))
            if has_windows and cells > UNFOLDED_CELLS:
                raise InputError(
                    f"Attention over {len(sample.axis(rows)):,} patches is too large to show.",
                    next_step=f"Choose a later part, such as kind={list(parts_of(model))[-1]!r}, or a smaller image.",
                )
            size = 4 * cells * sum(site.heads for site in sites)
            outputs, layers, halved = _at_affordable_precision(model, inputs, sites, size)
            numbers, notices = [site.layer for site in sites], notices + halved
        else:
            layers, kind = requested_attentions(model, inputs), "self"
            numbers = list(range(len(layers)))
            rows = columns = next(iter(sample.axes))
    F, T = layers[0].shape[-2:]
    row_axis = sample.axis(rows, F)
    column_axis = row_axis if sample.axis(columns) is sample.axis(rows) and F == T else sample.axis(columns, T)
    found = objects_of(getattr(model, "config", None), outputs, inputs) if isinstance(outputs, Mapping) else None
    if found is not None:
        is_square = column_axis is row_axis
        row_axis = row_axis.with_objects(found)
        column_axis = row_axis if is_square else column_axis.with_objects(found)
    reading = read_tensors(layers, row_axis, column_axis, numbers=numbers, kind=kind, notices=notices, inputs=inputs)
    return replace(reading, part=part, has_windows=has_windows)


def read_model(
    model: nn.Module, tokenizer: Any, text: str, text_pair: str | None = None, *, kind: str | None = None
) -> Reading:
    """Run a model on a text or a pair of texts and read its attention: `read` with `Sample.of_text`."""
    return read(model, Sample.of_text(tokenizer, text, text_pair), kind=kind)


def has_sites(model: Any) -> bool:
    """Whether this is a model whose attention notebook_kit can record, rather than one of another library."""
    if not isinstance(model, nn.Module):
        return False
    try:
        return bool(sites_of(model))
    except NotebookKitError:
        return False


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Turn off dropout and gradients within the block; afterwards each module has its former mode."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True


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
            next_step="Pass a model and a text, a record of record_attention, or a tensor (layers, heads, from, to).",
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


def _inputs(model: nn.Module, features: dict[str, Tensor]) -> dict[str, Tensor]:
    accepted = inputs_of(model)
    like = next(model.parameters(), torch.empty(0))
    inputs = {
        name: values.to(like.device, like.dtype if values.is_floating_point() else None)
        for name, values in features.items()
        if name in accepted.names or (accepted.takes_any and name != "token_type_ids")
    }
    start = getattr(getattr(model, "config", None), "decoder_start_token_id", None)
    if "decoder_input_ids" in accepted.names and start is not None and "input_ids" in inputs:
        # The decoder needs an input: the text itself, shifted as in training.
        ids = inputs["input_ids"]
        inputs.setdefault("decoder_input_ids", torch.cat([ids.new_full((1, 1), start), ids[:, :-1]], dim=1))
    return inputs


def parts_of(model: nn.Module) -> dict[str, list[AttentionSite]]:
    """The sites of a model by what can be shown together: those of one kind over one pair of axes, by layer.

    A part is named by its kind; if a kind attends over several axes, as in Swin's stages, by its axes.

    Raises:
        InputError: If the model has no attention.

    Example:
        >>> from notebook_kit import SwinConfig, SwinModel
        >>> model = SwinModel(SwinConfig(embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=4, image_size=32))
        >>> {name: [site.layer for site in sites] for name, sites in parts_of(model).items()}
        {'patches': [0], 'patches 2x2': [1, 2]}
    """
    groups: dict[tuple[str, str, str], list[AttentionSite]] = {}
    for site in sites_of(model):
        groups.setdefault((site.kind, site.rows, site.columns), []).append(site)
    kinds = [kind for kind, _, _ in groups]
    parts = {}
    for (kind, rows, columns), sites in groups.items():
        name = kind if kinds.count(kind) == 1 else rows if rows == columns else f"{rows} to {columns}"
        parts[name] = sorted(sites, key=lambda site: site.layer)
    return parts


def _chosen_part(model: nn.Module, sample: Sample, kind: str | None) -> tuple[str, list[AttentionSite]]:
    """The part of a model with this name, or the first of this kind that the sample describes and that is not too large.

    Without a kind, it is where queries look on a picture, which shows most of a detector, or else the first kind.
    """
    parts = parts_of(model)
    if kind in parts:
        return str(kind), parts[str(kind)]
    kinds = list(dict.fromkeys(sites[0].kind for sites in parts.values()))
    if kind is not None and kind not in kinds:
        raise InputError(
            f"{type(model).__name__} has no attention of kind {kind!r}.",
            next_step=f"It has {', '.join(map(repr, dict.fromkeys([*kinds, *parts])))}.",
        )
    if kind is None:
        firsts = [sites[0] for sites in parts.values()]
        looks_out = [site.kind for site in firsts if site.rows == "queries" and site.columns != "queries"]
        kind = (looks_out or kinds)[0]
    named = {name: sites for name, sites in parts.items() if sites[0].kind == kind}
    # A two-tower model has several pairs of axes: choose one that the sample describes.
    known = {name: sites for name, sites in named.items() if {sites[0].rows, sites[0].columns} <= set(sample.axes)}

    def is_quick(name: str) -> bool:
        site = known[name][0]
        return len(sample.axis(site.rows)) * len(sample.axis(site.columns)) <= QUICK_CELLS

    name = next(filter(is_quick, known), next(iter(known or named)))
    return name, named[name]


def _at_affordable_precision(
    model: nn.Module, inputs: dict[str, Tensor], sites: list[AttentionSite], size: int
) -> tuple[Any, list[Tensor], tuple[Notice, ...]]:
    """The model's output, and the weights of each site, `(heads, rows, columns)`; at half precision if `size`, in bytes, is large."""
    if size <= KEPT_BYTES:
        outputs, layers = _run(model, inputs, sites)
        return outputs, [weights.float() for weights in layers], ()
    kept: list[Tensor] = []
    outputs = None
    for site in sites:  # one run per layer, so that only one layer at a time is in memory at float32
        outputs, layers = _run(model, inputs, [site])
        kept += [weights.to("cpu", torch.float16) for weights in layers]
    return outputs, kept, (("notice_half", {"megabytes": round(size / 2**20)}),)


def recorded(model: nn.Module, inputs: dict[str, Any], sites: list[AttentionSite]) -> list[Tensor]:
    """Run a model once and return the weights of some sites of one kind, `(heads, rows, columns)` each, of the first example."""
    return _run(model, inputs, sites)[1]


def _run(model: nn.Module, inputs: dict[str, Any], sites: list[AttentionSite]) -> tuple[Any, list[Tensor]]:
    """The output of a model, and the weights of some sites."""
    with record_attention(model, [site.layer for site in sites], kinds=[sites[0].kind]) as record:
        outputs = model(**inputs)
    found = zip(sites, record.of(sites), strict=True)
    return outputs, [(weights if site.unfold is None else site.unfold(weights))[0] for site, weights in found]


def requested_attentions(model: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    """The attention of another library's model, requested with `output_attentions=True`.

    Returns:
        One `(heads, from, to)` tensor per layer, float32, of the first example.

    Raises:
        InputError: If the model does not return its attention.
    """
    name = type(model).__name__
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{name} is not a model.",
            next_step="Pass a model or pipeline of notebook_kit, a PyTorch model of transformers, or bare tensors with tokens=.",
        )
    if not inputs_of(model).takes("output_attentions"):
        raise InputError(
            f"{name} does not return its attention: its forward takes no output_attentions.",
            next_step="Load the checkpoint with notebook_kit's AutoModel classes, or pass bare tensors with tokens=.",
        )
    before = getattr(getattr(model, "config", None), "_attn_implementation", None)
    switch = getattr(model, "set_attn_implementation", None)
    try:
        if before not in (None, "eager") and switch is not None:
            switch("eager")  # the fused kernels never form the weights
        outputs = model(**inputs, output_attentions=True)
    except (TypeError, ValueError) as error:  # such as a model that needs more than a text
        raise InputError(
            f"{name} does not return its attention: {error}", next_step="Pass bare tensors with tokens= instead."
        ) from error
    finally:
        if before not in (None, "eager") and switch is not None:
            switch(before)
    for field_ in ("attentions", "encoder_attentions"):
        found = getattr(outputs, field_, None)
        if found is None and isinstance(outputs, dict):
            found = outputs.get(field_)
        if found and all(layer is not None for layer in found):
            return [layer[0].float() for layer in found]
    raise InputError(
        f"{name} returned no attention, although output_attentions=True was passed.",
        next_step='Load it with attn_implementation="eager", or load the checkpoint with notebook_kit\'s AutoModel classes.',
    )
