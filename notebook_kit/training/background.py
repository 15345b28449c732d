"""Training on a background thread, which leaves the notebook free, and the handle to wait for it."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import logging
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import ConfigurationError, RunTimeoutError
from notebook_kit.training.recording.controls import ControlsCallback, RunControls

if TYPE_CHECKING:
    from notebook_kit.training.evaluation import TrainOutput
    from notebook_kit.training.state import TrainerLike

__all__ = ["BackgroundRun"]

logger = logging.getLogger(__name__)

LAST_STEP = 60.0  # seconds that runs get to finish their step and write a checkpoint when the process ends


class BackgroundRun:
    """A run of a Trainer on a background thread, as returned by `trainer.train(background=True)`.

    The run is the same as that of `trainer.train()`. It shares the process's random number generators with all other
    code, so the weights are the same as in the foreground only if no other cell draws random numbers.

    `run.wait()` waits for the end of the run. So does `await run`, which keeps a notebook's kernel responsive. When the
    process ends, also by SIGTERM, the run stops after its current step and writes a checkpoint, unless `save_strategy` is "no".

    Attributes:
        trainer: The Trainer.
        controls: For further requests: `run.controls.save()`, `.evaluate()`, `.set_learning_rate(1e-5)`.

    Example:
        >>> import tempfile, torch
        >>> from notebook_kit import Trainer, TrainingArguments
        >>> class Line(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = torch.nn.Linear(1, 1)
        ...     def forward(self, x, labels=None):
        ...         y = self.layer(x).squeeze(-1)
        ...         return {"loss": ((y - labels) ** 2).mean(), "logits": y}
        >>> data = [{"x": [float(i)], "labels": 2.0 * i} for i in range(8)]
        >>> args = TrainingArguments(tempfile.mkdtemp(), max_steps=3, use_cpu=True, save_strategy="no", disable_tqdm=True)
        >>> trainer = Trainer(Line(), args, train_dataset=data)
        >>> trainer.pop_callback(trainer.callbacks[-1]) is not None  # quietly
        True
        >>> run = trainer.train(background=True)
        >>> run.wait().global_step
        3
        >>> run
        <BackgroundRun: finished at step 3 of 3>
    """

    def __init__(self, trainer: TrainerLike, train: Callable[[], TrainOutput]) -> None:
        self.trainer = trainer
        self.controls = _controls_of(trainer)
        self._future: Future[TrainOutput] = Future()
        self._future.set_running_or_notify_cancel()  # so it cannot be cancelled by whoever awaits it
        self._waiting = 0
        # The thread runs in the context of the cell that starts it, so its output appears below that cell.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._work, train), name="notebook_kit-training", daemon=True
        )
        _claim(trainer, self._thread)
        self.controls.expect()
        _end_with_process(self)
        trainer.interrupts.guard_process()
        self._thread.start()

    def _work(self, train: Callable[[], TrainOutput]) -> None:
        output, error = None, None
        try:
            output = train()
        except BaseException as raised:
            error = raised
        self.trainer.interrupts.release()
        if self.trainer.run_thread is self._thread:  # already cleared if train returned normally
            self.trainer.run_thread = None
        if error is not None and not self._waiting:
            logger.error(
                "The background run ended with %s: %s (its wait() raises this error)", type(error).__name__, error
            )
        if output is not None:
            self._future.set_result(output)
        else:
            self._future.set_exception(error)

    # ----------------------------------------------------------------------------------------------------- waiting

    def wait(self, timeout: float | None = None) -> TrainOutput:
        """Wait until the run ends.

        An interrupt (the stop button of a notebook, Ctrl-C) stops only the waiting; the run continues.

        Args:
            timeout: Maximum seconds to wait; None: no limit.

        Returns:
            The result of `trainer.train()`.

        Raises:
            RunTimeoutError: (a TimeoutError) if the run takes longer than `timeout`.
            KeyboardInterrupt: if the waiting was interrupted.
            Exception: the exception of the run, if it failed.
        """
        self._waiting += 1
        try:
            wait_for([self._future], timeout)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"Only the waiting was stopped. The run continues in the background, {_progress(self.trainer)}: run.stop() ends it,"
                " run.wait() waits again."
            ) from None
        finally:
            self._waiting -= 1
        if not self.done:
            raise RunTimeoutError(
                f"The run is still in progress after {timeout:g} seconds: {_progress(self.trainer)}.",
                next_step="Wait longer, or end it with run.stop().",
            )
        return self._future.result()

    def __await__(self) -> Generator[Any, None, TrainOutput]:
        return self._wait_in_loop().__await__()

    async def _wait_in_loop(self) -> TrainOutput:
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._future)
        finally:
            self._waiting -= 1

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self._future.done()

    def exception(self) -> BaseException | None:
        """The exception that ended the run; None if it is in progress or ended normally."""
        return self._future.exception() if self.done else None

    # -------------------------------------------------------------------------------------------------- requests

    def stop(self, keep_best: bool = True) -> None:
        """End the run after its current step, without an error.

        Args:
            keep_best: Load the weights of the best checkpoint into the model, if there is one.
        """
        self.controls.stop(keep_best)

    def pause(self) -> None:
        """Pause after the current step, until `resume` or `stop`."""
        self.controls.pause()

    def resume(self) -> None:
        """Continue after a pause."""
        self.controls.resume()

    def __repr__(self) -> str:
        if not self.done:
            status = self.controls.status if self.controls.status in ("paused", "stopping") else "running"
        elif error := self.exception():
            status = f"ended with {type(error).__name__}"
        else:
            status = "stopped" if self.controls.stopped else "finished"
        return f"<BackgroundRun: {status} {_progress(self.trainer)}>"


def _controls_of(trainer: TrainerLike) -> RunControls:
    """The controls of the first callback that has any; otherwise those of a callback that is added."""
    for callback in trainer.callbacks:
        controls = getattr(callback, "controls", None)
        if isinstance(controls, RunControls):
            return controls
    added = ControlsCallback()
    trainer.add_callback(added)
    return added.controls


def _claim(trainer: TrainerLike, thread: threading.Thread) -> None:
    with _claims:
        if trainer.run_thread is not None and trainer.run_thread is not thread:
            raise _busy(trainer, "train a second time")
        trainer.run_thread = thread


def _progress(trainer: TrainerLike) -> str:
    state = trainer.state
    return f"at step {state.global_step} of {state.max_steps}" if state.max_steps else "before its first step"


def _busy(trainer: TrainerLike, wish: str) -> ConfigurationError:
    return ConfigurationError(
        f"This Trainer cannot {wish}: it has a run in progress, {_progress(trainer)}.",
        next_step="Wait for it with run.wait(), end it with run.stop(), or let it evaluate with run.controls.evaluate()"
        " (run is what train(background=True) returned). To train a second model, create a second Trainer.",
    )


@contextmanager
def one_run(trainer: TrainerLike) -> Iterator[None]:
    """Within this block the Trainer is in use by the current thread.

    Raises:
        ConfigurationError: if it already has a run in progress.
    """
    if trainer.is_in_train:
        raise _busy(trainer, "train a second time")
    _claim(trainer, threading.current_thread())
    try:
        yield
    finally:
        trainer.run_thread = None


def check_free(trainer: TrainerLike, wish: str) -> None:
    """Raise a ConfigurationError if another thread is training the Trainer's model."""
    if trainer.run_thread not in (None, threading.current_thread()):
        raise _busy(trainer, f"run an {wish}" if wish[0] in "aeiou" else f"run a {wish}")


# ------------------------------------------------------------------------------------------------ when the process ends

_claims = threading.Lock()
_runs: weakref.WeakSet[BackgroundRun] = weakref.WeakSet()


def _end_with_process(run: BackgroundRun) -> None:
    if not len(_runs):
        # Registering again makes it the first to be called, while the record of the run is still open.
        atexit.unregister(_end_all)
        atexit.register(_end_all)
    _runs.add(run)


def _end_all() -> None:
    unfinished = [run for run in _runs if not run.done]
    for run in unfinished:
        run.trainer.interrupts.requested = True
    wait_for([run._future for run in unfinished], LAST_STEP)
