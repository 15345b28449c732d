from __future__ import annotations

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
    for inputs in (ONE, TWO, [ONE], [ONE, TWO, ONE + " and then some more words"]):
        assert_same(mine(inputs, **options), oracle(inputs, **oracle_options))


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


def test_a_tokenizer_without_a_mask(checkpoints):
    folder = checkpoints("ForMaskedLM")
    good = ours("fill-mask", folder)

    class NoMask:
        mask_token_id = None
        pad_token_id = 0

    with pytest.raises(InputError, match="no mask token"):
        type(good)(good.model, NoMask(), device="cpu")
