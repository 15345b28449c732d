"""`show` draws what pipelines answer: bars, boxes and masks, with a table beside the picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from notebook_kit import language
from notebook_kit.errors import InputError
from notebook_kit.inspection.drawing.answers import boxes_over_picture, colours_of, masks_over_picture
from notebook_kit.panels.panel import FACE_BYTES
from notebook_kit.panels.show import show

SCORES = [{"label": "cat", "score": 0.75}, {"label": "<b>dog</b>", "score": 0.2}, {"label": "$x$", "score": 0.05}]
FOUND = [
    {"score": 0.97, "label": "cat", "box": {"xmin": 10, "ymin": 20, "xmax": 60, "ymax": 70}},
    {"score": 0.61, "label": "dog", "box": {"xmin": -3, "ymin": 5, "xmax": 90, "ymax": 60}},
]


def picture(width=100, height=80):
    image = Image.new("RGB", (width, height), (200, 200, 200))
    ImageDraw.Draw(image).ellipse((20, 20, 60, 60), fill=(240, 120, 20))
    return image


def segments():
    left = np.zeros((80, 100), np.uint8)
    left[:, :40] = 255
    return [
        {"score": 0.9, "label": "sky", "mask": Image.fromarray(left)},
        {"score": None, "label": "sea", "mask": Image.fromarray(255 - left)},
    ]


def drawn(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return np.asarray(Image.open(buffer).convert("RGB")).astype(int)


def html_of(shown):
    return shown._repr_mimebundle_()["text/html"]


def test_scores_as_bars():
    shown = show(SCORES)
    assert repr(shown) == "Shown(3 labels)"
    bars = shown.figure().axes[0].patches
    assert [bar.get_width() for bar in bars] == [0.75, 0.2, 0.05]
    page = html_of(shown)
    assert "<td>cat</td><td>0.750</td>" in page
    assert "&lt;b&gt;dog" in page
    assert "<b>dog" not in page
    assert "data:image/png;base64," in page
    assert len(show(SCORES, picture()).figure().axes) == 2, "the image beside the bars"
    assert len(show({"label": "cat", "score": -2.5}, "A text.").figure().axes) == 1


def test_boxes_over_the_image():
    shown = show(FOUND, picture())
    figure = boxes_over_picture(FOUND, picture())
    edges = [patch.get_bbox().bounds for patch in figure.axes[0].patches]
    assert edges == [(-3, 5, 93, 55)] * 2 + [(10, 20, 50, 50)] * 2, "the best one is on top"
    assert [text.get_text() for text in figure.axes[0].texts] == ["dog 0.61", "cat 0.97"]
    assert "(10, 20) – (60, 70)" in html_of(shown)
    assert 'alt="The image with boxes: cat 0.970, dog 0.610"' in html_of(shown)


def test_masks_over_the_image():
    plain = Image.new("RGB", (100, 80), (200, 200, 200))
    figure = masks_over_picture(segments(), plain)
    pixels = drawn(figure)
    corners = pixels[5, 5], pixels[5, -5]
    assert not np.array_equal(*corners)
    assert all((abs(corner - 200) > 20).any() for corner in corners)
    assert [text.get_text() for text in figure.axes[0].texts] == ["sky 0.90", "sea"]
    assert "<td>sky</td><td>0.900</td><td>40.0%</td>" in html_of(show(segments(), plain))
    empty = [{"score": 0.5, "label": "sky", "mask": Image.new("L", (100, 80))}]
    assert len(masks_over_picture(empty, plain).axes[0].texts) == 0


def test_nothing_was_found():
    assert "Nothing was found" in html_of(show([], picture()))


def test_several_answers():
    shown = show([FOUND, FOUND[:1]], [picture(), picture()])
    assert [repr(one) for one in shown] == ["Shown(2 boxes)", "Shown(1 boxes)"]
    with pytest.raises(InputError, match="There are 2 answers, but 1 inputs"):
        show([FOUND, FOUND], [picture()])


@pytest.mark.parametrize("result", ["cat", [1, 2], [{"label": "cat"}], 5, [{"generated_text": "a"}]])
def test_what_is_not_an_answer(result):
    with pytest.raises(InputError, match="is not an answer that show can draw"):
        show(result)


def test_boxes_need_their_image():
    with pytest.raises(InputError, match="The boxes belong to an image"):
        show(FOUND)


def test_large_pictures_stay_small_in_a_notebook():
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    page = html_of(show(FOUND, noise))
    assert "data:image/png;base64," in page
    assert len(page) < FACE_BYTES


def test_a_file(tmp_path):
    picture().save(tmp_path / "cat.png")
    path = show(SCORES, str(tmp_path / "cat.png")).to_html(tmp_path / "answer.html")
    assert "data:image/png;base64," in path.read_text("utf-8")
    assert len(show(SCORES, str(tmp_path / "cat.png")).figure().axes) == 2


def test_in_telugu():
    language.set_language("te")
    try:
        assert "<th>లేబుల్</th>" in html_of(show(FOUND, picture()))
    finally:
        language.set_language("en")


def test_colours():
    assert len(set(colours_of([str(i) for i in range(8)]).values())) == 8
