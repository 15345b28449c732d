"""Runs from their records: a list, one in detail, several side by side, and one that is followed as it goes on."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notebook_kit.errors import CheckpointError, InputError, a_kind, near_matches
from notebook_kit.training.recording.journal import decode
from notebook_kit.training.recording.monitor import FACTS
from notebook_kit.training.recording.record import EVENTS_FILE, RunRecord, find_runs, is_number

__all__ = [
    "RunComparison",
    "RunSummary",
    "compare",
    "compare_runs",
    "find_run",
    "follow",
    "json_value",
    "list_runs",
    "record_of",
]

HIGHER = ("accuracy", "f1", "bleu", "rouge", "recall", "precision", "exact_match", "auc", "r2", "matthews")
_SPEED = ("_runtime", "_per_second", "_time")
SILENT = 600.0  # seconds without a line after which a run without an end is not "running"
_POLL = 0.5  # seconds between two looks at a run that is followed


@dataclass(frozen=True)
class RunSummary:
    """A run in a few numbers.

    Attributes:
        name, folder: Its name, and the folder of its record.
        status: "running", "finished", "stopped", "ended early", "interrupted", "error", "replaced", or "unknown": its record
            has no end, and no line of the last ten minutes.
        step, max_steps: Updates done and planned; None if unknown.
        seconds: From its first to its last event or log.
        metrics: The last value of each series, without those of speed.
        best: For each validation metric its best value and step.
        settings: Its hyperparameters.
        parent: The name of the run from which it branches off, or "".
        branched_at: The step at which it does; None for other runs.

    Example:
        >>> record = RunRecord(name="a loop")
        >>> record.log(1, {"loss": 0.5})
        >>> RunSummary.of(record).metrics
        {'loss': 0.5}
    """

    name: str
    folder: str
    status: str
    step: int
    max_steps: int | None
    seconds: float | None
    metrics: dict[str, float]
    best: dict[str, tuple[float, int]]
    settings: dict[str, Any]
    parent: str = ""
    branched_at: int | None = None

    @classmethod
    def of(cls, record: RunRecord) -> RunSummary:
        """The summary of a record."""
        series, facts = record.series, record.facts
        shown = {
            name: one for name, one in series.items() if name != "epoch" and not name.endswith(_SPEED) and len(one)
        }
        times = [float(t) for one in series.values() for t in one.times[[0, -1]] if math.isfinite(t)]
        times += [event["time"] for event in record.events if math.isfinite(event.get("time", math.nan))]
        last = max((int(one.steps[-1]) for one in series.values() if len(one)), default=0)
        parent = str(facts.get("parent") or "")
        return cls(
            name=record.name,
            folder=str(record.origin or ""),
            status=_status(record),
            step=max([last, *(int(event["step"]) for event in record.events)]),
            max_steps=facts.get("max_steps"),
            seconds=max(times) - min(times) if times else None,
            metrics={name: float(one.values[-1]) for name, one in shown.items()},
            best={name: _best(name, one) for name, one in shown.items() if name.startswith("eval_")},
            settings=dict(facts.get("hyperparameters") or {}),
            parent=Path(parent).name,
            branched_at=facts.get("branched_at"),
        )

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON values; numbers that are not finite are texts."""
        return {name: json_value(value) for name, value in vars(self).items()}


def _status(record: RunRecord) -> str:
    last = next((event for event in reversed(record.events) if event["kind"] in ("begin", "end")), None)
    if last is not None and last["kind"] == "end":
        return str(last.get("reason", "finished"))
    file = (record.origin or Path()) / EVENTS_FILE
    is_new = last is not None and file.is_file() and time.time() - file.stat().st_mtime < SILENT
    return "running" if is_new else "unknown"


def _best(name: str, series: Any) -> tuple[float, int]:
    pick = max if any(word in name for word in HIGHER) else min
    finite = [
        (value, step)
        for value, step in zip(series.values.tolist(), series.steps.tolist(), strict=True)
        if math.isfinite(value)
    ]
    return pick(finite, key=lambda point: point[0], default=(math.nan, 0))


