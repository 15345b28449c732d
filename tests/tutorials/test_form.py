"""Every tutorial has the form that the others have, uses public names only, and its links and spelling are right."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
import unicodedata
from pathlib import Path
from urllib.parse import urlparse

import nbformat
import pytest
from execute import LARGEST, is_in_step
from form import (
    CHAPTERS,
    COLAB,
    FOLDER,
    NOTEBOOKS,
    PAGES,
    WITH_TENSORFLOW,
    bound,
    exercises,
    parsed,
    read,
    tags,
    used,
)

from notebook_kit.language import languages, set_language, strings
from notebook_kit.lazy import exports
from notebook_kit.teaching import check

ROOT = FOLDER.parent
PUBLIC = {
    "notebook_kit",
    "notebook_kit.data",
    "notebook_kit.panels",
    "notebook_kit.teaching",
    "notebook_kit.zoo",
    "notebook_kit.errors",
}
WIDEST = 96
"""Characters of a line of code."""
OTHERS = {"torch", "numpy", "pandas", "matplotlib", "datasets", "tokenizers", "PIL", "peft", "ray"} | set(
    sys.stdlib_module_names
)

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


@notebooks
def test_stored_with_the_outputs_of_its_code(path):
    """Where nothing runs, as on GitHub, a chapter can be read: run `python tutorials/execute.py` after changing its code."""
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert is_in_step(notebook), f"the outputs are not of this code: python tutorials/execute.py {path.stem}"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)
    for cell in code:
        said = [output for output in cell.outputs if output.get("name") == "stderr"]
        assert not said or "notice" in tags(cell), said
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert path.stat().st_size <= LARGEST


@notebooks
def test_panels_are_stored_as_pictures(path):
    """A page of GitHub runs no scripts and removes styles, so neither live panels nor HTML faces would be seen there."""
    notebook = read(path)
    assert "widgets" not in notebook.metadata
    for place, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            kinds = set(output.get("data", {}))
            assert not any("widget" in kind for kind in kinds), f"cell {place}"
            if re.search(r"(View|Inspector|Dashboard)\(", output.get("data", {}).get("text/plain", "")):
                assert kinds & {"image/png", "image/jpeg"}, f"cell {place}"


@chapters
def test_names_what_it_needs(path):
    needs = ["tensorflow"] if path in WITH_TENSORFLOW else []
    assert read(path).metadata["notebook_kit"].get("needs", []) == needs


def test_outputs_out_of_step_are_found(tmp_path):
    notebook = read(CHAPTERS[0])
    notebook.cells[-1].source += " "
    assert is_in_step(notebook), "prose does not count"
    next(cell for cell in notebook.cells if cell.cell_type == "code").source += "\n"
    assert not is_in_step(notebook)


@notebooks
def test_opens_with_what_one_will_be_able_to_do(path):
    opening = read(path).cells[0]
    assert opening.cell_type == "markdown" and tags(opening) == ["opening"]
    lines = opening.source.splitlines()
    assert lines[0].startswith("# ")
    assert sum(line.startswith("- ") for line in lines) >= 2, "at least two things that one will be able to do"
    assert re.search(r"\d", opening.source), "how long it takes"
    if path in CHAPTERS:
        assert f"({COLAB}{path.name})" in opening.source


@chapters
def test_first_code_cell_is_for_colab(path):
    notebook = read(path)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert tags(first) == ["colab"] and first is notebook.cells[1]
    assert first.source.startswith("#@title") and first.metadata.jupyter.source_hidden, (
        "one line, in Colab and JupyterLab"
    )
    assert first.source == code_cells(CHAPTERS[0])[0].source, "the same cell everywhere"


@pytest.mark.parametrize("path", CHAPTERS[:1], ids=lambda path: path.stem)
def test_colab_gets_all_that_the_package_needs(path):
    """The cell installs without dependencies, so each must be named there, or be kept as Colab has it."""
    source = code_cells(path)[0].source
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    kept = re.search(r'grep -E "\^\((.+)\)=="', source)
    assert kept
    named = re.findall(r'"([a-z_\d]+>=[\d.]+)"', source)
    left = {line for line in wanted if re.split(r"[>=<]", line)[0] not in {*kept[1].split("|"), "jupyterlab"}}
    assert set(named) == left


@notebooks
def test_code_fits_the_width_of_a_page(path):
    """Of the site, of GitHub and of a projector. Telugu vowel signs take no width."""
    for place, cell in enumerate(read(path).cells):
        sources = (
            re.findall(r"```python\n(.*?)```", cell.source, re.S) if cell.cell_type == "markdown" else [cell.source]
        )
        if "colab" in tags(cell):
            continue
        for line in "\n".join(sources).splitlines():
            assert sum(unicodedata.category(letter)[0] != "M" for letter in line) <= WIDEST, f"cell {place}: {line}"


@chapters
def test_exercises(path):
    notebook = read(path)
    found = exercises(notebook)
    assert 3 <= len(found) <= 6
    checked = {exercise.place + 1 for exercise in found}
    for exercise in found:
        assert any(isinstance(node, ast.Constant) and node.value is ... for node in ast.walk(parsed(exercise.source)))
        assert bound(exercise.source) <= bound(exercise.solution), "the solution stands in the place of the whole cell"
        assert "check" in used(exercise.check)
        written = bound(exercise.source) - {
            name
            for node in parsed(exercise.source).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in names(node)
        }
        for place, cell in enumerate(notebook.cells):
            if cell.cell_type == "code" and place not in checked and place != exercise.place:
                assert not written & used(cell.source), f"cell {place} leans on an exercise that may still be open"


def names(node):
    return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}


@chapters
def test_asks_for_predictions(path):
    prose = [cell.source for cell in read(path).cells if cell.cell_type == "markdown" and not tags(cell)]
    assert sum(len(re.findall(r"^\*\*[^*]+[:?।]\*\*|^\*\*[^*]+\*\*.*\?", text, re.M)) > 0 for text in prose) >= 3


@notebooks
def test_only_public_names(path):
    others = OTHERS | ({"tensorflow"} if path in WITH_TENSORFLOW else set())
    for cell in code_cells(path):
        for node in ast.walk(parsed(cell.source)):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module is not None
                if node.module.startswith("notebook_kit"):
                    assert node.module in PUBLIC, node.module
                    public = set(importlib.import_module(node.module).__all__)
                    public |= set(exports("notebook_kit")) if path in WITH_TENSORFLOW else set()
                    assert {alias.name for alias in node.names} <= public
                else:
                    assert node.module.partition(".")[0] in others, node.module
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    assert alias.name in PUBLIC or alias.name.partition(".")[0] in others, alias.name
            elif isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_") or node.attr.endswith("__"), node.attr


def prose(path: Path) -> str:
    """All that a person reads in a notebook or a page, code included."""
    return (
        "\n\n".join(cell.source for cell in read(path).cells)
        if path.suffix == ".ipynb"
        else path.read_text(encoding="utf-8")
    )


def anchors(path: Path) -> set[str]:
    """The headings of a notebook or a page, as links name them (JupyterLab and GitHub differ only in capitals)."""
    titles = re.findall(r"^#{1,6} (.+)$", prose(path), re.M)
    return {re.sub(r"[`*]", "", title).strip().replace(" ", "-").lower() for title in titles}


@pytest.mark.parametrize("path", [*NOTEBOOKS, *PAGES], ids=lambda path: path.name)
def test_links(path):
    text = (
        re.sub(r"```.*?```|`[^`\n]+`", "", prose(path), flags=re.S)
        if path.suffix == ".md"
        else "\n\n".join(
            re.sub(r"```.*?```|`[^`\n]+`", "", cell.source, flags=re.S)
            for cell in read(path).cells
            if cell.cell_type == "markdown"
        )
    )
    for target in re.findall(r"\]\(([^()\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text):
        if re.match(r"[a-z]+:", target):
            address = urlparse(target)
            assert address.scheme == "https" and "." in address.netloc, target
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file) if file else path
        assert there.exists(), target
        if anchor and there.suffix in (".ipynb", ".md"):
            assert anchor.lower() in anchors(there), target


@pytest.mark.parametrize("path", [*NOTEBOOKS, *PAGES, ROOT / "README.md"], ids=lambda path: path.name)
def test_spelling(path, tmp_path):
    text = tmp_path / f"{path.stem}.txt"
    text.write_text(prose(path), encoding="utf-8")
    known = "te,rouge"  # the code of Telugu, which code has to name; a measure of summaries
    command = [sys.executable, "-m", "codespell_lib", "--builtin", "clear,rare", "--ignore-words-list", known, text]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_spelling_is_really_checked(tmp_path):
    text = tmp_path / "wrong.txt"
    text.write_text("a tokeniser recieves text")
    run = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "--builtin", "clear,rare", text], capture_output=True, text=True
    )
    assert "recieves ==> receives" in run.stdout and run.returncode != 0


class TestCheck:
    """`notebook_kit.teaching.check`."""

    @staticmethod
    def said(capsys, given, test, **options) -> str:
        assert check("Exercise 1", given, test, **{"hint": "Try.", **options}) is None
        return capsys.readouterr().out

    def test_open(self, capsys):
        for given in (..., [..., 1], {"a": ...}, (1, ...)):
            assert self.said(capsys, given, lambda _: True).startswith("… Exercise 1: not filled in yet.")
        assert self.said(capsys, lambda row: ..., lambda _: True, on=([1],)).startswith("…")
        assert self.said(capsys, ..., lambda _: True, on=([1],)).startswith("…")
        assert self.said(capsys, object(), lambda _: ...).startswith("…")

    def test_right(self, capsys):
        import torch

        assert self.said(capsys, 6, lambda n: n == 6, explain="So it is.") == "✓ Exercise 1: right. So it is.\n"
        assert self.said(capsys, torch.ones(2), lambda t: (t == 1).all()) == "✓ Exercise 1: right.\n"
        assert self.said(capsys, [torch.ones(2), torch.ones(1)], lambda given: len(given) == 2).startswith("✓")
        assert self.said(capsys, sum, lambda total: total == 3, on=([1, 2],)).startswith("✓")

    def test_wrong(self, capsys):
        assert self.said(capsys, 5, lambda n: n == 6) == "✗ Exercise 1: not right yet. Hint: Try.\n"
        assert (
            self.said(capsys, 5, lambda n: "Too small." if n < 6 else True)
            == "✗ Exercise 1: not right yet. Hint: Too small.\n"
        )
        assert self.said(capsys, None, lambda n: n) == "✗ Exercise 1: not right yet. Hint: Try.\n"
        assert self.said(capsys, 5, lambda n: "") == "✗ Exercise 1: not right yet. Hint: Try.\n"

    def test_what_raises_is_a_wrong_answer(self, capsys):
        text = self.said(capsys, "five", lambda n: n + 1 == 6)
        assert (
            text.startswith("✗ Exercise 1: not right yet. Hint: Try. (The check raised TypeError: ")
            and text.count("\n") == 1
        )
        assert "ZeroDivisionError" in self.said(capsys, lambda n: 1 / n, lambda _: True, on=(0,))
        with pytest.raises(KeyboardInterrupt):
            self.said(capsys, 5, self.interrupt)

    @staticmethod
    def interrupt(_):
        raise KeyboardInterrupt

    def test_speaks_the_language_of_the_panels(self, capsys):
        english = strings("teaching")
        for language in languages():
            set_language(language)
            try:
                assert set(strings("teaching")) == set(english)
                assert strings("teaching")["teaching.right"] in self.said(capsys, 6, lambda n: n == 6)
            finally:
                set_language("en")
