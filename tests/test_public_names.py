"""`notebook_kit` itself: light to import, complete for editors, helpful about a misspelt name."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import notebook_kit

HEAVY = [
    "torch",
    "numpy",
    "tokenizers",
    "datasets",
    "accelerate",
    "matplotlib",
    "ipywidgets",
    "anywidget",
    "huggingface_hub",
    "pandas",
    "IPython",
]


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after `code`."""
    program = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


def test_import_loads_nothing_heavy():
    assert not loaded_after("import notebook_kit; dir(notebook_kit); notebook_kit.__version__") & set(HEAVY)


def test_touching_every_name_loads_no_optional_package():
    code = "import notebook_kit\nfor name in notebook_kit.__all__: getattr(notebook_kit, name)"
    assert not loaded_after(code) & {
        "datasets",
        "accelerate",
        "matplotlib",
        "ipywidgets",
        "anywidget",
        "pandas",
        "IPython",
    }


def test_a_tokenizer_needs_no_torch():
    assert "torch" not in loaded_after("from notebook_kit import AutoTokenizer")


@pytest.mark.parametrize("name", notebook_kit.__all__)
def test_every_name_is_there(name):
    assert getattr(notebook_kit, name) is not None
    assert name in dir(notebook_kit)


STUB = Path(notebook_kit.__file__).with_suffix(".pyi")


def _in_order(name: str) -> tuple[tuple[bool, bool], str, str]:
    return (not name.isupper(), name[0].islower()), name.lower(), name  # as the formatter sorts imports


def stub() -> str:
    """What `__init__.pyi` has to say."""
    homes: dict[str, list[str]] = {}
    for name, home in notebook_kit._HOMES.items():
        homes.setdefault(home, []).append(name)
    lines = ["# The public names, for editors and type checkers. Written by: python tests/test_public_names.py", ""]
    for home in sorted(homes):
        lines += [f"from notebook_kit.{home} import {name} as {name}" for name in sorted(homes[home], key=_in_order)]
    return "\n".join([*lines, "", "__version__: str", "__all__: list[str]", ""])


def test_editors_see_the_same_names():
    assert STUB.read_text(encoding="utf-8") == stub(), "run: python tests/test_public_names.py"


def test_homes_define_the_names_they_are_said_to():
    for name, home in notebook_kit._HOMES.items():
        assert name in importlib.import_module(f"notebook_kit.{home}").__all__


def test_misspelt_name_lists_near_matches():
    with pytest.raises(AttributeError, match="AutoTokenizer"):
        notebook_kit.AutoTokeniser  # noqa: B018


def test_misspelt_import_is_an_import_error():
    with pytest.raises(ImportError):
        exec("from notebook_kit import AutoTokeniser")


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
