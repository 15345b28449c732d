"""How attention crosses to the page: a byte a weight, thumbnails, and what the page must know of tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import Tokens
from notebook_kit.inspection.attention.lens import Lens
from notebook_kit.inspection.attention.logit_lens import has_lens
from notebook_kit.inspection.attention.reading import Reading, has_sites
from notebook_kit.inspection.attention.source import Source

__all__ = ["THUMBNAIL", "about", "check_alike", "for_page", "indices", "lens_of", "names_of", "pooled", "quantised"]

THUMBNAIL = 32


def about(
    version: int, source: Source | None, reading: Reading | None, other: Reading | None, compares_models: bool
) -> dict[str, Any]:
    """What the page must know of what is there to see."""
    known: dict[str, Any] = {
        "version": version,
        "name": "" if source is None else source.name,
        "reads_text": source is not None and source.reads_text,
        "ready": reading is not None,
    }
    if reading is None:
        return known
    return known | {
        "layers": list(reading.numbers),
        "heads": list(reading.heads),
        "tokens": for_page(reading.rows),
        "to_tokens": None if reading.is_square else for_page(reading.columns),
        "other_tokens": None if other is None or other.rows.labels == reading.rows.labels else list(other.rows.labels),
        "compares": other is not None,
        "compares_models": compares_models,
        "has_pair": reading.rows.has_pair and reading.columns.has_pair,
        "can_lens": source is not None and has_lens(source.model),
        "can_ablate": source is not None and has_sites(source.model),
        "has_rollout": reading.is_square and list(reading.numbers) == list(range(len(reading.numbers))),
        "half": reading.layers[0].dtype == torch.float16,
        "notices": [list(notice) for notice in reading.notices],
    }


def check_alike(reading: Reading, other: Reading) -> None:
    mine = [tuple(layer.shape) for layer in reading.layers]
    theirs = [tuple(layer.shape) for layer in other.layers]
    if mine == theirs and reading.numbers == other.numbers:
        return
    if len(reading.rows) != len(other.rows):
        raise InputError(
            f"The two texts cannot be compared: one has {len(reading.rows)} tokens, the other {len(other.rows)}.",
            next_step="Compare texts of as many tokens, for instance with one word changed.",
        )
    raise InputError(
        f"The two cannot be compared: one has {len(mine)} layers with {list(reading.heads)} heads, the other {len(theirs)} with "
        f"{list(other.heads)}.",
        next_step="Compare two checkpoints of one architecture.",
    )


def for_page(tokens: Tokens) -> dict[str, Any]:
    """What the page must know of tokens."""
    return {
        "labels": list(tokens.labels),
        "special": [i for i, special in enumerate(tokens.special) if special],
        "segments": list(tokens.segments) if tokens.has_pair else None,
        "words": list(tokens.words),
        "word_labels": list(tokens.word_labels),
    }


def names_of(tokens: Tokens, groups: list[list[int]]) -> list[str]:
    return [
        tokens.labels[group[0]] if len(group) == 1 else tokens.word_labels[tokens.words[group[0]]] for group in groups
    ]


def lens_of(values: dict[str, Any]) -> Lens:
    direction = str(values.get("direction", "all"))
    return Lens(
        hide_special=bool(values.get("hide")),
        renormalise=bool(values.get("renormalise")),
        direction=direction if direction in ("a_to_b", "b_to_a") else "all",
        merge_words=bool(values.get("merge")),
    )


def quantised(weights: Tensor, signed: bool = False) -> tuple[np.ndarray, float, bool]:
    """A byte a weight: 0 to 255 for 0 to the scale, or 1 to 255 around 128 for signed weights."""
    scale = float(weights.abs().max()) if weights.numel() else 0.0
    signed = signed or bool((weights < 0).any())
    top = scale if scale > 0 and math.isfinite(scale) else 1.0
    data = (128 + weights / top * 127) if signed else weights / top * 255
    return data.round().to(torch.uint8).numpy(), top, signed


def pooled(weights: Tensor) -> np.ndarray:
    """`(heads, rows, columns)` to at most 32 x 32: of each field the weight that is farthest from zero."""
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


def indices(given: Any, most: int) -> list[int]:
    return [int(i) for i in given or [] if 0 <= int(i) < most]
