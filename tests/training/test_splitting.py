"""Batches that do not fit into memory are computed in parts; nothing else about the run changes."""

import pytest
import torch
from tiny_training import assert_same_weights, bert, dataset, trainer, weights

from notebook_kit.errors import ConfigurationError
from notebook_kit.training import Trainer


class Small(Trainer):
    """Has memory for a few examples only: a stand-in for a device, with the error of one."""

    room = 3

    def compute_loss(self, model, inputs, **kwargs):
        if model.training and len(inputs["input_ids"]) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().compute_loss(model, inputs, **kwargs)


def losses(run):
    return [entry["loss"] for entry in run.state.log_history if "loss" in entry]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_in_parts_is_the_run_of_whole_batches(tmp_path, caplog, accumulation):
    options = {"max_steps": 8, "logging_steps": 1, "gradient_accumulation_steps": accumulation}
    whole = trainer(tmp_path, bert(0.0), **options)
    whole.train()
    parts = trainer(tmp_path, bert(0.0), kind=Small, auto_find_batch_size=True, **options)
    parts.train()
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-5)
    for name, tensor in weights(whole.model).items():
        torch.testing.assert_close(parts.model.state_dict()[name], tensor, atol=1e-5, rtol=1e-4)
    assert "in parts of at most 4" in caplog.text and "in parts of at most 2" in caplog.text
    assert parts.state.train_batch_size == 2 and parts.state.global_step == 8


def test_a_resumed_run_uses_the_size_that_was_found(tmp_path, caplog):
    options = {"kind": Small, "auto_find_batch_size": True, "save_strategy": "steps", "save_steps": 3, "max_steps": 6}
    whole = trainer(tmp_path / "whole", bert(0.3), **options)
    whole.train()
    caplog.clear()
    resumed = trainer(tmp_path / "resumed", bert(0.3), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert "in parts" not in caplog.text
    assert_same_weights(weights(whole.model), weights(resumed.model))
    assert losses(resumed) == losses(whole)


def test_what_cannot_be_split_is_an_error(tmp_path):
    for options in ({}, {"auto_find_batch_size": True}):
        run = trainer(tmp_path, bert(), kind=Small, max_steps=1, **options)
        run.room = 0
        with pytest.raises(torch.OutOfMemoryError) as caught:
            run.train()
        assert "Halve per_device_train_batch_size" in caught.value.__notes__[0]
    run = trainer(tmp_path, bert(), data=dataset(8), auto_find_batch_size=True, max_steps=1)
    run.distributed.world_size = 2
    with pytest.raises(ConfigurationError, match="works in one process"):
        run.train()
