"""Runs without a page: a table, a matplotlib figure, and the static face."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from notebook_kit.inspection.drawing.fonts import in_any_script
from notebook_kit.inspection.drawing.heat_maps import label_of, png_of
from notebook_kit.inspection.training.thinning import Thinned
from notebook_kit.panels.panel import Face
from notebook_kit.panels.training_dashboard.feed import HIDDEN, FollowedRun, better

__all__ = ["ShownRuns", "face_of", "figure_of", "smoothed", "table_of"]

# Okabe and Ito's colours, which people with colour blindness can distinguish; the page uses the same.
COLOURS = ("#0072b2", "#c1440e", "#007a5a", "#8a4a92", "#7a5c00", "#1b7f9c", "#b0306a", "#4d4d4d")
DASHES: tuple[Any, ...] = ("-", (0, (6, 3)), (0, (8, 3, 2, 3)), (0, (2, 2)))
EVALUATION_SPEED = re.compile(
    r"^eval_.*(runtime|_per_second|compilation_time)$"
)  # not a validation of the training's speed
SMALL = 8
"""Maximum number of small charts in a figure."""


@dataclass(frozen=True)
class ShownRuns:
    """What a dashboard shows.

    Args:
        runs: The runs, the dashboard's own first.
        metric: The metric in the large chart, without the prefix "eval_".
        weight: The weight of the moving average.
        log_scale: Whether the large chart has a logarithmic scale.
        word: The method `word` of the panel.
    """

    runs: Sequence[FollowedRun]
    metric: str
    weight: float
    log_scale: bool
    word: Callable[..., str]


def table_of(runs: Sequence[FollowedRun]) -> Any:
    """The series as a DataFrame indexed by step, with a first column `run` if there are several runs.

    If a name was logged twice at a step, the later value is used.
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
    """The moving average over the buckets of a series, float32, computed as by `smoothed` in `store.js`.

    Example:
        >>> series = Thinned()
        >>> series.extend([1, 2], [1.0, 0.0], [0.0, 0.0])
        >>> [round(value, 3) for value in smoothed(series, 0.5).tolist()]
        [1.0, 0.333]
    """
    numbers = series.packed()[1:].view(np.float32)
    means, bad = numbers[2].astype(np.float64), numbers[4]
    line = np.full(
        len(means), np.nan, np.float32
    )  # like the values, so that the average of equal values is exactly that value
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
    """The metric whose chart shows a series: its name without the prefix "eval_"; that of the speed of an evaluation stays."""
    return name if EVALUATION_SPEED.search(name) else name.removeprefix("eval_")


