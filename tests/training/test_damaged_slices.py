"""Checkpoints in slices that are damaged or hostile: nothing is read as if it were whole, and the error says what to do."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from torch import nn

from notebook_kit.errors import CheckpointError, InputError, UnsafeFileError
from notebook_kit.training.full_sharding import WEIGHT_SLICES
from notebook_kit.training.sharded_files import NAMES, describe_model, gather_checkpoint, read_model, write_slices


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


@pytest.fixture
def checkpoint(tmp_path, model):
    folder = tmp_path / "checkpoint-4"
    folder.mkdir()
    write_slices(folder / WEIGHT_SLICES, "model", model.state_dict())
    describe_model(model, folder)
    return folder


def edit_description(checkpoint, edit):
    path = checkpoint / WEIGHT_SLICES / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    edit(metadata)
    path.write_bytes(pickle.dumps(metadata))


def without_slices(metadata):
    metadata.state_dict_metadata["model.weight"].chunks = []


def larger(metadata):
    metadata.state_dict_metadata["model.weight"].size = torch.Size([10**13])


def other_rows(metadata):
    metadata.state_dict_metadata["model.weight"].chunks[0].offsets = torch.Size([2, 0])


@pytest.mark.parametrize("edit", [without_slices, larger, other_rows])
def test_slices_that_are_not_all_of_a_weight(checkpoint, model, tmp_path, edit):
    edit_description(checkpoint, edit)
    with pytest.raises(CheckpointError, match=r"slices of model\.weight are not all of it"):
        gather_checkpoint(checkpoint, tmp_path / "whole")
    with pytest.raises(CheckpointError, match=r"slices of model\.weight are not all of it"):
        read_model(model, checkpoint / WEIGHT_SLICES)


def test_slices_of_another_folder(checkpoint, tmp_path):
    def elsewhere(metadata):
        for place in metadata.storage_data.values():
            place.relative_path = f"../{place.relative_path}"

    for path in (checkpoint / WEIGHT_SLICES).glob("*.distcp"):
        path.rename(checkpoint / path.name)
    edit_description(checkpoint, elsewhere)
    with pytest.raises(UnsafeFileError, match="outside its folder"):
        gather_checkpoint(checkpoint, tmp_path / "whole")


@pytest.mark.parametrize("names", [{}, {"weight": 5, "bias": "bias"}, {"weight": "one", "bias": "one"}])
def test_names_that_lose_weights(checkpoint, tmp_path, names):
    (checkpoint / NAMES).write_text(json.dumps(names))
    with pytest.raises(CheckpointError, match="each weight by a different string"):
        gather_checkpoint(checkpoint, tmp_path / "whole")


def test_a_damaged_slice_is_no_reason_to_run_its_code(checkpoint, tmp_path):
    for path in (checkpoint / WEIGHT_SLICES).glob("*.distcp"):
        path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(CheckpointError, match="a file is damaged") as caught:
        gather_checkpoint(checkpoint, tmp_path / "whole")
    assert "weights_only" not in str(caught.value)


def test_a_file_in_the_place_of_the_folder(checkpoint, tmp_path):
    (tmp_path / "whole").write_text("")
    with pytest.raises(InputError, match="is a file"):
        gather_checkpoint(checkpoint, tmp_path / "whole")
