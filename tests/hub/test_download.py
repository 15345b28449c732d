"""From a name to files through the real client, which talks to a stand-in Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save

from notebook_kit.checkpoints.weights import open_weights
from notebook_kit.errors import InputError
from notebook_kit.hub import cached_models, locate

WEIGHTS = save({"weight": torch.arange(6.0)})
FILES = {"config.json": '{"model_type": "bert"}', "model.safetensors": WEIGHTS, "README.md": "A model"}


def asked(hub, since=0):
    return [(request.method, request.path) for request in hub.requests[since:]]


def test_first_time_hub_then_cache(hub, cache):
    commit = hub.add("owner/model", FILES)
    source = locate("owner/model")
    assert (source.kind, source.revision) == ("hub", commit)
    path = source.require("config.json")
    assert path.is_relative_to(cache)
    assert json.loads(path.read_text()) == {"model_type": "bert"}
    assert source.find("vocab.txt") is None
    assert source.filenames() == sorted(FILES)
    assert cached_models() == ["owner/model"]

    before = len(hub.requests)
    again = locate("owner/model")
    assert (again.kind, again.revision) == ("cache", commit)
    assert again.find("config.json") == path
    assert again.find("vocab.txt") is None, "that it does not exist was noted"
    assert len(hub.requests) == before, "no request for what is known"


def test_only_the_files_that_are_asked_for(hub):
    hub.add("owner/model", {**FILES, "pytorch_model.bin": b"x", "tf_model.h5": b"x", "modeling.py": "raise SystemExit"})
    with open_weights(locate("owner/model")) as weights:
        assert torch.equal(weights["weight"], torch.arange(6.0))
    fetched = {path.rpartition("/")[2] for method, path in asked(hub) if method == "HEAD"}
    assert fetched == {"model.safetensors"}
    assert len(hub.requests) == 3, "the listing, the file's head, and its content"


def test_bin_only_if_there_is_nothing_safer(hub, tmp_path):
    torch.save({"weight": torch.arange(6.0)}, tmp_path / "pytorch_model.bin")
    hub.add("owner/old", {"config.json": "{}", "pytorch_model.bin": (tmp_path / "pytorch_model.bin").read_bytes()})
    with open_weights(locate("owner/old")) as weights:
        assert torch.equal(weights["weight"], torch.arange(6.0))
    assert not any("safetensors" in path for _, path in asked(hub)), "its absence is known from the listing"


def test_cached_weights_win_over_better_ones_on_the_hub(hub, tmp_path):
    torch.save({"weight": torch.arange(6.0)}, tmp_path / "pytorch_model.bin")
    hub.add("owner/both", {"pytorch_model.bin": (tmp_path / "pytorch_model.bin").read_bytes(), **FILES})
    locate("owner/both").require("pytorch_model.bin")
    before = len(hub.requests)
    with open_weights(locate("owner/both")) as weights:
        assert weights.paths[0].name == "pytorch_model.bin"
    assert len(hub.requests) == before


def test_sharded(hub):
    index = {
        "metadata": {},
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
    }
    hub.add(
        "owner/sharded",
        {
            "model.safetensors.index.json": json.dumps(index),
            "model-00001-of-00002.safetensors": save({"a": torch.zeros(2)}),
            "model-00002-of-00002.safetensors": save({"b": torch.ones(2)}),
        },
    )
    with open_weights(locate("owner/sharded")) as weights:
        assert weights.keys() == ["a", "b"]
        assert torch.equal(weights["b"], torch.ones(2))


def test_missing_files_come_from_the_cached_commit(hub):
    old = hub.add("owner/model", {"config.json": "old", "vocab.txt": "old"})
    assert locate("owner/model").require("config.json").read_text() == "old"
    new = hub.add("owner/model", {"config.json": "new", "vocab.txt": "new"})
    source = locate("owner/model")
    assert source.revision == old
    assert source.require("vocab.txt").read_text() == "old", "one checkpoint, one commit"

    source = locate("owner/model", force_download=True)
    assert (source.kind, source.revision) == ("hub", new)
    assert source.require("config.json").read_text() == "new"
    assert locate("owner/model").revision == new
    assert locate("owner/model").require("vocab.txt").read_text() == "new"


def test_force_download_mends_a_file(hub):
    hub.add("owner/model", FILES)
    path = locate("owner/model").require("model.safetensors")
    with open(path, "r+b") as file:
        file.truncate(20)
    assert len(locate("owner/model").require("model.safetensors").read_bytes()) == 20
    source = locate("owner/model", force_download=True)
    assert source.require("model.safetensors").read_bytes() == WEIGHTS
    before = len(hub.requests)
    assert source.require("model.safetensors").read_bytes() == WEIGHTS
    assert len(hub.requests) == before, "once a source, not once a call"


def test_revisions(hub):
    first = hub.add("owner/model", {"config.json": "1"}, tag="v1.0")
    second = hub.add("owner/model", {"config.json": "2"})
    third = hub.add("owner/model", {"config.json": "3"}, revision="refs/pr/1")
    for revision, commit, text in [
        ("v1.0", first, "1"),
        (first, first, "1"),
        (first[:8], first, "1"),
        (None, second, "2"),
        ("main", second, "2"),
        ("refs/pr/1", third, "3"),
    ]:
        for _ in range(2):  # from the Hub, then from the cache
            source = locate("owner/model", revision=revision)
            assert source.revision == commit
            assert source.require("config.json").read_text() == text


def test_subfolder(hub):
    hub.add("owner/model", {"config.json": "outer", "inner/config.json": "inner"})
    source = locate("owner/model", subfolder="inner")
    assert source.require("config.json").read_text() == "inner"
    assert source.filenames() == ["config.json"]


def test_the_cache_is_the_clients_own(hub, cache):
    """What we fetch, other libraries find, and the other way round."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    commit = hub.add("owner/model", FILES)
    ours = locate("owner/model").require("config.json")
    assert try_to_load_from_cache("owner/model", "config.json", cache_dir=cache) == str(ours)
    assert try_to_load_from_cache("owner/model", "config.json", cache_dir=cache, revision=commit) == str(ours)

    hub.add("owner/other", FILES)
    theirs = hf_hub_download("owner/other", "config.json", cache_dir=cache, endpoint=hub.endpoint)
    before = len(hub.requests)
    assert str(locate("owner/other").require("config.json")) == theirs
    assert len(hub.requests) == before


