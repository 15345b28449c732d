"""The quick tour as a learner opens it: in a real JupyterLab, run whole, and every panel in it used."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import shot

pytestmark = pytest.mark.usefixtures("tall")

TUTORIALS = Path(__file__).parents[2] / "tutorials"
PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="{}"]'
SECONDS = 300


@pytest.mark.timeout(2 * SECONDS)
def test_quick_tour(notebook, expect, lab, accessible):
    shutil.copytree(TUTORIALS / "pictures", lab.root / "pictures", dirs_exist_ok=True)
    tour = nbformat.read(TUTORIALS / "00_quick_tour.ipynb", as_version=4)
    page = notebook(TUTORIALS / "00_quick_tour.ipynb", timeout=SECONDS * 1000)
    outputs = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output")
    assert page.locator(".jp-NotebookPanel:visible [data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    # Results of two pictures, a recording, a question and a page; a training with probes and one with a callback.
    counts = {"model_picker": 1, "token_inspector": 1, "attention_view": 1, "result_view": 5, "training_dashboard": 2}
    expect(page.locator(".jp-NotebookPanel:visible .nk-panel")).to_have_count(sum(counts.values()))  # no other is there
    panels = {}
    for name, count in counts.items():
        expect(page.locator(PANEL.format(name))).to_have_count(count)
        panels[name] = page.locator(PANEL.format(name)).first
        panels[name].scroll_into_view_if_needed()

    picker = panels["model_picker"]
    picker.get_by_role("row", name="tiny-sentiment").click()
    expect(picker.locator(".nk-labels")).to_contain_text("POSITIVE")
    box = picker.get_by_label("Text to try")  # the cell after it has loaded the model
    box.fill("The music is lovely.")
    box.press("Enter")
    expect(picker.locator(".nk-bars tr").first).to_contain_text("POSITIVE")
    shot(picker, "tour_model_picker")

    tokens, attention = panels["token_inspector"], panels["attention_view"]
    tokens.get_by_role("textbox").first.fill("unbelievably warm and funny")
    tokens.locator(".nk-chip", has_text="bel").click()
    expect(tokens.locator(".nk-stages > li")).to_have_count(5)
    shot(tokens, "tour_token_inspector")
    expect(attention.locator(".nk-av-left li", has_text="funny")).to_have_count(1)  # it follows the text

    attention.locator('.nk-av-cell[data-layer="1"][data-head="2"]').click()
    expect(attention.locator(".nk-av-said-line")).to_contain_text("Layer 1 · head 2")
    attention.get_by_role("button", name="Switch heads off").click()
    attention.locator('.nk-av-cell[data-layer="1"][data-head="0"]').click()
    expect(attention.locator(".nk-av-ablation")).to_contain_text("1 off: layer 1 · head 0")
    expect(attention.locator(".nk-av-prediction tbody tr")).to_have_count(2)
    shot(attention, "tour_attention_view")

    board = panels["training_dashboard"]
    expect(board.locator(".nk-td-pill")).to_have_text("ended")
    expect(board.locator(".nk-td-line").first).to_contain_text("step 90 of 90")
    board.locator(".nk-td-tiles button", has_text="Accuracy").click()
    expect(board.locator(".nk-td-heading")).to_have_text("Accuracy")
    probes = board.locator(".nk-td-probes")
    probes.get_by_role("combobox").select_option("1")
    expect(probes).to_contain_text("The strap tore after a week.")
    row = probes.get_by_role("row", name="quality")
    late = row.inner_text()
    probes.get_by_role("slider").focus()
    page.keyboard.press("Home")
    expect(row).not_to_have_text(late)  # what it was before the training
    shot(board, "tour_training_dashboard")

    for name in counts:
        accessible(page, PANEL.format(name).replace(":visible", ":not(.lm-mod-hidden)"))
    checks = [cell for cell in tour.cells if "check" in cell.metadata.get("tags", [])]
    expect(outputs.filter(has_text="not filled in yet")).to_have_count(
        len(checks)
    )  # the exercises wait for the learner
    page.evaluate(
        "() => { document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer').scrollTop = 0; }"
    )
    shot(page, "tour_in_lab")
