"""Inputs of a tokenizer's call: distinguish one text from a batch, and report invalid inputs by position."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import InputError, NotebookKitError, a_kind, near_matches
from notebook_kit.processing.text.arguments import described

if TYPE_CHECKING:
    from notebook_kit.processing.text.lengths import Lengths

__all__ = ["as_batch", "backend_errors", "cannot_encode", "renamed", "repair", "unknown_keyword"]

# Keywords of older versions of `transformers` -> their current names.
_RENAMED = {"pad_to_max_length": "padding", "is_pretokenized": "is_split_into_words"}
_SURROGATE = re.compile("[\ud800-\udfff]")


def as_batch(text: Any, pair: Any, is_split_into_words: bool) -> tuple[list[Any] | tuple[Any, ...], bool]:
    """The inputs as a sequence of texts or pairs, and whether the caller passed a batch.

    Raises:
        InputError: If `text` is neither a text nor a sequence of texts, or `pair` does not match it.
    """
    if isinstance(text, str):
        if is_split_into_words:
            raise InputError(
                "is_split_into_words=True was passed with a str.", next_step="Pass a list of words, or leave it out."
            )
        batched = False
    else:
        text = _sequence(text, "text")
        if is_split_into_words and text and _is_sequence(text[0]) and not isinstance(text[0], list | tuple):
            text = [_sequence(words, "text") for words in text]
        batched = not is_split_into_words or bool(text and isinstance(text[0], list | tuple))
    if not batched:
        if pair is not None and not isinstance(pair, str | list | tuple):
            raise InputError(
                f"text is a single text, text_pair is {described(pair)}.",
                next_step="Pass a str as the second text, or lists of texts for both.",
            )
        # An empty second text counts as none, as in transformers.
        return [(text, pair) if pair else text], False
    if pair is None:
        return text, True
    if isinstance(pair, str):
        raise InputError(
            f"text is a batch of {len(text)}, text_pair a single str.",
            next_step="Pass a list with one second text per first text.",
        )
    pair = _sequence(pair, "text_pair")
    if len(pair) != len(text):
        raise InputError(
            f"text has {len(text)} entries, text_pair {len(pair)}.",
            next_step="Pass a list with one second text per first text.",
        )
    return list(zip(text, pair, strict=True)), True


def _is_sequence(value: Any) -> bool:
    if type(value).__name__ == "DataFrame" or getattr(value, "ndim", 1) == 0:
        return False
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _sequence(value: Any, name: str) -> list[Any] | tuple[Any, ...]:
    """Convert an array, a dataset's column, a Series or a generator to a list; return lists and tuples unchanged."""
    if isinstance(value, list | tuple):
        return value
    if not _is_sequence(value):
        column = "Pass a column, such as df['text']. " if type(value).__name__ == "DataFrame" else ""
        raise InputError(
            f"{name} is {described(value)}, not text.",
            next_step=f"{column}Pass a str, a list of str, or with is_split_into_words=True a list of words or a list of such lists.",
        )
    return list(value)


def repair(batch: Sequence[Any], batched: bool, is_split_into_words: bool) -> list[Any] | None:
    """The batch with each lone surrogate replaced by U+FFFD, or None if there are no lone surrogates.

    A lone surrogate (half of a UTF-16 pair, left by a careless cut) is not a character and cannot be encoded as UTF-8.
    Each is replaced by one character, so that offsets still refer to the caller's text.

    Raises:
        InputError: If an input is not text; the message names its position and type.
    """
    found = False

    def checked(value: Any, where: str) -> Any:
        nonlocal found
        if not isinstance(value, str):
            raise InputError(
                f"{where} is {described(value)}, not a str.",
                next_step="Convert it with str(...), or drop such rows (for example with dataset.filter).",
            )
        repaired = _SURROGATE.sub("�", value)
        found = found or repaired != value
        return repaired

    def text(value: Any, where: str) -> Any:
        if not is_split_into_words:
            return checked(value, where)
        if not _is_sequence(value):
            raise InputError(
                f"{where} is {described(value)}, not a list of words.", next_step="Pass lists of str, one per text."
            )
        return [checked(word, f"Word {place} of {where[0].lower()}{where[1:]}") for place, word in enumerate(value)]

    repaired = []
    for place, item in enumerate(batch):
        where = f"Text {place} of the batch" if batched else "The text"
        is_pair = isinstance(item, tuple | list) and len(item) == 2
        if is_split_into_words:
            is_pair = is_pair and all(isinstance(words, list | tuple) for words in item)
        if is_pair:
            repaired.append((text(item[0], where), text(item[1], f"The second text at {place}" if batched else where)))
        elif not is_split_into_words and isinstance(item, tuple | list):
            raise InputError(
                f"{where} is {a_kind(item)} of {len(item)}.",
                next_step="Pass a str or a pair of str; for texts that are split into words, is_split_into_words=True.",
            )
        else:
            repaired.append(text(item, where))
    return repaired if found else None


def renamed(unknown: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call that used old keywords, by their current names.

    Raises:
        InputError: If a keyword is neither an old nor a current name.
    """
    given = {key: value for key, value in given.items() if key not in ("self", "unknown")}
    for key, value in unknown.items():
        if key not in _RENAMED:
            raise unknown_keyword("This tokenizer", unknown, given)
        given[_RENAMED[key]] = ("max_length" if value else False) if key == "pad_to_max_length" else value
    return given


def unknown_keyword(what: str, unknown: Iterable[str], known: Iterable[str]) -> InputError:
    """The error for keywords that `what`, the subject of the message, does not have."""
    name, known = next(iter(unknown)), list(known)
    hint = near_matches(name, known)
    return InputError(f"{what} takes no {name!r}. {hint}".rstrip(), next_step=f"The keywords are {', '.join(known)}.")


def cannot_encode(error: BaseException, lengths: Lengths, options: Mapping[str, Any]) -> InputError:
    """The error for a call in which the backend failed."""
    if lengths.truncation:
        return InputError(
            f"Truncation to max_length={lengths.max_length} with stride={options['stride']} and strategy "
            f"{lengths.truncation!r} is not possible: {error}",
            next_step="Raise max_length (which includes special tokens), lower stride below it, or use the strategy "
            "'longest_first'.",
        )
    return InputError(f"The text could not be tokenized: {error}", next_step="Pass a str or a list of str.")


@contextmanager
def backend_errors(explained: Callable[[BaseException], NotebookKitError]) -> Iterator[None]:
    """Convert errors of the Rust backend to `explained(error)`: bare Exceptions, and panics, which are not Exceptions."""
    try:
        yield
    except NotebookKitError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise explained(error) from error
        raise
