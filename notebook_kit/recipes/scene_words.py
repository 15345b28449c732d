"""What can be said about a scene: questions with their answers, and a caption."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from notebook_kit.recipes.scene_data import LABELS
from notebook_kit.recipes.scenes import Scene

__all__ = [
    "ANSWERS",
    "KINDS",
    "OPPOSITE",
    "RELATIONS",
    "WORDINGS",
    "Question",
    "Wording",
    "caption",
    "is_held_out",
    "plural",
    "questions",
    "relation",
    "words",
]

COUNTS = ("0", "1", "2", "3")
ANSWERS = ["no", "yes", *COUNTS, *LABELS]
"""All answers, in the order of their numbers."""

KINDS = ("how many", "is there", "where")
"""The kinds of questions."""

RELATIONS = ("left of", "right of", "above", "below")
OPPOSITE = dict(zip(RELATIONS, ("right of", "left of", "below", "above"), strict=True))
"""Relation -> the relation the other way round."""

_APART = 0.12  # of the scene: a smaller distance is not called left or above
_PLURALS = {"butterfly": "butterflies", "fish": "fish", "strawberry": "strawberries"}


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a scene, its answer, and the kind of the question, one of `KINDS`."""

    text: str
    answer: str
    kind: str


def plural(name: str) -> str:
    """The plural of a class.

    Example:
        >>> plural("apple"), plural("butterfly")
        ('apples', 'butterflies')
    """
    return _PLURALS.get(name, f"{name}s")


def relation(first: Sequence[float], second: Sequence[float], size: float) -> str | None:
    """How the first of two boxes is placed relative to the second, or None if they are too close.

    Args:
        first, second: Left, top, right and bottom.
        size: The side of the scene.

    Example:
        >>> relation([0, 0, 10, 10], [50, 5, 60, 15], 100)
        'left of'
    """
    right, down = ((first[axis] + first[axis + 2] - second[axis] - second[axis + 2]) / 2 for axis in (0, 1))
    if max(abs(right), abs(down)) < _APART * size:
        return None
    if abs(right) > abs(down):
        return "left of" if right < 0 else "right of"
    return "above" if down < 0 else "below"


def questions(scene: Scene, chance: np.random.Generator) -> list[Question]:
    """Questions about a scene: how many, is there, and where. Things of which there are several are not used as places."""
    names = [LABELS[label] for label in scene.labels]
    absent = [name for name in LABELS if name not in names]
    found = [Question("how many things are there?", str(len(names)), "how many")] if len(names) <= 3 else []
    for name in [*dict.fromkeys(names), absent[chance.integers(len(absent))]]:
        if names.count(name) < len(COUNTS):
            found.append(Question(f"how many {plural(name)} are there?", str(names.count(name)), "how many"))
    chosen = names[chance.integers(len(names))]
    article = {name: _article(name) for name in LABELS}
    found.append(Question(f"is there {article[chosen]} {chosen}?", "yes", "is there"))
    missing = absent[chance.integers(len(absent))]
    found.append(Question(f"is there {article[missing]} {missing}?", "no", "is there"))
    size = len(scene.image)
    for place, name in enumerate(names):
        if names.count(name) > 1:
            continue
        for wanted in RELATIONS:
            others = {
                other
                for row, other in enumerate(names)
                if row != place and relation(scene.boxes[row], scene.boxes[place], size) == wanted
            }
            if len(others) == 1:
                found.append(Question(f"what is {wanted} the {name}?", others.pop(), "where"))
    return found


@dataclass(frozen=True, slots=True)
class Wording:
    """How captions are worded in a language.

    Attributes:
        things: Class -> how a caption names such a thing.
        places: Class -> how it names the thing that another one is placed by; in Telugu this is the dative.
        relations: Relation -> its words; "near" as well.
        pair: Two things and their relation, with the fields `first`, `how` and `second`.
        further: A further thing, with the field `thing`.
    """

    things: Mapping[str, str]
    places: Mapping[str, str]
    relations: Mapping[str, str]
    pair: str
    further: str

    def named(self, text: str) -> list[str]:
        """The classes that a caption names, in its order.

        Example:
            >>> WORDINGS["English"].named("an apple left of a vehicle, and a ball")
            ['apple', 'vehicle', 'ball']
        """
        forms = {form: name for names in (self.things, self.places) for name, form in names.items()}
        return [forms[found] for found in re.findall(_any_of(forms), text)]

    def stated(self, text: str) -> tuple[str, str, str] | None:
        """The first relation that a caption states, one of `RELATIONS`, between the things that it names; None if it states none.

        Example:
            >>> WORDINGS["English"].stated("an apple left of a vehicle, and a ball")
            ('apple', 'left of', 'vehicle')
        """
        tables = {
            "first": self.things,
            "how": {name: self.relations[name] for name in RELATIONS},
            "second": self.places,
        }
        fields = {field: f"(?P<{field}>{_any_of(table.values())})" for field, table in tables.items()}
        found = re.search(self.pair.format(**fields), text)
        if found is None:
            return None
        first, how, second = (
            next(name for name, form in table.items() if form == found[field]) for field, table in tables.items()
        )
        return first, how, second


