"""ModelPicker in a real JupyterLab, against a stand-in Hub that the real client talks to."""

from __future__ import annotations

import json
import re

import pytest
from conftest import set_theme, shot
from standin_hub import StandInHub

pytestmark = pytest.mark.usefixtures("tall")

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="model_picker"]'
AXE = '.jp-NotebookPanel:not(.lm-mod-hidden) .nk-panel[data-panel="model_picker"]'
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"

ODD = """---
license: apache-2.0
language: [en, te]
---
# Sentence vectors

Turns **sentences** into vectors, so that those which mean much the same lie close together. It reads up to 256 pieces of words.

## Uses

Search, grouping, finding doubles."""

# Figures such as the Hub gives; the repositories behind most of them are empty.
LISTED = [
    ("distilbert/distilbert-base-uncased-finetuned-sst-2-english",
     "text-classification", "distilbert", 66_955_010, 4_100_000, 850, "apache-2.0", "en"),
    ("FacebookAI/roberta-large-mnli", "text-classification", "roberta", 355_412_057, 310_000, 190, "mit", "en"),
    ("google-bert/bert-base-multilingual-cased",
     "fill-mask", "bert", 178_566_653, 3_200_000, 540, "apache-2.0", ["multilingual", "te", "hi"]),
    ("deepset/roberta-base-squad2", "question-answering", "roberta", 124_056_578, 920_000, 900, "cc-by-4.0", "en"),
    ("dslim/bert-base-NER", "token-classification", "bert", 107_719_826, 2_600_000, 640, "mit", "en"),
    ("state-spaces/mamba-130m-hf", "text-generation", "mamba", 129_135_360, 88_000, 61, "apache-2.0", "en"),
    ("typeform/distilbert-base-uncased-mnli", "zero-shot-classification", "distilbert", 66_955_779, 77_000, 42, "", "en"),
    ("l3cube-pune/telugu-bert", "fill-mask", "bert", 237_557_760, 900, 5, "cc-by-4.0", "te"),
]  # fmt: skip


