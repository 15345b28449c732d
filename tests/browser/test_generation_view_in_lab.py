"""GenerationView in a real JupyterLab: written with, branched, by mouse and keyboard, both themes, narrow, without a kernel."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from conftest import run_all, set_theme, shot

pytestmark = pytest.mark.usefixtures("tall")

sys.path.insert(0, str(Path(__file__).parents[1] / "panels"))

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="generation_view"]'
AXE = '.jp-NotebookPanel:not(.lm-mod-hidden) .nk-panel[data-panel="generation_view"]'
TOKEN = ".nk-gv-written .nk-gv-token"
PROMPT = "The old fisherman"
ZOO = "notebook-kit/tiny-gpt2"


@pytest.fixture(scope="session")
def story_teller(tmp_path_factory) -> str:
    """A small language model: the zoo's, or one that learns a little grammar here."""
    import torch

    from notebook_kit import GPT2Config, GPT2LMHeadModel, zoo

    if (Path(zoo.__file__).parent / "tiny-gpt2").is_dir():
        return ZOO
    import writers

    chance = random.Random(0)
    people = ["fisherman", "girl", "king", "doctor", "cat", "child", "teacher", "farmer"]
    places = ["river", "market", "garden", "mountain", "school", "harbour"]
    acts = ["walked to", "looked at", "dreamt of", "came back from", "sang about", "wrote a letter to"]
    moods = ["old", "young", "happy", "tired", "clever", "quiet"]

    def clause() -> str:
        who = f"the {chance.choice(moods)} {chance.choice(people)}"
        return f"{who} {chance.choice(acts)} the {chance.choice(places)}"

    texts = [f"{clause().capitalize()} and {clause()}, because {clause()}." for _ in range(400)]
    before = writers.CORPUS
    writers.CORPUS = texts
    tokenizer = writers.byte_tokenizer(420)
    writers.CORPUS = before
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(n_embd=64, n_layer=4, n_head=4, vocab_size=len(tokenizer), n_positions=128, eos_token_id=0)
    )
    rows = tokenizer([text + "<|end|>" for text in texts])["input_ids"]
    stream = torch.tensor([token for row in rows for token in row])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(160):
        starts = torch.randint(0, len(stream) - 49, (16,))
        batch = torch.stack([stream[start : start + 48] for start in starts])
        loss = model(batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("story") / "little-story-teller"
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def cell(name: str, prompt: str = PROMPT, more: str = "", before: str = "") -> str:
    return f"""
from notebook_kit import pipeline
from notebook_kit.panels import GenerationView
write = pipeline("text-generation", model={name!r})
{before}
view = GenerationView(write, {prompt!r}{more}).wait()
view"""


SLOW = """
import time
_forward = write.model.forward
def late(*args, **kwargs):
    time.sleep(0.08)
    return _forward(*args, **kwargs)
import inspect
late.__signature__ = inspect.signature(_forward)
write.model.forward = late
"""


def test_tokens_their_alternatives_and_a_branch(notebook, story_teller, expect, accessible):
    options = ", max_new_tokens=30, do_sample=True, temperature=1.0, top_k=40, top_p=0.95, seed=3"
    page = notebook([cell(story_teller, more=options), "view.branch, view.token_ids"])
    panel = page.locator(PANEL)
    expect(panel.locator(TOKEN).nth(8)).to_be_visible()
    panel.locator(TOKEN).nth(4).click()
    expect(panel.locator(TOKEN).nth(4)).to_have_attribute("aria-selected", "true")
    expect(panel.get_by_role("heading", name="Token 4")).to_be_visible()
    rows = panel.locator(".nk-gv-alternatives tbody tr")
    expect(rows.nth(7)).to_be_visible()
    accessible(page, AXE)
    shot(panel, "generation_light")
    set_theme(page, dark=True)
    accessible(page, AXE)
    shot(panel, "generation_dark")
    set_theme(page, dark=False)
    other = rows.locator("button").nth(1)
    token = int(other.get_attribute("data-token"))
    other.click()
    expect(panel.locator(".nk-gv-branch")).to_have_count(2)
    expect(panel.locator(TOKEN).nth(4)).to_have_attribute("data-id", str(token))
    expect(panel.locator(".nk-gv-current button")).to_have_count(0)
    expect(panel.get_by_role("status").first).to_contain_text("tokens")
    shot(panel, "generation_branch_light")
    panel.locator(".nk-gv-branch", has_text="“").click()
    expect(panel.locator(TOKEN).nth(4)).not_to_have_attribute("data-id", str(token))
    page.wait_for_timeout(300)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    expect(page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output").last).to_contain_text("(1, [")
    panel.evaluate("element => { element.style.width = '320px'; }")
    expect(panel.locator(".nk-gv-alternatives")).to_be_visible()
    assert panel.evaluate("element => element.scrollWidth <= element.clientWidth")
    accessible(page, AXE)
    shot(panel, "generation_narrow")


def test_attention_of_a_token(notebook, story_teller, expect, accessible):
    page = notebook([cell(story_teller, "The clever girl", ", max_new_tokens=24")])
    panel = page.locator(PANEL)
    panel.locator(TOKEN).nth(9).click()
    panel.get_by_role("button", name="Show on the tokens").click()
    expect(panel.locator(".nk-gv-weights tbody tr")).to_have_count(8)
    panel.get_by_label("Layer").select_option("2")
    panel.get_by_label("Head").select_option("1")
    expect(panel.locator(".nk-gv-weights tbody tr")).to_have_count(8)
    parts = panel.locator(".nk-gv-token").evaluate_all(
        "all => all.map(one => Number(one.style.getPropertyValue('--part')))"
    )
    count = panel.locator(".nk-gv-context .nk-gv-token").count()
    assert max(parts) == 1 and not any(parts[count + 9 :]), "nothing that comes later is looked at"
    accessible(page, AXE)
    shot(panel, "generation_attention_light")
    set_theme(page, dark=True)
    accessible(page, AXE)
    shot(panel, "generation_attention_dark")
    set_theme(page, dark=False)
    panel.locator(TOKEN).nth(12).click()
    expect(panel.get_by_role("heading", name="Token 12")).to_be_visible()
    panel.get_by_label("Colour by").select_option("entropy")
    expect(panel.get_by_role("button", name="Show on the tokens")).to_have_attribute("aria-pressed", "false")
    shot(panel, "generation_entropy_light")


def test_streaming_and_stopping(notebook, story_teller, expect):
    page = notebook([cell(story_teller, "", ", max_new_tokens=90", SLOW), "view.text"])
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-gv-empty")).to_be_visible()
    shot(panel, "generation_empty_light")
    box = panel.get_by_label("Prompt", exact=True)
    box.fill("The quiet doctor")
    box.press("Control+Enter")
    expect(panel.locator(TOKEN).nth(2)).to_be_visible()
    stop = panel.get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    expect(panel.locator(".nk-gv-caret")).to_be_visible()
    seen = panel.locator(TOKEN).count()
    shot(panel, "generation_writing_light")
    expect(panel.locator(TOKEN).nth(seen + 4)).to_be_visible()
    stop.click()
    expect(stop).to_be_hidden()
    expect(panel.locator(".nk-gv-status")).to_contain_text("stopped")
    made = panel.locator(TOKEN).count()
    assert seen < made < 90
    panel.get_by_role("button", name="Continue", exact=True).click()
    expect(panel.locator(TOKEN).nth(made + 2)).to_be_visible()
    box.press("Escape")
    expect(stop).to_be_hidden()
    expect(panel.locator(".nk-gv-branch")).to_have_count(2)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    expect(page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output").last).to_contain_text("The quiet doctor")


def test_by_keyboard(notebook, story_teller, expect):
    page = notebook([cell(story_teller, more=", max_new_tokens=12")])
    panel = page.locator(PANEL)
    expect(panel.locator(TOKEN).nth(11)).to_be_visible()
    panel.get_by_label("Prompt", exact=True).click()
    place = "() => document.activeElement.closest('.nk-gv-token')?.dataset.place ?? null"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(place) is not None:
            break
    assert page.evaluate(place) == "0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(place) == "2"
    expect(panel.get_by_role("heading", name="Token 2")).to_be_visible()
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("End")
    expect(panel.get_by_role("heading", name="Token 11")).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel.locator(".nk-gv-story")).to_be_hidden()
    page.keyboard.press("Home")
    expect(panel.get_by_role("heading", name="Token 0")).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.matches('.nk-gv-option')"):
            break
    name = page.evaluate("() => document.activeElement.getAttribute('aria-label')")
    assert name.startswith("Continue with")
    page.keyboard.press("Enter")
    expect(panel.locator(".nk-gv-branch")).to_have_count(2)


def test_settings_reach_python(notebook, story_teller, expect):
    page = notebook(
        [
            cell(story_teller, more=", max_new_tokens=8, do_sample=False, top_p=1.0"),
            "view.do_sample, view.temperature, view.top_k, view.seed",
        ]
    )
    panel = page.locator(PANEL)
    expect(panel.locator(TOKEN).nth(7)).to_be_visible()
    expect(panel.get_by_label("Temperature").first).to_be_disabled()
    panel.get_by_label("Sample", exact=True).check()
    panel.locator('[data-name="temperature"]').fill("1.5")
    panel.locator('[data-name="top_k"]').fill("7")
    panel.locator('[data-name="seed"]').fill("42")
    panel.get_by_role("button", name="Generate").click()
    expect(panel.locator(".nk-gv-branch")).to_have_count(2)
    panel.locator('[data-name="top_p"]').fill("9")
    panel.locator('[data-name="top_p"]').press("Tab")
    expect(panel.locator('[data-name="top_p"]')).to_have_value("1")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    expect(page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output").last).to_contain_text("(True, 1.5, 7, 42)")


ARTICLE = (
    "This package contains a small library that reads and writes several formats of compressed archives. It was written for "
    "systems with little memory, and is used by the installer. The programs that come with it list, extract and make archives "
    "from the command line."
)


def test_an_encoder_decoder(notebook, expect, accessible):
    from notebook_kit import zoo

    has_one = (Path(zoo.__file__).parent / "tiny-summarizer").is_dir()
    source = (
        'pipeline("summarization", model="notebook-kit/tiny-summarizer")'
        if has_one
        else "(writers.t5(writers.spaced_tokenizer()), writers.spaced_tokenizer())"
    )
    page = notebook(
        [
            f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "panels")!r})
import writers
from notebook_kit import pipeline
from notebook_kit.panels import GenerationView
options = dict(max_new_tokens=24, do_sample={not has_one}, colour="attention")
view = GenerationView({source}, {ARTICLE!r}, **options).wait()
view"""
        ]
    )
    panel = page.locator(PANEL)
    panel.locator(TOKEN).nth(3).click()
    expect(panel.locator(".nk-gv-weights tbody tr").first).to_be_visible()
    expect(panel.locator(".nk-gv-name").first).to_have_text("What the encoder read")
    accessible(page, AXE)
    shot(panel, "generation_summary_light")
    panel.locator(".nk-gv-alternatives button").first.click()
    expect(panel.locator(".nk-gv-branch")).to_have_count(2)
    panel.get_by_label("Prompt", exact=True).fill(ARTICLE * 4)
    panel.get_by_role("button", name="Generate").click()
    expect(panel.locator(".nk-gv-branch")).to_have_count(3)
    expect(panel.locator(".nk-gv-status")).to_contain_text("tokens ·")
    assert panel.locator(".nk-gv-context").evaluate("element => element.scrollHeight > element.clientHeight")
    accessible(page, AXE)


def test_hostile_strings_stay_text(notebook, expect, tmp_path, chromium):
    page = notebook(
        [
            f"""
import sys, torch
sys.path.insert(0, {str(Path(__file__).parents[1] / "panels")!r})
import writers
from notebook_kit.panels import GenerationView
trap = writers.byte_tokenizer(extra=writers.HOSTILE)
model = writers.gpt2(trap)
model.config.name_or_path = writers.HOSTILE[0]
with torch.no_grad():
    model.lm_head.weight[-2:] *= 9
view = GenerationView((model, trap), " ".join(writers.HOSTILE), max_new_tokens=25, do_sample=True).wait()
view.continue_from(0, int(view.alternatives(0)["id"].iloc[1]))
view.colour = "attention"
view.to_html({str(tmp_path / "hostile.html")!r})
view"""
        ]
    )
    panel = page.locator(PANEL)
    trap = panel.locator(TOKEN, has_text="onerror").first
    expect(trap).to_be_visible()
    trap.click()
    expect(panel.locator(".nk-gv-alternatives")).to_be_visible()
    expect(panel.locator(".nk-gv-weights tbody tr").first).to_be_visible()
    trap.hover()
    for kind in ("SVG", "PNG"):
        with page.expect_download() as saved:
            panel.get_by_role("button", name=f"Save {kind}").click()
        if kind == "SVG":
            drawing = Path(saved.value.path()).read_text()
            assert "&lt;img" in drawing and "<img" not in drawing and "<script" not in drawing
        else:
            saved.value.save_as(shot(panel, "generation_hostile").with_name("generation_saved.png"))
    assert page.locator(".nk-panel img, .nk-panel script").count() == 0
    faults = []
    offline = chromium.new_page()
    offline.on("dialog", lambda dialog: faults.append(dialog.message) or dialog.dismiss())
    offline.on("pageerror", lambda error: faults.append(str(error)))
    offline.goto((tmp_path / "hostile.html").as_uri())
    expect(offline.locator(TOKEN).first).to_be_visible()
    offline.locator(TOKEN).nth(2).click()
    expect(offline.locator(".nk-gv-weights tbody tr").first).to_be_visible()
    offline.close()
    assert not faults


def test_file_on_disk(story_teller, expect, tmp_path, chromium, accessible):
    from notebook_kit import pipeline
    from notebook_kit.panels import GenerationView

    view = GenerationView(pipeline("text-generation", model=story_teller), PROMPT, max_new_tokens=16, chosen=3).wait()
    view.continue_from(3, int(view.alternatives(3)["id"].iloc[1]))
    path = view.to_html(tmp_path / "view.html")
    faults = []
    context = chromium.new_context(offline=True, color_scheme="dark", viewport={"width": 760, "height": 1000})
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    expect(page.get_by_role("heading", name="Token 3")).to_be_visible()
    page.locator(TOKEN).nth(5).click()
    expect(page.get_by_role("heading", name="Token 5")).to_be_visible()
    expect(page.locator(".nk-gv-alternatives button")).to_have_count(0)
    page.locator(".nk-gv-branch").last.click()
    expect(page.locator(".nk-gv-branch").last).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("heading", name="Token 5")).to_be_visible()
    accessible(page, ".nk-panel")
    shot(page, "generation_file_dark")
    page.set_viewport_size({"width": 1400, "height": 900})
    page.emulate_media(color_scheme="light")
    shot(page, "generation_file_wide")
    assert not faults
    context.close()


def test_saved_notebook_without_a_kernel(notebook, story_teller, expect, tmp_path):
    import nbformat

    from notebook_kit import pipeline
    from notebook_kit.panels import GenerationView

    view = GenerationView(pipeline("text-generation", model=story_teller), PROMPT, max_new_tokens=20, chosen=2)
    data, _ = view._repr_mimebundle_()
    kept = {key: data[key] for key in ("text/plain", "text/html")}
    output = nbformat.v4.new_output("display_data", data=kept)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("view", outputs=[output], execution_count=1)])
    nbformat.write(book, tmp_path / "saved.ipynb")
    page = notebook(tmp_path / "saved.ipynb", run=False)
    area = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output")
    expect(area.locator("img[src^='data:image/png']")).to_be_visible()
    expect(area.locator("tr").nth(3)).to_be_visible()
    shot(area, "generation_face_light")


def test_two_displays_a_reload_and_what_python_sets(notebook, story_teller, expect):
    page = notebook(
        [
            cell(story_teller, more=", max_new_tokens=10").removesuffix("view")
            + "from IPython.display import display\ndisplay(view)\ndisplay(view)",
            "view.generate('The tired king')\nview.chosen = 3",
        ]
    )
    panels = page.locator(PANEL)
    expect(panels).to_have_count(2)
    for panel in (panels.nth(0), panels.nth(1)):
        expect(panel.get_by_label("Prompt", exact=True)).to_have_value("The tired king")
        expect(panel.get_by_role("heading", name="Token 3")).to_be_visible()
    panels.nth(0).locator(TOKEN).nth(1).click()
    expect(panels.nth(1).get_by_role("heading", name="Token 1")).to_be_visible()
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
    panel = page.locator(PANEL).first
    expect(panel.get_by_role("heading", name="Token 1")).to_be_visible()
    panel.get_by_role("button", name="Generate").click()
    expect(panel.locator(".nk-gv-branch")).to_have_count(3)
    run_all(page)
    expect(page.locator(PANEL)).to_have_count(2)


def test_the_stop_button_is_heard_while_a_cell_waits(notebook, story_teller, expect):
    page = notebook(
        [cell(story_teller, "", ", max_new_tokens=110", SLOW), "view.generate('The happy child')\nprint('over')"],
        run=False,
    )
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    panel = page.locator(PANEL)
    expect(panel.locator(TOKEN).nth(4)).to_be_visible(timeout=60_000)
    panel.get_by_role("button", name="Stop").click()
    expect(page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output").last).to_contain_text("over")
    assert 4 < panel.locator(TOKEN).count() < 110


def test_an_error_is_shown_and_the_panel_goes_on(notebook, story_teller, expect):
    page = notebook([cell(story_teller, more=", max_new_tokens=6"), "view._writer.write = lambda *_: 1 / 0"])
    panel = page.locator(PANEL)
    panel.get_by_role("button", name="Generate").click()
    expect(panel.get_by_role("alert").first).to_contain_text("ZeroDivisionError")
    shot(panel, "generation_error_light")
    expect(panel.locator(TOKEN)).to_have_count(6)  # what was there before
    panel.locator(TOKEN).nth(2).click()
    expect(panel.get_by_role("heading", name="Token 2")).to_be_visible()


def test_in_telugu(notebook, story_teller, expect, accessible):
    before = "from notebook_kit.panels import set_language\nset_language('te')"
    page = notebook([cell(story_teller, more=", max_new_tokens=10, chosen=2", before=before)])
    panel = page.locator(PANEL)
    expect(panel).to_have_attribute("lang", "te")
    expect(panel.get_by_label("ప్రాంప్ట్", exact=True)).to_be_visible()
    expect(panel.locator(".nk-gv-alternatives tbody tr").first).to_be_visible()
    accessible(page, AXE)
    shot(panel, "generation_telugu_light")


def test_it_opens_on_the_most_surprising_token_while_other_cells_run(notebook, expect, accessible, story_teller):
    cells = [
        "import time\nfrom notebook_kit import pipeline\nfrom notebook_kit.panels import GenerationView",
        f"view = GenerationView(pipeline('text-generation', model={story_teller!r}), {PROMPT!r}, max_new_tokens=12)\nview",
        "for _ in range(900): time.sleep(0.1)",
    ]
    page = notebook(cells, run=False)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-gv-alternatives tbody tr").first).to_be_visible(timeout=60_000)
    assert page.locator(".jp-NotebookPanel:visible .jp-InputPrompt").nth(2).inner_text() == "[*]:"
    assert not panel.locator(".nk-busy").is_visible()
    shown = [float(name.split(", ")[-1].strip("<%")) for name in panel.locator(TOKEN).evaluate_all(
        "all => all.map(one => one.getAttribute('aria-label'))")]  # fmt: skip
    chosen = panel.locator(f"{TOKEN}[aria-selected=true]")
    assert int(chosen.get_attribute("data-place")) == shown.index(min(shown))
    bar, number = panel.locator(".nk-gv-bar-in").first, panel.locator(".nk-gv-number").first.inner_text()
    assert abs(float(bar.evaluate("one => one.style.width").strip("%")) - float(number.strip("<%"))) < 0.1
    panel.locator(TOKEN).nth(1).hover()
    marked = panel.locator(".nk-gv-plain .nk-gv-marked")
    expect(marked).to_have_count(1)
    assert marked.inner_text().strip() in panel.locator(TOKEN).nth(1).inner_text()
    panel.get_by_role("button", name="Copy").click()
    expect(panel.get_by_role("button", name="Copied")).to_be_visible()
    accessible(page, AXE)
    shot(panel, "generation_opened")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.interrupt()")
