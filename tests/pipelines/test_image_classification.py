"""Image classification and feature extraction give what the pipelines of `transformers` give."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from image_helpers import LABELS, PICTURES, picture, save_vit
from pipeline_helpers import assert_same, ours

import notebook_kit
from notebook_kit.errors import InputError
from notebook_kit.pipelines import ImageClassificationPipeline, ImageFeatureExtractionPipeline, KeyDataset, pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_vit(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def both(folder):
    import transformers

    return ours("image-classification", folder), transformers.pipeline("image-classification", folder, device="cpu")


# Answers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 1}, {"top_k": 50}, {"top_k": None}]
    + [{"function_to_apply": function} for function in ("softmax", "sigmoid", "none", "SIGMOID")],
    ids=str,
)
def test_answers_are_those_of_transformers(both, options):
    mine, theirs = both
    assert_same(mine(PICTURES[0], **options), theirs(PICTURES[0], **options))
    expected = [theirs(image, **options) for image in PICTURES]
    assert_same(mine(PICTURES, **options), expected)
    assert_same(list(mine((image for image in PICTURES), batch_size=2, **options)), expected)
    assert len({str(answer[0]) for answer in expected}) == len(expected)


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_the_kind_of_problem_decides_on_the_function(tmp_path, problem):
    import transformers

    folder = save_vit(tmp_path, problem_type=problem)
    theirs = transformers.pipeline("image-classification", folder, device="cpu")
    assert_same(ours("image-classification", folder)(PICTURES), theirs(PICTURES))


def test_one_label(tmp_path):
    import transformers

    folder = save_vit(tmp_path, id2label={0: "cat"})
    theirs = transformers.pipeline("image-classification", folder, device="cpu")
    assert_same(ours("image-classification", folder)(PICTURES), theirs(PICTURES))


def test_files_and_arrays(both, tmp_path):
    mine, theirs = both
    paths = []
    for i, image in enumerate(PICTURES[:3]):
        paths.append(str(tmp_path / f"{i}.png"))
        image.save(paths[-1])
    expected = theirs(paths)
    assert_same(mine(paths), expected)
    assert_same(mine(images=paths), expected)
    assert_same(mine([np.asarray(image) for image in PICTURES[:3]]), expected)
    assert_same(list(mine(KeyDataset([{"image": path} for path in paths], "image"))), expected)
    assert_same(mine(paths[0]), expected[0])


def test_a_rotated_photograph(both, tmp_path):
    from PIL import Image

    mine, theirs = both
    image = picture(60, 30, seed=8)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned
    image.save(tmp_path / "turned.png", exif=exif)
    expected = theirs(str(tmp_path / "turned.png"))
    assert_same(mine(str(tmp_path / "turned.png")), expected)
    assert_same(mine(Image.open(tmp_path / "turned.png")), expected)


def test_options_that_cannot_be_used(both):
    mine, _ = both
    with pytest.raises(InputError, match=r"function_to_apply is 'softmx'\. Did you mean 'softmax'"):
        mine(PICTURES[0], function_to_apply="softmx")
    with pytest.raises(InputError, match="top_k is 0"):
        mine(PICTURES[0], top_k=0)
    with pytest.raises(InputError, match="Did you mean 'timeout'"):
        mine(PICTURES[0], timout=1)


# Creation -------------------------------------------------------------------------------------------------------------


def test_the_task_is_read_from_the_checkpoint(folder, tmp_path):
    pipe = pipeline(model=folder, device="cpu")
    assert isinstance(pipe, ImageClassificationPipeline)
    assert pipe.task == "image-classification"
    assert pipe.tokenizer is None
    again = pipeline(model=pipe.model, device="cpu")
    assert again.task == "image-classification"
    assert_same(again(PICTURES[0]), pipe(PICTURES[0]))
    bare = pipeline(model=save_vit(tmp_path, "Model"), device="cpu")
    assert isinstance(bare, ImageFeatureExtractionPipeline)
    with pytest.raises(InputError, match="ViTForImageClassification cannot do text-classification"):
        pipeline("text-classification", model=pipe.model)


def test_the_image_processor_is_passed_by_name_or_as_an_object(folder, tmp_path):
    import transformers

    expected = ours("image-classification", folder)(PICTURES)
    alone = Path(shutil.copytree(folder, tmp_path / "alone"))
    (alone / "preprocessor_config.json").unlink()
    with pytest.raises(notebook_kit.errors.NotebookKitError, match=r"processor"):
        pipeline("image-classification", str(alone), device="cpu")
    loaded = notebook_kit.AutoImageProcessor.from_pretrained(folder)
    theirs = transformers.AutoImageProcessor.from_pretrained(folder)
    for processor in (folder, Path(folder), (folder, {}), loaded, theirs):
        for name in ("image_processor", "feature_extractor"):
            pipe = pipeline("image-classification", str(alone), device="cpu", **{name: processor})
            assert_same(pipe(PICTURES), expected)
            assert pipe.image_processor is not None
            assert pipe.feature_extractor is None
    model = notebook_kit.ViTForImageClassification.from_pretrained(folder)
    with pytest.raises(InputError, match="image_processor is 5, of the type int"):
        pipeline("image-classification", model=model, image_processor=5)
    assert_same(ImageClassificationPipeline(model, feature_extractor=loaded, device="cpu")(PICTURES), expected)


def test_a_model_of_transformers_works_too(folder, both):
    import transformers

    model = transformers.ViTForImageClassification.from_pretrained(folder)
    pipe = pipeline("image-classification", model=model, image_processor=folder, device="cpu")
    assert_same(pipe(PICTURES), both[0](PICTURES))


def test_save_and_load(both, tmp_path):
    import transformers

    mine, theirs = both
    mine.save_pretrained(tmp_path)
    assert_same(pipeline(model=str(tmp_path), device="cpu")(PICTURES), mine(PICTURES))
    again = transformers.pipeline("image-classification", str(tmp_path), device="cpu")
    assert_same(again(PICTURES), theirs(PICTURES))


def test_the_usual_checkpoints_are_those_of_transformers():
    from transformers.pipelines import SUPPORTED_TASKS

    from notebook_kit.registry.tasks import TASKS

    images = [task for task, line in TASKS.items() if line.modality == "image"]
    assert {"image-classification", "image-feature-extraction"} <= set(images)
    assert TASKS["image-to-text"].model == "ydshieh/vit-gpt2-coco-en"  # of transformers 4, before 5 left the task out
    for task in set(images) & set(SUPPORTED_TASKS):
        assert TASKS[task].model == SUPPORTED_TASKS[task]["default"]["model"][0]
        assert notebook_kit.PIPELINE_REGISTRY.check_task(task)[1]["type"] == "image"


def test_a_custom_pipeline_in_the_form_of_transformers_gets_an_image_processor(folder):
    class Largest(notebook_kit.Pipeline):
        def _sanitize_parameters(self, **kwargs):
            return {}, {}, {}

        def preprocess(self, image):
            return self.image_processor(image, return_tensors="pt")

        def _forward(self, model_inputs):
            return self.model(**model_inputs)

        def postprocess(self, model_outputs):
            return self.model.config.id2label[int(model_outputs.logits[0].argmax())]

    pipe = pipeline("image-classification", folder, pipeline_class=Largest, device="cpu")
    expected = [answer[0]["label"] for answer in ours("image-classification", folder)(PICTURES[:3])]
    assert pipe(PICTURES[:3]) == expected
    assert set(expected) <= set(LABELS.values())


# Feature extraction ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"pool": True}, {"return_tensors": True}, {"pool": True, "return_tensors": True}]
)
def test_features_are_those_of_transformers(tmp_path, options):
    import transformers

    folder = save_vit(tmp_path, "Model")
    theirs = transformers.pipeline("image-feature-extraction", folder, device="cpu")
    mine = ours("image-feature-extraction", folder)
    assert_same(mine(PICTURES[0], **options), theirs(PICTURES[0], **options))
    assert_same(mine(PICTURES, **options), [theirs(image, **options) for image in PICTURES])
    if "return_tensors" in options:
        assert isinstance(mine(PICTURES[0], **options), torch.Tensor)


def test_arguments_of_the_image_processor(tmp_path):
    import transformers

    folder = save_vit(tmp_path, "Model")
    further = {"image_processor_kwargs": {"do_normalize": False}}
    theirs = transformers.pipeline("image-feature-extraction", folder, device="cpu", **further)
    mine = ours("image-feature-extraction", folder)
    assert_same(mine(PICTURES, **further), [theirs(image) for image in PICTURES])
    assert_same(ours("image-feature-extraction", folder, **further)(PICTURES), mine(PICTURES, **further))


def test_a_model_without_a_pooler(tmp_path):
    model = notebook_kit.ViTModel(notebook_kit.AutoConfig.from_pretrained(save_vit(tmp_path)), add_pooling_layer=False)
    pipe = pipeline("image-feature-extraction", model=model, image_processor=str(tmp_path), device="cpu")
    with pytest.raises(InputError, match="ViTModel returns no pooled output"):
        pipe(PICTURES[0], pool=True)
