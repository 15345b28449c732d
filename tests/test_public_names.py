"""`notebook_kit` itself: light to import, complete for editors, helpful about a misspelt name."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import notebook_kit
from notebook_kit.lazy import exports

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


QUICK_TOUR = (
    "from notebook_kit import pipeline, AutoTokenizer, AutoModel, AutoModelForSequenceClassification, AutoConfig, Trainer, "
    "TrainingArguments, DataCollatorWithPadding, TrainerCallback"
)


def test_the_names_of_the_quick_tour_load_what_they_need():
    loaded = loaded_after(QUICK_TOUR)
    assert {"torch", "tokenizers"} <= loaded
    assert not loaded & {*HEAVY, "filelock", "regex", "fractions", "PIL", "scipy", "httpx", "jinja2"} - {
        "torch",
        "numpy",
        "tokenizers",
    }


def test_pipelines_configurations_and_arguments_need_no_torch():
    loaded = loaded_after("from notebook_kit import pipeline, AutoTokenizer, AutoModel, AutoConfig, TrainingArguments")
    assert not loaded & {"torch", "filelock", "regex", "html"}


@pytest.mark.parametrize("name", notebook_kit.__all__)
def test_every_name_is_there(name):
    assert getattr(notebook_kit, name) is not None
    assert name in dir(notebook_kit)


PACKAGES = [
    "notebook_kit",
    *(f"notebook_kit.{name}" for name in ("data", "generation", "panels", "pipelines", "training", "utils")),
]


OPTIONAL = ".tensorflow"  # checked where TensorFlow is installed: tests/tensorflow


@pytest.mark.parametrize("package", PACKAGES)
def test_names_are_public_where_they_are_defined(package):
    module = importlib.import_module(package)
    names = {name: home for name, home in exports(package).items() if not home.startswith(OPTIONAL)}
    assert sorted({*module.__all__} - {"__version__"}) == sorted(names)
    for name, home in names.items():
        if home == ".":
            assert getattr(module, name) is importlib.import_module(f"{package}.{name}")
            continue
        assert name in importlib.import_module(home, package).__all__, f"{home} has no public {name}"
        assert getattr(module, name) is getattr(importlib.import_module(home, package), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_stub_lists_nothing_twice(package):
    text = Path(f"{importlib.import_module(package).__file__}i").read_text(encoding="utf-8")
    names = [alias.asname for line in ast.parse(text).body if isinstance(line, ast.ImportFrom) for alias in line.names]
    assert sorted(names) == sorted(exports(package))


def test_misspelt_name_lists_near_matches():
    with pytest.raises(AttributeError, match="AutoTokenizer"):
        notebook_kit.AutoTokeniser  # noqa: B018


@pytest.mark.parametrize(
    ("package", "name", "close"),
    [
        ("training", "Trianer", "Trainer"),
        ("panels", "AtentionView", "AttentionView"),
        ("generation", "KVCash", "KVCache"),
    ],
)
def test_misspelt_names_of_packages_list_near_matches(package, name, close):
    with pytest.raises(AttributeError, match=rf"notebook_kit\.{package}' has no attribute '{name}'.*'{close}'"):
        getattr(importlib.import_module(f"notebook_kit.{package}"), name)


def test_misspelt_import_is_an_import_error():
    with pytest.raises(ImportError):
        exec("from notebook_kit import AutoTokeniser")


ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for folder in ("benchmarks", "docs", "tutorials") for path in (ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_import_names_that_exist(path):
    """The tests do not run these scripts, so a name that has moved would not be missed otherwise."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "notebook_kit":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")