def _any_of(words: Iterable[str]) -> str:
    """A pattern of any of these words, the longest that fits."""
    return r"(?<!\w)(?:" + "|".join(sorted(map(re.escape, words), key=len, reverse=True)) + r")(?!\w)"


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


_WITH_ARTICLE = {name: f"{_article(name)} {name}" for name in LABELS}
_TELUGU = {
    "animal": ("జంతువు", "జంతువుకు"),
    "apple": ("ఆపిల్", "ఆపిల్\u200cకు"),
    "ball": ("బంతి", "బంతికి"),
    "banana": ("అరటిపండు", "అరటిపండుకు"),
    "butterfly": ("సీతాకోకచిలుక", "సీతాకోకచిలుకకు"),
    "fish": ("చేప", "చేపకు"),
    "flower": ("పువ్వు", "పువ్వుకు"),
    "strawberry": ("స్ట్రాబెర్రీ", "స్ట్రాబెర్రీకి"),
    "tree": ("చెట్టు", "చెట్టుకు"),
    "vehicle": ("వాహనం", "వాహనానికి"),
}
"""Class -> its name in the Telugu annotations of emoji in Unicode's CLDR, and the dative of that name."""

WORDINGS = {
    "English": Wording(
        _WITH_ARTICLE,
        _WITH_ARTICLE,
        {name: name for name in (*RELATIONS, "near")},
        "{first} {how} {second}",
        ", and {thing}",
    ),
    "Telugu": Wording(
        {name: f"ఒక {subject}" for name, (subject, _) in _TELUGU.items()},
        {name: dative for name, (_, dative) in _TELUGU.items()},
        {"left of": "ఎడమవైపు", "right of": "కుడివైపు", "above": "పైన", "below": "కింద", "near": "దగ్గర"},
        "{second} {how} {first}",
        ", ఇంకా {thing}",
    ),
}
"""Language -> the wording of captions."""


def caption(scene: Scene, language: str = "English") -> str:
    """How the two largest things are placed, and which others there are.

    Args:
        scene: The scene.
        language: One of `WORDINGS`.

    Example:
        >>> boxes = np.array([[0, 0, 9, 9], [20, 0, 30, 9], [0, 20, 3, 23]], np.float32)
        >>> nothing = np.zeros((32, 32, 3), np.uint8)
        >>> scene = Scene(nothing, np.array([8, 9, 2]), boxes, nothing[:0], nothing[..., 0])
        >>> caption(scene), caption(scene, "Telugu")
        ('a tree left of a vehicle, and a ball', 'వాహనానికి ఎడమవైపు ఒక చెట్టు, ఇంకా ఒక బంతి')
    """
    wording = WORDINGS[language]
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in scene.boxes]
    order = np.argsort(sizes)[::-1].tolist()
    names = [LABELS[label] for label in scene.labels]
    if len(order) == 1:
        return wording.things[names[0]]
    first, second, *others = order
    how = relation(scene.boxes[first], scene.boxes[second], len(scene.image)) or "near"
    if how in ("right of", "below"):
        first, second, how = second, first, OPPOSITE[how]
    text = wording.pair.format(
        first=wording.things[names[first]], how=wording.relations[how], second=wording.places[names[second]]
    )
    return "".join([text, *(wording.further.format(thing=wording.things[names[other]]) for other in others)])


def is_held_out(labels: Iterable[int]) -> bool:
    """Whether two classes occur together that no training scene shows together.

    Example:
        >>> is_held_out([0, 7]), is_held_out([0, 1])
        (True, False)
    """
    kinds = sorted(set(labels))
    return any((one + two) % 7 == 0 for place, one in enumerate(kinds) for two in kinds[place + 1 :])


def words() -> list[str]:
    """All words that occur in questions and captions, in alphabetical order."""
    others = ("how", "many", "things", "are", "there", "is", "a", "an", "what", "left", "right", "of", "above", "below")
    return sorted({*others, "near", "the", "and", "?", ",", *LABELS, *map(plural, LABELS)})
