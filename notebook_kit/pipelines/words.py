"""Which tokens of a text form a word."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["words_of_tokens"]


def words_of_tokens(text: str, offsets: Sequence[tuple[int, int]], word_ids: Sequence[int | None]) -> list[list[int]]:
    """Group tokens into words.

    A word ends where the tokenizer's word ends and at white space, since some tokenizers count several words, or a whole
    text, as one. Punctuation at the edges of such a word is a word by itself: the full stop after a name is not part of it.

    Args:
        text: The tokenized text.
        offsets: The characters (start, end) of each token in `text`.
        word_ids: The tokenizer's number of each token's word; tokens with `None`, such as special ones, are left out.

    Returns:
        Per word, the positions of its tokens, in the order of the text.

    Example:
        >>> words_of_tokens("in York.", [(0, 0), (0, 2), (2, 5), (5, 7), (7, 8), (0, 0)], [None, 0, 0, 0, 0, None])
        [[1], [2, 3], [4]]
    """
    words: list[list[int]] = []
    last: int | None = None
    for i, word in enumerate(word_ids):
        if word is None:
            continue
        if last is not None and word == word_ids[last] and not _separate(text, offsets[last], offsets[i]):
            words[-1].append(i)
        else:
            words.append([i])
        last = i
    return [part for word in words for part in _without_punctuation(text, offsets, word)]


def _separate(text: str, token: tuple[int, int], following: tuple[int, int]) -> bool:
    """Whether white space separates two neighbouring tokens. White space alone belongs to what follows it."""
    if not text[slice(*token)].strip():
        return False
    around = text[max(token[1] - 1, 0) : following[0] + 1]
    return any(map(str.isspace, around))


def _without_punctuation(text: str, offsets: Sequence[tuple[int, int]], word: list[int]) -> list[list[int]]:
    """The tokens of a word in up to three parts: leading punctuation, the rest, and trailing punctuation."""
    if len(word) == 1:
        return [word]
    texts = [text[slice(*offsets[i])] for i in word]
    marks = [bool(text.strip()) and all(unicodedata.category(c)[0] in "PS" for c in text.strip()) for text in texts]
    letters = [i for i, text in enumerate(texts) if text.strip() and not marks[i]]
    if not letters or not any(marks):
        return [word]
    start = letters[0] if any(marks[: letters[0]]) else 0
    parts = (word[:start], word[start : letters[-1] + 1], word[letters[-1] + 1 :])
    return [part for part in parts if part]
