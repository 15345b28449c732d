"""The words of the interface: one JSON file a language, and which of them is spoken."""

from __future__ import annotations

import functools
import json
import weakref
from pathlib import Path
from typing import Protocol

from notebook_kit.errors import InputError, near_matches

__all__ = ["languages", "set_language", "strings"]

FOLDER = Path(__file__).parent / "strings"


class Speaker(Protocol):
    """What has words on the screen, such as a panel."""

    def speak(self) -> None:
        """Say them in the language that is spoken now."""


_spoken = "en"
_speakers: weakref.WeakSet[Speaker] = weakref.WeakSet()


def languages() -> list[str]:
    """The codes of the languages that the panels speak.

    Example:
        >>> languages()
        ['en', 'te']
    """
    return sorted(path.stem for path in FOLDER.glob("*.json"))


@functools.cache
def _table(language: str) -> dict[str, str]:
    return json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))


def strings(*prefixes: str) -> dict[str, str]:
    """The words that belong to some parts of the interface, in the language that is spoken.

    Args:
        *prefixes: Parts, such as "common" and "token_inspector"; a key reads "part.name".

    Returns:
        Key -> words. A key that a language lacks comes in English.
    """
    table = {**_table("en"), **_table(_spoken)}
    return {key: words for key, words in table.items() if key.partition(".")[0] in prefixes}


def set_language(code: str) -> None:
    """Choose the language of all panels, those on the screen included.

    Args:
        code: "en" for English, "te" for Telugu.

    Raises:
        InputError: If the panels do not speak it.

    Example:
        >>> from notebook_kit.panels import set_language
        >>> set_language("te")
        >>> set_language("en")
    """
    global _spoken
    if code not in languages():
        raise InputError(
            f"The panels do not speak {code!r}. {near_matches(code, languages())}".rstrip(),
            next_step=f"Choose one of {', '.join(map(repr, languages()))}.",
        )
    _spoken = code
    for speaker in list(_speakers):
        speaker.speak()


def register(speaker: Speaker) -> None:
    """Let a panel follow the language as long as it lives."""
    _speakers.add(speaker)


def spoken() -> str:
    """The code of the language that is spoken now."""
    return _spoken
