from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from pipeline_helpers import TEXTS, assert_same, ours

from notebook_kit.errors import InputError, PipelineInputError

NLI = {
    "id2label": {0: "contradiction", 1: "neutral", 2: "ENTAILMENT"},
    "label2id": {"contradiction": 0, "neutral": 1, "ENTAILMENT": 2},
}
FIRST = {
    "id2label": {0: "entailment", 1: "not_entailment"},
    "label2id": {"entailment": 0, "not_entailment": 1},
}
LABELS = ["good film", "city", "a problem with the phone", "dog"]


@pytest.mark.parametrize("labels", [NLI, FIRST], ids=["three classes", "entailment first"])
@pytest.mark.parametrize(
    "options",
    [
        {"candidate_labels": LABELS},
        {"candidate_labels": "good film, city,, dog"},
        {"candidate_labels": ["city"]},
        {"candidate_labels": LABELS, "multi_label": True},
        {"candidate_labels": LABELS, "hypothesis_template": "The film is {}."},
    ],
    ids=str,
)
def test_same_scores(both, labels, options):
    mine, oracle = both("zero-shot-classification", "ForSequenceClassification", **labels)
    texts = [text for text in TEXTS if text]
    assert_same(mine(texts, **options), oracle(texts, **options))
    assert_same(mine(texts[0], **options), oracle(texts[0], **options))
    assert_same(mine(texts[:1], **options), oracle(texts[:1], **options))


def test_labels_as_second_argument_and_at_construction(both, checkpoints):
    mine, oracle = both("zero-shot-classification", "ForSequenceClassification", **NLI)
    expected = oracle(TEXTS[0], LABELS)
    assert_same(mine(TEXTS[0], LABELS), expected)
    fixed = ours("zero-shot-classification", checkpoints("ForSequenceClassification", **NLI), candidate_labels=LABELS)
    assert_same(fixed(TEXTS[0]), expected)


def test_a_long_text_is_cut_and_its_label_is_not(both):
    mine, oracle = both("zero-shot-classification", "ForSequenceClassification", **NLI)
    long = "a good film. " * 100
    assert_same(mine(long, LABELS), oracle(long, LABELS))


def test_what_cannot_be_used(both):
    mine, _ = both("zero-shot-classification", "ForSequenceClassification", **NLI)
    with pytest.raises(InputError, match="no labels"):
        mine("a text")
    with pytest.raises(InputError, match="no labels"):
        mine("a text", candidate_labels=[])
    with pytest.raises(InputError, match=r"candidate_labels\[1\] is ' '"):
        mine("a text", candidate_labels=["city", " "])
    for labels in (5, 1.5, [1, 2], {"city": 1}, b"city", [None]):
        with pytest.raises(InputError, match="candidate_labels is"):
            mine("a text", labels)
    with pytest.raises(PipelineInputError, match=r"inputs\[1\]: The input is empty"):
        mine(["a text", ""], LABELS)


@pytest.mark.parametrize("template", ["{}", "It is {label}.", "{0}!", "{{{}}}", "{!s:>3}", "{label} or {label}"])
def test_templates(both, template):
    mine, _ = both("zero-shot-classification", "ForSequenceClassification", **NLI)
    answer = mine("a text", LABELS, hypothesis_template=template)
    filled = [template.format(label, label=label) for label in LABELS]
    expected = mine("a text", filled, hypothesis_template="{}")
    assert dict(zip(answer["labels"], answer["scores"], strict=True)) == {
        label: expected["scores"][expected["labels"].index(hypothesis)]
        for label, hypothesis in zip(LABELS, filled, strict=True)
    }


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("This is it.", "has no placeholder for the label"),
        ("", "has no placeholder for the label"),
        ("This text is about {{}}.", "has no placeholder for the label"),
        ("{{label}}", "has no placeholder for the label"),
        ("This is {", "cannot be filled"),
        ("This is } {}", "cannot be filled"),
        ("This is {topic}.", "cannot be filled.*topic"),
        ("{} and {}", "cannot be filled"),
        ("{1}", "cannot be filled"),
        ("{:d}", "cannot be filled"),
        ("{.name}", "cannot be filled"),
        (5, "hypothesis_template is 5; expected text"),
        (None, None),
    ],
)
def test_templates_that_cannot_be_filled(both, template, message):
    mine, _ = both("zero-shot-classification", "ForSequenceClassification", **NLI)
    if message is None:  # not given
        assert mine("a text", LABELS, hypothesis_template=None) == mine("a text", LABELS)
        return
    with pytest.raises(InputError, match=message):
        mine(["a text"], LABELS, hypothesis_template=template)


@pytest.mark.parametrize(
    "labels", [tuple(LABELS), (label for label in LABELS), np.array(LABELS), pd.Series(LABELS)], ids=type
)
def test_labels_in_a_column(both, labels):
    mine, _ = both("zero-shot-classification", "ForSequenceClassification", **NLI)
    assert mine("a text", labels) == mine(sequences="a text", candidate_labels=LABELS)


def test_a_model_of_other_labels_gets_a_notice(checkpoints, caplog):
    with caplog.at_level(logging.WARNING, logger="notebook_kit"):
        ours("zero-shot-classification", checkpoints("ForSequenceClassification", num_labels=3))
    assert "entailment" in caplog.text
