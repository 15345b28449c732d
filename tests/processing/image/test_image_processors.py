"""The image processors against the oracle's, which without torchvision are its `...Pil` classes."""

from __future__ import annotations

import importlib
import itertools
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import notebook_kit
from notebook_kit import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor, BaseImageProcessor, ViTImageProcessor
from notebook_kit.errors import CheckpointError, InputError, NotebookKitWarning, UnknownArchitectureError

PLAIN = {
    "ViT": "vit",
    "DeiT": "deit",
    "Bit": "bit",
    "CLIP": "clip",
    "ConvNext": "convnext",
    "Blip": "blip",
    "Siglip": "siglip",
}
SIZES = [(31, 57), (480, 640), (333, 250), (64, 64), (5, 7)]
LEVEL = 1 / 255 + 1e-6


def images(sizes=SIZES, seed=0) -> list[Image.Image]:
    """Smooth pictures with noise: (height, width) each."""
    rng = np.random.default_rng(seed)
    drawn = []
    for height, width in sizes:
        waves = np.sin(np.arange(height)[:, None, None] / 9 + np.arange(width)[None, :, None] / 7 + np.arange(3))
        drawn.append(Image.fromarray((127 + 90 * waves + rng.normal(0, 12, waves.shape)).clip(0, 255).astype(np.uint8)))
    return drawn


def pair(name: str, **settings):
    """Our processor and the oracle's."""
    module = importlib.import_module(f"transformers.models.{PLAIN[name]}.image_processing_pil_{PLAIN[name]}")
    ours = getattr(notebook_kit, f"{name}ImageProcessor")(**settings)
    return ours, getattr(module, f"{name}ImageProcessorPil")(**settings)


def assert_alike(ours, theirs, level: float = LEVEL):
    """The same shapes, and values that differ by less than a level of 8 bits (rescaled)."""
    ours, theirs = list(ours["pixel_values"]), list(theirs["pixel_values"])
    assert [tuple(image.shape) for image in ours] == [tuple(image.shape) for image in theirs]
    for our_image, their_image in zip(ours, theirs, strict=True):
        assert str(our_image.dtype) == str(their_image.dtype)
        difference = np.abs(np.asarray(our_image, np.float64) - np.asarray(their_image, np.float64))
        assert difference.max() <= level


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("kind", ["pt", "np", None])
def test_as_the_oracle(name, kind):
    ours, theirs = pair(name)
    assert_alike(ours(images(), return_tensors=kind), theirs(images(), return_tensors=kind), 1e-6)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("resample", Image.Resampling)
def test_every_filter(name, resample):
    size = {"shortest_edge": 61} if name == "ConvNext" else {"height": 61, "width": 47}
    options = {"size": size, "resample": resample}
    ours, theirs = pair(name)
    assert_alike(ours(images(), **options), theirs(images(), **options), 1e-6)
    assert_alike(ours(images(), **{**options, "resample": resample.name.lower()}), theirs(images(), **options), 1e-6)


@pytest.mark.parametrize("name", PLAIN)
def test_every_switch(name):
    ours, theirs = pair(name)
    some = images([(31, 57), (70, 90)])
    switches = ["do_resize", "do_rescale", "do_normalize", "do_center_crop", "do_convert_rgb"]
    for values in itertools.product([True, False], repeat=len(switches)):
        options = {**dict(zip(switches, values, strict=True)), "size": 61, "crop_size": 40}
        assert_alike(
            ours(some, **options), theirs(some, **options), 1e-3
        )  # values up to 1,000 where nothing is rescaled


FORMS_OF_SIZE = [
    {"height": 30, "width": 41},
    {"shortest_edge": 37},
    {"shortest_edge": 37, "longest_edge": 50},
    {"shortest_edge": 50, "longest_edge": 50},
    {"max_height": 40, "max_width": 60},
    33,
    [20, 30],
]


