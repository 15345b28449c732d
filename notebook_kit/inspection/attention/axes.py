"""What is known of the tokens on one side of an attention matrix: labels, words, texts of a pair, special or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from notebook_kit.errors import InputError

__all__ = ["Tokens", "encode", "named_tokens"]


@dataclass(frozen=True)
class Tokens:
    """The tokens of one side of an attention matrix.

    Args:
        labels: How each token reads.
        special: Whether each is a special token, as the tokenizer says (never guessed from the name).
        words: The number of the word that each is part of; tokens of one word stand together.
        word_labels: How each word reads, by its number.
        segments: 0 for tokens of the first text, 1 for those of the second, None for special ones.
        ids: Their ids, or None when only labels are known.
    """

    labels: tuple[str, ...]
    special: tuple[bool, ...]
    words: tuple[int, ...]
    word_labels: tuple[str, ...]
    segments: tuple[int | None, ...]
    ids: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def has_pair(self) -> bool:
        return 1 in self.segments

    @property
    def identities(self) -> tuple[Any, ...]:
        """What makes two tokens the same: the id, or the label where there are no ids."""
        return self.labels if self.ids is None else self.ids


def named_tokens(labels: Sequence[Any]) -> Tokens:
    """Tokens of which nothing but the labels is known.

    Word pieces are found by their marks: `##ing` of WordPiece, `▁new` and `Ġnew` of SentencePiece and byte-level BPE.

    Example:
        >>> named_tokens(["play", "##ing", "chess"]).words
        (0, 0, 1)
    """
    names = [str(label) for label in labels]
    wordpiece = any(name.startswith("##") and len(name) > 2 for name in names)
    marked = any(name[:1] in "▁Ġ" for name in names if name)
    words: list[int] = []
    word_labels: list[str] = []
    for name in names:
        goes_on = bool(words) and (
            (wordpiece and name.startswith("##")) or (not wordpiece and marked and name[:1] not in ("▁", "Ġ"))
        )
        bare = name[2:] if wordpiece and goes_on else name.lstrip("▁Ġ") or name
        if goes_on:
            word_labels[-1] += bare
        else:
            word_labels.append(bare)
        words.append(len(word_labels) - 1)
    none = (False,) * len(names)
    return Tokens(tuple(names), none, tuple(words), tuple(word_labels), (0,) * len(names))


def encode(tokenizer: Any, text: str, text_pair: str | None = None) -> tuple[dict[str, list[int]], Tokens, bool]:
    """Encode a text or a pair with any of the ecosystem's tokenizers.

    Args:
        tokenizer: Of notebook_kit, of `transformers`, or a `tokenizers.Tokenizer`.
        text: The text.
        text_pair: The second text, or None.

    Returns:
        The model inputs by name, the tokens, and whether the text was cut at the tokenizer's longest length.

    Raises:
        InputError: If it is no tokenizer.
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
        return features, _from_encoding(encoding, text, text_pair), bool(encoding.overflowing)
    longest = getattr(tokenizer, "model_max_length", None)
    cut = {"truncation": True} if isinstance(longest, int) and longest < 1_000_000 else {}
    batch = tokenizer(text, text_pair, **cut)
    features = {name: list(values) for name, values in dict(batch).items()}
    encodings = getattr(batch, "encodings", None)
    if encodings:
        return features, _from_encoding(encodings[0], text, text_pair), bool(encodings[0].overflowing)
    ids = features["input_ids"]
    named = named_tokens(tokenizer.convert_ids_to_tokens(ids))
    special = [bool(flag) for flag in tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)]
    parts = features.get("token_type_ids", [0] * len(ids))
    segments = tuple(None if flag else part for flag, part in zip(special, parts, strict=True))
    return (
        features,
        Tokens(named.labels, tuple(special), named.words, named.word_labels, segments, tuple(ids)),
        False,
    )


def _from_encoding(encoding: Any, text: str, text_pair: str | None) -> Tokens:
    texts = (text, text_pair or "")
    words: list[int] = []
    word_labels: list[str] = []
    labels: list[str] = []
    before: Any = None
    spans: list[tuple[int, int, int]] = []  # of each word: which text, from, to
    special = [bool(flag) for flag in encoding.special_tokens_mask]
    for position, (token, part, word, offsets) in enumerate(
        zip(encoding.tokens, encoding.sequence_ids, encoding.word_ids, encoding.offsets, strict=True)
    ):
        start, end = offsets
        slice_ = "" if part is None or special[position] else texts[part][start:end]
        labels.append(_readable(token, slice_))
        this = None if special[position] or word is None else (part, word)
        if this is None or this != before:
            word_labels.append(slice_ or token)
            words.append(len(word_labels) - 1)
            spans.append((part or 0, start, end))
        else:
            words.append(len(word_labels) - 1)
            place, first, last = spans[-1]
            spans[-1] = (place, min(first, start), max(last, end))
            word_labels[-1] = texts[place][spans[-1][1] : spans[-1][2]] or word_labels[-1]
        before = this
    return Tokens(
        tuple(labels),
        tuple(special),
        tuple(words),
        tuple(label.strip() or label for label in word_labels),
        tuple(None if flag else part for flag, part in zip(special, encoding.sequence_ids, strict=True)),
        tuple(encoding.ids),
    )


def _readable(token: str, slice_: str) -> str:
    """The token as its vocabulary writes it, unless that is written in bytes and the text says it better."""
    if not slice_.strip() or token.isascii():
        return token
    bare = token.removeprefix("##").lstrip("▁Ġ")
    if bare.casefold() == slice_.strip().casefold():
        return token
    in_bytes = any("Ā" <= character <= "ń" or "\x80" <= character <= "ÿ" for character in bare)
    return slice_ if in_bytes else token
