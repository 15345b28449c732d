"""Trying a speech model in the ModelPicker in a real JupyterLab: a sample, an upload, the microphone, a wrong file."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import set_theme, shot
from listener import recording

from notebook_kit.inspection.sounds import wave_file

pytestmark = pytest.mark.usefixtures("tall")

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="model_picker"]'
TESTS = Path(__file__).parents[1]
CELL = """
import os
os.environ["HF_HUB_OFFLINE"] = "1"
from notebook_kit import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification
from notebook_kit.panels import ModelPicker
config = Wav2Vec2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=[4] * 7,
    num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, classifier_proj_size=8, id2label={{0: "on", 1: "off"}})
Wav2Vec2ForSequenceClassification(config).save_pretrained({folder!r})
Wav2Vec2FeatureExtractor().save_pretrained({folder!r})
picker = ModelPicker()
picker.load({folder!r}, task="audio-classification")
picker
"""


def test_recordings_are_tried(notebook, expect, accessible, tmp_path):
    page = notebook([CELL.format(folder=str(tmp_path / "tiny-wav2vec2"))])
    panel = page.locator(PANEL)
    samples = panel.locator(".nk-samples button")
    expect(samples.first).to_be_visible()
    samples.first.focus()
    page.keyboard.press("Enter")
    rows, heard = panel.locator(".nk-answer-face tbody tr"), panel.locator(".nk-heard")
    expect(rows).to_have_count(2)
    expect(heard).to_be_visible()
    accessible(page)
    shot(panel.locator(".nk-trial"), "picker_sound_light")

    upload = panel.get_by_label("Choose a recording")
    (tmp_path / "notes.txt").write_text("a text")
    upload.set_input_files(tmp_path / "notes.txt")
    alert = panel.get_by_role("alert").filter(visible=True)
    expect(alert).to_contain_text("notes.txt is not a recording.")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    upload.set_input_files(tmp_path / "broken.wav")
    expect(alert).to_contain_text("broken.wav is not a recording that can be read.")
    tones = recording()
    (tmp_path / "tones.wav").write_bytes(wave_file(tones["array"], tones["sampling_rate"]))
    upload.set_input_files(tmp_path / "tones.wav")
    expect(panel.locator(".nk-chosen")).to_have_text("tones.wav")
    expect(alert).to_have_count(0)
    expect(rows).to_have_count(2)

    panel.get_by_role("button", name="Record", exact=True).click()  # a beep each second
    expect(panel.get_by_role("button", name="Stop (1 s)")).to_be_visible()
    panel.locator(".nk-record").click()
    expect(panel.locator(".nk-chosen")).to_have_text("from the microphone")
    expect(rows).to_have_count(2)
    page.wait_for_function("() => [...document.querySelectorAll('.nk-heard')].at(-1).duration > 0.5")
    set_theme(page, dark=True)
    accessible(page)
    shot(panel.locator(".nk-trial"), "picker_sound_dark")
