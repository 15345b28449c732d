"""Values in the JSON files beside a vocabulary: a wrong one is an error that names the file and the field."""

from __future__ import annotations

import json
import shutil

import pytest
from vocabularies import write

from notebook_kit.errors import CheckpointError, NotebookKitError
from notebook_kit.processing.text.auto import AutoTokenizer

WRONG = {
    "model_max_length": ["512", -1, 0, float("nan"), [512], True],
    "padding_side": ["middle", 5, ["left"]],
    "truncation_side": ["top"],
    "pad_token": [5, ["[PAD]"], {"content": 5}, {"content": "[PAD]", "lstrip": "yes"}, {"token": "[PAD]"}],
    "cls_token": [True, {}],
    "do_lower_case": ["yes", 2, []],
    "add_prefix_space": ["x"],
    "model_input_names": ["input_ids", [], [5], {}],
    "additional_special_tokens": ["<x>", [5], [["<x>"]], 5],
    "extra_special_tokens": ["<x>", [5], {"image_token": 5}],
    "chat_template": [5, [5], [{"name": "default"}], {"default": 5}],
    "tokenizer_class": [5, ["BertTokenizer"]],
    "pad_token_type_id": ["0", -1, 10**12],
    "added_tokens_decoder": [
        [],
        {"x": {"content": "a"}},
        {"-1": {"content": "a"}},
        {"5": "a"},
        {"5": {"content": None}},
        {"9" * 5000: {"content": "a"}},
    ],
}


@pytest.fixture
def folder(checkpoint, tmp_path):
    for name in ("vocab.txt", "tokenizer.json"):
        shutil.copy(checkpoint("minilm") / name, tmp_path)
    return write(tmp_path, tokenizer_config_json={"tokenizer_class": "BertTokenizer"})


@pytest.mark.parametrize(("field", "values"), WRONG.items(), ids=WRONG)
def test_fields_of_tokenizer_config(folder, field, values):
    (folder / "tokenizer.json").unlink()
    for value in values:
        write(folder, tokenizer_config_json={"tokenizer_class": "BertTokenizer", field: value})
        with pytest.raises(CheckpointError, match=rf"tokenizer_config\.json: {field} is .*; expected "):
            AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("value", [None, 1e30, 10**30, float("inf"), 512.0])
def test_lengths_that_are_in_use_are_read(folder, value):
    write(folder, tokenizer_config_json={"tokenizer_class": "BertTokenizer", "model_max_length": value})
    assert AutoTokenizer.from_pretrained(folder).model_max_length == (512 if value == 512.0 else pytest.approx(1e30))


def test_fields_of_the_other_files(folder):
    for value in ("x", -1, 2.5, None):
        write(folder, added_tokens_json={"<new>": value}, special_tokens_map_json={})
        if value is None:
            continue
        (folder / "tokenizer.json").unlink(missing_ok=True)
        with pytest.raises(CheckpointError, match=r"added_tokens\.json: <new> is"):
            AutoTokenizer.from_pretrained(folder)
    (folder / "added_tokens.json").unlink()
    write(folder, special_tokens_map_json={"mask_token": 5})
    with pytest.raises(CheckpointError, match=r"special_tokens_map\.json: mask_token is 5; expected a token"):
        AutoTokenizer.from_pretrained(folder)
    write(folder, special_tokens_map_json={}, config_json={"model_type": ["bert"]}, tokenizer_config_json={})
    with pytest.raises(CheckpointError, match=r"config\.json: model_type is a list of 1; expected text"):
        AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' * 100_000])
def test_deep_json(folder, content):
    for name in ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"):
        shutil.copy(folder / name, folder / "kept") if (folder / name).exists() else None
        (folder / name).write_text(content, encoding="utf-8")
        with pytest.raises(CheckpointError, match=rf"{name} cannot be read"):
            AutoTokenizer.from_pretrained(folder)
        (folder / name).unlink()
        write(folder, tokenizer_config_json={"tokenizer_class": "BertTokenizer"})


def test_values_in_tokenizer_json(folder):
    """Each value at the top of the file replaced by one of another type: an error that names the file, or no effect."""
    whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    whole["model"]["vocab"] = {token: id for token, id in whole["model"]["vocab"].items() if id < 2000}
    junk = [
        None,
        5,
        -1,
        "x",
        [],
        {},
        [None],
        {"type": "Nothing"},
        1e400,
        {"type": "BPE", "vocab": {"a": 10**18}, "merges": []},
    ]
    for part in whole:
        for value in junk:
            write(folder, tokenizer_json=json.dumps({**whole, part: value}))
            try:
                AutoTokenizer.from_pretrained(folder)("some words [MASK]")
            except NotebookKitError as error:
                assert "tokenizer.json" in str(error) or part in ("model", "added_tokens"), (part, value)


def test_numbers_of_thousands_of_digits(folder):
    """As a length, one stands for "no limit"; as an id, it is an error that names the field."""
    huge, name = "9" * 5000, folder / "tokenizer_config.json"
    name.write_text(f'{{"tokenizer_class": "BertTokenizer", "model_max_length": {huge}}}', encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length > 10**20 and tokenizer("words", truncation=True).input_ids
    name.write_text(f'{{"pad_token_type_id": {huge}}}', encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"tokenizer_config\.json: pad_token_type_id is inf; expected a whole number from 0"
    ):
        AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("field", ["do_lower_case", "strip_accents", "tokenize_chinese_chars"])
@pytest.mark.parametrize("has_pipeline", [True, False])
def test_switches_stored_as_numbers(folder, field, has_pipeline):
    if not has_pipeline:
        (folder / "tokenizer.json").unlink()
    for value in (0, 1):
        write(folder, tokenizer_config_json={"tokenizer_class": "BertTokenizer", field: value})
        pieces = AutoTokenizer.from_pretrained(folder).tokenize("Café 東京")
        write(folder, tokenizer_config_json={"tokenizer_class": "BertTokenizer", field: bool(value)})
        assert pieces == AutoTokenizer.from_pretrained(folder).tokenize("Café 東京")
