"""Everything that can go wrong between a name and its files, each as an error that names the next step."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save
from support import skip_or_fail

from notebook_kit.checkpoints.weights import open_weights
from notebook_kit.errors import (
    CheckpointError,
    GatedRepoError,
    HubError,
    HubUnreachableError,
    NotebookKitError,
    RepoNotFoundError,
    RevisionNotFoundError,
    UnsafeFileError,
)
from notebook_kit.hub import locate

TOKEN = "hf_SECRETsecretSECRET"
WEIGHTS = save({"weight": torch.arange(5000.0)})
FILES = {"config.json": '{"model_type": "bert"}', "model.safetensors": WEIGHTS}


@pytest.fixture
def failing():
    """`failing(kind, what)` is `pytest.raises` that also wants a next step, and no token anywhere in the traceback."""

    class Failing:
        def __init__(self, kind: type[NotebookKitError], match: str) -> None:
            self.raises = pytest.raises(kind, match=match)

        def __enter__(self):
            self.caught = self.raises.__enter__()
            return self.caught

        def __exit__(self, *error):
            swallowed = self.raises.__exit__(*error)
            if swallowed:
                assert self.caught.value.next_step
                assert TOKEN not in "".join(traceback.format_exception(self.caught.value))
            return swallowed

    return Failing


def nothing_half_made(cache):
    """No temporary file, and each blob has the length and content that its name promises."""
    assert not [path for path in cache.rglob("*") if "incomplete" in path.name]
    assert not [path for path in cache.rglob("snapshots/*/*") if not path.is_file()]
    for path in cache.rglob("snapshots/*/model.safetensors"):
        assert path.read_bytes() == WEIGHTS


def test_unknown_repository(hub, failing):
    hub.add("owner/sentiment-model", FILES)
    locate("owner/sentiment-model").require("config.json")
    with failing(RepoNotFoundError, "'owner/sentiment-modle'") as caught:
        locate("owner/sentiment-modle")
    assert "'owner/sentiment-model'" in caught.value.next_step, "it is in the cache"
    with failing(RepoNotFoundError, "'tiny-sentimnet'") as caught:
        locate("tiny-sentimnet")
    assert "'notebook-kit/tiny-sentiment'" in caught.value.next_step
    with failing(RepoNotFoundError, "nothing/alike") as caught:
        locate("nothing/alike", token=TOKEN)
    assert "token=" in caught.value.next_step


def test_private_repository(hub, failing):
    hub.add("owner/private", FILES, private=True)
    with failing(RepoNotFoundError, "owner/private") as caught:
        locate("owner/private")
    assert "token=" in caught.value.next_step


def test_gated_repository(hub, failing, monkeypatch):
    hub.add("owner/gated", FILES, gated=True)
    source = locate("owner/gated")
    with failing(GatedRepoError, "gated.*no token is in use") as caught:
        source.require("config.json")
    assert f"{hub.endpoint}/owner/gated" in caught.value.next_step
    with failing(GatedRepoError, "gated.*the token in use is not"):
        locate("owner/gated", token=TOKEN).require("config.json")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with failing(GatedRepoError, "gated.*the token in use is not"):
        open_weights(locate("owner/gated"))
    hub.users[TOKEN] = "me"
    assert locate("owner/gated").require("config.json").is_file()


def test_gated_listing(hub, failing):
    hub.add("owner/gated", FILES)
    hub.fault("/api/models/owner/gated", status=403, headers={"X-Error-Code": "GatedRepo"})
    with failing(GatedRepoError, "gated"):
        locate("owner/gated")


def test_bad_token(hub, failing):
    hub.add("owner/model", FILES)
    message = {"X-Error-Message": "Invalid credentials in Authorization header"}
    hub.fault("/api/models/", status=401, headers=message)
    with failing(HubError, "does not accept the token") as caught:
        locate("owner/model", token=TOKEN)
    assert "token=False" in caught.value.next_step


def test_forbidden(hub, failing):
    hub.add("owner/model", FILES)
    hub.fault("/api/models/", status=403, headers={"X-Error-Message": "Forbidden for this key"})
    with failing(HubError, "403"):
        locate("owner/model", token=TOKEN)


def test_disabled_repository(hub, failing):
    hub.add("owner/model", FILES)
    hub.fault("/api/models/", status=403, headers={"X-Error-Message": "Access to this resource is disabled."})
    with failing(HubError, "disabled"):
        locate("owner/model")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no.such.host.invalid"])
def test_no_network(cache, failing, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with failing(HubUnreachableError, "cannot be reached") as caught:
        locate("owner/model", token=TOKEN)
    assert endpoint in str(caught.value)
    assert "notebook-kit/tiny-sentiment" in caught.value.next_step, "what there is on this machine"


def test_no_network_and_cached(hub, failing, monkeypatch):
    hub.add("owner/model", FILES)
    locate("owner/model").require("config.json")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    source = locate("owner/model")
    assert source.kind == "cache"
    assert source.require("config.json").is_file()
    assert source.find("added_tokens.json") is None, "an optional file cannot be known"
    with failing(HubUnreachableError, r"model\.safetensors.*not in the cache.*cannot be reached"):
        source.require("model.safetensors")
    with failing(HubUnreachableError, r"model\.safetensors or .*not in the cache"):
        open_weights(source)
    with failing(HubUnreachableError, "cannot be reached"):
        locate("owner/model", force_download=True)


def test_cached_and_the_repository_is_gone(hub, failing):
    hub.add("owner/model", FILES)
    locate("owner/model").require("config.json")
    del hub.repositories["owner/model"]
    source = locate("owner/model")
    assert source.require("config.json").is_file()
    assert source.find("added_tokens.json") is None
    with failing(RepoNotFoundError, r"model\.safetensors.*is not in the cache.*no.* repository 'owner/model'"):
        source.require("model.safetensors")


def test_cached_and_the_commit_is_gone(hub, failing):
    hub.add("owner/model", FILES)
    locate("owner/model").require("config.json")
    hub.repositories["owner/model"].commits.clear()
    hub.repositories["owner/model"].branches.clear()
    new = hub.add("owner/model", {**FILES, "vocab.txt": "a"})
    with failing(RevisionNotFoundError, r"model\.safetensors.*is not in the cache"):
        locate("owner/model").require("model.safetensors")
    assert locate("owner/model", force_download=True).revision == new


def test_client_that_was_imported_offline(hub, failing, monkeypatch):
    from huggingface_hub import constants

    hub.add("owner/model", FILES)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with failing(HubUnreachableError, "offline mode") as caught:
        locate("owner/model")
    assert "restart" in caught.value.next_step


def test_unknown_revision(hub, failing):
    hub.add("owner/model", FILES, tag="v1.0")
    with failing(RevisionNotFoundError, "'v1.1'") as caught:
        locate("owner/model", revision="v1.1")
    assert "'v1.0'" in caught.value.next_step
    hub.fault("/refs", status=500, times=None)
    with failing(RevisionNotFoundError, "'v1.1'"):
        locate("owner/model", revision="v1.1")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_errors(hub, failing, cache, status):
    hub.add("owner/model", FILES)
    hub.fault("/api/models/", status=status)
    with failing(HubUnreachableError, f"answered {status}") as caught:
        locate("owner/model", token=TOKEN)
    assert "status.huggingface.co" in caught.value.next_step
    source = locate("owner/model")
    fault = hub.fault("config.json", status=status, times=None)
    with failing(HubUnreachableError, f"answered {status} when asked for config.json"):
        source.require("config.json")
    fault.times = 0
    nothing_half_made(cache)
    assert source.require("config.json").is_file()


def test_server_error_for_a_moment(hub):
    hub.add("owner/model", FILES)
    hub.fault("config.json", method="HEAD", status=503, times=2)
    assert locate("owner/model").require("config.json").is_file()


def test_storage_refuses(hub, failing, cache):
    """The second host, where large files lie, has faults of its own; its signed addresses are not for messages."""
    hub.add("owner/model", FILES)
    fault = hub.fault("/storage/", status=403, times=None)
    with failing(HubError, "403") as caught:
        locate("owner/model").require("model.safetensors")
    assert "storage" not in str(caught.value)
    fault.times = 0
    nothing_half_made(cache)
    assert locate("owner/model").require("model.safetensors").read_bytes() == WEIGHTS


def test_too_many_requests(hub, failing):
    hub.add("owner/model", FILES)
    hub.fault("/api/models/", status=429)
    with failing(HubUnreachableError, "429"):
        locate("owner/model")


def test_download_cut_half_way_resumes(hub, cache, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what it keeps of a broken download is whole chunks
    hub.add("owner/model", FILES)
    hub.fault("model.safetensors", cut_after=9000, times=2)
    path = locate("owner/model").require("model.safetensors")
    assert path.read_bytes() == WEIGHTS
    ranges = [request.range for request in hub.requests if request.path.startswith("/storage/")]
    assert ranges == [None, "bytes=9000-", "bytes=18000-"], "it goes on where it broke off"
    nothing_half_made(cache)


def test_download_that_always_breaks_off(hub, failing, cache):
    hub.add("owner/model", FILES)
    fault = hub.fault("model.safetensors", cut_after=0, times=None)
    source = locate("owner/model")
    source.require("config.json")
    with failing(HubUnreachableError, r"The download of model\.safetensors of 'owner/model' was interrupted"):
        source.require("model.safetensors")
    nothing_half_made(cache)
    assert not list(cache.rglob("snapshots/*/model.safetensors"))
    fault.times = 0
    assert locate("owner/model").require("model.safetensors").read_bytes() == WEIGHTS


def test_small_file_cut_half_way(hub, cache):
    hub.add("owner/model", FILES)
    hub.fault("config.json", method="GET", cut_after=5)
    assert json.loads(locate("owner/model").require("config.json").read_text()) == {"model_type": "bert"}


def test_interrupted_download_leaves_nothing(hub, cache, monkeypatch):
    """A user's Ctrl-C in the middle."""
    import huggingface_hub.file_download

    hub.add("owner/model", FILES)
    source = locate("owner/model")

    def interrupted(url, file, **_):
        file.write(WEIGHTS[:100])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.file_download, "http_get", interrupted)
        with pytest.raises(KeyboardInterrupt):
            source.require("model.safetensors")
    nothing_half_made(cache)
    assert source.require("model.safetensors").read_bytes() == WEIGHTS


