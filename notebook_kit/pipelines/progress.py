"""One progress bar for a long run."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["Progress"]


class Progress:
    """A bar that appears once a run has lasted `delay` seconds, in a notebook as in a terminal.

    Args:
        total: How many inputs there are, `None` if unknown.
        label: What stands before the bar.
        show: `True` shows the bar from the start, `False` never, `None` after `delay`.
        delay: Seconds.

    Example:
        >>> bar = Progress(2, "text-classification", show=None)
        >>> bar.add(2)
        >>> bar.shown
        False
        >>> bar.close()
    """

    def __init__(self, total: int | None, label: str, *, show: bool | None = None, delay: float = 2.0) -> None:
        self.total = total
        self.label = label
        self.show = show
        self.delay = delay
        self.done = 0
        self._start = time.monotonic()
        self._bar: Any = None

    @property
    def shown(self) -> bool:
        """Whether the bar is on the screen."""
        return self._bar is not None

    def add(self, inputs: int) -> None:
        """Count `inputs` more as done."""
        if self.show is False:
            return
        self.done += inputs
        if self._bar is not None:
            self._bar.update(inputs)
            return
        elapsed = time.monotonic() - self._start
        # A run that is nearly over needs no bar.
        nearly_over = self.total is not None and self.done >= self.total
        if self.show or (elapsed >= self.delay and not nearly_over):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self.total, initial=self.done, desc=self.label, unit=" inputs")
            self._bar.start_t -= elapsed
            self._bar.initial = 0

    def close(self) -> None:
        """Take the bar's listeners off; it stays on the screen as it is."""
        if self._bar is not None:
            self._bar.close()
