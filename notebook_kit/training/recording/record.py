"""The record of a run: all its numbers and events, in memory and on disk."""

from __future__ import annotations

import math
import re
import threading
import time as clock
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from notebook_kit.errors import CheckpointError, InputError, warn
from notebook_kit.files import read_json
from notebook_kit.training.recording.journal import Journal, from_json, plain, read_lines

__all__ = ["RunRecord", "Series", "checked_step", "find_runs"]

EVENTS_FILE = "events.jsonl"
STATE_FILE = "trainer_state.json"
RUNS_FOLDER = "runs"
LATER = {"epoch"}  # kinds of events that are written with the lines after them, since they describe the steps of these
FORMAT = "notebook_kit.run"


class Series:
    """The values of one name, in the order in which they were logged. It keeps every point.

    Attributes:
        steps: int64 array of shape (points,).
        values: float64 array of shape (points,).
        times: float64 array of shape (points,): seconds since 1970; NaN if unknown.

    Example:
        >>> series = Series()
        >>> series.append(3, 0.5, 1700000000.0)
        >>> len(series), series.steps.tolist(), series.values.tolist()
        (1, [3], [0.5])
    """

    __slots__ = ("_length", "_steps", "_times", "_values")

    def __init__(self, room: int = 64) -> None:
        self._steps = np.empty(room, np.int64)
        self._values = np.empty(room, np.float64)
        self._times = np.empty(room, np.float64)
        self._length = 0

    def append(self, step: int, value: float, time: float) -> None:
        """Add one point."""
        at = self._length
        if at == len(self._steps):
            self._move(2 * at)
        self._steps[at] = step
        self._values[at] = value
        self._times[at] = time
        self._length = at + 1  # last: a reader on another thread sees only complete points

    def keep_until(self, step: int) -> None:
        """Drop every point after `step`."""
        kept = np.flatnonzero(self.steps <= step)
        if len(kept) == self._length:
            return
        room = max(64, len(kept))
        steps, values, times = np.empty(room, np.int64), np.empty(room, np.float64), np.empty(room, np.float64)
        # New arrays, so that those already handed out do not change.
        steps[: len(kept)], values[: len(kept)] = self.steps[kept], self.values[kept]
        times[: len(kept)] = self.times[kept]
        self._steps, self._values, self._times, self._length = steps, values, times, len(kept)

    def _move(self, room: int) -> None:
        for name in ("_steps", "_values", "_times"):
            former = getattr(self, name)
            larger = np.empty(max(room, 64), former.dtype)
            larger[: self._length] = former[: self._length]
            setattr(self, name, larger)

    @property
    def steps(self) -> np.ndarray:
        return self._steps[: self._length]

    @property
    def values(self) -> np.ndarray:
        return self._values[: self._length]

    @property
    def times(self) -> np.ndarray:
        return self._times[: self._length]

    @property
    def last(self) -> float | None:
        """The latest value; None if there is none."""
        return float(self._values[self._length - 1]) if self._length else None

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"Series({self._length} points, last {self.last})"


