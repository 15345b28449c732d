"""Every vocabulary format: ids, offsets and special tokens equal transformers' from the same folder."""

from __future__ import annotations

import pytest
from vocabularies import CHECKPOINTS

HARD = {
    "empty": "",
    "spaces": "     ",
    "inner spaces": "  two   spaces  and\ta tab\nand a line  ",
    "emoji": "family 👨‍👩‍👧‍👦 flag 🏳️‍🌈 thumbs 👍🏽 hugging 🤗!",
    "telugu": "తెలుగు భాష చాలా అందమైనది.",
    "chinese": "我们很高兴向您展示这个库。混合English和中文",
    "arabic": "نحن سعداء جدا بتقديم هذه المكتبة.",
    "accents": "Ünïcödé naïve café, cafe\u0301, Ångström ﬁne ½ ①",
    "nul": "before\x00after \x01\x7f\ufeff\u200b\ufffd",
    "special tokens": "[CLS] a [MASK] b<mask> <s></s> [SEP]<pad> <unk> <|endoftext|> <extra_id_0>",
    "punctuation": "``quoted'' don't e-mail: a.b@c.com, $5,000.00?! ...",
    "long word": "x" * 300,
    "very long": ("All work and no play makes Jack a dull boy. " * 2300)[:100_000],
}

NAMES = list(CHECKPOINTS)


@pytest.mark.parametrize("name", NAMES)
def test_real_sentences(both, sentences, name):
    ours, oracle = both(name)
    assert ours(sentences, verbose=False)["input_ids"] == oracle(sentences, verbose=False)["input_ids"]


@pytest.mark.parametrize("text", HARD.values(), ids=HARD.keys())
@pytest.mark.parametrize("name", NAMES)
def test_hard_texts(both, name, text):
    ours, oracle = both(name)
    options = {"return_offsets_mapping": True, "return_special_tokens_mask": True, "verbose": False}
    mine, theirs = ours(text, **options), oracle(text, **options)
    assert dict(mine) == dict(theirs)
    assert mine.tokens() == theirs.tokens()
    assert mine.word_ids() == theirs.word_ids()
    for skip in (False, True):
        assert ours.decode(mine.input_ids, skip_special_tokens=skip) == oracle.decode(
            theirs.input_ids, skip_special_tokens=skip
        )


@pytest.mark.parametrize("name", NAMES)
def test_attributes(both, name):
    ours, oracle = both(name)
    assert ours.special_tokens_map == oracle.special_tokens_map
    assert set(ours.all_special_tokens) == set(oracle.all_special_tokens)
    for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        assert getattr(ours, f"{role}_token") == getattr(oracle, f"{role}_token")
        assert getattr(ours, f"{role}_token_id") == getattr(oracle, f"{role}_token_id")
    assert len(ours) == len(oracle)
    assert ours.vocab_size == oracle.vocab_size
    assert ours.get_vocab() == oracle.get_vocab()
    assert ours.model_max_length == oracle.model_max_length
    assert ours.padding_side == oracle.padding_side
    assert list(ours.model_input_names) == list(oracle.model_input_names)
    assert ours.num_special_tokens_to_add() == oracle.num_special_tokens_to_add()
    assert ours.num_special_tokens_to_add(pair=True) == oracle.num_special_tokens_to_add(pair=True)
    assert ours.added_tokens_decoder == oracle.added_tokens_decoder
