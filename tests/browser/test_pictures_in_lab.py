"""The pictures and the film of the README: real panels in a real JupyterLab. `tutorials/make_pictures.py` makes them smaller."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SHOTS, set_theme, shot
from test_generation_view_in_lab import SLOW

pytestmark = pytest.mark.usefixtures("tall")

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="{}"]'
SENTENCE = "The cat sat down because it was unbelievably tired."
HEIGHT = 640
"""Pixels of a frame of the film."""

READING = """
from notebook_kit import AutoModel, AutoTokenizer
from notebook_kit.panels import AttentionView, TokenInspector
all_minilm = {folder!r}
tokenizer = AutoTokenizer.from_pretrained(all_minilm)
tokenizer.name_or_path = "all-MiniLM-L6-v2"
inspector = TokenInspector(tokenizer, text={text!r})
inspector"""
LOOKING = "AttentionView(inspector, AutoModel.from_pretrained(all_minilm), hide_special=True)"
WRITING = """
from notebook_kit import pipeline
from notebook_kit.panels import GenerationView
write = pipeline("text-generation", model="notebook-kit/tiny-gpt2")
{before}
view = GenerationView(write, {prompt!r}, max_new_tokens=28, do_sample=True, top_k=40, seed=3)
view"""
TRAINING = """
import tempfile
import datasets
import notebook_kit.zoo
from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed
from notebook_kit.panels import TrainingDashboard

datasets.disable_progress_bars()
set_seed(0)
name = "notebook-kit/tiny-sentiment"
tokenizer = AutoTokenizer.from_pretrained(name)
messages = datasets.Dataset.from_json(str(notebook_kit.zoo.sample("support_messages.jsonl")))
messages = messages.class_encode_column("topic").rename_column("topic", "label").train_test_split(test_size=24, seed=0)
messages = messages.map(lambda rows: tokenizer(rows["text"], truncation=True), batched=True)
labels = dict(enumerate(messages["train"].features["label"].names))
model = AutoModelForSequenceClassification.from_pretrained(name, id2label=labels, ignore_mismatched_sizes=True)
settings = TrainingArguments(
    tempfile.mkdtemp(), run_name="support messages", num_train_epochs=16, learning_rate=2e-4,
    per_device_train_batch_size=8, logging_steps=1, eval_strategy="epoch", save_strategy="no",
)
def accuracy(result):
    return {"accuracy": float((result.predictions.argmax(-1) == result.label_ids).mean())}
