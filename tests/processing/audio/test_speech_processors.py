"""The processors of speech recognizers against the oracle's, and the collators that people write with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import transformers
from speech_vocabularies import write_letters, write_whisper

import notebook_kit
from notebook_kit import AutoProcessor, Wav2Vec2Processor, WhisperProcessor
from notebook_kit.errors import InputError, UnknownArchitectureError

CLIPS = [np.sin(np.arange(n) / 20).astype(np.float32) for n in (4_000, 6_000)]


def parts(library, name: str, folder):
    if name == "Wav2Vec2Processor":
        tokenizer = library.Wav2Vec2CTCTokenizer(str(write_letters(folder)))
        return library.Wav2Vec2FeatureExtractor(return_attention_mask=True), tokenizer
    tokenizer = library.WhisperTokenizer.from_pretrained(write_whisper(folder))
    return library.WhisperFeatureExtractor(chunk_length=1), tokenizer


@pytest.fixture(params=["Wav2Vec2Processor", "WhisperProcessor"])
def pair(request, tmp_path):
    return [getattr(lib, request.param)(*parts(lib, request.param, tmp_path)) for lib in (notebook_kit, transformers)]


def test_calls(pair):
    ours, theirs = pair
    for options in (
        {"audio": CLIPS[0]},
        {"text": "HELLO"},
        {"audio": CLIPS[0], "text": "HELLO"},
        {"text": ["A B", "C D"]},
    ):
        sampling = {"sampling_rate": 16_000} if "audio" in options else {}
        mine, other = ours(**options, **sampling), theirs(**options, **sampling)
        assert set(mine) == set(other)
        for name in mine:
            np.testing.assert_allclose(np.asarray(mine[name]), np.asarray(other[name]), atol=1e-4)
    ids = ours.tokenizer(["A B", "C"]).input_ids
    assert ours.batch_decode(ids, skip_special_tokens=True) == theirs.batch_decode(ids, skip_special_tokens=True)


def test_files_go_both_ways(pair, tmp_path):
    ours, theirs = pair
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    assert type(transformers.AutoProcessor.from_pretrained(tmp_path / "ours")) is type(theirs)
    for folder in ("ours", "theirs"):
        loaded = AutoProcessor.from_pretrained(tmp_path / folder)
        assert type(loaded) is type(ours)
        assert loaded(text="HELLO").input_ids == theirs(text="HELLO").input_ids
        np.testing.assert_allclose(
            loaded(CLIPS[0], sampling_rate=16_000, return_tensors="np")[loaded.feature_extractor.model_input_names[0]],
            theirs(CLIPS[0], sampling_rate=16_000, return_tensors="np")[loaded.feature_extractor.model_input_names[0]],
            atol=1e-4,
        )


@dataclass
class CTCCollator:
    """As in the course on audio and in the blog posts about Wav2Vec2."""

    processor: Wav2Vec2Processor
    padding: bool | str = True

    def __call__(self, features):
        input_features = [{"input_values": feature["input_values"]} for feature in features]
        label_features = [{"input_ids": feature["labels"]} for feature in features]
        batch = self.processor.pad(input_features, padding=self.padding, return_tensors="pt")
        labels_batch = self.processor.pad(labels=label_features, padding=self.padding, return_tensors="pt")
        batch["labels"] = labels_batch["input_ids"].masked_fill(labels_batch.attention_mask.ne(1), -100)
        return batch


@dataclass
class Seq2SeqCollator:
    """As in the course on audio and in the blog posts about Whisper."""

    processor: WhisperProcessor
    decoder_start_token_id: int

    def __call__(self, features):
        input_features = [{"input_features": feature["input_features"]} for feature in features]
        batch = self.processor.feature_extractor.pad(input_features, return_tensors="pt")
        label_features = [{"input_ids": feature["labels"]} for feature in features]
        labels_batch = self.processor.tokenizer.pad(label_features, return_tensors="pt")
        labels = labels_batch["input_ids"].masked_fill(labels_batch.attention_mask.ne(1), -100)
        if (labels[:, 0] == self.decoder_start_token_id).all().cpu().item():
            labels = labels[:, 1:]
        batch["labels"] = labels
        return batch


def test_collators_of_the_course(pair):
    batches = []
    for processor in pair:
        main = processor.feature_extractor.model_input_names[0]
        rows = [
            {main: processor(clip, sampling_rate=16_000)[main][0], "labels": processor(text=text)["input_ids"]}
            for clip, text in zip(CLIPS, ("HELLO", "A"), strict=True)
        ]
        if main == "input_values":
            batches.append(CTCCollator(processor)(rows))
        else:
            start = processor.tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
            batches.append(Seq2SeqCollator(processor, start)(rows))
    mine, other = batches
    assert mine.keys() >= {"labels"} and mine["labels"].tolist() == other["labels"].tolist()
    main = next(name for name in mine if name.startswith("input_"))
    assert mine[main].dtype == torch.float32
    torch.testing.assert_close(mine[main], other[main], atol=1e-4, rtol=0)


def test_faults_are_named(pair, tmp_path):
    with pytest.raises(InputError, match="Neither audio nor text"):
        pair[0]()
    with pytest.raises(InputError, match=r"as_target_processor(.|\n)*text=texts"), pair[0].as_target_processor():
        pass
    with pytest.raises(InputError, match="needs a tokenizer"):
        Wav2Vec2Processor(pair[0].feature_extractor)
    with pytest.raises(AttributeError, match="Did you mean 'batch_decode'"):
        pair[0].batch_decod  # noqa: B018
    (tmp_path / "preprocessor_config.json").write_text('{"processor_class": "Speech2TextProcessor"}')
    with pytest.raises(UnknownArchitectureError, match="Speech2TextProcessor"):
        AutoProcessor.from_pretrained(tmp_path)
