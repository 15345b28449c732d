"""ModelPicker in a real JupyterLab, against a stand-in Hub that the real client talks to."""

from __future__ import annotations

import json

import pytest
from conftest import set_theme, shot
from standin_hub import StandInHub

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
from notebook_kit.panels import AttentionView, ModelPicker, TokenInspector
{more}"""


@pytest.fixture
def expect():
    from playwright.sync_api import expect

    expect.set_options(timeout=20_000)  # the machines that run this are shared
    return expect


@pytest.fixture(autouse=True)
def tall(lab_page):
    """A page tall enough for a panel to be photographed whole."""
    lab_page.set_viewport_size({"width": 1300, "height": 1600})
    yield
    lab_page.set_viewport_size({"width": 1300, "height": 1000})


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