def figure_of(shown: ShownRuns, most: int = SMALL) -> Any:
    """The large chart, with up to `most` small charts of the other metrics below it, as a matplotlib `Figure`."""
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(group_of(name) for run in shown.runs for name in run.series))
    groups = [name for name in groups if name not in HIDDEN]
    metric = shown.metric if shown.metric in groups else (groups[0] if groups else shown.metric)
    others = [name for name in groups if name != metric][:most]
    rows = -(-len(others) // 4)
    figure = Figure(figsize=(9, 3.6 + 1.5 * rows), layout="constrained")
    grid = figure.add_gridspec(rows + 1, 4, height_ratios=[2.4] + [1.0] * rows)
    _large_chart(figure.add_subplot(grid[0, :]), shown, metric)
    for number, name in enumerate(others):
        axes = figure.add_subplot(grid[1 + number // 4, number % 4])
        _lines(axes, shown, name, is_small=True)
        _style(axes, name, label_of(name_of(name, shown.word), 26), is_small=True)
    return in_any_script(figure)


def _large_chart(axes: Any, shown: ShownRuns, metric: str) -> None:
    drawn = _lines(axes, shown, metric)
    for event in shown.runs[0].record.events:
        is_resumed = event["kind"] == "begin" and event["step"]
        if event["kind"] in ("learning_rate", "pause", "stop", "nonfinite", "error") or is_resumed:
            axes.axvline(event["step"], color="#666666", linewidth=0.8, linestyle=":")
    if shown.log_scale and any(series.greatest is not None and series.greatest[0] > 0 for series in drawn):
        axes.set_yscale("log")
    _style(axes, metric, label_of(name_of(metric, shown.word), 80))
    if not drawn:
        text = label_of(shown.word("no_values"), 80)
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=9)
    axes.set_xlabel(label_of(shown.word("step")), fontsize=8)
    if len(drawn) > 1:
        axes.legend(fontsize=8, frameon=False)


def _lines(axes: Any, shown: ShownRuns, metric: str, is_small: bool = False) -> list[Thinned]:
    """Draw the training and evaluation lines of a metric for all runs. Returns the series drawn."""
    drawn = []
    for number, run in enumerate(shown.runs):
        for name in (metric,) if EVALUATION_SPEED.search(f"eval_{metric}") else (metric, f"eval_{metric}"):
            series = run.series.get(name)
            if series is None or not series.count:
                continue
            is_eval = name.startswith("eval_")
            line = {
                "color": COLOURS[(2 * number + is_eval) % len(COLOURS)],
                "linestyle": DASHES[is_eval] if number == 0 else DASHES[2 + is_eval],
                "marker": "o" if (is_eval and series.count <= 80) or series.count == 1 else None,
                "label": label_of(name if len(shown.runs) == 1 else f"{run.name}: {name}", 60),
            }
            _line(axes, series, 0.0 if is_eval else shown.weight, line, is_small)
            kind = better(name, run.record.facts)
            best = series.least if kind == "lower" else series.greatest
            if is_eval and kind and best is not None and not is_small:
                axes.plot([best[1]], [best[0]], marker="*", markersize=11, color=line["color"])
            drawn.append(series)
    return drawn


def _line(axes: Any, series: Thinned, weight: float, line: dict[str, Any], is_small: bool) -> None:
    """Draw one smoothed line, over a band of its buckets' ranges or over its raw values."""
    packed = series.packed()
    steps, (low, high, mean) = packed[0], packed[1:4].view(np.float32)
    if series.width > 1:
        axes.fill_between(steps, low, high, color=line["color"], alpha=0.2, linewidth=0)
    elif weight > 0 and not is_small:
        axes.plot(steps, mean, color=line["color"], alpha=0.35, linewidth=0.8)
    axes.plot(steps, smoothed(series, weight) if weight else mean, markersize=3, linewidth=1.6, **line)


def _style(axes: Any, metric: str, title: str, is_small: bool = False) -> None:
    axes.set_title(title, fontsize=8 if is_small else 10, loc="left")
    axes.yaxis.set_major_formatter(lambda value, _: with_unit(metric, value))
    low, high = axes.get_ylim()
    if high - low < 1e-5 * abs(high):  # constant values
        axes.set_ylim(low - 0.05 * abs(high), high + 0.05 * abs(high))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(labelsize=7 if is_small else 8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)


def face_of(shown: ShownRuns) -> Face:
    """The charts, and a table of each series' last value, best value, and the step of the best."""
    word, runs = shown.word, shown.runs
    live = runs[0].live()
    step, most = f"{live['step']:,}", live["max_steps"]
    where = word("step_of", step=step, all=f"{most:,}") if most else word("step_at", step=step)
    title = f"TrainingDashboard: {runs[0].name} · {word('status_' + live['status'])} · {where}"
    if not any(one.series for one in runs):
        return Face(title, note=word("nothing_yet"))
    header = [word(key) for key in ("metric", "last", "best", "best_step", "points")]
    picture = png_of(figure_of(shown))
    if len(picture) > 100_000:
        picture = png_of(figure_of(shown, most=0), dpi=60)
    return Face(
        title=title,
        png=picture,
        alt=word("face_alt", name=name_of(shown.metric, word)),
        header=[word("run"), *header] if len(runs) > 1 else header,
        rows=_face_rows(runs),
        note=word(f"verdict_{live['verdict']['kind']}", **_readable(live["verdict"])),
    )


def _face_rows(runs: Sequence[FollowedRun]) -> list[list[str]]:
    """One row per series, starting with the name of its run if there are several."""
    rows = []
    for run in runs:
        for name, series in run.series.items():
            kind = better(name, run.record.facts)
            best = series.least if kind == "lower" else series.greatest if kind == "higher" else None
            line = [
                name,
                with_unit(name, series.last[0]) if series.last else "–",
                with_unit(name, best[0]) if best else "",
                f"{best[1]:,}" if best else "",
                f"{series.count:,}",
            ]
            rows.append([run.name, *line] if len(runs) > 1 else line)
    return rows


def name_of(name: str, word: Callable[..., str]) -> str:
    """The name of a metric in the language of the interface, or its own name if there is none."""
    text = word(f"name_{name}")
    return name if text == f"name_{name}" else text


def with_unit(name: str, value: float) -> str:
    """A value with the unit of its metric, as written by `withUnit` in `numbers.js`.

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
