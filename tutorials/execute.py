"""Run the tutorials and store them with their outputs, so that they can be read where nothing runs, as on GitHub.

    python tutorials/execute.py                        all whose code has changed since they were run
    python tutorials/execute.py 03_attention ...       these, in any case
    python tutorials/execute.py --check                say which are out of step; the exit status is their number

Panels are stored as pictures, as GitHub removes the styles of HTML outputs. Nothing is fetched: the tutorials need no network.
A chapter that needs another package, such as TensorFlow, names it in its metadata, and is only run where it is installed.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parent
LARGEST = 400_000
"""Bytes of a stored notebook."""

PICTURES_OF_PANELS = """
def use_pictures():
    from IPython import get_ipython
    from notebook_kit.panels.panel import Panel

    def picture(panel, include=None, exclude=None):
        import io
        import matplotlib.pyplot as plt
        try:
            figure = panel.figure()
        except Exception:  # there is nothing to draw yet
            return {"text/plain": repr(panel)}
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=80, bbox_inches="tight", facecolor="white")
        plt.close(figure)
        return {"image/png": drawn.getvalue(), "text/plain": repr(panel)}

    get_ipython().display_formatter.mimebundle_formatter.for_type(Panel, picture)

use_pictures()
del use_pictures
"""


def code_of(notebook: Any) -> str:
    """Sixteen hexadecimal digits that identify the code of a notebook."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def is_in_step(notebook: Any) -> bool:
    """Whether the stored outputs are those of the stored code."""
    return notebook.metadata.get("notebook_kit", {}).get("executed") == code_of(notebook)


def lacking(notebook: Any) -> list[str]:
    """The packages that a chapter needs beside those of the project, and that are not installed here."""
    needed = notebook.metadata.get("notebook_kit", {}).get("needs", [])
    return [name for name in needed if importlib.util.find_spec(name) is None]


def smaller(picture: str) -> str:
    """A PNG with 64 colours, which are enough for charts; in base64, as notebooks store it."""
    return encoded(opened(picture).quantize(64), "png", optimize=True)


def shrink_pictures(data: dict[str, Any]) -> None:
    """Reduce the picture of an output: to a JPEG where that is clearly smaller, as it is for photographs."""
    if "image/png" not in data:
        return
    png, jpeg = smaller(data["image/png"]), encoded(opened(data["image/png"]), "jpeg", quality=65)
    data.pop("image/jpeg", None)
    del data["image/png"]
    kind, picture = ("jpeg", jpeg) if len(jpeg) < 0.8 * len(png) else ("png", png)
    data[f"image/{kind}"] = picture


def opened(picture: str) -> Image.Image:
    """The RGB image of a picture in base64."""
    return Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")


def encoded(image: Image.Image, kind: str, **options: Any) -> str:
    """An image as a file of a kind, in base64."""
    stored = io.BytesIO()
    image.save(stored, kind, **options)
    return base64.b64encode(stored.getvalue()).decode()


def execute(path: Path) -> int:
    """Run a notebook and store it with its outputs; the size of the file in bytes."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        startup = Path(folder, "ipython", "profile_default", "startup")
        startup.mkdir(parents=True)
        (startup / "pictures.py").write_text(PICTURES_OF_PANELS, encoding="utf-8")
        environment = {
            **os.environ,
            "IPYTHONDIR": str(startup.parents[1]),
            "HF_HOME": str(Path(folder, "cache")),
            "HF_HUB_OFFLINE": "1",
        }
        client = NotebookClient(
            notebook,
            timeout=900,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
            coalesce_streams=True,  # a busy machine sends one line in parts
        )
        with client.setup_kernel(env=environment):
            for place, cell in enumerate(notebook.cells):
                if cell.cell_type == "code":
                    client.execute_cell(cell, place)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            shrink_pictures(data)
    notebook.metadata.pop("language_info", None)
    notebook.metadata["notebook_kit"] = {**notebook.metadata.get("notebook_kit", {}), "executed": code_of(notebook)}
    size = len(nbformat.writes(notebook).encode())
    if size > LARGEST:
        raise SystemExit(f"{path.name} would take {size:,} bytes with its outputs; the limit is {LARGEST:,}.")
    nbformat.write(notebook, path)
    return size


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help="names of notebooks, without .ipynb")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    stale = [
        path
        for path in sorted(FOLDER.glob("*.ipynb"))
        if (path.stem in options.name if options.name else not is_in_step(nbformat.read(path, as_version=4)))
    ]
    for path in stale:
        print(f"{path.name} ...", end=" ", flush=True)
        if not options.check and (missing := lacking(nbformat.read(path, as_version=4))):
            raise SystemExit(f"needs {', '.join(missing)}, which is not installed here.")
        print("out of step" if options.check else f"{execute(path):,} bytes")
    return len(stale) if options.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