def test_killed_in_the_middle_of_a_download(hub, cache):
    hub.add("owner/model", FILES)
    fault = hub.fault("model.safetensors", cut_after=9000, stall=20)
    code = "from notebook_kit.hub import locate; locate('owner/model').require('model.safetensors')"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "HF_HUB_DISABLE_XET": "1"})
    try:
        while fault.times or not list(cache.rglob("*.incomplete")):
            assert process.poll() is None
            threading.Event().wait(0.02)
    finally:
        process.kill()
        process.wait()
    assert not list(cache.rglob("snapshots/*/model.safetensors"))
    assert locate("owner/model").require("model.safetensors").read_bytes() == WEIGHTS


def test_silence_in_the_middle_of_a_download(hub, cache, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.add("owner/model", FILES)
    hub.fault("model.safetensors", cut_after=9000, stall=2)
    assert locate("owner/model").require("model.safetensors").read_bytes() == WEIGHTS
    nothing_half_made(cache)


def test_many_at_once(hub, cache):
    hub.add("owner/model", FILES)
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: locate("owner/model").require("model.safetensors"), range(8)))
    assert len(set(paths)) == 1
    nothing_half_made(cache)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_bit_flipped_on_the_way(hub, cache, failing, name):
    """The length is right, the checksum is not: fetched again, and given up after the third time."""
    hub.add("owner/model", FILES)
    hub.fault(name, flip_bit=77)
    path = locate("owner/model").require(name)
    assert path.read_bytes() in (WEIGHTS, FILES["config.json"].encode())
    hub.fault(name, flip_bit=77, times=3)
    with failing(CheckpointError, rf"{name} of 'owner/model' arrived damaged"):
        locate("owner/model", force_download=True).require(name)
    assert not list(cache.rglob(f"snapshots/*/{name}"))
    assert locate("owner/model").require(name).is_file()


