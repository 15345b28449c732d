"""Requests from outside to end a run: Ctrl-C or a notebook's stop button (SIGINT), or the end of a machine (SIGTERM)."""

from __future__ import annotations

import os
import signal
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import torch

PASSED_ON = 5.0
"""Seconds within which a launcher of several processes passes on an interrupt that the processes have already got themselves."""


class Interrupts:
    """Defers the first interrupt until the optimizer update in progress is done; a second one takes effect at once.

    This keeps the weights, the optimizer and the step count consistent.

    Attributes:
        requested: Whether the run should end after the update in progress.
        terminated: Whether the process should end too: it got SIGTERM, as a batch system, a container or a spot machine sends
            before it kills the process. If the program has its own handler of SIGTERM, that one is called instead.
    """

    def __init__(self) -> None:
        self.requested = self.terminated = False
        self._at_once = False
        self._noted = 0.0  # when the last one came

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within this block the first interrupt only sets `requested`."""
        self.requested = self.terminated = self._at_once = False
        former: dict[signal.Signals, Any] = {}
        with suppress(ValueError):  # not the main thread, the only one that signals interrupt
            former[signal.SIGINT] = signal.signal(signal.SIGINT, self._note)
            if _is_replaceable(signal.getsignal(signal.SIGTERM)):
                former[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Within this block the first interrupt waits for the end of the block, for work such as an import."""
        with self.held():
            yield
        if self.requested:
            raise self.error("before its first step")

    def guard_process(self) -> None:
        """Let SIGTERM end this run, which is on another thread, before it ends the process; until `release`."""
        _in_background.add(self)
        with suppress(ValueError):  # not the main thread
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, _end_background_runs)

    def release(self) -> None:
        """The run of `guard_process` has ended."""
        _in_background.discard(self)

    def error(self, message: str) -> BaseException:
        """The exception that ends the run: SystemExit with the status 143 after SIGTERM, otherwise KeyboardInterrupt."""
        return SystemExit(128 + signal.SIGTERM) if self.terminated else KeyboardInterrupt(message)

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
        again, self.requested = self.requested, True
        first, self._noted = self._noted, time.monotonic()
        if again and int(os.environ.get("WORLD_SIZE", "1")) > 1 and self._noted - first < PASSED_ON:
            again = False
        if number == signal.SIGTERM:  # often sent twice, to the process and to its group
            again, self.terminated = False, True
        if again or self._at_once:
            raise KeyboardInterrupt


def _is_replaceable(handler: Any) -> bool:
    """Whether a handler of SIGTERM is not that of the program."""
    # Processes forked by torch's launcher, as in a notebook, inherit the launcher's handler, which ends the step in progress.
    of_launcher = getattr(handler, "__module__", "").startswith("torch.distributed.elastic")
    return handler in (signal.SIG_DFL, _end_background_runs) or of_launcher


_in_background: weakref.WeakSet[Interrupts] = weakref.WeakSet()


def _end_background_runs(number: int, frame: FrameType | None) -> None:
    """The handler of SIGTERM during background runs. The process waits for them when it exits."""
    runs = list(_in_background)
    if not runs:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    elif not all(run.terminated for run in runs):  # it is often sent twice
        for run in runs:
            run.requested = run.terminated = True
        raise SystemExit(128 + number)
