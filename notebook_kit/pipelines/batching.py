"""Sorting sequences into length-alike batches, and padding each batch into tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["length_alike_batches", "pad_features"]


def length_alike_batches(
    lengths: Sequence[int], *, most: int | None = None, budget: int | None = None, padding: bool = True
) -> list[list[int]]:
    """Divide sequences into batches of about the same length.

    The longest come first, so that a batch which does not fit into memory fails at the start of a run.

    Args:
        lengths: The length of each sequence, in tokens.
        most: The most sequences in one batch; `None` for no such limit.
        budget: The most tokens in one batch, padding counted; `None` for no such limit. A sequence longer than the
            budget gets a batch of its own. A batch that has a quarter of its budget takes no more padding.
        padding: Whether sequences of different lengths may share a batch.

    Returns:
        For each batch the positions of its sequences in `lengths`. Each position is in exactly one batch.

    Example:
        >>> length_alike_batches([3, 9, 4, 8], budget=40)
        [[1, 3], [2, 0]]
        >>> length_alike_batches([3, 9, 4, 8], most=1)
        [[1], [3], [2], [0]]
    """
    batches: list[list[int]] = []
    room = longest = 0
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[position]
        if room and length != longest:
            # Measured: from some 200 tokens on, a larger batch gains less than padding costs.
            enough = budget is not None and len(batches[-1]) * longest >= budget / 4
            room = 0 if enough or not padding else room
        if not room:
            longest = length
            room = len(lengths)
            if budget is not None:
                room = max(1, budget // max(1, longest))
            if most is not None:
                room = min(room, most)
            batches.append([])
        batches[-1].append(position)
        room -= 1
    return batches


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
