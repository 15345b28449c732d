"""Losses far above those before them."""

from __future__ import annotations

import math

__all__ = ["Spikes"]

DECAY = 0.95  # of the averages, which span about 20 steps
FIRST = 20  # steps before which nothing is unusual
DEVIATIONS = 6.0
TIMES = 1.5


class Spikes:
    """Finds spikes in a series of losses, with a few additions per loss.

    A loss is a spike if it is above 1.5 times the moving average, and above it by more than six times the average deviation.
    It does not enter the averages, and the next 20 steps are not spikes.

    Example:
        >>> spikes = Spikes()
        >>> [spikes.above(step, 1.0 + 0.1 * (step % 2)) for step in range(30)] == [None] * 30
        True
        >>> round(spikes.above(30, 9.0), 1)
        1.1
    """

    def __init__(self) -> None:
        self._mean = self._deviation = 0.0
        self._seen = 0
        self._quiet_until = -1

    def above(self, step: int, loss: float) -> float | None:
        """The usual loss, if this one is a spike; otherwise None.

        Args:
            step: The step.
            loss: Its loss.
        """
        if not math.isfinite(loss):
            return None
        gap = loss - self._mean
        if self._seen >= FIRST and gap > DEVIATIONS * self._deviation and loss > TIMES * self._mean > 0:
            if step <= self._quiet_until:
                return None
            self._quiet_until = step + FIRST
            return self._mean
        self._seen += 1
        weight = max(1 - DECAY, 1 / self._seen)  # a plain mean until there are enough
        self._mean += weight * gap
        self._deviation += weight * (abs(gap) - self._deviation) if self._seen > 1 else 0.0
        return None
