"""Folders go back and forth between us and transformers."""

from __future__ import annotations

import json

import pytest
from test_ids import HARD
from tokenizers import AddedToken
from transformers import AutoTokenizer as OracleAutoTokenizer
from vocabularies import CHECKPOINTS

from notebook_kit.errors import InputError
from notebook_kit.processing.text.auto import AutoTokenizer

NAMES = list(CHECKPOINTS)
TEXTS = [text for kind, text in HARD.items() if kind != "very long"]
PAIRS = list(zip(TEXTS, reversed(TEXTS), strict=True))


def assert_same(first, second, texts=TEXTS):
    for given in (texts, PAIRS):
        assert first(given, verbose=False)["input_ids"] == second(given, verbose=False)["input_ids"]
    assert first.special_tokens_map == second.special_tokens_map
    assert first.model_max_length == second.model_max_length
    assert first.padding_side == second.padding_side
    assert list(first.model_input_names) == list(second.model_input_names)


@pytest.mark.parametrize("name", NAMES)
def test_what_we_save_loads_in_both(both, tmp_path, name):
    ours, _ = both(name)
    files = ours.save_pretrained(tmp_path)
    assert all((tmp_path / file).is_file() for file in files)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert_same(again, ours)
    assert again.get_vocab() == ours.get_vocab()
    assert_same(ours, OracleAutoTokenizer.from_pretrained(tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_what_transformers_saves_loads_here(both, tmp_path, name):
    _, oracle = both(name)
    oracle.save_pretrained(tmp_path)
    assert_same(AutoTokenizer.from_pretrained(tmp_path), oracle)


@pytest.mark.parametrize("name", ["minilm", "mpnet", "gpt2", "roberta", "xlm_roberta", "llama", "generic_unigram"])
def test_added_tokens_survive(checkpoint, tmp_path, name):
    ours = AutoTokenizer.from_pretrained(checkpoint(name))
    before = len(ours)
    assert ours.add_tokens(["<new>", AddedToken("wordling", single_word=True, lstrip=True), "<new>"]) == 2
    assert ours.add_special_tokens({"additional_special_tokens": ["<a>", "<b>"]}) == 2
    assert ours.add_special_tokens({"pad_token": "<padding>"}) == 1
    assert len(ours) == before + 5
    texts = ["a<new>b wordling swordling <a><b>", "x<padding> y"]
    ours.save_pretrained(tmp_path)
    for loaded in (AutoTokenizer.from_pretrained(tmp_path), OracleAutoTokenizer.from_pretrained(tmp_path)):
        assert len(loaded) == before + 5
        assert_same(ours, loaded, TEXTS + texts)
        assert loaded.pad_token_id == before + 4
        assert loaded.decode(loaded(texts[0])["input_ids"], skip_special_tokens=True) == ours.decode(
            ours(texts[0]).input_ids, skip_special_tokens=True
        )


def test_vocabulary_files_alone_give_the_same_ids(both, tmp_path):
    """The vocab files that we write make the same tokenizer without tokenizer.json."""
    for name in ("minilm", "gpt2", "roberta"):
        ours, _ = both(name)
        folder = tmp_path / name
        ours.save_pretrained(folder)
        (folder / "tokenizer.json").unlink()
        assert_same(ours, AutoTokenizer.from_pretrained(folder))
        assert_same(ours, OracleAutoTokenizer.from_pretrained(folder))


def test_changed_settings_survive(checkpoint, tmp_path):
    ours = AutoTokenizer.from_pretrained(checkpoint("minilm"), model_max_length=77, do_lower_case=False)
    ours.padding_side = "left"
    ours.sep_token = "[MASK]"
    ours.save_pretrained(tmp_path)
    for loaded in (AutoTokenizer.from_pretrained(tmp_path), OracleAutoTokenizer.from_pretrained(tmp_path)):
        assert (loaded.model_max_length, loaded.padding_side, loaded.sep_token) == (77, "left", "[MASK]")
        assert loaded.tokenize("Hello") == ours.tokenize("Hello") != ["hello"]


def test_saving_leaves_no_half_files(both, tmp_path):
    ours, _ = both("minilm")
    ours(["a", "b c"], padding="max_length", truncation=True, max_length=7)
    ours.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"}
    state = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert state["padding"] is None
    assert state["truncation"] is None
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        ours.save_pretrained(tmp_path / "file")


def test_push_to_hub_pushes_the_files(both, monkeypatch):
    """Only the hand-over: the upload itself is the hub's."""
    import notebook_kit.hub.saving

    pushed = {}

    def push_folder(folder, repo_id, **options):
        pushed.update(repo_id=repo_id, options=options, same=AutoTokenizer.from_pretrained(folder)(TEXTS)["input_ids"])

    monkeypatch.setattr(notebook_kit.hub.saving, "push_folder", push_folder)
    ours, _ = both("minilm")
    ours.push_to_hub("me/tokenizer", private=True)
    assert pushed == {"repo_id": "me/tokenizer", "options": {"private": True}, "same": ours(TEXTS)["input_ids"]}