@pytest.fixture
def hub(minilm):
    with StandInHub() as hub:
        hub.add("sentence-transformers/all-MiniLM-L6-v2", minilm)
        hub.add("sentence-transformers/all-MiniLM-L6-v2", {"README.md": ODD})
        hub.describe(
            "sentence-transformers/all-MiniLM-L6-v2", pipeline_tag="feature-extraction", downloads=9_800_000, likes=3100,
            lastModified="2026-05-04T00:00:00.000Z", cardData={"license": "apache-2.0", "language": "en"},
            safetensors={"parameters": {"F32": 22_713_216, "I64": 512}, "total": 22_713_728},
        )  # fmt: skip
        for number, (name, task, kind, weights, downloads, likes, licence, language) in enumerate(LISTED):
            config = {"model_type": kind, "id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}
            hub.add(name, {"config.json": json.dumps(config), "README.md": f"# {name}\n\nA model for {task}."})
            hub.describe(
                name, pipeline_tag=task, downloads=downloads, likes=likes, lastModified=f"2026-0{number + 1}-11T00:00:00.000Z",
                cardData={"language": language} | ({"license": licence} if licence else {}), tags=["safetensors"],
                safetensors={"parameters": {"F32": weights}, "total": weights},
            )  # fmt: skip
        yield hub


def first_cell(hub, tmp_path, more=""):
    return f"""
import os
os.environ.pop("HF_HUB_OFFLINE", None)
os.environ.update(HF_ENDPOINT={hub.endpoint!r}, HF_HOME={str(tmp_path / "hf")!r}, HF_HUB_DISABLE_XET="1", NO_PROXY="*")
from notebook_kit import zoo
zoo.ZOO = {{"tiny-sentiment": zoo.ZOO["tiny-sentiment"]}}
from notebook_kit.panels import AttentionView, ModelPicker, TokenInspector
{more}"""


def names(panel):
    return panel.locator(".nk-space .nk-name bdi").all_inner_texts()


def python(page, source):
    """Run one line in a cell of its own below, and give what it shows."""
    return page.evaluate(
        """async source => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            let shown = '';
            const future = kernel.requestExecute({code: `print(${source})`});
            future.onIOPub = message => { shown += message.content.text ?? (message.content.evalue ?? ''); };
            await future.done;
            return shown.trim();
        }""",
        source,
    )


def test_search_look_load_and_try(notebook, hub, tmp_path, expect, accessible):
    page = notebook([first_cell(hub, tmp_path), "picker = ModelPicker()\npicker"])
    panel = page.locator(PANEL)
    expect(panel.get_by_role("row", name="distilbert-base-uncased-finetuned")).to_be_visible()
    assert names(panel)[:3] == [
        "notebook-kit/tiny-sentiment",
        "sentence-transformers/all-MiniLM-L6-v2",
        "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
    ]
    expect(panel.locator(".nk-status")).to_have_text("1 on this machine · 9 from the Hub")
    accessible(page, AXE)
    panel.get_by_role("row", name="all-MiniLM").click()
    expect(panel.locator(".nk-details")).to_contain_text("Turns sentences into vectors")
    expect(panel.locator(".nk-details")).to_contain_text("91")  # megabytes, to the byte now
    accessible(page, AXE)
    panel.get_by_role("row", name="tiny-sentiment").click()
    expect(panel.locator(".nk-labels")).to_contain_text("POSITIVE")
    panel.get_by_role("button", name="Load", exact=True).click()
    box = panel.get_by_label("Text to try")
    expect(box).to_be_visible(timeout=60_000)
    box.fill("A warm and funny film that I would gladly see again.")
    box.press("Enter")
    expect(panel.locator(".nk-bars tr")).to_have_count(2)
    expect(panel.locator(".nk-bars tr").first).to_contain_text("POSITIVE")
    assert python(page, "picker.picked") == "notebook-kit/tiny-sentiment"
    assert python(page, "type(picker.pipeline).__name__") == "TextClassificationPipeline"
    accessible(page, AXE)
    shot(panel, "picker_light")
    set_theme(page, dark=True)
    accessible(page, AXE)
    shot(panel, "picker_dark")
    set_theme(page, dark=False)
    panel.evaluate("element => { element.style.width = '320px'; }")
    expect(panel.locator(".nk-bars tr").first).to_contain_text("POSITIVE")
    assert panel.evaluate("element => element.scrollWidth <= element.clientWidth")
    accessible(page, AXE)
    shot(panel, "picker_narrow")


def test_filters_and_sorting(notebook, hub, tmp_path, expect, accessible):
    page = notebook([first_cell(hub, tmp_path), "picker = ModelPicker('fill-mask')\npicker"])
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-space [role=row]")).to_have_count(2)
    panel.get_by_label("Language").fill("te")
    expect(panel.locator(".nk-status")).to_have_text("0 on this machine · 2 from the Hub")
    panel.get_by_label("Task").select_option("")
    panel.get_by_label("Language").fill("")
    panel.get_by_role("searchbox").fill("roberta")
    assert_soon(page, lambda: names(panel) == ["deepset/roberta-base-squad2", "FacebookAI/roberta-large-mnli"])
    panel.get_by_role("button", name="Model").click()
    expect(panel.get_by_role("columnheader", name="Model")).to_have_attribute("aria-sort", "ascending")
    panel.get_by_role("combobox", name="Size", exact=True).select_option(label="up to 500 MB")
    expect(panel.locator(".nk-space [role=row]")).to_have_count(1)
    panel.get_by_role("combobox", name="Size", exact=True).select_option(label="any size")
    panel.get_by_label("Licence").fill("mit")
    expect(panel.locator(".nk-space [role=row]")).to_have_count(1)
    panel.get_by_role("searchbox").fill("no such model")
    expect(panel.locator(".nk-status")).to_have_text("Nothing found. Try fewer words or filters.")
    accessible(page, AXE)
    shot(panel, "picker_nothing")
    panel.get_by_role("searchbox").fill("")
    panel.get_by_label("Licence").fill("")
    panel.get_by_label("Runs here").check()
    expect(panel.get_by_role("row", name="mamba")).to_have_count(0)
    assert_soon(page, lambda: len(names(panel)) == 9)
    assert python(page, "picker.runs_here, picker.licence == '', len(picker.table())") == "True True 9"


def assert_soon(page, condition, tries=100):
    for _ in range(tries):
        if condition():
            return
        page.wait_for_timeout(50)
    assert condition()


def test_by_keyboard(notebook, hub, tmp_path, expect):
    page = notebook([first_cell(hub, tmp_path), "picker = ModelPicker()\npicker"])
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-space [role=row]")).to_have_count(10)
    panel.get_by_role("searchbox").click()
    page.keyboard.type("minilm")
    expect(panel.locator(".nk-space [role=row]")).to_have_count(1)
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    expect(panel.locator(".nk-space [role=row]")).to_have_count(10)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.getAttribute('role')") == "grid":
            break
    grid = panel.get_by_role("grid")
    expect(grid).to_be_focused()
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(panel.get_by_role("row", name="all-MiniLM")).to_have_attribute("aria-selected", "true")
    active = grid.get_attribute("aria-activedescendant")
    assert panel.locator(f"#{active}").get_attribute("aria-rowindex") == "3"
    page.keyboard.press("End")
    expect(panel.get_by_role("row", name="telugu-bert")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    load = panel.get_by_role("button", name="Load", exact=True)
    expect(load).to_be_focused()
    page.keyboard.press("Enter")
    box = panel.get_by_label("Text to try")
    expect(box).to_be_visible(timeout=60_000)
    for _ in range(20):
        page.keyboard.press("Tab")
        if box.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.type("I love this!")
    page.keyboard.press("Enter")
    expect(panel.locator(".nk-bars tr").first).to_contain_text("POSITIVE")


def test_load_from_the_hub_cancel_and_delete(notebook, hub, tmp_path, expect, accessible):
    name = "sentence-transformers/all-MiniLM-L6-v2"
    hub.fault("model.safetensors", cut_after=20_000_000, stall=60.0, times=None)
    page = notebook([first_cell(hub, tmp_path), "picker = ModelPicker()\npicker"])
    panel = page.locator(PANEL)
    panel.get_by_role("row", name="all-MiniLM").click()
    panel.get_by_role("button", name="Load", exact=True).click()
    expect(panel.locator(".nk-loading")).to_contain_text(re.compile(r"2\d(\.\d)? MB of 9"))  # there it stalls
    accessible(page, AXE)
    shot(panel, "picker_loading")
    assert python(page, "1 + 1") == "2", "the kernel is free meanwhile"
    panel.locator(".nk-loading").get_by_role("button", name="Cancel").click()
    expect(panel.locator(".nk-loading")).to_be_hidden()
    expect(panel.get_by_role("button", name="Load", exact=True)).to_be_enabled()
    hub.faults.clear()
    panel.get_by_role("button", name="Load", exact=True).click()
    box = panel.get_by_label("Text to try")
    expect(box).to_be_visible(timeout=60_000)
    expect(panel.get_by_role("row", name="all-MiniLM")).to_contain_text("cached")
    box.fill("A vector, please.")
    panel.get_by_role("button", name="Try it").click()
    expect(panel.locator(".nk-result")).to_contain_text("384 numbers each")
    assert python(page, "picker.picked") == name
    delete = panel.get_by_role("button", name="Delete from the cache…")
    delete.click()
    keep = panel.get_by_role("button", name="Keep it")
    expect(keep).to_be_focused()
    accessible(page, AXE)
    shot(panel, "picker_delete")
    page.keyboard.press("Escape")
    expect(delete).to_be_focused()
    delete.click()
    panel.get_by_role("button", name="Delete", exact=True).click()
    expect(panel.locator(".nk-status")).to_contain_text("1 on this machine")
    expect(panel.get_by_role("row", name="all-MiniLM")).not_to_contain_text("cached")
    assert not list((tmp_path / "hf" / "hub").glob("models--*"))
    box.fill("It still works.")
    box.press("Enter")
    expect(panel.locator(".nk-result")).to_contain_text("384 numbers each")


def test_offline_and_a_hub_that_comes_back(notebook, hub, tmp_path, expect, accessible):
    hub.fault("/api/models", status=500, times=None)
    page = notebook([first_cell(hub, tmp_path), "picker = ModelPicker()\npicker"])
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-notice")).to_contain_text("answered 500")
    assert names(panel) == ["notebook-kit/tiny-sentiment"]
    python(page, "os.environ.update(HF_HUB_OFFLINE='1')")
    panel.get_by_role("button", name="Try again").click()
    expect(panel.locator(".nk-notice")).to_contain_text("HF_HUB_OFFLINE forbids contacting the Hub.")
    accessible(page, AXE)
    shot(panel, "picker_offline")
    python(page, "os.environ.pop('HF_HUB_OFFLINE')")
    hub.faults.clear()
    panel.get_by_role("button", name="Try again").click()
    expect(panel.locator(".nk-space [role=row]")).to_have_count(10)
    expect(panel.locator(".nk-notice")).to_be_hidden()
    del hub.repositories["dslim/bert-base-NER"]
    panel.get_by_role("row", name="bert-base-NER").click()
    expect(panel.get_by_role("alert")).to_contain_text("dslim/bert-base-NER")
    hub.repositories["sentence-transformers/all-MiniLM-L6-v2"].gated = True
    panel.get_by_role("row", name="all-MiniLM").click()
    expect(panel.locator(".nk-details")).to_contain_text("is gated")
    panel.get_by_role("button", name="Load", exact=True).click()
    expect(panel.get_by_role("alert").filter(has_text="gated")).to_be_visible()
    shot(panel, "picker_gated")


def test_hostile_strings_stay_text(notebook, hub, tmp_path, expect, chromium):
    name = f"bad/{HOSTILE.replace('/', '_')}"
    config = {"model_type": HOSTILE, "id2label": {"0": HOSTILE}}
    hub.add(
        name,
        {
            "config.json": json.dumps(config),
            "README.md": f"---\nlicense: '{HOSTILE}'\n---\n&lt;img src=x onerror=alert(1)&gt; {HOSTILE}",
            HOSTILE.replace("/", "_"): b"x",
        },
    )
    hub.describe(
        name,
        downloads=99_000_000,
        pipeline_tag=HOSTILE,
        cardData={"license": HOSTILE, "language": [HOSTILE]},
        tags=["safetensors"],
        lastModified="2026-01-01T00:00:00.000Z",
    )
    trap = ("from types import SimpleNamespace\npicker = ModelPicker()\n"
            f"hostile = {HOSTILE!r}\n"
            "class Trap:\n    task = 'text-classification'\n    def __call__(self, text, top_k): return [dict(label=hostile, score=0.5)]\n"
            "picker.pipeline, picker._loaded = Trap(), dict(id=hostile, task=hostile, fields=['text'], mask=hostile)\n"
            "picker._problem = dict(what=hostile, next_step=hostile)\n"
            "picker._loading = dict(id=hostile, stage='fetch', done=1, total=2)\n"
            "picker")  # fmt: skip
    page = notebook([first_cell(hub, tmp_path), trap])
    panel = page.locator(PANEL)
    row = panel.get_by_role("row", name="onerror=alert(1)").first
    expect(row).to_be_visible()
    row.click()
    expect(panel.locator(".nk-facts")).to_contain_text("<img src=x")
    panel.get_by_label("Text to try").fill(HOSTILE)
    panel.get_by_label("Text to try").press("Enter")
    expect(panel.locator(".nk-bars")).to_contain_text("<img src=x")
    panel.get_by_role("searchbox").fill(HOSTILE)
    expect(panel.locator(".nk-status")).to_contain_text("Nothing found")
    panel.get_by_role("searchbox").fill("")
    expect(panel.locator(".nk-space [role=row]")).to_have_count(11)
    assert page.locator(".nk-panel img, .nk-panel script").count() == 0
    python(page, f"picker.to_html({str(tmp_path / 'hostile.html')!r})")
    faults = []
    offline = chromium.new_page()
    offline.on("dialog", lambda dialog: faults.append(dialog.message) or dialog.dismiss())
    offline.on("pageerror", lambda error: faults.append(str(error)))
    offline.goto((tmp_path / "hostile.html").as_uri())
    expect(offline.get_by_role("row", name="onerror=alert(1)").first).to_be_visible()
    assert offline.locator(".nk-panel img, .nk-panel script").count() == 0
    offline.close()
    assert not faults


def test_ten_thousand_results(notebook, hub, tmp_path, expect):
    page = notebook([first_cell(hub, tmp_path), "picker = ModelPicker()\npicker"])
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-space [role=row]")).to_have_count(10)
    fill = """from notebook_kit.hub.catalog import FoundModel
_, search = picker._searches.search(picker._query())
search.models += [FoundModel(f"many/model-{n:05}", "hub", downloads=n) for n in range(10_000)]
picker._cache += 1"""
    python(page, f"exec({fill!r})")
    expect(panel.locator(".nk-status")).to_contain_text("10,0")
    assert panel.locator(".nk-space [role=row]").count() < 40
    grid = panel.get_by_role("grid")
    longest = grid.evaluate(
        """async grid => {
            let longest = 0;
            for (let i = 0; i < 60; i++) {
                const start = performance.now();
                grid.scrollTop = (grid.scrollHeight - grid.clientHeight) * i / 60;
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
                longest = Math.max(longest, performance.now() - start);
            }
            return longest;
        }"""
    )
    print(f"longest frame while scrolling 10,000 rows: {longest:.0f} ms")
    assert grid.locator(".nk-space [role=row]").count() < 40
    grid.focus()
    page.keyboard.press("End")
    expect(panel.get_by_role("row", name="many/model-09999")).to_have_attribute("aria-selected", "true")


def test_file_on_disk_and_saved_notebook(
    notebook, hub, tmp_path, expect, chromium, accessible, monkeypatch, one_in_the_zoo
):
    import nbformat

    from notebook_kit.panels import ModelPicker

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    picker = ModelPicker(selected="sentence-transformers/all-MiniLM-L6-v2", cache_dir=tmp_path / "cache")
    picker.table()
    path = picker.to_html(tmp_path / "picker.html")
    context = chromium.new_context(offline=True, color_scheme="dark", viewport={"width": 900, "height": 800})
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    expect(page.locator(".nk-details")).to_contain_text("Turns sentences into vectors")
    expect(page.locator(".nk-space [role=row]")).to_have_count(10)
    accessible(page, ".nk-panel")
    shot(page, "picker_file_dark")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="no running kernel")).to_be_visible()
    page.get_by_role("searchbox").fill("bert")
    page.get_by_label("Runs here").check()
    page.get_by_role("button", name="Model").click()
    assert_soon(page, lambda: names(page)[:2] == ["google-bert/bert-base-multilingual-cased", "dslim/bert-base-NER"])
    assert len(names(page)) == 7
    assert not faults
    context.close()

    data, _ = picker._repr_mimebundle_()
    kept = {key: data[key] for key in ("text/plain", "text/html")}
    output = nbformat.v4.new_output("display_data", data=kept)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("picker", outputs=[output], execution_count=1)])
    nbformat.write(book, tmp_path / "saved.ipynb")
    page = notebook(tmp_path / "saved.ipynb", run=False)
    area = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output")
    expect(area.locator("tr").nth(9)).to_be_visible()
    shot(area, "picker_face_light")


