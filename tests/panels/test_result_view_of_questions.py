"""`show` for answers to questions about pictures and pages, for captions, and trying such models in the ModelPicker."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from patch_model import picture
from PIL import Image
from test_attention_of_words_and_pictures import RECEIPT
from test_model_picker_pictures import asker, picker_with

from notebook_kit import pipeline
from notebook_kit.errors import InputError
from notebook_kit.panels import ResultView, show
from notebook_kit.panels.model_picker.trying import fields_of, samples_of

TINY_VILT = Path(__file__).parents[1] / "pipelines" / "data" / "tiny-vilt"


def item(view):
    return view.answer_item({"index": view.index})


@pytest.fixture(scope="module")
def answers():
    return pipeline("visual-question-answering", model=TINY_VILT)


def test_answers_about_a_picture_are_bars_beside_it_and_the_question(answers):
    view = answers.show(picture(), "how many ducks?", top_k=2)
    answer = item(view)
    assert answer.values["kind"] == "scores" and answer.values["question"] == "how many ducks?"
    assert [one["label"] for one in answer.values["things"]] == [one["answer"] for one in view.result]
    assert Image.open(io.BytesIO(answer.buffers[0])).size == (480, 320) and view.figure() is not None
    assert "how many ducks?" in view.face().note and view.face().rows[0][0] == view.result[0]["answer"]
    several = answers.show(picture(), ["how many ducks?", "is there a lion?"])
    several.index = 1
    assert item(several).values["question"] == "is there a lion?"


def test_answers_are_boxes_on_their_page():
    asked = {"question": "What is the total?", "word_boxes": RECEIPT}
    result = [
        {"score": 0.9, "answer": "12", "start": 3, "end": 3, "words": [3]},
        {"score": 0.05, "answer": "Total 12", "start": 2, "end": 3, "words": [2, 3]},
        {"score": 0.01, "answer": "", "start": 0, "end": 0, "words": []},
    ]
    answer = item(show(result, asked))
    assert answer.values["kind"] == "boxes" and answer.values["question"] == asked["question"]
    assert answer.values["is_page"], "boxes without labels, which would cover the words of the page"
    assert [one["box"] for one in answer.values["things"]] == [
        pytest.approx([0.2, 0.9, 0.24, 0.92], abs=1e-3),
        pytest.approx([0.1, 0.9, 0.24, 0.92], abs=1e-3),
    ]
    page = Image.new("RGB", (200, 300), "white")
    assert item(show(result[:1], {**asked, "image": page})).values["size"] == [200, 300]
    without_boxes = item(show(result[:1], {"image": page, "question": "What?"}))
    assert without_boxes.values["kind"] == "scores" and without_boxes.values["things"][0]["label"] == "12"


def test_labels_in_any_script_are_drawn_without_warnings():
    """Characters without a font are boxes in the picture; \U0001fae9 is too new for most fonts."""
    found = [{"label": "పిల్లి \U0001fae9", "score": 0.7}, {"label": "cat", "score": 0.3}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        face = show(found, picture()).face()
    assert face.rows[0][0] == found[0]["label"] and len(face.png) > 1000


def test_a_caption_is_under_its_picture():
    view = show([{"generated_text": " a sun over a meadow"}], picture())
    answer = item(view)
    assert answer.values["kind"] == "captions" and answer.values["things"][0]["label"] == "a sun over a meadow"
    assert view.face().rows == [["a sun over a meadow"]] and view.face().png and len(answer.buffers) == 1


def test_each_word_of_a_caption_has_its_map():
    describes = pipeline("image-to-text", model="notebook-kit/tiny-captions")
    view = describes.show([picture(), picture().rotate(90)])
    assert [one["ask"] for one in view._first["answers"]] == ["item", "origins", "item"], "of the one that is shown"
    answer = view.answer_origins({"index": 1})
    [found], [maps] = answer.values["origins"], answer.buffers
    caption = view.result[1][0]["generated_text"]
    assert item(view).values["has_origins"] and len(maps) == len(found["spans"]) * np.prod(found["shape"])
    assert [caption[start:end] for start, end in found["spans"]] == caption.replace(",", "").split()
    assert np.frombuffer(maps, np.uint8).reshape(len(found["spans"]), -1).max(1).min() == 255, "each at its own scale"
    word = view.shown().origins(0).words[view.shown().origins(0).sharpest]
    assert f"“{word}”" in view.face().note and len(view.figure().axes) == 3, "caption, map, scale"
    assert {kind for kind, _ in view.offline_questions()} == {"item", "origins"}
    alone = show(view.result[0], picture())
    assert not item(alone).values["has_origins"]
    with pytest.raises(InputError, match="no words with attention"):
        alone.answer_origins({"index": 0})


def test_a_caption_without_words_is_shown_without_maps():
    describes = pipeline("image-to-text", model="notebook-kit/tiny-captions")
    view = ResultView([{"generated_text": ""}], picture(), pipeline=describes)
    assert view.answer_origins({"index": 0}).values == {"origins": [None]} and view.face().png


def test_a_question_about_a_picture_is_tried(answers):
    assert fields_of(answers) == ["image", "question"] and samples_of(answers)[0]["name"].startswith("scene")
    ask = asker(picker_with(answers))
    sample = {"sample": samples_of(answers)[0]["name"]}
    answer, buffers = ask(sample, question="how many ducks?")
    face = answer["answer"]["face"]
    assert face["pictured"] and len(face["rows"]) == 5 and face["note"] == "how many ducks?" and len(buffers) == 1
    assert ask(sample, question=" ")[0]["error"]["what"] == "The input is empty."
