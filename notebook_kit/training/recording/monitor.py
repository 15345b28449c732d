"""A callback that records a run and carries out requests to it, without displaying anything."""

from __future__ import annotations

import atexit
import logging
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from notebook_kit.errors import NonFiniteLossError
from notebook_kit.training.callbacks import TrainerCallback
from notebook_kit.training.recording.controls import RunControls, planned_learning_rates, record_rows
from notebook_kit.training.recording.record import RunRecord, checked_step, continued_run, is_number, name_in, new_run
from notebook_kit.training.recording.row_order import RowOrder
from notebook_kit.training.recording.spikes import Spikes
from notebook_kit.training.recording.steps import MEMORY_EVERY, ModelHook, Steps, memory
from notebook_kit.training.state import LastStep, TrainerControl

__all__ = ["RunMonitor"]

FACTS = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "optim",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "max_grad_norm",
    "bf16",
    "fp16",
    "seed",
)
IDLE_EVERY = 0.1  # seconds

logger = logging.getLogger(__name__)


class RunMonitor(TrainerCallback):
    """Records a run: for `Trainer(callbacks=[RunMonitor()])` of this library or of `transformers`, and for your own loops.

    For each step, the record has these numbers, if known: `loss`, `learning_rate` and `grad_norm` of the step, `step_time`
    (seconds), `samples_per_second`, `tokens_per_second` (without padding) and `epoch`; once per second also `memory` and
    `gpu_memory` (bytes). All logs are added too. The mean loss that a Trainer logs is named `logged_loss`, or `loss`
    if the loss of each step is unknown (a `transformers` Trainer with a custom `compute_loss`). A NaN or infinite loss is an
    event "nonfinite" at its step.

    The record is written to `run_dir`, by default to `runs/<name>` in the Trainer's output folder. The name is
    `args.run_name` or the date and time. If `args.save_strategy` is "no", it is not written, because such a run should not
    leave files. A resumed run continues the record of the run that wrote its checkpoint, and sets again the learning rates
    that were set by hand after that checkpoint.

    Args:
        record: The record to fill; None: a new one.
        controls: The source of requests; None: new controls.
        run_dir: Folder of the record; None: see above.
        tokens: Count tokens.

    Attributes:
        record, controls: As passed or created.
        order: Which rows of the dataset each step has, for `Trainer.rows_at`.
        idle: Called between steps, at most ten times per second, and while paused; for a front end that has no other way
            to reach the kernel.
        calling_thread: The thread of a Trainer's run in progress, or None.

    Example:
        >>> with RunMonitor() as monitor:
        ...     for loss in (0.9, 0.5):
        ...         monitor.log(loss=loss)
        >>> monitor.record.series["loss"].values.tolist(), monitor.controls.status
        ([0.9, 0.5], 'ended')
    """

    def __init__(
        self,
        record: RunRecord | None = None,
        controls: RunControls | None = None,
        *,
        run_dir: str | Path | None = None,
        tokens: bool = True,
    ) -> None:
        self.record = record if record is not None else RunRecord()
        self.controls = controls if controls is not None else RunControls()
        self.idle: Callable[[], None] | None = None
        self.tokens = tokens
        self._run_dir = Path(run_dir).expanduser() if run_dir is not None else None
        if self._run_dir is not None:
            self.record.attach(self._run_dir)
        self._given_place = self.record.run_dir is not None
        self.calling_thread: threading.Thread | None = None
        self._abandoned: weakref.finalize | None = None
        self._active = False
        self._hook: ModelHook | None = None
        self.order = RowOrder(None)
        self._writer = _Writer(self.record)
        self._steps = Steps(self._writer.log)
        self._step = 0
        self._each_step: set[str] = set()
        self._learning_rate: float | None = None
        self._best: Any = None
        self._clock = self._memory_at = self._idle_at = 0.0
        self._loop = SimpleNamespace(optimizer=None, control=TrainerControl())

    # ------------------------------------------------------------------------------------------------- a Trainer's run

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        self.close_run("replaced")
        step = state.global_step
        self._choose_place(args, step)
        record = self.record
        replay = planned_learning_rates(record.events, step)
        model = kwargs.get("model")
        trainer = kwargs.get("trainer")
        record.event("begin", step, **({"learning_rates": [list(entry) for entry in replay]} if replay else {}))
        record.describe(
            max_steps=state.max_steps,
            num_train_epochs=state.num_train_epochs,
            model=type(model).__name__,
            parameters=sum(parameter.numel() for parameter in model.parameters()) if model is not None else None,
            trainer="notebook_kit" if trainer is not None else "transformers",
            hyperparameters={name: _plain(getattr(args, name)) for name in FACTS if hasattr(args, name)},
            output_dir=str(args.output_dir),
            **_branch_facts(trainer, step),
        )
        self._step, self._best, self._each_step = step, state.best_metric, set()
        alone = trainer is not None and getattr(args, "world_size", 1) == 1
        self._writer = _Writer(record, self.controls if alone else None)
        self.order = RowOrder(record.run_dir)
        self._steps = Steps(self._writer.log_later, record.flush, getattr(args, "world_size", 1), self.tokens)
        if trainer is None and model is not None and not getattr(args, "torch_compile", False):
            self._hook = ModelHook(model)
        # A failed Trainer may be garbage-collected together with this monitor; its last steps are still written.
        self._abandoned = weakref.finalize(self, _abandon, self._steps, record, self._hook, self.order)
        self._active = True
        self.calling_thread = threading.current_thread()
        self.controls.begin(replay)
        _watch(self)
        self._clock, self._memory_at = time.perf_counter(), 0.0

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = kwargs.get("trainer")
        if self._active and trainer is not None and trainer.loop is not None:
            self._note_order(trainer, state.global_step)
        self._clock = time.perf_counter()

    def _note_order(self, trainer: Any, step: int) -> None:
        position = trainer.loop.position
        try:
            if batches := trainer.loop.rows_of_epoch():
                self.order.begin_epoch(position.epoch, batches)
                accumulation = trainer.args.gradient_accumulation_steps
                where = {"epoch": position.epoch, "batch": position.batches, "accumulation": accumulation}
                self.record.event("epoch", step, **where)
        except OSError as error:
            logger.debug("The order of the rows is not recorded: %s", error)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._active:
            return
        self._note_best(args, state)
        if self.controls.status == "paused":
            self._apply(args, state, control, kwargs, between_steps=True)
            self._clock = time.perf_counter()
        if self._hook is not None and kwargs.get("optimizer") is not None:
            self._learning_rate = float(kwargs["optimizer"].param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._active:
            return
        now = time.perf_counter()
        self._step = step = state.global_step
        trainer = kwargs.get("trainer")
        last = trainer.last_step if trainer is not None else self._last_of_hook()
        if not self._each_step:
            known = {name: getattr(last, name) for name in ("loss", "grad_norm", "learning_rate")}
            self._each_step = {"epoch", *(name for name, value in known.items() if value is not None)}
        self._steps.note(step, now - self._clock, now, state.epoch, last)
        if self.controls.has_requests:
            self._steps.process()
            self._apply(args, state, control, kwargs)
        if self.idle is not None and now - self._idle_at >= IDLE_EVERY:
            self._idle_at = now
            self.idle()
        self._clock = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero or not logs:
            return
        numbers = {name: float(value) for name, value in logs.items() if is_number(value)}
        if "train_runtime" in numbers:  # the summary at the end of a run
            self.record.describe(summary=numbers)
            return
        if self._active:
            numbers = {name: value for name, value in numbers.items() if name not in self._each_step or name == "loss"}
            if "loss" in self._each_step and "loss" in numbers:
                numbers["logged_loss"] = numbers.pop("loss")
        names = set(numbers) - {"epoch"}
        if self._active and names == {"logged_loss"}:  # the mean of losses that are queued
            self._steps.add(state.global_step, time.perf_counter(), numbers)
        elif names:
            self._writer.log(state.global_step, numbers, None)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if self._active:
            numbers = {name: float(value) for name, value in (metrics or {}).items() if is_number(value)}
            self.record.event("evaluate", state.global_step, metrics=numbers)
            self._clock = time.perf_counter()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._active:
            self._note_best(args, state)
            self.record.event("save", state.global_step, checkpoint=f"checkpoint-{state.global_step}")
            _write_order(self.order)  # a resumed run does not repeat these epochs
            self._clock = time.perf_counter()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._active:
            return
        self._note_best(args, state)
        trainer = kwargs.get("trainer")
        details: dict[str, Any] = {}
        if trainer is not None:
            self._steps.process()  # which may find a spike
            self.controls.measure_pending(self.record, trainer, self.order)
        if trainer is not None and trainer.interrupts.requested:
            reason = "interrupted"
        elif self.controls.stopped:
            reason = "stopped"
            details = self.controls.finish(args, state, kwargs.get("model"))
        else:
            reason = "finished" if state.global_step >= state.max_steps else "ended early"
        self.close_run(reason, **details)

    def on_error(self, args: Any, state: Any, control: Any, error: BaseException | None = None, **kwargs: Any) -> None:
        if not self._active:
            return
        if isinstance(error, KeyboardInterrupt):
            self.close_run("interrupted")
            return
        self.record.event("error", state.global_step, type=type(error).__name__, message=str(error)[:2000])
        if isinstance(error, NonFiniteLossError) and error.rows and kwargs.get("trainer") is not None:
            record_rows(self.record, kwargs["trainer"], error.step, error.rows, "nonfinite")
        self.close_run("error")

    def branched(self) -> RunMonitor:
        """The monitor of a branch: the same, with its own record."""
        return RunMonitor(tokens=self.tokens)

    def on_push_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An upload to the Hub begins. The `transformers` Trainer calls this method on every callback."""

    def update(self) -> None:
        """Process all pending steps now; otherwise a step is recorded within 0.2 seconds."""
        self._steps.process()
        self.record.flush()
        _write_order(self.order)

    # ------------------------------------------------------------------------------------------------------ your own loop

    def log(self, step: int | None = None, **values: Any) -> None:
        """Record values of your own loop; waits while it is paused.

        Args:
            step: The step; None: one after the step of the last call.
            values: Name -> number, or a tensor of one number.

        Raises:
            InputError: if the step or a value is not a number.
        """
        if not self._active:
            self.begin()
        step = self._step + 1 if step is None else checked_step(step)
        now = time.perf_counter()
        if step != self._step and "step_time" not in values:
            values = {**values, "step_time": now - self._clock}
        if now - self._memory_at >= MEMORY_EVERY:
            self._memory_at = now
            values = {**values, **memory()}
        self._step = step
        self._writer.log(step, values, None)
        if "learning_rate" in values:
            self._loop.optimizer.param_groups[0]["lr"] = float(values["learning_rate"])
        state = SimpleNamespace(global_step=step)
        self.controls.apply(None, state, self._loop.control, self._loop.optimizer, record=self.record, idle=self.idle)
        if self.idle is not None and now - self._idle_at >= IDLE_EVERY:
            self._idle_at = now
            self.idle()
        self._clock = time.perf_counter()

    def begin(self, step: int = 0, **facts: Any) -> None:
        """Start recording your own loop. Calling this is optional: the first `log` also does it.

        Args:
            step: Steps already done.
            facts: Facts about the loop, such as `max_steps`.
        """
        step = checked_step(step)
        self.close_run("replaced")
        replay = planned_learning_rates(self.record.events, step)
        self.record.event("begin", step)
        if facts:
            self.record.describe(**facts)
        self._step, self._each_step, self._writer = step, set(), _Writer(self.record)
        self._loop = SimpleNamespace(optimizer=_LoopRate(), control=TrainerControl())
        self._active = True
        self.controls.begin(replay)
        _watch(self)
        self._clock, self._memory_at = time.perf_counter(), 0.0

    def finish(self, reason: str = "finished") -> None:
        """Stop recording your own loop."""
        self.close_run("stopped" if self.should_stop and reason == "finished" else reason)

    @property
    def should_stop(self) -> bool:
        """Whether your own loop was asked to stop."""
        return self._loop.control.should_training_stop

    @property
    def learning_rate(self) -> float | None:
        """The learning rate that was last set for your own loop or logged; None if there is none."""
        return self._loop.optimizer.param_groups[0]["lr"] or None if self._loop.optimizer is not None else None

    def __enter__(self) -> RunMonitor:
        self.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self.finish()
        elif isinstance(error, KeyboardInterrupt):
            self.close_run("interrupted")
        else:
            self.record.event("error", self._step, type=type(error).__name__, message=str(error)[:2000])
            self.close_run("error")

    # ------------------------------------------------------------------------------------------------------------ helpers

    def _apply(self, args: Any, state: Any, control: Any, kwargs: dict[str, Any], between_steps: bool = False) -> None:
        self.controls.apply(
            args,
            state,
            control,
            kwargs.get("optimizer"),
            kwargs.get("lr_scheduler"),
            self.record,
            self.idle,
            trainer=kwargs.get("trainer"),
            eval_dataloader=kwargs.get("eval_dataloader"),
            between_steps=between_steps,
            order=self.order,
        )

    def _last_of_hook(self) -> LastStep:
        """The results of the latest step, as seen by the model's hook, for a Trainer that does not pass them on."""
        loss, batches = self._hook.take() if self._hook is not None else (None, [])
        return LastStep(loss, None, self._learning_rate, batches)

    def _note_best(self, args: Any, state: Any) -> None:
        # The Trainer updates the best only after all callbacks have seen the evaluation.
        if state.best_metric is not None and state.best_metric != self._best:
            self._best = state.best_metric
            at = state.best_global_step if state.best_global_step is not None else state.global_step
            self.record.event("best", at, metric=args.metric_for_best_model, value=state.best_metric)

    def _choose_place(self, args: Any, step: int) -> None:
        record, name = self.record, getattr(args, "run_name", None)
        # Older versions of transformers use the output folder as the name, which carries no information.
        name = str(name) if name and str(name) != str(args.output_dir) else None
        if self._given_place:
            record.name = name or record.name
            return
        if args.save_strategy == "no" and step == 0:
            record.detach() if record.run_dir is not None or record.version else None
            record.name = name
            return
        folder = None
        if step:
            for monitor in list(_open_monitors):  # the run that wrote the checkpoint may have been in this process
                monitor.update()
            folder = continued_run(args.output_dir, step)
        if folder is not None and record.run_dir == folder:
            return
        if record.version:
            record.detach()
        if folder is None and args.save_strategy != "no":
            folder = new_run(args.output_dir, name)
        if folder is not None:
            record.name = name_in(folder, name)
            record.attach(folder)

    def close_run(self, reason: str, **details: Any) -> None:
        """Record the end of the run in progress, if there is one.

        Args:
            reason: "finished", "stopped", "ended early", "interrupted", "error" or "replaced" (by another run).
            details: Further details of the event.
        """
        if not self._active:
            return
        self._active, self.calling_thread = False, None
        _open_monitors.discard(self)
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if self._abandoned is not None:
            self._abandoned.detach()
        self._steps.stop()
        _write_order(self.order)
        self.record.event("end", self._step, reason=reason, **details)
        self.record.flush()
        self.controls.end()


class _Writer:
    """Logs numbers, and records an event when a loss becomes non-finite or is far above the usual one.

    Args:
        record: The record.
        controls: Asked to measure the rows of such a step; None: the rows are unknown.
    """

    def __init__(self, record: RunRecord, controls: RunControls | None = None) -> None:
        self.record, self._controls = record, controls
        self._bad: set[str] = set()
        self._spikes = Spikes()

    def log_later(self, step: int, numbers: Mapping[str, float], moment: float) -> None:
        """The same, but the caller writes the lines of several steps together, by `flush` of the record."""
        self.log(step, numbers, moment, later=True)

    def log(self, step: int, numbers: Mapping[str, float], moment: float | None, later: bool = False) -> None:
        self.record.log(step, numbers, moment, later=later)
        if (loss := numbers.get("loss")) is not None and (usual := self._spikes.above(step, loss)) is not None:
            self.record.event("spike", step, value=loss, usual=usual)
            self._measure(step, "spike")
        for name, value in numbers.items():
            if "loss" in name and not math.isfinite(value):
                # One event for successive bad losses: only the first one matters.
                if name not in self._bad:
                    self._bad.add(name)
                    self.record.event("nonfinite", step, name=name, value=value)
                    if name == "loss":
                        self._measure(step, "nonfinite")
            elif self._bad:
                self._bad.discard(name)

    def _measure(self, step: int, why: str) -> None:
        if self._controls is not None:
            self._controls.measure_rows(step, why)


def _abandon(steps: Steps, record: RunRecord, hook: ModelHook | None, order: RowOrder) -> None:
    if hook is not None:
        hook.remove()
    steps.stop()
    record.flush()
    _write_order(order)


def _write_order(order: RowOrder) -> None:
    try:
        order.flush()
    except OSError as error:
        logger.debug("The order of the rows is not recorded: %s", error)


class _LoopRate:
    """A stand-in for the optimizer of your own loop that holds the learning rate."""

    def __init__(self) -> None:
        self.param_groups = [{"lr": 0.0}]


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, type(None))) else str(getattr(value, "value", value))


