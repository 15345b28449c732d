"""Two processes train, evaluate and predict as one does, to rounding."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from accelerate.utils import merge_fsdp_weights
from safetensors.torch import load_file
from tiny_training import assert_same_weights, weights
from torch.utils.data import BatchSampler, SequentialSampler
from two_processes import SHARDED, TRAINING, VARIANTS, found, make

from notebook_kit.errors import CheckpointError, InputError, NotebookKitWarning, UnsafeFileError
from notebook_kit.models.bert import BertForSequenceClassification
from notebook_kit.training import gather_checkpoint, get_last_checkpoint
from notebook_kit.training.run_folder import Manifest
from notebook_kit.training.sharding import BatchShard, StreamShard

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder of the two processes, what they found, and what they printed."""
    folder = tmp_path_factory.mktemp("together")
    done = start(folder)
    assert (folder / "found.pt").exists(), done.stderr[-5000:]
    return folder, torch.load(folder / "found.pt"), done.stdout


def start(folder, *count):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    places = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    return subprocess.run(
        [sys.executable, str(HERE / "two_processes.py"), str(folder), port, *count],
        env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def assert_alike(one, other):
    if isinstance(one, dict):
        for name in one:
            assert_alike(one[name], other[name])
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)
    else:
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", TRAINING)
def test_two_processes_train_evaluate_and_predict_as_one(tmp_path, together, name):
    alone = make(tmp_path, name)
    alone.train()
    expected, got = found(alone), together[1][name]
    assert_alike(expected, got)
    # Every example once per epoch, and the last, uneven batch split.
    rows = got["rows"]
    examples = len(alone.train_dataset) * alone.args.num_train_epochs if alone.args.max_steps < 0 else 40 + 16
    twice = 1 if name == "one_row_left" else 0  # a single example left over goes to both
    assert sum(map(sum, rows)) == examples + twice


