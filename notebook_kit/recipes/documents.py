"""Receipts, invoices and forms with a known truth: their words, where each stands, and questions with their answers.

A page depends on its seed alone, so training needs no files and no labels written by hand. What it shows is set with a font, whose
widths give the boxes of its words; drawing it is only needed to look at it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from notebook_kit.recipes.debian import package_files
from notebook_kit.recipes.documents_words import (
    COST,
    FIELDS,
    FORM,
    INVOICE,
    QUANTITY,
    RECEIPT,
    SELLER,
    SUMS,
    Part,
    Values,
)

__all__ = ["ROLES", "SAMPLES", "Asked", "Document", "DocumentMaker", "Layout", "fonts", "sample_page", "write_samples"]

ROLES = ("other", "item", "seller", "price", "count", *FIELDS, *(f"label of {name}" for name in FIELDS))
"""What a word of a page can be."""

SAMPLES = {"invoice": 206, "receipt": 21}
"""Name of a sample page -> its seed."""

FONTS: dict[Part, dict[str, tuple[str, ...]]] = {
    "train": {
        "fonts-liberation": ("LiberationSans-Regular", "LiberationSerif-Regular", "LiberationMono-Regular"),
        "fonts-dejavu-core": ("DejaVuSans",),
    },
    "test": {
        "fonts-dejavu-core": ("DejaVuSerif", "DejaVuSansMono"),
        "fonts-liberation": ("LiberationSansNarrow-Bold",),
    },
}
"""Part -> Debian package -> its fonts. A font that Pillow carries is also a test font."""


_MEASURED = 100  # the font size at which characters are measured


@dataclass(frozen=True, slots=True)
class Layout:
    """How a page is arranged.

    Attributes:
        kind: "receipt", "invoice" or "form".
        title: Where the title is: "left", "middle" or "right".
        facts: Where a value is: "close" behind its label, "beside" it in a column, "apart" at the right edge, or "below".
        columns: In how many columns labels and values are.
        sums: As `facts`, for the sums below the items.
        items: The columns of the items.
    """

    kind: str
    title: str
    facts: str
    columns: int
    sums: str = "apart"
    items: str = "name price"


LAYOUTS: dict[Part, tuple[Layout, ...]] = {
    "train": (
        Layout("receipt", "middle", "close", 1),
        Layout("receipt", "middle", "apart", 1, "apart", "count name price"),
        Layout("receipt", "left", "beside", 1, "beside", "name count price"),
        Layout("receipt", "left", "close", 2),
        Layout("invoice", "left", "beside", 1, "apart", "name count price"),
        Layout("invoice", "right", "below", 2, "beside", "count name price"),
        Layout("invoice", "left", "close", 2, "close", "name count price"),
        Layout("invoice", "middle", "below", 3),
        Layout("form", "middle", "beside", 1),
        Layout("form", "left", "below", 2),
        Layout("form", "left", "close", 2),
        Layout("form", "middle", "below", 1),
    ),
    "test": (
        Layout("receipt", "right", "below", 2, "close", "name count price"),
        Layout("receipt", "middle", "beside", 2, "beside", "count name price"),
        Layout("invoice", "middle", "apart", 1, "below", "name count price"),
        Layout("invoice", "left", "apart", 2),
        Layout("form", "left", "apart", 2),
        Layout("form", "middle", "below", 3),
    ),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the numbers of the first and the last word of its answer, and their role."""

    question: str
    first: int
    last: int
    role: str


@dataclass(frozen=True, slots=True)
class Document:
    """A page.

    Attributes:
        words: Its words, in reading order.
        boxes: `(words, 4)` int64: left, top, right and bottom of each, in thousandths of the page's width and height.
        roles: The role of each word, one of `ROLES`.
        questions: Questions that it answers.
        drawn: What `image` draws: texts with their places and font sizes in pixels.
        size: Width and height in pixels.
        font: The file of the font; None for Pillow's.
    """

    words: list[str]
    boxes: np.ndarray
    roles: list[str]
    questions: list[Asked]
    drawn: list[tuple[str, float, float, int]]
    size: tuple[int, int]
    font: str | None

    def answer(self, asked: Asked) -> str:
        """The text of an answer."""
        return " ".join(self.words[asked.first : asked.last + 1])

    @property
    def word_boxes(self) -> list[tuple[str, list[int]]]:
        """Words and boxes as the document-question-answering pipeline takes them."""
        return list(zip(self.words, self.boxes.tolist(), strict=True))

    def image(self) -> Image.Image:
        """The page in black on white."""
        picture = Image.new("L", self.size, 255)
        draw = ImageDraw.Draw(picture)
        for text, x, y, size in self.drawn:
            draw.text((x, y), text, 0, _font(self.font, size), anchor="ls")
        return picture


