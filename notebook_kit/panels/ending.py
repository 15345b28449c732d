"""Threads of panels that end before the process does: one that is still computing with torch then would abort it."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["EndingThread"]

LAST_SECONDS = 10.0
"""How long the end of the process waits for the threads together."""

_running: set[EndingThread] = set()


class EndingThread(threading.Thread):
    """A daemon thread that is stopped, and waited for, when the process ends.

    Args:
        target: What it does.
        name: Its name.
        stop: Asks it to end soon.

    Example:
        >>> stopped = threading.Event()
        >>> thread = EndingThread(stopped.wait, "example", stopped.set)
        >>> thread.start()
        >>> thread.stop()
        >>> thread.join()
    """

    def __init__(self, target: Callable[[], Any], name: str, stop: Callable[[], Any]) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self.stop = stop

    def start(self) -> None:
        """Start the thread."""
        _running.add(self)
        super().start()

    def run(self) -> None:
        """What the thread does."""
        try:
            super().run()
        finally:
            _running.discard(self)


@atexit.register
def _end_all() -> None:
    threads = list(_running)
    for thread in threads:
        thread.stop()
    deadline = time.monotonic() + LAST_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
