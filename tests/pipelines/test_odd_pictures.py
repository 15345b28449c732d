"""What people pass by mistake to the pipelines of pictures with words: an error names it, or it is read."""

from __future__ import annotations

import numpy as np
import pytest
from image_helpers import save_clip, save_donut
from PIL import Image
from pipeline_helpers import ours
from record_image_to_text_v4 import CAPTIONER, DATA

from notebook_kit.errors import InputError


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Task -> a call of its pipeline with a picture."""
    vqa, caption = ours("vqa", str(DATA / "tiny-vilt")), ours("image-to-text", str(CAPTIONER))
    label = ours("zero-shot-image-classification", save_clip(tmp_path_factory.mktemp("clip")))
    ask = ours("document-question-answering", save_donut(tmp_path_factory.mktemp("donut")))
    return {
        "vqa": lambda picture: vqa(picture, "is it good?"),
        "image-to-text": lambda picture: caption(picture, max_new_tokens=3),
        "zero-shot-image-classification": lambda picture: label(picture, ["a dog", "a city"]),
        "document-question-answering": lambda picture: ask(picture, "is it good?"),
    }


WRONG = {
    "a text file": ("letter.png", r"letter\.png' cannot be read as an image"),
    "a file that is not there": ("none.png", r"no file 'none\.png'"),
    "a folder": (".", "is a folder"),
    "an empty path": ("", "an empty text"),
    "bytes of no image": (b"abc", "The image of 3 bytes cannot be read"),
    "no pixels": (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
    "five channels": (np.zeros((8, 8, 5), np.uint8), "no axis of 1, 3 or 4 channels"),
    "no numbers": (np.full((4, 4, 3), np.nan), "values from nan to nan"),
    "normalized": (np.full((4, 4, 3), -1.5), r"values from -1\.5 to -1\.5"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_a_picture_is_named(calls, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letter.png").write_text("Dear reader")
    given, message = WRONG[name]
    for call in calls.values():
        with pytest.raises(InputError, match=message) as caught:
            call(given)
        assert caught.value.next_step


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_pictures_of_any_mode_are_read(calls, mode):
    for size in ((1, 1), (40, 3)):
        for call in calls.values():
            assert call(Image.new(mode, size))