class RunRecord:
    """All logs of a run at full resolution, and its events.

    With a folder, the record is also written to `events.jsonl`: one line of JSON for each step, event and set of facts,
    passed to the operating system within 0.3 seconds, so that a killed process loses very little. A record created with a
    folder that has such a file continues it. An event "begin" at step N marks that the run resumes there: later logs are
    dropped from memory (not from the file), so that curves do not run backwards.

    One thread may write a record while others read it; hold `lock` to read several values consistently.

    Args:
        run_dir: Folder of the run; None: in memory only.
        name: The name of the run; by default that of its folder.

    Attributes:
        series: Name -> `Series`, read-only.
        events: Dictionaries with `kind`, `step`, `time` (seconds since 1970) and details.
        facts: Facts about the run: `max_steps`, `model`, hyperparameters.
        version: Increases with each change.
        lock: The lock held during each change.
        run_dir: The folder that it is written to, or None.
        origin: The folder that it is written to or was read from, or None.

    Raises:
        CheckpointError: if the folder cannot be written, or its `events.jsonl` is not a record.

    Example:
        >>> record = RunRecord(name="a loop")
        >>> record.describe(max_steps=2)
        >>> for step, loss in [(1, 0.9), (2, 0.7)]:
        ...     record.log(step, {"loss": loss})
        >>> record.event("save", 2, checkpoint="checkpoint-2")
        >>> record.series["loss"].values.tolist(), record.events[0]["kind"]
        ([0.9, 0.7], 'save')
    """

    def __init__(self, run_dir: str | Path | None = None, *, name: str | None = None) -> None:
        self.lock = threading.RLock()
        self.version = 0
        self.events: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self.run_dir: Path | None = None
        self._series: dict[str, Series] = {}
        self.series: Mapping[str, Series] = MappingProxyType(self._series)
        self._journal: Journal | None = None
        self._name = name
        self._read_from: Path | None = None
        if run_dir is not None:
            self.attach(run_dir)

    @property
    def origin(self) -> Path | None:
        return self.run_dir or self._read_from

    @property
    def name(self) -> str:
        """The name of the run."""
        return self._name or (self.run_dir.name if self.run_dir is not None else "run")

    @name.setter
    def name(self, name: str | None) -> None:
        with self.lock:
            self._name = name
            self.version += 1

    # --------------------------------------------------------------------------------------------------------- write

    def log(self, step: int, values: Mapping[str, float], time: float | None = None, *, later: bool = False) -> None:
        """Add a value for each name at `step`.

        Args:
            step: Optimizer updates done.
            values: Name -> number; NaN and infinities are numbers too.
            time: Seconds since 1970; None: now.
            later: Write it with the next line or by `flush`, which then is up to the caller.

        Raises:
            InputError: if a value is not a number. In this case nothing is logged.
        """
        numbers = {name: value if type(value) is float else _number(name, value) for name, value in values.items()}
        moment = clock.time() if time is None else time
        with self.lock:
            self._add(step, numbers, moment)
            if self._journal is not None:
                self._journal.write({"log": numbers, "step": step, "time": moment}, later=later)

    def event(self, kind: str, step: int, **details: Any) -> None:
        """Add an event at `step`.

        Args:
            kind: "begin", "end", "learning_rate", "pause", "resume", "stop", "save", "evaluate", "nonfinite", "error",
                "probe", "note", "best", or any other string.
            step: Optimizer updates done. For "begin": where the run resumes; later logs are dropped.
            details: Further details: numbers, strings, and lists and dictionaries of them.
        """
        entry = {"kind": kind, "step": int(step), "time": clock.time(), **plain(details)}
        with self.lock:
            self._add_event(entry)
            if self._journal is not None:
                self._journal.write({"event": entry}, at_once=kind not in LATER, later=kind in LATER)

    def describe(self, **facts: Any) -> None:
        """Add to `facts`, replacing facts of the same name."""
        facts = plain(facts)
        with self.lock:
            self.facts.update(facts)
            self.version += 1
            if self._journal is not None:
                self._journal.write({"facts": facts}, at_once=True)

    def _add(self, step: int, values: Mapping[str, float], moment: float) -> None:
        series = self._series
        for name, value in values.items():
            found = series.get(name)
            if found is None:
                found = series[name] = Series()
            found.append(step, value, moment)
        self.version += 1

    def _add_event(self, entry: dict[str, Any]) -> None:
        if entry["kind"] == "begin":
            self._drop_after(entry["step"])
        self.events.append(entry)
        self.version += 1

    def _drop_after(self, step: int) -> None:
        for name in list(self._series):
            self._series[name].keep_until(step)
            if not len(self._series[name]):
                del self._series[name]
        self.events[:] = [entry for entry in self.events if entry["step"] <= step]

    # ---------------------------------------------------------------------------------------------------- disk

    def attach(self, run_dir: str | Path) -> None:
        """From now on, also write the record to a folder.

        The contents of an existing `events.jsonl` in the folder come first, followed by those of this record.

        Args:
            run_dir: The folder; it is created if missing.

        Raises:
            CheckpointError: if the folder cannot be written, or its `events.jsonl` is not a record.
        """
        folder = Path(run_dir).expanduser()
        path = folder / EVENTS_FILE
        with self.lock:
            self.close()
            own = list(self.lines()) if self.version else []
            if path.is_file() and path.stat().st_size:
                self._forget()
                self._read(path)
                for line in own:
                    self._take(line)
            self.run_dir = folder
            self._journal = Journal(path, {"format": FORMAT, "name": self.name})
            for line in own:
                self._journal.write(line)
            self._journal.flush()
            self.version += 1

    def detach(self) -> None:
        """Write pending lines and clear the record; from now on it is in memory only."""
        with self.lock:
            self.close()
            self._forget()
            self.run_dir = None

    def close(self) -> None:
        """Write pending lines and close the file. Later logs are in memory only."""
        with self.lock:
            if self._journal is not None:
                self._journal.close()
                self._journal = None

    def flush(self) -> None:
        """Write pending lines to the operating system now."""
        journal = self._journal  # without the lock: the training thread must not wait for the disk
        if journal is not None:
            journal.flush()

    def _forget(self) -> None:
        self._series.clear()
        self.events.clear()
        self.facts.clear()
        self.version += 1

    def lines(self) -> Iterator[dict[str, Any]]:
        """The record as dictionaries, one per line of its file; the values of one step are together."""
        if self.facts:
            yield {"facts": dict(self.facts)}
        rows: list[tuple[float, int, dict[str, Any]]] = []
        steps: dict[tuple[int, float], dict[str, float]] = {}
        for name, series in self._series.items():
            for step, value, time in zip(
                series.steps.tolist(), series.values.tolist(), series.times.tolist(), strict=True
            ):
                steps.setdefault((step, time), {})[name] = value
        for (step, time), values in steps.items():
            rows.append((step, 1, {"log": values, "step": step, "time": time}))
        # A "begin" drops everything after its step, so it is placed before those lines.
        rows += [(entry["step"], 0 if entry["kind"] == "begin" else 2, {"event": entry}) for entry in self.events]
        for _, _, line in sorted(rows, key=lambda row: row[:2]):
            yield line

    def _take(self, line: Mapping[str, Any]) -> None:
        if "log" in line:
            self._add(int(line["step"]), line["log"], line.get("time", math.nan))
        elif "event" in line:
            self._add_event(dict(line["event"]))
        elif "facts" in line:
            self.facts.update(line["facts"])
            self.version += 1
        elif line.get("name") and self._name is None:
            self._name = line["name"]

    def _read(self, path: Path) -> None:
        unreadable = 0
        for number, line in enumerate(read_lines(path)):
            if number == 0 and (line is None or line.get("format") != FORMAT):
                raise CheckpointError(
                    f"{path} is not the record of a run: its first line is not a header.",
                    next_step=f"Name a run folder, its {EVENTS_FILE}, or a {STATE_FILE}.",
                )
            try:
                self._take(line or {})
                unreadable += line is None
            except (KeyError, TypeError, ValueError, AttributeError):
                unreadable += 1
        if unreadable:
            warn(f"{unreadable} lines of {path} could not be read and were left out.")

    @classmethod
    def load(cls, path: str | Path) -> RunRecord:
        """Read the record of a run, for viewing.

        Args:
            path: A run folder, its `events.jsonl`, a `trainer_state.json` of `transformers` or of this library, or a
                folder with one (a checkpoint). For the output folder of a Trainer: its latest run, or else its last
                checkpoint.

        Returns:
            A record in memory only.

        Raises:
            CheckpointError: if the file is missing or empty, or is not a record.
        """
        given = Path(path).expanduser()
        found = _find(given)
        record = cls()
        if found.suffix == ".json":
            record._read_state(found)
            record._name = record._name or (found.parent.name or None)
        else:
            if not found.stat().st_size:
                raise CheckpointError(
                    f"{found} is empty: this run has not logged anything yet.",
                    next_step="Wait for its first step, or name another run.",
                )
            record._read(found)
            record._name = record._name or found.parent.name
        record._read_from = found.parent
        return record

    def ancestors(self) -> list[RunRecord]:
        """The records of the run from which this one branches off, of that from which that one does, and so on; as far as they
        exist.
        """
        found: list[RunRecord] = []
        seen, parent = {str(self.origin)}, self.facts.get("parent")
        while parent and parent not in seen and (Path(parent) / EVENTS_FILE).is_file():
            seen.add(parent)
            found.append(RunRecord.load(parent))
            parent = found[-1].facts.get("parent")
        return found

    def _read_state(self, path: Path) -> None:
        try:
            state = read_json(path)
            history = state["log_history"]
            for entry in history:
                step = int(entry["step"])
                numbers = {
                    name: float(from_json(value))
                    for name, value in entry.items()
                    if name != "step" and is_number(from_json(value))
                }
                self._add(step, numbers, math.nan)
        except (CheckpointError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = error.what if isinstance(error, CheckpointError) else f"{type(error).__name__}: {error}."
            raise CheckpointError(
                f"{path} is not the state of a run: {why}",
                next_step=f"Name a run folder, its {EVENTS_FILE}, or a {STATE_FILE}, which has a list log_history.",
            ) from error
        names = ("max_steps", "num_train_epochs", "train_batch_size", "best_metric", "best_model_checkpoint")
        self.facts.update({name: state[name] for name in names if state.get(name) is not None})
        if state.get("best_global_step") is not None:
            best = {"kind": "best", "step": state["best_global_step"], "time": math.nan}
            self._add_event({**best, "value": state.get("best_metric")})
        if state.get("global_step") and state["global_step"] >= (state.get("max_steps") or math.inf):
            self._add_event({"kind": "end", "step": state["global_step"], "time": math.nan})

    def __repr__(self) -> str:
        points = max((len(series) for series in self._series.values()), default=0)
        place = f", {str(self.run_dir)!r}" if self.run_dir is not None else ""
        return f"RunRecord({self.name!r}{place}: {len(self._series)} series, up to {points} points)"


def find_runs(folder: str | Path) -> list[Path]:
    """The run folders in a folder or in its `runs`, the latest first.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> RunRecord(f"{folder}/runs/first").close()
        >>> [run.name for run in find_runs(folder)]
        ['first']
    """
    place = Path(folder).expanduser()
    files = [*place.glob(f"*/{EVENTS_FILE}"), *place.glob(f"{RUNS_FOLDER}/*/{EVENTS_FILE}")]
    return [file.parent for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)]


