"""Checkpoints that TensorFlow models of transformers 4.57 wrote are read without TensorFlow, and give the same logits."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support import skip_or_fail

import notebook_kit
from notebook_kit.checkpoints.weights import open_weights
from notebook_kit.errors import CheckpointError

FOLDERS = sorted(path.parent for path in (Path(__file__).parent / "tensorflow_files").glob("*/expected.json"))


@pytest.fixture(autouse=True)
def h5py():
    if importlib.util.find_spec("h5py") is None:
        skip_or_fail("h5py is not installed; it comes with the extra 'test'")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@torch.no_grad()
def test_logits_are_those_that_tensorflow_computed(folder):
    config = json.loads((folder / "config.json").read_text())
    kind = getattr(notebook_kit, config["architectures"][0].removeprefix("TF"))
    model, info = kind.from_pretrained(folder, from_tf=True, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    expected = json.loads((folder / "expected.json").read_text())
    inputs = {name: torch.tensor(value) for name, value in expected["inputs"].items()}
    np.testing.assert_allclose(model(**inputs).logits.numpy(), expected["logits"], atol=3e-6)


def test_every_kind_of_file_is_there():
    names = {path.name for folder in FOLDERS for path in folder.iterdir()}
    assert {"tf_model.h5", "tf_model.h5.index.json", "model.safetensors"} <= names


def test_from_tf_prefers_the_weights_of_tensorflow(tmp_path):
    [folder] = [folder for folder in FOLDERS if folder.name == "bert"]
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = notebook_kit.AutoConfig.from_pretrained(folder)
    other = notebook_kit.BertForSequenceClassification(config)
    other.save_pretrained(tmp_path)
    auto = notebook_kit.AutoModelForSequenceClassification
    torch.testing.assert_close(auto.from_pretrained(tmp_path).classifier.weight, other.classifier.weight)
    with open_weights(folder) as stored:
        expected = stored["classifier.weight"]
    torch.testing.assert_close(auto.from_pretrained(tmp_path, from_tf=True).classifier.weight.data, expected)


def test_a_damaged_file_is_an_error_that_says_so(tmp_path):
    (tmp_path / "tf_model.h5").write_bytes(b"not HDF5")
    with pytest.raises(CheckpointError, match=r"tf_model\.h5 is damaged or is not an HDF5 file"):
        open_weights(tmp_path)
