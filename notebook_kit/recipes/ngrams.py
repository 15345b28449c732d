"""An n-gram model as a baseline for language models: interpolated modified Kneser-Ney smoothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["KneserNey"]


class KneserNey:
    """Interpolated modified Kneser-Ney smoothing (Chen and Goodman, An Empirical Study of Smoothing Techniques for Language
    Modeling, 1999, section 3), down to a uniform distribution.

    Args:
        texts: Texts as token ids. Each is padded with `order - 1` end tokens before it and one after it.
        order: The length of the longest n-grams.
        size: Number of tokens in the vocabulary; `size ** order` must fit in 63 bits.
        end: The id of the end token.

    Raises:
        ValueError: `size ** order` does not fit in 63 bits.

    Example:
        >>> model = KneserNey([[1, 2, 1, 2], [1, 2, 3]], order=2, size=4, end=0)
        >>> everywhere = [model.probabilities(np.array([[1, token]]))[0] for token in range(4)]
        >>> int(np.argmax(everywhere)), round(float(sum(everywhere)), 6)
        (2, 1.0)
    """

    def __init__(self, texts: Sequence[Sequence[int]], order: int, size: int, end: int = 0) -> None:
        if size**order >= 2**63:
            raise ValueError(f"{order}-grams of {size} tokens do not fit in 63 bits")
        self.order, self.size, self.end = order, size, end
        grams, counts = np.unique(self._keys(self.windows(texts)), return_counts=True)
        self.levels: list[_Level] = []
        for length in range(order, 0, -1):
            self.levels.insert(0, _Level(grams, counts, size))
            if length > 1:  # the count of a shorter n-gram is the number of distinct tokens before it
                grams, counts = np.unique(grams % size ** (length - 1), return_counts=True)

    def windows(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Each token with its context: `(tokens, order)`, including the end token of each text."""
        rows = []
        for text in texts:
            padded = np.array([*[self.end] * (self.order - 1), *text, self.end], dtype=np.int64)
            rows.append(np.lib.stride_tricks.sliding_window_view(padded, self.order))
        return np.concatenate(rows)

    def probabilities(self, windows: np.ndarray) -> np.ndarray:
        """The probability of the last token in each row of `(rows, order)`, given the others: `(rows,)`."""
        found = np.full(len(windows), 1 / self.size)
        for length, level in enumerate(self.levels, start=1):
            found = level.interpolate(self._keys(windows[:, -length:]), found)
        return found

    def nats(self, texts: Sequence[Sequence[int]]) -> float:
        """The negative log-likelihood of the texts including their end tokens, in nats."""
        return float(-np.log(self.probabilities(self.windows(texts))).sum())

    def _keys(self, grams: np.ndarray) -> np.ndarray:
        keys = np.zeros(len(grams), dtype=np.int64)
        for column in grams.T:
            keys = keys * self.size + column
        return keys


class _Level:
    """N-grams of one length: their counts, and the discounts that reserve probability for unseen ones."""

    def __init__(self, grams: np.ndarray, counts: np.ndarray, size: int) -> None:
        self.grams, self.counts, self.size = grams, counts, size
        n1, n2, n3, n4 = (float((counts == times).sum()) for times in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2) if n1 + n2 else 0.0
        discounts = [
            times - (times + 1) * y * above / here if here else 0.0
            for times, here, above in ((1, n1, n2), (2, n2, n3), (3, n3, n4))
        ]
        self.discounts = np.clip([0.0, *discounts], 0.0, [0.0, 1.0, 2.0, 3.0])
        contexts = grams // size  # sorted, like the n-grams
        self.contexts, starts = np.unique(contexts, return_index=True)
        self.totals = np.add.reduceat(counts, starts).astype(np.float64)
        self.held_back = np.add.reduceat(self.discounts[np.minimum(counts, 3)], starts)

    def interpolate(self, keys: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Interpolate with the probabilities `lower` of the level below, which are returned alone for unseen contexts."""
        place, seen = _find(self.contexts, keys // self.size)
        total = np.where(seen, self.totals[place], 1.0)
        weight = np.where(seen, self.held_back[place] / total, 1.0)
        gram, there = _find(self.grams, keys)
        count = np.where(there, self.counts[gram], 0)
        return np.maximum(count - self.discounts[np.minimum(count, 3)], 0) / total + weight * lower


def _find(table: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indices of keys in a sorted table, and whether each key is there."""
    place = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return place, table[place] == keys
