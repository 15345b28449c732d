"""What is said about scenes: that answers and captions are true."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

from notebook_kit.recipes import scene_words, tiny_captions_telugu, tiny_vqa, tiny_vqa_card
from notebook_kit.recipes.scene_data import LABELS
from notebook_kit.recipes.scene_words import WORDINGS, caption, questions, relation
from notebook_kit.recipes.scenes import Cutout, SceneMaker
from notebook_kit.recipes.tiny_captions import scores
from notebook_kit.recipes.tiny_vqa import train_or_load


def test_examples_run():
    for module in (scene_words, tiny_captions_telugu):
        failed, ran = doctest.testmod(module)
        assert failed == 0
        assert ran > 0


@pytest.fixture(scope="module")
def scenes():
    chance = np.random.default_rng(0)
    cutouts = []
    for label in range(len(LABELS)):
        pixels = np.zeros((24, 24, 4), np.uint8)
        pixels[2:-2, 2:-2, :3], pixels[2:-2, 2:-2, 3] = chance.integers(0, 255, 3), 255
        cutouts.append(Cutout(label, pixels))
    make = SceneMaker(cutouts, [np.full((80, 80, 3), 128, np.uint8)], size=64, counts=(1, 3))
    return [scene for scene in map(make, range(80)) if len(scene.labels)]


def test_answers_about_scenes_are_true(scenes):
    kinds = set()
    for scene in scenes:
        names = [LABELS[label] for label in scene.labels]
        for asked in questions(scene, np.random.default_rng(1)):
            kinds.add(asked.kind)
            words = asked.text.rstrip("?").split()
            if asked.kind == "is there":
                assert (words[-1] in names) == (asked.answer == "yes")
            elif words[2] == "things":
                assert asked.answer == str(len(names))
            elif asked.kind == "how many":
                assert int(asked.answer) == sum(words[2] in (name, scene_words.plural(name)) for name in names)
            else:
                boxes = [scene.boxes[names.index(name)] for name in (asked.answer, words[-1])]
                if names.count(asked.answer) == 1:
                    assert relation(*boxes, 64) in asked.text
    assert kinds == set(scene_words.KINDS)


@pytest.mark.parametrize("language", WORDINGS)
def test_captions_name_every_thing_and_a_true_relation(scenes, language):
    related, wording = 0, WORDINGS[language]
    for scene in scenes:
        names, text = [LABELS[label] for label in scene.labels], caption(scene, language)
        assert sorted(wording.named(text)) == sorted(names)
        if (stated := wording.stated(text)) is not None:
            first, how, second = stated
            if names.count(first) == names.count(second) == 1:
                assert relation(scene.boxes[names.index(first)], scene.boxes[names.index(second)], 64) == how
                related += 1
    assert related > 10


def test_captions_in_all_languages_say_the_same(scenes):
    for scene in scenes:
        said = [wording.stated(caption(scene, language)) for language, wording in WORDINGS.items()]
        assert said == said[:1] * len(WORDINGS)


def test_scores_of_right_and_of_wrong_captions(scenes):
    for language in WORDINGS:
        right = [caption(scene, language) for scene in scenes]
        assert scores(right, scenes, language) == {"nouns": 1.0, "relations": 1.0, "exact": 1.0}
        swapped = [*right[1:], right[0]]
        assert all(0 <= value < 0.9 for value in scores(swapped, scenes, language).values())


def test_captions_survive_their_tokenizer(scenes):
    for language, words in {"English": tiny_vqa.tokenizer(), "Telugu": tiny_captions_telugu.tokenizer()}.items():
        for text in {caption(scene, language) for scene in scenes}:
            ids = words(text, add_special_tokens=False)["input_ids"]
            assert words.decode([*ids, words.sep_token_id], skip_special_tokens=True) == text
            assert words.unk_token_id not in ids
    spelled = words("పుస్తకం", add_special_tokens=False)["input_ids"]  # not among the words of captions
    assert words.decode(spelled) == "పుస్తకం"


class Doubling(nn.Module):
    """A linear layer, whose loss is smallest where it doubles its input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        nn.init.eye_(self.layer.weight)

    def forward(self, x):
        return {"loss": (self.layer(x) - 2 * x).square().mean()}


def test_seeds_differ_and_are_kept(tmp_path):
    def trained(seed, steps=3):
        model = Doubling()
        scenes = [{"x": torch.randn(4, generator=torch.Generator().manual_seed(row))} for row in range(300)]
        train_or_load(model, lambda: model, lambda: scenes, default_collate, tmp_path, seed, steps, 0.1)
        return model.layer.weight.sum().item()

    first, second = trained(17), trained(18)
    assert first != second
    assert [path.name for path in sorted(tmp_path.glob("*.pt"))] == ["weights-17.pt", "weights-18.pt"]
    assert trained(17, steps=50) == first  # not trained again


def test_the_card_of_questions_has_an_interval():
    report = {
        "kinds": {"is there": (0.7, 0.5, "yes", 10)},
        "accuracy": 0.6,
        "seeds": [0.6, 0.62, 0.64],
        "baseline": 0.46,
        "new pairs": None,
        "seconds": {"scenes": 60.0, "seed 17": 60.0, "seed 18": 180.0},
        "quick": False,
        "threads": 1,
        "parameters": 10,
        "bytes": 2**20,
        "scenes": 10,
        "tests": 5,
        "questions": 10,
    }
    card = tiny_vqa_card.model_card(report)
    assert "Over 3 seeds the accuracy is 0.620 ± 0.050" in card
    assert "a training 2.0 minutes" in card