def test_cache_dir(hub, cache, tmp_path):
    hub.add("owner/model", FILES)
    path = locate("owner/model", cache_dir=tmp_path / "mine").require("config.json")
    assert path.is_relative_to(tmp_path / "mine")
    assert not cache.exists()


def test_token_reaches_the_hub_and_not_its_storage(hub, monkeypatch):
    hub.users["hf_right"] = "me"
    hub.add("owner/secret", FILES, private=True)
    locate("owner/secret", token="hf_right").require("model.safetensors")
    tokens = {request.host.partition(":")[0]: request.token for request in hub.requests}
    assert tokens == {"127.0.0.1": "hf_right", "localhost": None}
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    locate("owner/secret", force_download=True).require("config.json")
    assert hub.requests[-1].token == "hf_right"
    hub.requests.clear()
    hub.add("owner/model", FILES)
    locate("owner/model", token=False).require("config.json")
    assert {request.token for request in hub.requests} == {None}


@pytest.mark.parametrize("token", ["hf_a b", "hf_a\n", "hf_ключ", "Bearer hf_a"])
def test_impossible_tokens_are_not_shown(hub, token):
    with pytest.raises(InputError) as caught:
        locate("owner/model", token=token)
    assert token.strip() not in str(caught.value)
    assert not hub.requests


def test_environment_is_read_when_called(hub, monkeypatch):
    """A notebook sets it in a cell, long after `huggingface_hub` was imported."""
    from notebook_kit.errors import HubUnreachableError

    hub.add("owner/model", FILES)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint + "/")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubUnreachableError, match="HF_HUB_OFFLINE"):
        locate("owner/model")
    assert not hub.requests
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert locate("owner/model").kind == "hub"


def test_progress_bars_are_the_clients_and_can_be_switched_off(hub, capsys, monkeypatch):
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    monkeypatch.setattr(sys.modules["huggingface_hub.utils.tqdm"], "HF_HUB_DISABLE_PROGRESS_BARS", None)
    monkeypatch.setenv("TQDM_POSITION", "-1")  # shows them in what is no terminal, too
    hub.add("owner/model", FILES)
    locate("owner/model").require("model.safetensors")
    assert "100%" in capsys.readouterr().err
    disable_progress_bars()
    try:
        locate("owner/model", force_download=True).require("model.safetensors")
        assert capsys.readouterr().err == ""
    finally:
        enable_progress_bars()


def test_a_bar_that_fails_does_not_stop_a_download(hub, monkeypatch):
    import tqdm.std

    def fail(self, *args, **kwargs):
        raise BrokenPipeError("the terminal has gone")

    monkeypatch.setattr(sys.modules["huggingface_hub.utils.tqdm"], "HF_HUB_DISABLE_PROGRESS_BARS", None)
    monkeypatch.setenv("TQDM_POSITION", "-1")
    monkeypatch.setattr(tqdm.std.tqdm, "display", fail)
    hub.add("owner/model", FILES)
    assert locate("owner/model").require("model.safetensors").stat().st_size == len(WEIGHTS)


def test_in_a_process_of_its_own(hub, cache, tmp_path):
    """With nothing patched: environment, client and cache as a user has them."""
    hub.add("owner/model", FILES)
    code = """if True:
        from notebook_kit.hub import locate
        source = locate("owner/model")
        print(source.kind, source.require("model.safetensors").stat().st_size)
    """
    env = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    for expected in ("hub", "cache"):
        done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
        assert done.stdout.split() == [expected, str(len(WEIGHTS))]
    env["HF_HUB_OFFLINE"] = "1"
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("cache")
