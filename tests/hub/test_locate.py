"""From a name to a source, with no Hub in sight."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from notebook_kit.errors import (
    CheckpointError,
    HubUnreachableError,
    InputError,
    NotebookKitError,
    RepoNotFoundError,
    UnsafeFileError,
)
from notebook_kit.hub import HUB_OPTIONS, Source, cache_folder, cached_models, locate

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def offline(cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def put_in_cache(cache, repo, files, commit=COMMIT, revision="main"):
    folder = cache / ("models--" + repo.replace("/", "--"))
    for name, content in files.items():
        path = folder / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    if revision:
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / revision).write_text(commit)
    return folder


def test_folder(tmp_path):
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "a.txt").write_text("a")
    for given in (folder, str(folder)):
        source = locate(given)
        assert (source.kind, source.revision, source.name) == ("folder", None, str(folder))
        assert source.find("config.json") == folder / "config.json"
        assert source.find("vocab.txt") is None
        assert source.find_first("vocab.txt", "deep/a.txt", "config.json") == folder / "deep" / "a.txt"
        assert source.filenames() == ["config.json", "deep/a.txt"]
    assert locate(source) is source
    inside = locate(folder, subfolder="deep")
    assert inside.find("a.txt") == folder / "deep" / "a.txt"
    assert inside.filenames() == ["a.txt"]
    assert inside.find("config.json") is None


def test_folder_in_home_and_in_working_folder(tmp_path, monkeypatch):
    (tmp_path / "bert-base-uncased").mkdir()
    (tmp_path / "bert-base-uncased" / "config.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert locate("~/bert-base-uncased").find("config.json").is_file()
    # As in transformers, a folder wins over a repository of the same name.
    assert locate("bert-base-uncased").kind == "folder"
    assert locate("./bert-base-uncased").kind == "folder"


def test_missing_file_lists_what_is_there(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(
        CheckpointError, match=r"has no config\.json \(the model's shape\)\. It has notes\.txt"
    ) as caught:
        locate(tmp_path).require("config.json", why="the model's shape")
    assert "save_pretrained" in caught.value.next_step
    (tmp_path / "notes.txt").unlink()
    with pytest.raises(CheckpointError, match="It has no file at all"):
        locate(tmp_path).require("config.json")


def test_missing_file_finds_the_checkpoints_of_a_run(tmp_path):
    for step in (500, 1000):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError) as caught:
        locate(tmp_path).require("config.json")
    assert str(tmp_path / "checkpoint-500") in caught.value.next_step


def test_folder_that_hides_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2").mkdir()
    with pytest.raises(CheckpointError) as caught:
        locate("gpt2").require("config.json")
    assert "hides" in caught.value.next_step


def test_zoo():
    for name in ("notebook-kit/tiny-sentiment", "tiny-sentiment"):
        source = locate(name)
        assert source.kind == "zoo"
        assert source.revision is None


@pytest.mark.parametrize("name", ["./modle", "../x", "~/nowhere", "/no/such/folder", "a/b/c", "runs\\one", "C:\\runs"])
def test_path_that_does_not_exist(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RepoNotFoundError, match="no folder"):
        locate(name)


def test_misspelt_path_lists_its_neighbours(tmp_path):
    (tmp_path / "sentiment-model").mkdir()
    with pytest.raises(RepoNotFoundError, match="sentiment-model"):
        locate(tmp_path / "sentiment-modle")
    with pytest.raises(RepoNotFoundError, match=r"runs does not exist either"):
        locate(tmp_path / "runs" / "one")


def test_file_instead_of_its_folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        locate(tmp_path / "model.safetensors")
    assert str(tmp_path) in caught.value.next_step


@pytest.mark.parametrize(
    "name", ["", "  ", "my model", "owner/na me", "a--b", "owner/x.git", "a..b", "-x", "x" * 97, "модель", "owner/"]
)
def test_impossible_names(name):
    with pytest.raises(InputError):
        locate(name)


@pytest.mark.parametrize("name", [None, 3, ["a"]])
def test_names_of_the_wrong_type(name):
    with pytest.raises(InputError, match=type(name).__name__):
        locate(name)


def test_pasted_address_is_understood():
    with pytest.raises(NotebookKitError) as caught:
        locate("https://huggingface.co/owner/model")
    assert "'owner/model'" in caught.value.next_step


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../b", "..\\x", "C:x", "\\\\host\\x", "", ".", "a/..", "x\0y"]
)
def test_file_names_that_climb_out(name, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "model").mkdir()
    source = locate(tmp_path / "model")
    for ask in (source.find, source.find_first, source.require):
        with pytest.raises(UnsafeFileError):
            ask(name)
    if name:
        with pytest.raises(UnsafeFileError):
            locate(tmp_path / "model", subfolder=name)
        with pytest.raises(UnsafeFileError):
            locate("owner/model", revision=name)


def test_links_are_followed_as_the_cache_is_made_of_them(tmp_path):
    (tmp_path / "blob").write_text("{}")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").symlink_to("../blob")
    (tmp_path / "model" / "gone.json").symlink_to("../nowhere")
    assert locate(tmp_path / "model").require("config.json").read_text() == "{}"
    assert locate(tmp_path / "model").find("gone.json") is None


def test_cached(cache):
    folder = put_in_cache(cache, "owner/model", {"config.json": "{}", "sub/vocab.txt": "a"})
    source = locate("owner/model")
    assert (source.kind, source.revision) == ("cache", COMMIT)
    assert source.find("config.json") == folder / "snapshots" / COMMIT / "config.json"
    assert source.filenames() == ["config.json", "sub/vocab.txt"]
    assert locate("owner/model", subfolder="sub").find("vocab.txt").read_text() == "a"
    assert locate("owner/model", revision=COMMIT).kind == "cache"
    # A plain name is a repository of the Hub's early days.
    put_in_cache(cache, "gpt2", {"config.json": "{}"})
    assert locate("gpt2").kind == "cache"
    assert cached_models() == ["gpt2", "owner/model"]


def test_offline_and_not_in_the_cached_snapshot(cache):
    put_in_cache(cache, "owner/model", {"config.json": "{}"})
    source = locate("owner/model")
    assert source.find("added_tokens.json") is None
    with pytest.raises(HubUnreachableError, match=r"model\.safetensors of 'owner/model' is not in the cache.*OFFLINE"):
        source.require("model.safetensors")
    source = locate("owner/model", local_files_only=True)
    with pytest.raises(HubUnreachableError, match="local_files_only=True"):
        source.require("model.safetensors")


def test_offline_and_absent_for_sure(cache):
    folder = put_in_cache(cache, "owner/model", {"config.json": "{}"})
    (folder / ".no_exist" / COMMIT).mkdir(parents=True)
    (folder / ".no_exist" / COMMIT / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors. It has config\.json"):
        locate("owner/model").require("model.safetensors")


def test_offline_and_absent_for_sure_after_an_unsure_one(cache):
    folder = put_in_cache(cache, "owner/model", {"config.json": "{}"})
    (folder / ".no_exist" / COMMIT).mkdir(parents=True)
    (folder / ".no_exist" / COMMIT / "model.safetensors").touch()
    source = locate("owner/model")
    assert source.find("added_tokens.json") is None
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        source.require("model.safetensors")
    with pytest.raises(HubUnreachableError):
        source.require("added_tokens.json")


def test_folder_meant_and_misspelt(tmp_path, monkeypatch):
    """A relative path of one or two parts looks like a repository's name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "sentiment").mkdir(parents=True)
    for name, meant in [("runs/sentimnet", "'runs/sentiment'"), ("rums", "'runs'")]:
        with pytest.raises(HubUnreachableError) as caught:
            locate(name)
        assert meant in caught.value.next_step


