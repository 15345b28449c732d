"""The processors of Donut and TrOCR, and Donut's image processor, against the oracle's."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.models.donut.image_processing_pil_donut import DonutImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from notebook_kit import (
    AutoImageProcessor,
    AutoProcessor,
    BertTokenizer,
    DonutFeatureExtractor,
    DonutImageProcessor,
    DonutProcessor,
    TrOCRProcessor,
    ViTImageProcessor,
)
from notebook_kit.errors import InputError

SIZES = [(31, 57), (90, 64), (64, 90), (33, 33), (200, 20), (9, 150), (96, 72)]
SIZE = {"height": 96, "width": 72}
LEVEL = 1 / 255 * 2 + 1e-6
"""A level of 8 bits after the normalization, for resizing in 8 bits."""


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SIZES]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_align_long_axis": True},
        {"size": {"height": 72, "width": 96}, "do_align_long_axis": True, "resample": 3},
        {"do_pad": False},
        {"do_resize": False},
        {"do_thumbnail": False, "size": {"height": 96, "width": 96}, "do_pad": False},
        {"size": [72, 96]},  # width and height, as in the files of checkpoints
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["pictures", "arrays"])
def test_donut_images_equal_the_oracles(settings, kind):
    settings = {"size": SIZE, **settings}
    ours, theirs = DonutImageProcessor(**settings), DonutImageProcessorPil(**settings)
    given = images() if kind == "pictures" else [np.asarray(image).transpose(2, 0, 1) for image in images()]
    for image in given:
        mine, expected = (one(image, return_tensors="np")["pixel_values"] for one in (ours, theirs))
        assert mine.shape == expected.shape and mine.dtype == expected.dtype
        assert np.abs(mine - expected).max() <= LEVEL and np.abs(mine - expected).mean() < LEVEL / 10
    if settings.get("do_pad", True):
        assert ours(given, return_tensors="pt").pixel_values.shape == (
            len(given),
            3,
            *theirs(given[0])["pixel_values"][0].shape[1:],
        )


def test_donut_files_go_back_and_forth(tmp_path):
    ours, theirs = DonutImageProcessor(size=SIZE), DonutImageProcessorPil(size=SIZE, do_align_long_axis=False)
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    expected = ours(images()[0], return_tensors="np")["pixel_values"]
    for again in (
        AutoImageProcessor.from_pretrained(tmp_path / "theirs"),
        DonutImageProcessorPil.from_pretrained(tmp_path / "ours"),
    ):
        np.testing.assert_allclose(again(images()[0], return_tensors="np")["pixel_values"], expected, atol=LEVEL)
    old = tmp_path / "old"
    old.mkdir()
    (old / "preprocessor_config.json").write_text(
        '{"feature_extractor_type": "DonutFeatureExtractor", "size": [72, 96], "random_padding": false}'
    )
    loaded = AutoImageProcessor.from_pretrained(old)
    assert type(loaded) is DonutImageProcessor is DonutFeatureExtractor and loaded.size == SIZE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": {"shortest_edge": 32}}, "expected height and width"),
        (
            {"do_thumbnail": False, "size": {"height": 40, "width": 40}},
            r"\d+ x \d+ pixels \(height x width\) cannot be padded to 40 x 40",
        ),
        ({"do_align_axis": True}, "Did you mean 'do_align_long_axis'"),
    ],
    ids=str,
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=message) as caught:
        DonutImageProcessor(size=SIZE)(images()[0], **options)
    assert caught.value.next_step


# Joint processors ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    file = tmp_path_factory.mktemp("words") / "vocab.txt"
    file.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "total", "is", "12", "tea"]))
    tokenizer = BertTokenizer.from_pretrained(file)
    tokenizer.add_tokens(["<s_total>", "</s_total>", "<yes/>", "<sep/>"], special_tokens=True)
    return tokenizer


@pytest.fixture(scope="module", params=["Donut", "TrOCR"])
def pair(request, tokenizer, tmp_path_factory):
    """Our processor and the oracle's, and the folder that ours was saved to."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "Donut":
        ours, kind = DonutProcessor(DonutImageProcessor(size=SIZE), tokenizer), DonutImageProcessorPil
    else:
        ours, kind = TrOCRProcessor(ViTImageProcessor(size=32), tokenizer), ViTImageProcessorPil
    ours.save_pretrained(folder)
    theirs = getattr(transformers, f"{request.param}Processor")(
        kind.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    )
    return ours, theirs, folder


def test_calls_equal_the_oracles(pair):
    ours, theirs, _ = pair
    texts = ["<s_total>12</s_total>", "total is 12"]
    for given, options in (
        ((images()[:2], texts), {"padding": True, "return_tensors": "pt"}),
        ((images()[:2], texts), {"padding": "max_length", "max_length": 9, "return_tensors": "np"}),
        ((images()[0], texts[0]), {"add_special_tokens": True}),
        ((images()[:1],), {"return_tensors": "pt"}),
        ((None, texts), {"padding": True}),
    ):
        mine, expected = ours(*given, **options), theirs(*given, **options)
        assert set(mine) == set(expected)
        for name in expected:
            assert type(mine[name]) is type(expected[name])
            for one, other in zip(list(mine[name]), list(expected[name]), strict=True):
                np.testing.assert_allclose(np.asarray(one, np.float64), np.asarray(other, np.float64), atol=LEVEL)
    assert sorted(ours.model_input_names) == sorted(theirs.model_input_names)


def test_loading_and_saving(pair, tmp_path):
    ours, theirs, folder = pair
    named = json.loads((folder / "preprocessor_config.json").read_text())["processor_class"]
    assert named == type(ours).__name__ == type(theirs).__name__
    theirs.save_pretrained(tmp_path)  # one file for both parts
    expected = ours(images()[0], "total", return_tensors="pt")
    for again in (AutoProcessor.from_pretrained(folder), AutoProcessor.from_pretrained(tmp_path)):
        assert type(again) is type(ours)
        found = again(images()[0], "total", return_tensors="pt")
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_tokens_become_the_fields_that_the_oracle_finds(tokenizer, tmp_path):
    ours = DonutProcessor(DonutImageProcessor(size=SIZE), tokenizer)
    tokenizer.save_pretrained(tmp_path)
    theirs = transformers.DonutProcessor(
        DonutImageProcessorPil(size=SIZE), transformers.AutoTokenizer.from_pretrained(tmp_path)
    )
    menu = "<s_menu><s_nm>tea</s_nm><s_price>2</s_price><sep/><s_nm>cake</s_nm></s_menu><s_total>12</s_total><s_paid><yes/></s_paid>"
    assert ours.token2json(menu) == {
        "menu": [{"nm": "tea", "price": "2"}, {"nm": "cake"}],
        "total": "12",
        "paid": "yes",
    }
    assert ours.token2json("no field") == {"text_sequence": "no field"} and ours.token2json("") == {"text_sequence": ""}
    parts = [
        "<s_a>",
        "</s_a>",
        "<s_b>",
        "</s_b>",
        "<s_A>",
        "</s_c>",
        "<s_c>",
        "<sep/>",
        "x",
        "12",
        "<yes/>",
        "<no/>",
        "</s>",
        "<s_",
        ">",
    ]
    chance = random.Random(0)
    texts = ["".join(chance.choices(parts, k=chance.randint(0, 14))) for _ in range(3000)]
    for text in [*texts, menu]:
        for inner in (False, True):
            assert ours.token2json(text, is_inner_value=inner) == theirs.token2json(text, is_inner_value=inner), text
