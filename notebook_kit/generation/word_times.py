"""When each token was said: a path through the attention from tokens to frames, found by dynamic time warping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["median_filtered", "token_times", "warp"]


def token_times(weights: Tensor, seconds: float, filter_width: int) -> Tensor:
    """The moment at which each token begins, `(tokens,)` in seconds.

    Args:
        weights: `(heads, tokens, frames)`, the cross-attention of heads that follow the speech.
        seconds: Duration of a frame.
        filter_width: Width of the median filter along the frames.

    Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022, and the code published with it.
    """
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, correction=0)
    scores = median_filtered((weights - mean) / std, filter_width).mean(dim=0)
    tokens, frames = warp(-scores.double().cpu().numpy())
    begins = np.diff(tokens, prepend=-1).astype(bool)  # the path's first frame of each token
    return torch.from_numpy(frames[begins] * seconds).float()


def median_filtered(x: Tensor, width: int) -> Tensor:
    """Each value replaced by the median of the `width` values around it in the last dimension, mirrored at the ends."""
    margin = width // 2
    if x.shape[-1] <= margin:
        return x
    return F.pad(x, (margin, margin), mode="reflect").unfold(-1, width, 1).sort().values[..., margin]


def warp(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest path from the first to the last corner of a matrix, in steps to the next row, column, or both.

    Args:
        costs: `(rows, columns)`.

    Returns:
        The row and the column of each place on the path.

    Source: Sakoe and Chiba, Dynamic Programming Algorithm Optimization for Spoken Word Recognition, 1978.

    Example:
        >>> rows, columns = warp(np.array([[0.0, 0.0, 9.0], [9.0, 9.0, 0.0]]))
        >>> rows.tolist(), columns.tolist()
        ([0, 0, 1], [0, 1, 2])
    """
    N, M = costs.shape
    total = np.full((N + 1, M + 1), np.inf, dtype=np.float32)
    total[0, 0] = 0
    step = np.full((N + 1, M + 1), 2, dtype=np.int8)  # 0: from both, 1: from the row above, 2: from the column before
    step[1:, 0] = 1
    for diagonal in range(2, N + M + 1):  # the places on a diagonal do not depend on each other
        i = np.arange(max(1, diagonal - M), min(N, diagonal - 1) + 1)
        j = diagonal - i
        both, above, before = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        choice = np.where((both < above) & (both < before), 0, np.where((above < both) & (above < before), 1, 2))
        total[i, j] = costs[i - 1, j - 1] + np.choose(choice, [both, above, before])
        step[i, j] = choice
    return _path(step)


def _path(step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places on the path that these steps describe, from the first."""
    i, j = step.shape[0] - 1, step.shape[1] - 1
    places: list[Sequence[int]] = []
    while i > 0 or j > 0:
        places.append((i - 1, j - 1))
        back = step[i, j]
        i, j = i - (back != 2), j - (back != 1)
    rows, columns = np.array(places[::-1], dtype=np.int64).T
    return rows, columns
