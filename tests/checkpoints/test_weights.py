"""Tensors on disk: read lazily, written without risk, and every damage named."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from notebook_kit.checkpoints import weights as weights_module
from notebook_kit.checkpoints.weights import open_weights, save_weights
from notebook_kit.errors import CheckpointError, HubError, InputError, RepoNotFoundError, UnsafeFileError

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64),
    *(torch.uint16, torch.uint32, torch.uint64),
]


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    return {f"layer.{i}.weight": torch.randn(8, 16, generator=generator) for i in range(6)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(left, right) -> bool:
    return set(left) == set(right) and all(torch.equal(left[name], right[name]) for name in left)


# Reading


def test_round_trip(tmp_path, tensors):
    assert save_weights(tensors, tmp_path) == [tmp_path / "model.safetensors"]
    assert names(tmp_path) == ["model.safetensors"]
    with open_weights(tmp_path) as weights:
        assert sorted(weights.keys()) == sorted(tensors)
        assert same(weights, tensors)
        assert len(weights) == 6
        assert weights.shape("layer.3.weight") == (8, 16)
        assert weights.dtype("layer.3.weight") is torch.float32
        assert weights.metadata == {"format": "pt"}
        assert weights.paths == [tmp_path / "model.safetensors"]
        assert "layer.3.weight" in weights
        assert "layer.9.weight" not in weights
        for ask in (weights.__getitem__, weights.shape, weights.dtype):
            with pytest.raises(KeyError, match=r"layer\.9\.weight"):
                ask("layer.9.weight")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes_and_odd_shapes(tmp_path, dtype):
    made = {
        "matrix": torch.arange(6).reshape(2, 3).to(dtype),
        "scalar": torch.tensor(1).to(dtype),
        "empty": torch.zeros(0, 4).to(dtype),
    }
    save_weights(made, tmp_path)
    with open_weights(tmp_path) as weights:
        for name, tensor in made.items():
            assert weights.dtype(name) is dtype
            assert weights.shape(name) == tuple(tensor.shape)
            assert weights[name].dtype is dtype
            assert (
                torch.equal(weights[name].contiguous().view(torch.uint8), tensor.contiguous().view(torch.uint8))
                if (tensor.ndim)
                else weights[name].to(torch.complex128) == tensor.to(torch.complex128)
            )


def test_tensors_outlive_the_weights_and_are_our_own(tmp_path, tensors):
    save_weights(tensors, tmp_path)
    with open_weights(tmp_path) as weights:
        tensor = weights["layer.0.weight"]
    tensor.add_(1)
    assert torch.equal(tensor, tensors["layer.0.weight"] + 1)
    assert torch.equal(open_weights(tmp_path)["layer.0.weight"], tensors["layer.0.weight"]), "the file is as it was"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_takes_no_memory_until_it_is_used(tmp_path):
    save_weights({"a": torch.ones(64, 1024, 256), "b": torch.ones(64, 1024, 256)}, tmp_path)  # 128 MiB
    code = """if True:
        import sys, torch
        from notebook_kit.checkpoints.weights import open_weights

        def private():  # anonymous memory, in MiB
            return int(next(l for l in open("/proc/self/status") if l.startswith("RssAnon")).split()[1]) / 1024

        before = private()
        weights = open_weights(sys.argv[1])
        tensors = [weights[name] for name in weights]
        total = sum(float(tensor.sum()) for tensor in tensors)
        assert total == 2 * 64 * 1024 * 256, total
        assert private() - before < 32, private() - before
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_memory_begins_where_that_of_torch_does(tmp_path, monkeypatch):
    tensors = {"a": torch.ones(3), "b": torch.ones(50, 7), "c": torch.ones(64)}
    save_weights(tensors, tmp_path)
    read = open_weights(tmp_path)
    found = {name: read[name] for name in read}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert {tensor.data_ptr() % 64 for tensor in found.values()} == {0}
    monkeypatch.setattr(weights_module, "SMALL", 100)
    read = open_weights(tmp_path)
    assert {read[name].data_ptr() % 64 for name in ("b", "c")} != {0}, "large ones stay in the file"