def test_what_answers_is_no_hub(hub, failing):
    """A sign-in page, a proxy, a wrong HF_ENDPOINT."""
    hub.add("owner/model", FILES)
    fault = hub.fault("/api/models/", status=200, body=b"<html>Sign in</html>", times=None)
    with failing(HubUnreachableError, "is not a Hub") as caught:
        locate("owner/model")
    assert "HF_ENDPOINT" in caught.value.next_step
    fault.body = b'{"id": "owner/model", "sha": "../../../outside", "siblings": []}'
    with failing(HubUnreachableError, "is not a Hub"):
        locate("owner/model")
    fault.times = 0
    hub.fault("/resolve/", status=200, body=b"<html>Sign in</html>", times=None)
    with failing(HubUnreachableError, "is not a Hub"):
        locate("owner/model").require("config.json")


def test_cache_that_cannot_be_written(hub, failing, tmp_path):
    hub.add("owner/model", FILES)
    (tmp_path / "file").write_text("")
    with failing(CheckpointError, "could not be written into the cache") as caught:
        locate("owner/model", cache_dir=tmp_path / "file").require("config.json")
    assert "cache_dir" in caught.value.next_step


def test_no_weights(hub, failing):
    hub.add("owner/empty", {"config.json": "{}", "README.md": ""})
    with failing(CheckpointError, r"has no model\.safetensors or .*It has README\.md, config\.json"):
        open_weights(locate("owner/empty"))
    hub.add("owner/keras", {"config.json": "{}", "tf_model.h5": b"h5"})
    if importlib.util.find_spec("h5py") is None:
        skip_or_fail("h5py is not installed; it comes with the extra 'test'")
    with failing(CheckpointError, r"tf_model\.h5 is damaged or is not an HDF5 file"):
        open_weights(locate("owner/keras"))


