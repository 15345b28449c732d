"""One generation on a thread: its steps are reported as they come, and it can be stopped and waited for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from notebook_kit.errors import NotebookKitError
from notebook_kit.inspection.generation.steps import Branch, Step
from notebook_kit.inspection.generation.writer import Writer
from notebook_kit.panels import busy
from notebook_kit.panels.panel import described

__all__ = ["Generation"]

logger = logging.getLogger("notebook_kit")

REFRESH_SECONDS = 0.1


class Generation:
    """One generation.

    Args:
        branch: What is written on; its steps grow.
        writer: The model.
        settings: As `Writer.write` takes them.
        seed: Of the draws.
        shown_before: The number of the branch that was shown when it began.

    Attributes:
        thread: The thread that writes.
        problem: Why it failed, `{what, next_step}`; empty otherwise.
        made: How many tokens it has written, once it has ended.
    """

    def __init__(self, branch: Branch, writer: Writer, settings: dict[str, Any], seed: int, shown_before: int) -> None:
        self.branch, self.writer, self.settings, self.seed = branch, writer, settings, seed
        self.shown_before = shown_before
        self.problem: dict[str, str] = {}
        self.made = 0
        self.thread = threading.Thread(target=self._work, name="notebook_kit-generation", daemon=True)
        self._stop = threading.Event()

    def start(self, on_news: Callable[[Generation, int], None], on_end: Callable[[Generation], None]) -> None:
        """Begin to write.

        Args:
            on_news: Called now and then, on the thread, with the position of the first token that is new.
            on_end: Called on the thread once it has ended.
        """
        self._on_news, self._on_end = on_news, on_end
        self.thread.start()

    def stop(self) -> None:
        """End it after the current token; what was written stays."""
        self._stop.set()

    def wait(self, widget: Any, timeout: float | None = None) -> None:
        """Wait until it has ended. An interrupt stops it.

        Args:
            widget: The panel, whose button "Stop" is heard while a cell waits.
            timeout: Seconds to wait at most; for ever unless given.
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
        last = began = time.monotonic()

        def goes_on(step: Step) -> bool:
            nonlocal reported, last
            branch.steps.append(step)
            if time.monotonic() - last >= REFRESH_SECONDS:
                self._on_news(self, reported)
                reported, last = len(branch.steps), time.monotonic()
            return not self._stop.is_set()

        try:
            begun = Branch(**{**vars(branch), "steps": list(branch.steps)})
            branch.ended = self.writer.write(begun, self.settings, self.seed, goes_on)
        except Exception as error:
            branch.ended, self.problem = "failed", described(error)
            if not isinstance(error, NotebookKitError):
                logger.exception("A generation failed")
        self.made = len(branch.steps) - before
        branch.rate = self.made / (time.monotonic() - began) if self.made > 1 else None
        self._on_end(self)
