"""AttentionView in a real JupyterLab: by mouse, by keyboard, in both themes, narrow, offline, without a kernel."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from conftest import load, set_theme, shot

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="attention_view"]'
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "${alert(3)}",
    "'\"><svg onload=alert(4)>",
]

TENSORS = """
import torch
from notebook_kit.panels import AttentionView
torch.manual_seed(0)
tokens = ["[CLS]", "the", "cat", "sat", "on", "the", "mat", "[SEP]"]
view = AttentionView((torch.randn(3, 4, 8, 8) * 3).softmax(-1), tokens=tokens, layer=0, head=0)
view
"""


def model_cell(
    minilm: Path, text: str = "The cat sat on the mat because it was unbelievably tired.", more: str = ""
) -> str:
    return f"""
from notebook_kit import AutoModel
from notebook_kit.panels import AttentionView
model = AutoModel.from_pretrained({str(minilm)!r})
view = AttentionView(model, {text!r}{more})
view
"""


def drawn(page: Any, expect: Any, cells: int) -> Any:
    panel = page.locator(PANEL).first
    expect(panel.locator(".nk-av-cell")).to_have_count(cells, timeout=30_000)
    return panel


def ask_kernel(page: Any, code: str) -> str:
    """What an expression is in the notebook's kernel."""
    return page.evaluate(
        """async code => {
            const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
            const future = kernel.requestExecute({code: '', user_expressions: {value: code}});
            const reply = await future.done;
            return reply.content.user_expressions.value.data['text/plain'];
        }""",
        code,
    )


def run(page: Any, code: str) -> None:
    """Run a statement in the notebook's kernel, as another cell would."""
    page.evaluate(
        """async code => {
            const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
            await kernel.requestExecute({code}).done;
        }""",
        code,
    )


def eventually(page: Any, code: str, value: str) -> None:
    """Wait until an expression in the kernel has a value."""
    for _ in range(50):
        if ask_kernel(page, code) == value:
            return
        page.wait_for_timeout(100)
    assert ask_kernel(page, code) == value


def test_by_mouse(notebook, minilm, expect, accessible):
    page = notebook([model_cell(minilm)])
    panel = drawn(page, expect, 72)
    expect(panel.locator(".nk-av-left li")).to_have_count(18)
    accessible(page)
    shot(panel, "attention_lines_light")

    panel.locator('.nk-av-cell[data-layer="2"][data-head="5"]').click()
    expect(panel.locator(".nk-av-said-line")).to_have_text("Layer 2 · head 5")
    panel.locator('.nk-av-cell[data-layer="2"][data-head="7"]').click(modifiers=["Shift"])
    expect(panel.locator(".nk-av-said-line")).to_contain_text("Layer 2 · head 5, 7 (mean)")
    panel.get_by_label("Hide special tokens").check()
    panel.get_by_label("Renormalise the rest").check()
    panel.get_by_label("Merge word pieces").check()
    expect(panel.locator(".nk-av-said-line")).to_contain_text("special tokens hidden, the rest renormalised")
    expect(panel.locator(".nk-av-said-line")).to_contain_text("summed over “to”, averaged over “from”")
    expect(panel.locator(".nk-av-left li")).to_have_count(12)
    expect(panel.locator(".nk-av-left li").nth(9)).to_contain_text("unbelievably")
    eventually(page, "view.heads, view.layer, view.head, view.merge_words", "([5, 7], 2, 5, True)")

    panel.get_by_role("tab", name="Matrix").click()
    panel.get_by_label("Show rollout").check()
    expect(panel.locator(".nk-av-rollout figcaption")).to_contain_text("rollout, layers 0 to 2")
    expect(panel.locator(".nk-av-rollout")).to_contain_text("It is not an explanation of the prediction")
    panel.locator(".nk-av-raw .nk-av-map").hover(position={"x": 150, "y": 120})
    expect(panel.locator(".nk-av-readout")).to_contain_text("exact")
    shot(panel, "attention_matrix_light")
    accessible(page)

    panel.get_by_role("tab", name="Scores").click()
    expect(panel.locator(".nk-av-scores tbody tr")).to_have_count(72)
    panel.get_by_role("button", name="Entropy").click()
    panel.get_by_role("button", name="Entropy").click()
    expect(panel.locator(".nk-av-scores tbody tr").first.locator("th")).to_have_text(
        "layer 0 · head 2"
    )  # all of it on one token
    panel.get_by_label("Colour by").select_option("previous")
    shot(panel, "attention_scores_light")
    accessible(page)
    panel.locator(".nk-av-scores tbody tr").first.get_by_role("button").click()
    eventually(page, "view.layer, view.head", "(0, 2)")


