"""`notebook-kit runs`: the runs of a folder listed, shown, compared and followed, for people or as JSON for programs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from notebook_kit.training.recording.runs import (
    RunSummary,
    aligned,
    compare_runs,
    find_run,
    follow,
    json_value,
    list_runs,
)

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of a command line."""
    runs = commands.add_parser("runs", help="list, show, compare or follow training runs")
    actions = runs.add_subparsers(dest="action", required=True)
    for action, text in (
        ("list", "the runs in a folder, the latest first"),
        ("show", "a run: its state, settings and metrics"),
        ("compare", "runs side by side: the settings that differ, and the metrics"),
        ("follow", "the logs and events of a run as they come, until it ends"),
    ):
        one = actions.add_parser(action, help=text)
        if action == "list":
            one.add_argument("folder", nargs="?", default=".", help="output folder of a Trainer, or a folder of such")
        else:
            one.add_argument(
                "run", nargs="+" if action == "compare" else None, help="its folder, or its name in --folder"
            )
            one.add_argument("--folder", default=".", help="where runs are looked for by name; by default here")
        one.add_argument("--json", action="store_true", help="JSON on the standard output, for programs")


def run(options: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        NotebookKitError: if a run does not exist or cannot be read.
    """
    {"list": _list, "show": _show, "compare": _compare, "follow": _follow}[options.action](options)


def _list(options: argparse.Namespace) -> None:
    found = [RunSummary.of(record) for record in list_runs(options.folder)]
    if options.json:
        _print_json([one.as_dict() for one in found])
        return
    if not found:
        print(f"There are no runs in {Path(options.folder).resolve()}")
        return
    rows = [["run", "status", "step", "loss", "validation", "branch of", "folder"]]
    for one in found:
        loss, check = (_number(one.metrics.get(name)) for name in ("loss", "eval_loss"))
        branch = f"{one.parent}, step {one.branched_at}" if one.parent else ""
        rows.append([one.name, one.status, _steps(one), loss, check, branch, one.folder])
    print(aligned(rows))


def _show(options: argparse.Namespace) -> None:
    record = find_run(options.run, options.folder)
    one = RunSummary.of(record)
    if options.json:
        series = {
            name: [s.steps.tolist(), [json_value(v) for v in s.values.tolist()]] for name, s in record.series.items()
        }
        _print_json({**one.as_dict(), "events": json_value(record.events), "series": series})
        return
    rows = [["run", one.name], ["status", one.status], ["step", _steps(one)], ["folder", one.folder]]
    if one.parent:
        rows.append(["branch of", f"{one.parent}, from step {one.branched_at}"])
    rows += [[name, str(value)] for name, value in one.settings.items()]
    rows += [[name, _number(value)] for name, value in one.metrics.items()]
    rows += [[f"best {name}", f"{_number(value)} at step {step}"] for name, (value, step) in one.best.items()]
    print(aligned(rows))


def _compare(options: argparse.Namespace) -> None:
    comparison = compare_runs(find_run(name, options.folder) for name in options.run)
    if options.json:
        _print_json(comparison.as_dict())
    else:
        print(comparison)


def _follow(options: argparse.Namespace) -> None:
    for line in follow(options.run, options.folder):
        if options.json:
            print(json.dumps(json_value(line), ensure_ascii=False), flush=True)
        elif "log" in line:
            values = "  ".join(f"{name} {_number(value)}" for name, value in line["log"].items())
            print(f"step {line['step']}  {values}", flush=True)
        elif line["event"]["kind"] != "epoch":
            event = line["event"]
            details = {k: v for k, v in event.items() if k not in ("kind", "step", "time", "rows")}
            text = ", ".join(f"{name} {value}" for name, value in details.items())
            print(f"step {event['step']}  {event['kind']}{': ' if text else ''}{text}", flush=True)


def _steps(one: RunSummary) -> str:
    return f"{one.step} of {one.max_steps}" if one.max_steps else str(one.step)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
