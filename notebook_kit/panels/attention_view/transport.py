"""Attention as it is sent to the page: one byte per weight, and thumbnails."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from notebook_kit.inspection.attention.lens import Lens

__all__ = ["THUMBNAIL", "indices", "lens_of", "pooled", "quantised"]

THUMBNAIL = 32


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
