"""Running a model on a sample, and reading its attention."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.inspection.attention.axes import Axis, Groups
from notebook_kit.inspection.attention.evaluation import evaluating
from notebook_kit.inspection.attention.modalities import sample_of
from notebook_kit.inspection.attention.objects import objects_of
from notebook_kit.inspection.attention.pooling import Pooling
from notebook_kit.inspection.attention.reading import Reading, read_tensors
from notebook_kit.inspection.attention.samples import Notice, Sample
from notebook_kit.inspection.attention.similarity import SIMILARITY, compares, is_quick_to_compare, read_similarity
from notebook_kit.nn.attention import AttentionSite, record_attention, sites_of
from notebook_kit.nn.inputs import inputs_of

__all__ = [
    "KEPT_BYTES",
    "has_sites",
    "parts_of",
    "read",
    "read_model",
    "recorded",
    "requested_attentions",
]

KEPT_BYTES = 256 * 2**20
"""Attention up to this size is kept as float32; above it as float16, which takes half."""

UNFOLDED_CELLS = 2**25
"""The largest matrix into which attention within windows, or to a reduced grid, is unfolded."""

QUICK_CELLS = 2**18
"""Of several parts of a model, the first whose matrices have at most so many weights is read by default."""


def read(
    model: nn.Module,
    sample: Any,
    *,
    kind: str | None = None,
    layers: Collection[int] | None = None,
    is_whole: bool = False,
    processor: Any = None,
) -> Reading:
    """Run a model on a sample and read its attention.

    Args:
        model: A model of notebook_kit, or one of `transformers`.
        sample: The input, from a tokenizer, an image processor, a feature extractor, or anything else; see `Sample`. Or what
            `sample_of` takes: an image, a recording, or what a processor returns for one.
        kind: The kind of attention, for a model with several: "self", "decoder" or "cross"; or a part, see `parts_of`. For a
            model of two towers, such as CLIP, also "similarity", see `read_similarity`, which is read by default unless the model is
            large.
        layers: The layers to read; all by default.
        is_whole: Keep every frame of a recording. By default, neighbouring frames are merged above 400 x 400 of them.
        processor: For anything but a `Sample`, see `sample_of`.

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
        sample = sample_of(model, sample, processor)
    inputs = _inputs(model, sample.features)
    part, has_windows, outputs = "self", False, None
    if kind is None and compares(model, sample) and is_quick_to_compare(model):
        kind = SIMILARITY
    with evaluating(model):
        if kind == SIMILARITY and compares(model, sample):
            return read_similarity(model, sample, inputs)
        if has_sites(model):
            part, sites = _chosen_part(model, sample, kind)
            sites = [site for site in sites if layers is None or site.layer in layers]
            has_windows = _check_windows(model, sample, sites[0])
            kept = Kept(sample, sites, is_whole)
            outputs, weights = _run(model, inputs, sites, kept)
            numbers, kind = [site.layer for site in sites], sites[0].kind
        else:
            found, kind = requested_attentions(model, inputs, kind), kind or "self"
            numbers = list(range(len(found)))
            rows, columns = _axes_of_kind(sample, kind)
            sites = [AttentionSite(i, len(one), kind, rows=rows, columns=columns) for i, one in enumerate(found)]
            part, kept = kind, Kept(sample, sites, is_whole)
            weights = [kept(site, one[None])[0] for site, one in zip(sites, found, strict=True)]
    row_axis, column_axis = kept.axes
    objects = objects_of(getattr(model, "config", None), outputs, inputs) if isinstance(outputs, Mapping) else None
    if objects is not None:
        is_square = column_axis is row_axis
        row_axis = row_axis.with_objects(objects)
        column_axis = row_axis if is_square else column_axis.with_objects(objects)
    notices = sample.notices + kept.notices
    reading = read_tensors(weights, row_axis, column_axis, numbers=numbers, kind=kind, notices=notices, inputs=inputs)
    return replace(reading, part=part, has_windows=has_windows, groups=kept.groups, is_pooled=kept.is_pooled)


