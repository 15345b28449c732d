"""Handouts: a notebook as one HTML page that opens in any browser, with no kernel and no network.

notebook-kit handout tutorials/03_attention.ipynb --execute
"""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

from notebook_kit.errors import InputError
from notebook_kit.files import write_text

__all__ = ["handout"]

_PAGE = """
{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
"""
_FORMULA = re.compile(r"(?<![\\$])(\$\$?)(?![\s$])([^$\n]+?)(?<![\s\\])\1(?![\d$])")
_FOLD = re.compile(r"<details>\s*<summary>.*?</summary>|</details>", re.DOTALL)
_MARKER = "folded-in-a-handout-"
_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)


def handout(notebook: str | os.PathLike[str], output: str | os.PathLike[str] = "", execute: bool = False) -> Path:
    """Write a notebook as one HTML page that needs neither a kernel nor a network.

    Panels appear as their static faces, and formulas as pictures. Everything is inside the page.

    Args:
        notebook: The notebook (`.ipynb`), with its outputs unless `execute` is true.
        output: The folder to write to, created if missing; by default the folder of the notebook.
        execute: Run the notebook first, in its folder, with a fresh kernel of this environment. The notebook itself is not changed.

    Returns:
        The path of the page.

    Raises:
        InputError: If the file is not a notebook, or a cell fails.

    Example:
        >>> import json, tempfile
        >>> path = Path(tempfile.mkdtemp(), "lesson.ipynb")
        >>> cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "Softmax uses $e^x$."}
        >>> _ = path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
        >>> handout(path).name
        'lesson.html'
    """
    import nbformat

    path = Path(notebook)
    if not path.is_file():
        raise InputError(f"There is no notebook {path}.", next_step="Check the path; notebooks end in .ipynb.")
    try:
        content = nbformat.read(path, as_version=4)
    except (OSError, nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read as a notebook: {error}", next_step="Name a file that ends in .ipynb."
        ) from None
    if execute:
        _execute(content, path)
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = _FOLD.sub(_fold_marker, _with_pictures_of_formulas(cell.source))
        for result in cell.get("outputs", []):
            # A page would fetch a widget manager for it; the other formats hold the static face.
            result.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    folder = Path(output) if output else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    return write_text(folder / f"{path.stem}.html", _page(content, path))


def _execute(content: Any, path: Path) -> None:
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    client = NotebookClient(
        content,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    with client.setup_kernel():
        for place, cell in enumerate(content.cells):
            try:
                client.execute_cell(cell, place)
            except CellExecutionError as error:
                raise InputError(
                    f"Cell {place + 1} of {path} failed with {error.ename}: {error.evalue}.",
                    next_step="Run the notebook in JupyterLab, mend that cell, and make the handout again.",
                ) from None


def _page(content: Any, path: Path) -> str:
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="lab",
        extra_loaders=[DictLoader({"handout.html.j2": _PAGE})],
        template_file="handout.html.j2",
        embed_images=True,
        sanitize_html=False,  # the static faces bring styles with them
    )
    page = exporter.from_notebook_node(content, {"metadata": {"name": path.stem, "path": str(path.parent)}})[0]
    return re.sub(rf"<p>{_MARKER}([^<]*)</p>", lambda found: base64.b64decode(found[1]).decode(), page)


def _fold_marker(tag: re.Match[str]) -> str:
    """A paragraph in the place of `<details>` and `</details>`: the exporter would close the tag before its content."""
    return f"\n\n{_MARKER}{base64.b64encode(tag[0].encode()).decode()}\n\n"


def _with_pictures_of_formulas(markdown: str) -> str:
    """The text with each `$formula$` outside code as a picture, as there is no MathJax without a network."""
    pieces = _CODE.split(markdown)
    return "".join(piece if place % 2 else _FORMULA.sub(_picture, piece) for place, piece in enumerate(pieces))


def _picture(formula: re.Match[str]) -> str:
    from html import escape

    from matplotlib.mathtext import math_to_image

    buffer, source = io.BytesIO(), formula[2]
    try:
        math_to_image(f"${source}$", buffer, format="svg", dpi=72)
    except ValueError:  # more than matplotlib can draw
        return f"`{source}`"
    data = base64.b64encode(buffer.getvalue()).decode()
    style = (
        "vertical-align: middle; height: 1.4em" if formula[1] == "$" else "display: block; margin: auto; height: 3em"
    )
    return f'<img alt="{escape(source)}" style="{style}" src="data:image/svg+xml;base64,{data}">'
