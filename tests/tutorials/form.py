"""The form of a tutorial, read by the tests: its cells by their tags, its exercises and their solutions."""

from __future__ import annotations

import ast
import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

FOLDER = Path(__file__).parents[2] / "tutorials"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if path.stem != "index"]
WITH_TENSORFLOW = [path for path in CHAPTERS if path.stem.endswith("_tensorflow")]
"""Chapters that only run where TensorFlow is installed."""
PAGES = sorted(FOLDER.glob("*.md"))

COLAB = "https://colab.research.google.com/github/notebook-kit/notebook_kit/blob/main/tutorials/"
SOLUTION = re.compile(r"<details>\n<summary>.+?</summary>\n\n```python\n(.*?)\n```\n(?:\n.*?\n)?\n</details>\Z", re.S)
SAID = re.compile(r"^([…✓✗]) (.+?): (.+)$", re.M)
"""One line of `notebook_kit.teaching.check`: the sign, the exercise, the rest."""


@dataclass(frozen=True)
class Exercise:
    """Three cells in a row: where the learner writes, the check, the hidden solution.

    Attributes:
        place: Which cell of the notebook it is.
        source: What stands there for the learner to fill in.
        check: The source of the check cell.
        solution: What the hidden solution puts in the place of `source`.
    """

    place: int
    source: str
    check: str
    solution: str


def read(path: Path) -> Any:
    """The notebook, as it is stored."""
    return nbformat.read(path, as_version=4)


def tags(cell: Any) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def exercises(notebook: Any) -> list[Exercise]:
    """All exercises; an exercise that is not in the right form is an assertion error that says what is wrong."""
    cells, found = notebook.cells, []
    kinds = [(tags(cell) or ["prose" if cell.cell_type == "markdown" else "code"])[0] for cell in cells]
    for place, kind in enumerate(kinds):
        if kind != "exercise":
            assert kind not in ("check", "solution") or kinds[place - 1] in ("exercise", "check"), (
                f"cell {place}: a {kind} cell without an exercise before it"
            )
            continue
        assert kinds[place - 1 : place + 3] == ["prose", "exercise", "check", "solution"], (
            f"cell {place}: {kinds[place - 1 : place + 3]} should be the words, the exercise, the check, the solution"
        )
        hidden = SOLUTION.match(cells[place + 2].source.strip())
        assert hidden, (
            f"cell {place + 2}: the solution is not of the form <details> ... ```python ... ``` ... </details>"
        )
        found.append(Exercise(place, cells[place].source, cells[place + 1].source, hidden[1]))
    return found


def solved(notebook: Any) -> Any:
    """A copy in which every exercise is filled in with its hidden solution."""
    filled = copy.deepcopy(notebook)
    for exercise in exercises(notebook):
        filled.cells[exercise.place].source = exercise.solution
    return filled


def parsed(source: str) -> ast.Module:
    """The syntax tree of a code cell, with IPython's `!` and `%` lines turned into Python."""
    return ast.parse(TransformerManager().transform_cell(source))


def bound(source: str) -> set[str]:
    """The names that a cell gives a value to."""
    names: set[str] = set()
    for statement in parsed(source).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
        else:
            names |= {
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
    return names


def used(source: str) -> set[str]:
    """The names that a cell reads."""
    return {
        node.id for node in ast.walk(parsed(source)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def verdicts(cell: Any) -> list[tuple[str, str]]:
    """What the checks of a cell that has run said: sign and exercise."""
    text = "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")
    return [(sign, name) for sign, name, _ in SAID.findall(text)]