def test_offline_and_not_cached_names_what_is_here(cache):
    put_in_cache(cache, "owner/model", {"config.json": "{}"})
    with pytest.raises(HubUnreachableError, match="owner/model") as caught:
        locate("owner/modle")
    assert "'owner/model'" in caught.value.next_step
    with pytest.raises(HubUnreachableError, match="local_files_only"):
        locate("someone/else", local_files_only=True)
    with pytest.raises(HubUnreachableError) as caught:
        locate("tiny-sentimnet")
    assert "notebook-kit/tiny-sentiment" in caught.value.next_step


def test_offline_and_another_revision(cache):
    put_in_cache(cache, "owner/model", {"config.json": "{}"})
    put_in_cache(cache, "owner/model", {"config.json": "{}"}, commit="f" * 40, revision=None)
    with pytest.raises(HubUnreachableError, match="'v2'") as caught:
        locate("owner/model", revision="v2")
    assert "'main'" in caught.value.next_step
    assert "f" * 40 in caught.value.next_step
    assert locate("owner/model", revision="f" * 40).revision == "f" * 40


def test_offline_and_force_download(cache):
    put_in_cache(cache, "owner/model", {"config.json": "{}"})
    with pytest.raises(InputError, match="force_download"):
        locate("owner/model", force_download=True)