def test_linked_panels_in_telugu(notebook, hub, tmp_path, expect, accessible):
    cells = [
        first_cell(hub, tmp_path, "from notebook_kit.panels import set_language\nset_language('te')"),
        "inspector, view = TokenInspector(text='A warm and funny film.'), AttentionView(text='A warm and funny film.')\n"
        "picker = ModelPicker().link(inspector, view)\n"
        "import ipywidgets\nipywidgets.VBox([picker, inspector, view])",
    ]
    page = notebook(cells)
    panel = page.locator(PANEL)
    panel.get_by_role("row", name="tiny-sentiment").click()
    panel.get_by_role("button", name="లోడ్ చేయి").click()
    expect(page.locator('.jp-NotebookPanel:visible [data-panel="token_inspector"] .nk-face').nth(1)).to_have_text(
        "A", timeout=60_000
    )
    expect(page.locator('.jp-NotebookPanel:visible [data-panel="attention_view"] canvas').first).to_be_visible()
    expect(panel).to_have_attribute("lang", "te")
    accessible(page, AXE)
    shot(panel, "picker_telugu")
    shot(page.locator(".jp-NotebookPanel:visible"), "picker_linked")
    odd = "class Odd: task, tokenizer = 'image-classification', None\npicker.link().pipeline = Odd()\npicker.unlink().link(inspector)"
    python(page, f"exec({odd!r})")
    inspector = page.locator('.jp-NotebookPanel:visible [data-panel="token_inspector"]')
    expect(inspector.get_by_role("alert")).to_contain_text("Odd")
    expect(inspector.locator(".nk-face").nth(1)).to_have_text("A")


