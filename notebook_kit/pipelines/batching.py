"""Batches of features of similar cost."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

__all__ = ["similar_batches"]


def similar_batches(
    costs: Sequence[int],
    groups: Sequence[Hashable] | None = None,
    *,
    most: int | None = None,
    budget: int | None = None,
) -> list[list[int]]:
    """Divide features into batches of similar cost.

    The most expensive batches come first, so that one that does not fit into memory fails at the start of a run.

    Args:
        costs: The cost of each feature: its tokens, pixels or samples. A batch costs its number of features times the
            cost of its largest feature.
        groups: The group of each feature; features of different groups never share a batch. `None` puts all into one group.
        most: The maximum number of features per batch; `None` for no limit.
        budget: The maximum cost of one batch, padding included; `None` for no limit. A feature above the budget gets a
            batch to itself. A batch that has used a quarter of its budget accepts no more padding.

    Returns:
        Per batch, the positions of its features in `costs`. Each position is in exactly one batch.

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
            # Measured on texts: above about 200 tokens, a larger batch gains less than padding costs.
            if room and costs[position] != largest and budget and len(batches[-1]) * largest >= budget / 4:
                room = 0
            if not room:
                largest = costs[position]
                room = len(costs) if budget is None else max(1, budget // max(1, largest))
                room = min(room, most or room)
                batches.append([])
            batches[-1].append(position)
            room -= 1
    return sorted(batches, key=lambda batch: -costs[batch[0]])
