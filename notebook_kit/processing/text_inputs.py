"""What callers pass as text: telling one text from a batch, and naming what is wrong with an input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from notebook_kit.errors import InputError

__all__ = ["as_batch", "repair"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def as_batch(text: Any, pair: Any, is_split_into_words: bool) -> tuple[list[Any] | tuple[Any, ...], bool]:
    """The inputs as one sequence of texts or pairs, and whether the caller gave a batch.

    Raises:
        InputError: `text` is neither text nor a sequence of texts, or the pairs do not fit it.
    """
    if isinstance(text, str):
        if is_split_into_words:
            raise InputError(
                "is_split_into_words=True was given with a str.", next_step="Pass a list of words, or leave it out."
            )
        batched = False
    else:
        text = _sequence(text, "text")
        if is_split_into_words and text and _is_sequence(text[0]) and not isinstance(text[0], list | tuple):
            text = [_sequence(words, "text") for words in text]
        batched = not is_split_into_words or bool(text and isinstance(text[0], list | tuple))
    if not batched:
        # An empty second text is no second text, as in transformers.
        return [(text, pair) if pair else text], False
    if pair is None:
        return text, True
    if isinstance(pair, str):
        raise InputError(
            f"text is a batch of {len(text)}, text_pair a single str.",
            next_step="Pass a list with one second text for each first.",
        )
    pair = _sequence(pair, "text_pair")
    if len(pair) != len(text):
        raise InputError(
            f"text has {len(text)} entries, text_pair {len(pair)}.",
            next_step="Pass a list with one second text for each first.",
        )
    return list(zip(text, pair, strict=True)), True


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _sequence(value: Any, name: str) -> list[Any] | tuple[Any, ...]:
    """A list or tuple from that, an array, a dataset's column, a Series, or a generator."""
    if isinstance(value, list | tuple):
        return value
    if not _is_sequence(value):
        raise InputError(
            f"{name} is {_described(value)}, not text.",
            next_step="Pass a str, a list of str, or with is_split_into_words=True a list of words (or of such lists).",
        )
    return list(value)


def repair(batch: Sequence[Any], batched: bool, is_split_into_words: bool) -> list[Any] | None:
    """The batch with each lone surrogate replaced by U+FFFD, or None if there were none.

    A lone surrogate (half of a UTF-16 pair, left by a careless cut) is no character, and UTF-8 cannot hold it. One
    character stands for one, so that offsets still point into the caller's text.

    Raises:
        InputError: an input that is no text, named by its position and type.
    """
    found = False

    def checked(value: Any, where: str) -> Any:
        nonlocal found
        if not isinstance(value, str):
            raise InputError(
                f"{where} is {_described(value)}, not a str.",
                next_step="Convert it with str(...), or drop such rows (for example dataset.filter).",
            )
        repaired = _SURROGATE.sub("�", value)
        found = found or repaired != value
        return repaired

    def text(value: Any, where: str) -> Any:
        if not is_split_into_words:
            return checked(value, where)
        if not _is_sequence(value):
            raise InputError(
                f"{where} is {_described(value)}, not a list of words.", next_step="Pass lists of str, one per text."
            )
        return [checked(word, f"Word {place} of {where[0].lower()}{where[1:]}") for place, word in enumerate(value)]

    repaired = []
    for place, item in enumerate(batch):
        where = f"Text {place} of the batch" if batched else "The text"
        pair_given = isinstance(item, tuple | list) and len(item) == 2 and (not is_split_into_words or _are_texts(item))
        if pair_given:
            repaired.append((text(item[0], where), text(item[1], f"The second text at {place}" if batched else where)))
        elif not is_split_into_words and isinstance(item, tuple | list):
            raise InputError(
                f"{where} is a {type(item).__name__} of {len(item)}.",
                next_step="Pass a str, or a pair of str; for texts that are split into words is_split_into_words=True.",
            )
        else:
            repaired.append(text(item, where))
    return repaired if found else None


def _are_texts(item: Sequence[Any]) -> bool:
    return all(isinstance(part, list | tuple) for part in item)


def _described(value: Any) -> str:
    name = type(value).__name__
    if value is None:
        return "None"
    short = repr(value)
    return f"{name} ({short})" if len(short) <= 40 else f"{name} ({short[:37]}...)"
