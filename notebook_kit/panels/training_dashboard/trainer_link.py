"""What the page asks of a run's Trainer: the rows behind a point of the curve, its checkpoints, and a branch from one of them."""

from __future__ import annotations

import math
import weakref
from typing import Any

from notebook_kit.errors import ConfigurationError, InputError, NotebookKitError
from notebook_kit.training import run_folder
from notebook_kit.training.recording.monitor import RunMonitor
from notebook_kit.training.recording.row_order import RowOrder

__all__ = ["TrainerLink"]

# Fields of the form -> training arguments, and their types.
FIELDS = {
    "learning_rate": ("learning_rate", float),
    "batch_size": ("per_device_train_batch_size", int),
    "weight_decay": ("weight_decay", float),
}


class TrainerLink:
    """The Trainer of a dashboard's run, if it is one of this library and still exists.

    Args:
        monitor: The monitor of the dashboard.
    """

    def __init__(self, monitor: RunMonitor) -> None:
        self._monitor = monitor
        self._trainer: weakref.ref[Any] | None = None

    def take(self, trainer: Any) -> None:
        """Remember the Trainer of a run; None for one of another library."""
        self._trainer = weakref.ref(trainer) if trainer is not None else None

    @property
    def trainer(self) -> Any:
        """The Trainer, or None."""
        return self._trainer() if self._trainer is not None else None

    def reasons(self) -> dict[str, str]:
        """Whether rows can be shown and branches begun: "" if so, otherwise the key of the reason."""
        has_rows = any(event["kind"] in ("epoch", "rows") for event in self._monitor.record.events)
        return {"rows": "" if has_rows else "why_loaded", "branch": "" if self.trainer is not None else "why_loaded"}

    def rows(self, step: int) -> dict[str, Any]:
        """The rows of a step: measured before, measured now, or asked of the run in progress; otherwise their numbers alone."""
        record, trainer = self._monitor.record, self.trainer
        measured = [event for event in record.events if event["kind"] == "rows" and event["step"] == step]
        if measured:
            last = measured[-1]
            return _answer(last["rows"], is_measured=True, measured_at=last["measured_at"])
        order = self._monitor.order if trainer is not None else RowOrder(record.origin)
        indices = order.rows(record.events, step)
        plain = [{"index": index} for index in indices]
        if not indices or trainer is None:
            return _answer(plain)
        if trainer.is_in_train:
            self._monitor.controls.measure_rows(step)
            return _answer(plain, is_pending=True)
        try:
            found = trainer.rows_at(step)
        except NotebookKitError:
            return _answer(plain)
        record.event("rows", step, rows=found.as_lists(), measured_at=found.measured_at, why="asked")
        return _answer(found.as_lists(), is_measured=True, measured_at=found.measured_at)

    def measured_steps(self) -> list[int]:
        """The steps whose rows were measured."""
        return sorted({event["step"] for event in self._monitor.record.events if event["kind"] == "rows"})

    def checkpoints(self) -> list[int]:
        """The steps of the checkpoints that are kept."""
        trainer = self.trainer
        found = run_folder.checkpoints(trainer.args.output_dir or "") if trainer is not None else []
        return [run_folder.step_of(path) for path in found]

    def branch(self, values: dict[str, Any]) -> Any:
        """The Trainer of a branch, whose run has not begun.

        Args:
            values: `step` of the checkpoint; `learning_rate`, `batch_size` and `weight_decay` as text, if they change.

        Raises:
            InputError: if a value is not a number.
            ConfigurationError: while the run is in progress, which would share its random numbers and its processor.
        """
        trainer = self.trainer
        if trainer is None:
            raise InputError("The Trainer of this run is not in this kernel.", next_step="Call trainer.branch(...).")
        if trainer.run_thread is not None:
            raise ConfigurationError(
                "This run is in progress; a branch beside it would make both slow, and neither repeatable.",
                next_step="Stop the run, or wait for its end, and start the branch then.",
            )
        changes = {}
        for field, (name, kind) in FIELDS.items():
            if values.get(field) not in (None, ""):
                changes[name] = _number(field, values[field], kind)
        return trainer.branch(int(values["step"]), **changes)


def _answer(
    rows: list[dict[str, Any]], *, is_measured: bool = False, is_pending: bool = False, measured_at: int = 0
) -> dict[str, Any]:
    plain = [
        {**row, "loss": row["loss"] if math.isfinite(row["loss"]) else None} if "loss" in row else row for row in rows
    ]
    return {"rows": plain, "is_measured": is_measured, "is_pending": is_pending, "measured_at": measured_at}


def _number(field: str, text: Any, kind: type) -> Any:
    try:
        return kind(text)
    except (TypeError, ValueError):
        what = field.replace("_", " ")
        example = "16" if kind is int else "1e-5"
        raise InputError(
            f"The {what} is not a number: {text!r:.40}.", next_step=f"Enter one such as {example}."
        ) from None
