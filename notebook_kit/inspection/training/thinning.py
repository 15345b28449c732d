"""Thinning of a series of any length to at most 1,000 buckets that keep its extremes."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["BUCKETS", "COLUMNS", "Thinned"]

BUCKETS = 1000
"""The maximum number of buckets per series; each is drawn as two points, its least and its greatest value."""

COLUMNS = 6
"""The rows of the packed buckets, four bytes per number: step of the last point (int32), then least, greatest and mean of the
finite values, seconds since the start of the run, and number of non-finite values (float32)."""

LARGEST = float(np.finfo(np.float32).max)


class Thinned:
    """The buckets of one series, kept up to date as it grows.

    A bucket holds `width` consecutive points. If there would be more than `BUCKETS`, neighbours are merged and `width`
    doubles, so the cost of a new point does not grow with the run, and extremes are never lost.

    Args:
        begin: The start of the run, in seconds; times are relative to it.

    Example:
        >>> series = Thinned()
        >>> series.extend(range(1, 4), [3.0, 1.0, float("nan")], [0.0, 1.0, 2.0])
        >>> series.count, series.width, series.least, series.last, int(series.packed().view("float32")[5].sum())
        (3, 1, (1.0, 2), (1.0, 2), 1)
        >>> series.extend(range(4, 2002), [0.5] * 1998, [3.0] * 1998)
        >>> series.width, series.packed().shape
        (4, (6, 501))
    """

    def __init__(self, begin: float = 0.0) -> None:
        self.begin = begin
        self.width = 1
        self.count = 0
        self.least: tuple[float, int] | None = None
        self.greatest: tuple[float, int] | None = None
        self.last: tuple[float, int] | None = None
        """The last finite value and its step."""
        self.last_step = 0
        self.changed = 0
        """The first bucket that is new or has changed since the last call of `take_changes`."""
        self._size = 0
        self._steps = np.zeros(BUCKETS + 1, np.int64)
        self._low, self._high, self._sum, self._times = (np.zeros(BUCKETS + 1) for _ in range(4))
        self._good, self._bad = (np.zeros(BUCKETS + 1, np.int64) for _ in range(2))

    def __len__(self) -> int:
        return self._size

    def extend(self, steps: Any, values: Any, times: Any) -> None:
        """Add points: arrays or lists of equal length, in the order of the steps."""
        values = np.asarray(values, dtype=np.float64)
        added = len(values)
        if not added:
            return
        steps, times = np.asarray(steps, dtype=np.int64), np.asarray(times, dtype=np.float64)
        finite = np.isfinite(values)
        self._note(steps, values, finite)
        while -(-(self.count + added) // self.width) > BUCKETS:
            self._merge()
        first = self.count // self.width
        starts = np.arange(first + 1, (self.count + added - 1) // self.width + 1) * self.width - self.count
        edges = np.concatenate([[0], starts])
        low = np.minimum.reduceat(np.where(finite, values, np.inf), edges)
        high = np.maximum.reduceat(np.where(finite, values, -np.inf), edges)
        total = np.add.reduceat(np.where(finite, values, 0.0), edges)
        good = np.add.reduceat(finite.astype(np.int64), edges)
        ends = np.concatenate([starts, [added]])
        where = slice(first, first + len(edges))
        if first < self._size:  # the last bucket was not full yet
            low[0], high[0] = min(low[0], self._low[first]), max(high[0], self._high[first])
            total[0] += self._sum[first]
            good[0] += self._good[first]
            before = self._bad[first]
        else:
            before = 0
        self._low[where], self._high[where], self._sum[where], self._good[where] = low, high, total, good
        self._steps[where], self._times[where] = steps[ends - 1], times[ends - 1] - self.begin
        self._bad[where] = np.diff(np.concatenate([[0], ends])) - np.add.reduceat(finite.astype(np.int64), edges)
        self._bad[first] += before
        self._size = first + len(edges)
        self.changed = min(self.changed, first)
        self.count += added
        self.last_step = int(steps[-1])

    def _note(self, steps: np.ndarray, values: np.ndarray, finite: np.ndarray) -> None:
        places = np.flatnonzero(finite)
        if not len(places):
            return
        low, high = places[values[places].argmin()], places[values[places].argmax()]
        if self.least is None or values[low] < self.least[0]:
            self.least = float(values[low]), int(steps[low])
        if self.greatest is None or values[high] > self.greatest[0]:
            self.greatest = float(values[high]), int(steps[high])
        self.last = float(values[places[-1]]), int(steps[places[-1]])

    def _merge(self) -> None:
        size, half = self._size, -(-self._size // 2)
        for column, joined in (
            (self._low, np.minimum),
            (self._high, np.maximum),
            (self._sum, np.add),
            (self._good, np.add),
            (self._bad, np.add),
        ):
            pairs = joined(column[0 : size // 2 * 2 : 2], column[1 : size // 2 * 2 : 2])
            if size % 2:
                column[half - 1] = column[size - 1]
            column[: size // 2] = pairs
        for column in (self._steps, self._times):
            kept = column[np.minimum(np.arange(half) * 2 + 1, size - 1)]
            column[:half] = kept
        self._size, self.width, self.changed = half, self.width * 2, 0

    def packed(self, first: int = 0) -> np.ndarray:
        """The buckets from number `first` on, `(COLUMNS, buckets)`, int32; all rows but the first hold the bits of float32.

        A bucket without finite values has NaN for its least, greatest and mean.
        """
        part = slice(first, self._size)
        packed = np.empty((COLUMNS, self._size - first), dtype=np.int32)
        packed[0] = np.clip(self._steps[part], -(2**31), 2**31 - 1)
        numbers = packed[1:].view(np.float32)
        good = self._good[part]
        some = good > 0
        for row, column in enumerate((self._low[part], self._high[part], self._sum[part] / np.maximum(good, 1))):
            numbers[row] = np.where(some, np.clip(column, -LARGEST, LARGEST), np.nan)
        numbers[3], numbers[4] = self._times[part], self._bad[part]
        return packed

    def take_changes(self) -> tuple[int, np.ndarray]:
        """The changes since the last call: the number of the first changed bucket, and the buckets from there on."""
        first, self.changed = min(self.changed, self._size), self._size
        return first, self.packed(first)
