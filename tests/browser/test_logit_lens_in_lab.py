"""The logit lens of AttentionView in a real JupyterLab: by mouse and keyboard, both themes, narrow, offline, refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import set_theme, shot

pytestmark = pytest.mark.usefixtures("tall")

WRITERS = str(Path(__file__).parents[1] / "panels")
sys.path.insert(0, WRITERS)

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="attention_view"]'
AXE = '.jp-NotebookPanel:not(.lm-mod-hidden) .nk-panel[data-panel="attention_view"]'
TEXT = "the cat sat on the mat and the dog sat on the log, a cat and a dog went on a walk"
ZOO_TEXT = "And it came to pass in the days of the king, that the children of Israel went up out of the land of Egypt"


def cell() -> str:
    """The zoo's language model, where there is one, else one with fresh weights."""
    from notebook_kit import zoo

    if (Path(zoo.__file__).parent / "tiny-gpt2").is_dir():
        return f"""
from notebook_kit import pipeline
from notebook_kit.panels import AttentionView
view = AttentionView(pipeline("text-generation", model="notebook-kit/tiny-gpt2"), {ZOO_TEXT!r})
view"""
    return f"""
import sys
sys.path.insert(0, {WRITERS!r})
import writers
from notebook_kit.panels import AttentionView
tokenizer = writers.byte_tokenizer()
view = AttentionView(writers.gpt2(tokenizer, layers=6), {TEXT!r}, tokenizer=tokenizer)
view"""


def test_layers_by_positions(notebook, expect, accessible):
    page = notebook([cell()])
    panel = page.locator(PANEL)
    panel.get_by_role("tab", name="Logit lens").click()
    cells = panel.locator(".nk-av-lens-cell")
    expect(cells.first).to_be_visible()
    expect(panel.locator(".nk-av-lens").get_by_role("row")).not_to_have_count(0)
    heads = panel.locator(".nk-av-lens tbody").first.get_by_role("row").count()
    assert heads >= 4 and cells.count() == heads * 16
    expect(panel.locator(".nk-av-lens-detail")).to_contain_text("Output of the model")
    accessible(page, AXE)
    shot(panel, "lens_light")
    cells.nth(16 + 2).click()
    expect(panel.locator(".nk-av-lens-detail")).to_contain_text("After layer 0")
    expect(panel.locator(".nk-av-lens-detail tbody tr")).to_have_count(5)
    cells.nth(5).hover()
    expect(panel.locator(".nk-av-lens-detail")).to_contain_text("Before any layer")
    page.mouse.move(2, 2)
    expect(panel.locator(".nk-av-lens-detail")).to_contain_text("After layer 0")
    for key, told in (("ArrowDown", "After layer 1"), ("ArrowRight", "position 3"), ("ArrowUp", "After layer 0")):
        page.keyboard.press(key)
        expect(panel.locator(".nk-av-lens-detail")).to_contain_text(told)
    panel.get_by_role("button", name="Further tokens").click()
    expect(panel.get_by_text("Positions 16 to")).to_be_visible()
    panel.get_by_role("button", name="Earlier tokens").click()
    expect(panel.get_by_text("Positions 0 to 15")).to_be_visible()
    set_theme(page, dark=True)
    accessible(page, AXE)
    shot(panel, "lens_dark")
    set_theme(page, dark=False)
    panel.evaluate("element => { element.style.width = '320px'; }")
    assert panel.evaluate("element => element.scrollWidth <= element.clientWidth")
    accessible(page, AXE)
    shot(panel, "lens_narrow")
    panel.evaluate("element => { element.style.width = ''; }")
    for kind in ("SVG", "PNG"):
        with page.expect_download() as saved:
            panel.get_by_role("button", name=f"Export {kind}").click()
        assert saved.value.suggested_filename == f"logit-lens.{kind.lower()}"
        if kind == "PNG":
            saved.value.save_as(shot(panel, "lens_wide").with_name("lens_saved.png"))
    panel.get_by_role("tab", name="Matrix").click()
    expect(panel.locator(".nk-av-map").first).to_be_visible()


def test_what_has_no_lens_says_so(notebook, minilm, expect):
    page = notebook(
        [
            f"""
from notebook_kit import AutoModel
from notebook_kit.panels import AttentionView
view = AttentionView(AutoModel.from_pretrained({str(minilm)!r}), "the cat sat")
view.view = "lens"
view"""
        ]
    )
    panel = page.locator(PANEL)
    expect(panel.get_by_text("The logit lens needs a text-generation model")).to_be_visible()
    expect(panel.get_by_role("alert").first).to_be_hidden()
    shot(panel, "lens_refused")
    panel.get_by_role("tab", name="Lines").click()
    expect(panel.locator(".nk-av-tokens").first).to_be_visible()


def test_hostile_tokens_and_a_file_on_disk(notebook, expect, chromium, accessible, tmp_path):
    import torch
    import writers

    from notebook_kit.panels import AttentionView

    trap = writers.byte_tokenizer(extra=writers.HOSTILE)
    model = writers.gpt2(trap)
    with torch.no_grad():
        model.lm_head.weight[-2:] *= 20
    view = AttentionView(model, f"{writers.HOSTILE[0]} the cat", tokenizer=trap, view="lens")
    view.to_html(tmp_path / "lens.html")
    faults = []
    context = chromium.new_context(offline=True, color_scheme="dark", viewport={"width": 900, "height": 1000})
    page = context.new_page()
    page.on("dialog", lambda dialog: faults.append(dialog.message) or dialog.dismiss())
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((tmp_path / "lens.html").as_uri())
    expect(page.get_by_role("gridcell", name="onerror").first).to_be_visible()
    page.get_by_role("gridcell").nth(3).click()
    expect(page.locator(".nk-av-lens-detail tbody tr")).to_have_count(5)
    accessible(page, ".nk-panel")
    shot(page, "lens_file_dark")
    assert not faults
    context.close()
