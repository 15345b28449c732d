"""AttentionView over a recording in a real JupyterLab: words and the moments they came from, by mouse and by keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conftest import set_theme, shot
from listener import Listener, extractor, recording, vocabulary

from notebook_kit.panels import AttentionView

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="attention_view"]'
TESTS = Path(__file__).parents[1]
CELL = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from listener import Listener, extractor, recording, vocabulary
from notebook_kit.panels import AttentionView
view = AttentionView(Listener(), recording(), processor=extractor(), tokenizer=vocabulary())
view
"""


def at(canvas: Any, seconds: float) -> dict[str, float]:
    """The place of a moment of the two seconds on a spectrogram, once it no longer changes its size."""
    box, former = canvas.bounding_box(), None
    while box != former:
        canvas.page.wait_for_timeout(300)
        box, former = canvas.bounding_box(), box
    return {"x": box["width"] * seconds / 2, "y": 40}


def brightness(canvas: Any, seconds: float) -> int:
    """How bright the colour at a moment is, between the tones and the edges."""
    place = {**at(canvas, seconds), "y": 4}
    return canvas.evaluate(
        """(canvas, {x, y}) => {
            const ratio = canvas.width / canvas.clientWidth;
            return [...canvas.getContext('2d').getImageData(x * ratio, y * ratio, 1, 1).data].slice(0, 3).reduce((a, b) => a + b);
        }""",
        place,
    )


def test_a_word_shows_the_moment_it_came_from(notebook, expect, accessible):
    page = notebook([CELL])
    panel = page.locator(PANEL).first
    words, target = panel.locator('[data-side="from"] .nk-av-chip'), panel.locator('[data-side="to"] canvas')
    expect(words).to_have_count(4, timeout=30_000)
    expect(panel.get_by_role("tab", name="Spectrogram")).to_be_visible()
    words.nth(1).click()
    expect(panel.locator(".nk-av-readout")).to_contain_text("from high →")
    expect(panel.locator(".nk-av-readout")).to_contain_text("exact")
    assert brightness(target, 0.9) > brightness(target, 0.3) + 60, "the word lights up its moment"
    accessible(page)
    shot(panel, "attention_sound_light")
    set_theme(page, True)
    shot(panel, "attention_sound_dark")
    accessible(page)
    set_theme(page, False)

    target.click(position=at(target, 1.5))  # a moment shows the words that look at it
    expect(panel.locator(".nk-av-readout")).to_contain_text("→ to 1.")
    expect(panel.locator(".nk-av-readout b").first).to_have_text("mid")
    page.mouse.move(0, 0)
    expect(panel.locator(".nk-av-readout")).to_contain_text("→ to 1.")
    shot(panel, "attention_sound_moment")
    target.focus()
    page.keyboard.press("Escape")
    expect(panel.locator(".nk-av-readout")).to_contain_text("from high →")
    with page.expect_download() as download:
        panel.get_by_role("button", name="Export SVG").click()
    svg = Path(download.value.path()).read_text()
    assert "high" in svg and "<image" in svg


def test_frames_of_the_encoder_by_keyboard(notebook, expect):
    page = notebook([CELL])
    panel = page.locator(PANEL).first
    expect(panel.locator('[data-side="from"] .nk-av-chip')).to_have_count(4, timeout=30_000)
    panel.get_by_label("Attention", exact=True).select_option("self")
    source = panel.locator('[data-side="from"] canvas')
    expect(source).to_be_visible()
    source.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    expect(panel.locator(".nk-av-readout")).to_contain_text("from 0.18 s →")
    page.keyboard.press("Enter")
    expect(panel.locator(".nk-av-selection")).to_contain_text("1 selected")
    shot(panel, "attention_sound_frames")
    page.set_viewport_size({"width": 520, "height": 1000})
    shot(panel, "attention_sound_narrow")
    page.set_viewport_size({"width": 1300, "height": 1000})


def test_a_file_on_disk_has_the_spectrogram(chromium, expect, tmp_path):
    view = AttentionView(Listener(), recording(), processor=extractor(), tokenizer=vocabulary(), selected=[0])
    path = view.to_html(tmp_path / "view.html")
    page = chromium.new_page(viewport={"width": 900, "height": 900})
    page.goto(path.as_uri())
    target = page.locator('[data-side="to"] canvas')
    expect(page.locator(".nk-av-readout")).to_contain_text("from low →")
    assert brightness(target, 0.3) > brightness(target, 0.9) + 60
    shot(page.locator(".nk-panel"), "attention_sound_file")
    page.close()
