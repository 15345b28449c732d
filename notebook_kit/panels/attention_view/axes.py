"""Axes as the page reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from notebook_kit.inspection.attention.axes import Axis, PatchGrid
from notebook_kit.inspection.drawing.pictures import Box, jpeg_of

__all__ = ["for_page", "picture_for_page"]

SOUND_WIDTH = 1000
"""The maximum width of a spectrogram, in pixels."""


def for_page(axis: Axis, has_picture: bool = True) -> dict[str, Any]:
    """An axis as JSON values for the page, with its picture or without."""
    values: dict[str, Any] = {
        "kind": axis.kind,
        "labels": list(axis.labels),
        "special": [i for i, special in enumerate(axis.special) if special],
        "segments": list(axis.segments) if axis.has_pair else None,
        "words": list(axis.words),
        "word_labels": list(axis.word_labels),
    }
    if axis.boxes is not None:
        values["boxes"] = _plain(axis.boxes)
    if axis.objects is not None:
        values["objects"] = _plain(axis.objects)
    if axis.boxes is not None or axis.objects is not None:
        values["picture"] = picture_for_page(axis) if has_picture else None
    if axis.span is not None:
        values["span"] = list(axis.span)
    if isinstance(axis, PatchGrid):
        values["grid"] = [axis.rows, axis.columns]
    return values | {"first": axis.first}


def picture_for_page(axis: Axis) -> bytes | None:
    """The picture of an axis as JPEG."""
    if axis.picture is None:
        return None
    return jpeg_of(axis.picture) if axis.span is None else jpeg_of(axis.picture, SOUND_WIDTH, quality=80)


def _plain(boxes: Sequence[Box | None]) -> list[list[float] | None]:
    """Boxes as JSON values, to a hundredth of a per mille."""
    return [None if box is None else [round(side, 5) for side in box] for box in boxes]
