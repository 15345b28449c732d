"""`tokenizer.pad`, which collators call for every batch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from notebook_kit.errors import InputError

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