def test_selection_ablation_and_dark(notebook, minilm, expect, accessible):
    page = notebook([model_cell(minilm)])
    panel = drawn(page, expect, 72)
    set_theme(page, dark=True)
    panel.locator(".nk-av-left li").nth(3).click()
    panel.locator(".nk-av-left li").nth(10).click()
    panel.locator(".nk-av-said-line").hover()
    expect(panel.locator(".nk-av-readout")).to_contain_text("Sum over 2 selected tokens")
    expect(panel.locator(".nk-av-readout")).to_contain_text("exact")
    said = float(panel.locator(".nk-av-readout .nk-mono").first.inner_text())
    assert abs(said - float(ask_kernel(page, "float(view.matrix().iloc[[3, 10]].sum().max())"))) < 1e-5
    eventually(page, "view.selected", "[3, 10]")

    panel.get_by_role("button", name="Switch heads off").click()
    panel.locator('.nk-av-cell[data-layer="2"][data-head="3"]').click()
    expect(panel.locator(".nk-av-prediction tbody tr").first).to_be_visible()
    expect(panel.locator(".nk-av-prediction tbody tr").first).to_contain_text("−")
    expect(panel.locator(".nk-av-ablation")).to_contain_text("1 off: layer 2 · head 3")
    panel.get_by_role("button", name="Switch layer 4 off, or back on").click()
    expect(panel.locator(".nk-av-ablation")).to_contain_text("13 off")
    eventually(page, "len(view.ablated), len(view.prediction.get('heads', []))", "(13, 13)")
    shot(panel, "attention_ablation_dark")
    run(page, "view.ablated = [[0, 1]]")
    eventually(page, "view.prediction.get('heads', [])", "[[0, 1]]")
    run(page, "view.text = 'Another text.'")
    eventually(page, "view.prediction.get('heads'), len(view.prediction.get('rows', []))", "([[0, 1]], 6)")
    accessible(page)
    panel.get_by_role("tab", name="Matrix").click()
    shot(panel, "attention_matrix_dark")
    accessible(page)


def test_texts_pair_compare_and_errors(notebook, minilm, expect, accessible):
    page = notebook([model_cell(minilm, "The cat sat.")])
    panel = drawn(page, expect, 72)
    panel.get_by_role("button", name="Pair", exact=True).click()
    panel.get_by_label("Second text").fill("It was tired.")
    panel.get_by_role("button", name="Read", exact=True).click()
    panel.get_by_label("Direction").select_option("a_to_b")
    expect(panel.locator(".nk-av-left li")).to_have_count(4)
    expect(panel.locator(".nk-av-right li").nth(2)).to_contain_text("tired")
    assert panel.locator(".nk-av-lines").bounding_box()["height"] < 80
    shot(panel, "attention_pair_light")
    panel.get_by_label("Direction").select_option("all")

    panel.get_by_role("button", name="Compare", exact=True).click()
    panel.get_by_role("textbox", name="Compare with").fill("The dog sat.")
    panel.get_by_role("button", name="Read", exact=True).click()
    expect(panel.get_by_role("combobox", name="Compare")).to_have_value("difference")  # at once
    expect(panel.locator(".nk-av-said-line")).to_contain_text("blue is more, orange is less")
    expect(panel.locator(".nk-av-left li").nth(2)).to_contain_text("cat / dog")
    panel.get_by_role("tab", name="Matrix").click()
    shot(panel, "attention_difference_light")
    accessible(page)

    panel.get_by_role("textbox", name="Compare with").fill("The dog and the cat sat.")
    panel.get_by_role("button", name="Read", exact=True).click()
    panel.get_by_role("tab", name="Lines").click()
    left = panel.locator(".nk-av-left li .nk-av-label")
    expect(left).to_have_text(
        ["[CLS]", "the", "dog", "and", "the", "cat", "sat", ".", "[SEP]", "it", "was", "tired", ".", "[SEP]"]
    )
    expect(panel.locator(".nk-error:visible")).to_have_count(0)
    shot(panel, "attention_unequal_light")
    panel.get_by_role("textbox", name="Compare with").fill("The pig sat.")
    panel.get_by_role("button", name="Read", exact=True).click()
    expect(panel.locator(".nk-error:visible")).to_have_count(0)
    eventually(page, "view.compare_text, view.text_pair", "('The pig sat.', 'It was tired.')")


