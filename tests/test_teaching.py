"""The messages that learners get under an exercise, and the summary for the teacher."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from notebook_kit import TrainerCallback
from notebook_kit.errors import InputError, NotebookKitWarning
from notebook_kit.teaching import check, class_summary, record_checks, try_callback

TUTORIALS = Path(__file__).parents[1] / "tutorials"


def checks(chapter: str, exercise: str) -> str:
    """The source of the check cell of an exercise."""
    cells = json.loads((TUTORIALS / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if "check" in cell["metadata"].get("tags", [])]
    return next(source for source in sources if f'"{exercise}"' in source)


def said(capsys, chapter: str, exercise: str, **names) -> str:
    exec(checks(chapter, exercise), {"check": check, "TrainerCallback": TrainerCallback, **names})
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def stop_recording():
    yield
    record_checks(None)


class Right(TrainerCallback):
    def __init__(self):
        self.steps = 0

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1


class RightToo(Right):
    def on_step_end(self, args, state, control, **kwargs):
        self.steps = state.global_step


class WrongName(TrainerCallback):
    steps = 0

    def on_steps_end(self, args, state, control, **kwargs):
        self.steps += 1


class NoEvent(TrainerCallback):
    steps = 0

    def step_end(self, args, state, control, **kwargs):
        self.steps += 1


class Crashes(TrainerCallback):
    steps = 0

    def on_step_end(self, args):
        self.steps += 1


class Open(TrainerCallback): ...


@pytest.mark.parametrize(
    ("answer", "sign", "words"),
    [
        (Right, "✓", "right"),
        (RightToo, "✓", "right"),
        (WrongName, "✗", "on_step_end"),
        (NoEvent, "✗", "on_step_end"),
        (Crashes, "✗", "TypeError"),
        (Open, "…", "not filled in"),
    ],
)
def test_a_callback_is_tried_in_a_real_run(capsys, answer, sign, words):
    line = said(capsys, "00_quick_tour", "Exercise 4", CountSteps=answer)
    assert line.startswith(sign) and words in line, line


@pytest.mark.parametrize("text", ["", "   ", "film"])
def test_no_text_is_no_sentence(capsys, text):
    unsure = lambda text: [{"score": 0.5}]  # noqa: E731
    assert said(capsys, "00_quick_tour", "Exercise 1", hard_sentence=text, classifier=unsure).startswith("✗")
    assert said(capsys, "00_quick_tour", "Exercise 1", hard_sentence="Good but bad.", classifier=unsure).startswith("✓")


def test_a_forgotten_return_is_named(capsys):
    def total(row):
        sum(row)

    check("A", total, lambda found: found == 3, on=([1, 2],), hint="Add.")
    check("B", total, lambda function: abs(function([1, 2]) - 3) < 1e-6, hint="Add.")
    assert capsys.readouterr().out.count("`total` returned None. Does it end with `return`?") == 2
    check("C", lambda row: None, lambda found: found is None, on=([],), hint="")
    assert capsys.readouterr().out.startswith("✓")


def test_hints_are_not_the_solution():
    """No line of a solution, and no long piece of one, stands in the hint of its exercise."""
    for path in TUTORIALS.glob("0*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for place, cell in enumerate(cells):
            if "exercise" not in cell["metadata"].get("tags", []):
                continue
            hint = "".join(cells[place + 1]["source"]).partition("hint=")[2].partition("explain=")[0]
            for line in "".join(cells[place + 2]["source"]).partition("```python")[2].partition("```")[0].splitlines():
                code = line.strip().removeprefix("return ").partition(" = ")[2] or line.strip().removeprefix("return ")
                boilerplate = code.endswith((":", "(")) or len(code) < 24
                assert boilerplate or code not in hint, f"{path.stem}: {code}"


def test_try_callback_stops_when_asked():
    class Stop(TrainerCallback):
        def on_log(self, args, state, control, logs, **kwargs):
            control.should_training_stop = "loss" in logs

    assert try_callback(Stop(), steps=5).global_step == 1
    with pytest.raises(InputError, match=r"never calls a method named on_stepend\. Did you mean 'on_step_end'"):
        try_callback(type("Typo", (TrainerCallback,), {"on_stepend": lambda self, *args, **kwargs: None})())


def test_class_summary_shows_each_learner(tmp_path, capsys):
    for learner, answers in {"Asha": [..., 5, 6], "Ravi Kumar": [5, 5], "Mei": []}.items():
        record_checks(tmp_path, learner=learner, chapter="03")
        for answer in answers:
            check("Exercise 2", answer, lambda number: number == 6, hint="")
        check("Exercise 10", ..., lambda number: True, hint="")
    (tmp_path / "Mei.checks.jsonl").open("a").write('{"learner": "Mei", "cut off')
    table = class_summary(tmp_path)
    assert list(table.columns) == ["03 Exercise 2", "03 Exercise 10"]
    assert list(table["03 Exercise 2"]) == ["right", "", "wrong (2 tries)"]
    assert list(table.index) == ["Asha", "Mei", "Ravi Kumar"]
    assert set(table["03 Exercise 10"]) == {"open"}


def test_recording_never_breaks_an_exercise(tmp_path, capsys):
    shared = tmp_path / "new" / "folder"
    record_checks(shared, learner="Asha")
    shutil.rmtree(tmp_path / "new")
    with pytest.warns(NotebookKitWarning, match="cannot be recorded"):
        check("Exercise 1", 6, lambda number: number == 6, hint="")
    check("Exercise 1", 6, lambda number: number == 6, hint="")
    assert capsys.readouterr().out.count("✓") == 2


def test_folders_of_recordings_are_checked_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be recorded"):
        record_checks(tmp_path / "file" / "inside")
    with pytest.raises(InputError, match="no recorded checks"):
        class_summary(tmp_path)
    with pytest.raises(InputError, match="There is no folder"):
        class_summary(tmp_path / "missing")
