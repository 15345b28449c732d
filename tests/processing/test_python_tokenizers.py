"""Tokenizers written in Python: the same subclass of our base class and of the oracle's gives the same."""

from __future__ import annotations

import os
import pickle

import pytest
import transformers

from notebook_kit import (
    AddedToken,
    AutoTokenizer,
    PreTrainedTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from notebook_kit.errors import InputError
from notebook_kit.processing.text.tokenizer import TOKENIZER_CLASSES

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "mat", ".", "##s"]


def words_tokenizer(base):
    """A subclass as users write one."""

    class WordsTokenizer(base):
        vocab_files_names = {"vocab_file": "words.txt"}
        model_input_names = ["input_ids", "token_type_ids", "attention_mask"]

        def __init__(self, vocab_file, unk_token="[UNK]", pad_token="[PAD]", **options):
            with open(vocab_file, encoding="utf-8") as lines:
                self.vocab = {line.strip(): id for id, line in enumerate(lines)}
            self.decoder = {id: word for word, id in self.vocab.items()}
            super().__init__(unk_token=unk_token, pad_token=pad_token, **options)

        @property
        def vocab_size(self):
            return len(self.vocab)

        def get_vocab(self):
            return {**self.vocab, **self.added_tokens_encoder}

        def _tokenize(self, text):
            return text.lower().replace(".", " .").split()

        def _convert_token_to_id(self, token):
            return self.vocab.get(token, self.vocab["[UNK]"])

        def _convert_id_to_token(self, index):
            return self.decoder.get(index, "[UNK]")

        def convert_tokens_to_string(self, tokens):
            return " ".join(tokens).replace(" .", ".")

        def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
            start, end = [self.vocab["[CLS]"]], [self.vocab["[SEP]"]]
            return start + token_ids_0 + end + (token_ids_1 + end if token_ids_1 is not None else [])

        def create_token_type_ids_from_sequences(self, token_ids_0, token_ids_1=None):
            second = [] if token_ids_1 is None else [1] * (len(token_ids_1) + 1)
            return [0] * (len(token_ids_0) + 2) + second

        def get_special_tokens_mask(self, token_ids_0, token_ids_1=None, already_has_special_tokens=False):
            if already_has_special_tokens:
                return super().get_special_tokens_mask(token_ids_0, token_ids_1, True)
            second = [] if token_ids_1 is None else [0] * len(token_ids_1) + [1]
            return [1] + [0] * len(token_ids_0) + [1, *second]

        def save_vocabulary(self, save_directory, filename_prefix=None):
            path = os.path.join(save_directory, (f"{filename_prefix}-" if filename_prefix else "") + "words.txt")
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(self.vocab) + "\n")
            return (path,)

    return WordsTokenizer


WordsTokenizer = words_tokenizer(PreTrainedTokenizer)
WordsTokenizer.__qualname__ = "WordsTokenizer"  # so that it can be pickled


