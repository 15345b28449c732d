"""Tokenizers of translators: two sides of Marian, mBART's languages, T5's sentinels, from vocabulary files."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import sentencepiece
import torch
import transformers
import vocabularies
from tokenizers import Tokenizer, models, pre_tokenizers

import notebook_kit
from notebook_kit import AutoTokenizer
from notebook_kit.errors import CheckpointError, InputError
from notebook_kit.processing.text.translation import LanguageTokenizer, M2M100Tokenizer, MarianTokenizer

SOURCE = [
    "It is one of the best films.",
    "  Too  long, and dull ",
    "",
    "Why? 東京 and naïve Élodie",
    ">>fra<< A warm film.",
]
TARGET = ["it's a charming film", "Nothing like it.", "the of, to", "x", ">>te<< and so"]


def theirs(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a library for another kind of normalization is not there
        return transformers.AutoTokenizer.from_pretrained(str(folder))


@pytest.fixture(scope="module", params=[False, True], ids=["shared", "apart"])
def marian(request, tmp_path_factory, sentences):
    folder = vocabularies.marian(tmp_path_factory.mktemp("marian"), None, sentences, apart=request.param)
    return folder, AutoTokenizer.from_pretrained(folder), theirs(folder)


def test_marian_reads_two_sides_as_the_oracle_does(marian, sentences):
    _, ours, oracle = marian
    assert type(ours) is MarianTokenizer and len(ours) == len(oracle) and ours.vocab_size == oracle.vocab_size
    texts = [*SOURCE[: 4 if ours.separate_vocabs else 5], *sentences[:150]]
    assert ours(texts)["input_ids"] == oracle(texts)["input_ids"]
    assert ours(text_target=texts)["input_ids"] == oracle(text_target=texts)["input_ids"]
    assert ours(texts)["input_ids"] != ours(text_target=texts)["input_ids"]
    given = {"text": texts, "text_target": texts[::-1], "padding": True, "truncation": True, "max_length": 12}
    mine, expected = ours(**given, return_tensors="pt"), oracle(**given, return_tensors="pt")
    for name in expected:
        assert torch.equal(mine[name], expected[name]), name
    assert ours("one", "two").input_ids == oracle("one", "two").input_ids
    assert ours.supported_language_codes == oracle.supported_language_codes
    unknown = ours("a text of 東 some", add_special_tokens=False)
    assert ours.unk_token_id in unknown["input_ids"] and unknown.tokens() == ours.tokenize("a text of 東 some")


def test_marian_decodes_as_the_oracle_does(marian, sentences):
    _, ours, oracle = marian
    rows = oracle(text_target=[*TARGET[:4], *sentences[:100]])["input_ids"]
    assert ours.batch_decode(rows, skip_special_tokens=True) == oracle.batch_decode(rows, skip_special_tokens=True)
    assert ours.decode(rows[0]) == oracle.decode(rows[0])
    assert ours.convert_tokens_to_ids(["</s>", "<unk>", "<pad>", "no such"]) == [
        ours.eos_token_id,
        ours.unk_token_id,
        ours.pad_token_id,
        ours.unk_token_id,
    ]


def test_marian_goes_to_disk_and_back(marian, tmp_path):
    folder, ours, _ = marian
    ours.save_pretrained(tmp_path)
    expected = ours(SOURCE[:4], text_target=TARGET[:4])  # the last of each begin with a code
    for again in (
        AutoTokenizer.from_pretrained(tmp_path),
        theirs(tmp_path),
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
    ):
        assert dict(again(SOURCE[:4], text_target=TARGET[:4])) == dict(expected)
    assert (tmp_path / "source.spm").read_bytes() == (folder / "source.spm").read_bytes()
    assert not (tmp_path / "tokenizer.json").exists()


def test_the_older_spelling_of_targets(marian):
    _, ours, _ = marian
    with ours.as_target_tokenizer():
        inside = ours(TARGET)["input_ids"]
    assert inside == ours(text_target=TARGET)["input_ids"] and ours(TARGET)["input_ids"] != inside


def test_marian_learns_tokens(marian, tmp_path):
    ours = copy.deepcopy(marian[1])
    before = len(ours)
    assert ours.add_tokens("<film>") == 1 and len(ours) == before + 1
    assert before in ours("a <film> here").input_ids
    assert before in ours(text_target="a <film> here").input_ids or ours.separate_vocabs
    ours.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("a <film> here").input_ids == ours("a <film> here").input_ids
    with pytest.raises(InputError, match="more than one vocabulary"):
        ours.train_new_from_iterator(["a"], 30)


def test_marian_says_what_is_missing(marian, tmp_path):
    _, ours, _ = marian
    ours.save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": "b"}')
    with pytest.raises(CheckpointError, match="invalid ids"):
        AutoTokenizer.from_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(CheckpointError, match="no token '</s>'"):
        AutoTokenizer.from_pretrained(tmp_path)
    (tmp_path / "target.spm").unlink()
    with pytest.raises(CheckpointError, match=r"no target\.spm"):
        AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["mbart", "mbart50"])
def test_languages_stand_where_the_oracle_puts_them(checkpoint, both, sentences, name):
    _, oracle = both(name)
    ours = AutoTokenizer.from_pretrained(checkpoint(name))
    assert isinstance(ours, LanguageTokenizer) and type(ours).__name__ == type(oracle).__name__
    assert ours.lang_code_to_id == oracle.lang_code_to_id and len(ours) == len(oracle)
    processor = sentencepiece.SentencePieceProcessor(str(checkpoint(name) / "sentencepiece.bpe.model"))
    for source, target in (("en_XX", "ro_RO"), ("de_DE", "en_XX")):
        ours.src_lang, ours.tgt_lang = source, target
        read, written = (ours.lang_code_to_id[code] for code in (source, target))
        batch = ours(sentences[:40], text_target=sentences[40:80])
        for rows, code, texts in (
            (batch["input_ids"], read, sentences[:40]),
            (batch["labels"], written, sentences[40:80]),
        ):
            for row, text in zip(rows, texts, strict=True):
                pieces = [3 if id == 0 else id + 1 for id in processor.encode(text)]  # the layout of fairseq
                assert row == ([*pieces, 2, code] if name == "mbart" else [code, *pieces, 2])
        assert ours(sentences[:40])["input_ids"] == batch["input_ids"]  # a target leaves no trace
        oracle.src_lang, oracle.tgt_lang = source, target
        texts = ["Plain words here", "and some more of them"]
        assert dict(ours(texts, text_target=texts)) == dict(oracle(texts, text_target=texts))
    assert ours.decode(batch["labels"][0], skip_special_tokens=True) == sentences[40].strip()
    with pytest.raises(InputError, match=r"src_lang is 'en_XY'.*Did you mean 'en_XX'"):
        ours.src_lang = "en_XY"
    with pytest.raises(InputError, match="tgt_lang is 'english'"):
        AutoTokenizer.from_pretrained(checkpoint(name), tgt_lang="english")


@pytest.mark.parametrize("name", ["mbart", "mbart50"])
def test_languages_are_kept_on_disk(checkpoint, tmp_path, name):
    ours = AutoTokenizer.from_pretrained(checkpoint(name), src_lang="fr_XX", tgt_lang="de_DE")
    ours.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert (again.src_lang, again.tgt_lang) == ("fr_XX", "de_DE")
    expected = dict(ours(SOURCE, text_target=TARGET))
    assert dict(again(SOURCE, text_target=TARGET)) == expected
    assert dict(pickle.loads(pickle.dumps(ours))(SOURCE, text_target=TARGET)) == expected
    oracle = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert oracle("Plain words").input_ids == ours("Plain words").input_ids
    plain = AutoTokenizer.from_pretrained(tmp_path, src_lang="de_DE", tgt_lang=None)
    assert plain(text_target="Plain words").input_ids == plain("Plain words").input_ids


def test_only_language_tokenizers_have_languages():
    with pytest.raises(InputError, match="not a multilingual tokenizer"):
        LanguageTokenizer(Tokenizer.from_str(Tokenizer(_words()).to_str()), tokenizer_class="BertTokenizer")


def _words():
    from tokenizers import models

    return models.WordLevel({"a": 0}, unk_token="a")


def test_sentinels_of_t5(checkpoint, both):
    ours, oracle = both("t5")
    text = "The <extra_id_0> walks in <extra_id_1> park"
    assert ours(text).input_ids == oracle(text).input_ids
    ids = ours.convert_tokens_to_ids([f"<extra_id_{number}>" for number in range(100)])
    assert ids == list(range(len(ours) - 1, len(ours) - 101, -1))  # the first one is the last id
    assert set(ours.additional_special_tokens) == set(oracle.extra_special_tokens)
    assert set(ours.additional_special_tokens) >= {f"<extra_id_{number}>" for number in range(100)}
    assert "extra_id" not in ours.decode(ours(text).input_ids, skip_special_tokens=True)
    few = AutoTokenizer.from_pretrained(checkpoint("t5"), extra_ids=3)
    assert len(few) == len(ours) - 97 and few.convert_tokens_to_ids("<extra_id_2>") == 500


# M2M-100 --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def m2m100(tmp_path_factory, sentences):
    folder = vocabularies.m2m100(tmp_path_factory.mktemp("m2m100"), sentences)
    return folder, AutoTokenizer.from_pretrained(folder), theirs(folder)


def test_m2m100_reads_and_decodes_as_the_oracle_does(m2m100, sentences):
    _, ours, oracle = m2m100
    assert type(ours) is M2M100Tokenizer is notebook_kit.M2M100TokenizerFast
    assert len(ours) == len(oracle) + 100 and ours.vocab_size == oracle.vocab_size  # which does not count the languages
    texts = [*SOURCE, *sentences[:100], "a text of 東 some"]
    for source, target in (("en", "fr"), ("ta", "zu")):
        ours.src_lang = oracle.src_lang = source
        ours.tgt_lang = oracle.tgt_lang = target
        given = {"text": texts, "text_target": texts[::-1], "padding": True, "truncation": True, "max_length": 12}
        mine, expected = ours(**given, return_tensors="pt"), oracle(**given, return_tensors="pt")
        for name in expected:
            assert torch.equal(mine[name], expected[name]), name
        rows = expected["labels"]
        known = rows[(rows != ours.unk_token_id).all(dim=1)]  # around the others, the oracle leaves spaces out
        assert ours.batch_decode(known) == oracle.batch_decode(known)
        # Without special tokens, the oracle keeps the language.
        plain = [
            text.removeprefix(f"__{target}__").strip() for text in oracle.batch_decode(rows, skip_special_tokens=True)
        ]
        assert ours.batch_decode(rows, skip_special_tokens=True) == plain
    for code in ("fr", "af", "zu"):
        assert ours.get_lang_id(code) == oracle.get_lang_id(code) == ours.lang_code_to_id[code]
        assert ours.get_lang_token(code) == oracle.get_lang_token(code)
    with pytest.raises(InputError, match="not a language code"):
        ours.get_lang_id("fr_XX")


def test_m2m100_goes_to_disk_and_back(m2m100, tmp_path):
    folder, _, _ = m2m100
    ours = AutoTokenizer.from_pretrained(folder, src_lang="de")
    assert ours.add_tokens("<film>") == 1
    ours.save_pretrained(tmp_path)
    texts = [*SOURCE, "a <film> here"]
    expected = ours(texts, text_target=texts)
    assert len(ours) - 1 in expected["input_ids"][-1]
    for again in (
        AutoTokenizer.from_pretrained(tmp_path),
        theirs(tmp_path),
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
    ):
        assert dict(again(texts, text_target=texts)) == dict(expected)
    files = {"vocab_file": folder / "vocab.json", "spm_file": folder / "sentencepiece.bpe.model"}
    made = M2M100Tokenizer(**{name: str(path) for name, path in files.items()}, src_lang="de", tgt_lang="fr")
    assert dict(made(SOURCE, text_target=SOURCE)) == dict(ours(SOURCE, text_target=SOURCE))
    with pytest.raises(InputError, match="more than one vocabulary"):
        ours.train_new_from_iterator(["a"], 30)
    (tmp_path / "vocab.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no vocab\.json"):
        AutoTokenizer.from_pretrained(tmp_path)


# NLLB -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"src_lang": "fra_Latn"}, {"src_lang": "fra_Latn", "tgt_lang": "eng_Latn"}])
def test_an_nllb_tokenizer_around_a_backend_adds_the_language_code(options):
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "hello", "bonjour", "eng_Latn", "fra_Latn"]
    made = []
    for library in (notebook_kit, transformers):
        backend = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        made.append(library.NllbTokenizerFast(tokenizer_object=backend, **options))
    ours, theirs = made
    assert ours.src_lang == theirs.src_lang == options.get("src_lang", "eng_Latn")
    for call in (("hello",), ("hello", "bonjour")):
        assert ours(*call)["input_ids"] == theirs(*call)["input_ids"]
    assert ours("hello", text_target="bonjour")["labels"] == theirs("hello", text_target="bonjour")["labels"]
    assert sorted(ours.get_vocab()) == sorted(theirs.get_vocab()) and len(ours.lang_code_to_id) == 202
    ours.src_lang = theirs.src_lang = "deu_Latn"
    assert ours.convert_ids_to_tokens(ours("hello")["input_ids"]) == ["deu_Latn", "hello", "</s>"]
    with pytest.raises(InputError, match="src_lang is 'de_DE', which is not a language code"):
        ours.src_lang = "de_DE"
