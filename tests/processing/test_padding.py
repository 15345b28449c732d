"""Padding: `tokenizer.pad`, which collators call for every batch, and what it is built on."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from notebook_kit.errors import InputError
from notebook_kit.processing.padding import pad_features, pad_inputs, pad_rows

TEXTS = ["A gorgeous, witty movie.", "x", "Unbelievably naïve and much longer than the rest of them all"]


def features(tokenizer, **options):
    return [dict(tokenizer(text, **options)) for text in TEXTS]


def plain(value):
    """Lists and types instead of tensors and arrays, so that == compares them."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "dtype"):
        return str(value.dtype), [plain(item) for item in value] if value.dtype == object else value.tolist()
    return value


@pytest.mark.parametrize("name", ["minilm", "roberta", "llama"])
def test_equals_the_oracles(both, name):
    ours, oracle = both(name)
    rows = features(ours, return_special_tokens_mask=True)
    forms = {
        "rows": lambda: [dict(row) for row in rows],
        "columns": lambda: {key: [row[key] for row in rows] for key in rows[0]},
        "one": lambda: dict(rows[0]),
        "ids alone": lambda: [{"input_ids": row["input_ids"]} for row in rows],
        "encoding": lambda: ours(TEXTS),
        "tensors": lambda: [{"input_ids": torch.tensor(row["input_ids"])} for row in rows],
        "arrays": lambda: [{"input_ids": np.array(row["input_ids"])} for row in rows],
    }
    for form, (padding, length), multiple, side, mask, kind in itertools.product(
        forms,
        ((True, None), ("longest", None), ("max_length", 30), ("max_length", 6), (False, None)),
        (None, 8),
        ("left", "right"),
        (None, False, True),
        (None, "pt", "np"),
    ):
        options = {
            "padding": padding,
            "max_length": length,
            "pad_to_multiple_of": multiple,
            "padding_side": side,
            "return_attention_mask": mask,
            "return_tensors": kind,
        }
        outcomes = []
        for tokenizer in (ours, oracle):
            try:
                outcomes.append(plain(tokenizer.pad(forms[form](), **options)))
            except ValueError:
                outcomes.append("fails")
        assert outcomes[0] == outcomes[1], (form, options)


def test_other_columns_stay(both):
    ours, _ = both("minilm")
    batch = ours.pad([row | {"label": 1.5} for row in features(ours)], return_tensors="pt")
    assert batch["label"].tolist() == [1.5] * 3
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["attention_mask"].sum(1).tolist() == [len(row["input_ids"]) for row in features(ours)]


def test_the_inputs_are_not_changed(both):
    ours, _ = both("minilm")
    rows = features(ours)
    ours.pad(rows, return_tensors="pt")
    assert rows == features(ours)


def test_wrong_features(both):
    ours, _ = both("minilm")
    rows = features(ours)
    with pytest.raises(InputError, match="Feature 1 has no 'token_type_ids'"):
        ours.pad([rows[0], {"input_ids": [1]}])
    with pytest.raises(InputError, match="the inputs are 'text', without 'input_ids'"):
        ours.pad([{"text": "a"}])
    with pytest.raises(InputError, match="a list of str"):
        ours.pad(["a"])
    with pytest.raises(InputError, match="'labels' has 1 entries, 'input_ids' has 2"):
        ours.pad({"input_ids": [[1], [2]], "labels": [1]})
    with pytest.raises(InputError, match="`labels` cannot become one tensor: its rows have from 1 to 2"):
        ours.pad([{"input_ids": [1], "labels": [1]}, {"input_ids": [1, 2], "labels": [1, 2]}], return_tensors="pt")


def test_rows_keep_their_format():
    assert pad_rows([[1, 2, 3], [4]], -100, side="left") == [[1, 2, 3], [-100, -100, 4]]
    assert pad_rows([[[0, 1], [2, 3]], [[4, 5]]], [9, 9]) == [[[0, 1], [2, 3]], [[4, 5], [9, 9]]]
    arrays = pad_rows([np.ones((3, 2), np.float32), np.ones((1, 2), np.float32)], -1.0, multiple_of=4)
    assert arrays.dtype == np.float32
    assert arrays[:, :, 0].tolist() == [[1, 1, 1, -1], [1, -1, -1, -1]]
    tensors = pad_rows([torch.ones(3, 2, dtype=torch.bfloat16), torch.ones(1, 2, dtype=torch.bfloat16)], side="left")
    assert tensors.dtype == torch.bfloat16
    assert tensors[:, :, 1].tolist() == [[1, 1, 1], [0, 0, 1]]
    boxes = pad_rows([torch.zeros(2, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int64)], [1, 2, 3, 4])
    assert boxes[1].tolist() == [[0, 0, 0, 0], [1, 2, 3, 4]]
    assert pad_rows([np.arange(3), [7]], 0) == [[0, 1, 2], [7, 0, 0]]


def test_rows_longer_than_the_length_are_not_cut():
    assert pad_rows([[1, 2, 3], [4]], length=2) == [[1, 2, 3], [4, 0]]
    assert pad_rows([np.arange(3), np.arange(1)], length=2) == [[0, 1, 2], [0, 0]]
    with pytest.raises(InputError, match="`labels` cannot become one tensor: its rows have from 2 to 3"):
        pad_features({"labels": [[1, 2, 3], [4]]}, ["labels"], length=2)


def test_features_take_lists_of_floats_and_whole_numbers_for_what_they_are():
    batch = pad_features([{"ids": [1, 2], "x": [0.5, 1]}, {"ids": [3], "x": [2, 0.25]}], ["ids", "x"])
    assert batch["ids"].dtype == torch.int64
    assert batch["x"].dtype == torch.float32
    assert batch["x"].tolist() == [[0.5, 1.0], [2.0, 0.25]]


def test_inputs_of_other_names():
    """A sound's samples are padded as a text's ids are."""
    sounds = [
        {"input_values": np.ones(3, np.float32), "label": 1},
        {"input_values": np.ones(2, np.float32), "label": 0},
    ]
    batch = pad_inputs(sounds, "input_values", {"input_values": 0.0}, multiple_of=4)
    assert batch["input_values"].tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]
    assert batch["label"].tolist() == [1, 0]
