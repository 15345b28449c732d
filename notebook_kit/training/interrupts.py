"""Stopping a run by hand: the interrupt of the keyboard or of a notebook's stop button."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Holds back the first interrupt until the optimizer update in progress is done; a second one takes effect at once.

    So the weights, the optimizer and the count of steps always match.
    """

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within this block the first interrupt only sets `requested`."""
        self.requested = self._at_once = False
        # Signals can be handled only in the main thread, the only one they interrupt.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        try:
            former = signal.signal(signal.SIGINT, self._note)
        except ValueError:
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, former)

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Within this block the first interrupt waits for its end: for work that must not be left half done, such as an import."""
        with self.held():
            yield
        if self.requested:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this block (an evaluation, which changes no weights) an interrupt takes effect at once."""
        if self.requested:
            raise KeyboardInterrupt
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested or self._at_once:
            self.requested = True
            raise KeyboardInterrupt
        self.requested = True
