"""The axes of an attention matrix: text tokens, patches of a picture, object queries, words on a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from notebook_kit.errors import InputError
from notebook_kit.inspection.drawing.pictures import Box

__all__ = [
    "Axis",
    "Groups",
    "NumberedAxis",
    "Objects",
    "PageBoxes",
    "PatchGrid",
    "Queries",
    "TokenAxis",
    "named_tokens",
]

Groups = tuple[tuple[int, ...], ...]
"""Positions of one axis, in groups that are the positions of another one."""

STRIDES = (32, 16, 64, 8, 4)
"""Pixels per position of a feature map, from usual to unusual."""


@dataclass(frozen=True, eq=False)
class Objects:
    """What the queries of a detector or a segmenter predict for one picture.

    Args:
        labels: One label per query.
        boxes: The box of each query in fractions of the picture, or None for a query whose box is not worth showing.
        best: The query that is surest.
    """

    labels: tuple[str, ...]
    boxes: tuple[Box | None, ...]
    best: int


class Axis:
    """The rows or the columns of an attention matrix: one label per position, and how positions are grouped.

    The kinds of axes differ in where this information comes from; a lens treats all of them alike.

    Attributes:
        kind: "text", "patches", "frames", "spectrogram" (its patches), "queries" or "boxes".
        is_ordered: Whether positions are in sequence, so that each has a previous and a next one.
        rises: Whether the first row of a grid is at the bottom of the picture.
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
    rises: ClassVar[bool] = False

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

    @property
    def objects(self) -> tuple[Box | None, ...] | None:
        """The box of what each position predicts, on `picture`; None if positions predict no objects."""
        return None

    @property
    def first(self) -> int | None:
        """The position to look from first: a class token, or the surest object; None if all are alike."""
        return None

    @property
    def span(self) -> tuple[float, float] | None:
        """The seconds at which `picture` begins and ends; None if it is not of a sound."""
        return None

    def fitted(self, size: int) -> Axis:
        """This axis adapted to attention with `size` positions; unchanged if that is not possible."""
        return self

    def with_objects(self, objects: Objects) -> Axis:
        """This axis with the objects that a detector predicts; unchanged if its positions predict none."""
        return self

    def pooled(self, parts: int = 1) -> tuple[Axis, Groups | None]:
        """A shorter axis and the positions of this one that each of its positions stands for.

        Args:
            parts: The number of neighbouring positions that become one. Padding becomes one position in any case.

        Returns:
            This axis and None if its positions cannot be merged.
        """
        return self, None

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


