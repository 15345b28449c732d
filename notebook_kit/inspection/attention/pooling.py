"""Attention over many frames or patches, merged while it is recorded so that it stays small."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from notebook_kit.inspection.attention.axes import Axis, Groups

__all__ = ["MOST_CELLS", "Pooling"]

MOST_CELLS = 160_000
"""Weights per head to which frames and patches of a sound are pooled: 400 x 400."""


class Pooling:
    """How the positions of a matrix are merged: those that attend by their mean, those attended to by their sum.

    Rows then still sum to 1, and a merged weight is that of a whole stretch on another one.

    Args:
        rows: The axis that attends.
        columns: The axis attended to; the same object if it is the same.
        is_whole: Merge padding only.

    Attributes:
        rows, columns: The axes of the merged matrix.
        row_groups, column_groups: The positions of the axes that were given which each of those stands for; None for one each.
        merges: Whether other positions than padding are merged.

    Example:
        >>> from notebook_kit.inspection.attention.sound_axes import Frames
        >>> frames = Frames(4, 0.5, recorded=1.0)
        >>> pooling = Pooling(frames, frames)
        >>> pooling(torch.full((1, 4, 4), 0.25)).tolist(), pooling.rows.labels
        ([[[0.25, 0.25, 0.5], [0.25, 0.25, 0.5], [0.25, 0.25, 0.5]]], ('0.00 s', '0.50 s', '[PAD]'))
    """

    def __init__(self, rows: Axis, columns: Axis, is_whole: bool = False) -> None:
        shortest = [axis.pooled()[0] for axis in (rows, columns)]
        cells = len(shortest[0]) * len(shortest[1])
        can_merge = [axis.pooled(2)[1] is not None for axis in (rows, columns)]
        excess = 1.0 if is_whole else max(1.0, cells / MOST_CELLS)
        parts = math.ceil(math.sqrt(excess) if all(can_merge) else excess)
        self.merges = parts > 1 and any(can_merge)
        self.rows, self.row_groups = rows.pooled(parts)
        self.columns, self.column_groups = (self.rows, self.row_groups) if columns is rows else columns.pooled(parts)

    def __call__(self, weights: Tensor) -> Tensor:
        """The merged weights, on the CPU if anything is merged.

        Args:
            weights: `(heads, from, to)`.
        """
        if self.row_groups is None and self.column_groups is None:
            return weights
        values = weights.float().cpu().numpy()
        if self.column_groups is not None:
            values = _sums(values, self.column_groups, axis=2)
        if self.row_groups is not None:
            sizes = np.array([len(group) for group in self.row_groups], dtype=np.float32)[:, None]
            values = _sums(values, self.row_groups, axis=1) / sizes
        return torch.from_numpy(values)


def _sums(values: np.ndarray, groups: Groups, axis: int) -> np.ndarray:
    """The sum of each group of positions. (A matrix product would spread a NaN over all of them.)"""
    order = np.concatenate([np.asarray(group) for group in groups])
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
    if not np.array_equal(order, np.arange(len(order))):
        values = values.take(order, axis)
    return np.add.reduceat(values, starts, axis)
