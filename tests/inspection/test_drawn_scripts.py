"""Figures with text that matplotlib's own font lacks."""

from __future__ import annotations

import io
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import notebook_kit
from notebook_kit.inspection.drawing import answers, fonts, heat_maps
from notebook_kit.panels import AttentionView, TrainingDashboard

RARE = "ᶁ⌗"  # DejaVu Sans has neither; STIX, which comes with matplotlib, has both
WEIGHTS = np.eye(2, dtype=np.float32)


@pytest.fixture(autouse=True)
def one_more_font(monkeypatch):
    monkeypatch.setattr(fonts, "families", lambda: [fonts.OWN, "STIXNonUnicode", "STIXGeneral"])


def attention():
    model = notebook_kit.pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")
    return AttentionView(model, f"warm {RARE}").figure()


def dashboard():
    board = TrainingDashboard()
    for step in range(1, 4):
        board.log(step, **{f"a {RARE}": step, f"eval {RARE}": -step})
    return board.figure()


DRAWN = {
    "bars": lambda: answers.bars([{"label": RARE, "score": 0.5}]),
    "boxes": lambda: answers.boxes_over_picture(
        [{"label": RARE, "score": 0.5, "box": {"xmin": 1, "ymin": 2, "xmax": 20, "ymax": 25}}],
        Image.new("RGB", (40, 30)),
    ),
    "lines": lambda: heat_maps.lines_figure(WEIGHTS, ["a", RARE], ["b", "c"], RARE),
    "matrix": lambda: heat_maps.matrix_figure(WEIGHTS, ["a", "b"], ["c", RARE], "title"),
    "attention": attention,
    "dashboard": dashboard,
}


@pytest.mark.parametrize("name", DRAWN)
def test_texts_find_a_font(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "Glyph ... missing from font"
        figure = DRAWN[name]()
        figure.savefig(io.BytesIO(), format="png")


def test_only_fonts_that_help_are_named():
    for text in ("a cat", "−3 °C", "größer\n\t\x07\u200d"):
        assert fonts.families_for(text, ["sans-serif"]) == ["sans-serif"]
    assert fonts.families_for(RARE, ["serif"]) == ["serif", "STIXGeneral"]
    assert fonts.families_for(RARE, ["STIXGeneral"]) == ["STIXGeneral"]
    assert fonts.families_for(f"{RARE} \N{ARABIC LETTER SHEEN}", ["cmr10"]) == ["cmr10", fonts.OWN, "STIXGeneral"]
    assert fonts.families_for(RARE, ["no such font"]) == ["no such font", "STIXGeneral"]
    assert fonts.families_for("a größer cat", ["no such font"]) == ["no such font", fonts.OWN]


@pytest.mark.parametrize("chosen", ["serif", ["STIXGeneral", "serif"], "monospace"], ids=str)
def test_the_reader_s_fonts_come_first(chosen):
    with matplotlib.rc_context({"font.family": chosen}):
        figure = Figure()
        figure.suptitle(f"a {RARE}")
        figure.text(0, 0, "x = 1", family="monospace")
        figure.text(0, 0.5, "größer")
        fonts.in_any_script(figure)
        rare, code, plain = (text.get_fontfamily() for text in (figure._suptitle, *figure.texts[-2:]))
    chosen = [chosen] if isinstance(chosen, str) else chosen
    assert rare == (chosen if "STIXGeneral" in chosen else [*chosen, "STIXGeneral"])
    assert code == ["monospace"] and plain == chosen


def test_generic_families_are_those_of_now():
    """A reader may change what "serif" means."""
    assert "STIXGeneral" in fonts.families_for(RARE, ["serif"])
    with matplotlib.rc_context({"font.serif": ["STIXGeneral"]}):
        assert fonts.families_for(RARE, ["serif"]) == ["serif"]
