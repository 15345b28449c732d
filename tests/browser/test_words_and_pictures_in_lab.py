"""Words with pictures in a real JupyterLab: attention between them, answers beside their picture, trying such a model."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import set_theme, shot
from patch_model import picture

from notebook_kit import pipeline
from notebook_kit.panels import AttentionView, show

pytestmark = pytest.mark.usefixtures("tall")

ATLAS_IS_DRAWN = """() => {
    const canvas = document.querySelector('.nk-av-atlas-canvas'), { width, height } = canvas;
    const data = canvas.getContext('2d').getImageData(width / 3, height / 3, width / 3, height / 3).data;
    return new Set(data).size > 20;
}"""
PANELS = ".jp-NotebookPanel:visible .nk-panel"
TESTS = Path(__file__).parents[1]
CELL = f"""
import os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, {str(TESTS)!r})
from patch_model import picture
from notebook_kit import pipeline, zoo
from notebook_kit.panels import AttentionView, ModelPicker, show
tiny = {str(TESTS / "pipelines" / "data" / "tiny-vilt")!r}
answers = pipeline("visual-question-answering", model=tiny)
clip = "notebook-kit/tiny-clip"
"""
VIEWS = [
    'AttentionView(answers, picture(), "how many ducks?", layer=0, head=1)',
    'answers.show(picture(), "how many ducks?")',
    'picker = ModelPicker()\npicker.load(tiny, task="visual-question-answering")\npicker',
    'AttentionView(pipeline(task="zero-shot-image-classification", model=clip), zoo.sample("cat.jpg"), "a cat")',
]


def test_words_with_pictures(notebook, expect, accessible):
    page = notebook([CELL, *VIEWS])
    attention, answers, picker, towers = (page.locator(PANELS).nth(i) for i in range(4))
    source, target = attention.locator('[data-side="from"]'), attention.locator('[data-side="to"]')
    expect(source.locator(".nk-av-chip").first).to_be_visible(timeout=60_000)
    source.locator(".nk-av-chip", has_text="##u").click()
    expect(attention.locator(".nk-av-readout")).to_contain_text("from ##u →")
    target.locator("canvas").click(position={"x": 40, "y": 40})  # a patch: the words that look at it
    expect(attention.locator(".nk-av-readout")).to_contain_text("→ to 0,")
    page.mouse.move(0, 0)
    expect(attention.locator(".nk-av-readout")).to_contain_text("→ to 0,")
    assert source.locator(".nk-av-chip .nk-av-value").first.inner_text()
    attention.get_by_label("Direction").select_option(label="Words → picture")
    expect(source.locator("canvas")).to_be_hidden()
    shot(attention, "attention_joint_light")

    expect(answers.locator(".nk-rv-question")).to_have_text("how many ducks?")
    expect(answers.locator(".nk-rv-thing")).to_have_count(5)

    picker.locator(".nk-sample").first.click()
    field = picker.get_by_role("textbox", name="Question")
    expect(field).to_be_focused()
    field.fill("how many ducks?")
    page.keyboard.press("Enter")
    expect(picker.locator(".nk-answer-face tbody tr")).to_have_count(5)

    look_at_two_towers(page, towers, expect)
    accessible(page)
    set_theme(page, dark=True)
    accessible(page)
    for panel, name in (
        (towers, "attention_towers_dark"),
        (attention, "attention_joint_dark"),
        (answers, "show_vqa_dark"),
        (picker.locator(".nk-trial"), "picker_question_dark"),
    ):
        shot(panel, name)


def look_at_two_towers(page, towers, expect):
    """The similarity of a text and a picture: a word colours its places, a place its words; then the heads of a tower."""
    words, places = towers.locator('[data-side="from"] .nk-av-chip'), towers.locator('[data-side="to"]')
    readout = towers.locator(".nk-av-readout")
    expect(towers.locator(".nk-av-said-line")).to_contain_text("Similarity 0.")
    expect(words).to_have_count(3)
    assert float(words.last.locator(".nk-av-value").inner_text()) > 0.3, "what the word contributes stands beside it"
    expect(towers.get_by_role("combobox", name="Head")).to_be_hidden()
    expect(towers.get_by_role("tab")).to_have_text(["Text and picture", "Matrix"])
    words.last.click()
    page.mouse.move(0, 0)
    expect(readout).to_contain_text("similarity through cat → [IMAGE]")
    expect(readout).to_contain_text("exact")
    places.locator("canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")  # keeps the place
    places.locator("canvas").blur()
    expect(readout).to_contain_text("→ similarity at 0,0")
    towers.get_by_role("button", name="How to read this panel").click()
    expect(towers.get_by_text("A model of two towers")).to_be_visible()
    towers.get_by_role("combobox", name="Attention").select_option("patches")
    expect(towers.locator(".nk-av-said-line")).to_contain_text("head")
    expect(towers.get_by_text("cut into patches")).to_be_visible()
    page.keyboard.press("Escape")
    towers.get_by_role("button", name="How to read this panel").click()
    towers.get_by_role("combobox", name="Attention").select_option("similarity")
    expect(words).to_have_count(3)


def test_answers_on_a_page_and_captions(chromium, expect, tmp_path, accessible):
    receipt = [("Total", [100, 100, 220, 130]), ("12", [300, 100, 340, 130])]
    found = [{"score": 0.9, "answer": "12", "start": 1, "end": 1, "words": [1]}]
    document = show(found, {"question": "What is the total?", "word_boxes": receipt})
    caption = pipeline("image-to-text", model="notebook-kit/tiny-captions").show(picture())
    page = chromium.new_page(viewport={"width": 900, "height": 800})
    page.goto(document.to_html(tmp_path / "document.html").as_uri())
    expect(page.locator(".nk-rv-question")).to_have_text("What is the total?")
    expect(page.locator(".nk-rv-box")).to_be_visible()
    expect(page.locator(".nk-rv-tag")).to_be_hidden()  # it would cover the words that it repeats
    expect(page.locator(".nk-rv-class")).to_have_count(0)
    page.locator(".nk-rv-thing").hover()
    expect(page.locator(".nk-rv-tag")).to_have_text("12 0.90")
    page.mouse.move(0, 0)
    shot(page.locator(".nk-panel"), "show_document_file")
    page.goto(caption.to_html(tmp_path / "caption.html").as_uri())
    expect(page.locator(".nk-rv-caption")).to_have_text(caption.result[0]["generated_text"])
    words, heat, status = (page.locator(f".nk-rv-{name}") for name in ("word", "origin", "origin-status"))
    expect(heat).to_be_hidden()
    words.nth(1).hover()
    expect(heat).to_be_visible()
    expect(status).to_contain_text(f"“{words.nth(1).inner_text()}”")
    shot(page.locator(".nk-panel"), "show_caption_file")
    words.nth(0).focus()
    page.keyboard.press("End")
    expect(status).to_contain_text(f"“{words.last.inner_text()}”")
    page.keyboard.press("Enter")
    page.mouse.move(0, 0)
    words.last.blur()
    expect(heat).to_be_visible()  # kept
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save SVG").click()
    assert Path(saved.value.path()).read_text(encoding="utf-8").count("<image") == 2, "the picture and the colours"
    words.last.focus()
    page.keyboard.press("Escape")
    words.last.blur()
    expect(heat).to_be_hidden()
    accessible(page)
    page.close()


def test_a_word_of_a_saved_caption_is_chosen_without_a_kernel(chromium, expect, tmp_path):
    """A file holds one set of small pictures; choosing a word asks for no others."""
    view = AttentionView(pipeline("image-to-text", model="notebook-kit/tiny-captions"), picture())
    page = chromium.new_page(viewport={"width": 900, "height": 1100})
    page.goto(view.to_html(tmp_path / "attention.html").as_uri())
    words = page.locator('[data-side="from"] .nk-av-chip')
    expect(words.nth(1)).to_be_visible()
    page.wait_for_function(ATLAS_IS_DRAWN)
    words.nth(1).click()
    expect(page.locator(".nk-av-readout")).to_contain_text(f"from {words.nth(1).inner_text()} →")
    expect(page.get_by_role("alert").filter(visible=True)).to_have_count(0)
    assert page.evaluate(ATLAS_IS_DRAWN), "the small pictures stay"
    expect(page.get_by_text("Where all words (mean) looks")).to_be_visible()
    page.close()
