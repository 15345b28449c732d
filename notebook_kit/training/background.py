"""Training on a background thread, which leaves the notebook free, and the handle to wait for it."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import logging
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import ConfigurationError, RunTimeoutError
from notebook_kit.training.recording.controls import ControlsCallback, RunControls

if TYPE_CHECKING:
    from notebook_kit.training.evaluation import TrainOutput
    from notebook_kit.training.state import TrainerLike

__all__ = ["BackgroundRun"]

logger = logging.getLogger(__name__)

LAST_STEP = 60.0  # seconds that an ending process gives a run to finish its step and write a checkpoint


class BackgroundRun:
    """A run of a Trainer on a background thread: what `trainer.train(background=True)` returns.

    The thread trains exactly what `trainer.train()` would have trained. It shares the process's random number generators
    with everything else, so the weights are the same as in the foreground only if no other cell draws from them.

    `run.wait()` waits; so does `await run`, which keeps a notebook's kernel responsive (its buttons, its other tasks).
    When the process ends, the run stops at its next step and writes a checkpoint, unless `save_strategy` is "no".

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
        self._output: TrainOutput | None = None
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._waiting = 0
        # With the context of the cell that starts it, so that its output appears below that cell.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._work, train), name="notebook_kit-training", daemon=True
        )
        _claim(trainer, self._thread)
        self.controls.expect()
        _end_with_process(self)
        self._thread.start()

    def _work(self, train: Callable[[], TrainOutput]) -> None:
        try:
            self._output = train()
        except BaseException as error:
            self._error = error
        finally:
            if self.trainer.run_thread is self._thread:  # already cleared, if train returned normally
                self.trainer.run_thread = None
            with self._lock:
                self._ended.set()
                listeners, self._listeners = self._listeners, []
            for listener in listeners:
                listener()
        if self._error is not None and not (self._waiting or listeners):
            logger.error(
                "The run in the background ended with %s: %s (its wait() raises it)",
                type(self._error).__name__,
                self._error,
            )

    # ----------------------------------------------------------------------------------------------------- waiting

    def wait(self, timeout: float | None = None) -> TrainOutput:
        """Wait until the run ends.

        An interrupt (the stop button of a notebook, Ctrl-C) ends only the waiting; the run continues.

        Args:
            timeout: Maximum seconds to wait; None: no limit.

        Returns:
            What `trainer.train()` returns.

        Raises:
            RunTimeoutError: (a TimeoutError) if it takes longer than `timeout`.
            KeyboardInterrupt: if the waiting was interrupted.
            Exception: what the run ended with, if it failed.
        """
        self._waiting += 1
        try:
            over = self._ended.wait(timeout)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"Only the waiting was stopped: {self._progress()}, in the background. run.stop() ends it, run.wait()"
                " waits again."
            ) from None
        finally:
            self._waiting -= 1
        if not over:
            raise RunTimeoutError(
                f"The run is still in progress after {timeout:g} seconds: {self._progress()}.",
                next_step="Wait longer, or end it with run.stop().",
            )
        return self._outcome()

    def __await__(self) -> Generator[Any, None, TrainOutput]:
        return self._wait_in_loop().__await__()

    async def _wait_in_loop(self) -> TrainOutput:
        loop = asyncio.get_running_loop()
        over = loop.create_future()

        def resolve() -> None:
            if not over.done():  # the waiting may have been cancelled
                over.set_result(None)

        def notify() -> None:
            with suppress(RuntimeError):  # the loop was closed in the meantime
                loop.call_soon_threadsafe(resolve)

        with self._lock:
            if self._ended.is_set():
                over.set_result(None)
            else:
                self._listeners.append(notify)
        await over
        return self._outcome()

    def _outcome(self) -> TrainOutput:
        if self._error is not None:
            raise self._error
        assert self._output is not None
        return self._output

    @property
    def done(self) -> bool:
        """Whether the run is over."""
        return self._ended.is_set()

    def exception(self) -> BaseException | None:
        """The exception that ended the run; None if it is in progress or ended normally."""
        return self._error

    # -------------------------------------------------------------------------------------------------- requests

    def stop(self, keep_best: bool = True) -> None:
        """End the run after its present step, without an error.

        Args:
            keep_best: Load the weights of the best checkpoint into the model, if there is one.
        """
        self.controls.stop(keep_best)

    def pause(self) -> None:
        """Pause after the present step, until `resume` or `stop`."""
        self.controls.pause()

    def resume(self) -> None:
        """Continue after a pause."""
        self.controls.resume()

    def _progress(self) -> str:
        state = self.trainer.state
        return f"at step {state.global_step} of {state.max_steps}" if state.max_steps else "before its first step"

    def __repr__(self) -> str:
        if not self.done:
            status = self.controls.status if self.controls.status in ("paused", "stopping") else "running"
        elif self._error is not None:
            status = f"ended with {type(self._error).__name__}"
        else:
            status = "stopped" if self.controls.stopped else "finished"
        return f"<BackgroundRun: {status} {self._progress()}>"


def _controls_of(trainer: TrainerLike) -> RunControls:
    """The controls of the first callback that has some; a callback is added if none has."""
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


def _busy(trainer: TrainerLike, wish: str) -> ConfigurationError:
    state = trainer.state
    return ConfigurationError(
        f"This Trainer is at step {state.global_step} of {state.max_steps} of a run, and cannot {wish} meanwhile.",
        next_step="Wait for it with run.wait(), end it with run.stop(), or let it evaluate with run.controls.evaluate()"
        " (run is what train(background=True) returned); a second model takes a second Trainer.",
    )


@contextmanager
def one_run(trainer: TrainerLike) -> Iterator[None]:
    """Within this block the Trainer is in use by the present thread.

    Raises:
        ConfigurationError: if it has another run already.
    """
    if trainer.is_in_train:
        raise _busy(trainer, "train a second time")
    _claim(trainer, threading.current_thread())
    try:
        yield
    finally:
        trainer.run_thread = None


def check_free(trainer: TrainerLike, wish: str) -> None:
    """Raise a ConfigurationError if the Trainer's model is in training on another thread."""
    if trainer.run_thread not in (None, threading.current_thread()):
        raise _busy(trainer, f"run an {wish}" if wish[0] in "aeiou" else f"run a {wish}")


# ------------------------------------------------------------------------------------------------ when the process ends

_claims = threading.Lock()
_runs: weakref.WeakSet[BackgroundRun] = weakref.WeakSet()


def _end_with_process(run: BackgroundRun) -> None:
    if not len(_runs):
        # Registered again with a new run, so that it is called before what was registered until now: the record must be open.
        atexit.unregister(_end_all)
        atexit.register(_end_all)
    _runs.add(run)


def _end_all() -> None:
    unfinished = [run for run in _runs if not run.done]
    for run in unfinished:
        run.trainer.interrupts.requested = True
    for run in unfinished:
        run._ended.wait(LAST_STEP)