class NumberedAxis(Axis):
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
class PatchGrid(NumberedAxis):
    """The patches of a picture, row by row, after any class and register tokens.

    Args:
        rows: Rows of patches.
        columns: Patches per row.
        picture: The picture as the model saw it, cropped by the processor (at any size): a PIL image, or an array
            `(height, width, 3)` of bytes. None draws plain patches.
        before: Labels of the special tokens before the first patch.
        after: Labels of the detection tokens after the last patch.
        pixels: Height and width of what the model reads; None if patches cover the picture evenly.
        patch: Height and width of a patch in those pixels. Patches may leave out an edge of the picture, or be padded.
        found: What the detection tokens predict, or None.

    Example:
        >>> grid = PatchGrid(2, 3, before=("[CLS]",))
        >>> grid.labels
        ('[CLS]', '0,0', '0,1', '0,2', '1,0', '1,1', '1,2')
        >>> grid.boxes[4]
        (0.0, 0.5, 0.3333333333333333, 1.0)
        >>> PatchGrid(4, 5, pixels=(100, 130), patch=(32, 32)).fitted(7 * 9).rows  # one position per 16 pixels
        7
    """

    kind: ClassVar[str] = "patches"

    rows: int
    columns: int
    picture: Any = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    pixels: tuple[int, int] | None = None
    patch: tuple[int, int] | None = None
    found: Objects | None = None

    @cached_property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override]
        cells = (f"{row},{column}" for row in range(self.rows) for column in range(self.columns))
        return (*self.before, *cells, *self.after)

    @cached_property
    def special(self) -> tuple[bool, ...]:  # type: ignore[override]
        return (True,) * len(self.before) + (False,) * (self.rows * self.columns + len(self.after))

    @property
    def places(self) -> np.ndarray:
        """Row and column, so that distances are in patches; other tokens have no place."""
        grid = np.indices((self.rows, self.columns), dtype=np.float64).reshape(2, -1).T
        outside = [np.full((len(tokens), 2), np.nan) for tokens in (self.before, self.after)]
        return np.concatenate([outside[0], grid, outside[1]])

    @cached_property
    def boxes(self) -> tuple[Box | None, ...]:
        """The rectangle of each patch."""
        lowers, rights = (
            [min(1.0, (i + 1) * part) for i in range(count)]
            for count, part in zip((self.rows, self.columns), self._parts, strict=True)
        )
        uppers, lefts = [0.0, *lowers[:-1]], [0.0, *rights[:-1]]
        cells = [
            (left, upper, right, lower)
            for upper, lower in zip(uppers, lowers, strict=True)
            for left, right in zip(lefts, rights, strict=True)
        ]
        return (*(None for _ in self.before), *cells, *(None for _ in self.after))

    @property
    def _parts(self) -> tuple[float, float]:
        """Height and width of a patch as fractions of the picture."""
        if self.pixels is None or self.patch is None:
            return 1 / self.rows, 1 / self.columns
        return self.patch[0] / self.pixels[0], self.patch[1] / self.pixels[1]

    @property
    def objects(self) -> tuple[Box | None, ...] | None:
        """The boxes that the detection tokens predict."""
        if self.found is None:
            return None
        return (*(None for _ in self.labels[: len(self) - len(self.after)]), *self.found.boxes)

    @property
    def first(self) -> int | None:
        """The surest detection token, or the class token."""
        if self.found is not None:
            return len(self) - len(self.after) + self.found.best
        return 0 if self.before else None

    def fitted(self, size: int) -> PatchGrid:
        """The same grid with `size` positions.

        If the grid itself does not fit, grids are tried that leave out an edge of the pixels, or cover them by other patches.
        Positions beyond the patches are a class token, then register tokens, before them.
        """
        inside = size - len(self.before) - len(self.after)
        for grid in self._grids():
            if grid.rows * grid.columns == inside:
                return grid
        extra = size - self.rows * self.columns - len(self.after)
        if extra < 0:
            return self
        return replace(self, before=("[CLS]", *(f"[REG{i}]" for i in range(1, extra)))[:extra])

    def _grids(self) -> Iterator[PatchGrid]:
        yield self
        if self.pixels is None or self.patch is None:
            return
        (H, W), (high, wide) = self.pixels, self.patch
        yield replace(self, rows=H // high, columns=W // wide)
        for stride in STRIDES:
            yield replace(self, rows=-(-H // stride), columns=-(-W // stride), patch=(stride, stride))

    def with_objects(self, objects: Objects) -> PatchGrid:
        """The same grid with the objects that its detection tokens predict."""
        if not self.after or len(objects.labels) != len(self.after):
            return self
        return replace(self, after=objects.labels, found=objects)


@dataclass(frozen=True, eq=False)
class Queries(NumberedAxis):
    """The learned queries of a detector or a resampler: a set without order or places.

    Args:
        count: The number of queries.
        names: What each query found, if known; numbers otherwise.
        picture: The picture in which they found it, or None.
        found: What they predict, or None.

    Example:
        >>> Queries(2).labels, Queries(2, ("cat", "sofa")).labels
        (('query 0', 'query 1'), ('cat', 'sofa'))
    """

    kind: ClassVar[str] = "queries"

    count: int
    names: tuple[str, ...] = ()
    picture: Any = None
    found: Objects | None = None

    @cached_property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self.names) or tuple(f"query {i}" for i in range(self.count))

    @property
    def places(self) -> np.ndarray:
        """NaN: queries have no place."""
        return np.full((self.count, 1), np.nan)

    @property
    def objects(self) -> tuple[Box | None, ...] | None:
        """The boxes that the queries predict."""
        return None if self.found is None else self.found.boxes

    @property
    def first(self) -> int | None:
        """The surest query."""
        return None if self.found is None else self.found.best

    def fitted(self, size: int) -> Queries:
        """The same queries, `size` of them."""
        return self if size == self.count else Queries(size, picture=self.picture)

    def with_objects(self, objects: Objects) -> Queries:
        """The same queries with what they predict."""
        if len(objects.labels) != self.count:
            return self
        return replace(self, names=objects.labels, found=objects)


def _scaled(box: Sequence[float], scale: float) -> Box:
    left, top, right, bottom = (float(side) / scale for side in box)
    return left, top, right, bottom


# Tokens known by their labels ---------------------------------------------------------------------------------------------------


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