@pytest.mark.parametrize("size", FORMS_OF_SIZE, ids=str)
@pytest.mark.parametrize("name", ["ViT", "Bit"])
def test_forms_of_a_size(name, size):
    ours, theirs = pair(name, size=size)
    assert ours.size == dict(theirs.size)
    some = images([*SIZES, (37, 90), (90, 37), (50, 50), (10, 300)])
    options = {"do_center_crop": False}
    assert_alike(ours(some, **options), theirs(some, **options), 1e-6)
    assert_alike(ours(some, size=size, **options), theirs(some, size=size, **options), 1e-6)


def test_sizes_that_the_oracle_has_no_class_for():
    processor = BaseImageProcessor(do_resize=True)
    [image] = images([(300, 400)])

    def shape(size):
        return processor(image, size=size).pixel_values[0].shape[1:]

    assert shape({"longest_edge": 200}) == (150, 200)
    assert shape({"max_pixels": 30_000}) == (150, 200)
    assert shape({"max_pixels": 10**6}) == (300, 400)
    assert shape({"min_pixels": 480_000, "max_pixels": 10**6}) == (600, 800)
    assert processor(images([(1, 900)]), size={"longest_edge": 9}).pixel_values[0].shape[1:] == (1, 9)


@pytest.mark.parametrize("crop", [(20, 20), (300, 300), (31, 400), (32, 58), (33, 56), (501, 7)])
def test_crops_larger_and_smaller_than_the_image(crop):
    ours, theirs = pair("DeiT", do_resize=False, crop_size={"height": crop[0], "width": crop[1]})
    assert_alike(ours(images()), theirs(images()), 1e-6)


@pytest.mark.parametrize("edge", [10, 61, 383, 384, 400])
def test_the_two_rules_of_convnext(edge):
    ours, theirs = pair("ConvNext", size={"shortest_edge": edge}, crop_pct=0.9)
    assert_alike(ours(images()), theirs(images()), 1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("layout", ["last", "first"])
def test_arrays_and_tensors(dtype, layout):
    ours, theirs = pair("ViT", size=40)
    arrays = [np.asarray(image).astype(dtype) for image in images()]
    if layout == "first":
        arrays = [array.transpose(2, 0, 1) for array in arrays]
    expected = theirs(arrays)
    assert_alike(ours(arrays), expected)
    assert_alike(ours([torch.from_numpy(array.copy()) for array in arrays]), expected)
    assert_alike(ours(arrays, input_data_format=f"channels_{layout}"), expected)
    same = np.stack([arrays[3], arrays[3]])
    assert_alike(ours(same), theirs(same))


@pytest.mark.parametrize("do_resize", [True, False])
def test_floats_between_0_and_1(do_resize):
    ours, theirs = pair("ViT", size=40, do_resize=do_resize)
    arrays = [(np.asarray(image) / 255).astype(np.float32) for image in images()]
    assert_alike(ours(arrays, do_rescale=False), theirs(arrays, do_rescale=False), 2 * LEVEL)  # after (x - 0.5) / 0.5
    with pytest.warns(NotebookKitWarning, match="do_rescale=False"):
        assert_alike(ours(arrays), theirs(arrays))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV"])
@pytest.mark.parametrize("name", ["Bit", "CLIP"])
def test_modes(name, mode):
    [image] = images([(40, 50)])
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    elif mode == "LA":
        image = image.convert("L")
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    else:
        image = image.convert("L").convert(mode) if mode == "PA" else image.convert(mode)
    ours, theirs = pair(name)
    assert_alike(ours(image), theirs(image), 1e-6)


def test_grey_images_where_the_settings_do_not_say():
    processor = ViTImageProcessor(size=20)
    grey = images()[0].convert("L")
    expected = processor(grey.convert("RGB")).pixel_values
    for given in (grey, np.asarray(grey), np.asarray(grey)[..., None], np.asarray(grey)[None]):
        np.testing.assert_array_equal(processor(given).pixel_values, expected)
    one = ViTImageProcessor(size=20, image_mean=[0.5], image_std=[0.5])
    assert one(grey).pixel_values[0].shape == one(images()[0]).pixel_values[0].shape == (1, 20, 20)
    with pytest.raises(InputError, match="1 channels"):
        processor(grey, do_convert_rgb=False)


def test_one_image_lists_and_nested_lists():
    processor = ViTImageProcessor(size=20)
    some = images()
    expected = processor(some, return_tensors="np").pixel_values
    for given in ([some[:2], some[2:]], tuple(some), (image for image in some), [[image] for image in some]):
        np.testing.assert_array_equal(processor(given, return_tensors="np").pixel_values, expected)
    np.testing.assert_array_equal(processor(some[0], return_tensors="np").pixel_values, expected[:1])


def test_paths_and_bytes(tmp_path):
    processor = ViTImageProcessor(size=20)
    images()[0].save(tmp_path / "a.png")
    expected = processor(images()[0], return_tensors="np").pixel_values
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()):
        np.testing.assert_array_equal(processor([given], return_tensors="np").pixel_values, expected)
        np.testing.assert_array_equal(processor(given, return_tensors="np").pixel_values, expected)


