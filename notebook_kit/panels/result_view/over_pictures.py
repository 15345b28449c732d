"""Answers about a picture: scores, boxes and masks. Scores may also be about a text, or alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from notebook_kit.errors import InputError
from notebook_kit.inspection.drawing.answers import bars, boxes_over_picture, colour_of, masks_over_picture
from notebook_kit.panels.panel import Answer
from notebook_kit.panels.result_view.packing import packed_masks, packed_picture
from notebook_kit.panels.result_view.shown import Shown, Words

__all__ = ["ShownBoxes", "ShownMasks", "ShownScores"]

Things = Sequence[Mapping[str, Any]]


class ShownScores(Shown):
    """Labels with scores, as bars.

    Args:
        result: The answer.
        things: Dicts with `label` and `score`.
        picture: The picture that they are about, or None.
        text: The text that they are about; "" for none.
    """

    kind = "scores"
    one = "score"

    def __init__(self, result: Any, things: Things, picture: Image.Image | None = None, text: str = "") -> None:
        super().__init__(result, [{"label": str(one["label"]), "score": float(one["score"])} for one in things])
        self.picture, self.text = picture, text

    def answer(self) -> Answer:
        values = {**super().answer().values, "text": self.text}
        return Answer(values, [] if self.picture is None else [packed_picture(self.picture)])

    def figure(self) -> Any:
        return bars(self.things, self.picture)


class ShownBoxes(Shown):
    """The boxes of an object detection.

    Args:
        result: The answer: dicts with `label`, `score` and `box`, in pixels of the picture.
        picture: The picture.
    """

    kind = "boxes"
    one = "box"
    can_narrow = True

    def __init__(self, result: Things, picture: Image.Image) -> None:
        things = []
        for one in result:
            left, top, right, bottom = (float(one["box"][side]) for side in ("xmin", "ymin", "xmax", "ymax"))
            width, height = picture.size
            sides = (left / width, top / height, right / width, bottom / height)
            pixels = (
                ", ".join(f"{side:.0f}" for side in (left, top)),
                ", ".join(f"{side:.0f}" for side in (right, bottom)),
            )
            things.append(
                {
                    "label": str(one["label"]),
                    "score": float(one["score"]),
                    "box": [min(1.0, max(0.0, side)) for side in sides],
                    "detail": f"({pixels[0]}) – ({pixels[1]})",
                }
            )
        super().__init__(result, things)
        self.picture = picture

    def answer(self) -> Answer:
        values = {**super().answer().values, "size": list(self.picture.size)}
        return Answer(values, [packed_picture(self.picture)])

    def rows(self, word: Words) -> tuple[list[str], list[list[Any]]]:
        header, rows = super().rows(word)
        return [*header, word("box")], [[*row, one["detail"]] for row, one in zip(rows, self.things, strict=True)]

    def figure(self) -> Any:
        return boxes_over_picture(self.result, self.picture)


class ShownMasks(Shown):
    """The masks of an image segmentation.

    Args:
        result: The answer: dicts with `label`, `score` (or None) and `mask`, a PIL image.
        picture: The picture.

    Raises:
        InputError: If a mask has another size than the picture.
    """

    kind = "segments"
    one = "segment"
    can_narrow = True

    def __init__(self, result: Things, picture: Image.Image) -> None:
        for one in result:
            if one["mask"].size != picture.size:
                raise InputError(
                    f"The mask of {one['label']!r} has {one['mask'].width} x {one['mask'].height} pixels, and the picture "
                    f"{picture.width} x {picture.height}.",
                    next_step="Pass the picture that the pipeline was given.",
                )
        self.size, self.packed, parts = packed_masks([one["mask"] for one in result])
        super().__init__(
            result,
            [
                {
                    "label": str(one["label"]),
                    "score": None if one["score"] is None else float(one["score"]),
                    "area": part,
                    "detail": f"{part:.1%}",
                }
                for one, part in zip(result, parts, strict=True)
            ],
        )
        self.picture = picture

    def colours(self) -> list[str]:
        return [colour_of(i) for i in range(len(self.things))]  # two things with one label are two things

    def answer(self) -> Answer:
        values = {
            **super().answer().values,
            "size": list(self.picture.size),
            "mask_size": list(self.size),
            "lengths": [len(one) for one in self.packed],
        }
        return Answer(values, [packed_picture(self.picture), b"".join(self.packed)])

    def rows(self, word: Words) -> tuple[list[str], list[list[Any]]]:
        header, rows = super().rows(word)
        return [*header, word("area")], [[*row, one["detail"]] for row, one in zip(rows, self.things, strict=True)]

    def figure(self) -> Any:
        return masks_over_picture(self.result, self.picture)
