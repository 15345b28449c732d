"""The panels outside JupyterLab: in Notebook 7, and in Voilà, which shows a notebook's outputs as a page of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from conftest import ALL_HAVE_RUN, OPEN, Lab, served, shot

CELLS = [
    """
from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer
from notebook_kit.panels import AttentionView, GenerationView, ModelPicker, TokenInspector, TrainingDashboard
name = "notebook-kit/tiny-sentiment"
tokenizer = AutoTokenizer.from_pretrained(name)
inspector = TokenInspector(tokenizer, text="unbelievable tokens")
inspector""",
    "AttentionView(inspector, AutoModelForSequenceClassification.from_pretrained(name))",
    """
with TrainingDashboard() as board:
    for step in range(1, 41):
        board.log(step, loss=1 / step)""",
    "ModelPicker()",
    """
from tokenizers import Tokenizer, models
from notebook_kit import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"ha": 0, "hi": 1, "!": 2}, unk_token="!")))
config = GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=3, n_positions=64, eos_token_id=None)
GenerationView((GPT2LMHeadModel(config), words), "hi", max_new_tokens=5)""",
]
NAMES = ["token_inspector", "attention_view", "training_dashboard", "model_picker", "generation_view"]


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page of its own; a script error of a panel on it fails the test (a host may have some of its own)."""
    context = chromium.new_context(viewport={"width": 1200, "height": 1600})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(error.stack) if "blob:" in (error.stack or "") else None)
    yield page
    context.close()
    assert not faults, faults


def write(server: Lab) -> None:
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS])
    content.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(content, server.root / "panels.ipynb")


def all_panels_work(page: Any, host: str) -> None:
    """Each panel is drawn, and a click travels to Python and back."""
    from playwright.sync_api import expect

    expect.set_options(timeout=30_000)
    for name in NAMES:
        panel = page.locator(f'.nk-panel[data-panel="{name}"]')
        expect(panel).to_have_count(1)
        expect(panel).to_be_visible()
        panel.scroll_into_view_if_needed()
        shot(panel, f"{host}_{name}")
    expect(page.locator(".nk-td-line").first).to_contain_text("step 40")
    expect(page.locator('.nk-panel[data-panel="model_picker"]')).to_contain_text("notebook-kit/tiny-sentiment")
    tokens = page.locator('.nk-panel[data-panel="token_inspector"]')
    tokens.get_by_role("option").nth(1).click()
    expect(tokens.locator(".nk-stages > li")).to_have_count(5)  # the story of the token, which Python tells
    writing = page.locator('.nk-panel[data-panel="generation_view"]')
    writing.get_by_role("button", name="Generate").click()
    expect(writing.locator(".nk-gv-branch")).to_have_count(2)
    writing.locator(".nk-gv-written .nk-gv-token").nth(4).click()
    expect(writing.locator(".nk-gv-alternatives tbody tr")).to_have_count(3)


def test_notebook_7(tmp_path, page):
    pytest.importorskip("notebook")
    options = [f"--ServerApp.root_dir={tmp_path / 'notebooks'}", "--JupyterNotebookApp.expose_app_in_browser=True"]
    with served(tmp_path, "notebook", *OPEN, *options) as server:
        write(server)
        page.goto(f"{server.url}/notebooks/panels.ipynb", wait_until="domcontentloaded")
        page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=90_000,
        )
        page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        page.wait_for_function(ALL_HAVE_RUN, timeout=90_000)
        all_panels_work(page, "notebook7")


def test_voila(tmp_path, page):
    pytest.importorskip("voila")
    (tmp_path / "notebooks").mkdir()
    write(Lab("", tmp_path / "notebooks", tmp_path))
    options = ["--Voila.ip=127.0.0.1", "panels.ipynb"]
    with served(tmp_path, "voila", *options, ready="/voila/static/voila.js") as server:
        page.goto(server.url, timeout=120_000)
        all_panels_work(page, "voila")
