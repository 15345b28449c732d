"""The walks of docs/how_it_fits_together.md: the code enters the files in the order in which the page names them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import notebook_kit
from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, pipeline

PAGE = (Path(__file__).parents[1] / "docs" / "how_it_fits_together.md").read_text(encoding="utf-8")
PACKAGE = Path(notebook_kit.__file__).parent
NAME = "notebook-kit/tiny-sentiment"


def walk(title: str) -> list[str]:
    """The files that a section of the page names, in its order."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"\d+\. `([\w/]+\.py)`", section)


def entered(run: Callable[[], object]) -> list[str]:
    """The files of the package in which functions are called, in the order of the calls."""
    files: list[str] = []

    def profile(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and frame.f_code.co_name != "<module>" and path.is_relative_to(PACKAGE):
            files.append(path.relative_to(PACKAGE).as_posix())

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return files


def answering():
    classifier = pipeline("sentiment-analysis", model=NAME, device="cpu")
    return lambda: classifier(["A warm, funny film.", "Dull."])


def training(folder):
    tokenizer = AutoTokenizer.from_pretrained(NAME)
    rows = [{**tokenizer(text), "labels": label} for text, label in (("A good film.", 1), ("Bad.", 0))] * 4
    args = TrainingArguments(
        str(folder),
        max_steps=1,
        use_cpu=True,
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        disable_tqdm=True,
        report_to="none",
    )
    model = AutoModelForSequenceClassification.from_pretrained(NAME)
    return Trainer(model, args, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer).train


@pytest.mark.parametrize("title", ["A text to its answer", "A batch through training", "A name to a model"])
def test_a_walk_is_in_order(title, tmp_path):
    run = {
        "A text to its answer": answering,
        "A batch through training": lambda: training(tmp_path),
        "A name to a model": lambda: lambda: AutoModelForSequenceClassification.from_pretrained(NAME),
    }[title]()
    named, found = walk(title), entered(run)
    assert len(named) >= 10 and set(named) <= set(found), set(named) - set(found)
    rest = iter(found)
    missed = [file for file in named if file not in rest]  # `in` moves the iterator on, so the order counts
    assert not missed


def test_the_floors_are_those_of_the_contract():
    from test_floors import FLOORS, ROOT

    block = PAGE.partition("```\n")[2].partition("```")[0]
    drawn = re.findall(r"^(\w+)(?:/|\.py)", block, flags=re.M) + re.findall(r"(?<=, )(\w+)\.py", block)
    order = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
    assert [order[room] for room in drawn] == sorted((order[room] for room in drawn), reverse=True)
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert rooms <= set(drawn), rooms - set(drawn)
