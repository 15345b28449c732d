"""TokenInspector in a real JupyterLab: typed into, used by mouse and by keyboard, both themes, narrow, without a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import run_all, set_theme, shot

pytestmark = pytest.mark.usefixtures("tall")

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
kind = trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
unigram.train_from_iterator(corpus, kind)
"""


def cell(minilm: Path, text: str, more: str = "", tokenizers: str = "minilm") -> str:
    return f"""{BACKENDS}
from notebook_kit import AutoTokenizer
from notebook_kit.panels import TokenInspector
minilm = AutoTokenizer.from_pretrained({str(minilm)!r})
minilm.name_or_path = "all-MiniLM-L6-v2"
inspector = TokenInspector({tokenizers}, text={text!r}{more})
inspector"""


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
    panel.get_by_role("option", name="naïve").click()
    expect(panel.locator(".nk-changed")).to_have_text(["ï→i"])
    panel.get_by_role("option", name="[MASK]").click()
    expect(panel.locator(".nk-stages > li", has_text="bypasses this stage")).to_have_count(3)
    shot(panel, "tokens_added_light")
    panel.get_by_role("option", name="naïve").click()
    expect(panel.locator(".nk-changed")).to_have_count(1)
    panel.evaluate("element => { element.style.width = '320px'; }")
    accessible(page, AXE)
    shot(panel, "tokens_normalised_narrow")
    run_all_last(page)
    output = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output").last
    expect(output).not_to_have_text("[]")


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


def texts_of(panel, row=0):
    """What the chips of a row say."""
    return panel.locator(".nk-tokenizer").nth(row).locator(".nk-face").all_inner_texts()


def test_typing(notebook, minilm, expect):
    page = notebook([cell(minilm, ""), "inspector.text"])
    panel = page.locator(PANEL)
    box = panel.get_by_label("Text", exact=True)
    expect(panel.locator(".nk-face")).to_have_count(2)
    box.click()
    page.keyboard.type("Hugging tokens, quickly typed", delay=5)
    expect(panel.locator(".nk-face")).to_have_text(["[CLS]", "Hugging", "token", "s", ",", "quickly", "typed", "[SEP]"])
    expect(box).to_be_focused()
    panel.get_by_role("button", name="Second text").click()
    page.keyboard.type("and more")
    expect(panel.locator(".nk-face")).to_have_count(11)
    page.wait_for_timeout(600)  # the traits follow once the typing has stopped
    run_all_last(page)
    expect(page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output").last).to_contain_text("quickly typed")
    box.fill("")
    panel.get_by_role("button", name="Second text").click()
    expect(panel.locator(".nk-face")).to_have_text(["[CLS]", "[SEP]"])


def test_by_keyboard(notebook, minilm, expect):
    page = notebook([cell(minilm, "one two three four", tokenizers="minilm, bytes_")])
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-tokenizer").first.locator(".nk-chip")).to_have_count(6)
    panel.get_by_label("Text", exact=True).click()
    focused = "() => document.activeElement.closest('.nk-chip')?.dataset.position ?? document.activeElement.textContent.trim()"
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(focused))
        if seen[-1] == "0":
            break
    assert seen[-1] == "0" and "Save PNG" in seen
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "2"
    page.keyboard.press("Shift+ArrowRight")
    expect(panel.locator('[aria-selected="true"]')).to_have_count(2)
    expect(panel.get_by_role("heading", name="Token 3")).to_be_visible()
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("End")
    expect(panel.get_by_role("heading", name="Token 5")).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel.locator('[aria-selected="true"]')).to_have_count(0)
    page.keyboard.press("Tab")
    assert "By script" in page.evaluate(focused)
    page.keyboard.press("Enter")
    expect(panel.locator("details[open] table").first).to_be_visible()