def _branch_facts(trainer: Any, step: int) -> dict[str, Any]:
    """The parent of a branch, the step at which it begins, and what it changes."""
    point = getattr(trainer, "branch_point", None)
    if point is None:
        return {}
    changes = {name: _plain(value) for name, value in point.given.items()}
    if point.has_other_data:
        changes["train_dataset"] = "other data"
    return {"parent": point.parent, "branched_at": step, "changes": changes}


# Runs that may end without notice: the Trainer of `transformers` does not call callbacks on an interrupt.
_open_monitors: weakref.WeakSet[RunMonitor] = weakref.WeakSet()
_watched_shells: weakref.WeakSet[Any] = weakref.WeakSet()


def _watch(monitor: RunMonitor) -> None:
    """Close the monitor's run when its cell or the process ends, unless it is already closed."""
    _open_monitors.add(monitor)
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and shell not in _watched_shells:
        _watched_shells.add(shell)
        shell.events.register("post_run_cell", _after_cell)


def _after_cell(result: Any = None) -> None:
    for monitor in list(_open_monitors):
        # A Trainer's run lasts as long as its call, so it has ended if the calling thread has reached this line.
        if monitor.calling_thread is threading.current_thread():
            monitor.close_run("interrupted")


@atexit.register
def _close_all() -> None:
    for monitor in list(_open_monitors):
        monitor.close_run("interrupted")