def test_sharded(tmp_path, tensors):
    written = save_weights(tensors, tmp_path, max_shard_size=1024)  # two tensors of 512 bytes each
    shards = [f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3)]
    assert [path.name for path in written] == [*shards, "model.safetensors.index.json"]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 6 * 512
    assert index["weight_map"]["layer.2.weight"] == shards[1]
    with open_weights(tmp_path) as weights:
        assert same(weights, tensors)
        assert weights.metadata == {"format": "pt"}
    assert set(load_file(tmp_path / shards[0])) == {"layer.0.weight", "layer.1.weight"}


def test_a_tensor_larger_than_a_shard_gets_its_own(tmp_path, tensors):
    save_weights({"big": torch.zeros(4096), **tensors}, tmp_path, max_shard_size="2KB")
    with open_weights(tmp_path) as weights:
        assert weights.shape("big") == (4096,)
        assert len(weights.paths) == 3


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files(tmp_path, tensors, zipped):
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with open_weights(tmp_path) as weights:
        assert same(weights, tensors)
        assert weights.shape("layer.0.weight") == (8, 16)
        assert weights.dtype("layer.0.weight") is torch.float32
    torch.save(
        torch.nn.ParameterDict({"a": torch.nn.Parameter(torch.ones(2))}).state_dict(), tmp_path / "pytorch_model.bin"
    )
    assert not open_weights(tmp_path)["a"].requires_grad