def test_by_keyboard(notebook, expect):
    page = notebook([TENSORS])
    panel = drawn(page, expect, 12)
    cell = panel.locator('.nk-av-cell[data-layer="0"][data-head="0"]')
    cell.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(panel.locator(".nk-av-said-line")).to_have_text("Layer 1 · head 2")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+Enter")
    expect(panel.locator(".nk-av-said-line")).to_contain_text("Layer 1 · head 2, 3")
    outline = panel.locator(".nk-av-cell:focus").evaluate("cell => getComputedStyle(cell).outlineStyle")
    assert outline == "solid"

    panel.locator(".nk-av-left li").first.focus()
    page.keyboard.press("ArrowDown")
    expect(panel.locator(".nk-av-readout")).to_contain_text("from the")
    page.keyboard.press("Enter")
    eventually(page, "view.selected", "[1]")

    panel.get_by_role("tab", name="Lines").focus()
    page.keyboard.press("ArrowRight")
    expect(panel.get_by_role("tab", name="Matrix")).to_have_attribute("aria-selected", "true")
    panel.locator(".nk-av-raw .nk-av-map").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "+", "+", "0"):
        page.keyboard.press(key)
    expect(panel.locator(".nk-av-readout")).to_contain_text("the → the")
    value = panel.locator(".nk-av-readout .nk-mono")
    expect(value).to_be_visible()
    assert abs(float(value.inner_text()) - float(ask_kernel(page, "float(view.matrix().iloc[1, 1])"))) < 1e-6
    page.keyboard.press("Enter")
    eventually(page, "view.selected", "[]")


def test_narrow(notebook, minilm, expect, accessible):
    cell = model_cell(minilm) + "\nimport ipywidgets\nipywidgets.VBox([view], layout=ipywidgets.Layout(width='320px'))"
    page = notebook([cell.replace("\nview\n", "\n")])
    panel = drawn(page, expect, 72)
    expect(panel.locator(".nk-av-left li")).to_have_count(18)
    wide = panel.evaluate(
        "panel => [...panel.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > panel.getBoundingClientRect().right + 1"
        " && !e.closest('.nk-scroll, .nk-sr')).map(e => e.className || e.tagName)"
    )
    assert wide == []
    assert panel.locator(".nk-av-atlas").evaluate("atlas => atlas.scrollWidth <= atlas.clientWidth"), "all heads fit"
    for dark in (False, True):
        set_theme(page, dark=dark)
        shot(panel, f"attention_narrow_{'dark' if dark else 'light'}")
        accessible(page)
    panel.get_by_role("tab", name="Matrix").click()
    shot(panel, "attention_narrow_matrix_dark")


def test_two_displays_share_one_state_and_clean_up(notebook, expect):
    page = notebook([TENSORS, "view"])
    panels = page.locator(PANEL)
    expect(panels).to_have_count(2)
    expect(panels.nth(1).locator(".nk-av-cell")).to_have_count(12)
    panels.nth(0).locator('.nk-av-cell[data-layer="2"][data-head="1"]').click()
    expect(panels.nth(1).locator(".nk-av-said-line")).to_have_text("Layer 2 · head 1")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets[1].outputArea.model.clear()")
    expect(panels).to_have_count(1)
    panels.nth(0).locator('.nk-av-cell[data-layer="0"][data-head="3"]').click()
    expect(panels.nth(0).locator(".nk-av-said-line")).to_have_text("Layer 0 · head 3")


