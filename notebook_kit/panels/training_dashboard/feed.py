"""What is sent to the page about runs: complete frames, and messages with what has changed since; numbers are sent as bytes."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from notebook_kit.inspection.training.thinning import Thinned
from notebook_kit.inspection.training.verdict import verdict
from notebook_kit.training.recording.record import RunRecord

__all__ = ["Feed", "FollowedRun", "better", "packed_series"]

EVENTS = 300
"""Maximum number of events of a run that are sent to the page: the latest."""

PROBES = 200
"""Maximum number of predictions on probes that are sent to the page: beyond it, every second one in between is dropped."""

WINDOW = 60.0
"""Seconds over which speed is measured to estimate the remaining time."""

HIDDEN = {"epoch", "total_flos", "step"}  # the progress of a run, which the page shows as text
SECRET = re.compile(r"token|secret|password|passwd|api_?key|credential", re.IGNORECASE)
LOWER = re.compile(r"(^|[_/ .-])(loss|nll|ppl|perplexity|error|err|wer|cer|mae|mse|rmse)($|[_/ .-]|\d)", re.IGNORECASE)
HIGHER = re.compile(
    r"(^|[_/ .-])(acc|accuracy|f1|auc|auroc|map|precision|recall|bleu|rouge\w*|meteor|mcc|matthews\w*|pearson\w*|spearman\w*|r2|iou|"
    r"exact_match|em|reward)($|[_/ .-])",
    re.IGNORECASE,
)


def better(name: str, facts: dict[str, Any] | None = None) -> str:
    """Whether a "lower" or a "higher" value of a metric is better; "" if unknown.

    Args:
        name: The name of the metric.
        facts: Facts about the run, where `metric_for_best_model` and `greater_is_better` settle that metric.

    Example:
        >>> better("eval_loss"), better("eval_accuracy"), better("learning_rate")
        ('lower', 'higher', '')
    """
    facts = facts or {}
    named, greater = facts.get("metric_for_best_model"), facts.get("greater_is_better")
    if (
        isinstance(named, str)
        and isinstance(greater, bool)
        and name.removeprefix("eval_") == named.removeprefix("eval_")
    ):
        return "higher" if greater else "lower"
    if LOWER.search(name):
        return "lower"
    return "higher" if HIGHER.search(name) else ""


class FollowedRun:
    """One run for the page: its series in buckets, and its progress.

    Args:
        key: The page's identifier of the run.
        record: The record of the run.
        status: Returns the state of the run: "idle", "running", "paused", "stopping" or "ended".
        more: Returns further entries of the state of the run.
    """

    def __init__(
        self,
        key: str,
        record: RunRecord,
        status: Callable[[], str] = lambda: "ended",
        more: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.key, self.record, self.status, self.more = key, record, status, more
        self.parent = ""
        """The key of the run from which this one branches off; "" if it is not shown."""
        self.copy = 1
        """The number of this run among runs with the same name."""
        self.series: dict[str, Thinned] = {}
        self.begin = math.nan
        self._version = -1
        self._begins: list[float] = []
        self._events: list[dict[str, Any]] = []
        self._events_seen = 0  # raw events looked at
        self._events_sent = 0
        self._probes: list[dict[str, Any]] = []
        self._probes_sent = 0
        self._facts: dict[str, Any] = {}
        self._sent: dict[str, Any] = {}
        self._dropped: list[str] = []
        self._verdict: dict[str, Any] = {}
        self._judged = 0.0

    @property
    def name(self) -> str:
        """The name of the run, unique among the runs shown."""
        name = self.record.name[:200]
        return name if self.copy == 1 else f"{name} ({self.copy})"

    def update(self) -> bool:
        """Read what is new in the record. Returns whether there was anything."""
        record = self.record
        if record.version == self._version:
            return False
        with record.lock:
            self._version = record.version
            begins = [event["time"] for event in record.events if event["kind"] == "begin"]
            is_restarted = begins != self._begins or len(record.events) < self._events_seen
            news = []
            # A Trainer logs the mean loss of some steps too, which a page that shows each step need not repeat.
            hidden = HIDDEN | ({"logged_loss"} if "loss" in record.series else set())
            for name, series in record.series.items():
                if name in hidden:
                    continue
                mine = self.series.get(name)
                count = 0 if is_restarted or mine is None else mine.count
                if count > len(series) or (count and mine is not None and series.steps[count - 1] != mine.last_step):
                    count = 0
                if len(series) > count:
                    # Arrays are only appended to, so views remain valid after the lock is released.
                    news.append((name, count, series.steps[count:], series.values[count:], series.times[count:]))
            names = set(record.series) - hidden
            if is_restarted:
                self._events, self._events_seen, self._events_sent = [], 0, 0
                self._probes, self._probes_sent = [], 0
            events = record.events[self._events_seen :]
            self._events_seen = len(record.events)
            self._facts = _public(record.facts)
        self._begins = begins
        if is_restarted or math.isnan(self.begin):
            firsts = [moment for moment in begins if _is_finite(moment)]
            firsts += [float(times[0]) for _, count, _, _, times in news if not count and math.isfinite(times[0])]
            self.begin = min(firsts, default=math.nan)
        for name in [name for name in self.series if name not in names]:
            del self.series[name]
            self._dropped.append(name)
        for name, count, steps, values, times in news:
            if not count:
                self.series[name] = Thinned(self.begin)
            self.series[name].extend(steps, values, times)
        for event in events:
            self._add_event(event)
        return True

    def _add_event(self, event: dict[str, Any]) -> None:
        kind, step = str(event.get("kind")), int(event.get("step", 0))
        if kind == "probe":
            self._add_probe(step, event.get("rows"))
            return
        if kind == "epoch" or (kind == "begin" and not step):
            return
        moment = event.get("time")
        hidden = ("kind", "step", "time", "rows")  # the page asks for rows when it shows them
        details = {name: _plain(value) for name, value in event.items() if name not in hidden}
        self._events.append(
            {
                "kind": kind,
                "step": step,
                "seconds": _number(moment - self.begin) if isinstance(moment, int | float) else None,
                "with": {name: value for name, value in details.items() if not SECRET.search(name)},
            }
        )
        if len(self._events) > EVENTS + 50:
            del self._events[:50]
            self._events_sent = 0

    def _add_probe(self, step: int, rows: Any) -> None:
        if not isinstance(rows, list):
            return
        entries = [
            {name: row[name] for name in ("kind", "labels", "size", "tokens") if name in row}
            | {"values": [_number(value) for value in row.get("values", ())]}
            for row in rows
            if isinstance(row, dict)
        ]
        self._probes.append({"step": step, "rows": entries})
        if len(self._probes) > PROBES:
            self._probes[1:-1] = self._probes[1:-1:2]
            self._probes_sent = 0

    # Messages --------------------------------------------------------------------------------------------------

    def live(self) -> dict[str, Any]:
        """The state and progress of the run, as JSON values."""
        status, facts = self.status(), self._facts
        step = max(
            [0, *(series.last_step for series in self.series.values()), *(event["step"] for event in self._events)]
        )
        max_steps = _number(facts.get("max_steps"))
        last_step = int(max_steps) if max_steps is not None and max_steps > 0 else None
        now = time.time() if status in ("running", "paused", "stopping") else self._last_moment()
        rate = self._rate()
        epoch = self.record.series.get("epoch")
        if time.monotonic() - self._judged > 1 or status == "ended":
            self._verdict, self._judged = verdict(self.series, facts), time.monotonic()
        left = (last_step - step) / rate if last_step is not None and rate and status == "running" else None
        return {
            "status": status,
            "step": step,
            "max_steps": last_step,
            "epoch": _number(epoch.last) if epoch is not None and len(epoch) else None,
            "epochs": _number(facts.get("num_train_epochs")),
            "elapsed": _number(now - self.begin),
            "rate": _number(rate),
            "left": _number(left),
            "verdict": self._verdict,
            "parent": self.parent,
            **self.more(),
        }

    def _last_moment(self) -> float:
        moments = [event["time"] for event in self.record.events if _is_finite(event.get("time"))]
        moments += [float(series.times[-1]) for series in self.record.series.values() if len(series)]
        return max((moment for moment in moments if math.isfinite(moment)), default=math.nan)

    def _rate(self) -> float | None:
        """Recent steps per second, since the last pause or start."""
        densest = max(self.record.series.values(), key=len, default=None)
        if densest is None or len(densest) < 2:
            return None
        steps, times = densest.steps, densest.times
        since = times[-1] - WINDOW
        for event in reversed(self.record.events):
            if event["kind"] in ("resume", "begin") and _is_finite(event.get("time")):
                since = max(since, event["time"])
                break
        first = min(int(np.searchsorted(times, since)), len(times) - 2)
        elapsed = float(times[-1] - times[first])
        return float(steps[-1] - steps[first]) / elapsed if elapsed > 0 and math.isfinite(elapsed) else None

    def message(self, whole: bool) -> tuple[dict[str, Any], list[np.ndarray]]:
        """A message for the page with everything, or with what is new since the last one, and the arrays of its series."""
        message: dict[str, Any] = {"key": self.key, "live": self.live()}
        blocks: list[np.ndarray] = []
        rows = []
        for name, series in self.series.items():
            first, packed = (0, series.packed()) if whole else series.take_changes()
            if whole or packed.shape[1]:
                rows.append(packed_series(name, series, better(name, self._facts), first, packed.shape[1]))
                blocks.append(packed)
        if rows:
            message["series"] = rows
        description = {"name": self.name, "facts": self._facts}
        if whole or description != self._sent:
            message.update(description)
        for what, entries, sent in (
            ("events", self._events, self._events_sent),
            ("probes", self._probes, self._probes_sent),
        ):
            if whole or sent != len(entries):
                first = 0 if whole or sent > len(entries) else sent
                message[f"{what}_from"], message[what] = first, [dict(entry) for entry in entries[first:]]
        if self._dropped and not whole:
            message["dropped"] = [name for name in self._dropped if name not in self.series]
        if not whole:
            self._sent, self._dropped = description, []
            self._events_sent, self._probes_sent = len(self._events), len(self._probes)
        return message, blocks

    def part(self, names: list[str], low: float, high: float, by: str = "step") -> dict[str, Thinned]:
        """Some series between two steps (or times in seconds since the start), in as many buckets as a whole run."""
        found: dict[str, Thinned] = {}
        with self.record.lock:
            parts = {name: self.record.series[name] for name in names if name in self.record.series}
            columns = {name: (series.steps, series.values, series.times) for name, series in parts.items()}
        for name, (steps, values, times) in columns.items():
            places = steps if by == "step" else times - self.begin
            first, last = np.searchsorted(places, low), np.searchsorted(places, high, side="right")
            cut = slice(max(0, int(first) - 1), int(last) + 1)
            found[name] = Thinned(self.begin)
            found[name].extend(steps[cut], values[cut], times[cut])
        return found


class Feed:
    """The runs of one panel, its own first, and the number of the latest message about them."""

    def __init__(self, run: FollowedRun) -> None:
        self.runs = [run]
        self.number = 0

    def update(self) -> bool:
        """Read what is new in all runs. Returns whether there was anything."""
        changed = [run.update() for run in self.runs]  # a list: every run must be updated
        names: dict[str, int] = {}
        for run in self.runs:
            run.copy = names[run.record.name] = names.get(run.record.name, 0) + 1
            run.parent = next((one.key for one in self.runs if one is not run and _is_parent(one, run)), "")
        return any(changed)

    def frame(self) -> tuple[dict[str, Any], bytes]:
        """Everything. Data newer than the latest message is sent again in the next one, which is harmless."""
        return self._message(True)

    def news(self) -> tuple[dict[str, Any], bytes]:
        """What is new since the latest frame or message."""
        before, self.number = self.number, self.number + 1
        message, data = self._message(False)
        return {**message, "after": before}, data

    def _message(self, whole: bool) -> tuple[dict[str, Any], bytes]:
        messages = [run.message(whole) for run in self.runs]
        data = b"".join(block.tobytes() for _, blocks in messages for block in blocks)
        return {"number": self.number, "runs": [message for message, _ in messages]}, data


def _is_parent(one: FollowedRun, run: FollowedRun) -> bool:
    """Whether a run is a branch of another."""
    named = run.record.facts.get("parent")
    folder = one.record.origin
    return bool(named) and named == (str(folder.resolve()) if folder is not None else one.record.name)


def packed_series(name: str, series: Thinned, better_: str, first: int, size: int) -> list[Any]:
    """The description that accompanies the bytes of a series, in the order in which the page reads it."""
    ends = [[_number(end[0]), end[1]] if end else None for end in (series.least, series.greatest, series.last)]
    return [name, better_, first, size, series.width, series.count, *ends]


def _public(facts: dict[str, Any]) -> dict[str, Any]:
    return {str(name)[:80]: _plain(value) for name, value in facts.items() if not SECRET.search(str(name))}


def _plain(value: Any) -> Any:
    """A short JSON value for any value."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return value if isinstance(value, int) or math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key)[:80]: _plain(entry) for key, entry in list(value.items())[:40] if not SECRET.search(str(key))}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value[:40]]
    text = str(value)
    return text if len(text) <= 300 else text[:299] + "…"


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _number(value: Any) -> float | None:
    return float(value) if _is_finite(value) else None