def test_a_hundred_thousand_characters(notebook, minilm, expect):
    page = notebook([cell(minilm, "A long story, told at length. " * 3400)])
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-chip").first).to_be_visible()
    expect(panel.locator(".nk-totals")).to_contain_text("102,000")
    assert panel.locator(".nk-chip").count() < 3000, "only what is near the window is drawn"
    strip = panel.locator(".nk-strip")
    for _ in range(5):  # JupyterLab may draw an output again while the notebook opens, and then from its top
        strip.evaluate("element => { element.scrollTop = element.scrollHeight * 0.6; }")
        expect(strip.locator(".nk-block:not(:empty)").nth(1)).to_be_visible()
        page.wait_for_timeout(1000)
        if there := strip.evaluate("element => element.scrollTop"):
            break
    assert there > 0
    drawn = strip.evaluate(
        """element => {
            const middle = element.getBoundingClientRect().top + element.clientHeight / 2;
            const off = chip => Math.abs(chip.getBoundingClientRect().top - middle);
            return [...element.querySelectorAll('.nk-chip')].filter(chip => off(chip) < 100).length;
        }"""
    )
    assert drawn > 10
    assert panel.locator(".nk-chip").count() < 3000
    expect(panel.locator(".nk-scissors")).to_have_count(0)
    strip.evaluate("element => { element.scrollTop = 0; }")
    expect(panel.locator(".nk-scissors")).to_have_count(1)


def test_hostile_strings_stay_text(notebook, minilm, expect, tmp_path, chromium):
    page = notebook(
        [
            BACKENDS
            + f"""
from tokenizers import AddedToken
from notebook_kit import AutoTokenizer
from notebook_kit.panels import TokenInspector
hostile = {HOSTILE!r}
trap = AutoTokenizer.from_pretrained({str(minilm)!r})
trap.backend_tokenizer.add_tokens([AddedToken(hostile)])
trap.name_or_path = hostile
unigram.add_tokens([hostile])
inspector = TokenInspector(trap, unigram, bytes_, text=f"a {{hostile}} b", text_pair=hostile)
inspector.to_html({str(tmp_path / "hostile.html")!r})
inspector"""
        ]
    )
    panel = page.locator(PANEL)
    expect(panel.get_by_role("option", name=HOSTILE).first).to_be_visible()
    panel.get_by_role("option", name=HOSTILE).first.click()
    expect(panel.get_by_role("heading", name=HOSTILE)).not_to_have_count(0)
    panel.evaluate("element => element.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    expect(panel.locator(".nk-differences").first).to_be_visible()
    panel.locator(".nk-tokenizer").nth(2).get_by_role("option").nth(2).click()
    with page.expect_download() as saved:
        panel.get_by_role("button", name="Save SVG").click()
    drawing = Path(saved.value.path()).read_text()
    assert "&lt;img src=x" in drawing and "<img" not in drawing and "<script" not in drawing
    assert page.locator(".nk-panel img, .nk-panel script").count() == 0
    faults = []
    offline = chromium.new_page()
    offline.on("dialog", lambda dialog: faults.append(dialog.message) or dialog.dismiss())
    offline.on("pageerror", lambda error: faults.append(str(error)))
    offline.goto((tmp_path / "hostile.html").as_uri())
    expect(offline.get_by_role("option", name=HOSTILE).first).to_be_visible()
    offline.close()
    assert not faults


def test_pictures_show_what_is_on_the_screen(notebook, minilm, expect, tmp_path):
    from PIL import Image

    page = notebook([cell(minilm, "tokens క్ష 中", tokenizers="minilm, bytes_")])
    panel = page.locator(PANEL)
    panel.locator(".nk-tokenizer").first.get_by_role("option", name="token", exact=False).nth(1).click()
    expect(panel.locator(".nk-stages > li")).to_have_count(5)
    for kind in ("SVG", "PNG"):
        with page.expect_download() as saved:
            panel.get_by_role("button", name=f"Save {kind}").click()
        saved.value.save_as(tmp_path / f"tokens.{kind.lower()}")
    drawing = (tmp_path / "tokens.svg").read_text()
    assert ">tokens<" in drawing or ">token<" in drawing
    assert "WordPiece" in drawing and "క్ష" in drawing
    with Image.open(tmp_path / "tokens.png") as picture:
        assert picture.width > 600 and picture.height > 300
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50
        picture.save(shot(panel, "tokens_saved").with_name("tokens_saved_png.png"))


def test_file_on_disk(minilm, expect, tmp_path, chromium, accessible):
    from notebook_kit.panels import TokenInspector
    from notebook_kit.processing.text.auto import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm)
    panel = TokenInspector(tokenizer, text="It works offline, unbelievably 🦖", text_pair="second text", selected=[6])
    path = panel.to_html(tmp_path / "tokens.html")
    faults = []
    context = chromium.new_context(offline=True, color_scheme="dark", viewport={"width": 700, "height": 900})
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    expect(page.get_by_role("heading", name="Token 6")).to_be_visible()
    page.get_by_role("option", name="second").click()
    expect(page.locator(".nk-stages > li")).to_have_count(5)
    expect(page.get_by_role("heading", name="second")).to_be_visible()
    accessible(page, ".nk-panel")
    shot(page, "tokens_file_dark")
    page.get_by_label("Text", exact=True).fill("another text")
    expect(page.get_by_role("alert")).to_contain_text("no running kernel")
    assert not faults
    context.close()


