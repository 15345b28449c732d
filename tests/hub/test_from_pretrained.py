"""The Auto classes over the stand-in Hub: what a user types, all the way down and back."""

from __future__ import annotations

import json

import pytest
import torch

from notebook_kit import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, BertConfig
from notebook_kit.errors import (
    CheckpointError,
    HubUnreachableError,
    RepoNotFoundError,
    RevisionNotFoundError,
    UnknownArchitectureError,
)

TOKEN = "hf_SECRETsecretSECRET"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "we", "are", "very", "happy", "sad"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny BERT with its tokenizer, as a folder."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=len(WORDS),
        max_position_embeddings=32,
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    return folder


def test_every_auto_class_and_then_offline(hub, checkpoint, monkeypatch):
    hub.add("owner/tiny", checkpoint)
    there = AutoModelForSequenceClassification.from_pretrained(checkpoint)

    def load():
        config = AutoConfig.from_pretrained("owner/tiny")
        tokenizer = AutoTokenizer.from_pretrained("owner/tiny")
        model = AutoModelForSequenceClassification.from_pretrained("owner/tiny")
        assert config.hidden_size == 16
        inputs = tokenizer("We are very happy", return_tensors="pt")
        assert torch.equal(model(**inputs).logits, there(**inputs).logits)

    load()
    asked = len(hub.requests)
    load()
    assert len(hub.requests) == asked, "the second time, the network is not asked at all"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    load()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    load()


def test_hub_options_reach_the_hub(hub, checkpoint, tmp_path):
    hub.users[TOKEN] = "me"
    files = {f"inner/{path.name}": path.read_bytes() for path in checkpoint.iterdir()}
    hub.add("owner/hidden", files, private=True, tag="v1")
    hub.add("owner/hidden", {"inner/config.json": "spoiled"}, private=True)
    options = {"revision": "v1", "token": TOKEN, "cache_dir": tmp_path / "mine", "subfolder": "inner"}
    assert AutoConfig.from_pretrained("owner/hidden", **options).hidden_size == 16
    assert AutoTokenizer.from_pretrained("owner/hidden", **options)("we are")["input_ids"] == [2, 5, 6, 3]
    AutoModelForSequenceClassification.from_pretrained("owner/hidden", **options)
    options |= {"local_files_only": True}
    AutoModelForSequenceClassification.from_pretrained("owner/hidden", **options)
    with pytest.raises(HubUnreachableError, match="local_files_only"):
        AutoModel.from_pretrained("owner/hidden", local_files_only=True)


@pytest.mark.parametrize("cls", [AutoConfig, AutoModel, AutoTokenizer])
def test_the_common_faults_reach_the_user(hub, checkpoint, cls):
    hub.add("owner/tiny", checkpoint)
    AutoConfig.from_pretrained("owner/tiny")
    with pytest.raises(RepoNotFoundError, match="'owner/tiny'"):
        cls.from_pretrained("owner/tyni")
    with pytest.raises(RevisionNotFoundError, match="v9"):
        cls.from_pretrained("owner/tiny", revision="v9")
    # Code that was written for transformers catches an OSError.
    with pytest.raises(OSError, match="owner/tyni"):
        cls.from_pretrained("owner/tyni")


def test_an_architecture_that_we_do_not_have(hub, checkpoint):
    hub.add("owner/strange", checkpoint)
    hub.add("owner/strange", {"config.json": json.dumps({"model_type": "strange-new-thing"})})
    with pytest.raises(UnknownArchitectureError, match="strange-new-thing") as caught:
        AutoModel.from_pretrained("owner/strange")
    assert "distilbert" in str(caught.value)
    assert not any("safetensors" in path for path in hub.paths()), "known before the weights are fetched"


def test_a_repository_that_needs_remote_code(hub, checkpoint, tmp_path):
    witness = tmp_path / "it-ran"
    code = f"open({str(witness)!r}, 'w')"
    hub.add("owner/remote", checkpoint)
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    hub.add("owner/remote", {"config.json": json.dumps(config), "mine.py": code})
    for options in ({}, {"trust_remote_code": True}):
        with pytest.raises(UnknownArchitectureError, match="never runs code"):
            AutoModel.from_pretrained("owner/remote", **options)
    assert not witness.exists()
    assert not any(path.endswith(".py") for path in hub.paths())


def test_no_weights_and_damaged_weights(hub, checkpoint):
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    weights = files.pop("model.safetensors")
    hub.add("owner/bare", files)
    with pytest.raises(CheckpointError, match="weights"):
        AutoModel.from_pretrained("owner/bare")
    hub.add("owner/short", {**files, "model.safetensors": weights[:-100]})
    with pytest.raises(CheckpointError, match="cut short"):
        AutoModel.from_pretrained("owner/short")


def test_push_to_hub_and_back(hub, checkpoint):
    hub.users[TOKEN] = "me"
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model.push_to_hub("me/tiny", token=TOKEN)
    tokenizer.push_to_hub("me/tiny", token=TOKEN)
    again = AutoModelForSequenceClassification.from_pretrained("me/tiny")
    inputs = AutoTokenizer.from_pretrained("me/tiny")("we are very sad", return_tensors="pt")
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
