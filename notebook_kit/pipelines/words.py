"""Which tokens of a text form a word."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

__all__ = ["marks_subwords", "whole_letters", "words_of_tokens"]


def marks_subwords(tokenizer: Any) -> bool:
    """Whether the tokens inside a word carry a mark, as WordPiece's `##`.

    Only then do the tokenizer's word ids number words. Byte-level tokenizers number the pieces that they cut at each
    apostrophe, accent, and digit.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None) or getattr(tokenizer, "_tokenizer", None)
    return bool(getattr(getattr(backend, "model", None), "continuing_subword_prefix", None))


def whole_letters(text: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The offsets of tokens, extended over the accents that follow a letter and that no token contains.

    Tokenizers that remove accents leave a separate accent at the end of a token out of its offsets.

    Example:
        >>> whole_letters("cafe\u0301s", [(0, 2), (2, 4), (5, 6)])
        [(0, 2), (2, 5), (5, 6)]
    """
    starts = {start for start, end in offsets if end > start}
    whole = []
    for start, end in offsets:
        while start < end < len(text) and end not in starts and unicodedata.category(text[end])[0] == "M":
            end += 1
        whole.append((start, end))
    return whole


def words_of_tokens(
    text: str, offsets: Sequence[tuple[int, int]], word_ids: Sequence[int | None], numbered: bool = True
) -> list[list[int]]:
    """Group tokens into words.

    A word ends where the tokenizer's word ends and at white space, since some tokenizers count several words, or a whole
    text, as one. Punctuation at the edges of such a word is a word by itself: the full stop after a name is not part of it.

    Args:
        text: The tokenized text.
        offsets: The characters (start, end) of each token in `text`.
        word_ids: The tokenizer's number of each token's word; tokens with `None`, such as special ones, are left out.
        numbered: Whether a new number is a new word; pass `False` for tokenizers that number pieces of words
            (`marks_subwords`).

    Returns:
        Per word, the positions of its tokens, in the order of the text.

    Example:
        >>> words_of_tokens("in York.", [(0, 0), (0, 2), (2, 5), (5, 7), (7, 8), (0, 0)], [None, 0, 0, 0, 0, None])
        [[1], [2, 3], [4]]
    """
    words: list[list[int]] = []
    last: int | None = None
    for i, word in enumerate(word_ids):
        if word is not None:
            if last is None or _separate(text, offsets[last], offsets[i]):
                words.append([i])
            elif word == word_ids[last] or not (numbered or _is_blank(text, offsets[last])):
                words[-1].append(i)
            else:
                words.append([i])
        last = None if word is None else i
    return [part for word in words for part in _without_punctuation(text, offsets, word)]


def _separate(text: str, token: tuple[int, int], following: tuple[int, int]) -> bool:
    """Whether white space, or a mark of a script without spaces, separates two neighbouring tokens.

    White space alone belongs to what follows it in the tokenizer's word.
    """
    shared = following[0] < token[1]  # one character in several tokens, such as its bytes
    if shared or _is_blank(text, token):
        return False
    around = text[max(token[1] - 1, 0) : following[0] + 1]
    return any(c.isspace() or (unicodedata.category(c)[0] == "P" and _is_wide(c)) for c in around)


def _is_blank(text: str, token: tuple[int, int]) -> bool:
    return not text[slice(*token)].strip()


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")


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
