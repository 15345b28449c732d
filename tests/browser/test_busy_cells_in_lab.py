"""Panels in a real JupyterLab while another cell is running: they are drawn, answer clicks, and come back after a reload."""

from __future__ import annotations

from pathlib import Path

from conftest import load, shot

PANELS = ".jp-NotebookPanel:visible .nk-panel"
TESTS = Path(__file__).parents[1]
CELLS = [
    f"""
import os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, {str(TESTS)!r})
from listener import Listener, extractor, recording, vocabulary
from notebook_kit import pipeline, zoo
from notebook_kit.panels import AttentionView
writes = pipeline("image-to-text", model="notebook-kit/tiny-captions")
reads = pipeline("document-question-answering", model="notebook-kit/tiny-documents")
""",
    'writes.show(zoo.sample("scene_1.webp"))',
    'reads.show(zoo.sample("receipt.png"), "What is the total?", word_boxes=[("Total", [1, 1, 90, 40]), ("12", [200, 1, 240, 40])])',
    'AttentionView(writes, zoo.sample("scene_1.webp"))',
    "AttentionView(Listener(), recording(), processor=extractor(), tokenizer=vocabulary())",
]


def test_while_a_cell_is_running_and_after_a_reload(notebook, expect, lab, tmp_path):
    ended = tmp_path / "ended"
    page = notebook(
        [*CELLS, f"import pathlib, time\nwhile not pathlib.Path({str(ended)!r}).exists(): time.sleep(0.05)"], run=False
    )
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    expect(page.locator(PANELS)).to_have_count(4, timeout=90_000)
    use(page, expect)
    path = page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.context.save().then(() => window.jupyterapp.shell.currentWidget.context.path)"
    )
    load(page, f"{lab.url}/lab")
    page.evaluate(
        "path => window.jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'}).then(() => true)",
        path,
    )
    expect(page.locator(PANELS)).to_have_count(4, timeout=15_000)
    use(page, expect)
    shot(page.locator(PANELS).nth(3), "attention_sound_busy")
    ended.touch()


def use(page, expect):
    caption, document, picture, sound = (page.locator(PANELS).nth(i) for i in range(4))
    expect(document.locator(".nk-rv-box")).to_be_visible()
    caption.locator(".nk-rv-word").nth(1).hover()
    expect(caption.locator(".nk-rv-origin")).to_be_visible()
    page.mouse.move(0, 0)
    for panel in (picture, sound):
        expect(panel.locator(".nk-av-readout")).to_contain_text("exact")
        for word in (0, 1):  # the other one is asked for
            panel.locator('[data-side="from"] .nk-av-chip').nth(word).click()
            page.mouse.move(0, 0)
        expect(panel.locator(".nk-av-readout")).to_contain_text("Sum over 2")
        expect(panel.locator(".nk-av-readout")).to_contain_text("exact")
        panel.get_by_role("button", name="Clear").click()
    expect(page.locator(".nk-busy:visible")).to_have_count(0)
