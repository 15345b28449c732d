"""Batches equal those of transformers, number by number; what cannot be a batch is an error that says what to do."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

import notebook_kit
import notebook_kit as ours
from notebook_kit.errors import ConfigurationError, InputError

ROLES = {"pad_token": "w0", "mask_token": "w1", "cls_token": "w2", "sep_token": "w3"}
WITH_TOKENIZER = [
    ours.DataCollatorWithPadding,
    ours.DataCollatorForTokenClassification,
    ours.DataCollatorForSeq2Seq,
    ours.DataCollatorForMultipleChoice,
]


def tokenizer(library=notebook_kit, **roles):
    backend = Tokenizer(models.WordLevel({f"w{i}": i for i in range(40)}, unk_token="w39"))
    return library.PreTrainedTokenizerFast(tokenizer_object=backend, **(roles or ROLES))


def same(mine, theirs):
    assert sorted(mine) == sorted(theirs)
    for name, value in theirs.items():
        if isinstance(value, torch.Tensor):
            assert mine[name].dtype == value.dtype and torch.equal(mine[name], value), name
        else:
            assert np.array_equal(mine[name], value), name


# Kinds of examples -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label", [1, True, 0.5, np.int32(3), [0.0, 1.0], [1, 0], np.array([1.0, 0.0], dtype=np.float32)], ids=repr
)
@pytest.mark.parametrize("name", ["label", "label_ids", "labels"])
def test_default_collator_equals_the_references(label, name):
    if (name == "label") == (np.ndim(label) > 0):
        pytest.skip("a label is one number, label_ids are several")
    examples = [{"x": [1, 2], "y": 0.25, "z": np.ones(2, dtype=np.float32), name: label, "text": "a"}] * 2
    mine, theirs = ours.DefaultDataCollator()(examples), transformers.DefaultDataCollator()(examples)
    if isinstance(label, np.int32):
        theirs["labels"] = theirs["labels"].long()  # class numbers, whatever they were stored as
    same(mine, theirs)
    same(ours.default_data_collator(examples), mine)


def test_default_collator_takes_columns():
    columns = {"x": [[1, 2], [3, 4]], "label": [0, 1], "text": ["a", "b"]}
    batch = ours.default_data_collator(columns)
    assert batch["x"].tolist() == [[1, 2], [3, 4]] and batch["labels"].tolist() == [0, 1] and "text" not in batch


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "options", [{}, {"pad_to_multiple_of": 4}, {"padding": "max_length", "max_length": 9}], ids=str
)
@pytest.mark.parametrize("name", ["label", "labels"])
def test_multiple_choice_equals_the_references(side, options, name):
    examples = [
        {"input_ids": [[5, 6, 7], [8]], "attention_mask": [[1, 1, 1], [1]], name: 1},
        {"input_ids": [[9, 4], [5, 6]], "attention_mask": [[1, 1], [1, 1]], name: 0},
    ]
    mine = ours.DataCollatorForMultipleChoice(tokenizer(padding_side=side, **ROLES), **options)
    theirs = transformers.DataCollatorForMultipleChoice(tokenizer(transformers, padding_side=side, **ROLES), **options)
    same(mine(examples), theirs([dict(example) for example in examples]))
    assert isinstance(mine(examples, return_tensors="np")["input_ids"], np.ndarray)


def test_multiple_choice_without_labels_and_with_unequal_choices():
    collate = ours.DataCollatorForMultipleChoice(tokenizer())
    assert "labels" not in collate([{"input_ids": [[5], [6]]}])
    with pytest.raises(InputError, match="have 1 and 2 choices"):
        collate([{"input_ids": [[5], [6]]}, {"input_ids": [[5]]}])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_seq_idx": True},
        {"return_flash_attn_kwargs": True, "position_ids_start": 2},
        {"return_position_ids": False, "separator_id": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize("labelled", [False, True])
def test_flattening_equals_the_references(options, kind, labelled):
    rows = [[5, 6, 7], [8, 9], [4]]
    examples = [{"input_ids": row, **({"labels": [-100, *row[1:]]} if labelled else {})} for row in rows]
    mine = ours.DataCollatorWithFlattening(return_tensors=kind, **options)
    same(mine(examples), transformers.DataCollatorWithFlattening(return_tensors=kind, **options)(examples))
    again = mine([{name: np.array(value) for name, value in example.items()} for example in examples], separator_id=3)
    assert again["labels"][0][0] == 3


@pytest.mark.parametrize("bare", [True, False])
def test_permutations_equal_the_references(bare):
    rows = [[2, *range(5, 16), 3, 4], [2, *range(16, 24), 3, 0, 0, 0, 0]]
    examples = rows if bare else [{"input_ids": row} for row in rows]
    mine = ours.DataCollatorForPermutationLanguageModeling(tokenizer(), plm_probability=0.4, max_span_length=3)
    theirs = transformers.DataCollatorForPermutationLanguageModeling(
        tokenizer(transformers), plm_probability=0.4, max_span_length=3
    )
    for seed in range(5):
        torch.manual_seed(seed)
        a = mine(examples)
        torch.manual_seed(seed)
        same(a, theirs(examples))


def test_permutations_need_an_even_length_and_a_mask():
    with pytest.raises(InputError, match="3 tokens, an odd number"):
        ours.DataCollatorForPermutationLanguageModeling(tokenizer())([[5, 6, 7]])
    with pytest.raises(ConfigurationError, match="needs a mask token"):
        ours.DataCollatorForPermutationLanguageModeling(tokenizer(pad_token="w0"))


# The end of a text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_end_of_a_text_is_learned_if_it_is_also_the_padding(side):
    collate = ours.DataCollatorForLanguageModeling(
        tokenizer(pad_token="w0", eos_token="w0", padding_side=side), mlm=False
    )
    padded = [[5, 0], [6, 7, 8, 0]]
    expected = [[-100, -100, 5, 0] if side == "left" else [5, 0, -100, -100], [6, 7, 8, 0]]
    given = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in padded]
    for examples in (given, padded, [torch.tensor(row) for row in padded], [{"input_ids": row} for row in padded]):
        assert collate(examples)["labels"].tolist() == expected
    assert collate([[5, 0, 6, 0]])["labels"].tolist() == [[5, 0, 6, 0]]  # a block of two texts


def test_padding_that_examples_come_with_has_no_label():
    collate = ours.DataCollatorForLanguageModeling(tokenizer(), mlm=False)
    assert collate([[5, 6, 0, 0]])["labels"].tolist() == [[5, 6, -100, -100]]
    masked = {"input_ids": [5, 6, 9, 9], "attention_mask": [1, 1, 0, 0]}
    assert collate([masked])["labels"].tolist() == [[5, 6, -100, -100]]


def test_the_advice_about_a_missing_padding_token_can_be_followed():
    mine = tokenizer(eos_token="w3")
    with pytest.raises(InputError, match=r"(?s)tokenizer\.pad_token = tokenizer\.eos_token.*resize_token_embeddings"):
        ours.DataCollatorForLanguageModeling(mine, mlm=False)([[5, 3], [6, 7, 3]])
    mine.pad_token = mine.eos_token
    labels = ours.DataCollatorForLanguageModeling(mine, mlm=False)([[5, 3], [6, 7, 3]])["labels"]
    assert labels.tolist() == [[5, 3, -100], [6, 7, 3]]


def test_language_modeling_takes_columns():
    collate = ours.DataCollatorForLanguageModeling(tokenizer(), mlm=False)
    assert collate({"input_ids": [[5, 6], [7]]})["labels"].tolist() == [[5, 6], [7, -100]]


def test_subclasses_override_torch_call():
    class Only(ours.DataCollatorForLanguageModeling):
        def torch_call(self, examples):
            batch = super().torch_call(examples)
            batch["labels"][:, 0] = -100
            return batch

    assert Only(tokenizer(), mlm=False)([[5, 6]])["labels"].tolist() == [[-100, 6]]
    assert Only(tokenizer(), mlm=False)([[5, 6]], return_tensors="np")["labels"].tolist() == [[-100, 6]]


# Mistakes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["label", "labels", "label_ids"])
@pytest.mark.parametrize("kind", [ours.DefaultDataCollator, *WITH_TOKENIZER], ids=lambda kind: kind.__name__)
def test_labels_that_are_text(name, kind):
    if kind is ours.DataCollatorForMultipleChoice:
        example = {"input_ids": [[5], [6]], name: "positive"}
    else:
        per_token = kind in (ours.DataCollatorForTokenClassification, ours.DataCollatorForSeq2Seq)
        example = {"input_ids": [5], name: ["positive"] if per_token else "positive"}
    collate = kind() if kind is ours.DefaultDataCollator else kind(tokenizer())
    with pytest.raises(InputError, match=rf"(?s)'{name}', are text, such as .*positive.*class_encode_column.*label2id"):
        collate([example, example])


def test_the_advice_about_labels_that_are_text_can_be_followed():
    data = datasets.Dataset.from_dict({"input_ids": [[5], [6]], "label": ["positive", "negative"]})
    numbered = data.class_encode_column("label")
    assert ours.DataCollatorWithPadding(tokenizer())(list(numbered))["labels"].tolist() == [1, 0]


wrong = st.one_of(
    st.sampled_from(["x", "8", 0, -1, 1.5, True, [8], (), b"8", {}]), st.floats(), st.integers(max_value=0), st.text()
)


@pytest.mark.parametrize(
    "kind", [*WITH_TOKENIZER, ours.DataCollatorForLanguageModeling], ids=lambda kind: kind.__name__
)
@given(value=wrong)
@settings(max_examples=25, deadline=None)
def test_wrong_lengths(kind, value):
    with pytest.raises(ConfigurationError, match=r"(?s)pad_to_multiple_of is .*positive whole number"):
        kind(tokenizer(), pad_to_multiple_of=value)
    if kind is not ours.DataCollatorForLanguageModeling:
        with pytest.raises(ConfigurationError, match="max_length is"):
            kind(tokenizer(), max_length=value)


@pytest.mark.parametrize(
    "kind", [*WITH_TOKENIZER, ours.DataCollatorForLanguageModeling], ids=lambda kind: kind.__name__
)
def test_wrong_kinds_of_tensors_and_examples(kind):
    with pytest.raises(InputError, match="return_tensors='tensorflow' is not a kind of tensor"):
        kind(tokenizer(), return_tensors="tensorflow")([{"input_ids": [5], "label": 0}])
    for features in ([], [5], ["text"], None, 3):
        with pytest.raises((InputError, ConfigurationError)):
            kind(tokenizer())(features)
