"""The examples of the docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import notebook_kit

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(notebook_kit.__path__, "notebook_kit.")
    if not module.name.endswith("__main__")
    and ".recipes." not in module.name
    and ".tensorflow." not in module.name  # those run where TensorFlow is installed: tests/tensorflow
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


@pytest.mark.parametrize("name", sorted(set(notebook_kit.__all__) - {"__version__"}))
def test_public_name_has_a_docstring(name):
    value = getattr(notebook_kit, name)
    documentation = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
    assert documentation and len(documentation.strip()) > 20


@pytest.mark.parametrize("name", sorted(set(notebook_kit.__all__) - {"__version__"}))
def test_public_name_has_an_example(name):
    value = getattr(notebook_kit, name)
    if isinstance(value, dict):  # a table, which is documented where it is defined
        return
    home = value.__name__ if inspect.ismodule(value) else value.__module__
    if not home.startswith("notebook_kit"):
        assert name == "AddedToken", "only what belongs to tokenizers is passed on"
        return
    tests = doctest.DocTestFinder().find(value, name, module=inspect.getmodule(value))
    assert any(test.examples for test in tests), f"{name} has no example in its docstring"