def test_half_made_cache_counts_as_no_cache(cache):
    folder = put_in_cache(cache, "owner/model", {})
    assert cached_models() == []
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    with pytest.raises(HubUnreachableError):
        locate("owner/model")


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder().as_posix() == "/home/someone/.cache/huggingface/hub"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder().as_posix() == "/x/huggingface/hub"
    monkeypatch.setenv("HF_HOME", "$HOME/hf")
    assert cache_folder().as_posix() == "/home/someone/hf/hub"
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", "/old")
    assert cache_folder().as_posix() == "/old"
    monkeypatch.setenv("HF_HUB_CACHE", "~/c")
    assert cache_folder().as_posix() == "/home/someone/c"
    assert cache_folder("/given").as_posix() == "/given"
    assert cached_models("/given/that/does/not/exist") == []


def test_cache_dir_argument(tmp_path):
    put_in_cache(tmp_path / "mine", "owner/model", {"config.json": "{}"})
    assert locate("owner/model", cache_dir=tmp_path / "mine").kind == "cache"
    assert cached_models(tmp_path / "mine") == ["owner/model"]
    with pytest.raises(HubUnreachableError):
        locate("owner/model")


def test_options_are_those_of_locate():
    import inspect

    assert set(inspect.signature(locate).parameters) - {"name_or_path"} == HUB_OPTIONS


def test_a_source_says_what_it_is_and_hides_the_token(cache):
    put_in_cache(cache, "owner/model", {"config.json": "{}"})
    source = locate("owner/model", token="hf_secret")
    assert "owner/model" in repr(source)
    assert "hf_secret" not in repr(source)
    assert isinstance(source, Source)


def test_errors_cross_process_borders(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        locate(tmp_path).require("config.json")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)


def test_what_is_on_this_machine_needs_no_client(cache, tmp_path):
    """`huggingface_hub` costs half a second to import, torch more."""
    put_in_cache(cache, "owner/model", {"config.json": "{}"})
    (tmp_path / "model").mkdir()
    code = """if True:
        import sys
        from notebook_kit.errors import HubUnreachableError
        from notebook_kit.hub import cached_models, locate
        locate(sys.argv[1]).find("config.json")
        locate("tiny-sentiment").find("config.json")
        locate("owner/model").require("config.json")
        locate("owner/model").find("vocab.txt")
        assert cached_models() == ["owner/model"]
        try:
            locate("unknown/model")
        except HubUnreachableError:
            pass
        heavy = {"huggingface_hub", "torch", "httpx", "numpy", "safetensors", "tqdm"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], check=True)


def test_a_correct_name_that_is_not_here_is_no_slip(cache):
    for name in ("bert-base-uncased", "distilbert/distilbert-base-cased", "google-t5/t5-small"):
        with pytest.raises(HubUnreachableError) as caught:
            locate(name)
        assert "Did you mean" not in str(caught.value) and "notebook-kit/tiny-sentiment" in str(caught.value)
    with pytest.raises(HubUnreachableError, match="Did you mean 'notebook-kit/tiny-sentiment'"):
        locate("notebook-kit/tiny-sentimnt")
    with pytest.raises(HubUnreachableError, match="Did you mean 'distilbert/distilbert-base-cased'"):
        locate("distilbert/distilbert-base-casd")
    with pytest.raises(HubUnreachableError, match="nor one of notebook_kit's own checkpoints"):
        locate("zoo")
