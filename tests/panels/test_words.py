"""The words of the panels: every language has all of them, with the same places to fill in, and one word for one thing."""

from __future__ import annotations

import json
import re

import pytest

from notebook_kit.language import FOLDER as STRINGS

ENGLISH = json.loads((STRINGS / "en.json").read_text(encoding="utf-8"))
OTHERS = sorted(path.stem for path in STRINGS.glob("*.json") if path.stem != "en")
ONCE = {
    "te": {
        "model": ("మోడల్", r"నమూనా(?!లు$| తీ)"),  # a sample is a నమూనా
        "text": ("వచన", r"పాఠ"),
        "weight": ("బరువు", r"భార"),
        "loss": ("లాస్", r"నష్ట"),
        "step": ("అంచె", r"అడుగు"),
        "save": ("సేవ్", r"భద్రపర"),
    }
}
"""Language -> thing -> the word for it, and words that stand for it elsewhere and should not be mixed in."""


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_all_words(language):
    words = json.loads((STRINGS / f"{language}.json").read_text(encoding="utf-8"))
    assert set(words) == set(ENGLISH)
    for key, word in words.items():
        assert set(re.findall(r"{\w+}", word)) == set(re.findall(r"{\w+}", ENGLISH[key])), key
    assert list(words) == sorted(words)


@pytest.mark.parametrize("language", ONCE)
def test_one_thing_has_one_word(language):
    words = json.loads((STRINGS / f"{language}.json").read_text(encoding="utf-8"))
    for thing, (right, wrong) in ONCE[language].items():
        assert any(right in word for word in words.values()), thing
        assert not [key for key, word in words.items() if re.search(wrong, word)], thing
