"""The embedded CLIP: as it lies there, what it answers in two languages, and what its card says."""

from __future__ import annotations

import re

import pytest
import torch
from PIL import Image

from notebook_kit import AutoProcessor, CLIPModel, pipeline, zoo
from notebook_kit.recipes.things_data import LABELS
from notebook_kit.recipes.things_words import LANGUAGES, NAMES

NAME = "notebook-kit/tiny-clip"
LIMIT = 3 * 2**20  # bytes
PICTURES = {f"{label}.jpg": label for label in ("airplane", "bus", "cat", "lion", "strawberry")}


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """The pipelines for which no model is named, without a network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("empty")))
        yield {task: pipeline(task) for task in ("zero-shot-image-classification", "image-feature-extraction")}


def test_size():
    assert sum(path.stat().st_size for path in zoo.folder(NAME).iterdir()) <= LIMIT


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_samples_in_two_languages(offline, language):
    label = offline["zero-shot-image-classification"]
    assert label.model.config.model_type == "clip"
    names = {thing: NAMES[thing].of(language)[0] for thing in LABELS}
    answers = label([zoo.sample(name) for name in PICTURES], candidate_labels=list(names.values()))
    right = [answer[0]["label"] == names[thing] for answer, thing in zip(answers, PICTURES.values(), strict=True)]
    assert sum(right) >= 4
    assert all(abs(sum(each["score"] for each in answer) - 1) < 1e-5 for answer in answers)


def test_features_of_a_picture_with_no_network(offline):
    describe = offline["image-feature-extraction"]
    assert describe.model.config.model_type == "vit"
    [tokens] = describe(zoo.sample("cat.jpg"))
    assert len(tokens) == 65 and len(tokens[0]) == 128


def test_the_reference_answers_alike():
    import transformers

    folder = str(zoo.folder(NAME))
    model, processor = CLIPModel.from_pretrained(NAME), AutoProcessor.from_pretrained(NAME)
    reference = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    texts = ["This is a photo of cat.", "ఇది పిల్లి", "a bus"]
    pictures = [Image.open(zoo.sample(name)) for name in PICTURES]
    batch = processor(text=texts, images=pictures, padding=True, return_tensors="pt")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], theirs["input_ids"])
    with torch.no_grad():
        ours, expected = (each(**batch).logits_per_image for each in (model, reference))
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)


def test_the_card():
    text = (zoo.folder(NAME) / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in text.split("---")[1] and "--quick`: only useful" not in text
    assert all(wanted in text for wanted in ("Over 3 seeds", "CLDR", "GPL-2", "Apache-2.0", "CC-BY-SA-4.0"))
    for style in ("photographs", "Twemoji"):
        [numbers] = re.findall(rf"^\| {style} (\| \*\*.+) \|$", text, flags=re.MULTILINE)
        *ours, pixels, colours = map(float, re.findall(r"([\d.]+)%", numbers))
        assert len(ours) == 4 and min(ours) > max(pixels, colours)
