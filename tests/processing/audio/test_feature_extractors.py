"""The feature extractors against the oracle's: features, masks, padding, files."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
import transformers

import notebook_kit
from notebook_kit import (
    AutoFeatureExtractor,
    SequenceFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from notebook_kit.errors import InputError, UnknownArchitectureError

NAMES = ["Wav2Vec2FeatureExtractor", "WhisperFeatureExtractor", "ASTFeatureExtractor"]
RATE = 16_000


def clips(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    """Chirps in noise."""
    rng = np.random.default_rng(seed)
    return [(0.4 * np.sin(np.arange(n) ** 1.2 / 40) + 0.05 * rng.normal(size=n)).astype(np.float32) for n in lengths]


def pair(name: str, **settings):
    return getattr(notebook_kit, name)(**settings), getattr(transformers, name)(**settings)


def assert_alike(ours, theirs, tolerance: float = 1e-4):
    assert set(ours) == set(theirs)
    for key in theirs:
        assert type(ours[key]) is type(theirs[key]), key
        for mine, other in zip(ours[key], theirs[key], strict=True):
            assert mine.dtype == other.dtype and mine.shape == other.shape, key
            assert np.abs(np.asarray(mine, np.float64) - np.asarray(other, np.float64)).max() < tolerance, key


@pytest.mark.parametrize("kind", ["pt", "np", None])
@pytest.mark.parametrize("name", NAMES)
def test_as_the_oracle(name, kind):
    ours, theirs = pair(name)
    for some in (clips(20_000)[0], clips(5_000, 5_000), np.stack(clips(700, 700)), clips(9_000)[0].tolist()):
        assert_alike(
            ours(some, sampling_rate=RATE, return_tensors=kind), theirs(some, sampling_rate=RATE, return_tensors=kind)
        )


@pytest.mark.parametrize(
    "options", [{"padding": True}, {"padding": "max_length", "max_length": 9_000}, {"padding": "longest"}]
)
@pytest.mark.parametrize("mask", [True, False, None])
@pytest.mark.parametrize("normalize", [True, False])
def test_padding_of_samples(options, mask, normalize):
    ours, theirs = pair("Wav2Vec2FeatureExtractor", do_normalize=normalize, return_attention_mask=True)
    for more in ({}, {"pad_to_multiple_of": 1024}):
        settings = {**options, **more, "sampling_rate": RATE, "return_attention_mask": mask, "return_tensors": "pt"}
        if mask is False:
            theirs_mask = theirs(clips(4_000, 7_777), **{**settings, "return_attention_mask": True})
            ours_alone = ours(clips(4_000, 7_777), **settings)
            assert "attention_mask" not in ours_alone  # the oracle then normalizes the padding, too
            assert_alike({"v": ours_alone["input_values"]}, {"v": theirs_mask["input_values"]})
            continue
        assert_alike(ours(clips(4_000, 7_777), **settings), theirs(clips(4_000, 7_777), **settings))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_attention_mask": True},
        {"padding": "longest", "truncation": False, "return_attention_mask": True},
        {"padding": "longest", "truncation": False, "max_length": 100},
        {"do_normalize": True, "return_attention_mask": True},
        {"max_length": 8_000, "return_attention_mask": True},
        {"padding": "longest", "pad_to_multiple_of": 16_000, "return_attention_mask": True},
    ],
)
@pytest.mark.parametrize("mels", [80, 128])
def test_spectrograms(options, mels):
    ours, theirs = pair("WhisperFeatureExtractor", feature_size=mels, chunk_length=3)
    for some in (clips(12_345, 7_001), clips(60_000, 30_000), clips(47_900), clips(401)):
        settings = {"sampling_rate": RATE, "return_tensors": "np", **options}
        assert_alike(ours(some, **settings), theirs(some, **settings))


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("lengths", [(480_000, 1), (79_999, 80_000), (80_161, 479_801), (479_799, 640_000)])
def test_spectrograms_where_silence_and_blocks_begin(mels, lengths):
    ours, theirs = pair("WhisperFeatureExtractor", feature_size=mels)
    given = {"sampling_rate": 16_000, "return_tensors": "pt"}
    assert_alike(ours(clips(*lengths), **given), theirs(clips(*lengths), **given), tolerance=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_pad_as_the_oracle(name):
    ours, theirs = pair(name, feature_size=1, return_attention_mask=True)
    main = ours.model_input_names[0]
    rows = [{main: clip.tolist()} for clip in clips(5, 8)]
    for options in ({}, {"max_length": 12, "padding": "max_length"}, {"max_length": 6, "truncation": True}):
        for kind in ("pt", "np", None):
            assert_alike(
                ours.pad(rows, return_tensors=kind, **options), theirs.pad(rows, return_tensors=kind, **options)
            )


def test_labels_and_tensors_pass_through_pad():
    rows = [{"input_values": torch.ones(3), "labels": 1}, {"input_values": torch.ones(5), "labels": 0}]
    padded = Wav2Vec2FeatureExtractor().pad(rows)
    assert padded["input_values"].shape == (2, 5) and padded["labels"].tolist() == [1, 0]


@pytest.mark.parametrize("name", NAMES)
def test_files_go_both_ways(name, tmp_path):
    settings = {"WhisperFeatureExtractor": {"feature_size": 128}, "ASTFeatureExtractor": {"max_length": 64}}.get(
        name, {}
    )
    ours, theirs = pair(name, **settings)
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    assert transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "ours").to_dict() == theirs.to_dict()
    for folder in ("ours", "theirs"):
        loaded = AutoFeatureExtractor.from_pretrained(tmp_path / folder)
        assert type(loaded) is type(ours) and loaded.to_dict() == ours.to_dict()
    assert AutoFeatureExtractor.from_pretrained(tmp_path / "theirs", sampling_rate=8_000).sampling_rate == 8_000


@pytest.mark.parametrize(("model_type", "name"), [("hubert", NAMES[0]), ("whisper", NAMES[1])])
def test_the_configuration_names_the_class(model_type, name, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text('{"sampling_rate": 8000}')
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)).__name__ == name


def test_an_unknown_class_is_named(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text('{"feature_extractor_type": "ClapFeatureExtractor"}')
    with pytest.raises(UnknownArchitectureError, match="ClapFeatureExtractor"):
        AutoFeatureExtractor.from_pretrained(tmp_path)


def test_an_extractor_of_ones_own():
    class Doubled(SequenceFeatureExtractor):
        model_input_names = ["input_values"]
        gain: float = 2.0

        def __call__(self, raw_speech, sampling_rate=None, **options):
            return self.pad({"input_values": [self.gain * row for row in self.recordings(raw_speech, sampling_rate)]})

    assert Doubled(gain=3.0)([0.5, 0.25], sampling_rate=RATE)["input_values"].tolist() == [[1.5, 0.75]]


FAULTS = {
    "another rate": ({"raw_speech": clips(50)[0], "sampling_rate": 8_000}, "sampling rate of 8,000 Hz"),
    "no recordings": ({"raw_speech": []}, "the list is empty"),
    "stereo": ({"raw_speech": [np.zeros((2, 50))]}, r"the shape \(2, 50\)"),
    "empty": ({"raw_speech": [np.zeros(5), np.zeros(0)]}, "Recording 1 of 2"),
    "words": ({"raw_speech": [["a", "b"]]}, "not a list of numbers"),
    "no file": ({"raw_speech": ["none.wav"]}, "There is no file"),
    "misspelled padding": ({"raw_speech": clips(50), "padding": "longst"}, "Did you mean 'longest'"),
    "no length": ({"raw_speech": clips(50), "padding": "max_length"}, "needs a max_length"),
    "ragged": ({"raw_speech": clips(50, 60), "return_tensors": "pt"}, "cannot become one tensor"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault):
    options, words = FAULTS[fault]
    with pytest.raises(InputError, match=words):
        Wav2Vec2FeatureExtractor()(**{"sampling_rate": RATE, **options})


def test_a_missing_rate_is_mentioned_once(caplog):
    extractor = WhisperFeatureExtractor()
    with caplog.at_level(logging.WARNING):
        extractor(clips(500)[0])
        extractor(clips(500)[0])
    assert caplog.text.count("without sampling_rate") == 1
