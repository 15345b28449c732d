"""Build the site: the README, the executed tutorials, and a page for every public name.

    python docs/build.py [FOLDER]        into docs/_build/html, if no folder is named

A tutorial that the tests have just run (tests/artifacts/tutorials/) is read from there; any other is executed here, or, if it
needs a package that is not installed, shown with its stored outputs. Its panels are live: frames with the pages that `to_html`
wrote, which load when they are scrolled to. Needs the extra "docs". Every warning is an error, broken references among them, and
so is a page that loads something from another site, or too much.
"""

from __future__ import annotations

import html
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from docstrings import restructured
from nbclient import NotebookClient
from unimported import documented

from notebook_kit.lazy import exports

sys.path.insert(0, str(Path(__file__).parents[1] / "tutorials"))
from execute import lacking
from live_panels import PAGE, install, outputs_with_pages

PROJECT = Path(__file__).resolve().parent.parent
TUTORIALS = PROJECT / "tutorials"
EXECUTED = PROJECT / "tests" / "artifacts" / "tutorials"
REPOSITORY = "https://github.com/notebook-kit/notebook_kit/blob/main"
LARGEST = 3_000_000
"""Bytes of a page with its pictures and panels."""
START = PROJECT / "docs" / "start.md"
"""What a visitor can do at once: it opens the first page, in place of the README's film."""
FILM = re.compile(r"^!\[[^]]*\]\(tutorials/pictures/film\.webp\)$", re.M)

GROUPS = {
    "Pipelines": ["pipelines"],
    "Tokenizers": ["processing.text", "processing.text.classes", "processing.text.ctc"],
    "Images": [
        "processing.auto",
        "processing.features",
        *(
            f"processing.image.{name}"
            for name in ("auto", "classes", "detection", "loading", "processor", "segmentation")
        ),
    ],
    "Images with texts": ["processing.joint.images"],
    "Sound": [
        f"processing.audio.{name}"
        for name in ("auto", "classes", "extractor", "language_models", "loading", "processors")
    ],
    "Auto classes": ["models.auto", "models.mappings", "models.tokenizer_mapping"],
    "Generation": ["generation"],
    "Looking inside": ["nn.attention"],
    "Training": ["training"],
    "Data": ["data"],
    "What models share": ["configuration", "nn.base", "nn.outputs", "nn.quantized_weights"],
    "Utilities": ["utils"],
}
"""Pages of the reference -> the modules whose names they document; every other module gets a page among the model families."""
MODULES = {
    "notebook_kit.panels": "Panels",
    "notebook_kit.zoo": "The zoo",
    "notebook_kit.errors": "Errors",
    "notebook_kit.teaching": "Teaching",
}


def main(output: Path) -> int:
    source = PROJECT / "docs" / "_build" / "source"
    shutil.rmtree(source, ignore_errors=True)
    (source / "tutorials").mkdir(parents=True)
    shutil.copytree(TUTORIALS / "pictures", source / "tutorials" / "pictures")
    live = PROJECT / "docs" / "_build" / "live"
    shutil.rmtree(live, ignore_errors=True)
    for path in sorted(TUTORIALS.glob("*.ipynb")):
        notebook = executed(path, live / path.stem)
        notebook.metadata.pop("widgets", None)  # the page would fetch a widget manager from elsewhere for their state
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = with_links_of_the_site(cell.source, "tutorials")
            if "colab" in cell.metadata.get("tags", []):
                cell.metadata.tags.append("remove-cell")
        nbformat.write(notebook, source / "tutorials" / path.name)
    for path in sorted(TUTORIALS.glob("*.md")):
        (source / "tutorials" / path.name).write_text(
            with_links_of_the_site(path.read_text("utf-8"), "tutorials"), "utf-8"
        )
    for path in guides():
        (source / path.name).write_text(with_links_of_the_site(path.read_text("utf-8"), "docs"), "utf-8")
    write_start(source)
    write_reference(source / "api")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-b",
        "html",
        "-c",
        PROJECT / "docs",
        "-W",
        "--keep-going",
        "-n",
        "-q",
        "-E",
    ]
    code = subprocess.run([*command, "-d", output.parent / "doctrees", source, output]).returncode
    shutil.copytree(live, output / "tutorials" / "panels", dirs_exist_ok=True)
    faults = {
        "These pages load something from another site:": loaded_from_elsewhere(output),
        f"These pages load more than {LARGEST:,} bytes:": too_large(output),
    }
    for fault, pages in faults.items():
        if pages:
            print(fault, *pages, sep="\n", file=sys.stderr)
    return code or any(faults.values())


def loaded_from_elsewhere(output: Path) -> list[str]:
    """What pages load from other sites: none should, so that the site can be read with no network."""
    tag = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^>]*>')
    return [
        f"{page.relative_to(output)}: {found}"
        for page in sorted(output.rglob("*.html"))
        for found in tag.findall(page.read_text("utf-8"))
    ]


