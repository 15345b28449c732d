"""Keeps each panel that a notebook shows as an HTML file, so that the site can show the live panel instead of its picture.

A kernel with the startup file that `install` writes saves every displayed panel with `to_html`, once its cell has ended (a
dashboard is displayed before its run begins), and notes the file's name in the output, under the type `PAGE`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

PAGE = "application/vnd.notebook-kit.page"
"""The type of an output that names the page of its panel; JupyterLab shows the other types, and keeps this one."""

STARTUP = """
def keep_pages_of_panels(folder, kind):
    from itertools import count
    from pathlib import Path

    from IPython import get_ipython

    shell, numbers, shown = get_ipython(), count(1), {{}}

    def displayed(panel, include=None, exclude=None):
        data, metadata = panel._repr_mimebundle_()
        if panel not in shown:
            shown[panel] = f"{{next(numbers)}}.html"
        return {{**data, kind: shown[panel]}}, metadata

    def write(result):
        for panel, name in shown.items():
            panel.to_html(Path(folder, name))
        shown.clear()

    shell.display_formatter.mimebundle_formatter.for_type_by_name("notebook_kit.panels.panel", "Panel", displayed)
    shell.events.register("post_run_cell", write)

keep_pages_of_panels({folder!r}, {kind!r})
del keep_pages_of_panels
"""


def install(ipython: Path, pages: Path) -> None:
    """Have kernels keep the pages of their panels.

    Args:
        ipython: The folder of IPython's settings, the variable `IPYTHONDIR` of the kernels.
        pages: The folder for the pages, which is emptied.
    """
    shutil.rmtree(pages, ignore_errors=True)
    pages.mkdir(parents=True)
    startup = ipython / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "live_panels.py").write_text(STARTUP.format(folder=str(pages), kind=PAGE), "utf-8")


def outputs_with_pages(notebook: Any) -> list[dict[str, Any]]:
    """The data of all outputs that have a page; it names the page under `PAGE`."""
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    return [data for data in outputs if PAGE in data]
