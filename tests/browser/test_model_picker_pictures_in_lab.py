"""Trying an image model in the ModelPicker in a real JupyterLab: a sample, an upload, a dropped file, wrong files."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import set_theme, shot
from patch_model import picture

pytestmark = pytest.mark.usefixtures("tall")

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="model_picker"]'
TESTS = Path(__file__).parents[1]
CELL = """
import os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, {tests!r})
from picture_models import build
from notebook_kit.panels import ModelPicker
for part in build("vit"):
    part.save_pretrained({folder!r})
picker = ModelPicker()
picker.load({folder!r}, task="image-classification")
picker
"""


def test_pictures_are_tried(notebook, expect, accessible, tmp_path):
    page = notebook([CELL.format(tests=str(TESTS), folder=str(tmp_path / "tiny-vit"))])
    panel = page.locator(PANEL)
    samples = panel.locator(".nk-sample")
    expect(samples.first).to_be_visible()
    samples.first.focus()
    page.keyboard.press("Enter")
    rows = panel.locator(".nk-answer-face tbody tr")
    expect(rows).to_have_count(3)
    expect(panel.locator(".nk-answer")).to_be_visible()
    accessible(page)
    shot(panel.locator(".nk-trial"), "picker_picture_light")

    upload = panel.get_by_label("Choose a picture")
    (tmp_path / "notes.txt").write_text("a text")
    upload.set_input_files(tmp_path / "notes.txt")
    alert = panel.get_by_role("alert").filter(visible=True)
    expect(alert).to_contain_text("notes.txt is not a picture.")
    (tmp_path / "large.png").write_bytes(bytes(9 * 2**20))
    upload.set_input_files(tmp_path / "large.png")
    expect(alert).to_contain_text("large.png has 9.0 MiB; at most 8.0 MiB")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    upload.set_input_files(tmp_path / "broken.png")
    expect(alert).to_contain_text("broken.png is not a picture that can be read.")
    expect(rows).to_have_count(0)  # the answer about the picture before is gone
    shot(panel, "picker_picture_wrong")
    picture().save(tmp_path / "sun.png")
    upload.set_input_files(tmp_path / "sun.png")
    expect(panel.locator(".nk-chosen")).to_have_text("sun.png")
    expect(alert).to_have_count(0)
    expect(rows).to_have_count(3)

    dropped = page.evaluate_handle(
        """async () => {
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 40;
            const blob = await new Promise(done => canvas.toBlob(done));
            const data = new DataTransfer();
            data.items.add(new File([blob], "dropped.png", { type: "image/png" }));
            return data;
        }"""
    )
    panel.locator(".nk-drop").dispatch_event("drop", {"dataTransfer": dropped})
    expect(panel.locator(".nk-chosen")).to_have_text("dropped.png")
    set_theme(page, dark=True)
    accessible(page)
    shot(panel.locator(".nk-trial"), "picker_picture_dark")
