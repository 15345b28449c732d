"""Handouts open with no network and show what panels show."""

from __future__ import annotations

import json
import re

import nbformat
import pytest

from notebook_kit.__main__ import main
from notebook_kit.errors import InputError
from notebook_kit.handout import handout
from notebook_kit.panels import TokenInspector

ELSEWHERE = re.compile(
    r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//|import\(?\s*["']https?:"""
)


def lesson(folder, *cells):
    notebook = nbformat.v4.new_notebook(cells=list(cells))
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    path = folder / "lesson.ipynb"
    nbformat.write(notebook, path)
    return path


def test_panels_appear_as_static_faces(tmp_path):
    bundle = TokenInspector("notebook-kit/tiny-sentiment", text="Unbelievably good.")._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in data
    cell = nbformat.v4.new_code_cell("inspector", outputs=[nbformat.v4.new_output("display_data", data=data)])
    page = handout(lesson(tmp_path, cell), tmp_path / "out").read_text(encoding="utf-8")
    assert "tokens 9, characters 18, words 2" in page
    assert not ELSEWHERE.search(page)


def test_formulas_are_pictures_and_code_stays(tmp_path):
    text = r"Weights $\frac{QK^\top}{\sqrt{d}}$, code `cost $5 and $6`, prices $5 and $6, $\nosuchcommand{x}$."
    page = handout(lesson(tmp_path, nbformat.v4.new_markdown_cell(text))).read_text(encoding="utf-8")
    assert len(re.findall(r"<img [^>]*data:image/svg\+xml", page)) == 1
    assert "cost $5 and $6" in page and "prices $5 and $6" in page and r"<code>\nosuchcommand{x}</code>" in page


def test_solutions_are_folded(tmp_path):
    text = "<details>\n<summary>A solution</summary>\n\n```python\nanswer = 42\n```\n\nWhy?\n\n</details>"
    page = handout(lesson(tmp_path, nbformat.v4.new_markdown_cell(text))).read_text(encoding="utf-8")
    inside = re.search(r"<details>\s*<summary>A solution</summary>(.*?)</details>", page, re.DOTALL)
    assert inside and "42" in inside[1] and "Why?" in inside[1]


@pytest.mark.slow
def test_command_executes_and_writes(tmp_path, capsys):
    path = lesson(tmp_path, nbformat.v4.new_code_cell("print(6 * 7)"))
    assert main(["handout", "--execute", "--output-dir", str(tmp_path / "new" / "folder"), str(path)]) == 0
    assert "42" in (tmp_path / "new" / "folder" / "lesson.html").read_text(encoding="utf-8")
    assert not nbformat.read(path, as_version=4).cells[0].outputs
    assert main(["handout", "--execute", str(lesson(tmp_path, nbformat.v4.new_code_cell("1 / 0")))]) == 1
    told = capsys.readouterr().err
    assert "Cell 1 of" in told and "ZeroDivisionError" in told and "IPKernelApp" not in told


def test_what_is_no_notebook_is_named(tmp_path, capsys):
    for name, content in (("a.ipynb", "{"), ("b.ipynb", json.dumps([1])), ("c.py", "print()")):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=name):
            handout(tmp_path / name)
    assert main(["handout", str(tmp_path / "missing.ipynb")]) == 1
    assert "missing.ipynb" in capsys.readouterr().err