def json_value(value: Any) -> Any:
    """A value as JSON has it; numbers that are not finite as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: json_value(part) for name, part in value.items()}
    return [json_value(part) for part in value] if isinstance(value, list | tuple) else value


def list_runs(folder: str | Path = ".") -> list[RunRecord]:
    """The records of the runs in a folder, in its output folders and in their branches, the latest first.

    Args:
        folder: A folder of runs, the output folder of a Trainer, or a folder of such folders.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> RunRecord(f"{folder}/out/runs/first").close()
        >>> [record.name for record in list_runs(folder)]
        ['first']
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise InputError(f"There is no folder {place}.", next_step="Name the output folder of a Trainer.")
    places = [place, *place.glob("*"), *place.glob("branches/*"), *place.glob("*/branches/*")]
    found: dict[Path, RunRecord] = {}
    for path in (run for part in places if part.is_dir() for run in find_runs(part)):
        if path.resolve() not in found:
            try:
                found[path.resolve()] = RunRecord.load(path)
            except CheckpointError:  # a run that has just begun, or another program's file
                continue
    return sorted(found.values(), key=lambda record: -_written(record))


def _written(record: RunRecord) -> float:
    return max((event["time"] for event in record.events if math.isfinite(event.get("time", math.nan))), default=0.0)


def find_run(name: str | Path, folder: str | Path = ".") -> RunRecord:
    """The record of a run.

    Args:
        name: Its folder or file, or its name among the runs of `folder`.
        folder: As for `list_runs`.

    Raises:
        InputError: if there is none; near matches are listed.
        CheckpointError: if it cannot be read.
    """
    if Path(name).expanduser().exists():
        return RunRecord.load(name)
    runs = list_runs(folder)
    for record in runs:
        if str(name) in (record.name, record.origin.name if record.origin is not None else ""):
            return record
    known = [record.name for record in runs]
    raise InputError(
        f"There is no run {str(name)!r} in {Path(folder).resolve()}. {near_matches(str(name), known)}".strip(),
        next_step=f"Runs there: {', '.join(known[:8]) or 'none'}.",
    )


class RunComparison:
    """Several runs side by side: the settings that differ, and the metrics of each. It is a table in a notebook.

    Attributes:
        runs: The summaries.
        differences: The settings that are not the same in all runs: name -> a value per run.
        metrics: Metrics and losses: name -> a value per run, the best of a validation metric, otherwise the last; None if a run
            has none.

    Example:
        >>> first, second = RunRecord(name="first"), RunRecord(name="second")
        >>> for record, rate in ((first, 0.1), (second, 0.2)):
        ...     record.describe(hyperparameters={"learning_rate": rate, "seed": 1})
        ...     record.log(1, {"loss": rate / 2})
        >>> compare_runs([first, second])
                       first    second
        status         unknown  unknown
        step           1        1
        learning_rate  0.1      0.2
        loss           0.05     0.1
    """

    def __init__(self, runs: list[RunSummary]) -> None:
        self.runs = runs
        names = list(dict.fromkeys(name for run in runs for name in run.settings))
        table = {name: [run.settings.get(name) for run in runs] for name in names}
        self.differences = {name: values for name, values in table.items() if any(v != values[0] for v in values)}
        measured = list(dict.fromkeys(name for run in runs for name in run.metrics if name not in _RESOURCES))
        self.metrics = {name: [_measured(run, name) for run in runs] for name in measured}

    def rows(self) -> list[list[str]]:
        """The table as texts, with a first row of the runs' names."""

        def text(value: Any) -> str:
            return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

        branches = [f"{run.parent}, step {run.branched_at}" if run.parent else None for run in self.runs]
        lines: list[tuple[str, list[Any]]] = [("", [run.name for run in self.runs])]
        lines += [("branch of", branches)] * any(branches)
        lines += [("status", [run.status for run in self.runs]), ("step", [run.step for run in self.runs])]
        lines += [*self.differences.items(), *self.metrics.items()]
        return [[name, *map(text, values)] for name, values in lines]

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "runs": [run.as_dict() for run in self.runs],
            "differences": json_value(self.differences),
            "metrics": json_value(self.metrics),
        }

    def __repr__(self) -> str:
        return aligned(self.rows())

    def _repr_html_(self) -> str:
        head, *rows = [[html.escape(cell) for cell in row] for row in self.rows()]
        lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
        lines += [f"<tr><th>{row[0]}</th>" + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows]
        return f"<table>{''.join(lines)}</table>"


_RESOURCES = ("memory", "gpu_memory", "logged_loss", "learning_rate", "grad_norm")


def _measured(run: RunSummary, name: str) -> float | None:
    return run.best[name][0] if name in run.best else run.metrics.get(name)