def fonts(part: Part) -> list[str | None]:
    """The files of a part's fonts, from Debian packages that are fetched if need be, and None for Pillow's font.

    Raises:
        MissingDependencyError, HubUnreachableError: As in `notebook_kit.recipes.debian.package_files`.
    """
    found: list[str | None] = [None] if part == "test" else []
    for package, names in FONTS["test" if part == "test" else "train"].items():
        files = [f"usr/share/fonts/truetype/{package.split('-')[1]}/{name}.ttf" for name in names]
        folder = package_files(package, files)
        found += [str(next(Path(folder).rglob(f"{name}.ttf"))) for name in names]
    return found


@lru_cache(maxsize=64)
def _font(file: str | None, size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's, where it is built with FreeType
    return font


@cache
def _character(file: str | None, character: str) -> tuple[float, float, float]:
    """The width of a character, and its top and bottom relative to the baseline, per font size."""
    font = _font(file, _MEASURED)
    _, top, _, bottom = font.getbbox(character, anchor="ls")
    return font.getlength(character) / _MEASURED, top / _MEASURED, bottom / _MEASURED


def _extent(file: str | None, size: int, text: str) -> tuple[float, float, float]:
    """The length of a text in pixels, and its top and bottom relative to the baseline."""
    widths, tops, bottoms = zip(*(_character(file, character) for character in text), strict=True)
    return size * sum(widths), size * min(tops), size * max(bottoms)


@dataclass(slots=True)
class _Sheet:
    """A page that is being written, with the boxes of its words in pixels."""

    width: int
    font: str | None
    size: int
    words: list[str] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    lines: list[float] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    drawn: list[tuple[str, float, float, int]] = field(default_factory=list)

    def length(self, text: str) -> float:
        """About the length of a text in pixels."""
        return _extent(self.font, self.size, text)[0] + 0.1 * self.size * text.count(" ")

    def write(
        self, text: str, x: float, y: float, align: str = "left", bigger: int = 0, role: str = "other"
    ) -> tuple[int, int]:
        """Write a text with its left end, middle or right end at `x`, on the baseline `y`; the numbers of its first and last word."""
        size, words = self.size + bigger, text.split()
        space = max(0.36 * size, _extent(self.font, size, " ")[0])  # Pillow's font hardly separates words
        lengths = [_extent(self.font, size, word)[0] for word in words]
        whole = sum(lengths) + space * (len(words) - 1)
        x -= {"left": 0.0, "middle": whole / 2, "right": whole}[align]
        first = len(self.words)
        for word, length in zip(words, lengths, strict=True):
            _, top, bottom = _extent(self.font, size, word)
            self.words.append(word)
            self.boxes.append((x, y + top, x + length, y + bottom))
            self.lines.append(y)
            self.roles.append(role)
            self.drawn.append((word, x, y, size))
            x += length + space
        return first, len(self.words) - 1


class DocumentMaker:
    """Makes any number of pages.

    Args:
        part: Test pages have layouts, fonts, names and items that no training page has. Validation pages resemble training pages.
        fonts: Files of fonts, or None for Pillow's.

    Example:
        >>> make = DocumentMaker("test", [None])
        >>> page = make(seed=1)
        >>> len(page.words) == len(page.boxes) > 10, all(page.answer(asked) for asked in page.questions)
        (True, True)
    """

    def __init__(self, part: Part, fonts: Sequence[str | None]) -> None:
        self.part, self.fonts = part, fonts

    def __call__(self, seed: int) -> Document:
        """The page of a seed."""
        chance = np.random.default_rng([("train", "validation", "test").index(self.part), seed])
        layouts = LAYOUTS["test" if self.part == "test" else "train"]
        return _Writer(layouts[chance.integers(len(layouts))], self.part, self.fonts, chance).page()


def sample_page(name: str) -> Document:
    """A sample page, a test page in Pillow's font."""
    return DocumentMaker("test", [None])(SAMPLES[name])


def write_samples(folder: Path) -> None:
    """Write the sample pages: of each a picture, and its words with their boxes."""
    for name in SAMPLES:
        page = sample_page(name)
        page.image().quantize(16).save(folder / f"{name}.png", optimize=True)
        (folder / f"{name}.json").write_text(json.dumps(page.word_boxes, indent=None), encoding="utf-8")


class _Writer:
    """Writes one page."""

    def __init__(self, layout: Layout, part: Part, fonts: Sequence[str | None], chance: np.random.Generator) -> None:
        self.layout, self.chance, self.values = layout, chance, Values(part, chance)
        font = fonts[int(chance.integers(len(fonts)))]
        if font is None:
            self.values.money_style %= 3  # Pillow's font has no euro sign
        size = int(chance.integers(13, 18))
        width = int(size * (chance.uniform(27, 36) if layout.kind == "receipt" else chance.uniform(40, 56)))
        self.sheet = _Sheet(width, font, size)
        self.left, self.right = (width * chance.uniform(0.03, 0.1) * side + width * (side < 0) for side in (1, -1))
        self.step = size * chance.uniform(1.35, 2.0)
        self.colon = ":" if chance.random() < 0.5 else ""
        self.y = size * chance.uniform(1.5, 4)
        self.asked: list[tuple[str, tuple[int, int]]] = []

    def page(self) -> Document:
        """The page, top to bottom."""
        kind, chance = self.layout.kind, self.chance
        self.title()
        chosen = {"receipt": RECEIPT, "invoice": INVOICE, "form": FORM}[kind]
        most = len(chosen)
        count = int(chance.integers(min(3, most), min(most, 5 if kind == "receipt" else 8) + 1))
        names = [chosen[place] for place in chance.permutation(most)[:count]]
        after = names.pop() if kind == "receipt" and chance.random() < 0.4 else None  # such as how it was paid
        self.facts(self.fields(names), self.layout.facts, self.layout.columns)
        if kind != "form":
            self.space()
            cents = self.items()
            self.sums(cents)
        if after:
            self.space()
            self.facts(self.fields([after]), self.layout.facts, 1)
        if kind != "form" and chance.random() < 0.5:
            self.space()
            self.line("Thank you for your visit", "middle")
        return self.document()

    def ask(self, questions: Sequence[str], words: tuple[int, int], about: str = "") -> None:
        self.asked.append((self.values.pick(*questions).format(about), words))

    def space(self) -> None:
        self.y += self.step * self.chance.uniform(0.2, 1.0)

    def line(self, text: str, align: str, bigger: int = 0, role: str = "other") -> tuple[int, int]:
        """Write a line of text."""
        x = {"left": self.left, "middle": (self.left + self.right) / 2, "right": self.right}[align]
        words = self.sheet.write(text, x, self.y, align, bigger, role)
        self.y += self.step + bigger
        return words

    def title(self) -> None:
        kind, pick = self.layout.kind, self.values.pick
        bigger = int(self.chance.integers(1, 7))
        if kind == "form":
            titles = ("Application form", "Registration", "Membership form", "Personal details", "Order form")
            self.line(pick(*titles), self.layout.title, bigger)
        else:
            self.ask(SELLER, self.line(self.values.company(), self.layout.title, bigger, "seller"))
            if self.chance.random() < 0.5:
                self.line(self.values.address(), self.layout.title)
            heading = ("Invoice", "INVOICE") if kind == "invoice" else ("Receipt", "RECEIPT")
            if kind == "invoice" or self.chance.random() < 0.4:
                self.line(pick(*heading), pick("left", "middle"))
        self.space()

    def fields(self, names: Sequence[str]) -> list[tuple[str, str, str]]:
        """Name, label and value of each field."""
        return [(name, self.values.pick(*FIELDS[name].labels), self.values(FIELDS[name].value)) for name in names]

    def facts(self, rows: Sequence[tuple[str, str, str]], style: str, columns: int) -> None:
        """Write labels and values in columns; one that is too long for its column has a line to itself."""
        cell = (self.right - self.left) / columns
        gap = self.sheet.size
        lengths = [self.sheet.length(f"{label}{self.colon}") for _, label, _ in rows]
        tab = max(lengths, default=0) + gap * self.chance.uniform(0.8, 2.5)
        column = 0
        for (name, label, value), length in zip(rows, lengths, strict=True):
            needed = max(length, self.sheet.length(value)) if style == "below" else tab + self.sheet.length(value)
            is_long = needed > cell - gap
            if is_long and column:
                self.next_row(style)
                column = 0
            x = self.left + column * cell
            self.sheet.write(f"{label}{self.colon}", x, self.y, role=f"label of {name}")
            end = self.right if is_long or columns == 1 else x + cell - gap
            answer = self.value(name, value, style, x, length, tab, end)
            self.ask(FIELDS[name].questions, answer)
            column = 0 if is_long else (column + 1) % columns
            if not column:
                self.next_row(style)
        if column:
            self.next_row(style)

    def value(
        self, name: str, value: str, style: str, x: float, length: float, tab: float, end: float
    ) -> tuple[int, int]:
        """Write a value whose label starts at `x` and has this length."""
        if style == "below":
            return self.sheet.write(value, x, self.y + 1.25 * self.sheet.size, role=name)
        if style == "apart":
            return self.sheet.write(value, end, self.y, "right", role=name)
        left = x + (tab if style == "beside" else length + 0.4 * self.sheet.size)
        return self.sheet.write(value, left, self.y, role=name)

    def next_row(self, style: str) -> None:
        self.y += self.step + (1.25 * self.sheet.size if style == "below" else 0)

    def items(self) -> int:
        """Write the items, and return what they cost together in cents."""
        order, chance = self.layout.items.split(), self.chance
        names = list(dict.fromkeys(self.values.item() for _ in range(chance.integers(2, 6))))
        places = self.places(order)
        if self.layout.kind == "invoice" or chance.random() < 0.4:
            heads = {"name": ("Item", "Description"), "count": ("Qty", "Quantity"), "price": ("Price", "Amount")}
            for column in order:
                self.sheet.write(self.values.pick(*heads[column]), *self.at(places[column]))
            self.y += self.step
        total = 0
        for name in names:
            cents = int(chance.integers(50, 9000))
            total += cents
            shown = {
                "name": name.capitalize(),
                "count": str(chance.integers(1, 13)),
                "price": self.values.amount(cents),
            }
            for column in order:
                role = "item" if column == "name" else column
                words = self.sheet.write(shown[column], *self.at(places[column]), role=role)
                if column != "name":
                    self.ask(COST if column == "price" else QUANTITY, words, name)
            self.y += self.step
        self.space()
        return total

    def places(self, order: Sequence[str]) -> dict[str, tuple[float, str]]:
        """Where each column of the items is, and how its texts are aligned."""
        width = self.right - self.left
        if order[0] == "count":
            narrow = self.sheet.length("Quantity") + self.sheet.size
            return {"count": (self.left, "left"), "name": (self.left + narrow, "left"), "price": (self.right, "right")}
        return {
            "name": (self.left, "left"),
            "count": (self.left + self.chance.uniform(0.55, 0.75) * width, "right"),
            "price": (self.right, "right"),
        }

    def at(self, place: tuple[float, str]) -> tuple[float, float, str]:
        return place[0], self.y, place[1]

    def sums(self, cents: int) -> None:
        """Write the sums below the items."""
        tax = round(cents * self.chance.uniform(0.04, 0.22))
        amounts = dict(zip(SUMS, (cents, tax, cents + tax), strict=True))
        shown = [name for name in SUMS if name == "total" or self.chance.random() < 0.75]
        rows = [(name, self.values.pick(*FIELDS[name].labels), self.values.amount(amounts[name])) for name in shown]
        before = self.left
        if self.layout.sums != "below" and self.chance.random() < 0.5:  # they start further right
            self.left += 0.35 * (self.right - self.left)
        self.facts(rows, self.layout.sums, len(rows) if self.layout.sums == "below" else 1)
        self.left = before

    def document(self) -> Document:
        """The finished page, with the words in reading order."""
        sheet, chance = self.sheet, self.chance
        height = round(self.y + self.step * chance.uniform(0.5, 2))
        if self.layout.kind != "receipt" and chance.random() < 0.5:
            height = max(height, round(1.414 * sheet.width))
        order = list(range(len(sheet.words)))
        if chance.random() < 0.7:  # by line, as a reader of characters mostly does; else by block
            order.sort(key=lambda word: (sheet.lines[word], sheet.boxes[word][0]))
        place = {word: rank for rank, word in enumerate(order)}
        scale = 1000 / np.array([sheet.width, height, sheet.width, height])
        boxes = (np.array([sheet.boxes[word] for word in order]) * scale).round().clip(0, 1000).astype(np.int64)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
        questions = [Asked(text, place[first], place[last], sheet.roles[first]) for text, (first, last) in self.asked]
        words, roles = ([texts[word] for word in order] for texts in (sheet.words, sheet.roles))
        return Document(words, boxes, roles, questions, sheet.drawn, (sheet.width, height), sheet.font)
