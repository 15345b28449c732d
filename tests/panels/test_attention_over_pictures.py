"""AttentionView over a patch grid: what crosses to the page, the static face, a file on disk."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from patch_model import CLASS, COLOUR, PatchModel, picture, process, sample
from PIL import Image

from notebook_kit.errors import InputError
from notebook_kit.inspection.drawing.heat_maps import png_of
from notebook_kit.inspection.drawing.pictures import heat_over_picture, jpeg_of, pixels_of
from notebook_kit.panels import AttentionView


@pytest.fixture
def view():
    return AttentionView(PatchModel(), sample())


def test_the_page_knows_the_grid_and_its_picture(view):
    tokens = view._about["tokens"]
    assert tokens["kind"] == "patches" and len(tokens["boxes"]) == 25 and tokens["boxes"][0] is None
    assert Image.open(io.BytesIO(tokens["picture"])).size == (480, 320)
    assert view._about["has_rollout"] and view._about["can_ablate"] and not view._about["reads_text"]
    assert not view._about["can_lens"] and "25 patches" in repr(view)
    assert list(view.matrix().columns[:2]) == ["[CLS]", "0,0"]


def test_programs_get_what_they_get_of_texts(view):
    view.head = COLOUR
    assert view.scores()["same"].iloc[1] > 0.99
    result = view.predict([(0, COLOUR)])
    assert result["kind"] == "classes" and view.prediction["heads"] == [[0, COLOUR]]
    view.compare(sample(picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    view.shown = "difference"
    assert view.matrix().abs().to_numpy().max() > 0.05
    view.compare(PatchModel())
    assert view.matrix().abs().to_numpy().max() < 1e-6
    view.use(PatchModel(register=True))
    assert len(view.matrix()) == 26 and view.shown == "this"


def test_what_does_not_go_together_is_refused(view):
    with pytest.raises(InputError, match="A sample needs a model to read it"):
        AttentionView(np.full((1, 1, 2, 2), 0.5), sample())
    with pytest.raises(InputError, match="image processor is unknown"):
        view.compare("a picture.png")


def test_face_is_the_picture_with_colours(view):
    view.head = 0
    view.selected = [10]  # the patch 1,3, on the sun
    face = view.face()
    image = np.asarray(Image.open(io.BytesIO(face.png)).convert("RGB")).astype(int)
    orange = (np.abs(image - [250, 150, 40]).max(-1) < 12).sum()
    assert orange > 500, "the picture itself is on the left"
    assert face.rows and len(face.header) == 3
    assert [axes.get_title() for axes in view.figure().axes[:2]] == ["from 1,3", "Layer 0 · head 0"]
    view.selected = []
    assert view.figure().axes[0].get_title() == "from [CLS]"
    view.hide_special = True
    assert view.figure().axes[0].get_title() == "from all patches (mean)"
    view.view = "matrix"
    assert view.figure().axes[0].get_yticklabels()[0].get_text() == "0,0"


def test_attention_that_is_all_on_the_class_token_leaves_the_picture_dark(view):
    view.head = CLASS
    bar = view.figure().axes[2]
    assert bar.get_ylim()[1] == pytest.approx(0.02, rel=1e-3)


def test_file_holds_the_picture(view, tmp_path):
    page = view.to_html(tmp_path / "view.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert "$buffer" in data["traits"]["_about"]["tokens"]["picture"]


def test_pictures_of_any_kind():
    image = picture()
    for form in (image, np.asarray(image)):
        assert pixels_of(form).shape == (320, 480, 3)
    assert Image.open(io.BytesIO(jpeg_of(image.resize((2000, 1000))))).size == (512, 256)
    with pytest.raises(InputError, match="is not a picture"):
        pixels_of(process(image)["pixel_values"][0])
    plain = heat_over_picture(np.array([0.2, -0.8]), [(0, 0, 0.5, 1), (0.5, 0, 1, 1)], "ab", None, "t", signed=True)
    assert png_of(plain)[:4] == b"\x89PNG"


def test_a_picture_before_its_model():
    with pytest.raises(InputError, match="cannot be read from an object of type") as caught:
        AttentionView(picture(), PatchModel())
    assert "a pipeline and then what it reads" in caught.value.next_step
