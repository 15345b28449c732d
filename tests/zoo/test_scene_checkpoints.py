"""The embedded checkpoints that look at pictures of several things: as they lie there, their cards, their samples."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from notebook_kit import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    pipeline,
    record_attention,
    zoo,
)
from notebook_kit.recipes.scene_data import LABELS
from notebook_kit.recipes.scene_pictures import SAMPLES

TASKS = {"tiny-detection": "object-detection", "tiny-segmentation": "image-segmentation"}
AUTO = {"tiny-detection": AutoModelForObjectDetection, "tiny-segmentation": AutoModelForSemanticSegmentation}
LIMIT = 3 * 2**20  # bytes

names = pytest.mark.parametrize("name", TASKS)


def card(name: str) -> str:
    return (zoo.folder(name) / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [Image.open(zoo.sample(name)).convert("RGB") for name in SAMPLES]


# The files -----------------------------------------------------------------------------------------------------------


@names
def test_size(name):
    folder = zoo.folder(name)
    assert (folder / "model.safetensors").stat().st_size <= LIMIT
    assert (folder / "scenes.webp").stat().st_size <= 150_000


@names
def test_loads_as_float32_and_its_attention_can_be_recorded(name, pictures):
    model = AUTO[name].from_pretrained(f"notebook-kit/{name}")
    assert model.dtype == torch.float32
    assert set(LABELS) <= set(model.config.id2label.values())
    inputs = AutoImageProcessor.from_pretrained(f"notebook-kit/{name}")(pictures[0], return_tensors="pt")
    with record_attention(model) as record, torch.no_grad():
        model(**inputs)
    kind = "cross" if name == "tiny-detection" else None
    assert len(record.steps(0, kind=kind)) == 1


@names
def test_the_reference_answers_the_same(name, pictures):
    import transformers

    folder = str(zoo.folder(name))
    model = AUTO[name].from_pretrained(folder)
    kind = getattr(transformers, type(model).__name__)
    reference = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    inputs = AutoImageProcessor.from_pretrained(folder)(pictures, return_tensors="pt")
    with torch.no_grad():
        ours, theirs = model(**inputs), reference(**inputs)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-4, atol=1e-4)
    if name == "tiny-detection":
        torch.testing.assert_close(ours.pred_boxes, theirs.pred_boxes, rtol=1e-4, atol=1e-4)


# Answers -------------------------------------------------------------------------------------------------------------


@names
def test_the_pipeline_answers_with_no_network(name, monkeypatch, tmp_path, pictures, caplog):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    pipe = pipeline(TASKS[name], device="cpu")
    assert f"using the small notebook-kit/{name}" in caplog.text
    assert pipe(pictures[0])


def test_the_detector_finds_the_things_of_the_samples(pictures):
    detect = pipeline("object-detection", model="notebook-kit/tiny-detection", device="cpu")
    for (name, (_, things)), answers in zip(SAMPLES.items(), detect(pictures), strict=True):
        assert sorted(answer["label"] for answer in answers) == things, name
        for answer in answers:
            assert 0 <= answer["box"]["xmin"] < answer["box"]["xmax"] <= pictures[0].width + 8


def test_the_segmenter_colors_the_things_of_the_samples(pictures):
    segment = pipeline("image-segmentation", model="notebook-kit/tiny-segmentation", device="cpu")
    for (name, (_, things)), answers in zip(SAMPLES.items(), segment(pictures), strict=True):
        shares = {answer["label"]: (np.asarray(answer["mask"]) > 127).mean() for answer in answers}
        assert sum(shares.values()) == pytest.approx(1)
        assert shares.pop("background") > 0.25
        assert sorted(label for label, share in shares.items() if share > 0.02) == things, name


# Their cards ---------------------------------------------------------------------------------------------------------


def stated(text: str) -> list[float]:
    """The measure of the checkpoint, then those of the baselines."""
    rows = re.findall(r"^\| [^|]+ \| \**(0\.\d{3})\** \|$", text, flags=re.MULTILINE)
    return [float(value) for value in rows]


@names
def test_the_card_reports_a_model_better_than_its_baselines(name):
    ours, *baselines = stated(card(name))
    assert len(baselines) == 2
    assert ours > max(baselines)
    share = (1 - ours) / (1 - max(baselines))
    assert ("less than half" in card(name)) == (share < 0.5)
    assert "--quick`: only useful" not in card(name)


@names
def test_the_card_names_its_data_and_licences(name):
    text = card(name)
    assert "license: apache-2.0" in text.split("---")[1]
    for wanted in ("Tux Paint", "GPL-2", "Twemoji", "CC-BY-4.0", "Apache-2.0", "scenes.webp"):
        assert wanted in text


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_small_pictures(name):
    with Image.open(zoo.sample(name)) as image:
        assert image.size == (256, 256)
    assert zoo.sample(name).stat().st_size < 32_000
    assert np.asarray(Image.open(zoo.sample(name))).std() > 10
