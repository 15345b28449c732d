"""Build the site: the README, the executed tutorials, and a page for every public name.

    python docs/build.py [FOLDER]        into docs/_build/html, if no folder is named

A tutorial that the tests have just run (tests/artifacts/tutorials/) is read from there; any other is executed here. Needs the
extra "docs". Every warning is an error, broken references among them, and so is a page that loads something from another site.
"""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from docstrings import restructured
from nbclient import NotebookClient

from notebook_kit.lazy import exports

PROJECT = Path(__file__).resolve().parent.parent
TUTORIALS = PROJECT / "tutorials"
EXECUTED = PROJECT / "tests" / "artifacts" / "tutorials"
REPOSITORY = "https://github.com/notebook-kit/notebook_kit/blob/main"

GROUPS = {
    "Pipelines": ["pipelines"],
    "Tokenizers": ["processing.text", "processing.text.classes"],
    "Images": [
        "processing.auto",
        "processing.features",
        *(f"processing.image.{name}" for name in ("auto", "classes", "loading", "processor")),
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
    for path in sorted(TUTORIALS.glob("*.ipynb")):
        notebook = executed(path)
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
    for path in sorted((PROJECT / "docs").glob("*.md")):
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
    elsewhere = loaded_from_elsewhere(output)
    if elsewhere:
        print("These pages load something from another site:", *elsewhere, sep="\n", file=sys.stderr)
    return code or bool(elsewhere)


def loaded_from_elsewhere(output: Path) -> list[str]:
    """What pages load from other sites: none should, so that the site can be read with no network."""
    tag = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^>]*>')
    return [
        f"{page.relative_to(output)}: {found}"
        for page in sorted(output.rglob("*.html"))
        for found in tag.findall(page.read_text("utf-8"))
    ]


def executed(path: Path) -> Any:
    """The notebook with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    ready = EXECUTED / path.name
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        return notebook
    if ready.exists():
        earlier = nbformat.read(ready, as_version=4)
        if [cell.source for cell in earlier.cells] == [cell.source for cell in notebook.cells]:
            for cell, run in zip(notebook.cells, earlier.cells, strict=True):
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = run.outputs, run.execution_count
            return notebook
    print(f"Running {path.name} ...", flush=True)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    return notebook


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
    """The first page is the README; the others hang on it."""
    tutorials = [f"tutorials/{path.stem}" for path in sorted(TUTORIALS.glob("[0-9]*.ipynb"))]
    first = ["tutorials/index"] if (TUTORIALS / "index.ipynb").exists() else []
    pages = [f"tutorials/{path.stem}" for path in sorted(TUTORIALS.glob("*.md"))]
    more = sorted(path.stem for path in (PROJECT / "docs").glob("*.md"))
    reference = ["api/index"]
    text = with_links_of_the_site((PROJECT / "README.md").read_text("utf-8"), "")
    for caption, entries in {"Tutorials": first + tutorials + pages, "Guides": more, "Reference": reference}.items():
        if entries:
            text += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```", ""])
    (source / "index.md").write_text(text, "utf-8")


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
