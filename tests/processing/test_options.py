"""Every option of the call, alone and together, against transformers."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
import torch

from notebook_kit.errors import InputError, MissingDependencyError, NotebookKitWarning

TEXTS = [
    "A gorgeous, witty, seductive movie.",
    "Too slow, too long and too little happens, and then it is over before anything at all has begun to matter.",
    "",
    "క్లుప్తంగా: 👍🏽 naïve 我们",
]
SECOND = [
    "Is it?",
    "One more text, which is also rather long, as second texts often are in such data.",
    "what",
    "x y z",
]
WORDS = [text.split() or ["one"] for text in TEXTS]
SECOND_WORDS = [text.split() for text in SECOND]
INPUTS = {
    "one": {"text": TEXTS[1]},
    "one pair": {"text": TEXTS[1], "text_pair": SECOND[1]},
    "batch": {"text": TEXTS},
    "pairs": {"text": TEXTS, "text_pair": SECOND},
    "list of pairs": {"text": list(zip(TEXTS, SECOND, strict=True))},
    "words": {"text": WORDS[1], "is_split_into_words": True},
    "batch of words": {"text": WORDS, "is_split_into_words": True},
    "pairs of words": {"text": WORDS, "text_pair": SECOND_WORDS, "is_split_into_words": True},
}
NAMES = ["minilm", "gpt2", "roberta_prefix_space", "xlm_roberta", "t5", "llama"]
RETURNED = {
    "return_offsets_mapping": True,
    "return_special_tokens_mask": True,
    "return_length": True,
    "return_token_type_ids": True,
}


def outcome(tokenizer, given, **options):
    """What a call returns, as plain values; or that it fails."""
    try:
        encoding = tokenizer(**given, **options)
    except BaseException as error:
        # Rust's panics, which transformers lets through, are no Exceptions.
        assert isinstance(error, Exception) or type(error).__name__ == "PanicException"
        return "fails"
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in encoding.items()}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", NAMES)
def test_padding_and_truncation(both, name, kind):
    ours, oracle = both(name)
    compared = 0
    for padding, truncation, max_length, side, multiple, overflow, stride in itertools.product(
        (False, True, "max_length"),
        (False, True, "only_first", "only_second"),
        (None, 9, 24),
        ("left", "right"),
        (None, 8),
        (False, True),
        (0, 2),
    ):
        if stride and not (overflow and truncation):
            continue
        options = {
            "padding": padding,
            "truncation": truncation,
            "max_length": max_length,
            "padding_side": side,
            "pad_to_multiple_of": multiple,
            "return_overflowing_tokens": overflow,
            "stride": stride,
            "verbose": False,
        }
        mine, theirs = (outcome(tokenizer, INPUTS[kind], **options, **RETURNED) for tokenizer in (ours, oracle))
        assert mine == theirs, options
        compared += mine != "fails"
    assert compared > 100


@pytest.mark.parametrize("name", NAMES)
def test_truncation_side(both, name):
    ours, oracle = both(name)
    for tokenizer in (ours, oracle):
        tokenizer.truncation_side = "left"
    try:
        for given in INPUTS.values():
            assert outcome(ours, given, truncation=True, max_length=9) == outcome(
                oracle, given, truncation=True, max_length=9
            )
    finally:
        for tokenizer in (ours, oracle):
            tokenizer.truncation_side = "right"


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", ["minilm", "gpt2"])
def test_what_is_returned(both, name, kind):
    ours, oracle = both(name)
    flags = ("add_special_tokens", "return_token_type_ids", "return_attention_mask", "return_length")
    for values in itertools.product((False, True), repeat=len(flags)):
        for tensors in (None, "pt", "np"):
            options = dict(zip(flags, values, strict=True)) | {"padding": True, "return_tensors": tensors}
            mine, theirs = ours(**INPUTS[kind], **options), oracle(**INPUTS[kind], **options)
            assert list(mine) == list(theirs)
            for key in mine:
                assert type(mine[key]) is type(theirs[key])
                if tensors:
                    assert mine[key].dtype == theirs[key].dtype
                    assert mine[key].shape == theirs[key].shape
                    assert (mine[key] == theirs[key]).all()
                else:
                    assert mine[key] == theirs[key]


def test_targets_become_labels(both):
    ours, oracle = both("t5")
    given = {"text": TEXTS, "text_target": SECOND, "padding": True, "truncation": True, "max_length": 20}
    assert dict(ours(**given, max_target_length=10)) == dict(oracle(**given, max_target_length=10))
    assert dict(ours(text_target=SECOND)) == dict(oracle(text_target=SECOND))


def test_split_special_tokens(both):
    ours, oracle = both("roberta_prefix_space")
    text = "a <mask> b</s>"
    assert ours(text, split_special_tokens=True).input_ids == oracle(text, split_special_tokens=True)["input_ids"]
    assert ours(text).input_ids == oracle(text)["input_ids"] != ours(text, split_special_tokens=True).input_ids


def test_max_length_alone_truncates(both):
    ours, oracle = both("minilm")
    assert ours(TEXTS[1], max_length=8).input_ids == oracle(TEXTS[1], max_length=8)["input_ids"]
    assert len(ours(TEXTS[1], max_length=8).input_ids) == 8


def test_model_limit_is_the_default_length(both, sentences):
    ours, _ = both("minilm")
    assert ours(" ".join(sentences[:100]), truncation=True, return_tensors="pt").input_ids.shape == (1, 512)
    assert ours("short", padding="max_length", return_tensors="np").input_ids.shape == (1, 512)


def test_too_long_warns_once(checkpoint, sentences):
    from notebook_kit.processing.text.auto import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint("minilm"))
    text = " ".join(sentences[:100])
    with pytest.warns(NotebookKitWarning, match=r"more than the 512 .* truncation=True"):
        tokenizer(text)
    tokenizer(text)  # a second warning would fail the test


def test_max_length_without_effect_warns(both):
    ours, _ = both("minilm")
    with pytest.warns(NotebookKitWarning, match="max_length has no effect"):
        ours(TEXTS, padding=True, max_length=5)


def test_other_containers_of_text(both):
    """What data libraries hand out: arrays, columns, generators."""
    ours, _ = both("minilm")
    from datasets import Dataset

    expected = ours(TEXTS)["input_ids"]
    dataset = Dataset.from_dict({"text": TEXTS, "words": WORDS})
    for texts in (tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, dtype=object), iter(TEXTS), dataset["text"]):
        assert ours(texts)["input_ids"] == expected
    words = ours(WORDS, is_split_into_words=True)["input_ids"]
    assert ours(dataset["words"], is_split_into_words=True)["input_ids"] == words
    assert ours([])["input_ids"] == []


def test_old_spellings(both):
    ours, oracle = both("minilm")
    assert ours.encode(TEXTS[0], SECOND[0]) == oracle.encode(TEXTS[0], SECOND[0])
    assert ours.encode(TEXTS[0], return_tensors="pt").tolist() == oracle.encode(TEXTS[0], return_tensors="pt").tolist()
    assert dict(ours.encode_plus(TEXTS[0], SECOND[0])) == dict(oracle(TEXTS[0], SECOND[0]))
    pairs = list(zip(TEXTS, SECOND, strict=True))
    assert dict(ours.batch_encode_plus(pairs, padding=True)) == dict(oracle(pairs, padding=True))
    assert dict(ours(TEXTS[0], pad_to_max_length=True, max_length=40)) == dict(
        oracle(TEXTS[0], padding="max_length", max_length=40)
    )
    assert dict(ours(WORDS, is_pretokenized=True)) == dict(oracle(WORDS, is_split_into_words=True))
    assert ours.tokenize("naïve 🤗 tokens", SECOND[0]) == oracle.tokenize("naïve 🤗 tokens", SECOND[0])
    assert ours.tokenize("x", add_special_tokens=True) == ["[CLS]", "x", "[SEP]"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": None}, "The text is None"),
        ({"text": 3}, r"text is int \(3\)"),
        ({"text": b"bytes"}, "text is bytes"),
        ({"text": {"a": 1}}, "text is dict"),
        ({"text": ["a", None]}, "Text 1 of the batch is None"),
        ({"text": ["a", "b", float("nan")]}, r"Text 2 of the batch is float \(nan\)"),
        ({"text": [("a", "b"), ("c", 4)]}, r"second text at 1 is int \(4\)"),
        ({"text": ["a", "b"], "text_pair": ["c", None]}, "second text at 1 is None"),
        ({"text": ["a", "b"], "text_pair": ["c"]}, "text has 2 entries, text_pair 1"),
        ({"text": ["a", "b"], "text_pair": "c"}, "text_pair a single str"),
        ({"text": [["a", "b", "c"]]}, r"Text 0 of the batch is a list of 3.*\n.*is_split_into_words"),
        ({"text": "a b", "is_split_into_words": True}, "passed with a str"),
        ({"text": [["a"], ["b", 7]], "is_split_into_words": True}, r"Word 1 of text 1 of the batch is int"),
        ({"text": "a", "paddin": True}, "takes no 'paddin'. Did you mean 'padding'"),
        ({"text": "a", "padding": "longes"}, "Did you mean 'longest'"),
        ({"text": "a", "truncation": "only_fist"}, "Did you mean 'only_first'"),
        ({"text": "a", "padding": True, "padding_side": "lef"}, "Did you mean 'left'"),
        ({"text": ["a", "b c"], "return_tensors": "pt"}, "rows have from 3 to 4 entries.\n.*padding=True"),
        ({"text": "a", "return_tensors": "jax"}, "'jax' is not supported.*\n"),
        ({"text": "a", "return_tensors": "torch"}, 'not a kind of tensor.*\n.*"pt"'),
        ({"text": "a b c d", "truncation": True, "max_length": 3, "stride": 5}, "not possible"),
        (
            {"text": "a", "padding": True, "truncation": True, "max_length": 9, "pad_to_multiple_of": 8},
            "not a multiple.*\n.*max_length=16",
        ),
    ],
)
def test_wrong_calls(both, given, message):
    ours, _ = both("minilm")
    with pytest.raises(InputError, match=message):
        ours(**given)
    assert ours("still works").tokens() == ["[CLS]", "still", "works", "[SEP]"]


def test_tensors_of_tensorflow_need_it(both, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingDependencyError, match=r'return_tensors="tf" needs TensorFlow.*\n.*pip install'):
        both("minilm")[0]("a", return_tensors="tf")


def test_padding_without_pad_token(checkpoint):
    from notebook_kit.processing.text.auto import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint("gpt2"))
    with pytest.raises(InputError, match=r"no padding token.\n.*tokenizer.pad_token = tokenizer.eos_token"):
        tokenizer(["a", "b c"], padding=True)
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer(["a", "b c"], padding=True, return_tensors="pt")["attention_mask"].tolist() == [[1, 0], [1, 1]]
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id == 50257 == len(tokenizer) - 1


@pytest.mark.parametrize("name", ["minilm", "gpt2", "xlm_roberta"])
def test_lone_surrogates_become_replacement_characters(both, name):
    """transformers fails on them; we give what it gives for U+FFFD, with offsets into the text as it was."""
    ours, oracle = both(name)
    cut = "half an emoji \ud83d and \udc4d end"
    with pytest.raises(TypeError):
        oracle(cut)
    clean = cut.replace("\ud83d", "\ufffd").replace("\udc4d", "\ufffd")
    expected = dict(oracle(clean, return_offsets_mapping=True))
    assert dict(ours(cut, return_offsets_mapping=True)) == expected
    assert ours(["fine", cut], [cut, "fine"])["input_ids"] == oracle(["fine", clean], [clean, "fine"])["input_ids"]
    assert (
        ours([cut.split()], is_split_into_words=True)["input_ids"]
        == (oracle([clean.split()], is_split_into_words=True)["input_ids"])
    )


def test_calls_leave_no_state(both):
    """Not in the backend, and not in the next call, even when the call fails."""
    ours, _ = both("minilm")
    before = ours.backend_tokenizer.to_str()
    ours(TEXTS, SECOND, padding="max_length", truncation=True, max_length=12, stride=2, return_overflowing_tokens=True)
    with pytest.raises(InputError):
        ours(["a", 1], padding=True, truncation=True, max_length=4, split_special_tokens=True)
    assert ours.backend_tokenizer.to_str() == before
    assert ours.backend_tokenizer.truncation is None
    assert ours.backend_tokenizer.padding is None
    assert ours.backend_tokenizer.encode_special_tokens is False


def test_threads_do_not_disturb_each_other(both):
    from concurrent.futures import ThreadPoolExecutor

    ours, _ = both("minilm")
    lengths = [6, 9, 14, None] * 50
    expected = {length: ours(TEXTS, max_length=length)["input_ids"] for length in set(lengths)}
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda length: ours(TEXTS, max_length=length)["input_ids"], lengths))
    assert all(result == expected[length] for length, result in zip(lengths, results, strict=True))


def test_tensors_have_the_defaults_of_their_library(both):
    ours, _ = both("minilm")
    encoding = ours(TEXTS, padding=True, return_tensors="pt")
    assert encoding.input_ids.dtype == torch.int64
    assert ours(TEXTS, padding=True, return_tensors="np")["input_ids"].dtype == np.int64