def test_hostile_tokens_stay_text(notebook, expect, tmp_path, chromium):
    cell = f"""
import torch
from notebook_kit.panels import AttentionView
tokens = {HOSTILE!r}
view = AttentionView(torch.rand(2, 2, 4, 4), tokens=tokens, selected=[0])
view.to_html({str(tmp_path / "hostile.html")!r})
view
"""
    page = notebook([cell])
    panel = drawn(page, expect, 4)
    for i, token in enumerate(HOSTILE):
        expect(panel.locator(".nk-av-left li .nk-av-label").nth(i)).to_have_text(token)
    panel.locator(".nk-av-left li").nth(1).hover()
    expect(panel.locator(".nk-av-readout")).to_contain_text("</script>")
    panel.get_by_text("As a table").click()
    expect(panel.locator(".nk-av-pairs td").first).to_be_visible()
    with page.expect_download() as taken:
        panel.get_by_role("button", name="Export SVG").click()
    svg = Path(taken.value.path()).read_text()
    assert "&lt;img src=x" in svg and "<img" not in svg and "<script" not in svg
    with page.expect_download() as taken:
        panel.get_by_role("button", name="Export PNG").click()
    assert Path(taken.value.path()).read_bytes()[:4] == b"\x89PNG"
    panel.get_by_role("tab", name="Matrix").click()
    with page.expect_download() as taken:
        panel.get_by_role("button", name="Export SVG").click()
    assert "data:image/png" in Path(taken.value.path()).read_text()
    assert page.locator("img[src='x']").count() == 0

    offline = chromium.new_page()
    faults: list[str] = []
    offline.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    offline.on("pageerror", lambda error: faults.append(str(error)))
    offline.goto((tmp_path / "hostile.html").as_uri())
    expect(offline.locator(".nk-av-left li .nk-av-label").nth(1)).to_have_text(HOSTILE[1])
    offline.close()
    assert faults == []


def test_file_on_disk(minilm, expect, tmp_path, chromium, accessible):
    from notebook_kit import AutoModel
    from notebook_kit.panels import AttentionView

    model = AutoModel.from_pretrained(str(minilm))
    view = AttentionView(model, "The cat sat on the mat.", layer=3, head=2)
    path = view.to_html(tmp_path / "view.html")
    page = chromium.new_page(viewport={"width": 1000, "height": 900}, color_scheme="dark")
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(path.as_uri())
    panel = page.locator(".nk-panel")
    expect(panel.locator(".nk-av-cell")).to_have_count(72)
    expect(panel.locator(".nk-av-notice")).to_contain_text("This file holds layer 3, heads 0–11")
    panel.locator('.nk-av-cell[data-layer="3"][data-head="7"]').click()
    expect(panel.locator(".nk-av-said-line")).to_have_text("Layer 3 · head 7")
    expect(panel.locator(".nk-error:visible")).to_have_count(0)
    panel.get_by_role("tab", name="Matrix").click()
    panel.locator(".nk-av-raw .nk-av-map").hover(position={"x": 150, "y": 120})
    expect(panel.locator(".nk-av-readout")).to_have_text(re.compile(r"about 0\.\d+ \(±"))
    panel.get_by_role("tab", name="Scores").click()
    expect(panel.locator(".nk-av-scores tbody tr")).to_have_count(72)
    shot(page, "attention_file_dark")
    accessible(page)
    panel.locator('.nk-av-cell[data-layer="0"][data-head="0"]').click()
    panel.get_by_role("tab", name="Lines").click()
    expect(panel.locator(".nk-error:visible")).to_contain_text("no running kernel")
    page.close()
    assert faults == []


def test_saved_notebook_without_a_kernel(notebook, lab, expect, tmp_path):
    """Run by nbclient as a server would, opened untrusted and not run: the picture and the table are there."""
    import nbformat
    import torch

    from notebook_kit.panels import AttentionView

    view = AttentionView(torch.eye(4).expand(2, 2, 4, 4), tokens=HOSTILE)
    data, _ = view._repr_mimebundle_()
    output = nbformat.v4.new_output(
        "display_data", data={"text/plain": data["text/plain"], "text/html": data["text/html"]}
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("view", outputs=[output], execution_count=1)])
    nbformat.write(book, tmp_path / "saved.ipynb")
    page = notebook(tmp_path / "saved.ipynb", run=False)
    area = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output")
    expect(area.locator("img[src^='data:image/png']")).to_be_visible()
    expect(area.locator("tr")).to_have_count(5)
    expect(area).to_contain_text(HOSTILE[0])
    shot(area, "attention_face_light")


