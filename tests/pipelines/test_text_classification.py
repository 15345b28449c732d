from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from pipeline_helpers import TEXTS, assert_same, ours

from notebook_kit.errors import InputError, PipelineInputError

PAIR = {"text": "It is a very good film.", "text_pair": "The film is dull."}


@pytest.fixture
def classify(both):
    return both("text-classification", "ForSequenceClassification", num_labels=3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 1},
        {"top_k": 2},
        {"top_k": 99},
        {"top_k": None},
        {"function_to_apply": "sigmoid"},
        {"function_to_apply": "NONE", "top_k": None},
        {"function_to_apply": "softmax", "top_k": None},
        {"truncation": True, "max_length": 6},
        {"add_special_tokens": False, "truncation": True, "padding": "max_length", "max_length": 20},
    ],
    ids=str,
)
def test_same_answers(classify, options):
    mine, oracle = classify
    texts = [text for text in TEXTS if text] if "add_special_tokens" in options else TEXTS
    assert_same(mine(texts, **options), oracle(texts, **options))
    assert_same(mine(texts[0], **options), oracle(texts[0], **options))
    assert_same(mine([texts[0]], **options), oracle([texts[0]], **options))
    assert_same(mine(PAIR, **options), oracle(PAIR, **options))
    assert_same(mine([PAIR, PAIR], **options), oracle([PAIR, PAIR], **options))


def test_options_at_construction(both, checkpoints):
    import transformers

    folder = checkpoints("ForSequenceClassification", num_labels=3)
    mine = ours("text-classification", folder, top_k=2, function_to_apply="sigmoid")
    oracle = transformers.pipeline(
        "text-classification", model=folder, top_k=2, function_to_apply="sigmoid", device="cpu"
    )
    assert_same(mine(TEXTS), oracle(TEXTS))
    assert_same(mine(TEXTS[0]), oracle(TEXTS[0]))
    assert_same(mine(TEXTS[0], top_k=1), oracle(TEXTS[0], top_k=1))
    assert mine.options == {"top_k": 2, "function_to_apply": "sigmoid"}


@pytest.mark.parametrize(
    "settings",
    [
        {"num_labels": 1},
        {"num_labels": 1, "problem_type": "regression"},
        {"num_labels": 4, "problem_type": "multi_label_classification"},
        {"num_labels": 2, "id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}},
    ],
    ids=str,
)
def test_kinds_of_problem(both, settings):
    mine, oracle = both("sentiment-analysis", "ForSequenceClassification", **settings)
    assert_same(mine(TEXTS), oracle(TEXTS))
    assert_same(mine(TEXTS, top_k=None), oracle(TEXTS, top_k=None))


def test_old_spelling_of_all_scores(classify):
    mine, _ = classify
    every = mine(TEXTS, return_all_scores=True)
    # As in transformers 4: the labels in the model's order, not by score.
    assert [[score["label"] for score in one] for one in every] == [["LABEL_0", "LABEL_1", "LABEL_2"]] * len(TEXTS)
    by_score = [sorted(one, key=lambda score: -score["score"]) for one in every]
    assert_same(by_score, mine(TEXTS, top_k=None))
    assert_same(mine(TEXTS, return_all_scores=False), mine(TEXTS))
    assert_same(mine(TEXTS[0], return_all_scores=True), every[:1])


def test_pairs(classify):
    mine, oracle = classify
    expected = oracle([PAIR])
    assert_same(mine([(PAIR["text"], PAIR["text_pair"])]), expected)
    old = [[PAIR["text"], PAIR["text_pair"]]]
    assert_same(mine([old]), oracle([old]))
    assert_same(list(mine(PAIR for _ in range(2))), expected * 2)


def test_second_texts_as_an_argument(classify):
    mine, oracle = classify
    text, pair = PAIR["text"], PAIR["text_pair"]
    assert_same(mine(text, text_pair=pair), oracle(text, text_pair=pair))
    expected = mine([PAIR, {"text": pair, "text_pair": text}])
    for kind in (list, np.array, pd.Series, tuple):
        assert mine([text, pair], text_pair=kind([pair, text])) == expected
        assert mine(kind([text, pair]), text_pair=[pair, text]) == expected
    with pytest.raises(InputError, match="There are 2 texts and 1 in text_pair"):
        mine([text, pair], text_pair=[pair])
    for wrong in (5, [text], b"text"):
        with pytest.raises(InputError, match="text_pair"):
            mine(text, text_pair=wrong)
    with pytest.raises(InputError, match="text_pair is a str"):
        mine([text, pair], text_pair=pair)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (3.5, "float, where a text"),
        (None, "NoneType, where a text"),
        (["a", "b"], "list, where a text"),
        ({"text": "a", "label": 1}, "'label'"),
        ({"text": ["a", "b"]}, "list, where a text"),
        (("a", 2), "int, where a text"),
    ],
)
def test_inputs_that_are_no_texts(classify, item, message):
    mine, _ = classify
    with pytest.raises(PipelineInputError, match=message) as caught:
        mine(["fine", item])
    assert caught.value.positions == (1,)


def test_wrong_options(classify):
    mine, _ = classify
    with pytest.raises(InputError, match="Did you mean 'top_k'"):
        mine("a", topk=3)
    with pytest.raises(InputError, match="Did you mean 'softmax'"):
        mine("a", function_to_apply="soft_max")
    with pytest.raises(InputError, match="top_k is 0"):
        mine("a", top_k=0)


def test_too_long(classify):
    mine, oracle = classify
    long = "good " * 300
    with pytest.raises(InputError, match="302 tokens long, and the model reads at most 128") as single:
        mine(long)
    assert "truncation=True" in str(single.value)
    with pytest.raises(PipelineInputError, match=r"inputs\[1\]: The input is 302 tokens"):
        mine(["good", long])
    assert_same(mine([long, "good"], truncation=True), oracle([long, "good"], truncation=True))


def test_truncation_knows_the_model_where_the_tokenizer_does_not(checkpoints):
    mine = ours("text-classification", checkpoints("ForSequenceClassification", num_labels=3))
    known = mine("good " * 300, truncation=True)
    before = mine.tokenizer.model_max_length
    mine.tokenizer.model_max_length = 10**30
    try:
        assert mine("good " * 300, truncation=True) == known
    finally:
        mine.tokenizer.model_max_length = before


def test_bfloat16(checkpoints):
    folder = checkpoints("ForSequenceClassification", num_labels=3)
    exact = ours("text-classification", folder)
    for given in ("bfloat16", torch.bfloat16):
        coarse = ours("text-classification", folder, dtype=given)
        assert coarse.dtype == torch.bfloat16
        assert_same(coarse(TEXTS[0]), exact(TEXTS[0]), within=0.1)
