"""Object detection gives what the pipeline of `transformers` gives."""

from __future__ import annotations

import pytest
import torch
from image_helpers import PICTURES, picture, save_detr
from pipeline_helpers import assert_same

from notebook_kit.errors import InputError
from notebook_kit.pipelines import pipeline
from notebook_kit.pipelines.object_detection import ObjectDetectionPipeline


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    import transformers

    return transformers.pipeline("object-detection", save_detr(tmp_path_factory.mktemp("detr")), device="cpu")


@pytest.fixture(scope="module")
def mine(theirs):
    """Our pipeline over the model and the image processor of `transformers`."""
    return ObjectDetectionPipeline(theirs.model, image_processor=theirs.image_processor, device="cpu")


@pytest.mark.parametrize("options", [{}, {"threshold": 0.7}, {"threshold": 0.0}, {"threshold": 1.0}], ids=str)
def test_answers_are_those_of_transformers(mine, theirs, options):
    expected = [theirs(image, **options) for image in PICTURES]
    assert_same(mine(PICTURES[0], **options), expected[0])
    assert_same(mine(PICTURES, **options), expected)
    assert_same(mine(images=PICTURES[:2], **options), expected[:2])
    counts = {len(answer) for answer in expected}
    assert (
        counts == {0}
        if options == {"threshold": 1.0}
        else counts == {8}
        if options == {"threshold": 0.0}
        else len(counts) > 1
    )
    assert all(type(edge) is int for answer in mine(PICTURES) for found in answer for edge in found["box"].values())


def test_a_checkpoint(tmp_path, theirs):
    pipe = pipeline(model=save_detr(tmp_path), device="cpu")
    assert isinstance(pipe, ObjectDetectionPipeline)
    assert pipe.task == "object-detection"
    # The pixels agree to the last digits of floats, which these large random weights amplify.
    assert_same(pipe(PICTURES), [theirs(image) for image in PICTURES], within=2e-4)
    pipe.save_pretrained(tmp_path / "saved")
    assert_same(pipeline(model=str(tmp_path / "saved"), device="cpu")(PICTURES), pipe(PICTURES))


def test_images_of_one_size_share_a_batch(mine, theirs):
    images = [picture(60, 40, seed=i) for i in range(4)]
    shapes = []
    forward = theirs.model.forward
    theirs.model.forward = lambda pixel_values, **inputs: (
        shapes.append(tuple(pixel_values.shape)) or forward(pixel_values=pixel_values, **inputs)
    )
    try:
        answers = mine(images)
    finally:
        theirs.model.forward = forward
    assert shapes == [(4, 3, 40, 60)]
    assert_same(answers, [theirs(image) for image in images], within=1e-4)


def test_padded_images(mine):
    """Convolutions see the padding, so answers are close to those of images alone only where the model is smooth."""
    padding = ObjectDetectionPipeline(mine.model, image_processor=mine.image_processor, device="cpu", pad=True)
    images = [picture(60, 40), picture(64, 40, seed=1), picture(40, 60, seed=2)]
    features = [padding.features_of(image, {})[0] for image in images]
    batch = padding.collate(features[:2])
    assert batch["pixel_values"].shape == (2, 3, 40, 64)
    assert batch["pixel_mask"].sum(dim=(1, 2)).tolist() == [60 * 40, 64 * 40]
    with torch.inference_mode():
        padded = mine.model(**batch)
    expected = mine.image_processor.post_process_object_detection(padded, 0.0, [(40, 60), (40, 64)])
    answers = padding(images, threshold=0.0)
    for answer, values in zip(answers, expected, strict=False):
        assert [found["score"] for found in answer] == pytest.approx(values["scores"].tolist(), abs=1e-5)
        assert [list(found["box"].values()) for found in answer] == values["boxes"].int().tolist()
    assert_same(answers[2], mine(images[2], threshold=0.0))


def test_options_that_cannot_be_used(mine):
    with pytest.raises(InputError, match="threshold is 'high'"):
        mine(PICTURES[0], threshold="high")
    for impossible in (50, float("nan")):
        with pytest.raises(InputError, match="scores are at most 1"):
            mine(PICTURES[0], threshold=impossible)
    with pytest.raises(InputError, match="Did you mean 'threshold'"):
        mine(PICTURES[0], treshold=0.5)
