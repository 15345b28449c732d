"""The thread that sends the page what is new, so that training does not wait for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

__all__ = ["BYTES_A_MINUTE", "Keyframes", "Sender"]

logger = logging.getLogger("notebook_kit")

PERIOD = 0.2
"""Seconds between two refreshes: a chart that moves five times a second is smooth to the eye."""

SHARE = 0.0025
"""The part of a processor that refreshes may take: where one costs more, they come less often."""

SLOWEST = 1.0
"""Seconds between two refreshes at most, whatever they cost."""

BYTES_A_MINUTE = 1_800_000
BURST = 400_000
"""Bytes that may be sent at once after a time of quiet."""

KEYFRAMES = (1.0, 3.0, 8.0, 20.0, 45.0)
"""Seconds after the start of a run at which the page is sent everything, then once a minute: for a page that missed something
while the kernel is too busy to be asked."""


class Keyframes:
    """Decides when the page is sent everything.

    Example:
        >>> keyframes = Keyframes()
        >>> keyframes.restart(now=100.0)
        >>> [keyframes.is_due(now) for now in (100.5, 101.5, 102.0, 130.0, 140.0)]
        [False, True, False, True, False]
    """

    def __init__(self) -> None:
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """Start counting: a run begins."""
        self._began, self._passed = now, 0

    def is_due(self, now: float) -> bool:
        """Whether the next moment has been reached."""
        is_due = False
        while now - self._began > self._next():
            self._passed, is_due = self._passed + 1, True
        return is_due

    def _next(self) -> float:
        return KEYFRAMES[self._passed] if self._passed < len(KEYFRAMES) else 60.0 * (self._passed - 4)


class Sender:
    """Calls `push` repeatedly until it returns None.

    Args:
        push: Sends what is new; returns its size in bytes, or None once the run has ended and everything was sent.

    Example:
        >>> sizes = [10, 10, None]
        >>> sender = Sender(lambda: sizes.pop(0))
        >>> sender.start()
        >>> sender.finish()
        >>> sizes
        []
    """

    def __init__(self, push: Callable[[], int | None]) -> None:
        self._push = push
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._left, self._moment = float(BURST), time.monotonic()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin, if it does not run already."""
        if self.is_alive:
            return
        self._wake.clear()
        self._hurry.clear()
        self._thread = threading.Thread(target=self._run, name="notebook_kit-dashboard", daemon=True)
        self._thread.start()

    def finish(self, timeout: float = 3.0) -> None:
        """Send the rest now, and wait until that is done, or for `timeout` seconds."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        self._hurry.set()
        self._wake.set()
        thread.join(timeout)

    def _run(self) -> None:
        while True:
            began = time.thread_time()
            try:
                size = self._push()
            except Exception:  # a page that is gone must not end a training
                logger.debug("nothing could be sent", exc_info=True)
                size = 0
            if size is None:
                return
            self._wake.wait(0.01 if self._hurry.is_set() else self._pause(size, time.thread_time() - began))

    def _pause(self, size: int, spent: float = 0.0) -> float:
        """Seconds to wait after so many bytes, made in so many seconds, such that both stay within bounds."""
        now, rate = time.monotonic(), BYTES_A_MINUTE / 60
        self._left = min(BURST, self._left + (now - self._moment) * rate) - size
        self._moment = now
        return max(PERIOD, min(SLOWEST, spent / SHARE), -self._left / rate)
