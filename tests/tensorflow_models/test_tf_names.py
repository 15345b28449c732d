"""All TF names can be imported, and the examples of their docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import keras
import pytest

import notebook_kit
from notebook_kit import tensorflow
from notebook_kit.lazy import exports

NAMES = [name for name, home in exports("notebook_kit").items() if home.startswith(".tensorflow")]
MODULES = [module.name for module in pkgutil.walk_packages(tensorflow.__path__, "notebook_kit.tensorflow.")]


def test_every_name_is_there():
    assert len(NAMES) > 100
    for name in NAMES:
        kind = getattr(notebook_kit, name)
        assert kind.__name__ == name and kind.__doc__ and name in dir(notebook_kit) and name not in notebook_kit.__all__
        assert not name.startswith("TF") or name.startswith("TFAuto") or issubclass(kind, keras.Model)


def test_a_class_is_one_however_it_is_found():
    config = notebook_kit.AutoConfig.for_model("bert")
    assert notebook_kit.TFAutoModelForMaskedLM.model_class(config) is notebook_kit.TFBertForMaskedLM
    with pytest.raises(ImportError, match="Did you mean 'TFBertModel'"):
        exec("from notebook_kit import TFBertModle")


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


def test_keras_on_another_backend_is_an_error_that_says_what_to_do():
    code = "import os; os.environ['KERAS_BACKEND'] = 'torch'\nfrom notebook_kit import TFAutoModel"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "in this process Keras runs on torch" in run.stderr and 'os.environ["KERAS_BACKEND"]' in run.stderr