def test_two_displays_share_what_is_chosen(notebook, hub, tmp_path, expect):
    page = notebook(
        [
            first_cell(hub, tmp_path),
            "from IPython.display import display\npicker = ModelPicker()\ndisplay(picker)\ndisplay(picker)",
        ]
    )
    panels = page.locator(PANEL)
    expect(panels).to_have_count(2)
    panels.nth(0).get_by_role("row", name="all-MiniLM").click()
    expect(panels.nth(1).locator(".nk-details")).to_contain_text("Turns sentences into vectors")
    panels.nth(0).get_by_role("searchbox").fill("bert")
    expect(panels.nth(1).get_by_role("searchbox")).to_have_value("bert")
    expect(panels.nth(1).locator(".nk-space [role=row]")).to_have_count(7)
    python(page, "setattr(picker, 'text', 'minilm')")
    for number in (0, 1):
        expect(panels.nth(number).locator(".nk-space [role=row]")).to_have_count(1)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets[1].outputArea.model.clear()")
    expect(page.locator(PANEL)).to_have_count(0)


@pytest.mark.parametrize("shown", ["picker", "VBox([picker])"])
def test_the_first_answers_are_there_while_other_cells_run(notebook, expect, shown):
    cells = [
        "import os, time\nos.environ['HF_HUB_OFFLINE'] = '1'\nfrom ipywidgets import VBox\nfrom notebook_kit.panels import ModelPicker",
        f"picker = ModelPicker(selected='notebook-kit/tiny-sentiment')\n{shown}",
        "for _ in range(400):\n    time.sleep(0.1)",
    ]
    page = notebook(cells, run=False)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    panel = page.locator(PANEL)
    expect(panel.get_by_role("row", name="tiny-sentiment")).to_be_visible(timeout=10_000)
    expect(panel.locator(".nk-details")).to_contain_text("POSITIVE")
    page.wait_for_timeout(700)  # the indicator would appear after a quarter of a second
    assert not panel.locator(".nk-busy").is_visible()
    if shown == "picker":
        shot(panel, "picker_busy")
    running = page.locator(".jp-NotebookPanel:visible .jp-InputPrompt").nth(2)
    assert running.inner_text() == "[*]:"
    panel.get_by_role("searchbox").fill("tiny-ner")  # a kernel with subshells answers at once
    expect(panel.get_by_role("row", name="tiny-sentiment")).to_have_count(0, timeout=10_000)
    assert running.inner_text() == "[*]:"
    page.evaluate("() => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.interrupt()")


def test_the_help_opens_closes_and_can_be_read(notebook, expect, accessible):
    page = notebook(
        ["import os\nos.environ['HF_HUB_OFFLINE'] = '1'\nfrom notebook_kit.panels import ModelPicker\nModelPicker()"]
    )
    panel = page.locator(PANEL)
    help_ = panel.get_by_role("button", name="How to read this panel")
    text = panel.get_by_role("region", name="How to read this panel")
    expect(help_).to_have_attribute("aria-expanded", "false")
    help_.press("Enter")
    for heading in ("What you see", "Try this", "Do not conclude that"):
        expect(text.get_by_role("heading", name=heading)).to_be_visible()
    assert help_.get_attribute("aria-controls") == text.get_attribute("id")
    accessible(page, AXE)
    shot(panel, "picker_help")
    set_theme(page, dark=True)
    accessible(page, AXE)
    shot(panel, "picker_help_dark")
    set_theme(page, dark=False)
    panel.evaluate("element => { element.style.width = '320px'; }")
    accessible(page, AXE)
    shot(panel, "picker_help_narrow")
    help_.press("Escape")
    expect(text).to_be_hidden()
    expect(help_).to_be_focused()
