"""The wheel and the sdist: built as for PyPI, with everything that the package needs at run time."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
NOT_AT_RUN_TIME = {"__pycache__"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run = subprocess.run([sys.executable, "-m", "build", "-o", folder, PROJECT], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return folder


@pytest.mark.slow
def test_wheel_holds_the_whole_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {
        path.relative_to(PROJECT).as_posix()
        for path in (PROJECT / "notebook_kit").rglob("*")
        if path.is_file() and not NOT_AT_RUN_TIME & set(path.parts)
    }
    assert {name for name in names if not name.partition("/")[0].endswith(".dist-info")} == package
    assert wheel.stat().st_size < 48 * 2**20


@pytest.mark.slow
def test_sdist_holds_what_the_wheel_is_built_from(built):
    """`build` makes the wheel from the sdist, so it is whole; it also brings the tests and the tutorials."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        tops = {name.split("/")[1] for name in archive.getnames() if name.count("/")}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "binder", "tests", "tutorials"} <= tops


def test_what_is_always_imported_is_required():
    required = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {re.split(r"[<>=~]", line)[0].lower() for line in required} | {"notebook_kit"} | sys.stdlib_module_names
    names |= {"pil", "yaml"}  # of pillow and pyyaml
    needed = {}
    for path in (PROJECT / "notebook_kit").rglob("*.py"):
        if {"recipes", "tensorflow"} & set(path.parts):  # they need an extra
            continue
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            modules = (
                [alias.name for alias in getattr(statement, "names", ())] if isinstance(statement, ast.Import) else []
            )
            modules += [statement.module] if isinstance(statement, ast.ImportFrom) and not statement.level else []
            needed |= {module.partition(".")[0].lower(): path.name for module in modules}
    assert {"torch", "safetensors"} <= needed.keys()
    assert not {module: path for module, path in needed.items() if module not in names}


def test_changelog_begins_with_this_version():
    import notebook_kit

    text = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.split("\n## ")[1].split()[0] == notebook_kit.__version__.partition(".dev")[0]
