"""The words of the interface: one JSON file per language, and which language is in use."""

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
    """Something with words on the screen, such as a panel."""

    def speak(self) -> None:
        """Show them in the current language."""


_spoken = "en"
_speakers: weakref.WeakSet[Speaker] = weakref.WeakSet()


def languages() -> list[str]:
    """The codes of the languages available in the panels.

    Example:
        >>> languages()
        ['en', 'te']
    """
    return sorted(path.stem for path in FOLDER.glob("*.json"))


@functools.cache
def _table(language: str) -> dict[str, str]:
    return json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))


def strings(*prefixes: str) -> dict[str, str]:
    """The words of some parts of the interface, in the current language.

    Args:
        *prefixes: Parts, such as "common" and "token_inspector"; a key reads "part.name".

    Returns:
        Key -> words. A key that the language lacks is in English.
    """
    table = {**_table("en"), **_table(_spoken)}
    return {key: words for key, words in table.items() if key.partition(".")[0] in prefixes}


def set_language(code: str) -> None:
    """Choose the language of all panels, including those on the screen.

    Args:
        code: "en" for English, "te" for Telugu.

    Raises:
        InputError: If it is not available.

    Example:
        >>> from notebook_kit.panels import set_language
        >>> set_language("te")
        >>> set_language("en")
    """
    global _spoken
    if not isinstance(code, str) or code not in languages():
        raise InputError(
            f"The panels are not available in the language {code!r}. {near_matches(str(code), languages())}".rstrip(),
            next_step=f"Choose one of {', '.join(map(repr, languages()))}.",
        )
    _spoken = code
    for speaker in list(_speakers):
        speaker.speak()


def register(speaker: Speaker) -> None:
    """Let a panel follow the language for as long as it exists."""
    _speakers.add(speaker)


def spoken() -> str:
    """The code of the current language."""
    return _spoken