def test_an_interrupt_of_one_process_stops_both_after_the_same_step(together):
    folder, results, _ = together
    first, second = results["interrupted"]
    assert first == second and first[1] == 4 and "after step 4 of 12" in first[0]
    checkpoint = folder / "interrupted" / "checkpoint-4"
    assert {path.name for path in checkpoint.glob("rng*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    assert Manifest.of(checkpoint).processes == 2


def test_a_run_resumes_with_two_processes_or_with_one(tmp_path, together):
    folder, results, _ = together
    assert_alike(results["shuffled"]["weights"], results["resumed"]["weights"])
    alone = make(tmp_path)
    with pytest.warns(
        NotebookKitWarning, match="was written by 2 processes, and 1 resume it after the same 32 examples"
    ):
        alone.train(resume_from_checkpoint=str(folder / "interrupted" / "checkpoint-4"))
    assert_alike(results["shuffled"]["weights"], found(alone)["weights"])


def test_a_run_resumes_bit_by_bit_in_the_middle_of_an_epoch(together):
    """With dropout, whose random numbers each process draws, and accumulated gradients."""
    assert_same_weights(together[1]["whole"], together[1]["again"])


def test_branches_and_the_rows_behind_a_step(together):
    folder, results, _ = together
    found = results["branches"]
    assert_same_weights(found["unchanged"], results["whole"])
    assert any(not torch.equal(found["other"][name], results["whole"][name]) for name in results["whole"])
    first, second = found["folders"]
    assert first == second and len(list((folder / "whole" / "branches").iterdir())) == 2
    assert found["rows"] == found["seen"] and len(found["rows"]) > 4, "the rows of both processes"
    refused = found["refused"]
    assert refused[0] is None and "Only the first process" in refused[1] and "is_world_process_zero" in refused[1]


def test_spread_models_have_no_branches_and_no_rows(together):
    branch, rows = together[1]["slices"]["refused"]
    assert "spread over several processes" in branch and "from_pretrained" in branch
    assert "over which the model is spread" in rows and "single process" in rows


@pytest.mark.parametrize("name", VARIANTS)
def test_sharded_weights_are_trained_as_whole_ones(tmp_path, together, name):
    alone = make(tmp_path, name, **{**SHARDED, **VARIANTS[name], "fsdp": None})
    alone.train()
    expected, got = found(alone), together[1][f"sharded_{name}"]
    if name != "bf16":
        assert_alike(expected, got)
        return
    np.testing.assert_allclose(got["losses"], expected["losses"], atol=0.02)
    torch.testing.assert_close(got["predictions"], expected["predictions"], atol=0.1, rtol=0.1)


def test_sharded_runs_resume_bit_by_bit_and_load_the_best(tmp_path, together):
    folder, results, _ = together
    assert_same_weights(results["sharded_whole"], results["sharded_resumed"])
    step, best = results["sharded_best"]
    kept = folder / "sharded_best" / f"checkpoint-{step}"
    model = BertForSequenceClassification.from_pretrained(kept)
    assert model.config.architectures == ["BertForSequenceClassification"]
    assert_same_weights(best, weights(model))


def test_checkpoints_in_slices_are_those_of_whole_weights(together):
    """Each of two runs in slices goes on where one with whole checkpoints stood, and the other way round."""
    folder, results, _ = together
    slices, expected = results["slices"], results["sharded_whole"]
    assert_same_weights(slices["from_whole"], expected)
    assert_same_weights(slices["from_slices"], expected)
    kept = sorted(path.name for path in (folder / "slices").glob("checkpoint-*"))
    step, best = slices["best"]
    assert f"checkpoint-{step}" in kept and len(kept) == 2, "rotation knows its run"
    checkpoint = folder / "slices" / f"checkpoint-{step}"
    files = {path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if path.is_file()}
    assert {"pytorch_model_fsdp_0/__0_0.distcp", "pytorch_model_fsdp_0/__1_0.distcp", "config.json"} <= files
    assert not {"model.safetensors", "optimizer.pt"} & files
    assert files - {"checkpoint.json"} == set(Manifest.of(checkpoint).files)
    gathered = gather_checkpoint(checkpoint, folder / "gathered_best")
    assert_same_weights(best, weights(BertForSequenceClassification.from_pretrained(gathered)))


def test_slices_are_gathered_for_from_pretrained(tmp_path, together):
    folder, results, _ = together
    checkpoint = folder / "slices_plain" / "checkpoint-6"
    gathered = gather_checkpoint(checkpoint, tmp_path / "gathered")
    ours = BertForSequenceClassification.from_pretrained(gathered)
    assert_same_weights(results["slices"]["plain"], weights(ours))
    assert_same_weights(weights(BertForSequenceClassification.from_pretrained(folder / "saved")), weights(ours))
    theirs = transformers.BertForSequenceClassification.from_pretrained(gathered)
    ids = torch.arange(5, 15)[None]
    torch.testing.assert_close(theirs.eval()(ids).logits, ours.eval()(ids).logits, rtol=1e-5, atol=1e-5)
    merge_fsdp_weights(str(checkpoint / "pytorch_model_fsdp_0"), str(tmp_path / "merged"))
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert_same_weights({name: merged[name] for name in weights(ours)}, weights(ours))
    with pytest.raises(CheckpointError, match=r"in slices[^$]*gather_checkpoint"):
        BertForSequenceClassification.from_pretrained(checkpoint)


def test_slices_resume_alone(tmp_path, together):
    folder, results, _ = together
    alone = make(tmp_path, **{**SHARDED, "fsdp": None})
    with pytest.warns(NotebookKitWarning, match="was written by 2 processes"):
        alone.train(resume_from_checkpoint=str(folder / "slices_plain" / "checkpoint-2"))
    assert_alike(results["slices"]["plain"], weights(alone.model))


def test_slices_that_could_not_be_written_are_a_warning_and_leave_nothing(together):
    folder, results, _ = together
    assert len(results["slices"]["full_disk"]) == 1 and "No space left" in results["slices"]["full_disk"][0]
    left = {path.name for path in (folder / "full").iterdir()}
    assert left - {".run.lock"} == {"checkpoint-4", "checkpoint-6"}


@pytest.mark.parametrize("harm", ["flipped", "lost", "code"])
def test_damaged_slices_are_not_read(tmp_path, together, harm):
    checkpoint = tmp_path / "out" / "checkpoint-2"
    shutil.copytree(together[0] / "slices_plain" / "checkpoint-2", checkpoint)
    slices, error = checkpoint / "pytorch_model_fsdp_0", CheckpointError
    if harm == "flipped":
        content = bytearray((slices / "__1_0.distcp").read_bytes())
        content[len(content) // 2] ^= 1
        (slices / "__1_0.distcp").write_bytes(content)
    elif harm == "lost":
        (slices / "__1_0.distcp").unlink()
        (checkpoint / "checkpoint.json").unlink()
    else:
        (slices / ".metadata").write_bytes(pickle.dumps(Harmful(tmp_path / "ran")))
        (checkpoint / "checkpoint.json").unlink()
        error = UnsafeFileError
    for attempt in (
        lambda: gather_checkpoint(checkpoint, tmp_path / "whole"),
        lambda: make(tmp_path / "new", **{**SHARDED, "fsdp": None}).train(resume_from_checkpoint=str(checkpoint)),
    ):
        with warnings.catch_warnings(), pytest.raises(error) as raised:
            warnings.simplefilter("ignore", NotebookKitWarning)
            attempt()
        assert raised.value.next_step
    assert not (tmp_path / "ran").exists()


class Harmful:
    """A pickle that runs a command when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_gathering_says_what_it_needs(tmp_path, together):
    checkpoint = together[0] / "slices_plain" / "checkpoint-2"
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        gather_checkpoint(tmp_path / "none", tmp_path)
    with pytest.raises(InputError, match="no folder pytorch_model_fsdp_0"):
        gather_checkpoint(together[0] / "sharded" / "checkpoint-2", tmp_path)
    with pytest.raises(InputError, match="is the checkpoint itself"):
        gather_checkpoint(checkpoint, checkpoint)


@pytest.mark.slow
def test_slices_of_two_processes_resume_with_three(together):
    """After the same examples, with other batches; the state of the optimizer is that of the checkpoint."""
    folder = together[0]
    done = start(folder, "3")
    assert (folder / "found_by_3.pt").exists(), done.stderr[-5000:]
    got = torch.load(folder / "found_by_3.pt")
    # The two took 16 of 45 examples in 2 steps; 12 per step are left for the three.
    assert got["steps"] == 5 and all(moment.abs().sum() > 0 for moment in got["moments"][:4])
    last = Path(get_last_checkpoint(folder / "by_3"))
    assert Manifest.of(last).processes == 3 and len(list(last.glob("*/*.distcp"))) == 6


def test_the_checkpoint_of_a_sharded_run_resumes_alone(tmp_path, together):
    """Its optimizer state is whole."""
    checkpoint = together[0] / "sharded" / "checkpoint-2"
    alone = make(tmp_path, dropout=0.1, **{**SHARDED, "fsdp": None})
    with pytest.warns(NotebookKitWarning, match="was written by 2 processes"):
        alone.train(resume_from_checkpoint=str(checkpoint))
    state = alone.optimizer.state_dict()["state"]
    shapes = sorted(tuple(parameter.shape) for parameter in alone.model.parameters())
    assert sorted(tuple(own["exp_avg"].shape) for own in state.values()) == shapes


def test_only_the_first_process_prints(together):
    lines = [line for line in together[2].splitlines() if "train_runtime" in line]
    assert len(lines) == len(TRAINING) + len(VARIANTS) + 14


def test_a_killed_process_ends_the_other_with_an_explanation(together):
    text = (together[0] / "killed.txt").read_text()
    assert "Another process of this run has ended" in text


@pytest.mark.parametrize(("rows", "size", "processes"), [(45, 4, 2), (17, 8, 2), (7, 2, 3), (16, 4, 2), (1, 4, 2)])
def test_shards_have_every_row_once(rows, size, processes):
    batches = BatchSampler(SequentialSampler(range(rows)), size, drop_last=False)
    shards = [BatchShard(batches, rank, processes, training=True) for rank in range(processes)]
    dealt = [list(shard) for shard in shards]
    assert len({len(part) for part in dealt}) == 1 and all(
        len(part) == len(s) for part, s in zip(dealt, shards, strict=True)
    )
    seen = sorted(row for part in dealt for batch in part for row in batch)
    assert set(seen) == set(range(rows)) and len(seen) < rows + processes
    evaluated = [BatchShard(batches, rank, processes, training=False) for rank in range(processes)]
    own = [list(shard)[: shard.own] for shard in evaluated]
    assert sorted(row for part in own for batch in part for row in batch) == list(range(rows))
    assert len({len(list(shard)) for shard in evaluated}) == 1


def test_a_stream_is_dealt_out_in_rounds():
    shards = [StreamShard(list("abcde"), rank, 2) for rank in (0, 1)]
    dealt = [[(batch, shard.filler) for batch in shard] for shard in shards]
    assert dealt[0] == [("a", False), ("c", False), ("e", False)]
    assert dealt[1] == [("b", False), ("d", False), ("e", True)]
