from __future__ import annotations

import warnings

import pytest
from pipeline_helpers import NER_LABELS, TEXTS, assert_same, ours

from notebook_kit.errors import InputError

LABELS = {
    "id2label": dict(enumerate(NER_LABELS)),
    "label2id": {label: i for i, label in enumerate(NER_LABELS)},
}
STRATEGIES = ["none", "simple", "first", "average", "max"]


@pytest.fixture
def tag(both):
    return both("token-classification", "ForTokenClassification", **LABELS)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_same_entities(tag, strategy):
    mine, oracle = tag
    for options in ({}, {"ignore_labels": []}, {"ignore_labels": ["MISC", "PER", "B-LOC"]}):
        options["aggregation_strategy"] = strategy
        expected = [oracle(text, **options) for text in TEXTS]
        assert any(expected), "a model that finds nothing tests nothing"
        assert_same(mine(TEXTS, **options), expected)
        assert_same(mine(TEXTS[2], **options), expected[2])


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
@pytest.mark.parametrize("stride", [0, 2, 6])
def test_same_entities_in_overlapping_pieces(checkpoints, strategy, stride):
    import transformers

    folder = checkpoints("ForTokenClassification", **LABELS)
    mine = ours("ner", folder)
    mine.tokenizer.model_max_length = 16
    oracle = transformers.pipeline("ner", model=folder, device="cpu")
    oracle.tokenizer.model_max_length = 16
    options = {"aggregation_strategy": strategy, "stride": stride}
    for text in TEXTS:
        assert_same(mine(text, **options), oracle(text, **options))
    assert_same(mine(TEXTS, **options), [oracle(text, **options) for text in TEXTS])


def test_a_long_text_is_cut_off_without_stride(tag):
    mine, oracle = tag
    assert_same(mine("Wolfgang lives in Berlin. " * 60), oracle("Wolfgang lives in Berlin. " * 60))


@pytest.mark.parametrize("strategy", ["none", "simple", "first"])
@pytest.mark.parametrize("delimiter", [None, "", "--"])
def test_same_entities_of_split_words(tag, strategy, delimiter):
    mine, oracle = tag
    options = {"aggregation_strategy": strategy, "is_split_into_words": True}
    if delimiter is not None:
        options["delimiter"] = delimiter
    words = ["Wolfgang", "Schmidt", "lives", "in", "Berlin", "."]
    assert_same(mine(words, **options), oracle(words, **options))
    several = [words, ["Maria", "moved", "unbelievably", "."]]
    assert_same(mine(several, **options), oracle(several, **options))


def test_old_spellings(tag):
    mine, _ = tag
    text = TEXTS[3]
    assert mine(text, grouped_entities=True) == mine(text, aggregation_strategy="simple")
    assert mine(text, grouped_entities=True, ignore_subwords=True) == mine(text, aggregation_strategy="first")
    assert mine(text, grouped_entities=False) == mine(text)


def test_offsets_of_the_caller(tag):
    mine, oracle = tag
    text = "Berlin live"
    own = mine.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    shifted = [(start, max(start, end - 1)) for start, end in own]
    options = {"ignore_labels": [], "offset_mapping": shifted}
    assert_same(mine(text, **options), oracle(text, **options))
    both = mine([text, text], ignore_labels=[], offset_mapping=[own, shifted])
    assert_same(both, [mine(text, ignore_labels=[]), mine(text, **options)])
    with pytest.raises(InputError, match="1 inputs and 2 offset mappings"):
        mine([text], offset_mapping=[own, own])


def test_a_tokenizer_that_marks_no_subwords_says_so(tag):
    mine, _ = tag
    from notebook_kit.errors import NotebookKitWarning
    from notebook_kit.pipelines import TokenClassificationPipeline

    class Unmarked(TokenClassificationPipeline):
        _marks_subwords = False

    pipe = Unmarked(mine.model, mine.tokenizer, device="cpu")
    with pytest.warns(NotebookKitWarning, match="words are separated at spaces") as caught:
        found = pipe("Wolfgang lives", aggregation_strategy="first", ignore_labels=[])
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe("Wolfgang lives", aggregation_strategy="simple")
    assert found[0]["start"] == 0


@pytest.mark.parametrize(
    ("item", "options", "message"),
    [
        ("a", {"aggregation_strategy": "averge"}, "Did you mean 'average'"),
        ("a", {"stride": 4}, "must be joined"),
        ("a", {"stride": 4, "aggregation_strategy": "none"}, "must be joined"),
        ("a", {"stride": 400, "aggregation_strategy": "simple"}, "leaves no room"),
        ("a", {"is_split_into_words": True}, "requires a list of words"),
        ({"text": "a"}, {}, "is a dict"),
    ],
)
def test_what_cannot_be_used(tag, item, options, message):
    mine, _ = tag
    with pytest.raises(InputError, match=message):
        mine(item, **options)


def test_scores_are_plain_numbers(tag):
    import json

    mine, _ = tag
    for strategy in STRATEGIES:
        assert json.loads(json.dumps(mine(TEXTS[2], aggregation_strategy=strategy, ignore_labels=[])))
