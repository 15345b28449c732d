"""Two texts side by side: which tokens of one stand for which of the other, and matrices over the tokens of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import torch

from notebook_kit.inspection.attention.axes import Axis, TokenAxis
from notebook_kit.inspection.attention.lens import Shown

__all__ = ["Pairing", "difference", "pair_axes"]


@dataclass(frozen=True, eq=False)
class Pairing:
    """The tokens of two texts on one axis.

    Args:
        axis: The tokens of the first text, then those that only the second one has, so that the first text keeps its positions.
        of_other: The position on `axis` of each token of the second text.
        order: All positions of `axis`, in reading order.
        other_labels: The label of each position of `axis` in the second text.
    """

    axis: Axis
    of_other: tuple[int, ...]
    order: tuple[int, ...]
    other_labels: tuple[str, ...]

    def moved(self, groups: Sequence[Sequence[int]]) -> list[list[int]]:
        """Groups of tokens of the second text, by their positions on `axis`."""
        return [[self.of_other[position] for position in group] for group in groups]


def pair_axes(mine: Axis, other: Axis) -> Pairing:
    """Pair the tokens of two texts: equal ones in order, and of those between, the first with the first, and so on.

    Texts with equally many tokens are paired by position.

    Example:
        >>> from notebook_kit.inspection.attention.axes import named_tokens
        >>> pairing = pair_axes(named_tokens(["a", "small", "cat"]), named_tokens(["a", "very", "large", "cat"]))
        >>> pairing.axis.labels, pairing.of_other, pairing.order
        (('a', 'small', 'cat', 'large'), (0, 1, 3, 2), (0, 1, 3, 2))
    """
    if len(mine) == len(other) or not (isinstance(mine, TokenAxis) and isinstance(other, TokenAxis)):
        places = tuple(range(len(mine)))
        return Pairing(mine, places, places, other.labels)
    of_other: list[int] = [-1] * len(other)
    order: list[int] = []
    extra: list[int] = []  # the tokens that only the second text has
    for _, a, b, c, d in SequenceMatcher(None, mine.labels, other.labels, autojunk=False).get_opcodes():
        for step in range(max(b - a, d - c)):
            number = a + step if a + step < b else len(mine) + len(extra)
            order.append(number)
            if c + step < d:
                of_other[c + step] = number
                if number >= len(mine):
                    extra.append(c + step)
    labels = [*mine.labels, *(other.labels[i] for i in extra)]
    for position, number in enumerate(of_other):
        labels[number] = other.labels[position]
    return Pairing(_with_extra(mine, other, extra), tuple(of_other), tuple(order), tuple(labels))


def _with_extra(mine: TokenAxis, other: TokenAxis, extra: Sequence[int]) -> TokenAxis:
    first = max(mine.words, default=-1) + 1
    words = list(dict.fromkeys(other.words[i] for i in extra))
    ids = mine.ids is not None and other.ids is not None
    return replace(
        mine,
        labels=(*mine.labels, *(other.labels[i] for i in extra)),
        special=(*mine.special, *(other.special[i] for i in extra)),
        words=(*mine.words, *(first + words.index(other.words[i]) for i in extra)),
        word_labels=(*mine.word_labels[:first], *(other.word_labels[word] for word in words)),
        segments=(*mine.segments, *(other.segments[i] for i in extra)),
        ids=(*(mine.ids or ()), *((other.ids or ())[i] for i in extra)) if ids else None,
    )


def difference(mine: Shown, other: Shown, rows: Pairing, columns: Pairing) -> Shown:
    """The first matrix minus the second, over the tokens of both; a token that a text lacks has the weight 0 there."""
    row_groups, left, right = _united(mine.rows, rows.moved(other.rows), rows.order)
    column_groups, upper, lower = _united(mine.columns, columns.moved(other.columns), columns.order)
    size = (*mine.weights.shape[:-2], len(row_groups), len(column_groups))
    result = torch.zeros(size, dtype=mine.weights.dtype)
    result[..., torch.tensor(left)[:, None], torch.tensor(upper)] = mine.weights
    result[..., torch.tensor(right)[:, None], torch.tensor(lower)] -= other.weights
    return Shown(result, row_groups, column_groups)


def _united(
    mine: list[list[int]], other: list[list[int]], order: Sequence[int]
) -> tuple[list[list[int]], list[int], list[int]]:
    """The groups of both in reading order, and where those of each are among them."""
    owner = {number: i for i, group in enumerate(mine) for number in group}
    partner: dict[int, int] = {}  # group of `other` -> group of `mine`
    for j, group in enumerate(other):
        found = next((owner[number] for number in group if number in owner), None)
        if found is not None and found not in partner.values():
            partner[j] = found
    groups = [*mine, *(group for j, group in enumerate(other) if j not in partner)]
    place = {number: i for i, number in enumerate(order)}
    sequence = sorted(range(len(groups)), key=lambda i: place[groups[i][0]])
    at = {group: i for i, group in enumerate(sequence)}
    rest = iter(range(len(mine), len(groups)))
    return (
        [groups[i] for i in sequence],
        [at[i] for i in range(len(mine))],
        [at[partner[j]] if j in partner else at[next(rest)] for j in range(len(other))],
    )
