"""Attention as it is sent to the page: one byte per weight, thumbnails, and descriptions of the axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from notebook_kit.inspection.attention.axes import Axis
from notebook_kit.inspection.attention.lens import Lens
from notebook_kit.inspection.attention.logit_lens import has_lens
from notebook_kit.inspection.attention.neurons import site_of
from notebook_kit.inspection.attention.reading import has_sites
from notebook_kit.inspection.attention.source import AttentionSources
from notebook_kit.inspection.drawing.pictures import jpeg_of

if TYPE_CHECKING:
    from notebook_kit.panels.attention_view.answers import Answers

__all__ = ["THUMBNAIL", "about", "for_page", "indices", "lens_of", "pooled", "quantised"]

THUMBNAIL = 32


def about(version: int, sources: AttentionSources, answers: Answers) -> dict[str, Any]:
    """The facts about a source and its readings that the page needs."""
    source = sources.source
    reading = None if answers.is_empty else answers.reading
    facts: dict[str, Any] = {
        "version": version,
        "name": "" if source is None else source.name,
        "reads_text": source is not None and source.reads_text,
        "ready": reading is not None,
    }
    if reading is None:
        return facts
    rows, columns = answers.axes
    others = answers.other_labels
    return facts | {
        "layers": list(reading.numbers),
        "heads": list(reading.heads),
        "tokens": for_page(rows),
        "to_tokens": None if reading.is_square else for_page(columns),
        "other_tokens": None if others is None or others[0] == rows.labels else list(others[0]),
        "other_to_tokens": None if others is None or others[1] == columns.labels else list(others[1]),
        "compares": others is not None,
        "compares_models": sources.compared is not None,
        "has_pair": reading.rows.has_pair and reading.columns.has_pair,
        "can_lens": source is not None and has_lens(source.model) and "input_ids" in reading.inputs,
        "can_vectors": source is not None and site_of(source.model, reading, reading.numbers[0]) is not None,
        "can_ablate": source is not None and has_sites(source.model),
        "has_rollout": reading.is_square and list(reading.numbers) == list(range(len(reading.numbers))),
        "half": reading.layers[0].dtype == torch.float16,
        "notices": [list(notice) for notice in reading.notices],
    }


def for_page(axis: Axis) -> dict[str, Any]:
    """An axis as JSON values for the page."""
    values: dict[str, Any] = {
        "kind": axis.kind,
        "labels": list(axis.labels),
        "special": [i for i, special in enumerate(axis.special) if special],
        "segments": list(axis.segments) if axis.has_pair else None,
        "words": list(axis.words),
        "word_labels": list(axis.word_labels),
    }
    if axis.boxes is not None:
        values["boxes"] = [None if box is None else list(box) for box in axis.boxes]
        values["picture"] = None if axis.picture is None else jpeg_of(axis.picture)
    return values


def lens_of(values: dict[str, Any]) -> Lens:
    """The lens that a question of the page describes."""
    direction = str(values.get("direction", "all"))
    return Lens(
        hide_special=bool(values.get("hide")),
        renormalise=bool(values.get("renormalise")),
        direction=direction if direction in ("a_to_b", "b_to_a") else "all",
        merge_words=bool(values.get("merge")),
    )


def quantised(weights: Tensor, signed: bool = False) -> tuple[np.ndarray, float, bool]:
    """Weights as bytes: 0 to 255 for 0 to the scale, or 1 to 255 around 128 for signed weights.

    Returns:
        The bytes, the scale (the largest absolute weight, or 1), and whether they are signed.
    """
    scale = float(weights.abs().max()) if weights.numel() else 0.0
    signed = signed or bool((weights < 0).any())
    top = scale if scale > 0 and math.isfinite(scale) else 1.0
    data = (128 + weights / top * 127) if signed else weights / top * 255
    return data.round().to(torch.uint8).numpy(), top, signed


def pooled(weights: Tensor) -> np.ndarray:
    """Thumbnails of at most 32 x 32 from `(heads, rows, columns)`: of each field, the weight farthest from zero."""
    values = weights.numpy()
    high = _extremes(np.maximum, values)
    low = _extremes(np.minimum, values) if float(values.min()) < 0 else high
    return np.where(np.abs(high) >= np.abs(low), high, low)


def _extremes(choose: np.ufunc, values: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        H, side = values.shape[0], values.shape[axis]
        field = -(-side // THUMBNAIL)
        whole = side // field * field
        # A reduction over an axis of a reshaped view is vectorised; numpy's reduceat and torch's pooling are not.
        if axis == 1:
            parts = [choose.reduce(values[:, :whole].reshape(H, -1, field, values.shape[2]), axis=2)]
            rest = values[:, whole:]
        else:
            parts = [choose.reduce(values[:, :, :whole].reshape(H, values.shape[1], -1, field), axis=3)]
            rest = values[:, :, whole:]
        if whole < side:
            parts.append(choose.reduce(rest, axis=axis, keepdims=True))
        values = np.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0]
    return values


def indices(values: Any, size: int) -> list[int]:
    """Those of the page's indices that are valid for an axis of this size."""
    return [int(i) for i in values or [] if 0 <= int(i) < size]