def test_layout_of_the_result_and_padding():
    processor = ViTImageProcessor(size=20)
    assert processor(images(), data_format="channels_last", return_tensors="pt").pixel_values.shape == (5, 20, 20, 3)
    batch = processor(images(SIZES[:2]), do_resize=False, do_pad=True, return_tensors="np").pixel_values
    assert batch.shape == (2, 3, 480, 640) and not batch[0, :, 31:].any() and batch[0, :, :31, :57].any()
    one = processor(images(SIZES[:1]), do_resize=False, do_pad=True, pad_size={"height": 40, "width": 60})
    assert one.pixel_values[0].shape == (3, 40, 60)
    with pytest.raises(InputError, match="does not fit into pad_size"):
        processor(images(SIZES[:1]), do_resize=False, do_pad=True, pad_size=40)


def test_sizes_that_differ_cannot_become_a_tensor():
    processor = ViTImageProcessor(do_resize=False)
    assert len(processor(images()).pixel_values) == 5
    with pytest.raises(InputError, match="5 different sizes"):
        processor(images(), return_tensors="pt")


@pytest.mark.parametrize("kind", ["tensorflow", "jax", "torch", 3])
def test_unknown_kinds_of_tensors(kind):
    with pytest.raises(InputError, match="return_tensors"):
        ViTImageProcessor()(images(), return_tensors=kind)


def test_threads_change_nothing(monkeypatch):
    processor = ViTImageProcessor(size=50)
    alone = processor(images(), return_tensors="np").pixel_values
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    np.testing.assert_array_equal(processor(images(), return_tensors="np").pixel_values, alone)
    with pytest.raises(InputError, match=r"Image 2 of 4 \(counted from 0\): There is no file 'none\.png'"):
        processor([*images()[:2], "none.png", "none.jpg"])


# Settings and files


@pytest.mark.parametrize("name", PLAIN)
def test_files_go_back_and_forth(name, tmp_path):
    ours, theirs = pair(name)
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    some = images()
    assert_alike(type(ours).from_pretrained(tmp_path / "theirs")(some), theirs(some), 1e-6)
    assert_alike(ours(some), type(theirs).from_pretrained(tmp_path / "ours")(some), 1e-6)
    loaded = AutoImageProcessor.from_pretrained(tmp_path / "ours")
    assert type(loaded) is type(ours) and loaded.to_dict() == ours.to_dict()


