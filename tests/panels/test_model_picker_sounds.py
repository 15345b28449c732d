"""Trying speech models in the ModelPicker: samples, uploads, the microphone, and what is wrong with them."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from listener import recording
from test_model_picker_pictures import asker, picker_with

from notebook_kit import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification
from notebook_kit.inspection.sounds import wave_file
from notebook_kit.panels.model_picker.contents import LARGEST, samples_for
from notebook_kit.panels.model_picker.trying import fields_of, samples_of
from notebook_kit.pipelines.audio_classification import AudioClassificationPipeline


@pytest.fixture(scope="module")
def ask():
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": [4] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    config = Wav2Vec2Config(**sizes, **convolutions, id2label={0: "on", 1: "off"}, classifier_proj_size=8)
    pipe = AudioClassificationPipeline(
        Wav2Vec2ForSequenceClassification(config).eval(), feature_extractor=Wav2Vec2FeatureExtractor()
    )
    assert fields_of(pipe) == ["sound"] and samples_of(pipe)
    asked = asker(picker_with(pipe))
    return lambda choice, *buffers: asked(choice, *buffers, field="sound")


def seconds_of(data):
    with wave.open(io.BytesIO(data)) as file:
        return file.getnframes() / file.getframerate()


def test_a_recording_is_tried(ask):
    tones = recording()
    file = wave_file(tones["array"], tones["sampling_rate"])
    spoken = (tones["array"][:8000] * 32767).astype("<i2").tobytes()
    for choice, buffers, seconds in (
        ({"file": "tones.wav"}, [memoryview(file)], 2.0),
        ({"recorded": True}, [spoken], 0.5),
        ({"sample": samples_for("audio-classification")[0]["name"]}, [], None),
    ):
        answer, heard = ask(choice, *buffers)
        face = answer["answer"]["face"]
        assert face["pictured"] and {row[0] for row in face["rows"]} == {"on", "off"}
        assert bytes(heard[0]).startswith(b"\x89PNG") and (seconds is None or seconds_of(heard[1]) == seconds)


def test_what_cannot_be_tried_is_said(ask):
    assert "No recording was chosen" in ask({})[0]["error"]["what"]
    wrong = ask({"file": "notes.wav"}, b"no recording")[0]["error"]["what"]
    assert wrong == "notes.wav is not a recording that can be read."
    assert "at most 8 MiB" in ask({"file": "long.wav"}, bytes(LARGEST + 1))[0]["error"]["what"]
    assert "There is no sample" in ask({"sample": "../x"})[0]["error"]["what"]
    assert np.isfinite(float(ask({"recorded": True}, bytes(32_000))[0]["answer"]["face"]["rows"][0][1]))
