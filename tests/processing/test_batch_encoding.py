"""BatchEncoding: a mapping, a map between tokens and text, and what collators and datasets do with it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from notebook_kit.errors import InputError
from notebook_kit.processing.text.auto import BatchEncoding, CharSpan, TokenSpan

TEXTS = ["A gorgeous, witty movie.", "Unbelievably naïve  👍🏽", ""]
SECOND = ["Is it?", "what", "embeddings everywhere"]


def positions(encoding, method, count, *more):
    out = []
    for batch in range(len(encoding["input_ids"])):
        for index in range(count):
            try:
                out.append(getattr(encoding, method)(batch, index, *more))
            except TypeError:  # the oracle's word_to_chars fails where there is no such word
                out.append(None)
    return out


@pytest.mark.parametrize("name", ["minilm", "roberta", "xlm_roberta"])
def test_positions_equal_the_oracles(both, name):
    ours, oracle = both(name)
    for options in ({}, {"padding": True, "padding_side": "left"}):
        mine, theirs = ours(TEXTS, SECOND, **options), oracle(TEXTS, SECOND, **options)
        assert mine.n_sequences == theirs.n_sequences == 2
        for batch in range(len(TEXTS)):
            for method in ("tokens", "word_ids", "sequence_ids"):
                assert getattr(mine, method)(batch) == getattr(theirs, method)(batch)
        for method in ("char_to_token", "char_to_word", "word_to_tokens", "word_to_chars"):
            for sequence in (0, 1):
                assert positions(mine, method, 20, sequence) == positions(theirs, method, 20, sequence)
        shortest = min(map(len, mine["input_ids"]))
        for method in ("token_to_word", "token_to_chars", "token_to_sequence"):
            assert positions(mine, method, shortest) == positions(theirs, method, shortest)


def test_one_sequence_needs_no_batch_index(both):
    encoding = both("minilm")[0]("unbelievable movie")
    assert encoding.tokens() == ["[CLS]", "unbelievable", "movie", "[SEP]"]
    assert encoding.char_to_token(0) == 1
    assert encoding.char_to_token(12) is None
    assert encoding.token_to_chars(2) == CharSpan(13, 18)
    assert encoding.token_to_chars(-2) == CharSpan(13, 18)
    assert encoding.word_to_tokens(1) == TokenSpan(2, 3)
    assert encoding.word_to_chars(1).end == 18
    assert encoding.char_to_word(14) == encoding.token_to_word(2) == 1
    assert encoding.token_to_sequence(1) == 0
    assert encoding.token_to_chars(0) is None
    with pytest.raises(InputError, match="no sequence 3: this batch has 1"):
        encoding.tokens(3)


def test_it_is_a_mapping(both):
    encoding = both("minilm")[0](TEXTS, padding=True)
    assert isinstance(encoding, Mapping)
    assert list(encoding) == ["input_ids", "token_type_ids", "attention_mask"] == list(encoding.keys())
    assert dict(**encoding)["input_ids"] is encoding.input_ids is encoding["input_ids"]
    assert encoding[0].ids == encoding.input_ids[0]
    assert [item.ids for item in encoding[1:]] == encoding.input_ids[1:]
    assert "input_ids" in encoding
    assert encoding.get("labels") is None
    encoding["labels"] = [1, 0, 1]
    assert encoding.pop("labels") == [1, 0, 1]
    assert "input_ids" in dir(encoding)
    with pytest.raises(AttributeError, match=r"no 'input_id'.*Did you mean 'input_ids'"):
        encoding.input_id  # noqa: B018
    with pytest.raises(KeyError):
        encoding["nothing"]


def test_without_encodings(both):
    encoding = BatchEncoding({"input_ids": [[1, 2], [3, 4]], "name": ["a", "b"]})
    assert encoding[:1] == {"input_ids": [[1, 2]], "name": ["a"]}
    assert not encoding.is_fast
    assert encoding.n_sequences is None
    with pytest.raises(InputError, match="does not know its characters"):
        encoding.word_ids()
    with pytest.raises(KeyError):
        encoding[0]
    with pytest.raises(InputError, match=r"`name` cannot become a tensor: it holds str"):
        encoding.convert_to_tensors("pt")


def test_pickles_with_its_positions(both):
    encoding = both("minilm")[0](TEXTS, SECOND, padding=True, return_tensors="pt")
    again = pickle.loads(pickle.dumps(encoding))
    assert torch.equal(again.input_ids, encoding.input_ids)
    assert again.word_ids(1) == encoding.word_ids(1)
    assert again.n_sequences == 2


def test_moves_to_devices(both):
    encoding = both("minilm")[0](TEXTS, padding=True, return_tensors="pt")
    encoding["name"] = "stays"
    assert encoding.to("meta") is encoding
    assert encoding.input_ids.device == torch.device("meta")
    assert encoding["name"] == "stays"
    with pytest.raises(InputError, match=r"torch.float16, which is not a device"):
        encoding.to(torch.float16)


@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize(
    "value", [[1, 2], [[1, 2], [3, 4]], [], [[]], [1.5, 2], [True, False], [np.array([1, 2]), np.array([3, 4])], 7]
)
def test_tensors_equal_the_oracles(kind, value):
    from transformers import BatchEncoding as OracleBatchEncoding

    for axis in (False, True):
        mine = BatchEncoding({"x": value}, tensor_type=kind, prepend_batch_axis=axis)["x"]
        try:
            theirs = OracleBatchEncoding({"x": value}, tensor_type=kind, prepend_batch_axis=axis)["x"]
        except ValueError:
            continue  # the oracle cannot take a bare number
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert (mine == theirs).all()


def test_rows_of_tensors_stack():
    rows = [torch.tensor([1, 2]), torch.tensor([3, 4])]
    assert BatchEncoding({"x": rows}, tensor_type="pt")["x"].tolist() == [[1, 2], [3, 4]]
    assert BatchEncoding({"x": rows}, tensor_type="np")["x"].tolist() == [[1, 2], [3, 4]]


def test_ragged_arrays_are_arrays_of_rows(both):
    ours, oracle = both("minilm")
    mine, theirs = ours(TEXTS, return_tensors="np")["input_ids"], oracle(TEXTS, return_tensors="np")["input_ids"]
    assert mine.dtype == theirs.dtype == object
    assert [row.tolist() for row in mine] == [row.tolist() for row in theirs]


def test_datasets_map(both):
    from datasets import Dataset

    ours, _ = both("minilm")
    dataset = Dataset.from_dict({"text": TEXTS, "label": [0, 1, 0]})
    mapped = dataset.map(lambda batch: ours(batch["text"], truncation=True), batched=True)
    assert mapped["input_ids"][:] == ours(TEXTS)["input_ids"]
    one_by_one = dataset.map(lambda row: ours(row["text"]))
    assert one_by_one["input_ids"][:] == mapped["input_ids"][:]


def test_datasets_cache_knows_a_tokenizer_again(both):
    """A call must not change how the tokenizer pickles, or every `map` would compute anew."""
    from datasets.fingerprint import Hasher

    ours, _ = both("minilm")
    before = Hasher.hash(ours)
    ours(["too long " * 600], verbose=False, padding=True, truncation=True, return_tensors="pt")
    assert Hasher.hash(ours) == before
