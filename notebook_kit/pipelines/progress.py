"""One progress bar for a long run."""

from __future__ import annotations

import time
from typing import Any

from notebook_kit.progress import lenient_bar
from notebook_kit.utils.logging import is_progress_bar_enabled

__all__ = ["Progress"]


class Progress:
    """A bar that appears once a run has lasted `delay` seconds, in notebooks and terminals.

    Args:
        total: The number of inputs, `None` if unknown.
        label: The text before the bar.
        show: `True` shows the bar from the start, `False` never, `None` after `delay`.
        delay: In seconds.

    Example:
        >>> bar = Progress(2, "text-classification", show=None)
        >>> bar.add(2)
        >>> bar.close()  # too short for a bar
    """

    def __init__(self, total: int | None, label: str, *, show: bool | None = None, delay: float = 2.0) -> None:
        self.total = total
        self.label = label
        self.show = show if is_progress_bar_enabled() else False
        self.delay = delay
        self.done = 0
        self._start = time.monotonic()
        self._bar: Any = None

    def add(self, inputs: int) -> None:
        """Add `inputs` to the number of inputs done."""
        if self.show is False:
            return
        self.done += inputs
        if self._bar is not None:
            self._bar.update(inputs)
            return
        elapsed = time.monotonic() - self._start
        finished = self.total is not None and self.done >= self.total
        if self.show or (elapsed >= self.delay and not finished):
            from tqdm.auto import tqdm

            bar = lenient_bar(tqdm)
            self._bar = bar(total=self.total, initial=self.done, desc=self.label, unit=" inputs")
            if not self._bar.disable:
                self._bar.start_t -= elapsed
                self._bar.initial = 0

    def close(self) -> None:
        """End the bar, which stays on the screen."""
        if self._bar is not None:
            self._bar.close()
