"""TokenInspector in a real JupyterLab: typed into, used by mouse and by keyboard, both themes, narrow, without a kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import run_all, set_theme, shot

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="token_inspector"]'
AXE = '.jp-NotebookPanel:not(.lm-mod-hidden) .nk-panel[data-panel="token_inspector"]'
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"

BACKENDS = """
from tokenizers import Tokenizer, models, pre_tokenizers, decoders, trainers, normalizers, processors
corpus = ["unhappiness and happiness of tokenizers", "tokenization of the happy few", "the tokens are tokenized"] * 20
bytes_ = Tokenizer(models.BPE())
bytes_.pre_tokenizer, bytes_.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
bytes_.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
unigram = Tokenizer(models.Unigram())
unigram.normalizer, unigram.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
unigram.decoder = decoders.Metaspace()
unigram.train_from_iterator(corpus, trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False))
"""


def cell(minilm: Path, text: str, more: str = "", tokenizers: str = "minilm") -> str:
    return f"""{BACKENDS}
from notebook_kit import AutoTokenizer
from notebook_kit.panels import TokenInspector
minilm = AutoTokenizer.from_pretrained({str(minilm)!r})
minilm.name_or_path = "all-MiniLM-L6-v2"
inspector = TokenInspector({tokenizers}, text={text!r}{more})
inspector"""


@pytest.fixture
def expect():
    from playwright.sync_api import expect

    expect.set_options(timeout=20_000)  # the machines that run this are shared
    return expect


def test_tokens_and_their_story(notebook, minilm, expect, accessible):
    text = "The unhappiness of Tokenizers: naïve ﬁancé 🦖 [MASK]"
    page = notebook([cell(minilm, text), "inspector.selected"])
    panel = page.locator(PANEL)
    chip = panel.locator(".nk-chip", has_text="iness")
    expect(chip).to_be_visible()
    chip.click()
    expect(chip).to_have_attribute("aria-selected", "true")
    expect(panel.get_by_role("heading", name="Token")).to_be_visible()
    expect(panel.locator(".nk-stages > li")).to_have_count(5)
    expect(panel.locator(".nk-merges .nk-fresh").first).to_be_visible()
    accessible(page, AXE)
    shot(panel, "tokens_wordpiece_light")
    set_theme(page, dark=True)
    accessible(page, AXE)
    shot(panel, "tokens_wordpiece_dark")
    set_theme(page, dark=False)
    run_all_last(page)
    output = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output").last
    expect(output).not_to_have_text("[]")


@pytest.fixture(autouse=True)
def tall(lab_page):
    """A page tall enough for a panel to be photographed whole."""
    lab_page.set_viewport_size({"width": 1300, "height": 2000})
    yield
    lab_page.set_viewport_size({"width": 1300, "height": 1000})


def run_all_last(page) -> None:
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")


def test_several_side_by_side(notebook, minilm, expect, accessible):
    text = "unhappiness క్షమించు 中文 👩‍🔬 tokens"
    page = notebook([cell(minilm, text, tokenizers="minilm, bytes_, unigram")])
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-tokenizer")).to_have_count(3)
    group = panel.get_by_role("group", name="క్ష").first
    expect(group).to_be_visible()
    panel.locator(".nk-tokenizer").nth(1).get_by_role("option").first.click()
    expect(panel.locator(".nk-tokenizer").nth(0).locator(".nk-lit")).not_to_have_count(0)
    expect(panel.locator(".nk-stages > li")).to_have_count(5)
    panel.locator(".nk-tokenizer").nth(1).locator("summary").last.click()
    expect(panel.locator(".nk-differences tbody tr")).not_to_have_count(0)
    accessible(page, AXE)
    shot(panel, "tokens_several_light")
    set_theme(page, dark=True)
    accessible(page, AXE)
    shot(panel, "tokens_several_dark")
    set_theme(page, dark=False)
    panel.evaluate("element => { element.style.width = '320px'; }")
    expect(panel.locator(".nk-stages > li")).to_have_count(5)
    assert panel.evaluate("element => element.scrollWidth <= element.clientWidth")
    shot(panel, "tokens_several_narrow")
    panel.locator(".nk-tokenizer").nth(2).get_by_role("option").first.click()
    panel.evaluate("element => { element.style.width = ''; }")
    expect(panel.locator(".nk-lattice")).to_be_visible()
    shot(panel, "tokens_unigram_light")