def test_unknown_keys_are_kept(tmp_path):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(
        json.dumps({"image_processor_type": "ViTImageProcessor", "glue": [1, {"a": None}], "preprocess": 3})
    )
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert processor.glue == [1, {"a": None}]
    assert processor(images()[0]).pixel_values[0].shape == (3, 224, 224)
    saved = json.loads(path.read_text()) | json.loads(processor.to_json_string())
    assert saved["glue"] == [1, {"a": None}] and saved["preprocess"] == 3
    with pytest.raises(AttributeError, match="image_mean"):
        processor.image_maen  # noqa: B018


OLD_FILES = {
    "a number and an old class": (
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 384, "do_resize": True},
        "ViTImageProcessor",
        {"height": 384, "width": 384},
    ),
    "a class for torchvision": ({"image_processor_type": "ViTImageProcessorFast"}, "ViTImageProcessor", None),
    "the shortest edge as a number": (
        {"feature_extractor_type": "CLIPFeatureExtractor", "size": 336, "crop_size": 336},
        "CLIPImageProcessor",
        {"shortest_edge": 336},
    ),
    "no class": ({"size": 224, "model_type": "swin"}, "ViTImageProcessor", {"height": 224, "width": 224}),
}


@pytest.mark.parametrize("file", OLD_FILES)
def test_old_files(file, tmp_path):
    content, name, size = OLD_FILES[file]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": content.pop("model_type", "bert")}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    for auto in (AutoImageProcessor, AutoFeatureExtractor, AutoProcessor):
        processor = auto.from_pretrained(tmp_path)
        assert type(processor).__name__ == name and size in (None, processor.size)


def test_processor_config_goes_first(tmp_path):
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"image_processor": {"image_processor_type": "ViTImageProcessor", "size": 30}})
    )
    assert AutoImageProcessor.from_pretrained(tmp_path).size == {"height": 30, "width": 30}
    ViTImageProcessor(size=40).save_pretrained(tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path).size == {"height": 30, "width": 30}
    assert AutoImageProcessor.from_pretrained(tmp_path / "preprocessor_config.json").size["height"] == 40


def test_checkpoints_that_cannot_be_used(tmp_path):
    with pytest.raises(CheckpointError, match=r"no preprocessor_config\.json"):
        AutoImageProcessor.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json or tokenizer\.json"):
        AutoProcessor.from_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    for content, error, words in [
        ('{"image_processor_type": "ViTImageProcesor"}', UnknownArchitectureError, "Did you mean 'ViTImageProcessor'"),
        ('{"image_processor_type": "BaseImageProcessor2"}', UnknownArchitectureError, "does not have"),
        ('{"image_processor_type": "ViTImageProcessor", "size": "big"}', CheckpointError, "size is 'big'"),
        ('{"image_processor_type": "ViTImageProcessor", "do_resize": "yes"}', CheckpointError, "do_resize is 'yes'"),
        ('{"image_processor_type": "ViTImageProcessor", "resample": 9}', CheckpointError, "resample is 9"),
        ("[]", CheckpointError, "list"),
        ("{", CheckpointError, "valid JSON"),
    ]:
        file.write_text(content)
        with pytest.raises(error, match=words) as caught:
            AutoImageProcessor.from_pretrained(tmp_path)
        assert "preprocessor_config.json" in caught.value.what
    file.write_text('{"feature_extractor_type": "ClapFeatureExtractor"}')
    for auto in (AutoFeatureExtractor, AutoProcessor):
        with pytest.raises(UnknownArchitectureError, match="ClapFeatureExtractor"):
            auto.from_pretrained(tmp_path)
    file.write_text('{"image_processor_type": "CLIPImageProcessor", "processor_class": "IdeficsProcessor"}')
    with pytest.raises(UnknownArchitectureError, match="IdeficsProcessor"):
        AutoProcessor.from_pretrained(tmp_path)


