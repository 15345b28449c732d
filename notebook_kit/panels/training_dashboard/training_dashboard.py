"""TrainingDashboard: a live view of a training run, with buttons to control it."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import traitlets

from notebook_kit.errors import InputError
from notebook_kit.panels import busy
from notebook_kit.panels.copies import is_copy
from notebook_kit.panels.panel import Answer, Face, Panel, described, slow
from notebook_kit.panels.training_dashboard import still
from notebook_kit.panels.training_dashboard.attention import attention_at, attention_questions
from notebook_kit.panels.training_dashboard.feed import Feed, FollowedRun, better, packed_series
from notebook_kit.panels.training_dashboard.sending import Keyframes, Sender
from notebook_kit.panels.training_dashboard.trainer_link import TrainerLink
from notebook_kit.training.callbacks import TrainerCallback
from notebook_kit.training.recording.monitor import RunMonitor
from notebook_kit.training.recording.record import RunRecord

__all__ = ["TrainingDashboard", "display_for"]

logger = logging.getLogger("notebook_kit")

HEARTBEAT = 5.0
"""Seconds after which a message is sent to the page even if nothing has changed."""

FRAME = 20_000
"""Approximate size of a frame in bytes, not counting its numbers."""


class TrainingDashboard(Panel, TrainerCallback):
    """A live training run: its curves, its progress, and buttons to pause or stop it, save, evaluate, or set the learning rate.

    It is a callback for the Trainer of notebook_kit or of `transformers`, and can record your own training loop:

        Trainer(..., callbacks=[TrainingDashboard()])

        with TrainingDashboard() as board:
            for step, batch in enumerate(batches, 1):
                board.log(step, loss=train(batch))
                if board.should_stop:
                    break

    The record is written by a `notebook_kit.training.RunMonitor`, whose documentation says where. `load` opens it later.

    Args:
        run_dir: Folder of the record; None: chosen by `RunMonitor`.
        probes: Examples to predict at regular intervals: texts, pairs of texts, or dictionaries of model inputs.
        probe_every: Steps between two predictions; None: about 100 predictions per run.
        probe_attention: `(layer, head)` whose attention on each probe is recorded too.
        tokenizer: Encodes the texts in `probes`; None: the Trainer's tokenizer.
        record: An existing record to show instead of a new one.
        **traits: Initial values of the traits below.

    Attributes:
        shown (str): The metric in the large chart, without the prefix "eval_": "loss" (the default), "learning_rate",
            "step_time", or any other.
        smoothing (float): Weight of earlier values in the moving average, initially 0.6; 0 shows the raw values.
        log_scale (bool): Whether the chart has a logarithmic scale, initially False.
        axis (str): The x axis of the chart: "step" (the default) or "time".
        status (str): "idle" (initially), "running", "paused", "stopping" or "ended". Read-only.
        step (int): Number of optimizer updates that the page has been notified of, initially 0. Read-only.

    Raises:
        InputError: A probe is not a valid example.
        CheckpointError: The folder cannot be written, or contains something else.

    Example:
        >>> board = TrainingDashboard()
        >>> with board:
        ...     for loss in (0.9, 0.5, 0.4):
        ...         board.log(loss=loss)
        >>> board.table()["loss"].tolist(), board
        ([0.9, 0.5, 0.4], TrainingDashboard('run': step 3, ended))
    """

    is_display = True

    name: ClassVar[str] = "training_dashboard"

    shown = traitlets.Unicode("loss", help="The metric in the large chart.").tag(sync=True)
    smoothing = traitlets.Float(0.6, min=0.0, max=0.999, help="Weight of earlier values in the moving average.").tag(
        sync=True
    )
    log_scale = traitlets.Bool(False, help="Whether the chart has a logarithmic scale.").tag(sync=True)
    axis = traitlets.Enum(["step", "time"], "step", help="The x axis of the chart.").tag(sync=True)
    status = traitlets.Unicode("idle", help="The state of the run.")
    step = traitlets.Int(0, help="Number of optimizer updates.")

    _frame = traitlets.Dict().tag(sync=True, to_json=lambda value, board: board._everything())
    _hears = traitlets.Unicode("none").tag(sync=True)  # the result of `busy.hear`
    _problem = traitlets.Dict().tag(sync=True)  # an error without a request from the page: {what, next_step}

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
        if not isinstance(record, RunRecord | None):
            raise InputError(
                f"{record!r:.60} is not a RunRecord.", next_step="TrainingDashboard.load(path) opens a recorded run."
            )
        self.monitor = RunMonitor(record, run_dir=_path(run_dir) if run_dir is not None else None)
        self._probes = None
        if probes is not None:
            from notebook_kit.inspection.training.probes import Probes

            self._probes = Probes(probes, probe_every, probe_attention)
        elif probe_attention is not None:
            raise InputError("probe_attention was given without probes.", next_step='Add some: probes=["A text."].')
        self._tokenizer = tokenizer
        self._link = TrainerLink(self.monitor)
        self._family: list[TrainingDashboard] = [self]  # its branches, their branches, and those that it branches off
        self._loaded = record is not None
        self._kind = ""  # "trainer" or "loop", once a run has begun
        self._supported: set[str] = set()  # requests that the user's loop has checked for
        self._feeding = threading.RLock()
        self._feed = Feed(FollowedRun("0", self.record, self._status_now, self._more))
        self._sender = Sender(self._push)
        self._sent_state, self._sent_at = "", 0.0
        self._keyframes = Keyframes()
        self._is_displayed = self._is_running = False
        self._output: Any = None  # the display handle of the current run
        with self._feeding:
            self._feed.update()
        super().__init__(**traits)
        self._set_progress()

    def opened(self) -> None:
        self._hears = busy.hear(self)
        self.monitor.idle = busy.poll if self._hears == "poll" else None

    @property
    def shows_run(self) -> bool:  # type: ignore[override]
        """Whether the dashboard is visible. Outside of notebooks it is not, and a Trainer keeps its progress bar."""
        return _in_kernel()

    # The record ------------------------------------------------------------------------------------------------

    @property
    def record(self) -> RunRecord:
        """The record of the run."""
        return self.monitor.record

    @property
    def controls(self) -> Any:
        """The controls of the run, which the buttons use too: a `notebook_kit.training.RunControls`."""
        return self.monitor.controls

    @classmethod
    def load(cls, path: str | os.PathLike[str], **traits: Any) -> TrainingDashboard:
        """Open a recorded run.

        Args:
            path: A run folder, its `events.jsonl`, the output folder of a Trainer, or a `trainer_state.json`, including those of
                `transformers`.
            **traits: Initial values of the traits.

        Returns:
            A dashboard that shows the run, and those that it branches off. Nothing is written.

        Raises:
            CheckpointError: The run does not exist, or the file is not a record.
        """
        board = cls(record=RunRecord.load(_path(path)), **traits)
        if parents := board.record.ancestors():
            board.compare(*parents)
        return board

    def branched(self) -> TrainingDashboard:
        """The dashboard of a branch, which shows this run too, as this one shows the branch."""
        probes = self._probes
        more: dict[str, Any] = {name: getattr(self, name) for name in ("shown", "smoothing", "log_scale", "axis")}
        if probes is not None:
            more |= {"probes": probes.examples, "probe_every": probes.every, "probe_attention": probes.attention}
        board = TrainingDashboard(tokenizer=self._tokenizer, **more)
        board._family = self._family
        self._family.append(board)
        return board

    def compare(self, *others: Any) -> None:
        """Show other runs in the same charts, live if they are in progress.

        Args:
            *others: Paths as for `load`, dashboards, or `RunRecord`s. Without arguments, the comparison ends.

        Raises:
            CheckpointError: A run does not exist.
            InputError: An argument is not a run.
        """
        runs = []
        for number, other in enumerate(others, 1):
            if isinstance(other, TrainingDashboard):
                runs.append(FollowedRun(str(number), other.record, other._status_now))
            elif isinstance(other, RunRecord):
                runs.append(FollowedRun(str(number), other))
            elif isinstance(other, str | os.PathLike):
                runs.append(FollowedRun(str(number), RunRecord.load(_path(other))))
            else:
                raise InputError(
                    f"{type(other).__name__} is not a run to compare with.",
                    next_step="Pass the path of a run, another TrainingDashboard, or a RunRecord.",
                )
        with self._feeding:
            self._feed.runs[1:] = runs
            self._feed.update()
            self._feed.number += 1
        self._send_frame()
        if any(run.status() not in ("ended", "idle") for run in runs):
            self._sender.start()

    def log(self, step: int | None = None, **values: Any) -> None:
        """Record values of your own training loop. Waits while the run is paused.

        Args:
            step: The step; None: the one after the last.
            **values: Name -> number.

        Raises:
            InputError: A value is not a number.
        """
        if not self._kind or self.controls.status in ("idle", "ended"):
            self.monitor.begin()
            self._begin("loop")
        self.monitor.log(step, **values)

    log.error = log.warning = lambda *text, **more: traitlets.log.get_logger().warning(*text)  # type: ignore[attr-defined]
    # In other widgets `log` is a logger, on which ipywidgets reports errors.

    @property
    def should_stop(self) -> bool:
        """Whether your training loop should stop, because someone pressed the button."""
        self._supported.add("stop")
        return self.monitor.should_stop

    @property
    def learning_rate(self) -> float | None:
        """The learning rate set on the page for your training loop, or else the last one logged; None if neither."""
        self._supported.add("learning_rate")
        return self.monitor.learning_rate

    def begin(self, step: int = 0, **facts: Any) -> None:
        """Mark the beginning of your training loop. `with` and the first `log` do this too.

        Args:
            step: Number of steps already done.
            **facts: Facts about the run, such as `max_steps`, which is needed to estimate the remaining time.
        """
        self.monitor.begin(step, **facts)
        self._begin("loop")

    def finish(self) -> None:
        """Mark the end of your training loop. The end of `with` does this too."""
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
        self._link.take(kwargs.get("trainer"))
        self._begin("trainer")
        if len(self._family) > 1:
            with _harmless("branches"):
                for board in self._family:
                    board.compare(*(other for other in self._family if other is not board))
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
        """Do nothing. `transformers` calls this event, which `TrainerCallback` lacks, on every callback."""

    def _probe(self, step: int, kwargs: dict[str, Any]) -> None:
        if self._probes is None or self.controls.status != "running":
            return
        try:
            tokenizer = self._tokenizer or kwargs.get("processing_class") or kwargs.get("tokenizer")
            self.record.event("probe", step, rows=self._probes.take(kwargs["model"], tokenizer))
        except Exception as error:  # a failing probe must not end the training
            self._probes, self._problem = None, described(error)

    # Updates of the page --------------------------------------------------------------------------------------------------

    def _begin(self, kind: str) -> None:
        if self._is_running:  # the previous run ended without an event, like an interrupted one of `transformers`
            self._is_displayed = False
        self._kind, self._loaded, self._is_running = kind, False, True
        self._keyframes.restart(time.monotonic())
        with _harmless("begin"):
            if not self._is_displayed and _in_kernel():
                from IPython.display import display

                self._output = display(self, display_id=True)
            if self._has_page():
                self._sender.start()

    def _end(self) -> None:
        self._is_running = False
        with _harmless("end"):
            self._show_end()

    def _show_end(self) -> None:
        if self._sender.is_alive:
            self._sender.finish()
        else:
            with self._feeding:
                self._feed.update()
                self._feed.number += 1
            self._set_progress()
            if self._has_page():
                self._send_frame()
        output, self._output = self._output, None
        if output is not None:  # so that a saved notebook has the static face of the finished run
            output.update(self)
        self._is_displayed = False  # the next run is displayed below its own cell

    def _has_page(self) -> bool:
        return self.comm is not None and type(self.comm).__name__ != "DummyComm"

    def _status_now(self) -> str:
        return "ended" if self._loaded else self.controls.status

    def _set_progress(self) -> None:
        """Set the traits `status` and `step`."""
        status = self._status_now()
        with self._feeding:
            step = max((series.last_step for series in self._feed.runs[0].series.values()), default=0)
        for name, value in (("status", status), ("step", step)):
            if getattr(self, name) != value:
                setattr(self, name, value)

    def _more(self) -> dict[str, Any]:
        """Pending requests, and for each request "" if it is possible, or else the key of the reason why not."""
        if self._loaded or is_copy():
            why = "why_loaded" if self._loaded else "why_copy"
            reasons = dict.fromkeys(("pause", "stop", "save", "evaluate", "learning_rate"), why)
        elif self._kind == "loop":
            reasons = {"pause": "", "save": "why_loop", "evaluate": "why_loop"}
            reasons["stop"] = "" if "stop" in self._supported else "why_loop_stop"
            reasons["learning_rate"] = "" if "learning_rate" in self._supported else "why_loop_rate"
        else:
            reasons = dict.fromkeys(("pause", "stop", "save", "evaluate", "learning_rate"), "")
        return {"can": {**reasons, **self._link.reasons()}, "pending": sorted({*self.controls.pending} - {"rows"})}

    def _everything(self) -> dict[str, Any]:
        """The current frame: the value sent to the page whenever the trait `_frame` is serialized."""
        with self._feeding:
            self._feed.update()
            frame, data = self._feed.frame()
        return {**frame, "buffer": data}

    def _send_frame(self) -> int:
        """Send everything; returns its approximate size in bytes."""
        self._frame = {"at": time.monotonic()}  # any new value: `_everything` replaces it
        with self._feeding:
            series = sum(len(one) for run in self._feed.runs for one in run.series.values())
        return FRAME + 24 * series

    def _push(self) -> int | None:
        """Send what is new. Returns its size in bytes, or None if the run has ended and everything has been sent."""
        now = time.monotonic()
        with self._feeding:
            statuses = " ".join(run.status() for run in self._feed.runs)
            state = f"{statuses} {self.controls.pending}"
            changed = self._feed.update()
            changed |= state != self._sent_state or now - self._sent_at > HEARTBEAT
            is_over = all(run.status() in ("ended", "idle") for run in self._feed.runs)
            self._set_progress()
            if self._keyframes.is_due(now) or is_over:
                self._feed.number += 1
                size = self._send_frame()
                self._sent_state, self._sent_at = state, now
                return None if is_over else size
            if not changed:
                return 0
            news, data = self._feed.news()
        self._sent_state, self._sent_at = state, now
        self.send({"feed": news}, [data])
        rows = sum(len(run.get("series", ())) for run in news["runs"])
        return 1000 + len(data) + 130 * rows + sum(len(str(run.get("events", ""))) for run in news["runs"])

    # Answers to the page ---------------------------------------------------------------------------------------------

    def answer_frame(self, values: dict[str, Any]) -> Answer:
        """Everything, for a page that missed a message."""
        everything = self._everything()
        data = everything.pop("buffer")
        return Answer(everything, [data])

    def answer_control(self, values: dict[str, Any]) -> Answer:
        """Pass the request `do` to the run; for "learning_rate", `value` is the new rate."""
        request = str(values.get("do"))
        if self._status_now() in ("ended", "idle"):
            raise InputError("No run is in progress.", next_step="Start one with trainer.train().")
        if request == "learning_rate":
            self.controls.set_learning_rate(values.get("value"))
        elif request in ("pause", "resume", "stop", "save", "evaluate"):
            getattr(self.controls, request)()
        else:
            raise InputError(f"Unknown request to a run: {request!r}.")
        return Answer({"pending": sorted(self.controls.pending)})

    def answer_detail(self, values: dict[str, Any]) -> Answer:
        """The series `names` of all runs between `from` and `to` in finer buckets; `by` is "step" or "time"."""
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
        """The attention on the probe `example` at `step`, one byte per weight."""
        attention = attention_at(self.record, int(values["step"]), int(values["example"]))
        return Answer({"size": len(attention)}, [attention])

    @slow
    def answer_rows(self, values: dict[str, Any]) -> Answer:
        """The rows of the batch of `step`, with their texts and losses."""
        return Answer(self._link.rows(int(values["step"])))

    def answer_checkpoints(self, values: dict[str, Any]) -> Answer:
        """The steps of the checkpoints that are kept."""
        return Answer({"steps": self._link.checkpoints()})

    def answer_branch(self, values: dict[str, Any]) -> Answer:
        """Begin a branch at the checkpoint of `step`, in the background; this dashboard shows it."""
        branch = self._link.branch(values)
        for callback in branch.callbacks:
            if isinstance(callback, TrainingDashboard):
                callback._is_displayed = True  # within this one
        branch.train(background=True)
        return Answer({"name": branch.args.run_name})

    def offline_questions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The attention on probes, at most 4 MiB of it, and the rows that were measured."""
        yield from attention_questions(self.record)
        for step in self._link.measured_steps():
            yield "rows", {"step": step}

    # Results ---------------------------------------------------------------------------------------------------------

    def table(self) -> Any:
        """All series as a pandas DataFrame: one row per step, one column per series, and a first column `run` if runs are compared."""
        with self._feeding:
            self._feed.update()
            return still.table_of(self._feed.runs)

    def figure(self) -> Any:
        """The large chart, and small charts of the other metrics, as a matplotlib `Figure`."""
        with self._feeding:
            self._feed.update()
            return still.figure_of(self._shown())

    def face(self) -> Face:
        """The charts as a picture, and a table of the last and best value of each series."""
        with self._feeding:
            self._feed.update()
            return still.face_of(self._shown())

    def _shown(self) -> still.ShownRuns:
        return still.ShownRuns(self._feed.runs, self.shown, self.smoothing, self.log_scale, self.word)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self._is_displayed = True
        data, metadata = super()._repr_mimebundle_(**kwargs)
        if is_copy() and not self._is_running:  # the panel ends with this process, and only its face stays
            data.pop("application/vnd.jupyter.widget-view+json", None)
        return data, metadata

    def __repr__(self) -> str:
        self._set_progress()
        max_steps = self.record.facts.get("max_steps")
        return f"TrainingDashboard({self.record.name!r}: step {self.step}{f' of {max_steps}' if max_steps else ''}, {self.status})"

    def close(self) -> None:
        """Close the panel. The record remains."""
        busy.forget(self)
        super().close()


@contextmanager
def _harmless(moment: str) -> Iterator[None]:
    """Log an error of the display at the beginning or end of a run, which must not end the run or lose its results."""
    try:
        yield
    except Exception:
        logger.warning("The dashboard could not show the %s of the run", moment, exc_info=True)


def _path(path: Any) -> Path:
    if isinstance(path, str | os.PathLike) and str(path):
        return Path(path)
    raise InputError(f"{path!r:.60} is not the path of a run.", next_step="Pass a folder, such as out/runs/first.")


def _in_kernel() -> bool:
    """Whether displayed widgets are visible: in a notebook, but not in a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def display_for(args: Any) -> TrainerCallback | None:
    """The dashboard that a Trainer shows automatically in a notebook.

    Args:
        args: The Trainer's arguments.

    Returns:
        A dashboard; None outside of notebooks.

    Example:
        >>> display_for(None) is None  # not in a notebook
        True
    """
    return TrainingDashboard() if _in_kernel() else None
