"""Image segmentation gives what the pipeline of `transformers` gives: scores, labels and masks."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from image_helpers import PICTURES, picture, save_detr, save_maskformer, save_segformer, save_vit
from pipeline_helpers import assert_same

from notebook_kit.errors import InputError
from notebook_kit.pipelines import pipeline
from notebook_kit.pipelines.image_segmentation import ImageSegmentationPipeline

SAVE = {"detr": partial(save_detr, head="ForSegmentation"), "maskformer": save_maskformer, "segformer": save_segformer}


@pytest.fixture(scope="module", params=SAVE)
def both(request, tmp_path_factory):
    """Our pipeline over the model and the image processor of `transformers`, and theirs."""
    import transformers

    folder = tmp_path_factory.mktemp(request.param)
    theirs = transformers.pipeline("image-segmentation", SAVE[request.param](folder), device="cpu")
    return ImageSegmentationPipeline(theirs.model, image_processor=theirs.image_processor, device="cpu"), theirs


def as_arrays(answers):
    """Answers with arrays in the place of masks, so that they can be compared."""
    if isinstance(answers, list):
        return [as_arrays(answer) for answer in answers]
    mask = answers["mask"]
    assert mask.mode == "L"
    return {**answers, "mask": np.asarray(mask).tolist()}


def assert_same_segments(ours, theirs):
    assert_same(as_arrays(ours), as_arrays(theirs), within=2e-6)


OPTIONS = [
    {},
    {"threshold": 0.2, "overlap_mask_area_threshold": 0.1},
    {"threshold": 0.2, "mask_threshold": 0.3},
    {"subtask": "semantic"},
    {"subtask": "instance", "threshold": 0.2},
    {"subtask": "panoptic", "threshold": 0.2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_answers_are_those_of_transformers(both, options):
    mine, theirs = both
    if options.get("subtask") in ("instance", "panoptic") and "Segformer" in type(theirs.model).__name__:
        with pytest.raises(InputError, match=rf"does not offer {options['subtask']} segmentation(?s:.*)semantic"):
            mine(PICTURES[0], **options)
        return
    expected = [theirs(image, **options) for image in PICTURES]
    assert_same_segments(mine(PICTURES[0], **options), expected[0])
    assert_same_segments(mine(PICTURES, **options), expected)
    for image, answer in zip(PICTURES, mine(PICTURES, **options), strict=True):
        assert all(found["mask"].size == image.size for found in answer)
    assert any(len(answer) > 1 for answer in expected) or "Segformer" not in type(theirs.model).__name__


@pytest.mark.parametrize("family", SAVE)
def test_a_checkpoint(family, tmp_path):
    import transformers

    name = SAVE[family](tmp_path)
    theirs = transformers.pipeline("image-segmentation", name, device="cpu")
    pipe = pipeline(model=name, device="cpu")
    assert isinstance(pipe, ImageSegmentationPipeline)
    assert pipe.task == "image-segmentation"
    options = {"threshold": 0.2, "overlap_mask_area_threshold": 0.1}
    answers, expected = pipe(PICTURES, **options), [theirs(image, **options) for image in PICTURES]
    assert any(expected)
    for one, two in zip(answers, expected, strict=True):
        assert [found["label"] for found in one] == [found["label"] for found in two]
        for mine, other in zip(one, two, strict=True):
            assert mine["score"] == pytest.approx(other["score"], abs=2e-4)
            # The pixels agree to the last digits of floats, which these large random weights amplify at the borders of masks.
            assert (np.asarray(mine["mask"]) != np.asarray(other["mask"])).mean() < 0.05
    pipe.save_pretrained(tmp_path / "saved")
    again = pipeline(model=str(tmp_path / "saved"), device="cpu")(PICTURES, **options)
    assert as_arrays(again) == as_arrays(answers)


def test_several_segments_per_image(both):
    mine, _ = both
    answers = mine(PICTURES, threshold=0.2, overlap_mask_area_threshold=0.1)
    assert max(len(answer) for answer in answers) >= 3
    for answer in answers:
        total = sum(np.asarray(found["mask"], dtype=int) for found in answer)
        assert np.max(total, initial=0) <= 255, "no pixel is in two segments"


def test_images_of_different_sizes_never_share_a_batch(both):
    mine, _ = both
    groups = [mine.group(mine.features_of(image, {})[0]) for image in (picture(60, 40), picture(90, 40))]
    assert (groups[0] == groups[1]) == ("Segformer" in type(mine.model).__name__)


def test_options_that_cannot_be_used(both, tmp_path):
    import transformers

    mine, _ = both
    with pytest.raises(InputError, match=r"subtask is 'semantc'\. Did you mean 'semantic'"):
        mine(PICTURES[0], subtask="semantc")
    with pytest.raises(InputError, match="mask_threshold is 50, and scores are at most 1"):
        mine(PICTURES[0], mask_threshold=50)
    processor = transformers.AutoImageProcessor.from_pretrained(save_vit(tmp_path))
    with pytest.raises(InputError, match="ViTImageProcessorPil does not offer any segmentation"):
        ImageSegmentationPipeline(mine.model, image_processor=processor, device="cpu")(PICTURES[0])
