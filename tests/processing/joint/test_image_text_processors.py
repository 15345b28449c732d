"""Processors for images with texts, and ViLT's image processor, against the oracle's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

import notebook_kit
from notebook_kit import (
    AutoImageProcessor,
    AutoProcessor,
    BertTokenizer,
    BlipImageProcessor,
    BlipProcessor,
    ViltFeatureExtractor,
    ViltImageProcessor,
    ViltProcessor,
)
from notebook_kit.errors import InputError

SIZES = [(31, 57), (480, 640), (333, 250), (64, 64), (50, 200), (200, 50), (33, 32)]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "is", "there", "a", "duck", "?", "why"]


def images(sizes=SIZES) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    file = tmp_path_factory.mktemp("words") / "vocab.txt"
    file.write_text("\n".join(WORDS))
    return BertTokenizer.from_pretrained(file)


@pytest.mark.parametrize(
    "settings",
    [{}, {"size": 100}, {"size": 64, "size_divisor": 16}, {"size": {"shortest_edge": 96}, "do_pad": False}],
    ids=str,
)
def test_vilt_images_equal_the_oracles(settings):
    given = (
        {**settings, "size": {"shortest_edge": settings["size"]}} if isinstance(settings.get("size"), int) else settings
    )
    ours, theirs = ViltImageProcessor(**settings), ViltImageProcessorPil(**given)
    is_padded = settings.get("do_pad", True)
    mine, expected = (each(images(), return_tensors="np" if is_padded else None) for each in (ours, theirs))
    assert list(mine) == list(expected)
    for a, b in zip(mine["pixel_values"], expected["pixel_values"], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    if is_padded:
        np.testing.assert_array_equal(mine["pixel_mask"], expected["pixel_mask"])
        assert mine["pixel_mask"].dtype == expected["pixel_mask"].dtype
    for image in images():
        np.testing.assert_allclose(ours(image)["pixel_values"][0], theirs(image)["pixel_values"][0], atol=1e-6)


def test_long_images_keep_a_row_of_patches():
    """The oracle rounds their shorter edge down to nothing."""
    for size in ((1, 900), (900, 1), (7, 700)):
        [height, width] = ViltImageProcessor()(images([size])[0], return_tensors="np").pixel_values.shape[2:]
        assert height % 32 == width % 32 == 0 and min(height, width) == 32 and max(height, width) == 608


def test_vilt_files_go_back_and_forth(tmp_path):
    ours, theirs = (
        ViltImageProcessor(size=64, size_divisor=16),
        ViltImageProcessorPil(size={"shortest_edge": 64}, size_divisor=16),
    )
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    for loaded in (
        AutoImageProcessor.from_pretrained(tmp_path / "theirs"),
        ViltImageProcessorPil.from_pretrained(tmp_path / "ours"),
    ):
        np.testing.assert_allclose(
            loaded(images()[0])["pixel_values"][0], ours(images()[0])["pixel_values"][0], atol=1e-6
        )
    old = tmp_path / "old"
    old.mkdir()
    (old / "preprocessor_config.json").write_text(
        '{"feature_extractor_type": "ViltFeatureExtractor", "size": 384, "resample": 3}'
    )
    loaded = AutoImageProcessor.from_pretrained(old)
    assert type(loaded) is ViltImageProcessor is ViltFeatureExtractor and loaded.size == {"shortest_edge": 384}


@pytest.mark.parametrize(
    "options", [{"size": {"height": 32, "width": 32}}, {"size_divisor": 0}, {"size_divisors": 16}], ids=str
)
def test_wrong_options_are_named(options):
    with pytest.raises(InputError) as caught:
        ViltImageProcessor()(images(), **options)
    assert caught.value.next_step and next(iter(options)) in str(caught.value)


# Joint processors ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processor(tokenizer):
    return ViltProcessor(ViltImageProcessor(size=64), tokenizer)


def test_calls_equal_the_oracles(processor, tmp_path):
    import transformers

    processor.save_pretrained(tmp_path)
    theirs = transformers.ViltProcessor(
        ViltImageProcessorPil.from_pretrained(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    )
    texts = ["why", "is there a duck?", "a?"]
    for given, options in (
        ((images()[0], texts[1]), {}),
        ((images()[:3], texts), {"padding": True, "return_tensors": "pt"}),
        ((images()[:1], texts[:1]), {"padding": "max_length", "max_length": 12, "return_tensors": "np"}),
        ((images()[1],), {"return_tensors": "pt", "do_normalize": False}),
        ((None, texts), {"padding": True}),
        ((images()[:3], texts), {"text_kwargs": {"padding": True}, "images_kwargs": {"do_rescale": False}}),
    ):
        mine, expected = processor(*given, **options), theirs(*given, **options)
        assert set(mine) == set(expected)
        for name in expected:
            assert type(mine[name]) is type(expected[name])
            a, b = list(mine[name]), list(expected[name])
            assert len(a) == len(b)
            for one, other in zip(a, b, strict=True):
                np.testing.assert_allclose(np.asarray(one, np.float64), np.asarray(other, np.float64), atol=1e-4)


def test_the_order_of_images_and_texts(processor):
    expected = processor(images()[0], "why", return_tensors="pt")
    for batch in (
        processor("why", images()[0], return_tensors="pt"),
        processor(text="why", images=images()[0], return_tensors="pt"),
        processor(images=images()[0], text="why", return_tensors="pt"),
    ):
        assert list(batch) == list(expected)
        assert all(torch.equal(batch[name], expected[name]) for name in expected)
    assert processor(["why", "a"], [images()[3]] * 2, padding=True, return_tensors="pt").pixel_values.shape[0] == 2


def test_inputs_and_decoding(processor, tokenizer):
    assert processor.model_input_names == [
        "input_ids",
        "token_type_ids",
        "attention_mask",
        "pixel_values",
        "pixel_mask",
    ]
    blip = BlipProcessor(BlipImageProcessor(size=32), tokenizer)
    assert list(blip(images()[0], "why")) == ["input_ids", "attention_mask", "pixel_values"]
    assert blip.model_input_names == ["input_ids", "attention_mask", "pixel_values"]
    ids = blip(text=["is there a duck?"])["input_ids"]
    assert blip.batch_decode(ids, skip_special_tokens=True) == [blip.decode(ids[0], skip_special_tokens=True)]
    assert processor.feature_extractor is processor.image_processor
    assert "ViltImageProcessor" in repr(processor)


def test_loading_and_saving(processor, tmp_path):
    import transformers

    processor.save_pretrained(tmp_path / "ours")
    assert (
        json.loads((tmp_path / "ours" / "preprocessor_config.json").read_text())["processor_class"] == "ViltProcessor"
    )
    loaded = AutoProcessor.from_pretrained(tmp_path / "ours")
    assert type(loaded) is ViltProcessor and loaded.image_processor.size == {"shortest_edge": 64}
    theirs = transformers.ViltProcessor(
        ViltImageProcessorPil.from_pretrained(tmp_path / "ours"),
        transformers.AutoTokenizer.from_pretrained(tmp_path / "ours"),
    )
    theirs.save_pretrained(tmp_path / "theirs")  # one file for both parts
    assert not (tmp_path / "theirs" / "preprocessor_config.json").exists()
    for again in (
        AutoProcessor.from_pretrained(tmp_path / "theirs"),
        ViltProcessor.from_pretrained(tmp_path / "theirs"),
    ):
        mine, expected = (one(images()[0], "is there a duck?", return_tensors="pt") for one in (again, processor))
        assert type(again) is ViltProcessor and all(torch.equal(mine[name], expected[name]) for name in expected)


def test_files_that_name_no_class(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    for name in ("preprocessor_config.json", "tokenizer_config.json"):
        settings = json.loads((tmp_path / name).read_text())
        settings.pop("processor_class")
        (tmp_path / name).write_text(json.dumps(settings))
    notebook_kit.ViltConfig().save_pretrained(tmp_path)
    assert type(AutoProcessor.from_pretrained(tmp_path)) is ViltProcessor
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert type(AutoProcessor.from_pretrained(tmp_path)) is ViltImageProcessor


def test_wrong_calls_are_named(processor, tokenizer):
    with pytest.raises(InputError, match="Neither images nor text"):
        processor()
    with pytest.raises(InputError, match="ViltProcessor needs an image_processor; it is None"):
        ViltProcessor(tokenizer=tokenizer)
    with pytest.raises(InputError, match="ViltProcessor needs a tokenizer"):
        ViltProcessor(ViltImageProcessor())
    with pytest.raises(InputError, match="paddings"):
        processor(images()[0], "why", paddings=True)
    with pytest.raises(InputError, match=r"no file 'none\.png'"):
        processor("none.png", "why")
    with pytest.raises(AttributeError, match="ViltProcessor has no 'image_procesor'"):
        processor.image_procesor  # noqa: B018
