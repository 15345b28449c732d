"""The tokens of a text as an axis, from any of the ecosystem's tokenizers."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import TokenAxis, named_tokens

__all__ = ["encode", "tokens_of"]


def encode(tokenizer: Any, text: str, text_pair: str | None = None) -> tuple[dict[str, list[int]], TokenAxis, bool]:
    """Encode a text or a pair with any of the ecosystem's tokenizers.

    Args:
        tokenizer: A tokenizer of notebook_kit or `transformers`, or a `tokenizers.Tokenizer`.
        text: The text.
        text_pair: The second text, or None.

    Returns:
        The model inputs by name, the tokens, and whether the text was truncated to the tokenizer's maximum length.

    Raises:
        InputError: If `tokenizer` is not a tokenizer.
    """
    if not callable(tokenizer):
        if not hasattr(tokenizer, "encode"):
            raise InputError(
                f"{type(tokenizer).__name__} is not a tokenizer.",
                next_step="Pass a tokenizer of notebook_kit or transformers, or a tokenizers.Tokenizer.",
            )
        encoding = tokenizer.encode(text, text_pair) if text_pair is not None else tokenizer.encode(text)
        features = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        return features, _from_encoding(encoding, (text, text_pair or "")), bool(encoding.overflowing)
    longest = getattr(tokenizer, "model_max_length", None)
    cut = {"truncation": True} if isinstance(longest, int) and longest < 1_000_000 else {}
    batch = tokenizer(text, text_pair, **cut)
    features = {name: list(values) for name, values in dict(batch).items()}
    encodings = getattr(batch, "encodings", None)
    overflowing = bool(encodings and encodings[0].overflowing)
    return features, tokens_of(batch, tokenizer, texts=(text, text_pair or "")), overflowing


def tokens_of(
    batch: Mapping[str, Any], tokenizer: Any, *, example: int = 0, texts: tuple[str, str] | None = None
) -> TokenAxis:
    """The tokens of one example in the output of a tokenizer.

    Args:
        batch: A `BatchEncoding` or a plain dictionary with "input_ids", as lists or tensors.
        tokenizer: The tokenizer; not needed for the output of a fast tokenizer, which keeps its encodings.
        example: Which example of a batch.
        texts: The texts, from which the words are labelled; without them, words are labelled from their tokens.
    """
    encodings = getattr(batch, "encodings", None)
    if encodings:
        return _from_encoding(encodings[example], texts)
    ids = _row(batch["input_ids"], example)
    named = named_tokens(tokenizer.convert_ids_to_tokens(ids))
    special = [bool(flag) for flag in tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)]
    parts = _row(batch["token_type_ids"], example) if "token_type_ids" in batch else [0] * len(ids)
    segments = tuple(None if flag else part for flag, part in zip(special, parts, strict=True))
    return TokenAxis(named.labels, tuple(special), named.words, named.word_labels, segments, tuple(ids))


def _row(values: Any, example: int) -> list[int]:
    """One example of ids that may or may not have a batch dimension."""
    plain = values.tolist() if hasattr(values, "tolist") else list(values)
    return list(plain[example]) if plain and isinstance(plain[0], list | tuple) else plain


def _from_encoding(encoding: Any, texts: tuple[str, str] | None) -> TokenAxis:
    words: list[int] = []
    word_labels: list[str] = []
    labels: list[str] = []
    before: Any = None
    spans: list[tuple[int, int, int]] = []  # of each word: the number of its text, start, end
    former, reached = "", 0
    special = [bool(flag) for flag in encoding.special_tokens_mask]
    for position, (token, part, word, offsets) in enumerate(
        zip(encoding.tokens, encoding.sequence_ids, encoding.word_ids, encoding.offsets, strict=True)
    ):
        start, end = offsets
        slice_ = "" if texts is None or part is None or special[position] else texts[part][start:end]
        labels.append(_readable(token, slice_))
        this = None if special[position] or word is None else (part, word)
        if this is not None and before is not None and before[0] == part and start <= reached:
            this = before if start < reached or _belongs_to(former, slice_) else this
        former, reached = slice_, end
        if this is None or this != before:
            word_labels.append(slice_ or token)
            words.append(len(word_labels) - 1)
            spans.append((part or 0, start, end))
        else:
            words.append(len(word_labels) - 1)
            place, first, last = spans[-1]
            spans[-1] = (place, min(first, start), max(last, end))
            if texts is None:
                word_labels[-1] += token.removeprefix("##")
            else:
                word_labels[-1] = texts[place][spans[-1][1] : spans[-1][2]] or word_labels[-1]
        before = this
    return TokenAxis(
        tuple(labels),
        tuple(special),
        tuple(words),
        tuple(label.strip() or label for label in word_labels),
        tuple(None if flag else part for flag, part in zip(special, encoding.sequence_ids, strict=True)),
        tuple(encoding.ids),
    )


def _belongs_to(former: str, text: str) -> bool:
    """Whether a text continues the word before it, which byte-level tokenizers cut at the vowel signs of Indic scripts."""
    if not former or not text or not (text[0].isalpha() or _is_mark(text[0])):
        return False
    return _is_mark(former[-1]) or _is_mark(text[0])


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _readable(token: str, slice_: str) -> str:
    """The token as the vocabulary spells it, or its text if the vocabulary spells it in bytes."""
    if not slice_.strip() or token.isascii():
        return token
    bare = token.removeprefix("##").lstrip("▁Ġ")
    if bare.casefold() == slice_.strip().casefold():
        return token
    in_bytes = any("Ā" <= character <= "ń" or "\x80" <= character <= "ÿ" for character in bare)
    return slice_ if in_bytes else token