def test_a_class_that_is_registered(tmp_path):
    from notebook_kit import PretrainedConfig

    class SquareConfig(PretrainedConfig):
        model_type = "square-for-a-test"

    class SquareImageProcessor(ViTImageProcessor):
        size = 10
        corners: int = 4

    with pytest.raises(InputError, match="BaseImageProcessor"):
        AutoImageProcessor.register(SquareConfig, dict)
    AutoImageProcessor.register(SquareConfig, SquareImageProcessor)
    SquareImageProcessor(corners=5).save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(loaded) is SquareImageProcessor and loaded.corners == 5 and loaded.size["height"] == 10
    (tmp_path / "preprocessor_config.json").write_text("{}")
    (tmp_path / "config.json").write_text('{"model_type": "square-for-a-test"}')
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is SquareImageProcessor


def test_options_of_from_pretrained(tmp_path):
    ViTImageProcessor().save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path, size=64, use_fast=True, do_normalize=False)
    assert loaded.size["height"] == 64 and loaded.do_normalize is False
    with pytest.raises(InputError, match="Did you mean 'do_resize'"):
        AutoImageProcessor.from_pretrained(tmp_path, do_rezise=False)
    processor, unused = ViTImageProcessor.from_pretrained(tmp_path, size=64, elephant=1, return_unused_kwargs=True)
    assert unused == {"elephant": 1} and processor.size["height"] == 64
    with pytest.raises(InputError, match="is a file"):
        processor.save_pretrained(tmp_path / "preprocessor_config.json")


def test_attributes_can_be_set():
    processor = ViTImageProcessor()
    processor.size, processor.do_normalize, processor.do_rescale = 30, False, False
    [image] = images([(30, 30)])
    [pixels] = processor(image).pixel_values
    np.testing.assert_array_equal(pixels, np.asarray(image).transpose(2, 0, 1))
    assert pixels.dtype == np.uint8 and ViTImageProcessor.size == {"height": 224, "width": 224}


WRONG = ["often", -1, 0, 2.5, float("nan"), [1, 2, 3, 4], {"a": 1}, b"x", object(), True, np.zeros((2, 2)), [], ()]


@pytest.mark.parametrize(
    "name", sorted(BaseImageProcessor().to_dict().keys() | BaseImageProcessor.__annotations__.keys())
)
def test_wrong_values_of_settings_are_our_errors(name):
    if name in ("model_input_names", "image_processor_type"):
        return
    switched_on = {"do_center_crop": True, "do_pad": True, "crop_size": 4}
    for value in WRONG:
        for use in (
            lambda value=value: ViTImageProcessor(**{**switched_on, name: value})(images()),
            lambda value=value: ViTImageProcessor()(images(), **{name: value}),
        ):
            try:
                use()
            except InputError as error:
                assert name in error.what or re.search("image_mean|size|channel", error.what)


@pytest.mark.parametrize("std", [0, [0.5, 0.5, 0], [0.5, 0.5], [], [-0.5] * 3])
def test_deviations_of_a_file_that_cannot_be_meant(tmp_path, std):
    settings = ViTImageProcessor().to_dict() | {"image_std": std}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: .*image_std is .*all above 0"):
        ViTImageProcessor.from_pretrained(tmp_path)


def test_options_that_do_not_exist_or_contradict():
    processor = ViTImageProcessor()
    with pytest.raises(InputError, match="Did you mean 'do_resize'"):
        processor(images(), do_rezise=True)
    with pytest.raises(InputError, match="do_center_crop is True, but crop_size"):
        processor(images(), do_center_crop=True)
    with pytest.raises(InputError, match="all above 0"):
        processor(images(), image_std=[0.5, 0, 0.5])
    with pytest.raises(InputError, match="2 entries"):
        processor(images(), image_mean=[0.5, 0.5], image_std=[0.5, 0.5])
    with pytest.raises(InputError, match="are no images"):
        processor([])
    with pytest.raises(InputError, match="shortest_edge"):
        notebook_kit.ConvNextImageProcessor()(images(), size={"height": 2, "width": 2})