def new_run(output_dir: str | Path, name: str | None) -> Path:
    """A path for a new run: `runs/<name>` in an output folder; it is not created yet."""
    if not name:
        name = clock.strftime("%Y-%m-%d_%H-%M-%S")
    base = _folder_name(name)
    parent, number, folder = Path(output_dir) / RUNS_FOLDER, 1, base
    while (parent / folder).exists():
        number += 1
        folder = f"{base}-{number}"
    return parent / folder


def name_in(folder: Path, name: str | None) -> str | None:
    """The name of a run as it was given, with the number that `new_run` added to its folder; None for another run's folder."""
    base = _folder_name(name) if name else ""
    return (
        f"{name}{folder.name[len(base) :]}"
        if base and re.fullmatch(re.escape(base) + r"(-\d+)?", folder.name)
        else None
    )


def _folder_name(name: str) -> str:
    return re.sub(r"[^\w.+=-]+", "_", str(name)).strip("._")[:100] or "run"


def continued_run(output_dir: str | Path, step: int) -> Path | None:
    """The run that wrote the checkpoint of `step`: the latest that recorded it, otherwise the latest that reached that step."""
    reached_step = None
    for folder in find_runs(output_dir):
        record = RunRecord.load(folder)
        if any(event["kind"] == "save" and event["step"] == step for event in record.events):
            return folder
        reached = max((int(series.steps.max()) for series in record.series.values() if len(series)), default=-1)
        if reached_step is None and reached >= step:
            reached_step = folder
    return reached_step


