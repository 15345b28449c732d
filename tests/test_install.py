"""What `binder/install.py` shows while pip is at work, with a stand-in for pip."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "binder" / "install.py"
PIP = """
Obtaining file:///project
Collecting torch>=2.6 (from notebook_kit==0.2.0)
  Downloading torch-2.8.0-cp311-cp311-linux_x86_64.whl.metadata (29 kB)
Collecting numpy>=1.26
  Using cached numpy-2.3.0-cp311-cp311-linux_x86_64.whl.metadata (62 kB)
Downloading torch-2.8.0-cp311-cp311-linux_x86_64.whl (184.5 MB)
Downloading https://host/numpy-2.3.0-cp311-cp311-linux_x86_64.whl (500 kB)
Installing collected packages: numpy, torch, notebook_kit
"""


@pytest.fixture
def installer():
    spec = importlib.util.spec_from_file_location("installer", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pip_that_prints(text: str, code: int = 0) -> list[str]:
    return [sys.executable, "-c", f"import sys; print({text!r}); sys.exit({code})"]


def test_a_log_gets_one_line_per_step(installer, capsys):
    assert installer.follow(pip_that_prints(PIP)) == 0
    lines = re.sub(r"\d+ s\b", "1 s", capsys.readouterr().out).splitlines()
    assert lines == [
        "Finding and downloading packages ... 2 found, 185 MB, 1 s",
        "Installing 3 packages ... 1 s",
    ]


def test_a_terminal_sees_the_count_grow_in_one_line(installer, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert installer.follow(pip_that_prints(PIP)) == 0
    first, second, _ = capsys.readouterr().out.split("\n")
    seen = [part.strip() for part in first.split("\r")]
    assert seen[0] == "Finding and downloading packages ..."
    assert [part.partition(" ... ")[2] for part in seen[1:-1]] == sorted(
        part.partition(" ... ")[2] for part in seen[1:-1]
    ), "the counts grow"
    assert seen[1].endswith("1 found, 0 MB") and seen[-2].endswith("2 found, 185 MB")
    assert second.startswith("Installing 3 packages ...")


def test_the_words_of_a_failing_pip_are_shown(installer, capsys):
    log = "\n".join(f"line {number}" for number in range(100)) + "\nERROR: No matching distribution found for torch"
    assert installer.follow(pip_that_prints(log, code=1)) == 1
    shown = capsys.readouterr()
    assert "failed" in shown.out
    assert "ERROR: No matching distribution" in shown.err and "line 5\n" not in shown.err


def test_an_environment_that_cannot_be_created_leaves_nothing(installer, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", "/bin/false" if Path("/bin/false").exists() else "false")
    assert installer.create_environment(tmp_path / ".venv") == 1
    assert not (tmp_path / ".venv").exists()
    assert "python3-venv" in capsys.readouterr().err


def test_the_last_lines_say_how_to_start(installer, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(FILE.parents[1])
    monkeypatch.setattr(installer, "create_environment", lambda folder: 0)
    monkeypatch.setattr(installer, "install", lambda python, project, extras: 0)
    assert installer.main([]) == 0
    last = capsys.readouterr().out.splitlines()[-2:]
    assert [line.strip() for line in last] == [".venv/bin/notebook-kit tour", ".venv/bin/jupyter lab tutorials"]


def test_an_old_python_is_refused():
    code = f"import sys; sys.version_info = (3, 10); sys.argv = ['x']; exec(open({str(FILE)!r}).read())"
    run = subprocess.run([sys.executable, "-c", f"__name__ = '__main__'; {code}"], capture_output=True, text=True)
    assert run.returncode == 1 and "needs Python 3.11" in run.stderr