def test_saved_widget_state_without_a_kernel(notebook, expect, tmp_path):
    """Trusted and saved with its state: the panel itself is there, showing the head that was shown first."""
    import nbformat
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(TENSORS), nbformat.v4.new_code_cell("view.head = 3")]
    book = nbformat.v4.new_notebook(cells=cells)
    with ThreadPoolExecutor(1) as thread:  # this thread's event loop is Playwright's
        thread.submit(NotebookClient(book, timeout=120, kernel_name="python3").execute).result()
    assert book.metadata.widgets
    nbformat.write(book, tmp_path / "state.ipynb")
    page = notebook(tmp_path / "state.ipynb", run=False, trust=True)
    panel = drawn(page, expect, 12)
    expect(panel.locator(".nk-av-left li")).to_have_count(8)
    expect(panel.locator(".nk-av-said-line")).to_have_text("Layer 0 · head 0")


def test_page_reload_shows_it_again(notebook, expect, lab):
    page = notebook([TENSORS])
    panel = drawn(page, expect, 12)
    panel.locator('.nk-av-cell[data-layer="1"][data-head="1"]').click()
    expect(panel.locator(".nk-av-said-line")).to_have_text("Layer 1 · head 1")
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
    panel = drawn(page, expect, 12)
    expect(panel.locator(".nk-av-said-line")).to_have_text("Layer 1 · head 1")
    shot(panel, "attention_reloaded_light")
    panel.locator('.nk-av-cell[data-layer="2"][data-head="0"]').click()
    expect(panel.locator(".nk-av-stage")).to_have_attribute("data-shown", "2.0")


def test_a_token_chosen_in_one_panel_is_lit_in_the_other(notebook, minilm, expect):
    cell = f"""
import ipywidgets
from notebook_kit import AutoModel, AutoTokenizer
from notebook_kit.panels import AttentionView, TokenInspector
inspector = TokenInspector(AutoTokenizer.from_pretrained({str(minilm)!r}), text="A cat sat.")
view = AttentionView(inspector, AutoModel.from_pretrained({str(minilm)!r}))
ipywidgets.VBox([inspector, view])
"""
    page = notebook([cell])
    panel = drawn(page, expect, 72)
    panel.locator(".nk-av-left li").nth(2).click()
    eventually(page, "inspector.selected", "[1, 2]")  # the inspector opens with a token chosen
    run(page, "inspector.selected = [1, 3]")
    expect(panel.locator('.nk-av-left li[aria-selected="true"]')).to_have_text([re.compile("^a"), re.compile("^sat")])
    run(page, "inspector.text = 'Two dogs.'")
    expect(panel.locator(".nk-av-left li")).to_have_count(5)


def test_a_text_that_is_being_written_stays(notebook, minilm, expect):
    page = notebook([model_cell(minilm, "A cat.")])
    panel = drawn(page, expect, 72)
    panel.get_by_role("textbox", name="Text").fill("A dog and")
    panel.get_by_label("Hide special tokens").check()
    expect(panel.locator(".nk-av-left li")).to_have_count(3)
    expect(panel.get_by_role("textbox", name="Text")).to_have_value("A dog and")
    panel.get_by_role("textbox", name="Text").press("Enter")
    expect(panel.locator(".nk-av-left li")).to_have_count(3)
    expect(panel.locator(".nk-av-left li").nth(1)).to_contain_text("dog")
    run(page, "view.text = 'Four words are here'")
    expect(panel.get_by_role("textbox", name="Text")).to_have_value("Four words are here")
    expect(panel.locator(".nk-av-left li")).to_have_count(4)


def test_telugu(notebook, expect):
    page = notebook([TENSORS, "from notebook_kit.panels import set_language\nset_language('te')"])
    panel = drawn(page, expect, 12)
    expect(panel.get_by_role("tab", name="మాత్రిక")).to_be_visible()
    shot(panel, "attention_telugu_light")


