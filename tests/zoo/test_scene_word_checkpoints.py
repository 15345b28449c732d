"""The embedded checkpoints that answer questions about scenes and describe them: as they lie there, their cards, their answers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from notebook_kit import ViltForQuestionAnswering, VisionEncoderDecoderModel, pipeline, zoo
from notebook_kit.recipes.scene_pictures import SAMPLES
from notebook_kit.recipes.scene_words import ANSWERS, WORDINGS
from notebook_kit.recipes.tiny_captions import written

LANGUAGES = {"tiny-captions": "English", "tiny-captions-telugu": "Telugu"}
"""Checkpoints that write captions, and their languages."""
KINDS = {"tiny-vqa": ViltForQuestionAnswering, **dict.fromkeys(LANGUAGES, VisionEncoderDecoderModel)}
LIMIT = 3 * 2**20  # bytes

names = pytest.mark.parametrize("name", KINDS)


def card(name: str) -> str:
    return (zoo.folder(name) / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    pictures = [np.asarray(Image.open(zoo.sample(name)).convert("RGB").resize((64, 64))) for name in SAMPLES]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


@names
def test_the_reference_answers_the_same(name, pixels):
    import transformers

    folder = zoo.folder(name)
    assert (folder / "model.safetensors").stat().st_size <= LIMIT
    assert (folder / "scenes.webp").stat().st_size <= 150_000
    model = KINDS[name].from_pretrained(folder)
    assert model.dtype == torch.float32
    reference = getattr(transformers, KINDS[name].__name__).from_pretrained(str(folder), dtype=torch.float32).eval()
    ids = torch.tensor([[2, 8, 9, 3]] * len(pixels))
    inputs = {"input_ids": ids} if name == "tiny-vqa" else {"decoder_input_ids": ids}
    with torch.no_grad():
        ours, theirs = (each(pixel_values=pixels, **inputs).logits for each in (model, reference))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_questions_about_the_sample_scenes(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    answer_to = pipeline("vqa", device="cpu")
    assert "using the small notebook-kit/tiny-vqa" in caplog.text
    right = []
    for name, (_, things) in SAMPLES.items():
        questions = {f"is there a {thing}?": "yes" for thing in things} | {"how many things are there?": "3"}
        answers = [answer[0]["answer"] for answer in answer_to(zoo.sample(name), list(questions), top_k=1)]
        assert all(answer in ANSWERS for answer in answers)
        right += [answer == truth for answer, truth in zip(answers, questions.values(), strict=True)]
    assert np.mean(right) > 0.5


@pytest.mark.parametrize("name", LANGUAGES)
def test_captions_of_the_sample_scenes(name):
    images = [np.asarray(Image.open(zoo.sample(name)).convert("RGB")) for name in SAMPLES]
    named = [WORDINGS[LANGUAGES[name]].named(text) for text in written(zoo.folder(name), images)]
    assert all(len(names) in (1, 2, 3) for names in named)
    assert sum(len({*names} & {*things}) for names, (_, things) in zip(named, SAMPLES.values(), strict=True)) >= 3


def test_captions_in_telugu_are_chosen_by_name():
    assert zoo.default_for("image-to-text") == "notebook-kit/tiny-captions"
    describe = pipeline("image-to-text", model="notebook-kit/tiny-captions-telugu", device="cpu")
    [text] = describe(zoo.sample("scene_1.webp"))
    assert WORDINGS["Telugu"].named(text["generated_text"])
    [continued] = describe(zoo.sample("scene_1.webp"), prompt="వాహనానికి")
    assert continued["generated_text"].startswith("వాహనానికి ") and "[UNK]" not in continued["generated_text"]


def test_the_cards_report_models_better_than_their_baselines():
    [(ours, best)] = re.findall(r"\| all \| \d+ \| \*\*(0\.\d{3})\*\* \| (0\.\d{3}) \|", card("tiny-vqa"))
    assert float(ours) > float(best)
    number = r"\**(0\.\d{3})\**"
    for name in LANGUAGES:
        rows = re.findall(rf"^\| .+ \| {number} \| {number} \| {number} \|$", card(name), flags=re.MULTILINE)
        ours, *baselines = [[float(value) for value in row] for row in rows]
        assert len(baselines) == 2
        assert all(value > other for row in baselines for value, other in zip(ours, row, strict=True))


@names
def test_the_cards_report_several_seeds(name):
    seeds = 2 if name == "tiny-captions-telugu" else 3
    assert re.search(rf"Over {seeds} seeds the [a-z ]+ is 0\.\d{{3}} ± 0\.\d{{3}}", card(name))


@names
def test_the_cards_name_their_data(name):
    text = card(name)
    assert "license: apache-2.0" in text.split("---")[1]
    assert "--quick`: only useful" not in text
    assert all(wanted in text for wanted in ("Tux Paint", "GPL-2", "Twemoji", "CC-BY-4.0", "scenes.webp"))
