"""Trying image models in the ModelPicker: samples, uploads, and what is wrong with them."""

from __future__ import annotations

import io
import json

import pytest
from patch_model import picture
from picture_models import build, find_three
from PIL import Image

from notebook_kit import (
    ImageClassificationPipeline,
    ImageFeatureExtractionPipeline,
    ObjectDetectionPipeline,
    pipeline,
    zoo,
)
from notebook_kit.panels import ModelPicker
from notebook_kit.panels.model_picker.contents import LARGEST, samples_for
from notebook_kit.panels.model_picker.trying import fields_of, samples_of


def asker(picker):
    """Ask to try a picture, or what another field holds, as the page does: the answer, and its buffers."""
    sent = []
    picker.send = lambda content, buffers=None: sent.append((content, buffers or []))

    def ask(chosen, *buffers, field="image", **texts):
        sent.clear()
        values = {field: chosen, **texts}
        picker._handle_custom_msg({"nk": "view.1", "ask": "try", "with": {"values": values}}, list(buffers))
        picker._worker.submit(lambda: None).result(60)
        return next(one for one in sent if one[0].get("nk") == "view.1")

    return ask


def picker_with(pipeline):
    picker = ModelPicker()
    picker.workers = 1
    picker.pipeline = pipeline
    return picker


def png(image):
    stream = io.BytesIO()
    image.save(stream, "png")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("family", "task", "columns"),
    [
        ("vit", ImageClassificationPipeline, 2),
        ("yolos", ObjectDetectionPipeline, 3),
        ("vit", ImageFeatureExtractionPipeline, 0),
    ],
)
def test_a_picture_is_tried(family, task, columns):
    model, processor = build(family)
    pipe = task(model, image_processor=processor)
    assert fields_of(pipe) == ["image"]
    samples = samples_of(pipe)
    assert samples and all(Image.open(io.BytesIO(one["thumbnail"])).size[0] <= 96 for one in samples)
    ask = asker(picker_with(pipe))
    if family == "yolos":
        finding = find_three(model)
        finding.__enter__()
    sample, _ = ask({"sample": samples[0]["name"]})
    uploaded, buffers = ask({"file": "sun.png"}, memoryview(png(picture())))
    for answer in (sample, uploaded):
        assert len(answer["answer"]["face"]["header"]) == columns
    assert Image.open(io.BytesIO(buffers[0])).size[0] > 100
    if family == "yolos":
        assert [row[0] for row in uploaded["answer"]["face"]["rows"]] == ["sun", "sky", "meadow"]
        finding.__exit__(None, None, None)


def test_pages_for_questions_about_documents_bring_their_words(monkeypatch):
    monkeypatch.setattr("notebook_kit.pipelines.document_question_answering.read_words", None)  # no Tesseract
    asks = pipeline("document-question-answering", model="notebook-kit/tiny-documents")
    assert [one["label"] for one in samples_of(asks)] == ["invoice", "receipt"]
    ask = asker(picker_with(asks))
    answer, buffers = ask({"sample": "invoice.png"}, question="What is the total?")
    face = answer["answer"]["face"]
    words = dict(json.loads(zoo.sample("invoice.json").read_text(encoding="utf-8")))
    assert set(face["rows"][0][0].split()) <= set(words) and face["note"] == "What is the total?"
    assert Image.open(io.BytesIO(buffers[0])).size[0] > 100
    assert "error" in ask({"sample": "cat.jpg"}, question="What?")[0], "a photograph must be read"


def test_things_to_classify_and_scenes_to_find_things_in():
    things, scenes = (
        [one["label"] for one in samples_for(task)] for task in ("image-classification", "object-detection")
    )
    assert things[:3] == ["airplane", "bus", "cat"] and scenes[:3] == ["scene 1", "scene 2", "scene 3"]


def test_what_cannot_be_tried_is_said_and_the_next_picture_works():
    model, processor = build("vit")
    ask = asker(picker_with(ImageClassificationPipeline(model, image_processor=processor)))
    assert "No picture was chosen" in ask({})[0]["error"]["what"]
    assert (
        ask({"file": "notes.png"}, b"no picture")[0]["error"]["what"] == "notes.png is not a picture that can be read."
    )
    assert "notes.png is not" in ask({"file": "notes.png"}, png(picture())[:200])[0]["error"]["what"]
    assert "at most 8 MiB" in ask({"file": "large.png"}, bytes(LARGEST + 1))[0]["error"]["what"]
    assert "There is no sample" in ask({"sample": "../../etc/passwd"})[0]["error"]["what"]
    assert ask({"file": "sun.png"}, png(picture()))[0]["answer"]["face"]["rows"]
