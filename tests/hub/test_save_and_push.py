"""From an object to a folder, and from a folder to a repository on the Hub, through the real client."""

from __future__ import annotations

import pytest
import torch

from notebook_kit import BertConfig, GenerationConfig
from notebook_kit.checkpoints.weights import open_weights, save_weights
from notebook_kit.errors import HubError, HubUnreachableError, InputError
from notebook_kit.hub import locate, push_folder
from notebook_kit.hub.saving import folder_to_save

TOKEN = "hf_SECRETsecretSECRET"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    save_weights({"weight": torch.arange(1000.0)}, folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model")
    (folder / ".secret").write_text("not for others")
    return folder


def test_there_and_back(hub, folder):
    hub.users[TOKEN] = "me"
    commit = push_folder(folder, "me/model", token=TOKEN, commit_message="First")
    assert commit.oid in commit.commit_url
    assert set(hub.files("me/model")) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert not hub.repositories["me/model"].private
    with open_weights(locate("me/model")) as weights:
        assert torch.equal(weights["weight"], torch.arange(1000.0))

    save_weights({"weight": torch.ones(3)}, folder)
    push_folder(folder, "me/model", token=TOKEN)
    with open_weights(locate("me/model", force_download=True)) as weights:
        assert torch.equal(weights["weight"], torch.ones(3))


def test_token_from_the_environment_and_name_without_owner(hub, folder, monkeypatch):
    hub.users[TOKEN] = "me"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push_folder(str(folder), "model", private=True)
    assert hub.repositories["me/model"].private


def test_branch_and_proposal(hub, folder):
    hub.users[TOKEN] = "me"
    push_folder(folder, "me/model", token=TOKEN, revision="experiment")
    assert "config.json" in hub.files("me/model", "experiment")
    assert "config.json" not in hub.files("me/model")
    push_folder(folder, "me/model", token=TOKEN, revision="experiment")
    proposal = push_folder(folder, "me/model", token=TOKEN, create_pr=True)
    assert proposal.pr_url
    assert "config.json" not in hub.files("me/model")


def test_no_token(hub, folder):
    with pytest.raises(HubError, match="no token is in use") as caught:
        push_folder(folder, "me/model")
    assert "token=" in caught.value.next_step
    assert not hub.repositories


def test_foreign_namespace(hub, folder):
    hub.users[TOKEN] = "me"
    with pytest.raises(HubError, match="403") as caught:
        push_folder(folder, "someone-else/model", token=TOKEN)
    assert TOKEN not in str(caught.value)
    assert not hub.repositories


def test_server_error_and_no_network(hub, folder, monkeypatch):
    hub.users[TOKEN] = "me"
    hub.fault("/commit/", status=500, times=None)
    with pytest.raises(HubUnreachableError, match=r"was not uploaded.*500"):
        push_folder(folder, "me/model", token=TOKEN)
    assert "config.json" not in hub.files("me/model")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachableError, match=r"was not uploaded.*cannot be reached"):
        push_folder(folder, "me/model", token=TOKEN)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubUnreachableError, match="OFFLINE"):
        push_folder(folder, "me/model", token=TOKEN)


def test_nothing_to_upload(hub, tmp_path):
    with pytest.raises(InputError):
        push_folder(tmp_path / "nowhere", "me/model", token=TOKEN)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        push_folder(tmp_path / "empty", "me/model", token=TOKEN)
    with pytest.raises(InputError):
        push_folder(tmp_path, "not a name", token=TOKEN)
    assert not hub.requests


def test_wrong_token(hub, folder):
    with pytest.raises(HubError, match="does not accept the token") as caught:
        push_folder(folder, "me/model", token=TOKEN)
    assert TOKEN not in str(caught.value)


def test_leaving_files_out(hub, folder):
    hub.users[TOKEN] = "me"
    (folder / "checkpoint-500").mkdir()
    (folder / "checkpoint-500" / "optimizer.pt").write_bytes(b"state")
    push_folder(folder, "me/model", token=TOKEN, ignore_patterns="checkpoint-*/*")
    assert not any("checkpoint" in name for name in hub.files("me/model"))


def test_whatever_is_saved_can_be_pushed(hub, tmp_path):
    hub.users[TOKEN] = "me"
    config, generation = BertConfig(hidden_size=48), GenerationConfig(max_new_tokens=7)
    config.push_to_hub("me/config", token=TOKEN)
    generation.save_pretrained(tmp_path / "made" / "writer", push_to_hub=True, token=TOKEN)  # named as the folder
    assert BertConfig.from_pretrained("me/config") == config
    assert GenerationConfig.from_pretrained("me/writer") == generation
    config.save_pretrained(tmp_path / "made" / "writer", push_to_hub=True, repo_id="me/both", token=TOKEN)
    assert set(hub.files("me/both")) == {".gitattributes", "config.json", "generation_config.json"}


def test_what_fails_while_saving_is_not_pushed(hub, tmp_path):
    with pytest.raises(RuntimeError, match="disk"), folder_to_save(tmp_path, True, {"repo_id": "me/half"}):
        raise RuntimeError("disk")
    assert "me/half" not in hub.repositories