class Kept:
    """What is kept of the weights of each layer: those of the first example, pooled, at half precision if all are large.

    Args:
        sample: The sample, for its axes.
        sites: The sites that are read, of one part of the model.
        is_whole: As for `Pooling`.

    Attributes:
        axes: The rows and the columns of what is kept, once there is something.
        notices: Notices for the user.
    """

    def __init__(self, sample: Sample, sites: Sequence[AttentionSite], is_whole: bool = False) -> None:
        self._sample, self._is_whole = sample, is_whole
        self._sites, self._heads = frozenset(sites), sum(site.heads for site in sites)
        self._pooling: Pooling | None = None
        self.notices: tuple[Notice, ...] = ()

    def __call__(self, site: AttentionSite, weights: Tensor) -> Tensor:
        """What is kept of the weights of a site, `(1, heads, rows, columns)`; nothing of the sites of another part."""
        if site not in self._sites:
            return weights.new_empty(0)
        whole = (weights[:1] if site.unfold is None else site.unfold(weights))[0]
        if self._pooling is None:
            self._pooling = self._pooling_of(site, *whole.shape[-2:])
        merged = self._pooling(whole)
        return (merged.to("cpu", torch.float16) if self.notices else merged.float())[None]

    def _pooling_of(self, site: AttentionSite, F: int, T: int) -> Pooling:
        sample = self._sample
        rows = sample.axis(site.rows, F)
        is_same = sample.axis(site.columns) is sample.axis(site.rows) and F == T
        pooling = Pooling(rows, rows if is_same else sample.axis(site.columns, T), self._is_whole)
        # An axis that does not fit leads to an error later, which needs the weights as they are.
        cells = max(len(pooling.rows) * len(pooling.columns), 1)
        if (size := 4 * cells * self._heads) > KEPT_BYTES:
            self.notices = (("notice_half", {"megabytes": round(size / 2**20)}),)
        return pooling

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """The rows and the columns of what is kept."""
        assert self._pooling is not None, "no weights have been kept yet"
        return self._pooling.rows, self._pooling.columns

    @property
    def groups(self) -> tuple[Groups | None, Groups | None]:
        """For the rows and for the columns, the positions of the model that each stands for."""
        return (None, None) if self._pooling is None else (self._pooling.row_groups, self._pooling.column_groups)

    @property
    def is_pooled(self) -> bool:
        """Whether more than padding is merged."""
        return self._pooling is not None and self._pooling.merges


def _check_windows(model: nn.Module, sample: Sample, site: AttentionSite) -> bool:
    """Whether positions attend only within windows, or to a reduced grid.

    Raises:
        InputError: If so, and unfolded weights are too large.
    """
    if site.unfold is None:
        return False
    if len(sample.axis(site.rows)) * len(sample.axis(site.columns)) > UNFOLDED_CELLS:
        raise InputError(
            f"Attention over {len(sample.axis(site.rows)):,} patches is too large to show.",
            next_step=f"Choose a later part, such as kind={list(parts_of(model))[-1]!r}, or a smaller image.",
        )
    return True


def _axes_of_kind(sample: Sample, kind: str) -> tuple[str, str]:
    """The axes of a model of another library."""
    source = next(iter(sample.axes))
    written = "decoder text" if "decoder text" in sample.axes or source == "text" else source
    return {"decoder": (written, written), "cross": (written, source)}.get(kind, (source, source))


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

    Without a kind, it is where queries or words look on a picture or a sound, or else the first kind.
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
        looks_out = [site.kind for site in firsts if site.columns not in (site.rows, "text")]
        kind = (looks_out or kinds)[0]
    named = {name: sites for name, sites in parts.items() if sites[0].kind == kind}
    # A two-tower model has several pairs of axes: choose one that the sample describes.
    known = {name: sites for name, sites in named.items() if {sites[0].rows, sites[0].columns} <= set(sample.axes)}

    def is_quick(name: str) -> bool:
        site = known[name][0]
        return len(sample.axis(site.rows)) * len(sample.axis(site.columns)) <= QUICK_CELLS

    name = next(filter(is_quick, known), next(iter(known or named)))
    return name, named[name]


def recorded(model: nn.Module, inputs: dict[str, Any], sites: list[AttentionSite]) -> list[Tensor]:
    """Run a model once and return the weights of some sites of one kind, `(heads, rows, columns)` each, of the first example."""
    return _run(model, inputs, sites)[1]


def _run(
    model: nn.Module,
    inputs: dict[str, Any],
    sites: list[AttentionSite],
    reduce: Callable[[AttentionSite, Tensor], Tensor] | None = None,
) -> tuple[Any, list[Tensor]]:
    """The output of a model, and what is kept of the weights of some sites."""
    reduce = reduce or _unfolded
    with record_attention(model, [site.layer for site in sites], kinds=[sites[0].kind], reduce=reduce) as record:
        outputs = model(**inputs)
    return outputs, [weights[0] for weights in record.of(sites)]


def _unfolded(site: AttentionSite, weights: Tensor) -> Tensor:
    return weights if site.unfold is None else site.unfold(weights)


def requested_attentions(model: Any, inputs: dict[str, Tensor], kind: str | None = None) -> list[Tensor]:
    """The attention of another library's model, requested with `output_attentions=True`.

    Args:
        model: The model.
        inputs: The arguments of its forward.
        kind: "self", "decoder" or "cross"; by default the first that it returns.

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
    fields = {"decoder": ("decoder_attentions",), "cross": ("cross_attentions",)}
    for field_ in fields.get(kind or "", ("attentions", "encoder_attentions")):
        found = getattr(outputs, field_, None)
        if found is None and isinstance(outputs, dict):
            found = outputs.get(field_)
        if found and all(layer is not None for layer in found):
            return [layer[0].float() for layer in found]
    raise InputError(
        f"{name} returned no {kind + ' ' if kind else ''}attention, although output_attentions=True was passed.",
        next_step='Load it with attn_implementation="eager", or load the checkpoint with notebook_kit\'s AutoModel classes.',
    )
