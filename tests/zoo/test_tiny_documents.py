"""The embedded checkpoint that answers questions about pages: as it lies there, its card, its answers."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from notebook_kit import AutoModelForDocumentQuestionAnswering, pipeline, zoo
from notebook_kit.recipes.documents import DocumentMaker
from notebook_kit.recipes.tiny_documents import answered_by_baselines, exact_and_f1

NAME = "notebook-kit/tiny-documents"
LIMIT = 3 * 2**20  # bytes
QUESTIONS = {"What is the total?": "158.99", "How much is the muffin?": "23.86", "What is the date?": "04.03.96"}


@pytest.fixture(scope="module")
def card() -> str:
    return (zoo.folder(NAME) / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def invoice() -> list:
    return json.loads(zoo.sample("invoice.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ask():
    return pipeline("document-question-answering", model=NAME, device="cpu")


def test_size():
    assert (zoo.folder(NAME) / "model.safetensors").stat().st_size <= LIMIT
    assert (zoo.folder(NAME) / "page.webp").stat().st_size <= 150_000
    assert AutoModelForDocumentQuestionAnswering.from_pretrained(NAME).dtype == torch.float32


def test_the_reference_gives_the_same_scores(ask, invoice):
    import transformers

    folder = str(zoo.folder(NAME))
    reference = transformers.LayoutLMForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()
    [feature] = ask.preprocess({"question": "What is the total?", "word_boxes": invoice})
    inputs = {name: torch.tensor(np.array(feature[name]))[None] for name in ("input_ids", "token_type_ids", "bbox")}
    with torch.no_grad():
        ours, theirs = ask.model(**inputs), reference(**inputs)
    torch.testing.assert_close(ours.start_logits, theirs.start_logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.end_logits, theirs.end_logits, rtol=1e-3, atol=1e-3)


def test_the_pipeline_answers_with_no_network(monkeypatch, tmp_path, invoice, caplog):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    ask = pipeline("document-question-answering", device="cpu")
    assert f"using the small {NAME}" in caplog.text
    answers = ask(question=list(QUESTIONS), word_boxes=invoice)
    assert [answer[0]["answer"] for answer in answers] == list(QUESTIONS.values())


def test_fresh_pages_are_read_better_than_by_the_baselines(ask):
    pages = [DocumentMaker("test", [None])(seed) for seed in range(10_000, 10_012)]
    asked = [(page, each) for page in pages for each in page.questions]
    answers = ask([{"question": each.question, "word_boxes": page.word_boxes} for page, each in asked])
    exact, f1 = exact_and_f1([answer[0]["answer"] for answer in answers], [page.answer(each) for page, each in asked])
    for baseline in answered_by_baselines(pages).values():
        assert exact > baseline[0]
        assert f1 > baseline[1]


def test_the_card_reports_a_model_better_than_its_baselines(card):
    rows = re.findall(r"^\| (.+) \| \**(0\.\d{3})\** \| \**(0\.\d{3})\** \|$", card, flags=re.MULTILINE)
    (_, ours, _), *baselines = [(name, float(exact), float(f1)) for name, exact, f1 in rows]
    assert len(baselines) == 2
    assert all(ours > exact for _, exact, _ in baselines)
    assert ("less than half" in card) == all(1 - ours < 0.5 * (1 - exact) for _, exact, _ in baselines)


def test_the_card_names_its_data(card):
    assert "license: apache-2.0" in card.split("---")[1]
    assert "--quick`: only useful" not in card
    assert all(wanted in card for wanted in ("Liberation", "OFL", "Aileron", "page.webp"))
