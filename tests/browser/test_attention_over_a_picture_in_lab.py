"""AttentionView over the patches of a picture in a real JupyterLab: by mouse, by keyboard, in both themes, from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conftest import set_theme, shot
from patch_model import PatchModel, sample

from notebook_kit.panels import AttentionView

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="attention_view"]'
TESTS = Path(__file__).parents[1]
CELL = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from patch_model import PatchModel, sample
from notebook_kit.panels import AttentionView
view = AttentionView(PatchModel(), sample())
view
"""


def at(canvas: Any, row: int, column: int) -> dict[str, float]:
    """The middle of a patch on a canvas."""
    box = canvas.bounding_box()
    return {"x": box["width"] * (column + 0.5) / 6, "y": box["height"] * (row + 0.5) / 4}


def colour(canvas: Any, place: dict[str, float]) -> list[int]:
    """The colour that is painted at a place."""
    return canvas.evaluate(
        """(canvas, {x, y}) => {
            const ratio = canvas.width / canvas.clientWidth;
            return [...canvas.getContext('2d').getImageData(x * ratio, y * ratio, 1, 1).data].slice(0, 3);
        }""",
        place,
    )


def test_a_patch_shows_where_it_looks(notebook, expect, accessible):
    page = notebook([CELL])
    panel = page.locator(PANEL).first
    expect(panel.locator(".nk-av-cell")).to_have_count(8, timeout=30_000)
    source, target = panel.locator('[data-side="from"] canvas'), panel.locator('[data-side="to"] canvas')
    expect(panel.locator(".nk-av-readout")).to_contain_text("from [CLS]")
    expect(panel.get_by_role("tab", name="Picture")).to_be_visible()

    panel.locator('.nk-av-cell[data-layer="0"][data-head="0"]').click()  # patches of the same colour
    source.hover(position=at(source, 1, 3))
    expect(panel.locator(".nk-av-readout")).to_contain_text("from 1,3 →")
    expect(panel.locator(".nk-av-readout")).to_contain_text("exact")
    sun, sky = colour(target, at(target, 2, 4)), colour(target, at(target, 0, 0))
    assert sum(sun) > sum(sky) + 150, "the sun is bright, the sky is not"
    source.click(position=at(source, 1, 3))
    expect(panel.locator(".nk-av-selection")).to_contain_text("1 selected")
    accessible(page)
    shot(panel, "attention_picture_light")
    set_theme(page, True)
    shot(panel, "attention_picture_dark")
    accessible(page)
    set_theme(page, False)

    panel.locator('.nk-av-cell[data-layer="0"][data-head="2"]').click()
    expect(panel.locator('[data-side="to"] .nk-av-chip')).to_contain_text("1.000")
    panel.get_by_label("Hide class and register tokens").check()
    expect(panel.locator(".nk-av-chip")).to_have_count(0)
    panel.get_by_role("tab", name="Matrix").click()
    shot(panel, "attention_picture_matrix")
    panel.get_by_role("tab", name="Picture").click()
    panel.get_by_role("button", name="Clear").click()
    expect(panel.locator(".nk-av-readout")).to_contain_text("from all patches (mean)")


def test_by_keyboard(notebook, expect):
    page = notebook([CELL])
    panel = page.locator(PANEL).first
    source = panel.locator('[data-side="from"] canvas')
    expect(panel.locator(".nk-av-readout")).to_contain_text("from [CLS]", timeout=30_000)
    source.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    expect(panel.locator(".nk-av-readout")).to_contain_text("from 1,1 →")
    page.keyboard.press("Enter")
    expect(panel.locator(".nk-av-selection")).to_contain_text("1 selected")
    page.keyboard.press("Escape")
    panel.locator('[data-side="from"] .nk-av-chip').focus()
    page.keyboard.press("Enter")
    expect(panel.locator(".nk-av-selection")).to_contain_text("2 selected")


def test_a_file_on_disk_has_the_picture(chromium, expect, tmp_path):
    view = AttentionView(PatchModel(), sample(), selected=[10], layer=0, head=0)
    path = view.to_html(tmp_path / "view.html")
    page = chromium.new_page(viewport={"width": 900, "height": 900})
    page.goto(path.as_uri())
    target = page.locator('[data-side="to"] canvas')
    expect(page.locator(".nk-av-readout")).to_contain_text("from 1,3 →")
    assert sum(colour(target, at(target, 2, 4))) > sum(colour(target, at(target, 0, 0))) + 150
    shot(page.locator(".nk-panel"), "attention_picture_file")
    page.close()