def is_number(value: Any) -> bool:
    """Whether `value` is a number or a tensor or array of one."""
    if isinstance(value, (int, float, np.number)):
        return True
    return getattr(value, "shape", None) == () and hasattr(value, "item") and isinstance(value.item(), (int, float))


def checked_step(step: Any) -> int:
    """A step as an int.

    Raises:
        InputError: If it is not a whole number of steps.
    """
    if is_number(step) and math.isfinite(step) and abs(step) < 2**62:
        return int(step)
    raise InputError(
        f"The step is not a number: {step!r:.80}.", next_step="Pass names with the values: board.log(step, loss=loss)."
    )


def _number(name: str, value: Any) -> float:
    if not is_number(value):
        raise InputError(
            f"The logged value of {name!r} is not a number: {value!r:.80}.",
            next_step="Log numbers; for a tensor, its mean or another single number.",
        )
    return float(value)


def _find(path: Path) -> Path:
    """The file meant by `path`."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(
            f"There is no run at {path}: no such file or folder.",
            next_step=f"Name a run folder ({RUNS_FOLDER}/...), its {EVENTS_FILE}, or a {STATE_FILE}.",
        )
    for name in (EVENTS_FILE, STATE_FILE):
        if (path / name).is_file():
            return path / name
    if found := find_runs(path):
        return found[0] / EVENTS_FILE
    states = sorted(path.glob(f"checkpoint-*/{STATE_FILE}"), key=lambda file: _step_of(file.parent.name))
    if states:
        return states[-1]
    raise CheckpointError(
        f"{path} has no record of a run: neither {EVENTS_FILE} nor {STATE_FILE}, nor runs or checkpoints with one.",
        next_step="Name the folder of a run, or the output folder of a Trainer.",
    )


def _step_of(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1