def test_torch_files_may_be_overwritten_in_place(tmp_path):
    """As `torch.save` does it; what still was mapped would take the process with it."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.arange(100_000.0)}, path)
    with open_weights(tmp_path) as weights:
        read = dict(weights)
    torch.save({"a": read["a"][:10] + 1}, path)
    assert torch.equal(read["a"], torch.arange(100_000.0))
    assert torch.equal(open_weights(tmp_path)["a"], torch.arange(10.0) + 1)


def test_sharded_torch_files(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.ones(2)}, tmp_path / "pytorch_model-00002-of-00002.bin")
    index = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    assert same(open_weights(tmp_path), {"a": torch.zeros(2), "b": torch.ones(2)})


def test_safetensors_first_and_never_two_kinds(tmp_path, tensors):
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    (tmp_path / "model.safetensors.index.json").write_text("never opened")
    assert same(open_weights(tmp_path), tensors)


def test_names_that_are_not_there():
    with pytest.raises(RepoNotFoundError):
        open_weights("./nowhere")
    with pytest.raises(HubError):
        open_weights("nobody/nothing")


# Damage


def test_every_flipped_bit_of_a_header_is_found_or_harmless(tmp_path):
    """What is not found changes a name, which strict loading then misses, or the metadata; never a crash."""
    made = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.zeros(3, dtype=torch.int64)}
    save_weights(made, tmp_path)
    path = tmp_path / "model.safetensors"
    sound = path.read_bytes()
    end = 8 + int.from_bytes(sound[:8], "little")
    found = 0
    tried = range(0, end * 8, 3)
    for bit in tried:
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        try:
            with open_weights(tmp_path) as weights:
                kept = {name: weights[name] for name in weights}
        except CheckpointError as error:
            assert "model.safetensors is damaged" in error.what
            found += 1
        else:
            assert set(kept) != set(made) or same(kept, made) or bit // 8 >= 8
    assert found > 0.9 * len(tried)


def test_every_truncation_is_found(tmp_path):
    save_weights({"a": torch.arange(12.0).reshape(3, 4)}, tmp_path)
    path = tmp_path / "model.safetensors"
    sound = path.read_bytes()
    for length in range(len(sound)):
        path.write_bytes(sound[:length])
        with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or was cut short") as caught:
            open_weights(tmp_path)
        assert "Copy model.safetensors" in caught.value.next_step
    path.write_bytes(sound + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        open_weights(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b"[]",
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',  # size and shape disagree
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',  # a hole before it
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [9999999999999, 9999999999999], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "WHAT", "shape": [2], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
        b'"b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',  # two share bytes
    ],
)
def test_headers_that_lie(tmp_path, header):
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(CheckpointError, match="damaged"):
        open_weights(tmp_path)


def test_header_length_beyond_all_bounds(tmp_path):
    for length in (2**63, 2**64 - 1, 10**8, 3):
        (tmp_path / "model.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}")
        with pytest.raises(CheckpointError, match="damaged"):
            open_weights(tmp_path)


def test_things_that_are_not_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    with pytest.raises(CheckpointError, match="Git LFS pointer") as caught:
        open_weights(tmp_path)
    assert "git lfs pull" in caught.value.next_step
    path.write_text("<!DOCTYPE html><html>404</html>")
    with pytest.raises(CheckpointError, match="web page"):
        open_weights(tmp_path)


def test_damaged_torch_files(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    for zipped in (True, False):
        torch.save({"a": torch.arange(100.0)}, path, _use_new_zipfile_serialization=zipped)
        sound = path.read_bytes()
        for length in range(0, len(sound), 37):
            path.unlink()
            path.write_bytes(sound[:length])
            with pytest.raises(CheckpointError):
                open_weights(tmp_path)
        dice = random.Random(0)
        for _ in range(300):
            damaged = bytearray(sound)
            damaged[dice.randrange(len(sound))] ^= 1 << dice.randrange(8)
            path.unlink()
            path.write_bytes(damaged)
            try:
                open_weights(tmp_path).close()
            except CheckpointError as error:
                assert error.next_step


def test_no_weights(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors or .* \(weights\)"):
        open_weights(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="peft"):
        open_weights(tmp_path)


def test_missing_shards(tmp_path, tensors):
    save_weights(tensors, tmp_path, max_shard_size=1024)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"names 3 shards, of which 1 cannot be found: model-00002-of-00003"
    ) as caught:
        open_weights(tmp_path)
    assert "copy the missing file" in caught.value.next_step


def test_index_and_shards_disagree(tmp_path, tensors):
    save_weights(tensors, tmp_path, max_shard_size=1024)
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["layer.0.weight"] = "model-00002-of-00003.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"places 'layer\.0\.weight' in model-00002"):
        open_weights(tmp_path)
    content["weight_map"]["ghost"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="2 such tensors"):
        open_weights(tmp_path)


def test_a_name_in_two_shards(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "one.safetensors")
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "two.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"'a' is both in one\.safetensors and in two\.safetensors"):
        open_weights(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", "null", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 3}}', "\0\0"],
)
def test_indexes_that_are_none(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json(: weight_map is| cannot be read: )"):
        open_weights(tmp_path)


@pytest.mark.parametrize(
    "shard", ["../secret.safetensors", "a/../../secret.safetensors", "..\\secret.safetensors", None]
)
def test_index_that_climbs_out(tmp_path, shard):
    save_file({"a": torch.zeros(2)}, tmp_path / "secret.safetensors")
    shard = shard or str(tmp_path / "secret.safetensors")  # absolute
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(UnsafeFileError, match="lead out of the folder"):
        open_weights(folder)


# Pickles


class RunsCode:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("how", ["system", "exec", "subprocess", "nested", "torch", "setstate"])
def test_a_pickle_that_runs_code_is_refused(tmp_path, how, zipped):
    witness = tmp_path / "it-ran"
    evil = {
        "system": RunsCode(os.system, (f"touch {witness}",)),
        "exec": RunsCode(exec, (f"open({str(witness)!r}, 'w')",)),
        "subprocess": RunsCode(subprocess.check_call, (["touch", str(witness)],)),
        "nested": [torch.zeros(1), {"deep": RunsCode(open, (str(witness), "w"))}],
        "torch": RunsCode(torch.save, (torch.zeros(1), str(witness))),
        "setstate": RunsCode(Path.touch, (witness,)),
    }[how]
    torch.save({"a": torch.zeros(2), "b": evil}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeFileError, match="nothing of it was run") as caught:
        open_weights(tmp_path)
    assert not witness.exists()
    assert "weights_only" not in str(caught.value), "no hint how to switch the check off"
    assert "safetensors" in caught.value.next_step


def test_a_bare_pickle_that_runs_code_is_refused(tmp_path):
    """No torch file at all, only its name."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        witness = tmp_path / "it-ran"
        evil = RunsCode(os.system, (f"touch {witness}",))
        (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(evil, protocol=protocol))
        with pytest.raises(CheckpointError):
            open_weights(tmp_path)
        assert not witness.exists()


def test_torchscript_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "pytorch_model.bin")
    with pytest.raises(UnsafeFileError, match="TorchScript"):
        open_weights(tmp_path)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 3, "a": torch.zeros(2)}, torch.zeros(2)])
