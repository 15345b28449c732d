"""Batches of features that cost about the same, and padding."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["pad_features", "similar_batches"]


def similar_batches(
    costs: Sequence[int],
    groups: Sequence[Hashable] | None = None,
    *,
    most: int | None = None,
    budget: int | None = None,
) -> list[list[int]]:
    """Divide features into batches of about the same cost.

    The most expensive come first, so that a batch which does not fit into memory fails at the start of a run.

    Args:
        costs: What each feature costs: its tokens, pixels or samples. A batch costs its size times its largest feature.
        groups: Features of different groups never share a batch; `None` puts all into one group.
        most: The maximum number of features per batch; `None` for no such limit.
        budget: The maximum cost of one batch, padding included; `None` for no such limit. A feature above the budget
            gets a batch to itself. A batch that has used a quarter of its budget takes no more padding.

    Returns:
        For each batch the positions of its features in `costs`. Each position is in exactly one batch.

    Example:
        >>> similar_batches([3, 9, 4, 8], budget=40)
        [[1, 3], [2, 0]]
        >>> similar_batches([3, 9, 4, 8], groups=["a", "a", "b", "a"])
        [[1, 3, 0], [2]]
    """
    if len(costs) == 1:
        return [[0]]
    members: dict[Hashable, list[int]] = {}
    for position in sorted(range(len(costs)), key=lambda i: -costs[i]):
        members.setdefault(groups[position] if groups else None, []).append(position)
    batches: list[list[int]] = []
    for positions in members.values():
        room = largest = 0
        for position in positions:
            # Measured on texts: from some 200 tokens on, a larger batch gains less than padding costs.
            if room and costs[position] != largest and budget and len(batches[-1]) * largest >= budget / 4:
                room = 0
            if not room:
                largest = costs[position]
                room = len(costs) if budget is None else max(1, budget // max(1, largest))
                room = room if most is None else min(room, most)
                batches.append([])
            batches[-1].append(position)
            room -= 1
    return sorted(batches, key=lambda batch: -costs[batch[0]])


def pad_features(
    features: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    *,
    fill: Mapping[str, int | float] | None = None,
    side: str = "right",
) -> dict[str, torch.Tensor]:
    """Make one batch of tensors from features of one sequence each.

    Args:
        features: Each maps a name to a list of numbers, an array, or a tensor, of shape `(length, ...)`.
        names: The entries to take; one that the features do not have is passed over.
        fill: What to pad an entry with, 0 where it is not named.
        side: "right" or "left", where the padding goes.

    Returns:
        A dict of tensors of shape `(len(features), longest, ...)`.

    Example:
        >>> pad_features([{"input_ids": [5, 6, 7]}, {"input_ids": [8]}], ["input_ids"], fill={"input_ids": 1})
        {'input_ids': tensor([[5, 6, 7],
                [8, 1, 1]])}
    """
    batch: dict[str, torch.Tensor] = {}
    for name in names:
        if name not in features[0]:
            continue
        values = [feature[name] for feature in features]
        if isinstance(values[0], list):
            batch[name] = _pad_lists(values, (fill or {}).get(name, 0), side)
        else:
            batch[name] = _pad_tensors([torch.as_tensor(v) for v in values], (fill or {}).get(name, 0), side)
    return batch


def _pad_lists(rows: list[list], value: int | float, side: str) -> torch.Tensor:
    longest = max(map(len, rows))
    if any(len(row) != longest for row in rows):
        blanks = [[value] * (longest - len(row)) for row in rows]
        rows = [row + blank if side == "right" else blank + row for row, blank in zip(rows, blanks, strict=True)]
    # Through numpy, which reads nested lists several times faster than torch does.
    return torch.from_numpy(np.array(rows))


def _pad_tensors(rows: list[torch.Tensor], value: int | float, side: str) -> torch.Tensor:
    if all(row.shape == rows[0].shape for row in rows):
        return torch.stack(rows)
    longest = max(row.shape[0] for row in rows)
    out = rows[0].new_full((len(rows), longest, *rows[0].shape[1:]), value)
    for i, row in enumerate(rows):
        start = 0 if side == "right" else longest - row.shape[0]
        out[i, start : start + row.shape[0]] = row
    return out
