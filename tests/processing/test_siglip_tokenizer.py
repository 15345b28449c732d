"""SigLIP's tokenizer against the oracle's, which reads only sentencepiece models and has no offsets."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from test_ids import HARD

from notebook_kit import AutoTokenizer, SiglipProcessor, SiglipTokenizer
from notebook_kit.processing.image.classes import SiglipImageProcessor


def test_ids_are_the_oracles(both, sentences):
    ours, oracle = both("siglip")
    assert type(ours) is SiglipTokenizer and len(ours) == len(oracle) and ours.get_vocab() == oracle.get_vocab()
    assert ours.special_tokens_map == oracle.special_tokens_map and ours.pad_token_id == ours.eos_token_id
    # A special token in a text is where the two differ: the oracle splits words after it without a space before them.
    texts = [*sentences[:60], *(text for name, text in HARD.items() if name not in ("special tokens", "very long"))]
    assert ours(texts, verbose=False)["input_ids"] == oracle(texts, verbose=False)["input_ids"]
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    mine, theirs = ours(texts, **options), oracle(texts, **options)
    assert mine.input_ids.shape[1] == 64
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert dict(ours("a cat", "a dog")) == dict(oracle("a cat", "a dog"))
    known = [text for text in sentences[:60] if ours.unk_token_id not in ours(text, verbose=False).input_ids]
    rows = ours(known, verbose=False)["input_ids"]
    assert len(known) > 20
    for skip in (False, True):
        assert ours.batch_decode(rows, skip_special_tokens=skip) == oracle.batch_decode(rows, skip_special_tokens=skip)


@pytest.mark.parametrize("options", [{}, {"do_lower_case": False}, {"pad_token": "<unk>"}], ids=str)
def test_files_go_back_and_forth(checkpoint, tmp_path, options):
    folder, texts = checkpoint("siglip"), ["A CAT, and 'the' Dog!", "  two ", ""]
    ours, oracle = (one.from_pretrained(folder, **options) for one in (AutoTokenizer, transformers.AutoTokenizer))
    ours.add_tokens("<thing>", special_tokens=True)
    ours.save_pretrained(tmp_path / "ours")
    oracle.save_pretrained(tmp_path / "theirs")
    assert (tmp_path / "ours/spiece.model").read_bytes() == (folder / "spiece.model").read_bytes()
    for again in (
        AutoTokenizer.from_pretrained(tmp_path / "ours"),
        AutoTokenizer.from_pretrained(tmp_path / "theirs"),
        transformers.AutoTokenizer.from_pretrained(tmp_path / "ours"),
        copy.deepcopy(ours),
    ):
        assert dict(again(texts, padding=True)) == dict(oracle(texts, padding=True))
    again = AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert len(again) == len(ours) and ours.convert_tokens_to_ids("<thing>") in again("a <thing>").input_ids


def test_a_new_vocabulary_is_written_as_tokenizer_json(checkpoint, tmp_path, sentences):
    ours = AutoTokenizer.from_pretrained(checkpoint("siglip"))
    new = ours.train_new_from_iterator(sentences[:300], 300, show_progress=False)
    new.save_pretrained(tmp_path)
    assert not (tmp_path / "spiece.model").exists()
    assert AutoTokenizer.from_pretrained(tmp_path)("Films!").input_ids == new("films").input_ids


def test_the_processor_is_the_oracles(both, tmp_path):
    from PIL import Image

    ours, oracle = both("siglip")
    processor = SiglipProcessor(SiglipImageProcessor(size=32), ours)
    processor.save_pretrained(tmp_path)
    kind = transformers.models.siglip.image_processing_pil_siglip.SiglipImageProcessorPil
    theirs = transformers.SiglipProcessor(kind.from_pretrained(tmp_path), oracle)
    image = Image.linear_gradient("L").convert("RGB").rotate(20)
    given = {"text": ["a cat", "two dogs!"], "images": [image], "padding": "max_length", "return_tensors": "pt"}
    mine, expected = processor(**given), theirs(**given)
    assert set(mine) == set(expected)
    for name in expected:
        torch.testing.assert_close(mine[name], expected[name], rtol=0, atol=1e-5)