def test_harmless_things_that_are_no_weights(tmp_path, content):
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="weights were expected"):
        open_weights(tmp_path)


# Writing


def test_awkward_tensors(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    made = {
        "whole": base,
        "again": base,
        "row": base[1],
        "transposed": base.t(),
        "strided": base[:, ::2],
        "expanded": torch.ones(1).expand(3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    save_weights(made, tmp_path)
    assert same(open_weights(tmp_path), {name: tensor.detach() for name, tensor in made.items()})


def test_saving_copies_nothing_that_need_not_be(tmp_path):
    """Tensors of an open checkpoint are views of one mapped file, and still share no byte."""
    from notebook_kit.checkpoints.weights import _split

    save_weights({"a": torch.ones(10), "b": torch.ones(10)}, tmp_path)
    read = dict(open_weights(tmp_path))
    (shard,) = _split(read, 10**9)
    assert {name: t.data_ptr() for name, t in shard.items()} == {name: t.data_ptr() for name, t in read.items()}


def test_what_cannot_be_saved(tmp_path):
    save_weights({"old": torch.ones(2)}, tmp_path)
    for value in (torch.ones(2, device="meta"), torch.eye(2).to_sparse(), [1.0], None):
        with pytest.raises(InputError, match="'bad' cannot be saved"):
            save_weights({"good": torch.zeros(2), "bad": value}, tmp_path)
    for size in ("5 potatoes", "", 0, -1, "0GB", None, "GB"):
        with pytest.raises(InputError, match="is not a size"):
            save_weights({"a": torch.ones(2)}, tmp_path, max_shard_size=size)
    assert same(open_weights(tmp_path), {"old": torch.ones(2)})
    assert names(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("1.5 MB", 1_500_000), ("2KiB", 2048), ("7", 7), (9, 9)]
)
def test_sizes(text, size):
    from notebook_kit.checkpoints.weights import _bytes

    assert _bytes(text) == size


def test_saving_into_the_folder_that_was_loaded_from(tmp_path, tensors):
    save_weights(tensors, tmp_path)
    weights = open_weights(tmp_path)
    mapped = {name: weights[name] for name in weights}
    save_weights({name: tensor + 1 for name, tensor in mapped.items()}, tmp_path)
    assert same(mapped, tensors), "the pages that are mapped are of the old file"
    assert same(weights, tensors)
    assert same(open_weights(tmp_path), {name: tensor + 1 for name, tensor in tensors.items()})
    save_weights(mapped, tmp_path, max_shard_size=1024)
    save_weights(open_weights(tmp_path), tmp_path, max_shard_size=1024)
    assert same(open_weights(tmp_path), tensors)


def test_files_of_an_earlier_save_go_after_success(tmp_path, tensors):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "my-model.safetensors").write_text("mine")
    torch.save({}, tmp_path / "pytorch_model.bin")
    save_weights(tensors, tmp_path, max_shard_size=1024)
    kept = ["config.json", "my-model.safetensors"]
    sharded = [f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3)]
    assert names(tmp_path) == sorted([*kept, *sharded, "model.safetensors.index.json"])
    save_weights(tensors, tmp_path, max_shard_size=512)
    assert len(names(tmp_path)) == 2 + 6 + 1
    save_weights(tensors, tmp_path)
    assert names(tmp_path) == sorted([*kept, "model.safetensors"])