def aligned(rows: Iterable[list[str]]) -> str:
    """Rows of cells as lines of text, in columns."""
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def compare_runs(runs: Iterable[RunRecord]) -> RunComparison:
    """Compare the records of runs.

    Args:
        runs: The records, such as those of `list_runs`.

    Example:
        >>> first, second = RunRecord(name="first"), RunRecord(name="second")
        >>> for record, seed in ((first, 1), (second, 2)):
        ...     record.describe(hyperparameters={"seed": seed})
        >>> compare_runs([first, second]).differences
        {'seed': [1, 2]}
    """
    return RunComparison([RunSummary.of(record) for record in runs])


def follow(
    name: str | Path, folder: str | Path = ".", wait: Callable[[float], Any] = time.sleep
) -> Iterator[dict[str, Any]]:
    """The logs and events of a run from its beginning, and those that come, until it ends.

    Args:
        name, folder: As for `find_run`.
        wait: Called between two looks at the file, with seconds.

    Yields:
        Lines of the record: `{"log": {name: number}, "step": N, "time": seconds}` or `{"event": {...}}`.
    """
    record = find_run(name, folder)
    path, offset, is_over = (record.origin or Path()) / EVENTS_FILE, 0, False
    while path.is_file():
        with open(path, "rb") as file:
            file.seek(offset)
            news = file.read()
        whole = news[: news.rfind(b"\n") + 1]  # the last line may be half written
        offset += len(whole)
        for text in whole.decode("utf-8", "replace").splitlines():
            line = decode(text)
            if line is not None and ("log" in line or "event" in line):
                is_over = line["event"]["kind"] == "end" if "event" in line else False
                yield line
        if is_over:
            return
        wait(_POLL)


def compare(trainer: Any, *others: Any) -> RunComparison:
    """Compare the last run of this Trainer with others: the settings that differ, and the metrics of each.

    Args:
        trainer: The Trainer.
        *others: Trainers, `RunRecord`s, dashboards, folders of runs, or names of runs in `args.output_dir`; by default the
            branches of this run.

    Returns:
        A table; in a notebook it is shown as one.

    Raises:
        InputError: if one is not a run, or there is none to compare with.

    Example:
        >>> import tempfile
        >>> from notebook_kit import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
        >>> tiny = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)
        >>> data = [{"input_ids": [5, 6, 7], "labels": 1}] * 8
        >>> def trained(rate):
        ...     options = {"max_steps": 2, "logging_steps": 2, "use_cpu": True, "save_strategy": "no", "disable_tqdm": True}
        ...     args = TrainingArguments(tempfile.mkdtemp(), learning_rate=rate, run_name=f"rate {rate}", **options)
        ...     trainer = Trainer(BertForSequenceClassification(tiny), args, train_dataset=data)
        ...     trainer.pop_callback(trainer.callbacks[-1])  # quietly
        ...     return trainer, trainer.train()
        >>> (first, _), (second, _) = trained(0.1), trained(0.2)
        >>> first.compare(second).differences
        {'learning_rate': [0.1, 0.2]}
    """
    own = record_of(trainer)
    if not others:
        place = Path(trainer.args.output_dir or "") / "branches"
        others = tuple(list_runs(place)) if place.is_dir() else ()
    if not others:
        raise InputError(
            "There is no other run to compare with.", next_step="Name some: trainer.compare(other_trainer)."
        )
    return compare_runs([own, *(_record(other, trainer.args.output_dir or ".") for other in others)])


def _record(run: Any, folder: str) -> RunRecord:
    if isinstance(run, RunRecord):
        return run
    if isinstance(getattr(run, "record", None), RunRecord):
        return run.record
    if isinstance(run, str | Path):
        return find_run(run, folder)
    if hasattr(run, "state") and hasattr(run, "args"):
        return record_of(run)
    raise InputError(
        f"{a_kind(run, starts=True)} is not a run to compare with.",
        next_step="Pass a Trainer, a RunRecord, a dashboard, or the folder or name of a run.",
    )


def record_of(trainer: Any) -> RunRecord:
    """The record of a Trainer's last run; without a monitor, one made of its logs."""
    for callback in trainer.callbacks:
        if isinstance(getattr(callback, "record", None), RunRecord):
            return callback.record
    state, args = trainer.state, trainer.args
    record = RunRecord(name=args.run_name or Path(args.output_dir or "run").name)
    record.describe(max_steps=state.max_steps, hyperparameters={name: getattr(args, name) for name in FACTS})
    for entry in state.log_history:
        numbers = {name: float(value) for name, value in entry.items() if name != "step" and is_number(value)}
        if "train_runtime" not in numbers:
            record.log(entry["step"], numbers)
    if state.global_step:
        record.event(
            "end", state.global_step, reason="finished" if state.global_step >= state.max_steps else "ended early"
        )
    return record
