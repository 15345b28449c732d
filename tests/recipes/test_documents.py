"""Pages with questions: that their answers are true."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest

from notebook_kit import zoo
from notebook_kit.recipes import documents, tiny_documents
from notebook_kit.recipes.documents import LAYOUTS, SAMPLES, DocumentMaker, sample_page, write_samples
from notebook_kit.recipes.documents_words import _WORDS, FIELDS


@pytest.mark.parametrize("module", [documents, tiny_documents])
def test_examples_run(module):
    failed, ran = doctest.testmod(module)
    assert failed == 0
    assert ran > 0


@pytest.fixture(scope="module")
def pages():
    return {part: [DocumentMaker(part, [None])(seed) for seed in range(60)] for part in ("train", "test")}


def test_a_page_depends_on_its_seed_alone():
    one, two, other = (DocumentMaker("test", [None])(seed) for seed in (5, 5, 6))
    assert one.word_boxes == two.word_boxes != other.word_boxes


@pytest.mark.parametrize("part", ["train", "test"])
def test_answers_are_values_with_their_labels_nearby(pages, part):
    labels = {question: field.labels for field in FIELDS.values() for question in field.questions}
    checked = 0
    for page in pages[part]:
        assert page.boxes.min() >= 0
        assert page.boxes.max() <= 1000
        assert (page.boxes[:, 2:] >= page.boxes[:, :2]).all()
        for asked in page.questions:
            answer = page.answer(asked)
            assert 1 <= len(answer.split()) <= 4
            if asked.question not in labels:
                continue
            _, top, _, bottom = page.boxes[asked.first]
            others = [row for row in range(len(page.words)) if not asked.first <= row <= asked.last]
            near = [page.words[row] for row in others if page.boxes[row][1] < bottom and page.boxes[row][3] > top - 70]
            starts = {label.split()[0] for label in labels[asked.question]}
            assert starts & {word.rstrip(":") for word in near}, (asked.question, answer, near)
            checked += 1
    assert checked > 100


def test_words_and_layouts_of_tests_are_held_out(pages):
    assert not set(LAYOUTS["train"]) & set(LAYOUTS["test"])
    seen = {word.lower() for page in pages["train"] for word in page.words}
    for kind in ("item", "last", "city", "country", "job"):
        held_out = {word.lower() for word in _WORDS[kind].split("|")[1].split()}
        assert not held_out & seen
        assert held_out & {word.lower() for page in pages["test"] for word in page.words}


def test_the_picture_of_a_page_is_dark_where_its_words_are():
    page = sample_page("invoice")
    pixels = np.asarray(page.image())
    scale = np.array([*page.size, *page.size]) / 1000
    for box in page.boxes:
        left, top, right, bottom = (box * scale).round().astype(int)
        assert pixels[top : bottom + 1, left : right + 1].min() < 128
    assert (pixels > 200).mean() > 0.8


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_the_samples_are_those_of_the_recipe(name, tmp_path):
    write_samples(tmp_path)
    written = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    kept = json.loads(zoo.sample(f"{name}.json").read_text(encoding="utf-8"))
    assert [word for word, _ in written] == [word for word, _ in kept]
    difference = np.array([box for _, box in written]) - np.array([box for _, box in kept])
    assert np.abs(difference).max() <= 6  # other versions of FreeType differ by less than a pixel
