"""What is said about scenes: that answers and captions are true."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from notebook_kit.recipes import scene_words
from notebook_kit.recipes.scene_data import LABELS
from notebook_kit.recipes.scene_words import RELATIONS, caption, questions, relation
from notebook_kit.recipes.scenes import Cutout, SceneMaker


def test_examples_run():
    failed, ran = doctest.testmod(scene_words)
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


def test_captions_name_every_thing_and_a_true_relation(scenes):
    related = 0
    for scene in scenes:
        names, text = [LABELS[label] for label in scene.labels], caption(scene)
        said = [word for word in text.replace(",", "").split() if word in LABELS]
        assert sorted(said) == sorted(names)
        for wanted in RELATIONS:
            if f" {wanted} " in text and names.count(said[0]) == names.count(said[1]) == 1:
                assert relation(scene.boxes[names.index(said[0])], scene.boxes[names.index(said[1])], 64) == wanted
                related += 1
    assert related > 10