def too_large(output: Path) -> list[str]:
    """The tutorials that take more than `LARGEST` bytes: the page, its pictures and the pages in its frames."""
    sizes = {}
    for page in sorted((output / "tutorials").glob("*.html")):
        parts = {
            page.parent / found
            for found in re.findall(r'<i(?:mg|frame)\b[^>]*\bsrc="([^":]+)"', page.read_text("utf-8"))
        }
        sizes[page.name] = sum(part.stat().st_size for part in {page, *parts})
    return [f"{name}: {size:,}" for name, size in sizes.items() if size > LARGEST]


def executed(path: Path, live: Path) -> Any:
    """The notebook with its outputs, in which each panel is a frame.

    Args:
        path: The notebook.
        live: The folder for the pages in the frames; the site has it at `panels/<the notebook's name>`.
    """
    notebook = nbformat.read(path, as_version=4)
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        return notebook
    pages = EXECUTED / "panels" / path.stem
    earlier = has_earlier_outputs(notebook, EXECUTED / path.name, pages)
    if not earlier and lacking(notebook):  # its stored outputs are shown, with pictures of panels
        return notebook
    if not earlier:
        print(f"Running {path.name} ...", flush=True)
        pages = PROJECT / "docs" / "_build" / "pages" / path.stem
        with tempfile.TemporaryDirectory() as folder:
            install(Path(folder), pages)
            NotebookClient(
                notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
            ).execute(env={**os.environ, "IPYTHONDIR": folder})
    live.mkdir(parents=True)
    for data in outputs_with_pages(notebook):
        name = data.pop(PAGE)
        panel = (pages / name).read_text("utf-8")
        # Without scripts the reader sees the face that is in the chapter's page; the frame need not load it again.
        (live / name).write_text(re.sub(r"<noscript>.*?</noscript>", "", panel, count=1, flags=re.DOTALL), "utf-8")
        title = html.escape("".join(data["text/plain"]))
        face = "".join(data["text/html"])
        data["text/html"] = (
            f'<iframe class="live-panel" loading="lazy" title="{title}" src="panels/{path.stem}/{name}"></iframe>'
            f"<noscript>{face}</noscript>"
        )
    return notebook


