"""What the classes of things are called in English and in Telugu, and sentences that contain these names."""

from __future__ import annotations

from dataclasses import dataclass

from notebook_kit.recipes.things_data import LABELS

__all__ = ["LANGUAGES", "NAMES", "TEMPLATES", "UNSEEN", "Names", "filled"]

LANGUAGES = ("English", "Telugu")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a class, the usual one first."""

    English: tuple[str, ...]
    Telugu: tuple[str, ...]

    def of(self, language: str) -> tuple[str, ...]:
        """The names in a language."""
        names: tuple[str, ...] = getattr(self, language)
        return names


_TELUGU = {
    "airplane": "విమానం",
    "apple": "ఆపిల్ యాపిల్",
    "ball": "బంతి బాల్",
    "banana": "అరటిపండు",
    "bear": "ఎలుగుబంటి",
    "boat": "పడవ ఓడ",
    "bus": "బస్సు",
    "butterfly": "సీతాకోకచిలుక",
    "car": "కారు",
    "cat": "పిల్లి",
    "chicken": "కోడి కోడిపెట్ట కోడిపుంజు",
    "cow": "ఆవు",
    "cup": "కప్పు",
    "deer": "జింక",
    "dog": "కుక్క",
    "drum": "డ్రమ్",
    "duck": "బాతు",
    "elephant": "ఏనుగు",
    "fish": "చేప",
    "flower": "పువ్వు పుష్పం",
    "frog": "కప్ప",
    "guitar": "గిటార్",
    "hammer": "సుత్తి",
    "horse": "గుర్రం",
    "lion": "సింహం",
    "monkey": "కోతి",
    "mouse": "ఎలుక",
    "mushroom": "పుట్టగొడుగు",
    "orange": "నారింజ కమలాపండు",
    "parrot": "చిలుక",
    "penguin": "పెంగ్విన్",
    "pig": "పంది",
    "rabbit": "కుందేలు",
    "scissors": "కత్తెర",
    "sheep": "గొర్రె",
    "strawberry": "స్ట్రాబెర్రీ",
    "tiger": "పులి",
    "tree": "చెట్టు",
    "truck": "లారీ ట్రక్కు",
    "whale": "తిమింగలం",
}
"""Label -> names, as in the Telugu annotations of emoji in Unicode's CLDR."""

_SYNONYMS = {
    "airplane": "plane aeroplane",
    "boat": "ship",
    "cat": "kitten",
    "car": "automobile",
    "chicken": "hen rooster",
    "cup": "mug",
    "dog": "puppy",
    "flower": "blossom",
    "horse": "pony",
    "monkey": "ape",
    "rabbit": "bunny",
    "truck": "lorry",
}

NAMES: dict[str, Names] = {
    label: Names((label, *_SYNONYMS.get(label, "").split()), tuple(_TELUGU[label].split())) for label in LABELS
}

TEMPLATES = {
    "English": (
        "{}",
        "a {}",
        "a photo of a {}",
        "This is a photo of {}.",
        "This is a photo of a {}.",
        "a picture of a {}",
        "a drawing of a {}",
        "There is a {} in the picture.",
    ),
    "Telugu": ("{}", "ఒక {}", "ఇది {}", "{} చిత్రం", "{} ఫోటో", "This is a photo of {}."),
}
"""The wordings of training texts."""

UNSEEN = {"English": "I can see the {} here.", "Telugu": "ఇక్కడ {} ఉంది."}
"""Wordings that no training text has, for tests."""


def filled(template: str, name: str) -> str:
    """A template with a name.

    Example:
        >>> filled("a photo of a {}", "apple"), filled("a {}", "scissors")
        ('a photo of an apple', 'scissors')
    """
    if name == "scissors":
        template = template.replace("a {}", "{}")
    elif name[0] in "aeiou":
        template = template.replace("a {}", "an {}")
    return template.format(name)
