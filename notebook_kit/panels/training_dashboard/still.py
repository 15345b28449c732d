"""A run as it stands: a table, a matplotlib figure, the static face, and what a file on disk can answer."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from notebook_kit.errors import InputError
from notebook_kit.inspection.training.thinning import Thinned
from notebook_kit.panels.panel import Face
from notebook_kit.panels.training_dashboard.feed import HIDDEN, FollowedRun, better
from notebook_kit.training.recording.record import RunRecord

__all__ = ["attention_at", "attention_questions", "face_of", "figure_of", "smoothed", "table_of"]

FILE_BYTES = 4 * 2**20
# Okabe and Ito's colours, which people who do not tell red from green keep apart; the page has the same.
COLOURS = ("#0072b2", "#c1440e", "#007a5a", "#8a4a92", "#7a5c00", "#1b7f9c", "#b0306a", "#4d4d4d")
DASHES: tuple[Any, ...] = ("-", (0, (6, 3)), (0, (8, 3, 2, 3)), (0, (2, 2)))
SMALL = 8
"""Small charts in a figure at most."""


def table_of(runs: Sequence[FollowedRun]) -> Any:
    """The series as a DataFrame whose index is the step; with a column `run` in front if there are several runs.

    Where a name was logged twice at a step, the later value stands.
    """
    import pandas

    frames = []
    for run in runs:
        record = run.record
        with record.lock:
            columns = {
                name: pandas.Series(series.values.copy(), index=series.steps.copy())
                for name, series in record.series.items()
            }
        columns = {name: column[~column.index.duplicated(keep="last")] for name, column in columns.items()}
        frame = pandas.DataFrame(columns).sort_index()
        frame.index.name = "step"
        if len(runs) > 1:
            frame.insert(0, "run", run.name)
        frames.append(frame)
    return pandas.concat(frames) if len(frames) > 1 else frames[0]


def smoothed(series: Thinned, weight: float) -> np.ndarray:
    """The moving average over a series' buckets, as `smoothed` in `store.js` has it.

    Example:
        >>> series = Thinned()
        >>> series.extend([1, 2], [1.0, 0.0], [0.0, 0.0])
        >>> [round(value, 3) for value in smoothed(series, 0.5).tolist()]
        [1.0, 0.333]
    """
    numbers = series.packed()[1:].view(np.float32)
    means, bad = numbers[2].astype(np.float64), numbers[4]
    line = np.full(len(means), np.nan, np.float32)  # as the values are: the average of equal values is that value
    average = seen = 0.0
    for i, mean in enumerate(means):
        full = series.width if i < len(means) - 1 else series.count - series.width * i
        points = full - bad[i]
        if points > 0:
            kept = weight**points
            average, seen = kept * average + (1 - kept) * mean, kept * seen + (1 - kept)
            line[i] = average / seen if seen > 0 else np.nan
    return line


def group_of(name: str) -> str:
    """The chart in which a series stands: that of its name without "eval_"."""
    return name.removeprefix("eval_")


def figure_of(
    runs: Sequence[FollowedRun],
    shown: str,
    weight: float,
    log_scale: bool,
    words: Callable[..., str],
    most: int = SMALL,
) -> Any:
    """The chart that is shown, and below it a small one for each other metric, as a matplotlib `Figure`."""
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(group_of(name) for run in runs for name in run.series))
    groups = [name for name in groups if name not in HIDDEN]
    shown = shown if shown in groups else (groups[0] if groups else shown)
    others = [name for name in groups if name != shown][:most]
    rows = -(-len(others) // 4)
    figure = Figure(figsize=(9, 3.6 + 1.5 * rows), layout="constrained")
    grid = figure.add_gridspec(rows + 1, 4, height_ratios=[2.4] + [1.0] * rows)
    _chart(figure.add_subplot(grid[0, :]), runs, shown, weight, log_scale, words)
    for number, name in enumerate(others):
        axes = figure.add_subplot(grid[1 + number // 4, number % 4])
        _chart(axes, runs, name, weight, False, words, small=True)
    return figure


def _chart(
    axes: Any,
    runs: Sequence[FollowedRun],
    group: str,
    weight: float,
    log_scale: bool,
    words: Callable[..., str],
    small: bool = False,
) -> None:
    drawn = positive = 0
    for number, run in enumerate(runs):
        for name in (group, f"eval_{group}"):
            series = run.series.get(name)
            if series is None or not series.count:
                continue
            packed = series.packed()
            steps, (low, high, mean) = packed[0], packed[1:4].view(np.float32)
            check = name.startswith("eval_")
            colour = COLOURS[(2 * number + check) % len(COLOURS)]
            curve = mean if check or weight == 0 else smoothed(series, weight)
            if series.width > 1:
                axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
            elif not check and weight > 0 and not small:
                axes.plot(steps, mean, color=colour, alpha=0.35, linewidth=0.8)
            dots = "o" if (check and series.count <= 80) or series.count == 1 else None
            label = plain(name if len(runs) == 1 else f"{run.name}: {name}", 60)
            style = DASHES[1 if check else 0] if number == 0 else DASHES[2 + check]
            axes.plot(
                steps, curve, color=colour, linestyle=style, marker=dots, markersize=3, linewidth=1.6, label=label
            )
            best = series.least if better(name, run.record.facts) == "lower" else series.greatest
            if check and best is not None and better(name, run.record.facts) and not small:
                axes.plot([best[1]], [best[0]], marker="*", markersize=11, color=colour)
            drawn += 1
            positive += series.greatest is not None and series.greatest[0] > 0
    for event in runs[0].record.events if not small else ():
        if event["kind"] in ("learning_rate", "pause", "stop", "nonfinite", "error") or (
            event["kind"] == "begin" and event["step"]
        ):
            axes.axvline(event["step"], color="#666666", linewidth=0.8, linestyle=":")
    if log_scale and positive:
        axes.set_yscale("log")
    axes.set_title(plain(label_of(group, words), 26 if small else 80), fontsize=8 if small else 10, loc="left")
    axes.yaxis.set_major_formatter(lambda value, _: with_unit(group, value))
    low, high = axes.get_ylim()
    if high - low < 1e-5 * abs(high):  # a constant
        axes.set_ylim(low - 0.05 * abs(high), high + 0.05 * abs(high))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(labelsize=7 if small else 8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    if not drawn:
        axes.text(0.5, 0.5, plain(words("no_values")), ha="center", va="center", transform=axes.transAxes, fontsize=9)
    if not small:
        axes.set_xlabel(plain(words("step")), fontsize=8)
        if drawn > 1:
            axes.legend(fontsize=8, frameon=False)


def face_of(runs: Sequence[FollowedRun], shown: str, weight: float, log_scale: bool, words: Callable[..., str]) -> Face:
    """The charts, and each series with its last value, its best, and where that was."""
    from notebook_kit.inspection.drawing.heat_maps import png_of

    run = runs[0]
    live = run.live()
    where = (
        words("step_of", step=f"{live['step']:,}", all=f"{live['max_steps']:,}")
        if live["max_steps"]
        else words("step_at", step=f"{live['step']:,}")
    )
    title = f"TrainingDashboard: {run.name} · {words('status_' + live['status'])} · {where}"
    if not any(one.series for one in runs):
        return Face(title, note=words("nothing_yet"))
    rows = []
    for one in runs:
        for name, series in one.series.items():
            kind = better(name, one.record.facts)
            best = series.least if kind == "lower" else series.greatest if kind == "higher" else None
            line = [
                name,
                with_unit(name, series.last[0]) if series.last else "–",
                with_unit(name, best[0]) if best else "",
                f"{best[1]:,}" if best else "",
                f"{series.count:,}",
            ]
            rows.append([one.name, *line] if len(runs) > 1 else line)
    header = [words(key) for key in ("metric", "last", "best", "best_step", "points")]
    notes = [words(f"verdict_{live['verdict']['kind']}", **_readable(live["verdict"]))]
    picture = png_of(figure_of(runs, shown, weight, log_scale, words))
    if len(picture) > 100_000:
        picture = png_of(figure_of(runs, shown, weight, log_scale, words, most=0), dpi=60)
    return Face(
        title=title,
        png=picture,
        alt=words("face_alt", name=label_of(shown, words)),
        header=[words("run"), *header] if len(runs) > 1 else header,
        rows=rows,
        note=" ".join(notes),
    )


def label_of(name: str, words: Callable[..., str]) -> str:
    """What a metric is called: in the words of the interface if they have it, else its own name."""
    said = words(f"name_{name}")
    return name if said == f"name_{name}" else said


def plain(text: str, most: int = 80) -> str:
    """A text as matplotlib must take it: `$` would begin a formula."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short.replace("$", r"\$")