@pytest.mark.parametrize("size", ["5GB", 1024])
def test_a_full_disk_leaves_the_old_weights(tmp_path, tensors, size, monkeypatch):
    save_weights({"old": torch.ones(2)}, tmp_path)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    for place in ("safetensors.torch.save_file", "os.fsync", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(CheckpointError, match="No space left on device"):
                save_weights(tensors, tmp_path, max_shard_size=size)
        assert names(tmp_path) == ["model.safetensors"]
        assert same(open_weights(tmp_path), {"old": torch.ones(2)})


def test_a_folder_that_cannot_be_made(tmp_path, tensors):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be written"):
        save_weights(tensors, tmp_path / "file" / "model")


def _killed_at(step: int, tensors, folder: Path, size) -> None:
    """Save, and die at the given call that changes the folder."""
    calls = 0

    def dying(real):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == step:
                os._exit(9)
            return real(*args, **kwargs)

        return call

    os.replace, os.unlink, os.fsync = dying(os.replace), dying(os.unlink), dying(os.fsync)
    Path.unlink = dying(Path.unlink)
    save_weights(tensors, folder, max_shard_size=size)
    os._exit(0)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize(
    ("old_size", "new_size"), [("5GB", "5GB"), (1024, "5GB"), ("5GB", 1024), (1024, 512), (1024, 1024)]
)
def test_killed_at_any_instant(tmp_path, tensors, old_size, new_size):
    """Old or new, never a mixture. Only shards that take the names of old ones have an instant with neither; it is loud."""
    tensors = dict(list(tensors.items())[:4])
    old, new = tensors, {name: tensor + 1 for name, tensor in tensors.items()}
    outcomes = []
    for step in range(1, 100):
        folder = tmp_path / str(step)
        save_weights(old, folder, max_shard_size=old_size)
        process = multiprocessing.get_context("fork").Process(target=_killed_at, args=(step, new, folder, new_size))
        process.start()
        process.join()
        try:
            with open_weights(folder) as weights:
                outcomes.append("old" if same(weights, old) else "new" if same(weights, new) else "mixed")
        except CheckpointError as error:
            assert "interrupted" in error.what
            outcomes.append("neither")
        save_weights(new, folder)
        assert same(open_weights(folder), new), "and the next save mends it"
        if process.exitcode == 0:
            break
    assert outcomes[0] == "old"
    assert outcomes[-1] == "new"
    assert sorted(outcomes, key=["old", "neither", "new"].index) == outcomes
    assert ("neither" in outcomes) == (old_size == new_size == 1024)


def test_what_killed_saves_left_is_cleared_away_when_it_is_old(tmp_path, tensors):
    folder = tmp_path / "model"
    save_weights(tensors, folder)
    ancient, young = (
        folder / ".model.safetensors.tmp-1-aaaa0000",
        folder / ".model-00001-of-00002.safetensors.tmp-1-bbbb0000",
    )
    for path in (ancient, young):
        path.write_bytes(b"half")
    os.utime(ancient, (0, 0))
    save_weights(tensors, folder)
    assert names(folder) == [young.name, "model.safetensors"]


# The other libraries


def test_both_ways_with_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=100
    )
    theirs = transformers.BertModel(config).eval()
    for folder, size in ((tmp_path / "one", "5GB"), (tmp_path / "many", "20KB")):
        theirs.save_pretrained(folder / "theirs", max_shard_size=size)
        with open_weights(folder / "theirs") as weights:
            assert same(weights, theirs.state_dict())
            save_weights(weights, folder / "ours", max_shard_size=size)
        config.save_pretrained(folder / "ours")
        again, report = transformers.BertModel.from_pretrained(folder / "ours", output_loading_info=True)
        assert same(again.state_dict(), theirs.state_dict())
        assert not any(report.values())


def test_a_real_checkpoint(minilm):
    with open_weights(minilm) as weights:
        assert weights.shape("embeddings.word_embeddings.weight") == (30522, 384)
        assert weights["embeddings.word_embeddings.weight"].isfinite().all()


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    (weights,) = save_weights({"a": torch.zeros(2)}, tmp_path)
    plain = tmp_path / "plain"
    plain.touch()
    assert weights.stat().st_mode == plain.stat().st_mode


def test_rewritten_weights_keep_their_permissions(tmp_path):
    for size in ("5GB", "1KB"):
        files = save_weights({"a": torch.zeros(250), "b": torch.ones(250)}, tmp_path, size)
        for path in files:
            path.chmod(0o600)
        save_weights({"a": torch.zeros(250), "b": torch.ones(250)}, tmp_path, size)
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_saving_removes_no_files_of_the_user(tmp_path):
    names = [
        "model.bin",
        ".model.safetensors",
        "model.safetensors.tmp-mine",
        ".model.safetensors.tmp-1",
        "model-1.safetensors",
    ]
    for name in names:
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (0, 0))
    old = tmp_path / ".model.safetensors.tmp-123-0123abcd"  # of a save that was killed
    old.write_text("half")
    os.utime(old, (0, 0))
    save_weights({"a": torch.zeros(2)}, tmp_path)
    assert all((tmp_path / name).read_text() == "mine" for name in names) and not old.exists()