def test_heads_of_other_layers_are_added(notebook, expect):
    page = notebook([TENSORS])
    panel = drawn(page, expect, 12)
    panel.locator('.nk-av-cell[data-layer="2"][data-head="1"]').click(modifiers=["Shift"])
    expect(panel.locator(".nk-av-said-line")).to_have_text("Layer 0 · head 0, layer 2 · head 1 (mean)")
    expect(panel.locator(".nk-av-cell[aria-selected='true']")).to_have_count(2)
    eventually(page, "view.layer, view.heads, view.more", "(0, [0], [[2, 1]])")
    panel.locator('.nk-av-cell[data-layer="0"][data-head="0"]').click(modifiers=["Shift"])  # away again
    expect(panel.locator(".nk-av-said-line")).to_have_text("Layer 2 · head 1")
    eventually(page, "view.layer, view.heads, view.more", "(2, [1], [])")


def test_queries_and_keys_of_a_pair(notebook, minilm, expect, accessible):
    page = notebook([model_cell(minilm, "The cat sat.")])
    panel = drawn(page, expect, 72)
    expect(panel.get_by_role("tab", name="Logit lens")).to_be_hidden()
    panel.locator(".nk-av-neuron-fold summary").click()
    expect(panel.locator(".nk-av-neurons [role='gridcell']").first).to_be_visible()
    size = int(ask_kernel(page, "len(view.queries_and_keys(0, 0))"))
    expect(panel.locator(".nk-av-neurons [role='gridcell']")).to_have_count(3 * size)
    panel.locator(".nk-av-left li").nth(2).click()
    panel.locator(".nk-av-right li").nth(3).click()
    expect(panel.get_by_role("combobox", name="is looked at")).to_have_value("3")
    score = f"{float(ask_kernel(page, 'float(view.queries_and_keys(2, 3).sum().iloc[2])')):.3f}"
    expect(panel.locator(".nk-av-neuron-sum")).to_contain_text(score.replace("-", "−"))
    weight = f"{float(ask_kernel(page, 'float(view.matrix().iloc[2, 3])')):.4f}"
    expect(panel.locator(".nk-av-neuron-sum")).to_contain_text(f"weight {weight}")
    panel.locator(".nk-av-neurons [role='gridcell']").first.focus()
    page.keyboard.press("ArrowRight")
    expect(panel.locator(".nk-av-neuron")).to_contain_text("dimension 1:")
    accessible(page)
    shot(panel, "attention_queries_and_keys")


def test_it_explains_itself(notebook, minilm, expect, accessible):
    page = notebook([model_cell(minilm, "The cat sat.")])
    panel = drawn(page, expect, 72)
    expect(panel.locator(".nk-av-side-name")).to_have_text(["looks", "is looked at"])
    sharpest = ask_kernel(page, "view.layer, view.head").strip("()").split(", ")
    expect(panel.locator(".nk-av-said-line")).to_have_text(f"Layer {sharpest[0]} · head {sharpest[1]}")
    panel.get_by_role("button", name="How to read this panel").click()
    expect(panel.get_by_role("heading", name="Do not conclude that")).to_be_visible()
    accessible(page)
    page.keyboard.press("Escape")
    expect(panel.get_by_role("heading", name="Do not conclude that")).to_be_hidden()


def test_lines_take_the_colours_of_a_new_theme(notebook, expect):
    page = notebook([TENSORS])
    panel = drawn(page, expect, 12)
    strongest = """() => {
        const web = document.querySelector('.nk-av-web'), data = web.getContext('2d').getImageData(0, 0, web.width, web.height).data;
        let best = 0;
        for (let i = 0; i < data.length; i += 4) if (data[i + 3] > data[best + 3]) best = i;
        return data[best];
    }"""
    page.wait_for_function(
        f"() => ({strongest})() < 60 && document.querySelector('.nk-av-web').width > 10"
    )  # red of #0b5cad
    set_theme(page, dark=True)
    page.wait_for_function(f"() => ({strongest})() > 100")  # red of #7cb8f2
    expect(panel).to_be_visible()
