"""The embedded classifier of pictures: as it lies there, what it answers, and what its card says."""

from __future__ import annotations

import re

import pytest
import torch
from PIL import Image

from notebook_kit import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    pipeline,
    record_attention,
    zoo,
)
from notebook_kit.errors import InputError
from notebook_kit.recipes.things_data import LABELS

NAME = "notebook-kit/tiny-things"
LIMIT = 3 * 2**20  # bytes
PICTURES = {f"{label}.jpg": label for label in ("airplane", "bus", "cat", "lion", "strawberry")}


@pytest.fixture(scope="module")
def card() -> str:
    return (zoo.folder(NAME) / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def classifier():
    return pipeline("image-classification", model=NAME, device="cpu")


def test_size():
    assert sum(path.stat().st_size for path in zoo.folder(NAME).iterdir()) <= LIMIT


def test_it_is_the_default_without_a_network(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert zoo.default_for("image-classification") == NAME
    assert pipeline("image-classification", model="zoo", device="cpu").model.config.model_type == "vit"


@pytest.mark.parametrize("name", PICTURES)
def test_the_samples(classifier, name):
    path = zoo.sample(name)
    assert path.stat().st_size < 40_000
    with Image.open(path) as file:
        assert file.size == (256, 256)
    assert classifier(path)[0]["label"] == PICTURES[name]


def test_the_samples_name_their_sources():
    listed = zoo.sample("SOURCES.md").read_text(encoding="utf-8")
    pictures = [path.name for path in zoo.sample("SOURCES.md").parent.iterdir() if path.suffix in (".jpg", ".webp")]
    assert sorted(pictures) == sorted(re.findall(r"`(\w+\.(?:jpg|webp))`", listed))


def test_a_sample_that_does_not_exist():
    with pytest.raises(InputError, match=r"no sample 'dog\.jpg'"):
        zoo.sample("dog.jpg")


def test_the_reference_answers_alike():
    import transformers

    folder = str(zoo.folder(NAME))
    pictures = [Image.open(zoo.sample(name)) for name in PICTURES]
    processor = AutoImageProcessor.from_pretrained(folder)
    theirs = transformers.AutoImageProcessor.from_pretrained(folder)
    ours = processor(pictures, return_tensors="pt")
    torch.testing.assert_close(
        ours["pixel_values"], theirs(pictures, return_tensors="pt")["pixel_values"], rtol=0, atol=2 / 255
    )
    model = AutoModelForImageClassification.from_pretrained(folder)
    reference = transformers.AutoModelForImageClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(**ours).logits, reference(**ours).logits, rtol=0, atol=1e-5)


def test_its_attention_can_be_recorded():
    model = AutoModelForImageClassification.from_pretrained(NAME)
    inputs = AutoImageProcessor.from_pretrained(NAME)(Image.open(zoo.sample("cat.jpg")), return_tensors="pt")
    with record_attention(model) as record, torch.no_grad():
        model(**inputs)
    assert len(record) == model.config.num_hidden_layers
    assert record[0].shape == (1, model.config.num_attention_heads, 65, 65)  # the class token and 8 x 8 patches


# Its card ------------------------------------------------------------------------------------------------------------


def test_the_card_reports_a_model_better_than_its_baselines(card):
    rows = re.findall(
        r"^\| (photographs|Twemoji)\b.*? \| \d+ \| \*\*([\d.]+)%\*\*.*? \| ([\d.]+)% \| ([\d.]+)% \|$",
        card,
        flags=re.MULTILINE,
    )
    assert [name for name, *_ in rows] == ["photographs", "Twemoji"]
    for _, ours, pixels, colours in rows:
        assert float(ours) > max(float(pixels), float(colours))
    assert "--quick`: only useful" not in card


def test_the_card_names_its_classes_data_and_licences(card):
    assert "license: apache-2.0" in card.split("---")[1]
    assert ", ".join(LABELS) in card
    for wanted in (
        "tuxpaint-stamps-default",
        "GPL-2",
        "CC-BY-4.0",
        "openclipart-png",
        "EfficientNet-Lite0",
        "Apache-2.0",
    ):
        assert wanted in card
