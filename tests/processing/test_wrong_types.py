"""Every public call with arguments of wrong types: it works, or it is one of our errors that names the argument."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pandas as pd
import pytest
import torch

from notebook_kit import AutoTokenizer
from notebook_kit.errors import InputError, NotebookKitError, NotebookKitWarning

JUNK = [
    *(None, 5, -1, 3.5, float("nan"), True, "x", "", "\ud800", b"x", 10**30, -(10**30), object(), type, len),
    *([], {}, [None], [5], ["x"], [["x"]], [[5]], [["x", 5]], [10**12], [-5], [True], ["a", ["b"]], (1, 2), [(1, 2)]),
    *({"a": 1}, {"input_ids": 5}, {"input_ids": None}, {1, 2}, range(3)),
    *(np.array(5), np.array([1, 2]), np.array(["a", "b"]), np.array([]), np.array([[1.5]])),
    *(torch.tensor(3), torch.tensor([1, 2]), torch.tensor([1.5]), pd.Series(["a", "b"]), pd.DataFrame({"a": ["b"]})),
]
TEXTS, CHAT = ["some text", "b"], [{"role": "user", "content": "hi"}]
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
METHODS = (
    *("convert_ids_to_tokens", "convert_tokens_to_ids", "decode", "batch_decode"),
    *("convert_tokens_to_string", "tokenize", "encode", "__call__", "pad", "encode_plus"),
    *("batch_encode_plus", "add_tokens", "add_special_tokens", "build_inputs_with_special_tokens"),
    *("get_special_tokens_mask", "create_token_type_ids_from_sequences", "apply_chat_template"),
    *("get_chat_template", "num_special_tokens_to_add", "clean_up_tokenization"),
)
POSITIONS = (
    *("char_to_token", "char_to_word", "token_to_chars", "token_to_word", "token_to_sequence"),
    *("word_to_chars", "word_to_tokens", "tokens", "word_ids", "sequence_ids", "convert_to_tensors"),
)
ATTRIBUTES = (
    *("padding_side", "truncation_side", "model_max_length", "pad_token", "pad_token_id"),
    *("extra_special_tokens", "chat_template"),
)
LOADING = (
    *("pad_token", "model_max_length", "padding_side", "model_input_names", "extra_special_tokens"),
    *("additional_special_tokens", "chat_template", "pad_token_type_id", "add_bos_token", "do_lower_case"),
    *("add_prefix_space", "strip_accents"),
)


def parameters(method, *skipped):
    return [
        name for name in inspect.signature(method).parameters if name not in ("self", "unknown", "variables", *skipped)
    ]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")


def attempt(call):
    """Run a call with each wrong value; list what raises anything but our errors."""
    wrong = []
    for value in JUNK:
        try:
            call(value)
        except (NotebookKitError, NotebookKitWarning):
            continue
        except Exception as error:
            wrong.append((value, error))
    assert wrong == []


@pytest.mark.parametrize("name", METHODS)
def test_first_arguments(tokenizer, name):
    mine = copy.deepcopy(tokenizer) if name.startswith("add_") else tokenizer
    attempt(lambda value: getattr(mine, name)(value))


def test_keywords_of_a_call(tokenizer):
    for name in parameters(type(tokenizer).__call__, "text"):
        attempt(lambda value, name=name: tokenizer(TEXTS, **{name: value}))
        attempt(lambda value, name=name: tokenizer(TEXTS[0], **{name: value}))
        usual = {"padding": True, "truncation": True, "max_length": 8}
        attempt(lambda value, name=name, usual=usual: tokenizer(TEXTS, **usual | {name: value}))


def test_keywords_of_other_methods(tokenizer):
    for name in parameters(type(tokenizer).pad, "encoded_inputs"):
        attempt(lambda value, name=name: tokenizer.pad({"input_ids": [[1, 2], [3]]}, **{name: value}))
    for name in ("skip_special_tokens", "clean_up_tokenization_spaces"):
        attempt(lambda value, name=name: tokenizer.decode([1, 2], **{name: value}))
    for name in parameters(type(tokenizer).apply_chat_template, "conversation"):
        options = {"chat_template": TEMPLATE}
        attempt(
            lambda value, name=name, options=options: tokenizer.apply_chat_template(CHAT, **options | {name: value})
        )
    for name in ("length", "new_special_tokens", "special_tokens_map", "text_iterator", "vocab_size"):
        options = {"text_iterator": ["a b c d"] * 3, "vocab_size": 300}
        attempt(lambda value, name=name, options=options: tokenizer.train_new_from_iterator(**options | {name: value}))


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_checked_when_they_are_set(tokenizer, name):
    def call(value):
        mine = copy.deepcopy(tokenizer)
        setattr(mine, name, value)
        mine(TEXTS, truncation=True)

    attempt(call)


@pytest.mark.parametrize("name", LOADING)
def test_options_of_loading(name):
    attempt(lambda value: AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment", **{name: value})("a b"))


def test_positions_of_an_encoding(tokenizer):
    for name in POSITIONS:
        attempt(lambda value, name=name: getattr(tokenizer(TEXTS), name)(value))
    attempt(lambda value: tokenizer(TEXTS, padding=True, return_tensors="pt").to(value))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.convert_ids_to_tokens(None), "ids is None, and a token id"),
        (lambda t: t.decode(None), "token_ids is None"),
        (lambda t: t(np.array(5)), "text is ndarray .array.5.., not text"),
        (lambda t: t("a", text_pair=pd.Series(["b"])), "text is a single text, text_pair is Series"),
        (lambda t: t("a", pad_to_multiple_of="x"), r"pad_to_multiple_of is str \('x'\), and an int of at least 1"),
        (lambda t: t("a", max_length="x"), "max_length is str"),
        (lambda t: t("a", truncation=5), "truncation=5 is not a strategy"),
        (lambda t: t("a", padding=5), "padding=5 is not a strategy"),
        (lambda t: t("a", return_length="yes"), "return_length is str .'yes'., and True or False"),
        (lambda t: t(pd.DataFrame({"text": ["a"]})), r"a DataFrame, not text.*\n.*df\['text'\]"),
        (lambda t: t.pad(5), "The batch is 'int'"),
        (lambda t: t.add_tokens(5), "new_tokens is int"),
        (lambda t: t.train_new_from_iterator(["a", 5], 300), "Item 1 of text_iterator holds int"),
        (lambda t: t.train_new_from_iterator("a", 300), "text_iterator is str"),
        (lambda t: setattr(t, "padding_side", "middle"), "padding_side is 'middle'; expected 'right' or 'left'"),
    ],
)
def test_the_argument_is_named(tokenizer, call, message):
    with pytest.raises(InputError, match=rf"(?s){message}"):
        call(tokenizer)


def test_what_resembles_the_right_type_works(tokenizer):
    expected = tokenizer.convert_ids_to_tokens([2, 5])
    assert (
        tokenizer.convert_ids_to_tokens(range(2, 6, 3)) == tokenizer.convert_ids_to_tokens(np.array([2, 5])) == expected
    )
    assert (
        tokenizer.convert_ids_to_tokens(torch.tensor(2)) == tokenizer.convert_ids_to_tokens(np.int64(2)) == expected[0]
    )
    assert tokenizer.decode(np.int64(5)) == tokenizer.decode(np.array(5)) == tokenizer.decode([torch.tensor(5)])
    row = tokenizer("a b c", truncation=True, max_length=np.int64(3), return_length=np.bool_(True))
    assert row["length"] == [3] or row["length"] == 3
    assert tokenizer.convert_tokens_to_ids("\ud800") == tokenizer.unk_token_id
