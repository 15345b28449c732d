"""Where the records of runs stand: `runs/<name>` in the output folder of a Trainer."""

from __future__ import annotations

import re
import time
from pathlib import Path

from notebook_kit.training.recording.record import RUNS_FOLDER, RunRecord, find_runs


def new_run(output_dir: str | Path, name: str | None) -> Path:
    """A folder for a new run in `runs` of an output folder; it is not made yet."""
    # Older versions of transformers name a run as its output folder, which says nothing.
    if not name or str(name) == str(output_dir):
        name = time.strftime("%Y-%m-%d_%H-%M-%S")
    base = re.sub(r"[^\w.+=-]+", "_", str(name)).strip("._")[:100] or "run"
    parent, number, folder = Path(output_dir) / RUNS_FOLDER, 1, base
    while (parent / folder).exists():
        number += 1
        folder = f"{base}-{number}"
    return parent / folder


def continued_run(output_dir: str | Path, step: int) -> Path | None:
    """The run that wrote the checkpoint of `step`: the latest one that says so, or else the latest that came so far."""
    came_so_far = None
    for folder in find_runs(output_dir):
        record = RunRecord.load(folder)
        if any(event["kind"] == "save" and event["step"] == step for event in record.events):
            return folder
        reached = max((int(series.steps.max()) for series in record.series.values() if len(series)), default=-1)
        if came_so_far is None and reached >= step:
            came_so_far = folder
    return came_so_far