def test_saved_notebook_without_a_kernel(notebook, minilm, expect, tmp_path):
    import nbformat

    from notebook_kit.panels import TokenInspector
    from notebook_kit.processing.text.auto import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm)
    tokenizer.name_or_path = "all-MiniLM-L6-v2"
    text = f"Saved tokens, క్షమించు 中文 🦖 {HOSTILE}"
    data, _ = TokenInspector(tokenizer, text=text, selected=[1])._repr_mimebundle_()
    kept = {key: data[key] for key in ("text/plain", "text/html")}
    output = nbformat.v4.new_output("display_data", data=kept)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("inspector", outputs=[output], execution_count=1)])
    nbformat.write(book, tmp_path / "saved.ipynb")
    page = notebook(tmp_path / "saved.ipynb", run=False)
    area = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output")
    expect(area.locator("img[src^='data:image/png']")).to_be_visible()
    expect(area.locator("tr").nth(3)).to_be_visible()
    shot(area, "tokens_face_light")


def test_two_displays_and_what_python_sets(notebook, minilm, expect):
    page = notebook(
        [
            cell(minilm, "one two") + "\nfrom IPython.display import display; display(inspector); display(inspector)",
            "inspector.text, inspector.selected = 'three four five', [2]",
        ]
    )
    panels = page.locator(PANEL)
    expect(panels).to_have_count(2)
    for panel in (panels.nth(0), panels.nth(1)):
        expect(panel.locator(".nk-face")).to_have_text(["[CLS]", "three", "four", "five", "[SEP]"])
        expect(panel.locator('[aria-selected="true"] .nk-face')).to_have_text(["four"])
    panels.nth(0).get_by_role("option", name="five").click()
    expect(panels.nth(1).locator('[aria-selected="true"] .nk-face')).to_have_text(["five"])
    expect(panels.nth(1).get_by_role("heading", name="Token 3")).to_be_visible()
    run_all(page)
    expect(page.locator(PANEL)).to_have_count(2)
    expect(panels.nth(1).locator('[aria-selected="true"] .nk-face')).to_have_text(["four"])


def test_an_error_is_shown_and_the_panel_goes_on(notebook, minilm, expect):
    page = notebook([cell(minilm, "fine"), "inspector.answer_story = lambda values: 1 / 0"])
    panel = page.locator(PANEL)
    panel.get_by_role("option", name="[SEP]").click()  # not the token whose story came with the panel
    expect(panel.get_by_role("alert")).to_contain_text("ZeroDivisionError")
    panel.get_by_label("Text", exact=True).fill("goes on")
    expect(panel.locator(".nk-face")).to_have_text(["[CLS]", "goes", "on", "[SEP]"])
    expect(panel.get_by_role("alert")).to_be_hidden()


def test_in_a_box_and_in_telugu(notebook, minilm, expect, accessible):
    boxed = cell(minilm, "తెలుగు అక్షరాలు నేర్చుకుందాం", tokenizers="bytes_").removesuffix("\ninspector")
    page = notebook(
        [
            boxed
            + "\nimport ipywidgets\nfrom notebook_kit.panels import set_language\nset_language('te')\ninspector.show_ids = True"
            + "\nipywidgets.VBox([inspector])"
        ]
    )
    panel = page.locator(PANEL)
    expect(panel.get_by_label("వచనం", exact=True)).to_be_visible()
    expect(panel).to_have_attribute("lang", "te")
    panel.get_by_role("option").nth(4).click()
    expect(panel.locator(".nk-stages > li")).to_have_count(5)
    accessible(page, AXE)
    shot(panel, "tokens_telugu_light")