board = TrainingDashboard()
trainer = Trainer(
    model, settings, train_dataset=messages["train"], eval_dataset=messages["test"], processing_class=tokenizer,
    compute_metrics=accuracy, callbacks=[board],
)
result = trainer.train()"""


def both_themes(page: Any, panel: Any, name: str) -> None:
    shot(panel, f"readme_{name}_light")
    set_theme(page, dark=True)
    shot(panel, f"readme_{name}_dark")
    set_theme(page, dark=False)


def test_tokens_and_attention(notebook, minilm, expect):
    folder = str(minilm)
    page = notebook([READING.format(folder=folder, text=SENTENCE), LOOKING])
    panel = page.locator(PANEL.format("token_inspector"))
    chip = panel.locator(".nk-chip", has_text="bly")
    chip.click()
    expect(chip).to_have_attribute("aria-selected", "true")
    expect(panel.locator(".nk-merges .nk-fresh").first).to_be_visible()
    both_themes(page, panel, "tokens")
    panel = page.locator(PANEL.format("attention_view"))
    expect(panel.locator(".nk-av-cell")).to_have_count(72)
    expect(panel.locator(".nk-av-left li", has_text="##bly")).to_have_count(1)
    panel.get_by_role("button", name="Clear").click()
    expect(panel.get_by_role("button", name="Clear")).to_be_hidden()
    both_themes(page, panel, "attention")


def test_generation(notebook, expect):
    page = notebook([WRITING.format(before="", prompt="The old king") + ".wait()"])
    panel = page.locator(PANEL.format("generation_view"))
    expect(panel.locator(".nk-gv-written .nk-gv-token").nth(20)).to_be_visible()
    panel.locator(".nk-gv-written .nk-gv-token").nth(8).click()
    expect(panel.locator(".nk-gv-alternatives tbody tr").nth(7)).to_be_visible()
    both_themes(page, panel, "generation")


@pytest.mark.timeout(400)
def test_training(notebook, expect):
    page = notebook([TRAINING], timeout=300_000)
    panel = page.locator(PANEL.format("training_dashboard"))
    expect(panel.locator(".nk-td-pill")).to_have_text("ended")
    expect(panel.locator(".nk-td-line").first).to_contain_text("step 144 of 144")
    assert not panel.locator(".nk-td-more").evaluate("fold => fold.open"), "the main metrics come first"
    panel.scroll_into_view_if_needed()
    both_themes(page, panel, "dashboard")


class Film:
    """Frames of a panel, and for how long each is shown."""

    def __init__(self, page: Any) -> None:
        self.page, self.shown = page, []
        self.folder = SHOTS / "film"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        page.evaluate(
            """() => {
                const arrow = document.createElement("div");
                arrow.id = "film-pointer";
                arrow.style.cssText = "position: fixed; z-index: 100000; pointer-events: none; width: 14px; height: 21px;"
                    + "background: #111; filter: drop-shadow(0 0 1px #fff) drop-shadow(0 0 1px #fff);"
                    + "clip-path: polygon(0 0, 0 76%, 24% 58%, 42% 96%, 58% 88%, 40% 52%, 74% 52%)";
                document.body.append(arrow);
                addEventListener("mousemove", event => {
                    arrow.style.left = `${event.clientX}px`; arrow.style.top = `${event.clientY}px`;
                }, true);
            }"""
        )

    def scene(self, panel: Any) -> None:
        panel.evaluate("element => element.scrollIntoView({ block: 'start' })")
        box = panel.bounding_box()
        self.clip = {"x": box["x"], "y": box["y"], "width": box["width"], "height": HEIGHT}

    def take(self, milliseconds: int) -> None:
        self.page.screenshot(path=self.folder / f"{len(self.shown):03}.png", clip=self.clip)
        self.shown.append(milliseconds)

    def type(self, box: Any, text: str) -> None:
        box.click()
        for place in range(0, len(text), 2):
            self.page.keyboard.type(text[place : place + 2])
            self.page.wait_for_timeout(80)
            self.take(120)

    def click(self, target: Any, ready: Callable[[], Any], milliseconds: int) -> None:
        target.hover()
        self.take(350)
        target.click()
        ready()
        self.take(milliseconds)

    def end(self) -> Path:
        self.page.evaluate("() => document.getElementById('film-pointer').remove()")
        path = self.folder / "milliseconds.json"
        path.write_text(json.dumps(self.shown), "utf-8")
        return path


def film_reading(film: Film, panel: Any, expect: Any) -> None:
    film.scene(panel)
    film.type(panel.get_by_role("textbox").first, SENTENCE)
    expect(panel.locator(".nk-chip", has_text="bly")).to_be_visible()
    film.take(900)
    for part in ("bly", "tired"):
        chip = panel.locator(".nk-chip", has_text=part)
        film.click(chip, lambda chip=chip: expect(chip).to_have_attribute("aria-selected", "true"), 1500)


def film_looking(film: Film, panel: Any, expect: Any) -> None:
    rows = panel.locator(".nk-av-left li")
    expect(rows.filter(has_text="##bly")).to_have_count(1)
    film.scene(panel)
    film.take(900)
    for place in (1, 3, 6):
        rows.nth(place).hover()
        film.take(450)
    for layer, head in ((2, 5), (4, 9)):
        cell = panel.locator(f'.nk-av-cell[data-layer="{layer}"][data-head="{head}"]')
        title = f"Layer {layer} · head {head}"
        film.click(cell, lambda title=title: expect(panel.locator(".nk-av-said-line")).to_contain_text(title), 800)
        for place in (5, 8):
            rows.nth(place).hover()
            film.take(500)
    tab = panel.get_by_role("tab", name="Matrix")
    film.click(tab, lambda: expect(panel.locator(".nk-av-raw .nk-av-map")).to_be_visible(), 1300)


def film_writing(film: Film, panel: Any, expect: Any) -> None:
    tokens, stop = panel.locator(".nk-gv-written .nk-gv-token"), panel.get_by_role("button", name="Stop")
    film.scene(panel)
    film.type(panel.get_by_label("Prompt", exact=True), "The old king")
    film.click(panel.get_by_role("button", name="Generate"), lambda: expect(stop).to_be_visible(), 150)
    while stop.is_visible():
        film.take(150)
        film.page.wait_for_timeout(120)
    film.take(1000)
    film.click(
        tokens.nth(6), lambda: expect(panel.locator(".nk-gv-alternatives tbody tr").nth(7)).to_be_visible(), 1500
    )
    other = panel.locator(".nk-gv-alternatives tbody button").nth(2)
    film.click(other, lambda: expect(panel.locator(".nk-gv-branch")).to_have_count(2), 150)
    while stop.is_visible():
        film.take(150)
        film.page.wait_for_timeout(120)
    film.take(1800)


@pytest.mark.timeout(400)
def test_film(notebook, minilm, expect):
    folder = str(minilm)
    cells = [
        READING.format(folder=folder, text=""),
        LOOKING,
        WRITING.format(before=SLOW, prompt=""),
    ]
    page = notebook(cells, timeout=180_000)
    panels = {
        name: page.locator(PANEL.format(name)) for name in ("token_inspector", "attention_view", "generation_view")
    }
    for panel in panels.values():
        expect(panel).to_be_visible()
    film = Film(page)
    film_reading(film, panels["token_inspector"], expect)
    film_looking(film, panels["attention_view"], expect)
    film_writing(film, panels["generation_view"], expect)
    milliseconds = json.loads(film.end().read_text("utf-8"))
    assert len(milliseconds) > 50 and 15_000 < sum(milliseconds) < 60_000
    assert len({path.read_bytes() for path in film.folder.glob("*.png")}) > 45, "the panels must have answered"
