from __future__ import annotations

from unittest.mock import ANY

import numpy as np
import pytest
from pipeline_helpers import assert_same, ours

from notebook_kit.errors import InputError, NotebookKitWarning, PipelineInputError

ONE = "the film is very [MASK]."
TWO = "the [MASK] is very [MASK]."


@pytest.fixture
def fill(both):
    return both("fill-mask", "ForMaskedLM")


@pytest.mark.parametrize("options", [{}, {"top_k": 1}, {"top_k": 10_000}, {"targets": ["good", "dull"]}, {"targets": "good"},
                                     {"targets": ["good", "dull", "happy"], "top_k": 2}], ids=str)  # fmt: skip
def test_same_proposals(fill, options):
    mine, oracle = fill
    if options.get("top_k") == 10_000:
        assert len(mine(ONE, **options)) == mine.model.config.vocab_size
        oracle_options = {"top_k": mine.model.config.vocab_size}
    else:
        oracle_options = options
    for inputs in (ONE, [ONE], [ONE, ONE + " and then some more words"]):
        assert_same(mine(inputs, **options), oracle(inputs, **oracle_options))
    for inputs in (TWO, [ONE, TWO]):
        expected = oracle(inputs, **oracle_options)
        for gap in expected if inputs == TWO else expected[1]:
            for proposal in gap:  # with several gaps, the oracle leaves the special tokens in
                inner = proposal["sequence"].removeprefix("[CLS] ").removesuffix(" [SEP]")
                special = proposal["token_str"] in ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]")
                proposal["sequence"] = ANY if special else inner
        assert_same(mine(inputs, **options), expected)


def test_sequences_show_the_other_gaps_and_no_other_special_tokens(fill):
    mine, _ = fill
    first, second = mine(TWO, targets="good")
    assert first[0]["sequence"] == "the good is very [MASK]."
    assert second[0]["sequence"] == "the [MASK] is very good."
    padded = mine([TWO], tokenizer_kwargs={"padding": "max_length", "max_length": 30}, targets="good")
    assert [gap[0]["sequence"] for gap in padded] == [first[0]["sequence"], second[0]["sequence"]]
    for gap in mine(TWO, top_k=mine.model.config.vocab_size):
        for proposal in gap:
            assert not {"[CLS]", "[SEP]", "[PAD]", "[UNK]"} & set(proposal["sequence"].split())
            assert proposal["sequence"].count("[MASK]") == 1


@pytest.mark.parametrize("targets", ["Good", ["GOOD"], ("Good", "good"), np.array(["gOOd"])], ids=str)
def test_targets_are_found_as_the_tokenizer_writes_them(fill, targets):
    mine, _ = fill
    assert mine(ONE, targets=targets) == mine(ONE, targets=["good"])


@pytest.mark.parametrize("targets", [5, [5], {"good": 1}, b"good", [None]], ids=str)
def test_targets_that_are_no_words(fill, targets):
    mine, _ = fill
    with pytest.raises(InputError, match="targets is"):
        mine(ONE, targets=targets)


def test_tokenizer_kwargs(fill):
    mine, oracle = fill
    long = ONE + " very" * 400
    with pytest.raises(InputError, match="reads at most 128"):
        mine(long)
    options = {"tokenizer_kwargs": {"truncation": True}}
    assert_same(mine(long, **options), oracle(long, **options))


def test_without_a_gap(fill):
    mine, _ = fill
    with pytest.raises(InputError, match=r"\[MASK\]"):
        mine("the film is very good.")
    with pytest.raises(InputError, match="after truncation"):
        mine("very " * 200 + "[MASK]", tokenizer_kwargs={"truncation": True})
    with pytest.raises(PipelineInputError, match=r"inputs\[1\]: The text has no gap"):
        mine([ONE, "no gap", TWO])


def test_targets_outside_the_vocabulary(fill):
    mine, _ = fill
    with pytest.warns(NotebookKitWarning, match="its first token 'for' is used") as caught:
        assert mine(ONE, targets=["forever"])[0]["token_str"] == "for"
    assert caught[0].filename == __file__  # the line of the call, not one of the library
    with pytest.warns(NotebookKitWarning), pytest.raises(InputError, match="No target is in the vocabulary"):
        mine(ONE, targets=[" "])
    with pytest.warns(NotebookKitWarning, match="not in the vocabulary: ignored"):
        assert mine(ONE, targets=["東京", "good"]) == mine(ONE, targets=["good"])


def test_a_tokenizer_without_a_mask(checkpoints):
    folder = checkpoints("ForMaskedLM")
    good = ours("fill-mask", folder)

    class NoMask:
        mask_token_id = None
        pad_token_id = 0

    with pytest.raises(InputError, match="no mask token"):
        type(good)(good.model, NoMask(), device="cpu")
