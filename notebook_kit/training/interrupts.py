"""Keyboard interrupts of a run (Ctrl-C, or a notebook's stop button)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch


class Interrupts:
    """Defers the first interrupt until the optimizer update in progress is done; a second one takes effect at once.

    This keeps the weights, the optimizer and the step count consistent.
    """

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within this block the first interrupt only sets `requested`."""
        self.requested = self._at_once = False
        try:
            former = signal.signal(signal.SIGINT, self._note)
        except ValueError:  # not the main thread, the only one that signals interrupt
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, former)

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Within this block the first interrupt waits for the end of the block, for work such as an import."""
        with self.held():
            yield
        if self.requested:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this block (an evaluation, which changes no weights) an interrupt takes effect at once.

        One that comes while `torch.no_grad` begins or ends would leave gradients off; the former mode is restored.
        """
        if self.requested:
            raise KeyboardInterrupt
        self._at_once, gradients = True, torch.is_grad_enabled()
        try:
            yield
        finally:
            self._at_once = False
            torch.set_grad_enabled(gradients)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested or self._at_once:
            self.requested = True
            raise KeyboardInterrupt
        self.requested = True
