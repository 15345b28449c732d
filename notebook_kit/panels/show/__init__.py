"""`show`: the answer of a pipeline as a picture and a table.

Example:
    >>> from notebook_kit.panels.show import show
    >>> show([{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.1}])
    Shown(2 labels)
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from notebook_kit import language
from notebook_kit.errors import InputError
from notebook_kit.files import write_text
from notebook_kit.inspection.drawing.answers import bars, boxes_over_picture, masks_over_picture
from notebook_kit.panels.panel import FACE_BYTES, Face, filled, static_html

__all__ = ["Shown", "show"]

Kind = Literal["labels", "boxes", "masks"]
COUNTED = {"labels": "labels", "boxes": "boxes", "masks": "segments"}
RESOLUTIONS = (110, 90, 72, 54, 40)
"""Dots per inch, tried until a picture is small enough."""


class Shown:
    """The answer of a pipeline for one input, as returned by `show`; a notebook displays it as a picture and a table.

    Attributes:
        result: The answer, as it was passed.
        picture: The image that it is about, in RGB, or None.
        kind: "labels", "boxes" or "masks".
    """

    def __init__(self, result: Sequence[Mapping[str, Any]], picture: Any, kind: Kind) -> None:
        self.result, self.picture, self.kind = result, picture, kind

    def figure(self) -> Any:
        """The picture as a matplotlib `Figure`."""
        if self.kind == "boxes":
            return boxes_over_picture(self.result, self.picture)
        if self.kind == "masks":
            return masks_over_picture(self.result, self.picture)
        return bars(self.result, self.picture)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture and the table to an HTML file that needs no network.

        Returns:
            The path.
        """
        return write_text(Path(path), f'<!doctype html><meta charset="utf-8">{static_html(self.face())}')

    def face(self) -> Face:
        """The picture and the table, in the language of the panels."""
        words = language.strings("show")
        header = [words["show.label"], words["show.score"]]
        rows = [[one["label"], "" if one["score"] is None else f"{one['score']:.3f}"] for one in self.result]
        if self.kind == "boxes":
            header.append(words["show.box"])
            for row, one in zip(rows, self.result, strict=True):
                box = one["box"]
                row.append(f"({box['xmin']}, {box['ymin']}) – ({box['xmax']}, {box['ymax']})")
        elif self.kind == "masks":
            header.append(words["show.area"])
            for row, one in zip(rows, self.result, strict=True):
                histogram = one["mask"].convert("L").histogram()
                row.append(f"{sum(histogram[128:]) / max(1, sum(histogram)):.1%}")
        listed = ", ".join(f"{row[0]} {row[1]}".rstrip() for row in rows[:10])
        alt = filled(words[f"show.alt_{self.kind}"], listed=listed)
        note = "" if self.result else words["show.nothing"]
        return Face(words["show.title"], _small_png(self), alt, header if rows else (), rows, note)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {"text/plain": repr(self), "text/html": static_html(self.face())}

    def __repr__(self) -> str:
        return f"Shown({len(self.result)} {COUNTED[self.kind]})"


def show(result: Any, input: Any = None) -> Shown | list[Shown]:
    """Show what a pipeline answered: scores as bars, the boxes of a detection and the masks of a segmentation over the image.

    Args:
        result: The answer for one input, or for a list of inputs: dicts with a `label` and a `score`, and perhaps a `box` or
            a `mask`.
        input: The image (or the list of images) that it is about, in any form that `load_image` takes; a text, or None, for
            scores alone.

    Returns:
        What a notebook displays; for a list of answers, a list.

    Raises:
        InputError: If the result is not such an answer, or if boxes or masks come without their image.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit.panels.show import show
        >>> found = [{"score": 0.97, "label": "cat", "box": {"xmin": 10, "ymin": 20, "xmax": 60, "ymax": 70}}]
        >>> show(found, Image.new("RGB", (100, 80)))
        Shown(1 boxes)
    """
    if _is_list_of_answers(result):
        inputs = [None] * len(result) if input is None else list(input)
        if len(inputs) != len(result):
            raise InputError(
                f"There are {len(result)} answers, but {len(inputs)} inputs.",
                next_step="Pass the list that was answered.",
            )
        return [_shown(one, its) for one, its in zip(result, inputs, strict=True)]
    return _shown([result] if isinstance(result, Mapping) else result, input)


def _is_list_of_answers(result: Any) -> bool:
    return isinstance(result, list) and bool(result) and all(isinstance(one, list) for one in result)


def _shown(result: Any, input: Any) -> Shown:
    if not isinstance(result, list) or not all(
        isinstance(one, Mapping) and "label" in one and "score" in one for one in result
    ):
        raise InputError(
            f"{result!r:.80} is not an answer that show can draw.",
            next_step='Pass a list of dicts such as {"label": "cat", "score": 0.9}, perhaps with a "box" or a "mask".',
        )
    has_picture = input is not None and not (isinstance(input, str) and _is_text(input))
    if result:
        kind: Kind = "boxes" if "box" in result[0] else "masks" if "mask" in result[0] else "labels"
    else:
        kind = "boxes" if has_picture else "labels"
    if kind == "labels" and not has_picture:
        return Shown(result, None, kind)
    if input is None:
        raise InputError(f"The {kind} belong to an image.", next_step="Pass it as well: show(result, image).")
    from notebook_kit.processing.image.loading import load_image

    return Shown(result, load_image(input), kind)


def _is_text(input: str) -> bool:
    """Whether an input is a text, not the address of an image."""
    return not input.startswith(("http://", "https://", "data:image/")) and not os.path.isfile(input)


def _small_png(shown: Shown) -> bytes | None:
    """The figure as PNG with at most 256 colours, at the highest resolution that a saved notebook has room for."""
    from PIL import Image

    figure = shown.figure()
    for dpi in RESOLUTIONS:
        drawn, packed = io.BytesIO(), io.BytesIO()
        figure.savefig(drawn, format="png", dpi=dpi)
        Image.open(drawn).convert("RGB").quantize(256).save(packed, "png", optimize=True)
        if len(packed.getvalue()) * 4 / 3 <= FACE_BYTES * 3 // 4:
            return packed.getvalue()
    return None
