"""The thread that sends updates to the page, so that training does not wait for them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

__all__ = ["BYTES_PER_MINUTE", "Keyframes", "Sender"]

logger = logging.getLogger("notebook_kit")

PERIOD = 0.2
"""Seconds between two updates: a chart that moves five times per second looks smooth."""

SHARE = 0.0025
"""The fraction of a processor that updates may use: expensive updates are sent less often."""

SLOWEST = 1.0
"""Maximum number of seconds between two updates, however expensive."""

BYTES_PER_MINUTE = 1_800_000
BURST = 400_000
"""Bytes that may be sent at once after a quiet period."""

KEYFRAMES = (1.0, 3.0, 8.0, 20.0, 45.0)
"""Seconds after the start of a run at which everything is sent to the page, and after that once per minute: for a page that
missed a message while the kernel is too busy to answer requests."""


class Keyframes:
    """Decides when everything is sent to the page.

    Example:
        >>> keyframes = Keyframes()
        >>> keyframes.restart(now=100.0)
        >>> [keyframes.is_due(now) for now in (100.5, 101.5, 102.0, 130.0, 140.0)]
        [False, True, False, True, False]
    """

    def __init__(self) -> None:
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """Start counting at the beginning of a run, `now` in seconds."""
        self._began, self._passed = now, 0

    def is_due(self, now: float) -> bool:
        """Whether the next of these times has been reached."""
        is_due = False
        while now - self._began > self._next():
            self._passed, is_due = self._passed + 1, True
        return is_due

    def _next(self) -> float:
        return KEYFRAMES[self._passed] if self._passed < len(KEYFRAMES) else 60.0 * (self._passed - 4)


class Sender:
    """Calls `push` repeatedly until it returns None.

    Args:
        push: Sends an update; returns its size in bytes, or None once the run has ended and everything has been sent.

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
        """Whether the thread is running."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread, if it is not running."""
        if self.is_alive:
            return
        self._wake.clear()
        self._hurry.clear()
        self._thread = threading.Thread(target=self._run, name="notebook_kit-dashboard", daemon=True)
        self._thread.start()

    def finish(self, timeout: float = 3.0) -> None:
        """Send the rest now, and wait until it is sent, for at most `timeout` seconds."""
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
            except Exception:  # a closed page must not end the training
                logger.debug("The dashboard could not send an update", exc_info=True)
                size = 0
            if size is None:
                return
            self._wake.wait(0.01 if self._hurry.is_set() else self._pause(size, time.thread_time() - began))

    def _pause(self, size: int, spent: float = 0.0) -> float:
        """Seconds to wait after an update of `size` bytes that took `spent` seconds of processor time, to stay within both limits."""
        now, rate = time.monotonic(), BYTES_PER_MINUTE / 60
        self._left = min(BURST, self._left + (now - self._moment) * rate) - size
        self._moment = now
        return max(PERIOD, min(SLOWEST, spent / SHARE), -self._left / rate)
