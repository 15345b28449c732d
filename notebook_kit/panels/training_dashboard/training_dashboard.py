"""TrainingDashboard: how a training goes, while it goes, and buttons that reach it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import traitlets

from notebook_kit.errors import InputError
from notebook_kit.panels import busy
from notebook_kit.panels.panel import Answer, Face, Panel, described
from notebook_kit.panels.training_dashboard import still
from notebook_kit.panels.training_dashboard.attention import attention_at, attention_questions
from notebook_kit.panels.training_dashboard.feed import Feed, FollowedRun, better, packed_series
from notebook_kit.panels.training_dashboard.sending import Keyframes, Sender
from notebook_kit.training.callbacks import TrainerCallback
from notebook_kit.training.recording.monitor import RunMonitor
from notebook_kit.training.recording.record import RunRecord

__all__ = ["TrainingDashboard", "display_for"]

HEARTBEAT = 5.0
"""Seconds after which the page is sent a message even if nothing is new."""

FRAME = 20_000
"""Approximate bytes of a frame apart from its numbers."""


class TrainingDashboard(Panel, TrainerCallback):
    """A training run as it goes: its curves, its progress, and buttons to pause it, stop it, save, evaluate, or change its rate.

    It is a callback of the Trainer of notebook_kit and of that of `transformers`, and records a loop of your own:

        Trainer(..., callbacks=[TrainingDashboard()])

        with TrainingDashboard() as board:
            for step, batch in enumerate(batches, 1):
                board.log(step, loss=train(batch))
                if board.should_stop:
                    break

    The record is kept by a `notebook_kit.training.RunMonitor`, which documents where it is written. `load` opens it later.

    Args:
        run_dir: Folder of the record; None: as `RunMonitor` chooses.
        probes: Examples whose prediction is taken again and again: texts, pairs of texts, or dictionaries of what the model takes.
        probe_every: Steps between two times; None: about 100 times in a run.
        probe_attention: `(layer, head)` whose attention on each probe is taken too.
        tokenizer: Reads texts of `probes`; None: the Trainer's.
        record: A record to show instead of a new one.
        **traits: Start values of the traits below.

    Attributes:
        shown: Str, "loss". The metric in the large chart, without "eval_": "loss", "learning_rate", "step_time", or any other.
        smoothing: Float, 0.6. The weight of what came before in the moving average; 0 shows the values as they are.
        log_scale: Bool, False. Whether the chart's scale is logarithmic.
        axis: Str, "step". The x axis of the chart: "step" or "time".
        status: Str, "idle". "idle", "running", "paused", "stopping" or "ended"; to be observed, not set.
        step: Int, 0. Optimizer updates done, as the page knows them; to be observed, not set.

    Raises:
        InputError: A probe is not an example.
        CheckpointError: The folder cannot be written, or holds something else.

    Example:
        >>> board = TrainingDashboard()
        >>> with board:
        ...     for loss in (0.9, 0.5, 0.4):
        ...         board.log(loss=loss)
        >>> board.table()["loss"].tolist(), board
        ([0.9, 0.5, 0.4], TrainingDashboard('run': step 3, ended))
    """

    name: ClassVar[str] = "training_dashboard"

    shown = traitlets.Unicode("loss", help="The metric in the large chart.").tag(sync=True)
    smoothing = traitlets.Float(0.6, min=0.0, max=0.999, help="Weight of the moving average.").tag(sync=True)
    log_scale = traitlets.Bool(False, help="Whether the scale is logarithmic.").tag(sync=True)
    axis = traitlets.Enum(["step", "time"], "step", help="The x axis of the chart.").tag(sync=True)
    status = traitlets.Unicode("idle", help="How the run is.")
    step = traitlets.Int(0, help="Optimizer updates done.")

    _frame = traitlets.Dict().tag(sync=True, to_json=lambda value, board: board._everything())
    _hears = traitlets.Unicode("none").tag(sync=True)  # as `busy.hear` returns it
    _problem = traitlets.Dict().tag(sync=True)  # an error that no question led to: {what, next_step}

    def __init__(
        self,
        run_dir: str | os.PathLike[str] | None = None,
        *,
        probes: Sequence[Any] | None = None,
        probe_every: int | None = None,
        probe_attention: tuple[int, int] | None = None,
        tokenizer: Any = None,
        record: RunRecord | None = None,
        **traits: Any,
    ) -> None:
        self.monitor = RunMonitor(record, run_dir=Path(run_dir) if run_dir is not None else None)
        self._probes = None
        if probes is not None:
            from notebook_kit.inspection.training.probes import Probes

            self._probes = Probes(probes, probe_every, probe_attention)
        elif probe_attention is not None:
            raise InputError("probe_attention was given without probes.", next_step='Give some: probes=["A text."].')
        self._tokenizer = tokenizer
        self._loaded = record is not None
        self._kind = ""  # "trainer" or "loop", once something has begun
        self._asked: set[str] = set()  # what a loop asks of this board
        self._feeding = threading.RLock()
        self._feed = Feed(FollowedRun("0", self.record, self._status_now, self._more))
        self._sender = Sender(self._push)
        self._told_status, self._told_at = "", 0.0
        self._keyframes = Keyframes()
        self._is_displayed = self._goes_on = False
        self._output: Any = None  # where it has shown itself
        with self._feeding:
            self._feed.update()
        super().__init__(**traits)
        self._hears = busy.hear(self)
        self.monitor.idle = busy.poll if self._hears == "poll" else None
        self._note()

    @property
    def shows_run(self) -> bool:  # type: ignore[override]
        """Whether it is seen: where no notebook shows it, a Trainer that is given one keeps its progress bar."""
        return _in_kernel()

    # What is recorded ------------------------------------------------------------------------------------------------

    @property
    def record(self) -> RunRecord:
        """The record of the run."""
        return self.monitor.record

    @property
    def controls(self) -> Any:
        """The requests to the run, as made by the buttons: a `notebook_kit.training.RunControls`."""
        return self.monitor.controls

    @classmethod
    def load(cls, path: str | os.PathLike[str], **traits: Any) -> TrainingDashboard:
        """Open a run that was recorded.

        Args:
            path: A run folder, its `events.jsonl`, the output folder of a Trainer, or a `trainer_state.json`, also of `transformers`.
            **traits: Start values of the traits.

        Returns:
            A dashboard that shows it; nothing is written.

        Raises:
            CheckpointError: There is no such run, or the file is something else.
        """
        return cls(record=RunRecord.load(Path(path)), **traits)

    def compare(self, *others: Any) -> None:
        """Lay other runs over this one; one that still goes on is followed.

        Args:
            *others: Paths as for `load`, dashboards, or `RunRecord`s. None of them: end comparing.

        Raises:
            CheckpointError: There is no such run.
            InputError: Something is not a run.
        """
        runs = []
        for number, other in enumerate(others, 1):
            if isinstance(other, TrainingDashboard):
                runs.append(FollowedRun(str(number), other.record, other._status_now))
            elif isinstance(other, RunRecord):
                runs.append(FollowedRun(str(number), other))
            elif isinstance(other, str | os.PathLike):
                runs.append(FollowedRun(str(number), RunRecord.load(Path(other))))
            else:
                raise InputError(
                    f"{type(other).__name__} is no run to compare with.",
                    next_step="Give the path of a run, another TrainingDashboard, or a RunRecord.",
                )
        with self._feeding:
            self._feed.runs[1:] = runs
            self._feed.update()
            self._feed.number += 1
        self._tell_everything()
        if any(run.status() not in ("ended", "idle") for run in runs):
            self._sender.start()

    def log(self, step: int | None = None, **values: Any) -> None:
        """Record values of a loop of your own; waits while the run is paused.

        Args:
            step: None: one after the last.
            **values: Name -> number.

        Raises:
            InputError: A value is not a number.
        """
        if not self._kind or self.controls.status in ("idle", "ended"):
            self.monitor.begin()
            self._begin("loop")
        self.monitor.log(step, **values)

    log.error = log.warning = lambda *text, **more: traitlets.log.get_logger().warning(*text)  # type: ignore[attr-defined]
    # A widget's own `log` is a logger, to which ipywidgets reports errors.

    @property
    def should_stop(self) -> bool:
        """Whether a person has asked a loop of your own to stop."""
        self._asked.add("stop")
        return self.monitor.should_stop

    @property
    def learning_rate(self) -> float | None:
        """The learning rate that a person has set for a loop of your own, or that was logged last; None if neither."""
        self._asked.add("learning_rate")
        return self.monitor.learning_rate

    def begin(self, step: int = 0, **facts: Any) -> None:
        """Announce that a loop of your own begins; `with` and the first `log` do this as well.

        Args:
            step: Steps that are done already.
            **facts: Facts about it, such as `max_steps`, from which the remaining time is computed.
        """
        self.monitor.begin(step, **facts)
        self._begin("loop")

    def finish(self) -> None:
        """Announce that a loop of your own is over; the end of `with` does this as well."""
        self.monitor.finish()
        self._end()

    def __enter__(self) -> TrainingDashboard:
        self.monitor.__enter__()
        self._begin("loop")
        return self

    def __exit__(self, *error: Any) -> None:
        self.monitor.__exit__(*error)
        self._end()

    # A Trainer's events ----------------------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        self._problem = {}
        self.monitor.on_train_begin(args, state, control, **kwargs)
        self._begin("trainer")
        if self._probes is not None:
            self.record.describe(probes=self._probes.names)
            self._probe(state.global_step, kwargs)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.monitor.on_epoch_begin(args, state, control, **kwargs)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.monitor.on_step_begin(args, state, control, **kwargs)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.monitor.on_pre_optimizer_step(args, state, control, **kwargs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.monitor.on_step_end(args, state, control, **kwargs)
        if self._probes is not None and self._probes.is_due(state.global_step, state.max_steps):
            self._probe(state.global_step, kwargs)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.monitor.on_log(args, state, control, **kwargs)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.monitor.on_evaluate(args, state, control, **kwargs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.monitor.on_save(args, state, control, **kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.monitor.on_train_end(args, state, control, **kwargs)
        self._end()

    def on_error(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.monitor.on_error(args, state, control, **kwargs)
        self._end()

    def on_push_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An upload begins: an event of `transformers`, which calls every event on every callback."""

    def _probe(self, step: int, given: dict[str, Any]) -> None:
        if self._probes is None or self.controls.status != "running":
            return
        try:
            tokenizer = self._tokenizer or given.get("processing_class") or given.get("tokenizer")
            self.record.event("probe", step, rows=self._probes.take(given["model"], tokenizer))
        except Exception as error:  # a probe that cannot be taken must not end the training
            self._probes, self._problem = None, described(error)

    # Telling the page --------------------------------------------------------------------------------------------------

    def _begin(self, kind: str) -> None:
        if self._goes_on:  # the run before ended without saying so, as an interrupted one of `transformers` does
            self._is_displayed = False
        self._kind, self._loaded, self._goes_on = kind, False, True
        self._keyframes.restart(time.monotonic())
        if not self._is_displayed and _in_kernel():
            from IPython.display import display

            self._output = display(self, display_id=True)
        if self._has_page():
            self._sender.start()

    def _end(self) -> None:
        self._goes_on = False
        if self._sender.is_alive:
            self._sender.finish()
        else:
            with self._feeding:
                self._feed.update()
                self._feed.number += 1
            self._note()
            if self._has_page():
                self._tell_everything()
        output, self._output = self._output, None
        if output is not None:  # a saved notebook has the static face of the run, not of its beginning
            output.update(self)
        self._is_displayed = False  # the next run is shown below its own cell

    def _has_page(self) -> bool:
        return self.comm is not None and type(self.comm).__name__ != "DummyComm"

    def _status_now(self) -> str:
        return "ended" if self._loaded else self.controls.status

    def _note(self) -> None:
        status = self._status_now()
        with self._feeding:
            step = max((series.last_step for series in self._feed.runs[0].series.values()), default=0)
        for name, value in (("status", status), ("step", step)):
            if getattr(self, name) != value:
                setattr(self, name, value)

    def _more(self) -> dict[str, Any]:
        """Which requests can be made, and why not: request -> "" or the key of a reason."""
        if self._loaded:
            reasons = dict.fromkeys(("pause", "stop", "save", "evaluate", "learning_rate"), "why_loaded")
        elif self._kind == "loop":
            reasons = {"pause": "", "save": "why_loop", "evaluate": "why_loop"}
            reasons["stop"] = "" if "stop" in self._asked else "why_loop_stop"
            reasons["learning_rate"] = "" if "learning_rate" in self._asked else "why_loop_rate"
        else:
            reasons = dict.fromkeys(("pause", "stop", "save", "evaluate", "learning_rate"), "")
        return {"can": reasons, "pending": sorted(self.controls.pending)}

    def _everything(self) -> dict[str, Any]:
        """The frame as the page gets it, whenever it asks for the state of the widget."""
        with self._feeding:
            self._feed.update()
            said, data = self._feed.frame()
        return {**said, "buffer": data}

    def _tell_everything(self) -> int:
        self._frame = {"at": time.monotonic()}  # what crosses is made by `_everything`
        with self._feeding:
            series = sum(len(one) for run in self._feed.runs for one in run.series.values())
        return FRAME + 24 * series

    def _push(self) -> int | None:
        """Send what is new; its size, or None if the run has ended and everything was sent."""
        now = time.monotonic()
        with self._feeding:
            statuses = " ".join(run.status() for run in self._feed.runs)
            told_now = f"{statuses} {self.controls.pending}"
            changed = self._feed.update()
            changed |= told_now != self._told_status or now - self._told_at > HEARTBEAT
            over = all(run.status() in ("ended", "idle") for run in self._feed.runs)
            self._note()
            if self._keyframes.is_due(now) or over:
                self._feed.number += 1
                size = self._tell_everything()
                self._told_status, self._told_at = told_now, now
                return None if over else size
            if not changed:
                return 0
            said, data = self._feed.news()
        self._told_status, self._told_at = told_now, now
        self.send({"feed": said}, [data])
        rows = sum(len(run.get("series", ())) for run in said["runs"])
        return 1000 + len(data) + 130 * rows + sum(len(str(run.get("events", ""))) for run in said["runs"])

    # Answers to the page ---------------------------------------------------------------------------------------------

    def answer_frame(self, values: dict[str, Any]) -> Answer:
        """Everything, for a page that missed something."""
        everything = self._everything()
        data = everything.pop("buffer")
        return Answer(everything, [data])

    def answer_control(self, values: dict[str, Any]) -> Answer:
        """A request to the run: `do` and, for a learning rate, `value`."""
        request = str(values.get("do"))
        if self._status_now() in ("ended", "idle"):
            raise InputError("No run is going on.", next_step="Begin one with trainer.train().")
        if request == "learning_rate":
            self.controls.set_learning_rate(values.get("value"))
        elif request in ("pause", "resume", "stop", "save", "evaluate"):
            getattr(self.controls, request)()
        else:
            raise InputError(f"A run cannot be asked to {request!r}.")
        return Answer({"pending": sorted(self.controls.pending)})

    def answer_detail(self, values: dict[str, Any]) -> Answer:
        """Some series between two places, in finer buckets: `names`, `from`, `to`, and `by` ("step" or "time"); of all runs."""
        names = [str(name) for name in values.get("names", ())][:20]
        runs, data = [], []
        for run in self._feed.runs:
            found = run.part(names, float(values["from"]), float(values["to"]), str(values.get("by", "step")))
            runs.append([packed_series(name, series, better(name), 0, len(series)) for name, series in found.items()])
            data.append(
                np.concatenate([series.packed().ravel() for series in found.values()] or [np.zeros(0, np.int32)])
            )
        return Answer({"runs": runs}, data)

    def answer_probe_attention(self, values: dict[str, Any]) -> Answer:
        """The attention on a probe at a step: `example` and `step`; one byte per weight."""
        found = attention_at(self.record, int(values["step"]), int(values["example"]))
        return Answer({"size": len(found)}, [found])

    def offline_questions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The attention on probes, of a file at most 4 MiB."""
        yield from attention_questions(self.record)

    # Results ---------------------------------------------------------------------------------------------------------

    def table(self) -> Any:
        """All series as a pandas DataFrame: a row per step, a column per series; with `run` in front if runs are compared."""
        with self._feeding:
            self._feed.update()
            return still.table_of(self._feed.runs)

    def figure(self) -> Any:
        """The chart, and small ones of all other series, as a matplotlib `Figure`."""
        with self._feeding:
            self._feed.update()
            return still.figure_of(self._shown())

    def face(self) -> Face:
        """The charts as a picture, and a table of the series' last and best values."""
        with self._feeding:
            self._feed.update()
            return still.face_of(self._shown())

    def _shown(self) -> still.ShownRuns:
        return still.ShownRuns(self._feed.runs, self.shown, self.smoothing, self.log_scale, self.word)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self._is_displayed = True
        return super()._repr_mimebundle_(**kwargs)

    def __repr__(self) -> str:
        self._note()
        most = self.record.facts.get("max_steps")
        return (
            f"TrainingDashboard({self.record.name!r}: step {self.step}{f' of {most}' if most else ''}, {self.status})"
        )

    def close(self) -> None:
        """Close the panel; the record stays."""
        busy.forget(self)
        super().close()


def _in_kernel() -> bool:
    """Whether what is displayed is seen: in a notebook, not in a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def display_for(args: Any) -> TrainerCallback | None:
    """The dashboard that a Trainer shows by itself in a notebook.

    Args:
        args: The Trainer's arguments.

    Returns:
        A dashboard; None where no notebook would show it.

    Example:
        >>> display_for(None) is None  # not in a notebook
        True
    """
    return TrainingDashboard() if _in_kernel() else None
