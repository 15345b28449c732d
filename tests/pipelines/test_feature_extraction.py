from __future__ import annotations

import pytest
import torch
from pipeline_helpers import TEXTS, assert_same

from notebook_kit.errors import InputError


@pytest.fixture
def extract(both):
    return both("feature-extraction", "Model")


@pytest.mark.parametrize("options", [{}, {"truncation": True, "tokenize_kwargs": {"max_length": 5}}], ids=str)
def test_same_vectors(extract, options):
    mine, oracle = extract
    assert_same(
        mine(TEXTS[:4], **options),
        oracle(TEXTS[:4], **{k: dict(v) if isinstance(v, dict) else v for k, v in options.items()}),
    )
    tensors = mine(TEXTS, return_tensors=True, **options)
    # One at a time, since batches of the oracle come with their padding.
    for text, vectors in zip(TEXTS, tensors, strict=True):
        expected = oracle(
            text, return_tensors=True, **{k: dict(v) if isinstance(v, dict) else v for k, v in options.items()}
        )
        assert_same(vectors, expected)
        assert vectors.dtype == torch.float32
        assert not vectors.is_inference()


def test_truncation_is_said_once(extract):
    mine, _ = extract
    with pytest.raises(InputError, match="truncation was passed both"):
        mine("a", truncation=True, tokenize_kwargs={"truncation": True})


def test_vectors_hold_no_more_than_themselves(extract):
    mine, _ = extract
    first = mine(TEXTS, return_tensors=True)[4]
    assert first.untyped_storage().nbytes() == first.numel() * 4


def test_a_model_with_a_head_gives_its_logits(both):
    mine, oracle = both("feature-extraction", "ForSequenceClassification", num_labels=3)
    assert mine.model.__class__.__name__ == "BertModel"
    assert_same(mine(TEXTS[0]), oracle(TEXTS[0]))
