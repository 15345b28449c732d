"""AttentionView of the image families in a real JupyterLab: heads as small multiples, rollout, queries, windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import load, set_theme, shot

pytestmark = pytest.mark.usefixtures("tall")

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="attention_view"]'
TESTS = Path(__file__).parents[1]
START = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from patch_model import picture
from picture_models import build, find_three
from notebook_kit.panels import AttentionView
def look(family, **options):
    model, processor = build(family)
    return AttentionView(model, picture(), image_processor=processor, **options)
"""
WAIT = """
import time
from pathlib import Path
while not Path("go").exists():
    time.sleep(0.05)
"""
DETR = """
model, processor = build("detr")
finding = find_three(model)
finding.__enter__()
AttentionView(model, picture(), image_processor=processor)
"""


def at(canvas: Any, x: float, y: float) -> dict[str, float]:
    """A place on a canvas, from fractions of its width and height."""
    box = canvas.bounding_box()
    return {"x": box["width"] * x, "y": box["height"] * y}


def test_a_vision_transformer(notebook, expect, accessible, lab):
    page = notebook([START + 'view = look("vit")\nview', WAIT], run=False)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    panel = page.locator(PANEL).first
    expect(panel.locator(".nk-av-cell")).to_have_count(12, timeout=90_000)  # nothing has waited for the cell
    source = panel.locator('[data-side="from"] canvas')
    expect(panel.locator(".nk-av-readout")).to_contain_text("from [CLS] →")
    source.click(position=at(source, 0.7, 0.55))  # while the other cell is running
    expect(panel.locator(".nk-av-selection")).to_contain_text("1 selected; its row is shown")
    expect(panel.locator(".nk-av-readout")).to_contain_text("from 6,8 →")
    shot(panel, "attention_vit_while_a_cell_runs")
    (lab.root / "go").touch()
    source.blur()
    panel.locator(".nk-av-said-line").hover()
    expect(panel.locator(".nk-av-hint")).to_contain_text("Where 6,8 looks")
    expect(panel.locator(".nk-av-readout")).to_contain_text("exact")
    shot(panel, "attention_vit_light")
    panel.get_by_label("Show rollout").check()
    expect(panel.locator('[data-side="rollout"] figcaption')).to_contain_text("Attention rollout, layers 0 to")
    set_theme(page, True)
    shot(panel, "attention_vit_rollout_dark")
    accessible(page)
    set_theme(page, False)

    panel.get_by_role("tab", name="All heads").click()
    tiles = panel.locator(".nk-av-tile")
    expect(tiles).to_have_count(4)
    expect(panel.locator(".nk-av-maps-title")).to_contain_text("from 6,8")
    tiles.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(tiles.nth(1)).to_have_attribute("aria-pressed", "true")
    accessible(page)
    shot(panel, "attention_vit_heads_light")
    with page.expect_download() as saved:
        panel.get_by_role("button", name="Export SVG").click()
    drawing = Path(saved.value.path()).read_text(encoding="utf-8")
    assert drawing.count("<image") == 4 and "All heads of layer" in drawing

    page.set_viewport_size({"width": 620, "height": 2000})
    panel.get_by_role("tab", name="Picture").click()
    shot(panel, "attention_vit_narrow")
    page.set_viewport_size({"width": 1300, "height": 2000})

    path = page.evaluate(
        """async () => {
            const context = window.jupyterapp.shell.currentWidget.context;
            await context.save();
            return context.path;
        }"""
    )
    load(page, f"{lab.url}/lab")
    page.evaluate(
        """async path => {
            const widget = await window.jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'});
            await widget.context.ready;
        }""",
        path,
    )
    panel = page.locator(PANEL).first
    expect(panel.locator(".nk-av-selection")).to_contain_text("1 selected")
    shot(panel, "attention_vit_reloaded")


def test_a_detector_and_windows(notebook, expect, accessible):
    page = notebook([START, DETR, 'look("swin", kind="patches 2x2", layer=3)'])
    panel = page.locator(PANEL).first
    expect(panel.get_by_label("Attention", exact=True).locator("option")).to_have_text(
        [
            "Encoder: patches (layers 0–1)",
            "Decoder: queries (layers 0–1)",
            "Cross-attention: queries → patches (layers 0–1)",
        ]
    )
    panel.get_by_label("Attention", exact=True).select_option("cross")
    expect(panel.locator(".nk-av-readout")).to_contain_text("from sun 98% →")
    source = panel.locator('[data-side="from"] canvas')
    source.click(position=at(source, 0.2, 0.9))  # in the box of the meadow
    expect(panel.locator(".nk-av-readout")).to_contain_text("from meadow 90% →")
    expect(panel.locator('.nk-av-chip[aria-pressed="true"]')).to_contain_text("meadow 90%")
    source.hover(position=at(source, 0.65, 0.5))  # in the boxes of the sun and the sky: the smaller one
    expect(panel.locator(".nk-av-readout")).to_contain_text("from sun 98% →")
    accessible(page)
    shot(panel, "attention_detr_cross")
    panel.get_by_label("Attention", exact=True).select_option("decoder")
    expect(panel.locator(".nk-av-left li").first).to_contain_text("sun 98%")
    shot(panel, "attention_detr_queries")

    panel = page.locator(PANEL).nth(1)
    target = panel.locator('[data-side="from"] canvas')
    target.click(position=at(target, 0.55, 0.55))
    expect(panel.locator(".nk-av-readout")).to_contain_text("exact")
    shot(panel, "attention_swin_window")


def test_in_telugu(notebook, expect):
    page = notebook(
        [START + 'from notebook_kit.panels import set_language\nset_language("te")\nlook("yolos", view="maps")']
    )
    panel = page.locator(PANEL).first
    expect(panel.locator(".nk-av-tile")).to_have_count(4)
    expect(panel.locator(".nk-av-maps-title")).to_contain_text("పొర")
    shot(panel, "attention_yolos_telugu")