def test_truncation_is_marked(notebook, minilm, expect):
    page = notebook(
        [
            cell(minilm, "A text that is too long for it").replace(
                "name_or_path =", "model_max_length, minilm.name_or_path = 8,"
            )
        ]
    )
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-scissors")).to_have_count(1)
    expect(panel.locator(".nk-is-cut")).to_have_count(2)
    expect(panel.locator(".nk-totals")).to_contain_text("lost beyond 8: 2")
    shot(panel, "tokens_cut_light")


def test_reopened_and_cleared(notebook, minilm, expect):
    page = notebook([cell(minilm, "one two three")])
    panel = page.locator(PANEL)
    panel.get_by_role("option", name="two").click()
    expect(panel.get_by_role("heading", name="Token 2")).to_be_visible()
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    path = page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path")
    page.evaluate(
        """async path => {
            const widget = window.jupyterapp.shell.currentWidget;
            widget.context.model.dirty = false;
            widget.dispose();
            const again = await window.jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'});
            await again.context.ready;
        }""",
        path,
    )
    panel = page.locator(PANEL)
    expect(panel.get_by_role("heading", name="Token 2")).to_be_visible()
    panel.get_by_label("Text", exact=True).fill("four")
    expect(panel.locator(".nk-face")).to_have_text(["[CLS]", "four", "[SEP]"])
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets[0].outputArea.model.clear()")
    expect(page.locator(PANEL)).to_have_count(0)


def test_it_is_drawn_while_later_cells_run(notebook, minilm, expect):
    page = notebook([cell(minilm, "The unhappiness of tokenizers"), "import time; time.sleep(20)"], run=False)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-chip[aria-selected='true']")).to_have_count(1)
    expect(panel.locator(".nk-stages > li")).to_have_count(5)
    status = "() => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.status"
    assert page.evaluate(status) == "busy"
    expect(panel.locator(".nk-busy")).to_be_hidden()
    shot(panel, "tokens_while_busy")
    expect(panel.locator(".nk-warn")).to_have_count(0)  # that it lower-cases is no alarm
    expect(panel.locator(".nk-totals")).to_contain_text("but without its capital letters")


def test_pointing_at_a_token_marks_its_characters(notebook, minilm, expect, accessible):
    page = notebook([cell(minilm, "🦖 naïve tokenizers", ", text_pair='of 🦖 dinosaurs'")])
    panel = page.locator(PANEL)
    marks = panel.locator(".nk-behind mark")
    expect(marks).to_have_count(1)  # of the chosen token
    panel.get_by_role("option", name="naïve").hover()
    expect(marks).to_have_text(["naïve"])
    panel.get_by_role("option", name="dinosaurs").hover()
    expect(panel.locator(".nk-behind").nth(1).locator("mark")).to_have_text(["dinosaurs"])
    shot(panel, "tokens_pointed")
    boxes = [panel.locator(name).nth(1).bounding_box() for name in ("textarea", ".nk-behind")]
    assert abs(boxes[0]["x"] - boxes[1]["x"]) < 1 and abs(boxes[0]["y"] - boxes[1]["y"]) < 1
    panel.get_by_label("Text", exact=True).fill("naïve")
    expect(marks).to_have_count(0)
    panel.get_by_role("button", name="How to read this panel").click()
    expect(panel.get_by_role("heading", name="Do not conclude that")).to_be_visible()
    accessible(page, AXE)


@pytest.mark.parametrize("edit", ["page", "python"])
def test_an_edit_while_a_later_block_is_selected(notebook, minilm, expect, edit):
    words = " ".join(f"word{i} unhappy" for i in range(700))
    page = notebook([cell(minilm, words, tokenizers="minilm, bytes_"), "inspector.text = 'short'"], run=False)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 0")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    panel = page.locator(PANEL)
    strip = panel.locator(".nk-strip").first
    expect(strip.locator(".nk-chip").first).to_be_visible()
    strip.evaluate("strip => { strip.scrollTop = strip.scrollHeight / 2; }")
    later = strip.locator(".nk-block").nth(3).locator(".nk-chip").nth(40)
    later.click()
    expect(later).to_have_attribute("aria-selected", "true")
    if edit == "page":
        panel.get_by_label("Text", exact=True).fill("short")
    else:
        run_all_last(page)
    expect(strip.locator(".nk-face")).to_have_text(["[CLS]", "short", "[SEP]"])
    expect(panel.locator(".nk-story")).to_be_hidden()