@pytest.fixture
def both(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    options = {"cls_token": "[CLS]", "sep_token": "[SEP]", "model_max_length": 16}
    oracle = words_tokenizer(transformers.PreTrainedTokenizer)
    return WordsTokenizer(str(path), **options), oracle(str(path), **options)


CALLS = [
    {"text": "The cat sat."},
    {"text": "The cat sat.", "add_special_tokens": False},
    {"text": "The cat", "text_pair": "on the mat."},
    {"text": ["The cat sat on the mat.", "The dog."], "padding": True},
    {"text": ["The cat sat on the mat."], "truncation": True, "max_length": 5},
    {
        "text": [("The cat", "sat on the mat."), ("The", "cat")],
        "padding": "max_length",
        "max_length": 9,
        "truncation": True,
    },
    {"text": ["The", "cat."], "is_split_into_words": True, "return_special_tokens_mask": True},
    {"text": ["The cat sat.", "The"], "padding": True, "padding_side": "left", "return_tensors": "pt"},
    {"text": "The [SEP] cat[PAD]."},
    {"text": ""},
]


@pytest.mark.parametrize("call", CALLS, ids=range(len(CALLS)))
def test_calls(both, call):
    ours, oracle = both
    mine, theirs = ours(**call), oracle(**call)
    assert {name: getattr(value, "tolist", lambda value=value: value)() for name, value in mine.items()} == {
        name: getattr(value, "tolist", lambda value=value: value)() for name, value in theirs.items()
    }
    assert mine.is_fast is theirs.is_fast is False


def test_tokens_and_text(both):
    ours, oracle = both
    for tokenizer in both:
        assert tokenizer.add_tokens(["NASA", "cat"]) == 1
        assert tokenizer.add_tokens([AddedToken("<x>", lstrip=True, rstrip=True)]) == 1
        assert tokenizer.add_special_tokens({"mask_token": "[MASK]"}) == 1
    text = "The cat of NASA <x> sat [MASK]."
    assert ours.tokenize(text) == oracle.tokenize(text)
    ids = ours(text).input_ids
    assert ids == oracle(text)["input_ids"] and len(ours) == len(oracle) == len(WORDS) + 3
    assert ours.convert_ids_to_tokens(ids) == oracle.convert_ids_to_tokens(ids)
    assert ours.get_added_vocab() == oracle.get_added_vocab()
    for skip in (False, True):
        assert ours.decode(ids, skip_special_tokens=skip) == oracle.decode(ids, skip_special_tokens=skip)
    assert ours.batch_decode([ids, ids[:4]]) == oracle.batch_decode([ids, ids[:4]])
    assert ours.num_special_tokens_to_add() == 2 and ours.num_special_tokens_to_add(pair=True) == 3
    assert ours.all_special_tokens == oracle.all_special_tokens and ours.all_special_ids == oracle.all_special_ids


def test_saving_and_loading(both, tmp_path, monkeypatch):
    ours, _ = both
    ours.add_tokens(["NASA"])
    ours.add_special_tokens({"extra_special_tokens": ["<extra>"]})
    names = {os.path.basename(path) for path in ours.save_pretrained(tmp_path / "saved")}
    assert {"words.txt", "tokenizer_config.json"} <= names and "tokenizer.json" not in names
    monkeypatch.setitem(TOKENIZER_CLASSES, "WordsTokenizer", WordsTokenizer)
    text = "The NASA cat<extra>."
    for again in (
        WordsTokenizer.from_pretrained(tmp_path / "saved"),
        AutoTokenizer.from_pretrained(tmp_path / "saved"),
        pickle.loads(pickle.dumps(ours)),
    ):
        assert type(again) is WordsTokenizer and dict(again(text)) == dict(ours(text))
        assert again.model_max_length == 16 and again.all_special_tokens == ours.all_special_tokens
    moved = WordsTokenizer.from_pretrained(tmp_path / "saved", padding_side="left")
    assert moved.padding_side == "left"


def test_kinds(both):
    ours, _ = both
    assert isinstance(ours, PreTrainedTokenizerBase) and not isinstance(ours, PreTrainedTokenizerFast)
    fast = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")
    assert isinstance(fast, PreTrainedTokenizerBase) and not isinstance(fast, PreTrainedTokenizer)


def test_what_is_not_there_is_named(both):
    ours, _ = both
    with pytest.raises(InputError, match="does not know the characters"):
        ours("The cat", return_offsets_mapping=True)
    with pytest.raises(InputError, match="does not know its characters"):
        ours("The cat").word_ids()

    class Nothing(PreTrainedTokenizer):
        pass

    with pytest.raises(InputError, match=r"Nothing does not define get_vocab\(\)"):
        Nothing(pad_token="x")
    with pytest.raises(InputError, match="text is int"):
        ours.tokenize(5)


# What works on ids, compared with the oracle's base class, which has the special tokens of our tokenizer


IDS, PAIR = list(range(1000, 1012)), list(range(1100, 1107))
PREPARED = [
    {},
    {"pair_ids": PAIR},
    {"add_special_tokens": False, "pair_ids": PAIR},
    {"truncation": True, "max_length": 6, "return_overflowing_tokens": True, "stride": 2},
    {"truncation": "only_second", "max_length": 18, "pair_ids": PAIR, "return_overflowing_tokens": True},
    {"truncation": "longest_first", "max_length": 11, "pair_ids": PAIR, "return_special_tokens_mask": True},
    {"padding": "max_length", "max_length": 20, "truncation": True, "return_length": True},
    {"return_tensors": "np", "prepend_batch_axis": True, "pad_to_multiple_of": 8, "padding": True},
]


@pytest.fixture(scope="module")
def bert():
    """(ours, the oracle's base class with the same special tokens around texts)."""

    class Bert(transformers.PreTrainedTokenizer):
        model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
        vocab_size = 30000

        def get_vocab(self):
            return {"[CLS]": 2, "[SEP]": 3, "[PAD]": 0}

        def _convert_token_to_id(self, token):
            return self.get_vocab().get(token, 1)

    ours = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")
    special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    oracle = Bert(special_tokens_pattern="cls_sep", model_max_length=512, **special)
    ids = {2: ours.cls_token_id, 3: ours.sep_token_id, 0: ours.pad_token_id}
    return ours, oracle, ids


@pytest.mark.parametrize("call", PREPARED, ids=range(len(PREPARED)))
def test_prepare_for_model(bert, call):
    ours, oracle, ids = bert
    mine, theirs = ours.prepare_for_model(IDS, **call), oracle.prepare_for_model(IDS, **call)
    assert mine.keys() == theirs.keys()
    for name in mine:
        expected = theirs[name].tolist() if hasattr(theirs[name], "tolist") else theirs[name]
        got = mine[name].tolist() if hasattr(mine[name], "tolist") else mine[name]
        if name == "input_ids":
            flat = expected[0] if isinstance(expected[0], list) else expected
            flat[:] = [ids.get(id, id) for id in flat]
        assert got == expected


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("strategy", ["longest_first", "only_first", "only_second"])
def test_truncate_sequences(bert, strategy, side):
    ours, oracle, _ = bert
    for first, second in ((IDS, PAIR), (PAIR, IDS), (IDS, None)):
        if strategy == "only_second" and second is None:
            continue
        for count in (0, 1, 2, 3, 6, 7):
            for tokenizer in (ours, oracle):
                tokenizer.truncation_side = side
            given = {"num_tokens_to_remove": count, "truncation_strategy": strategy, "stride": 2}
            assert ours.truncate_sequences(first, second, **given) == oracle.truncate_sequences(first, second, **given)
            ours.truncation_side = "right"


def test_what_cannot_be_truncated(bert):
    ours, _, _ = bert
    with pytest.raises(InputError, match=r"9 ids cannot be cut from 7 ids with 'only_second'"):
        ours.truncate_sequences(IDS, PAIR, 9, "only_second")
    with pytest.raises(InputError, match="'longest' is not a strategy"):
        ours.truncate_sequences(IDS, PAIR, 1, "longest")
    with pytest.raises(InputError, match="pair cannot be returned"):
        ours.prepare_for_model(IDS, PAIR, truncation=True, max_length=5, return_overflowing_tokens=True)


def test_save_vocabulary(checkpoint, tmp_path):
    paths = AutoTokenizer.from_pretrained(checkpoint("minilm")).save_vocabulary(tmp_path, "mine")
    assert [os.path.basename(path) for path in paths] == ["mine-vocab.txt"]
    with pytest.raises(InputError, match="no folder"):
        AutoTokenizer.from_pretrained(checkpoint("minilm")).save_vocabulary(tmp_path / "absent")
    with pytest.raises(InputError, match="Unigram vocabulary has no text files"):
        AutoTokenizer.from_pretrained(checkpoint("generic_unigram")).save_vocabulary(tmp_path)
