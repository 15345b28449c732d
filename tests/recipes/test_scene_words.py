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
from notebook_kit.recipes.tiny_vqa import Learned, Looking, Scenes, collate, middles_of, pixels_of, train_or_load


def test_examples_run():
    for module in (scene_words, tiny_captions_telugu, tiny_vqa):
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


# Looking -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned(scenes):
    images, semantic = (np.stack([getattr(scene, name) for scene in scenes]) for name in ("image", "semantic"))
    asked = [questions(scene, np.random.default_rng(0)) for scene in scenes]
    return Learned(images, semantic, np.stack([middles_of(scene) for scene in scenes]), asked)


def test_patches_of_a_thing_point_at_its_middle(scenes):
    centers = (np.arange(8) * 8 + 4) / 64
    shown = 0
    for scene in scenes:
        middles = middles_of(scene).astype(float)
        for row, column in np.argwhere(~np.isnan(middles[..., 0])):
            x, y = 64 * (middles[row, column] + (centers[column], centers[row]))
            [thing] = np.flatnonzero(scene.masks[:, 8 * row + 4, 8 * column + 4])
            left, top, right, bottom = scene.boxes[thing]
            assert (x, y) == pytest.approx(((left + right) / 2, (top + bottom) / 2), abs=0.1)
            shown += 1
        assert np.isnan(middles[..., 0]).sum() == 64 - scene.masks.any(0)[4::8, 4::8].sum()
    assert shown > 100


def test_a_mirrored_scene_is_that_of_its_mirrored_masks(scenes, learned):
    flipped = pixels_of(learned, 0, mirrored=True)
    assert torch.equal(flipped["semantic"], torch.from_numpy(scenes[0].semantic[:, ::-1].copy()).long())
    plain = pixels_of(learned, 0)
    both = plain["middles"].flip(1), flipped["middles"]
    torch.testing.assert_close(both[0] * torch.tensor([-1.0, 1.0]), both[1], equal_nan=True)


def test_a_patch_without_a_thing_has_no_middle(learned):
    looking = Looking(tiny_vqa.untrained())
    with torch.no_grad():
        looking.middle.weight.zero_()
        looking.middle.bias.copy_(torch.tensor([0.25, 0.0]))
    nothing = torch.full((1, 8, 8, 2), float("nan"))
    one = nothing.clone()
    one[0, 2, 3] = torch.tensor([0.25, 0.5])
    patches = torch.randn(1, 64, 128)
    assert looking.missed(patches, nothing) == 0
    assert looking.missed(patches, one).item() == pytest.approx(0.5)


def test_looking_needs_no_answer_and_answering_starts_with_it(learned, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_vqa, "BATCH", 4)
    rows = Scenes(learned)
    assert "answer" not in collate([rows[0], rows[1]])
    looking = tiny_vqa.looked(learned, tmp_path, quick=True)
    untouched = tiny_vqa.untrained()
    patches = "vilt.embeddings.patch_embeddings.projection.weight"
    assert not torch.equal(looking.model.state_dict()[patches], untouched.state_dict()[patches])
    monkeypatch.setattr(tiny_vqa, "train_or_load", lambda model, task, *_: task())
    model = tiny_vqa.trained(looking, learned, 17, tmp_path, quick=True)
    assert torch.equal(model.state_dict()[patches], looking.model.state_dict()[patches])
    known, table = tiny_vqa.tokenizer().get_vocab(), model.vilt.embeddings.text_embeddings.word_embeddings.weight
    assert torch.equal(table[known["apples"]], table[known["apple"]])
    assert not torch.equal(table[known["apples"]], table[known["banana"]])


# Training ------------------------------------------------------------------------------------------------------------


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
        "sorts": {"is there: yes": (0.75, 8), "above": (0.25, 4)},
        "seconds": {"scenes": 60.0, "looking": 240.0, "seed 17": 60.0, "seed 18": 180.0},
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
    assert "Its error is 74.1% of the baseline's, and 70.4% on average over the seeds: more than half" in card
    assert "learning to look 4.0 minutes" in card and "a training 2.0 minutes" in card
    assert "| above | 4 | 0.250 |" in card
