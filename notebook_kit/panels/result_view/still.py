"""A result as a picture and a table, shown where no kernel runs."""

from __future__ import annotations

import io
import warnings
from typing import Any

from notebook_kit.panels.panel import FACE_BYTES, Face
from notebook_kit.panels.result_view.shown import Shown, Words

__all__ = ["face_of"]

RESOLUTIONS = (110, 90, 72, 54, 40)
"""Dots per inch, tried until a picture is small enough."""


def face_of(shown: Shown, title: str, word: Words) -> Face:
    """A picture and a table of an answer; `word` is the method of the panel."""
    header, rows = shown.rows(word)
    figure = shown.figure()
    listed = ", ".join(" ".join(map(str, row[:2])).rstrip() for row in rows[:10])
    is_photo = getattr(shown, "picture", None) is not None
    packed = None if figure is None else _packed(figure, is_photo)
    return Face(title, packed, word(f"alt_{shown.kind}", listed=listed), header if rows else (), rows, shown.note(word))


def _packed(figure: Any, is_photo: bool) -> bytes | None:
    """A figure as PNG, or as JPEG, at the highest resolution that a saved notebook has room for.

    Characters that no font has become boxes, without warnings: the table beside the picture has them as text.
    """
    for dpi in RESOLUTIONS:
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*Glyph.*")
            if is_photo:
                figure.savefig(stream, format="jpeg", dpi=dpi, pil_kwargs={"quality": 82})
            else:
                figure.savefig(stream, format="png", dpi=dpi)
        if len(stream.getvalue()) * 4 / 3 <= FACE_BYTES * 3 // 4:
            return stream.getvalue()
    return None
