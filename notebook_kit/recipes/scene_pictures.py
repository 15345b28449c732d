"""Pictures for the model cards and the sample scenes, which may be published: only of things and photographs with free licences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from notebook_kit.recipes.scene_data import CLASSES, LABELS
from notebook_kit.recipes.scenes import Cutout, SceneMaker
from notebook_kit.recipes.things_data import Background, Thing, backgrounds, things

__all__ = [
    "COLORS",
    "SAMPLES",
    "contact_sheet",
    "evenly",
    "publishable",
    "with_boxes",
    "with_segments",
    "write_samples",
]

STYLE = "twitter"  # held out, and under CC-BY-4.0
FREE = ("CC0", "CC-BY-4.0")
SAMPLES: dict[str, tuple[int, list[str]]] = {
    "scene_1.webp": (106, ["apple", "tree", "vehicle"]),
    "scene_2.webp": (637, ["ball", "strawberry", "tree"]),
    "scene_3.webp": (396, ["ball", "flower", "vehicle"]),
}
"""File among the zoo's samples -> seed of the scene, and what it shows in alphabetical order."""

# Okabe and Ito's colors and lighter ones: two classes that are often confused do not look alike.
COLORS = [
    (230, 159, 0),
    (213, 94, 0),
    (0, 114, 178),
    (240, 228, 66),
    (204, 121, 167),
    (0, 158, 115),
    (255, 105, 180),
    (220, 20, 60),
    (60, 200, 60),
    (148, 103, 189),
]
"""A color for each of `LABELS`."""


def publishable(
    size: int, found: Sequence[Thing] | None = None, photographs: Sequence[Background] | None = None
) -> SceneMaker:
    """A generator of scenes that may be published: emoji of the held-out style on photographs under CC-BY-4.0 or CC0.

    Args:
        size: Width and height in pixels.
        found, photographs: As for `notebook_kit.recipes.scene_data.makers`.
    """
    numbers = {name: LABELS.index(label) for label, names in CLASSES.items() for name in names.split()}
    found = things() if found is None else found
    photographs = backgrounds() if photographs is None else photographs
    return SceneMaker(
        [Cutout(numbers[each.label], each.image) for each in found if each.style == STYLE and each.label in numbers],
        [each.image for each in photographs if each.licence.startswith(FREE)],
        size,
        stream=3,
    )


def write_samples(folder: Path, make: SceneMaker) -> None:
    """Write the sample scenes, of the size that the generator makes."""
    for name, (seed, _) in SAMPLES.items():
        Image.fromarray(make(seed).image).save(folder / name, quality=90, method=6)


def with_boxes(image: np.ndarray, answers: Sequence[Mapping[str, Any]]) -> Image.Image:
    """A picture with the boxes of an object-detection pipeline, their labels and scores.

    Args:
        image: `(height, width, 3)` uint8.
        answers: As the pipeline returns them.
    """
    picture = Image.fromarray(image).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for answer in sorted(answers, key=lambda each: each["score"]):
        color = COLORS[LABELS.index(answer["label"])]
        left, top, right, bottom = (answer["box"][edge] for edge in ("xmin", "ymin", "xmax", "ymax"))
        draw.rectangle((left, top, max(right, left), max(bottom, top)), outline=color, width=2)
        _write(draw, (left, top), f"{answer['label']} {answer['score']:.2f}", color)
    return picture


def with_segments(image: np.ndarray, answers: Sequence[Mapping[str, Any]]) -> Image.Image:
    """A picture with the masks of an image-segmentation pipeline, in the colors of their labels; arguments as above."""
    pixels = image.astype(np.float32)
    places = []
    for answer in answers:
        if answer["label"] not in LABELS:
            continue
        color = COLORS[LABELS.index(answer["label"])]
        mask = np.asarray(answer["mask"]) > 127
        pixels[mask] = 0.4 * pixels[mask] + 0.6 * np.array(color)
        if mask.mean() > 0.004:
            rows, columns = mask.nonzero()
            middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
            places.append((answer["label"], (int(columns[middle]) - 14, int(rows[middle])), color))
    picture = Image.fromarray(pixels.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for label, place, color in places:
        _write(draw, place, label, color)
    return picture


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, color: tuple[int, int, int]) -> None:
    """A text on a label of a color, kept inside the picture."""
    font = ImageFont.load_default(11)
    left, top, right, bottom = draw.textbbox((0, 0), text, font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(0, place[0]), draw.im.size[0] - width)
    y = min(max(0, place[1]), draw.im.size[1] - height)
    draw.rectangle((x, y, x + width, y + height), fill=color)
    dark = sum(color) < 380
    draw.text((x + 2 - left, y + 2 - top), text, "white" if dark else "black", font)


def evenly(qualities: Sequence[float], count: int) -> list[int]:
    """Indices of `count` pictures from the best to the worst, at even steps of rank.

    Example:
        >>> evenly([0.1, 0.9, 0.5, 0.7, 0.3], 3)
        [1, 2, 0]
    """
    ranked = np.argsort(-np.asarray(qualities), kind="stable")
    return [int(ranked[round(step)]) for step in np.linspace(0, len(ranked) - 1, count)]


def contact_sheet(pictures: Sequence[Image.Image], across: int) -> Image.Image:
    """Pictures of one size in rows, with white gaps."""
    width, height = pictures[0].size
    down = -(-len(pictures) // across)
    gap = 4
    sheet = Image.new("RGB", (across * (width + gap) - gap, down * (height + gap) - gap), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % across * (width + gap), index // across * (height + gap)))
    return sheet
