"""A generation on a thread, which reports its steps as they come and can be stopped and waited for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from notebook_kit.errors import NotebookKitError
from notebook_kit.inspection.generation.steps import Branch, Step
from notebook_kit.inspection.generation.writer import Writer
from notebook_kit.panels import busy
from notebook_kit.panels.ending import EndingThread
from notebook_kit.panels.panel import described

__all__ = ["Generation"]

logger = logging.getLogger("notebook_kit")

REFRESH_SECONDS = 0.1


class Generation:
    """One generation.

    Args:
        branch: The branch to continue; its steps grow.
        writer: The model.
        settings: The settings for `Writer.write`.
        seed: The seed for sampling.
        shown_before: The number of the branch that was shown when it started.

    Attributes:
        thread: The thread that writes.
        problem: Why it failed, `{what, next_step}`; empty otherwise.
        count: The number of tokens it has written, once it has ended.
    """

    def __init__(self, branch: Branch, writer: Writer, settings: dict[str, Any], seed: int, shown_before: int) -> None:
        self.branch, self.writer, self.settings, self.seed = branch, writer, settings, seed
        self.shown_before = shown_before
        self.problem: dict[str, str] = {}
        self.count = 0
        self.thread = EndingThread(self._work, "notebook_kit-generation", self.stop)
        self._stop = threading.Event()

    def start(self, on_news: Callable[[Generation, int], None], on_end: Callable[[Generation], None]) -> None:
        """Start writing.

        Args:
            on_news: Called on the thread from time to time, with the position of the first new token.
            on_end: Called on the thread at the end.
        """
        self._on_news, self._on_end = on_news, on_end
        self.thread.start()

    def stop(self) -> None:
        """Stop after the current token; what was written stays."""
        self._stop.set()

    def wait(self, widget: Any, timeout: float | None = None) -> None:
        """Wait until it has ended. An interrupt stops it.

        Args:
            widget: The panel, whose "Stop" button works while a cell waits.
            timeout: The maximum number of seconds to wait; None for no limit.
        """
        thread = self.thread
        if thread is threading.current_thread():
            return
        limit = None if timeout is None else time.monotonic() + timeout
        hears = busy.hear(widget) if thread.is_alive() and timeout is None else "none"
        try:
            while thread.is_alive() and (limit is None or time.monotonic() < limit):
                try:
                    thread.join(0.05 if limit is None else min(0.05, max(0.0, limit - time.monotonic())))
                    if hears == "poll":
                        busy.poll()
                except KeyboardInterrupt:
                    self.stop()
        finally:
            if hears == "poll":
                busy.forget(widget)

    def _work(self) -> None:
        branch = self.branch
        reported = before = len(branch.steps)
        last = started = time.monotonic()

        def on_step(step: Step) -> bool:
            nonlocal reported, last
            branch.steps.append(step)
            if time.monotonic() - last >= REFRESH_SECONDS:
                self._on_news(self, reported)
                reported, last = len(branch.steps), time.monotonic()
            return not self._stop.is_set()

        try:
            beginning = replace(branch, steps=list(branch.steps))
            branch.ended = self.writer.write(beginning, self.settings, self.seed, on_step)
        except Exception as error:
            branch.ended, self.problem = "failed", described(error)
            if not isinstance(error, NotebookKitError):
                logger.exception("A generation failed")
        self.count = len(branch.steps) - before
        branch.rate = self.count / (time.monotonic() - started) if self.count > 1 else None
        self._on_end(self)
