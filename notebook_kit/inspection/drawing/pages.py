"""A page of which only the words and their boxes are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

__all__ = ["sheet_of"]

SIZE = (700, 900)
FARTHEST = 1000
"""The coordinate of the right and bottom edges of a page."""
SMALLEST = 6.0
"""Pixels."""


def sheet_of(words: Sequence[str], boxes: Sequence[Sequence[Any]]) -> Image.Image:
    """A blank sheet with words where their boxes are.

    Args:
        words: The words.
        boxes: One `(left, top, right, bottom)` per word, in thousandths of the page's width and height.

    Example:
        >>> sheet_of(["Total"], [(100, 900, 300, 940)]).size
        (700, 900)
    """
    sheet = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(sheet)
    across, down = (side / FARTHEST for side in SIZE)
    for word, (left, top, right, bottom) in zip(words, boxes, strict=True):
        high = min(0.8 * down * (bottom - top), 1.8 * across * (right - left) / max(1, len(word)))
        font = ImageFont.load_default(float(max(SMALLEST, high)))
        draw.text((float(across * left), float(down * top)), word, fill="black", font=font)
    return sheet
