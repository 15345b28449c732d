"""The floors of the package: an import points down only, and never in a circle.

Counted as imports are those inside functions, those for annotations alone (`TYPE_CHECKING`), modules named to
`import_module`, and root names (`from notebook_kit import pipeline`), which are imported from the module that holds them.
To see what breaks the rules: python tests/test_floors.py
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "notebook_kit"

FLOORS = [
    ["errors", "fields"],
    ["files", "keywords", "lazy", "module_paths", "progress"],
    ["language"],
    ["utils"],
    ["registry"],
    ["zoo"],
    ["hub"],
    ["configuration"],
    ["checkpoints"],
    ["processing"],
    ["nn"],
    ["generation"],
    ["models"],
    ["training"],
    ["data"],
    ["tensorflow"],
    ["pipelines"],
    ["inspection"],
    ["panels"],
    ["handout", "teaching"],
    ["recipes"],
    ["tour"],
    ["__main__"],
]
"""From the ground up. Rooms on the same floor do not import each other."""
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}

ON_THEIR_OWN = {"teaching": {"errors", "language", "training"}, "handout": {"errors", "files", "hub", "processing"}}
"""Rooms that import less than their floor would allow."""
USERS = {"tour", "__main__"}
"""Rooms that use the package as its users do: they may import root names."""


@dataclass(frozen=True)
class Import:
    """One import of one module of the package by another.

    Args:
        file: The importing file, relative to the package's parent.
        line: Where, from 1.
        importer: The importing module, without `notebook_kit.` (`"hub.client"`).
        imported: The imported module, likewise; `""` for the root package.
    """

    file: str
    line: int
    importer: str
    imported: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.importer} imports {self.imported or 'notebook_kit'}"


def module_name(path: Path, root: Path) -> str:
    """`hub/client.py` -> `"hub.client"`; a package's `__init__.py` -> the package's name."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def exported_names(root: Path) -> dict[str, str]:
    """Root name -> the module that holds it, as `__init__.pyi` says."""
    stub = ast.parse((root / "__init__.pyi").read_text(encoding="utf-8"))
    nodes = [node for node in stub.body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: str(node.module).removeprefix("notebook_kit.") for node in nodes for alias in node.names}


def imports_of(path: Path, root: Path, modules: set[str], exports: dict[str, str]) -> Iterator[Import]:
    """All imports of the package's own modules in one file, wherever in the file they are."""
    importer = module_name(path, root)
    package = importer.split(".") if path.name == "__init__.py" else importer.split(".")[:-1]
    package = [part for part in package if part]

    def found(line: int, imported: str) -> Import:
        return Import(str(path.relative_to(root.parent)), line, importer, imported)

    def within(dotted: str) -> str | None:
        """A dotted name without the package in front; None for other packages."""
        return (
            dotted.removeprefix("notebook_kit").removeprefix(".") if f"{dotted}.".startswith("notebook_kit.") else None
        )

    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (name := within(alias.name)) is not None:
                    yield found(node.lineno, name)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
                name = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            elif (name := within(node.module or "")) is None:  # type: ignore[assignment]
                continue
            for alias in node.names:
                inner = f"{name}.{alias.name}".lstrip(".")
                if inner in modules:
                    yield found(node.lineno, inner)
                elif name:
                    yield found(node.lineno, name)
                elif alias.name != "__version__":
                    yield found(node.lineno, exports.get(alias.name, ""))
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                start = beginning(node.args[0])
                if start.startswith("notebook_kit."):  # f"notebook_kit.models.{name}" may be any module of models
                    yield found(node.lineno, start.removeprefix("notebook_kit.").rpartition(".")[0] or start)


