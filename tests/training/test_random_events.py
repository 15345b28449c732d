"""Nothing that ends a run at a random moment costs more than the steps since the last save, or changes what it learns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from random_events import FILE_EVENTS, writes
from tiny_training import Line, assert_same_weights, line_rows, trainer, weights

from notebook_kit.training import default_data_collator
from notebook_kit.training.run_folder import damage, get_last_checkpoint, step_of

HERE = Path(__file__).parent


@pytest.mark.parametrize("count", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_ended_runs_resume_to_the_same_weights(count):
    done = subprocess.run(
        [sys.executable, str(HERE / "random_events.py"), str(count), str(count)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert sum(json.loads(done.stdout.splitlines()[-1]).values()) == count


class Snapshots:
    """Copies of a folder before each operation on its files, as a kill at that moment would leave them."""

    def __init__(self, folder: Path, copies: Path) -> None:
        self.folder, self.copies, self.count, self.active = folder, copies, 0, True
        self._states: set[str] = set()
        sys.addaudithook(self._hook)

    def _hook(self, event, given):
        if not self.active or event not in FILE_EVENTS or str(self.folder) not in str(given[0]):
            return
        if event == "open" and not writes(*given[1:]):
            return
        self.active = False
        state = repr(
            sorted((str(path), path.read_bytes() if path.is_file() else b"") for path in self.folder.rglob("*"))
        )
        if state not in self._states:
            self._states.add(state)
            shutil.copytree(self.folder, self.copies / str(self.count))
            self.count += 1
        self.active = True


@pytest.mark.parametrize("in_background", [False, True], ids=["", "in_background"])
@pytest.mark.parametrize("saves", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_a_save_cut_at_any_file_operation_loses_nothing(tmp_path, saves, in_background):
    def make(folder):
        torch.manual_seed(0)
        options = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 1, "max_steps": 2 * saves + 1}
        options["save_in_background"] = in_background
        return trainer(folder, Line(), line_rows(), data_collator=default_data_collator, **options)

    folder, copies = tmp_path / "run", tmp_path / "copies"
    folder.mkdir()
    snapshots = Snapshots(folder, copies)
    whole = make(folder)
    whole.train()
    snapshots.active = False
    assert snapshots.count > 8 * saves
    reached = 0
    for number in range(snapshots.count):
        copy = copies / str(number)
        last = get_last_checkpoint(copy)
        if last is None:
            assert reached == 0
            continue
        assert damage(Path(last)) == "" and step_of(Path(last)) >= reached  # a checkpoint once written stays
        reached = step_of(Path(last))
        if reached < 2 * saves and number % 7 == 0:
            resumed = make(copy)
            resumed.train(resume_from_checkpoint=True)
            assert_same_weights(weights(resumed.model), weights(whole.model))
    assert reached == 2 * saves + 1
