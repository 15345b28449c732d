"""The tour: what it shows is what ran, and it runs with no network."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import pytest

from notebook_kit.__main__ import main
from notebook_kit.tour.guide import Section, codes_of, show
from notebook_kit.tour.sections import SECTIONS


def example():
    first = 20
    yield first + 1

    values = [first, 2]
    yield sum(
        values,
    )


def test_code_on_the_screen_is_the_code_that_ran():
    codes = codes_of(example)
    assert codes == ["first = 20\nfirst + 1", "values = [first, 2]\nsum(\n    values,\n)"]
    assert len(codes) == len(list(example()))


def test_show_writes_code_output_and_time():
    stream = io.StringIO()
    show([Section("example", "An example", "Adds numbers.", example)], stream)
    text = stream.getvalue()
    assert ">>> values = [first, 2]\n>>> sum(\n...     values,\n... )\n22\n" in text
    assert re.search(r"\d+ ms\n", text)
    assert "\033" not in text
    show([Section("example", "An example", "Adds numbers.", example)], stream, colour=True)
    assert "\033[" in stream.getvalue()


def test_whole_tour_runs_offline():
    run = subprocess.run(
        [sys.executable, "-m", "notebook_kit", "tour"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"},
    )
    assert run.returncode == 0, run.stderr
    for section in SECTIONS:
        assert section.title in run.stdout
    assert "'label': 'POSITIVE'" in run.stdout
    assert "Warning" not in run.stderr
    accuracy = re.search(r"'before': ([\d.]+), 'after': ([\d.]+)", run.stdout.replace("\n", " "))
    assert accuracy and float(accuracy[2]) > float(accuracy[1]) and float(accuracy[2]) >= 0.6


def test_list_names_every_section(capsys):
    assert main(["tour", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [section.name for section in SECTIONS]


def test_unknown_section_names_near_matches(capsys):
    assert main(["tour", "tokenise"]) == 1
    assert "tokenize" in capsys.readouterr().err


def test_ctrl_c_ends_quietly(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("notebook_kit.tour.guide.show", stop)
    assert main(["tour"]) == 130
    assert "Stopped" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert re.search(r"notebook_kit \d+\.\d+", capsys.readouterr().out)