def beginning(node: ast.expr) -> str:
    """The literal beginning of a string or an f-string."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def all_imports(root: Path) -> list[Import]:
    """Every import of one module of the package by another."""
    paths = sorted(root.rglob("*.py"))
    modules, exports = {module_name(path, root) for path in paths}, exported_names(root)
    found = [line for path in paths for line in imports_of(path, root, modules, exports)]
    return [line for line in dict.fromkeys(found) if line.importer not in ("", line.imported)]


def upward(imports: list[Import]) -> list[str]:
    """What breaks the floors."""
    broken = []
    for line in imports:
        lower, upper = line.importer.partition(".")[0], line.imported.partition(".")[0]
        if lower not in HEIGHT:
            broken.append(f"{line.file}: {lower} is on no floor; add it to FLOORS in {Path(__file__).name}")
        elif not upper and lower in USERS:
            continue
        elif upper not in HEIGHT:
            broken.append(f"{line}: root names are imported from the module that holds them")
        elif lower != upper and HEIGHT[upper] >= HEIGHT[lower]:
            broken.append(f"{line}, which is not below it")
        elif lower in ON_THEIR_OWN and upper not in ON_THEIR_OWN[lower] | {lower}:
            broken.append(f"{line}; it may import only {', '.join(sorted(ON_THEIR_OWN[lower]))}")
    return sorted(set(broken))


def circles(imports: list[Import]) -> list[list[Import]]:
    """The groups of modules that import each other in a circle, each as the imports among them (Tarjan, 1972)."""
    arrows: dict[str, set[str]] = {}
    for line in imports:
        arrows.setdefault(line.importer, set()).add(line.imported)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[set[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(arrows.get(module, ())):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = set(stack[stack.index(module) :])
            del stack[stack.index(module) :]
            if len(group) > 1:
                groups.append(group)

    for module in sorted(arrows):
        if module not in index:
            visit(module)
    return [[line for line in imports if line.importer in group and line.imported in group] for group in groups]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names(root: Path) -> list[str]:
    """Imports of another module's private names (`from x import _y`), and uses of them (`x._y`)."""
    broken = []
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        local: set[str] = set()  # names by which this file knows modules of the package
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("notebook_kit."):
                local |= {alias.asname or alias.name for alias in node.names}
                for alias in node.names:
                    if is_private(alias.name):
                        broken.append(
                            f"{path.relative_to(root.parent)}:{node.lineno}: {node.module} keeps {alias.name} for itself"
                        )
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_private(node.attr) and getattr(node.value, "id", "") in local:
                broken.append(
                    f"{path.relative_to(root.parent)}:{node.lineno}: {node.value.id} keeps {node.attr} for itself"
                )
    return broken


IMPORTS = all_imports(ROOT)


def test_imports_point_down():
    assert not upward(IMPORTS), "\n".join(["", *upward(IMPORTS)])


def test_no_import_runs_in_a_circle():
    found = circles(IMPORTS)
    assert not found, "\n".join("\n".join(["", "A circle:", *map(str, circle)]) for circle in found)


def test_private_names_stay_in_their_module():
    assert not private_names(ROOT), "\n".join(["", *private_names(ROOT)])


@pytest.fixture
def house(tmp_path):
    """A package with a given text for some of its files."""

    def build(**files: str) -> Path:
        root = tmp_path / "notebook_kit"
        for name, text in {"__init__": "", "hub/__init__": "", "pipelines/__init__": "", **files}.items():
            path = root / f"{name.replace('__slash__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (root / "__init__.pyi").write_text(
            "from notebook_kit.pipelines.base import Pipeline as Pipeline\n", encoding="utf-8"
        )
        return root

    return build


@pytest.mark.parametrize(
    "text",
    [
        "from notebook_kit.pipelines.base import Pipeline",
        "from notebook_kit.pipelines import base",
        "from ..pipelines import base",
        "import notebook_kit.pipelines.base",
        "def f():\n    from notebook_kit.pipelines.base import Pipeline",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from notebook_kit.pipelines.base import Pipeline",
        "from notebook_kit import Pipeline",
        "from importlib import import_module\nimport_module('notebook_kit.pipelines.base')",
        "import importlib\ndef f(name):\n    importlib.import_module(f'notebook_kit.pipelines.{name}')",
    ],
)
def test_an_upward_import_is_found(house, text):
    root = house(**{"hub/client": text, "pipelines/base": ""})
    [broken] = upward(all_imports(root))
    assert "hub/client.py" in broken and "pipelines" in broken


def test_a_circle_is_found_though_it_is_inside_a_function(house):
    first = "def f():\n    from notebook_kit.hub.source import Source"
    root = house(**{"hub/client": first, "hub/source": "from notebook_kit.hub import client"})
    [circle] = circles(all_imports(root))
    assert {line.importer for line in circle} == {"hub.client", "hub.source"}


def test_a_private_name_is_found(house):
    root = house(
        **{
            "hub/client": "from notebook_kit.hub import source\nsource._read()\nfrom notebook_kit.hub.source import _read"
        }
    )
    assert len(private_names(root)) == 2


def test_downward_imports_are_allowed(house):
    root = house(
        **{
            "pipelines/base": "from notebook_kit.hub.client import Client\nfrom notebook_kit import __version__",
            "hub/client": "",
        }
    )
    assert not upward(all_imports(root)) and not circles(all_imports(root)) and not private_names(root)


if __name__ == "__main__":
    print(*upward(IMPORTS), sep="\n")
    for number, circle in enumerate(circles(IMPORTS), 1):
        print(f"\nCircle {number}:", *circle, sep="\n  ")
    print("", *private_names(ROOT), sep="\n")
