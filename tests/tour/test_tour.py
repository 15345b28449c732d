"""The tour: what it shows is what ran, and it runs with no network."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys

import pytest

from notebook_kit.__main__ import main
from notebook_kit.tour.guide import Section, codes_of, next_command, show
from notebook_kit.tour.sections import SECTIONS, find


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
    accuracy = re.search(r"'before':\s+([\d.]+),\s+'after':\s+([\d.]+)", run.stdout)
    assert accuracy and float(accuracy[2]) > float(accuracy[1]) and float(accuracy[2]) >= 0.6


def test_all_tasks_of_the_quick_tour_are_shown():
    shown = {
        task
        for section in SECTIONS
        for code in codes_of(section.run)
        for task in re.findall(r'pipeline\("([\w-]+)"', code)
    }
    assert shown >= {
        "sentiment-analysis",
        "text-generation",
        "summarization",
        "image-classification",
        "image-segmentation",
        "object-detection",
        "audio-classification",
        "automatic-speech-recognition",
        "vqa",
        "document-question-answering",
        "image-to-text",
    }


def test_list_names_every_section(capsys):
    assert main(["tour", "--list"]) == 0
    listed = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert listed == [[str(number), section.name] for number, section in enumerate(SECTIONS, 1)]


def test_sections_are_found_by_name_number_and_title():
    assert find("stream") is find("2") is find("Many") is SECTIONS[1]
    assert find("pipeline") is SECTIONS[0] and find("look inside") is find("inside")
    assert find("0") is find("99") is find("nothing like it") is None


@pytest.mark.parametrize("width", [50, 72, 200])
def test_lines_follow_the_width_of_the_terminal(monkeypatch, width):
    def long():
        yield {"numbers": list(range(60)), "text": "many words " * 20}
        yield "plain words " * 30

    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    show([Section("long", "Long output", "Many words. " * 20, long)], stream)
    lines = [line for line in stream.getvalue().splitlines() if not line.startswith((">>>", "...", "1 section"))]
    assert max(map(len, lines)) == min(width, 100)


def test_no_color_is_respected(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for value, coloured in (("1", False), ("", True)):
        monkeypatch.setenv("NO_COLOR", value)
        stream = Terminal()
        show([Section("example", "An example", "Adds numbers.", example)], stream)
        assert ("\033" in stream.getvalue()) is coloured


def test_last_line_is_a_command_that_exists():
    command = next_command().split()[0]
    assert shutil.which(command), command
    assert next_command().endswith("tutorials/")


def test_unknown_section_names_near_matches(capsys):
    assert main(["tour", "tokenise"]) == 1
    assert "tokenize" in capsys.readouterr().err


def test_ctrl_c_ends_quietly(monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("notebook_kit.tour.guide.show", stop)
    assert main(["tour"]) == 130
    assert "Stopped" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert re.search(r"notebook_kit \d+\.\d+", capsys.readouterr().out)


def test_sections_keep_their_numbers(capsys):
    assert main(["tour", "tokenize"]) == 0
    assert f" {[section.name for section in SECTIONS].index('tokenize') + 1}. AutoTokenizer " in capsys.readouterr().out