def has_earlier_outputs(notebook: Any, ready: Path, pages: Path) -> bool:
    """Whether the tests have run this code and kept the pages of its panels; the outputs are then put into the notebook."""
    if not (ready.exists() and pages.exists()):
        return False
    earlier = nbformat.read(ready, as_version=4)
    if [cell.source for cell in earlier.cells] != [cell.source for cell in notebook.cells]:
        return False
    for cell, run in zip(notebook.cells, earlier.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = run.outputs, run.execution_count
    return True


def with_links_of_the_site(text: str, folder: str) -> str:
    """Markdown whose links to files of the project lead to their page here, or to the repository where they have none."""

    def link(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        if re.match(r"[a-z]+:", target) or not target:
            return found[0]
        file = (PROJECT / folder / target).resolve()
        name = file.relative_to(PROJECT).as_posix()
        if name.startswith("docs/") and file.suffix == ".md" and file.exists():
            return f"]({'../' if folder == 'tutorials' else ''}{file.name}{anchor})"
        has_page = name.startswith("tutorials/") and file.suffix in (".ipynb", ".md", ".svg", ".png") and file.exists()
        if not has_page:
            return f"]({REPOSITORY}/{name}{anchor})"
        return f"]({name.removeprefix('tutorials/') if folder == 'tutorials' else name}{anchor})"

    return re.sub(r"\]\(([^()\s#]*)(#[^()\s]*)?\)", link, text)


def write_start(source: Path) -> None:
    """The first page is the README with a live panel; the others hang on it."""
    tutorials = [f"tutorials/{path.stem}" for path in sorted(TUTORIALS.glob("[0-9]*.ipynb"))]
    first = ["tutorials/index"] if (TUTORIALS / "index.ipynb").exists() else []
    pages = [f"tutorials/{path.stem}" for path in sorted(TUTORIALS.glob("*.md"))]
    more = [path.stem for path in guides()]
    reference = ["api/index"]
    readme = (PROJECT / "README.md").read_text("utf-8")
    start = START.read_text("utf-8").replace("PANEL", first_panel("AttentionView"))
    if len(FILM.findall(readme)) != 1:
        raise SystemExit("The README has no line with its film, where the first page of the site shows a panel.")
    text = with_links_of_the_site(FILM.sub(lambda _: start, readme), "")
    for caption, entries in {"Tutorials": first + tutorials + pages, "Guides": more, "Reference": reference}.items():
        if entries:
            text += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```", ""])
    (source / "index.md").write_text(text, "utf-8")


def guides() -> list[Path]:
    """The pages of this folder that have a page of the site each."""
    return [path for path in sorted((PROJECT / "docs").glob("*.md")) if path != START]


def first_panel(kind: str) -> str:
    """The frame with the first panel of a kind in the quick tour, for a page in the root of the site."""
    tour = nbformat.read(PROJECT / "docs" / "_build" / "source" / "tutorials" / "00_quick_tour.ipynb", as_version=4)
    outputs = [output.get("data", {}) for cell in tour.cells for output in cell.get("outputs", [])]
    frame = next(data["text/html"] for data in outputs if data.get("text/plain", "").startswith(kind))
    return frame.replace('src="panels/', 'src="tutorials/panels/').replace("\n", " ")


def write_reference(folder: Path) -> None:
    """One page a group of public names."""
    folder.mkdir()
    homes: dict[str, list[str]] = {}
    for name, home in exports("notebook_kit").items():
        homes.setdefault(home.removeprefix("."), []).append(name)
    pages, families = [], []
    for title, group in GROUPS.items():
        names = [name for home in group for name in homes.pop(home)]
        pages.append(write_page(folder, title, "", ("notebook_kit", names)))
    homes.pop("", None)  # modules, which have pages below
    pages.append(
        write_tensorflow(folder, {home: homes.pop(home) for home in list(homes) if home.startswith("tensorflow")})
    )
    for home, names in sorted(homes.items()):
        introduction = inspect.getdoc(importlib.import_module(f"notebook_kit.{home}")) or ""
        title = next((name.removesuffix("Config") for name in names if name.endswith("Config")), names[0])
        families.append(write_page(folder, title, introduction, ("notebook_kit", names)))
    for name, title in MODULES.items():
        module = importlib.import_module(name)
        pages.append(write_page(folder, title, inspect.getdoc(module) or "", (name, module.__all__)))
    lines = [heading("Reference"), "Every public name, with its arguments, shapes and errors.", ""]
    lines += [*toctree(pages, "By subject"), *toctree(families, "Model families")]
    (folder / "index.rst").write_text("\n".join(lines), "utf-8")


TENSORFLOW = """\
With the extra `tensorflow` (`pip install "notebook_kit[tensorflow]"`), every model is also a model of Keras: the class of the
same name with TF before it. No code is written for it: the torch class is traced once, and its operations run with TensorFlow,
so that outputs, losses and gradients agree within rounding. Checkpoints, configurations and tokenizers are the same.
The chapter CHAPTER shows it at work.
"""


def write_tensorflow(folder: Path, homes: dict[str, list[str]]) -> str:
    """The page of the names that need TensorFlow, which is not installed here; returns the page's name."""
    chapter = next(TUTORIALS.glob("*_tensorflow.ipynb")).stem
    link = f":doc:`The same in TensorFlow </tutorials/{chapter}>`"
    lines = [heading("TensorFlow"), restructured(TENSORFLOW).replace("CHAPTER", link), ""]
    families = homes.pop("tensorflow.classes")
    for home, names in homes.items():
        path = PROJECT / "notebook_kit" / f"{home.replace('.', '/')}.py"
        lines += documented("notebook_kit", path, names)
    lines += [heading("Classes of the families").replace("=", "-"), ""]
    lines += [f".. py:class:: notebook_kit.{name}\n\n   The Keras model of {_of_torch(name)}.\n" for name in families]
    (folder / "tensorflow.rst").write_text("\n".join(lines), "utf-8")
    return "tensorflow"


def _of_torch(name: str) -> str:
    return restructured(f"`{name.removeprefix('TF')}`")


def write_page(folder: Path, title: str, introduction: str, names: tuple[str, Iterable[str]]) -> str:
    """A page that documents some names of a module; returns the page's name."""
    module, members = names
    lines = [heading(title), restructured(introduction), "", f".. py:currentmodule:: {module}", ""]
    for name in sorted(members, key=str.lower):
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value):
            lines += [f".. autoclass:: {module}.{name}", "   :members:", ""]
        elif callable(value):
            lines += [f".. autofunction:: {module}.{name}", ""]
        elif type(value) is dict:  # has the docstring of dict
            lines += [f".. py:data:: {module}.{name}", "   :type: dict", ""]
        elif name != "__version__":
            lines += [f".. autodata:: {module}.{name}", "   :no-value:", ""]
    page = re.sub(r"\W+", "-", title.lower())
    (folder / f"{page}.rst").write_text("\n".join(lines), "utf-8")
    return page


def heading(title: str) -> str:
    return f"{title}\n{'=' * len(title)}\n"


def toctree(pages: list[str], caption: str) -> list[str]:
    return [".. toctree::", f"   :caption: {caption}", "   :maxdepth: 1", "", *(f"   {page}" for page in pages), ""]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else PROJECT / "docs" / "_build" / "html"))