def with_unit(name: str, value: float) -> str:
    """A value with its unit, by the name of what it measures, as `withUnit` in `store.js` has it.

    Example:
        >>> with_unit("step_time", 0.25), with_unit("memory", 3 * 2**30), with_unit("loss", 0.123456)
        ('250 ms', '3 GiB', '0.1235')
    """
    if re.search(r"(^|_)memory", name):
        size, unit = (2**30, "GiB") if value >= 2**30 else (2**20, "MiB")
        return f"{value / size:.3g} {unit}"
    if name.endswith("_per_second"):
        return f"{_short(value)}/s"
    if re.search(r"(_time|_runtime)$", name):
        times, unit = (1, "s") if value >= 1 or not value else (1e3, "ms") if value >= 1e-3 else (1e6, "µs")
        return f"{value * times:.3g} {unit}"
    return f"{value:.4g}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _readable(values: dict[str, Any]) -> dict[str, str]:
    return {
        name: f"{value:.4g}" if isinstance(value, float) else f"{value:,}"
        for name, value in values.items()
        if name != "kind"
    }


# Probes -----------------------------------------------------------------------------------------------------------------


def attention_at(record: RunRecord, step: int, example: int) -> np.ndarray:
    """The attention on a probe at a step, `(T, T)`, uint8.

    Raises:
        InputError: It was not taken.
    """
    for event in reversed(record.events):
        if event["kind"] == "probe" and event["step"] == step and 0 <= example < len(event.get("rows", ())):
            row = event["rows"][example]
            if "attention" in row:
                size = int(row["size"])
                return np.frombuffer(base64.b64decode(row["attention"]), np.uint8).reshape(size, size)
    raise InputError(
        f"No attention on probe {example} was taken at step {step}.",
        next_step="Make the dashboard with probes=[...] and probe_attention=(layer, head).",
    )


def attention_questions(record: RunRecord) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a page on disk may ask about the attention on probes; evenly spread over the run where it would be too much."""
    asked = [
        (len(row["attention"]), {"step": event["step"], "example": number})
        for event in record.events
        if event["kind"] == "probe"
        for number, row in enumerate(event.get("rows", ()))
        if "attention" in row
    ]
    every = -(-sum(size for size, _ in asked) // FILE_BYTES) or 1
    for _, values in asked[::every]:
        yield "probe_attention", values