def test_missing_shard(hub, failing):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    hub.add(
        "owner/sharded",
        {
            "model.safetensors.index.json": json.dumps(index),
            "model-00001-of-00002.safetensors": save({"a": torch.zeros(2)}),
        },
    )
    with failing(CheckpointError, r"names 2 shards, of which 1 cannot be found: model-00002-of-00002\.safetensors"):
        open_weights(locate("owner/sharded"))


@pytest.mark.parametrize("shard", ["../../../../secret.safetensors", "/etc/passwd", "..\\..\\x.safetensors"])
def test_index_that_climbs_out(hub, failing, cache, shard):
    hub.add("owner/evil", {"model.safetensors.index.json": json.dumps({"weight_map": {"a": shard}})})
    with failing(UnsafeFileError, "lead out of the folder"):
        open_weights(locate("owner/evil"))
    assert not any("secret" in path or "passwd" in path for path in hub.paths())


def test_damaged_file_in_the_cache(hub, failing):
    hub.add("owner/model", FILES)
    path = locate("owner/model").require("model.safetensors")
    with open(path, "r+b") as file:
        file.truncate(1000)
    with failing(CheckpointError, r"model\.safetensors is damaged or was cut short \(1,000 bytes\)") as caught:
        open_weights(locate("owner/model"))
    assert "force_download=True" in caught.value.next_step
    with open_weights(locate("owner/model", force_download=True)) as weights:
        assert torch.equal(weights["weight"], torch.arange(5000.0))


def test_remote_code_is_never_fetched(hub):
    """Loading asks for the files it knows by name; a repository's Python is not among them."""
    hub.add("owner/remote", {**FILES, "modeling_evil.py": "raise SystemExit", "config.json": '{"auto_map": {}}'})
    source = locate("owner/remote")
    source.require("config.json")
    open_weights(source).close()
    assert not any(".py" in path for path in hub.paths())


def test_an_unreachable_hub_is_one_short_error(cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachableError) as caught:
        locate("distilbert/distilbert-base-uncased-finetuned-sst2-english")
    text = "".join(traceback.format_exception(caught.value))
    assert "httpx" not in text and "direct cause" not in text and "During handling" not in text
    assert caught.value.__context__ is not None
    assert "Error)" not in str(caught.value)
    assert caught.value.next_step.startswith(
        "Did you mean 'distilbert/distilbert-base-uncased-finetuned-sst-2-english'"
    )
