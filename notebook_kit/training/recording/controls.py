"""Requests to a run in progress: pause, stop, save, evaluate, or change the learning rate."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import InputError, warn
from notebook_kit.training.callbacks import TrainerCallback

if TYPE_CHECKING:
    from notebook_kit.training.recording.record import RunRecord
    from notebook_kit.training.recording.row_order import RowOrder

logger = logging.getLogger(__name__)

__all__ = ["RunControls"]

POLL_EVERY = 0.05  # seconds between checks for requests while a run is paused


class RunControls:
    """Requests to a run, from any thread; the run carries them out at the end of its step.

    A callback on the training thread calls `apply` at each step's end; `RunMonitor` does.

    Attributes:
        status: "idle" (no run yet), "running", "paused", "stopping" or "ended".
        pending: Requests that have not been carried out yet: name -> value.

    Example:
        >>> controls = RunControls()
        >>> controls.set_learning_rate(1e-4)
        >>> controls.save()
        >>> controls.status, controls.pending
        ('idle', {'learning_rate': 0.0001, 'save': True})
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._pending: dict[str, Any] = {}
        self._paused = self._stopped = False
        self._replay: dict[int, float] = {}
        self._status = "idle"
        self.keep_best = False

    # ------------------------------------------------------------------------------------------------- requests

    @property
    def status(self) -> str:
        return self._status

    @property
    def pending(self) -> dict[str, Any]:
        with self._changed:
            return dict(self._pending)

    @property
    def has_requests(self) -> bool:
        """Whether `apply` has anything to do."""
        return bool(self._pending or self._paused or self._replay)

    def _ask(self, name: str, value: Any = True) -> None:
        with self._changed:
            if self._status == "ended":
                return
            self._pending[name] = value
            self._changed.notify_all()

    def pause(self) -> None:
        """Pause after this step, until `resume` or `stop`."""
        self._ask("pause", True)

    def resume(self) -> None:
        """Continue after a pause."""
        self._ask("pause", False)

    def stop(self, keep_best: bool = True) -> None:
        """End the run after this step, without an error.

        Args:
            keep_best: Load the weights of the best checkpoint into the model, if there is one.
        """
        self._ask("stop", keep_best)

    def save(self) -> None:
        """Write a checkpoint after this step."""
        self._ask("save")

    def evaluate(self) -> None:
        """Evaluate after this step."""
        self._ask("evaluate")

    def set_learning_rate(self, value: float) -> None:
        """Use this learning rate for the next step; the schedule continues from it.

        Raises:
            InputError: if `value` is not a positive number.
        """
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            raise InputError(
                f"A learning rate must be a number above 0; it was {value!r}.", next_step="Set one such as 2e-5."
            )
        self._ask("learning_rate", number)

    def measure_rows(self, step: int, why: str = "asked") -> None:
        """Measure the loss of each row of a step, after the step in progress; the record gets an event "rows".

        Args:
            step: The step.
            why: "asked", "spike" or "nonfinite".
        """
        with self._changed:
            if self._status != "ended":
                self._pending.setdefault("rows", {}).setdefault(int(step), why)
                self._changed.notify_all()

    # -------------------------------------------------------------------------------------------------- execution

    def expect(self) -> None:
        """Prepare for a new run; later requests apply to it."""
        with self._changed:
            self._status, self._stopped = "idle", False

    def begin(self, replay: list[tuple[int, float]] | None = None) -> None:
        """Start of a run.

        Args:
            replay: Learning rates to set again, as (step, value), because they were set in the run that this one resumes.
        """
        with self._changed:
            self._status, self._paused, self.keep_best = "running", False, False
            self._stopped = False
            self._replay = dict(replay or [])

    def end(self) -> None:
        """End of a run; later requests are ignored."""
        with self._changed:
            self._status, self._paused = "ended", False
            self._pending.clear()
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether the run stopped on request."""
        return self._stopped

    def apply(
        self,
        args: Any,
        state: Any,
        control: Any,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        record: RunRecord | None = None,
        idle: Callable[[], None] | None = None,
        trainer: Any = None,
        eval_dataloader: Any = None,
        between_steps: bool = False,
        order: RowOrder | None = None,
    ) -> None:
        """Carry out pending requests, and wait while paused. A callback calls this on the training thread after each step.

        Args:
            args, state, control, optimizer, lr_scheduler: As the Trainer passes them to its callbacks.
            record: Receives an event for each request.
            idle: Called every 0.05 seconds while paused.
            trainer: A notebook_kit Trainer, which can save and evaluate during a pause. Other Trainers do so once, before
                the next step; later requests of the same pause wait until the run resumes.
            eval_dataloader: As passed to callbacks; not None if a Trainer of another library has data to evaluate on.
            between_steps: Called before a step: wait if paused, and leave requests that need the end of a step.
            order: Which rows each step has.

        Raises:
            KeyboardInterrupt: on a keyboard interrupt, also during a pause.
        """
        run = _Run(args, state, control, optimizer, lr_scheduler, record, trainer, eval_dataloader, order)
        if not between_steps and self._replay and run.step in self._replay:
            run.change_learning_rate(self._replay.pop(run.step), replayed=True)
        if not (self._pending or self._paused):
            return
        try:
            while True:
                wanted = self._carry_out(run, between_steps)
                if not self._paused or run.control.should_training_stop or run.interrupted():
                    return
                if wanted:
                    if trainer is None:
                        return  # the Trainer does it after this call, and waits again before its next step
                    _log_evaluate_save(trainer)
                    continue
                if idle is not None:
                    idle()
                with self._changed:
                    if not self._due(between_steps):
                        self._changed.wait(POLL_EVERY)
        except BaseException:
            with self._changed:
                self._paused = False
            raise

    def _due(self, between_steps: bool) -> set[str]:
        names = set(self._pending)
        return names - {"save", "evaluate"} if between_steps else names

    def _carry_out(self, run: _Run, between_steps: bool) -> bool:
        """Carry out pending requests, and return whether a checkpoint or an evaluation was requested."""
        with self._changed:
            requests = {name: self._pending.pop(name) for name in self._due(between_steps)}
        if not requests:
            return False
        if run.is_one_of_several():  # its rows are measured without the others
            for step, why in requests.pop("rows", {}).items():
                run.measure_rows(step, why)
            if not requests:
                return False
            run.explain("The run has several processes, which must stay synchronized: requests to one are ignored.")
            return False
        if "learning_rate" in requests:
            self._replay.clear()  # this request overrides those of the earlier run
            run.change_learning_rate(requests["learning_rate"])
        wanted = False
        for step, why in requests.get("rows", {}).items():
            run.measure_rows(step, why)
        if "evaluate" in requests:
            if run.can_evaluate():
                run.control.should_evaluate = wanted = True
            else:
                run.explain(
                    "There is no data to evaluate on: pass eval_dataset to the Trainer (and set eval_strategy if it is not"
                    " notebook_kit's Trainer)."
                )
        if "save" in requests:
            run.control.should_save = wanted = True
        if "pause" in requests and requests["pause"] != self._paused:
            self._paused = requests["pause"]
            self._status = "paused" if self._paused else "running"
            run.note("pause" if self._paused else "resume")
        if "stop" in requests:
            self.keep_best, self._stopped, self._paused = requests["stop"], True, False
            self._status = "stopping"
            run.control.should_training_stop = True
            run.note("stop", keep_best=self.keep_best)
        return wanted

    def measure_pending(self, record: RunRecord, trainer: Any, order: RowOrder) -> None:
        """Measure the rows that are still to be measured, at the end of a run."""
        with self._changed:
            steps = self._pending.pop("rows", {})
        for step, why in steps.items():
            if rows := order.rows(record.events, step):
                record_rows(record, trainer, step, rows, why)

    def finish(self, args: Any, state: Any, model: Any) -> dict[str, Any]:
        """After a stopped run, load the weights of the best checkpoint into the model if that was requested.

        Returns:
            Details of the model's weights: `kept` ("best checkpoint" or "present weights"), `why`, and a checkpoint's folder.
        """
        if not self.keep_best:
            return {"kept": "present weights", "why": "as asked for"}
        found = best_checkpoint(args, state)
        if found is None:
            return {"kept": "present weights", "why": "no checkpoint has been evaluated"}
        folder, name, value = found
        if folder is None:
            return {"kept": "present weights", "why": "they are the best so far", "metric": name, "value": value}
        from notebook_kit.training.model_files import load_model_files

        load_model_files(model, folder)
        return {"kept": "best checkpoint", "checkpoint": str(folder), "metric": name, "value": value}


def record_rows(record: RunRecord, trainer: Any, step: int, rows: list[int], why: str) -> None:
    """Add an event "rows" with the texts and losses of the rows of a step. A row that cannot be measured does not end the run."""
    try:
        measured = trainer.measured_rows(step, rows)
    except Exception as error:
        logger.debug("The rows of step %s cannot be measured: %s", step, error)
        return
    record.event("rows", step, rows=measured.as_lists(), measured_at=measured.measured_at, why=why)


def _log_evaluate_save(trainer: Any) -> None:
    """Let the loop do its work during a pause. Its errors end the run, also if a display carries the request."""
    try:
        trainer.loop.log_evaluate_save()
    except Exception as error:
        error.ends_run = True  # type: ignore[attr-defined]
        raise


class ControlsCallback(TrainerCallback):
    """Carries out the requests to a run that has no monitor.

    Example:
        >>> ControlsCallback().controls.status
        'idle'
    """

    def __init__(self, controls: RunControls | None = None) -> None:
        self.controls = controls if controls is not None else RunControls()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.controls.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        optimizer, lr_scheduler = kwargs.get("optimizer"), kwargs.get("lr_scheduler")
        self.controls.apply(args, state, control, optimizer, lr_scheduler, trainer=kwargs.get("trainer"))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.controls.stopped:
            self.controls.finish(args, state, kwargs.get("model"))
        self.controls.end()

    def on_error(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.controls.end()


class _Run:
    """The arguments of a callback, and the actions on a run that requests consist of."""

    def __init__(
        self,
        args: Any,
        state: Any,
        control: Any,
        optimizer: Any,
        lr_scheduler: Any,
        record: RunRecord | None,
        trainer: Any,
        eval_dataloader: Any,
        order: RowOrder | None,
    ) -> None:
        self.order = order
        self.args, self.state, self.control = args, state, control
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.record, self.trainer, self.eval_dataloader = record, trainer, eval_dataloader
        self.step = state.global_step

    def note(self, kind: str, **details: Any) -> None:
        if self.record is not None:
            self.record.event(kind, self.step, **details)

    def explain(self, text: str) -> None:
        """Record, or warn, why a request was not carried out."""
        if self.record is not None:
            self.record.event("note", self.step, text=text)
        else:
            warn(text)

    def change_learning_rate(self, value: float, replayed: bool = False) -> None:
        if self.optimizer is None:
            self.explain("The run has no optimizer, so its learning rate cannot be changed.")
            return
        old = scale_learning_rate(self.optimizer, self.lr_scheduler, value)
        self.note("learning_rate", old=old, new=value, **({"replayed": True} if replayed else {}))

    def measure_rows(self, step: int, why: str) -> None:
        known = self.record is not None and self.order is not None and self.trainer is not None
        if known and (rows := self.order.rows(self.record.events, step)):  # type: ignore[union-attr]
            record_rows(self.record, self.trainer, step, rows, why)  # type: ignore[arg-type]

    def can_evaluate(self) -> bool:
        if self.trainer is not None:
            return self.trainer.can_evaluate()
        # Trainers of other libraries do not pass their dataset, but these show that there is one.
        return self.eval_dataloader is not None or bool(getattr(self.args, "do_eval", False))

    def interrupted(self) -> bool:
        return self.trainer is not None and self.trainer.interrupts.requested

    def is_one_of_several(self) -> bool:
        return getattr(self.args, "world_size", 1) > 1


def scale_learning_rate(optimizer: Any, lr_scheduler: Any, value: float) -> float:
    """Set the learning rate of the next step. The schedule continues from it, and parameter groups keep their ratios.

    If the schedule is at zero (before a warmup, or at its end), its peak becomes `value` instead.

    Args:
        optimizer: The optimizer; its first parameter group gets `value`.
        lr_scheduler: A schedule of torch, or None.
        value: The learning rate.

    Returns:
        The learning rate that the next step would have had.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> scale_learning_rate(optimizer, None, 0.05), optimizer.param_groups[0]["lr"]
        (0.1, 0.05)
    """
    groups = optimizer.param_groups
    old = float(groups[0]["lr"])
    reference = old or float(groups[0].get("initial_lr", 0.0))
    factor = value / reference if reference else 1.0
    for group in groups:
        for name in ("lr", "initial_lr", "max_lr", "min_lr"):
            if name in group:
                group[name] = _scaled(group[name], factor)
    if old or not reference:
        _set(groups[0], "lr", value)
    _scale_schedule(getattr(lr_scheduler, "scheduler", lr_scheduler), factor)  # accelerate wraps it
    return old


def _scale_schedule(schedule: Any, factor: float) -> None:
    for part in getattr(schedule, "_schedulers", ()):  # a sequence or a chain of schedules
        _scale_schedule(part, factor)
    for name in ("base_lrs", "_last_lr"):
        if (rates := getattr(schedule, name, None)) is not None:
            setattr(schedule, name, [_scaled(rate, factor) for rate in rates])


def _scaled(rate: Any, factor: float) -> Any:
    # A compiled optimizer keeps reading its learning rate from the same tensor.
    return rate.mul_(factor) if hasattr(rate, "mul_") else rate * factor


def _set(group: dict[str, Any], name: str, value: float) -> None:
    if hasattr(group[name], "fill_"):
        group[name].fill_(value)
    else:
        group[name] = value


def planned_learning_rates(events: list[dict[str, Any]], step: int) -> list[tuple[int, float]]:
    """The learning rates that were set by hand after `step`, for a run that resumes there to set again.

    The event "begin" of a resumed run holds those it planned to set, in case it was killed before it had set them all.

    Example:
        >>> events = [{"kind": "begin", "step": 4, "learning_rates": [[6, 0.1], [9, 0.2]]}, {"kind": "learning_rate", "step": 6,
        ...     "new": 0.1, "replayed": True}]
        >>> planned_learning_rates(events, 4)
        [(6, 0.1), (9, 0.2)]
    """
    planned: dict[int, float] = {}
    for event in events:
        if event["kind"] == "begin":
            planned = {int(at): float(rate) for at, rate in event.get("learning_rates", ())}
        elif event["kind"] == "learning_rate":
            if not event.get("replayed"):
                planned = {at: rate for at, rate in planned.items() if at <= event["step"]}
            planned[event["step"]] = event["new"]
    return sorted((at, rate) for at, rate in planned.items() if at > step)


def best_checkpoint(args: Any, state: Any) -> tuple[Path | None, str, float | None] | None:
    """The checkpoint of the best evaluation, with the metric and its value.

    The metric is `args.metric_for_best_model`, by default the evaluation loss.

    Returns:
        Folder (None: the current weights are the best), metric, value; None if no checkpoint was evaluated.
    """
    name = getattr(args, "metric_for_best_model", None)
    if name is not None:
        if state.best_global_step is not None and state.best_global_step == state.global_step:
            return None, name, state.best_metric
        if state.best_model_checkpoint and Path(state.best_model_checkpoint).is_dir():
            return Path(state.best_model_checkpoint), name, state.best_metric
        return None
    losses = {entry["step"]: entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry}
    for step, loss in sorted(losses.items(), key=lambda item: item[1]):
        if not math.isfinite(loss):
            continue
        if step == state.global_step:
            return None, "eval_loss", loss
        folder = Path(args.output_dir) / f"checkpoint-{step}"
        if folder.is_dir():
            return folder, "eval_loss", loss
    return None
