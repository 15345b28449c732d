"""Handouts: a notebook as one HTML page that opens in any browser, with no kernel and no network.

notebook-kit handout tutorials/03_attention.ipynb --execute
"""

from __future__ import annotations

import base64
import io
import os
import re
import time
from collections.abc import Container
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from notebook_kit.errors import InputError, notice
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
_ATTACHMENT = re.compile(r"attachment:([^\s)\"'>]+)")
_NOT_MARKUP = re.compile(r"(<script\b.*?</script>|<style\b.*?</style>)", re.DOTALL | re.IGNORECASE)
_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_SOURCE = re.compile(r"""(?<=\ssrc=)(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
# The first bytes of a picture -> its type.
_FORMATS = {
    rb"\x89PNG": "image/png",
    rb"\xff\xd8\xff": "image/jpeg",
    rb"GIF8": "image/gif",
    rb"RIFF.{4}WEBP": "image/webp",
    rb"\s*(<\?xml|<!--|<!DOCTYPE svg|<svg)": "image/svg+xml",
}
SECONDS_FOR_A_PICTURE, SECONDS_FOR_ALL = 5.0, 20.0
"""How long the download of one picture, and of all pictures of a page, may take."""


def handout(
    notebook: str | os.PathLike[str],
    output: str | os.PathLike[str] = "",
    execute: bool = False,
    cell_seconds: float | None = 1800,
) -> Path:
    """Write a notebook as one HTML page that needs neither a kernel nor a network.

    Panels appear as their static faces, and formulas as pictures. Everything is inside the page: pictures of the notebook's
    folder are copied into it, remote ones are downloaded. In the place of a picture that cannot be had, the page says which one
    is missing, and so does a log message.

    Args:
        notebook: The notebook (`.ipynb`), with its outputs unless `execute` is true.
        output: The folder to write to, created if missing; by default the folder of the notebook.
        execute: Run the notebook first, in its folder, with a fresh kernel of this environment. The notebook itself is not changed.
        cell_seconds: How long a cell may run; None for any time.

    Returns:
        The path of the page.

    Raises:
        InputError: If the file is not a notebook, or a cell fails or takes too long.

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
        _execute(content, path, cell_seconds)
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            source = _without_lost_attachments(cell.source, cell.get("attachments", {}))
            cell.source = _FOLD.sub(_fold_marker, _with_pictures_of_formulas(source))
        for result in cell.get("outputs", []):
            # A page would fetch a widget manager for it; the other formats hold the static face.
            result.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    folder = Path(output) if output else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    page, missing = _with_pictures(_page(content, path), path.parent)
    written = write_text(folder / f"{path.stem}.html", page)
    if missing:
        notice(f"{written} lacks {len(missing)} pictures: {'; '.join(missing)}.")
    return written


def _execute(content: Any, path: Path, cell_seconds: float | None) -> None:
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    client = NotebookClient(
        content,
        timeout=cell_seconds,
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
            except CellTimeoutError:
                raise InputError(
                    f"Cell {place + 1} of {path} ran for more than {cell_seconds:g} seconds.",
                    next_step="Run the notebook in JupyterLab and save it, or pass cell_seconds=None (--cell-seconds 0) to wait.",
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


def _without_lost_attachments(markdown: str, attachments: Container[str]) -> str:
    """The text with the bare name of each attachment that is not there, about which the exporter would raise an error."""

    def name_of(attachment: re.Match[str]) -> str:
        return attachment[0] if attachment[1] in attachments else attachment[1]

    return _ATTACHMENT.sub(name_of, markdown)


def _with_pictures(page: str, folder: Path) -> tuple[str, list[str]]:
    """The page with its pictures inside, and what is missing and why."""
    known: dict[str, tuple[str, str]] = {}
    deadline = time.monotonic() + SECONDS_FOR_ALL

    def inside(tag: re.Match[str]) -> str:
        found = _SOURCE.search(tag[0])
        source = unescape((found[1] or found[2] or "").strip()) if found else ""
        if found is None or not source or source[:5].lower() == "data:":
            return tag[0]
        if source not in known:
            known[source] = _picture_of(source, folder, deadline - time.monotonic())
        data, fault = known[source]
        if fault:
            note = "border: 1px dashed; padding: 0.1em 0.4em"
            return f'<span role="note" style="{note}">Picture missing: {escape(source)} ({escape(fault)})</span>'
        return f'{tag[0][: found.start()]}"{data}"{tag[0][found.end() :]}'

    pieces = _NOT_MARKUP.split(page)
    page = "".join(piece if place % 2 else _IMAGE.sub(inside, piece) for place, piece in enumerate(pieces))
    return page, [f"{source} ({fault})" for source, (_, fault) in known.items() if fault]


def _picture_of(source: str, folder: Path, seconds: float) -> tuple[str, str]:
    """A picture as a `data:` address, and why there is none."""
    from notebook_kit.hub.client import patiently
    from notebook_kit.processing.fetching import fetch

    try:
        if "://" in source:
            limit = min(SECONDS_FOR_A_PICTURE, seconds)
            if limit <= 0:
                return "", "there was no time left to download it"
            data = patiently(lambda: fetch(source, limit), limit + 1)  # looking a name up has no limit
        else:
            path = (folder / unquote(source)).resolve()
            if not path.is_relative_to(folder.resolve()):
                return "", "it is outside the notebook's folder"
            data = path.read_bytes()
    except InputError as error:
        return "", error.what.removeprefix(f"{source} was not downloaded: ").rstrip(".")
    except TimeoutError:
        return "", "the download took too long"
    except (OSError, ValueError):
        return "", "there is no such file"
    kind = next((kind for start, kind in _FORMATS.items() if re.match(start, data, re.DOTALL)), None)
    if kind is None:
        return "", "it is not a picture"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}", ""


def _fold_marker(tag: re.Match[str]) -> str:
    """A paragraph in the place of `<details>` and `</details>`: the exporter would close the tag before its content."""
    return f"\n\n{_MARKER}{base64.b64encode(tag[0].encode()).decode()}\n\n"


def _with_pictures_of_formulas(markdown: str) -> str:
    """The text with each `$formula$` outside code as a picture, as there is no MathJax without a network."""
    pieces = _CODE.split(markdown)
    return "".join(piece if place % 2 else _FORMULA.sub(_picture, piece) for place, piece in enumerate(pieces))


def _picture(formula: re.Match[str]) -> str:
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
