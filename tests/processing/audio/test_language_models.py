"""Decoders with a language model: found in a checkpoint, used by the processor and the pipeline, and missed with a clear message.

`pyctcdecode` requires an old NumPy, so a stand-in with its names takes its place here.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from speech_vocabularies import LETTERS, write_letters

from notebook_kit import (
    AutoProcessor,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ProcessorWithLM,
    pipeline,
)
from notebook_kit.errors import CheckpointError, InputError, MissingDependencyError, NotebookKitWarning

TOKENS = ["" if token == "<pad>" else " " if token == "|" else "⁇" if token == "<unk>" else token for token in LETTERS]


class Alphabet:
    def __init__(self, labels):
        self.labels = labels

    @classmethod
    def loads(cls, text):
        return cls(json.loads(text)["labels"])


class LanguageModel:
    alpha = 0.5

    @classmethod
    def load_from_dir(cls, folder, unigram_encoding=None):
        if not (Path(folder) / "attrs.json").exists():
            raise ValueError("did not find attributes file")
        return cls()


class BeamSearchDecoderCTC:
    """Takes the most probable tokens; further beams are shorter by a token each."""

    def __init__(self, alphabet, language_model=None):
        self._alphabet, self._model_key, self.settings = alphabet, b"key", {}
        self.model_container = {b"key": language_model}

    def reset_params(self, **settings):
        self.settings |= {name: value for name, value in settings.items() if value is not None}

    def decode_beams(self, logits, beam_width=100):
        best = [self._alphabet.labels[token] for token in logits.argmax(-1)]
        text = "".join(token for place, token in enumerate(best) if place == 0 or token != best[place - 1])
        words = [(match.group(), match.span()) for match in re.finditer(r"\S+", text)]
        return [(text[: len(text) - cut], "state", words, -1.0 - cut, -2.0 - cut) for cut in range(min(3, beam_width))]

    def decode_beams_batch(self, pool, logits_list, **options):
        return [[(beam[0], *beam[2:]) for beam in self.decode_beams(row, **options)] for row in logits_list]

    def save_to_dir(self, folder):
        (Path(folder) / "alphabet.json").write_text(json.dumps({"labels": self._alphabet.labels, "is_bpe": False}))
        if self.model_container[b"key"] is not None:
            (Path(folder) / "language_model").mkdir()
            (Path(folder) / "language_model" / "attrs.json").write_text("{}")


@pytest.fixture
def pyctcdecode(monkeypatch):
    """The stand-in, with kenlm."""
    ends = {"BLANK_TOKEN_PTN": re.compile("<pad>"), "UNK_TOKEN": "⁇", "UNK_TOKEN_PTN": re.compile("<unk>")}
    contents = {
        "pyctcdecode": {"BeamSearchDecoderCTC": BeamSearchDecoderCTC},
        "pyctcdecode.alphabet": {"Alphabet": Alphabet, **ends},
        "pyctcdecode.language_model": {"LanguageModel": LanguageModel},
        "kenlm": {},
    }
    for name, names in contents.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def parts(tmp_path):
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(write_letters(tmp_path).parent)
    return Wav2Vec2FeatureExtractor(), tokenizer


def logits_of(text):
    """Frames `(frames, tokens)` whose most probable tokens spell the text."""
    return np.eye(len(TOKENS))[[TOKENS.index(letter) for letter in text]] * 9


def tiny_model():
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    cut = {"conv_dim": [16], "conv_stride": [320], "conv_kernel": [400]}
    return Wav2Vec2ForCTC(Wav2Vec2Config(**size, **cut, vocab_size=len(TOKENS), num_conv_pos_embeddings=16))


def test_decoding(pyctcdecode, parts):
    processor = Wav2Vec2ProcessorWithLM(*parts, BeamSearchDecoderCTC(Alphabet(TOKENS), LanguageModel()))
    assert processor.attributes == ["feature_extractor", "tokenizer", "decoder"]
    out = processor.decode(logits_of("HE WAS"), output_word_offsets=True, alpha=0.3)
    assert out.text == "HE WAS" and out.logit_score == -1 and out.lm_score == -2
    assert out.word_offsets[1] == {"word": "WAS", "start_offset": 3, "end_offset": 6}
    assert processor.decoder.settings == {"alpha": 0.3}
    padded = np.full((2, 6, len(TOKENS)), -100.0)
    padded[0], padded[1, :2] = logits_of("HE WAS"), logits_of("HE")
    batch = processor.batch_decode(padded)
    assert batch.text == ["HE WAS", "HE"] and batch.word_offsets is None and batch.lm_score == [-2, -2]
    assert processor.batch_decode(padded, pool=object()).text == batch.text
    assert processor.batch_decode(padded, n_best=2).text == [["HE WAS", "HE WA"], ["HE", "H"]]
    assert processor.decode(logits_of("HE"), n_best=2, beam_width=1).text == ["HE"]


def test_a_decoder_has_all_tokens(pyctcdecode, parts):
    with pytest.raises(InputError, match=r"lacks tokens of the tokenizer: \['Z'\]"):
        Wav2Vec2ProcessorWithLM(*parts, BeamSearchDecoderCTC(Alphabet([token for token in TOKENS if token != "Z"])))
    with pytest.raises(InputError, match="needs a decoder; it is None"):
        Wav2Vec2ProcessorWithLM(*parts)


def test_saved_loaded_and_used_by_a_pipeline(pyctcdecode, parts, tmp_path):
    folder = tmp_path / "saved"
    processor = Wav2Vec2ProcessorWithLM(*parts, BeamSearchDecoderCTC(Alphabet(TOKENS), LanguageModel()))
    for _ in range(2):  # the second time into a folder that has a language model
        processor.save_pretrained(folder)
    again = AutoProcessor.from_pretrained(folder)
    assert type(again) is Wav2Vec2ProcessorWithLM
    assert Wav2Vec2ProcessorWithLM.from_pretrained(folder, alpha=0.9).language_model.alpha == 0.9
    model = tiny_model()
    model.save_pretrained(folder)
    sound = np.random.default_rng(0).normal(size=16_000)
    found = pipeline("automatic-speech-recognition", model=folder)
    passed = pipeline("automatic-speech-recognition", model=model, processor=again)
    assert found.decoder.model_container[b"key"] is not None and passed.decoder is again.decoder
    assert found(sound, return_timestamps="word") == passed(sound, return_timestamps="word")

    without = tmp_path / "without"
    Wav2Vec2ProcessorWithLM(*parts, BeamSearchDecoderCTC(Alphabet(TOKENS))).save_pretrained(without)
    assert Wav2Vec2ProcessorWithLM.from_pretrained(without).language_model is None
    with pytest.raises(InputError, match="has no language model, which beta would change"):
        Wav2Vec2ProcessorWithLM.from_pretrained(without, beta=1.0)
    with pytest.raises(InputError, match="is a file"):
        processor.save_pretrained(folder / "alphabet.json")

    (folder / "language_model" / "attrs.json").rename(folder / "language_model" / "other.json")
    with pytest.raises(CheckpointError, match="cannot be read: did not find attributes"):
        AutoProcessor.from_pretrained(folder)


def test_a_package_that_is_not_installed(pyctcdecode, parts, tmp_path, monkeypatch):
    Wav2Vec2ProcessorWithLM(*parts, BeamSearchDecoderCTC(Alphabet(TOKENS), LanguageModel())).save_pretrained(tmp_path)
    tiny_model().save_pretrained(tmp_path)
    monkeypatch.setattr(
        "notebook_kit.processing.audio.language_models.find_spec", lambda name: None if name == "kenlm" else name
    )
    with pytest.raises(MissingDependencyError, match="the package kenlm is not installed") as caught:
        AutoProcessor.from_pretrained(tmp_path)
    assert "pip install" in caught.value.next_step
    with pytest.warns(NotebookKitWarning, match="The most probable letters are taken instead"):
        transcribe = pipeline("automatic-speech-recognition", model=tmp_path)
    assert transcribe.decoder is None and "text" in transcribe(np.ones(16_000))
