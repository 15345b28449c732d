"""The axes of an attention matrix: text tokens, patches of a picture, frames of a sound, object queries, words on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from notebook_kit.errors import InputError
from notebook_kit.inspection.drawing.pictures import Box

__all__ = ["Axis", "Frames", "PageBoxes", "PatchGrid", "Queries", "TokenAxis", "encode", "named_tokens", "tokens_of"]


class Axis:
    """The rows or the columns of an attention matrix: one label per position, and how positions are grouped.

    The kinds of axes differ in where this information comes from; a lens treats all of them alike.

    Attributes:
        kind: "text", "patches", "frames", "queries" or "boxes".
        is_ordered: Whether positions are in sequence, so that each has a previous and a next one.
        labels: One label per position.
        special: Whether each position is a special token, such as a class token.
        words: The group of each position (its word, or its second), by number; groups are contiguous.
        word_labels: The label of each group, by its number.
        segments: 0 for the first text, 1 for the second, None for special tokens.
        ids: The vocabulary ids, or None.
        picture: The picture under `boxes`, or None.
    """

    kind: ClassVar[str]
    is_ordered: ClassVar[bool] = False

    labels: tuple[str, ...]
    special: tuple[bool, ...]
    words: tuple[int, ...]
    word_labels: tuple[str, ...]
    segments: tuple[int | None, ...]
    ids: tuple[int, ...] | None
    picture: Any

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def has_pair(self) -> bool:
        """Whether there are two texts."""
        return 1 in self.segments

    @property
    def identities(self) -> tuple[Any, ...]:
        """One value per position; positions with equal values are the same token. By default all differ."""
        return tuple(range(len(self)))

    @property
    def places(self) -> np.ndarray:
        """The coordinates of each position, `(positions, dimensions)`, in the unit of its kind; NaN if it has no place."""
        return np.arange(len(self), dtype=np.float64)[:, None]

    @property
    def boxes(self) -> tuple[Box | None, ...] | None:
        """The box of each position on `picture`, None for a position without one; None if there is no picture."""
        return None

    def fitted(self, size: int) -> Axis:
        """This axis adapted to attention with `size` positions; unchanged if that is not possible."""
        return self

    def kept(self, hide_special: bool = False, segment: int | None = None) -> list[int]:
        """The positions that remain if special tokens, or all texts but `segment`, are hidden."""
        return [
            i
            for i, (special, part) in enumerate(zip(self.special, self.segments, strict=True))
            if not (hide_special and special) and segment in (None, part)
        ]

    def merged(self, kept: Sequence[int]) -> list[list[int]]:
        """The positions `kept`, grouped: the pieces of each word, or the frames of each second."""
        groups: list[list[int]] = []
        for i in kept:
            if groups and self.words[groups[-1][-1]] == self.words[i]:
                groups[-1].append(i)
            else:
                groups.append([i])
        return groups

    def name_of(self, group: Sequence[int]) -> str:
        """The label of a group of positions."""
        return self.labels[group[0]] if len(group) == 1 else self.word_labels[self.words[group[0]]]


@dataclass(frozen=True)
class TokenAxis(Axis):
    """The tokens of a text or of a pair of texts; see `Axis` for the arguments.

    Example:
        >>> tokens = named_tokens(["play", "##ing", "chess"])
        >>> [tokens.name_of(group) for group in tokens.merged(tokens.kept())]
        ['playing', 'chess']
    """

    kind: ClassVar[str] = "text"
    is_ordered: ClassVar[bool] = True

    labels: tuple[str, ...]
    special: tuple[bool, ...]
    words: tuple[int, ...]
    word_labels: tuple[str, ...]
    segments: tuple[int | None, ...]
    ids: tuple[int, ...] | None = None
    picture: Any = None

    @property
    def identities(self) -> tuple[Any, ...]:
        """The ids, or the labels where there are no ids."""
        return self.labels if self.ids is None else self.ids


@dataclass(frozen=True, eq=False)
class PageBoxes(TokenAxis):
    """Tokens of the words on a page, each with the box of its word.

    Args:
        picture: The page.
        token_boxes: One box per token, in fractions of the page; None for special tokens.
    """

    kind: ClassVar[str] = "boxes"

    token_boxes: tuple[Box | None, ...] = ()

    @property
    def boxes(self) -> tuple[Box | None, ...]:
        """The boxes of the words."""
        return self.token_boxes

    @classmethod
    def of(
        cls, tokens: TokenAxis, boxes: Sequence[Sequence[float] | None], picture: Any, scale: float = 1.0
    ) -> PageBoxes:
        """Place tokens on a page.

        Args:
            tokens: The tokens.
            boxes: One `(left, top, right, bottom)` per token.
            picture: The page.
            scale: The coordinate of the right and bottom edges of the page: 1000 for the boxes that LayoutLM reads.

        Raises:
            InputError: If there is not one box per token.

        Example:
            >>> page = PageBoxes.of(named_tokens(["Total", "42"]), [(0, 0, 500, 100), (500, 0, 1000, 100)], None, scale=1000)
            >>> page.boxes
            ((0.0, 0.0, 0.5, 0.1), (0.5, 0.0, 1.0, 0.1))
        """
        if len(boxes) != len(tokens):
            raise InputError(
                f"There are {len(tokens)} tokens and {len(boxes)} boxes.",
                next_step="Pass one box per token, special tokens included.",
            )
        placed = tuple(
            None if box is None or special else _scaled(box, scale)
            for box, special in zip(boxes, tokens.special, strict=True)
        )
        fields = (tokens.labels, tokens.special, tokens.words, tokens.word_labels, tokens.segments, tokens.ids)
        return cls(*fields, picture=picture, token_boxes=placed)


class _Numbered(Axis):
    """An axis whose positions are numbered: none is repeated, and there is no second text."""

    ids = None
    picture = None

    @cached_property
    def special(self) -> tuple[bool, ...]:  # type: ignore[override]
        return (False,) * len(self)

    @cached_property
    def words(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(range(len(self)))

    @cached_property
    def word_labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.labels

    @cached_property
    def segments(self) -> tuple[int | None, ...]:  # type: ignore[override]
        return tuple(None if special else 0 for special in self.special)


@dataclass(frozen=True, eq=False)
class PatchGrid(_Numbered):
    """The patches of a picture, row by row, after any class and register tokens.

    Args:
        rows: Rows of patches.
        columns: Patches per row.
        picture: The picture as the model saw it, cropped by the processor (at any size): a PIL image, or an array
            `(height, width, 3)` of bytes. None draws plain patches.
        before: Labels of the special tokens before the first patch.

    Example:
        >>> grid = PatchGrid(2, 3, before=("[CLS]",))
        >>> grid.labels
        ('[CLS]', '0,0', '0,1', '0,2', '1,0', '1,1', '1,2')
        >>> grid.boxes[4]
        (0.0, 0.5, 0.3333333333333333, 1.0)
    """

    kind: ClassVar[str] = "patches"

    rows: int
    columns: int
    picture: Any = None
    before: tuple[str, ...] = ()

    @cached_property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self.before, *(f"{row},{column}" for row in range(self.rows) for column in range(self.columns)))

    @cached_property
    def special(self) -> tuple[bool, ...]:  # type: ignore[override]
        return (True,) * len(self.before) + (False,) * (self.rows * self.columns)

    @property
    def places(self) -> np.ndarray:
        """Row and column, so that distances are in patches; special tokens have no place."""
        grid = np.indices((self.rows, self.columns), dtype=np.float64).reshape(2, -1).T
        return np.concatenate([np.full((len(self.before), 2), np.nan), grid])

    @cached_property
    def boxes(self) -> tuple[Box | None, ...]:
        """The rectangle of each patch."""
        R, C = self.rows, self.columns
        cells = [(j / C, i / R, (j + 1) / C, (i + 1) / R) for i in range(R) for j in range(C)]
        return (*(None for _ in self.before), *cells)

    def fitted(self, size: int) -> PatchGrid:
        """The same grid with `size` positions: any beyond the patches are a class token, then register tokens, before them."""
        extra = size - self.rows * self.columns
        if extra == len(self.before) or extra < 0:
            return self
        return replace(self, before=("[CLS]", *(f"[REG{i}]" for i in range(1, extra)))[:extra])


@dataclass(frozen=True, eq=False)
class Frames(_Numbered):
    """Consecutive frames of a sound or a film.

    Args:
        count: The number of frames.
        seconds: The duration of one frame.
        start: The start of the first frame, in seconds.

    Example:
        >>> frames = Frames(4, 0.5)
        >>> frames.labels, [frames.name_of(group) for group in frames.merged(frames.kept())]
        (('0.00 s', '0.50 s', '1.00 s', '1.50 s'), ['0–1 s', '1–2 s'])
    """

    kind: ClassVar[str] = "frames"
    is_ordered: ClassVar[bool] = True

    count: int
    seconds: float
    start: float = 0.0

    @cached_property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"{self.start + i * self.seconds:.2f} s" for i in range(self.count))

    @cached_property
    def _whole_seconds(self) -> tuple[int, ...]:
        return tuple(int(self.start + i * self.seconds + 1e-9) for i in range(self.count))

    @cached_property
    def words(self) -> tuple[int, ...]:  # type: ignore[override]
        number = {second: i for i, second in enumerate(dict.fromkeys(self._whole_seconds))}
        return tuple(number[second] for second in self._whole_seconds)

    @cached_property
    def word_labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"{second}–{second + 1} s" for second in dict.fromkeys(self._whole_seconds))

    @property
    def places(self) -> np.ndarray:
        """The middle of each frame, in seconds."""
        return (self.start + (np.arange(self.count) + 0.5) * self.seconds)[:, None]

    def fitted(self, size: int) -> Frames:
        """The same duration in `size` frames."""
        return (
            self
            if size == self.count or not size
            else replace(self, count=size, seconds=self.count * self.seconds / size)
        )


@dataclass(frozen=True, eq=False)
class Queries(_Numbered):
    """The learned queries of a detector or a resampler: a set without order or places.

    Args:
        count: The number of queries.
        names: What each query found, if known; numbers otherwise.

    Example:
        >>> Queries(2).labels, Queries(2, ("cat", "sofa")).labels
        (('query 0', 'query 1'), ('cat', 'sofa'))
    """

    kind: ClassVar[str] = "queries"

    count: int
    names: tuple[str, ...] = ()

    @cached_property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self.names) or tuple(f"query {i}" for i in range(self.count))

    @property
    def places(self) -> np.ndarray:
        """NaN: queries have no place."""
        return np.full((self.count, 1), np.nan)

    def fitted(self, size: int) -> Queries:
        """`size` numbered queries."""
        return self if size == len(self) else Queries(size)


def _scaled(box: Sequence[float], scale: float) -> Box:
    left, top, right, bottom = (float(side) / scale for side in box)
    return left, top, right, bottom


# Tokens of a tokenizer ---------------------------------------------------------------------------------------------------


def named_tokens(labels: Sequence[Any]) -> TokenAxis:
    """Tokens known only by their labels.

    Word pieces are recognized by their marks: `##ing` in WordPiece, `▁new` and `Ġnew` in SentencePiece and byte-level BPE.

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
        is_continuation = bool(words) and (
            (wordpiece and name.startswith("##")) or (not wordpiece and marked and name[:1] not in ("▁", "Ġ"))
        )
        bare = name[2:] if wordpiece and is_continuation else name.lstrip("▁Ġ") or name
        if is_continuation:
            word_labels[-1] += bare
        else:
            word_labels.append(bare)
        words.append(len(word_labels) - 1)
    none = (False,) * len(names)
    return TokenAxis(tuple(names), none, tuple(words), tuple(word_labels), (0,) * len(names))


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
    special = [bool(flag) for flag in encoding.special_tokens_mask]
    for position, (token, part, word, offsets) in enumerate(
        zip(encoding.tokens, encoding.sequence_ids, encoding.word_ids, encoding.offsets, strict=True)
    ):
        start, end = offsets
        slice_ = "" if texts is None or part is None or special[position] else texts[part][start:end]
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


def _readable(token: str, slice_: str) -> str:
    """The token as the vocabulary spells it, or its text if the vocabulary spells it in bytes."""
    if not slice_.strip() or token.isascii():
        return token
    bare = token.removeprefix("##").lstrip("▁Ġ")
    if bare.casefold() == slice_.strip().casefold():
        return token
    in_bytes = any("Ā" <= character <= "ń" or "\x80" <= character <= "ÿ" for character in bare)
    return slice_ if in_bytes else token
