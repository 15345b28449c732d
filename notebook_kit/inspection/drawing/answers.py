"""Answers of pipelines, drawn with matplotlib: scores as bars, and boxes and masks over an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from notebook_kit.inspection.drawing.fonts import in_any_script
from notebook_kit.inspection.drawing.letters import printable
from notebook_kit.inspection.drawing.pictures import pixels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bars", "boxes_over_picture", "colour_of", "colours_of", "ink_on", "masks_over_picture"]

# Okabe and Ito's colours, which people with any colour vision tell apart; yellow is left out, since white text is on them.
COLOURS = ("#0072b2", "#d55e00", "#007f5f", "#a3457f", "#3a6ea5", "#8a5a00", "#5b4b9a", "#4d4d4d")
OPACITY = 0.5
WIDTH = 6.0
"""Inches."""
LONGEST = 1000
"""Pixels of the longer side of a picture that is drawn."""


def colour_of(i: int) -> str:
    """Colour number i. After eight colours come darker and lighter ones, then they repeat.

    Example:
        >>> colour_of(0), colour_of(8), colour_of(16), colour_of(24)
        ('#0072b2', '#004267', '#73b1d5', '#0072b2')
    """
    colour, turn = COLOURS[i % len(COLOURS)], i // len(COLOURS) % 3
    ground, part = ((0, 0.0), (0, 0.42), (255, 0.45))[turn]
    parts = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return "#" + "".join(f"{round(value + (ground - value) * part):02x}" for value in parts)


def colours_of(labels: Sequence[str]) -> dict[str, str]:
    """One colour per label.

    Example:
        >>> colours_of(["cat", "dog", "cat"])
        {'cat': '#0072b2', 'dog': '#d55e00'}
    """
    return {label: colour_of(i) for i, label in enumerate(dict.fromkeys(labels))}


def ink_on(colour: str) -> str:
    """White or black, whichever contrasts more with a colour (WCAG 2.2, relative luminance).

    Example:
        >>> ink_on("#0072b2"), ink_on("#73b2d5")
        ('#ffffff', '#000000')
    """
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#ffffff" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "#000000"


def bars(scores: Sequence[Mapping[str, Any]], picture: Any = None) -> Figure:
    """Scores as horizontal bars, best first as they come, beside the picture if there is one.

    Args:
        scores: Dicts with a `label` and a `score`.
        picture: See `pixels_of`; None for bars alone.
    """
    from matplotlib.figure import Figure

    height = max(0.34 * len(scores) + 0.5, 2.0 if picture is not None else 0.0)
    figure = Figure(figsize=(WIDTH + 2.0 * (picture is not None), height), layout="constrained")
    if picture is None:
        axes = figure.subplots()
    else:
        shown, axes = figure.subplots(1, 2, width_ratios=(1, 2))
        shown.imshow(_reduced(pixels_of(picture)))
        shown.axis("off")
    values = [float(one["score"]) for one in scores]
    places = np.arange(len(scores))
    axes.barh(places, values, color=COLOURS[0], height=0.7)
    labels = [_drawable(one["label"]) for one in scores]
    axes.set_yticks(places, labels, parse_math=False)
    axes.invert_yaxis()
    are_probabilities = all(0 <= value <= 1 for value in values)
    axes.set_xlim(0 if are_probabilities else min(0.0, *values), 1.12 if are_probabilities else None)
    for place, value in enumerate(values):
        axes.text(max(value, 0.0), place, f" {value:.3f}", va="center")
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_xticks([])
    return in_any_script(figure)


def boxes_over_picture(found: Sequence[Mapping[str, Any]], picture: Any, *, above: bool = False) -> Figure:
    """The boxes of an object detection over its picture, each with its label and score.

    Args:
        found: Dicts with `score`, `label` and `box` in pixels of the picture.
        picture: See `pixels_of`.
        above: Write labels above their boxes, as on a page, whose words they would cover, rather than inside.
    """
    from matplotlib.patches import Rectangle

    pixels = pixels_of(picture)
    figure, axes = _picture(_reduced(pixels), pixels.shape[:2])
    colours = colours_of([one["label"] for one in found])
    # The best one last, so that it is on top.
    for one in sorted(found, key=lambda one: one["score"]):
        box, colour = one["box"], colours[one["label"]]
        corner, wide, high = (box["xmin"], box["ymin"]), box["xmax"] - box["xmin"], box["ymax"] - box["ymin"]
        for edge, line in (("white", 3.5), (colour, 2.0)):
            axes.add_patch(Rectangle(corner, wide, high, fill=False, ec=edge, lw=line))
        _tag(axes, max(corner[0], 0), max(corner[1], 0), one, colour, above)
    return in_any_script(figure)


def masks_over_picture(found: Sequence[Mapping[str, Any]], picture: Any) -> Figure:
    """The masks of an image segmentation as colours over its picture, each with its label and score at its middle.

    Args:
        found: Dicts with `score` (or None), `label` and `mask`, a PIL image of the size of the picture.
        picture: See `pixels_of`.
    """
    from PIL import Image

    whole = pixels_of(picture)
    high, wide = whole.shape[:2]
    pixels = _reduced(whole).astype(np.float32)
    scale = wide / pixels.shape[1]
    tags = []
    for i, one in enumerate(found):
        mask = one["mask"].resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.NEAREST)
        inside = np.asarray(mask) > 127
        colour = colour_of(i)  # a colour per segment: two things with one label are two things
        rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], dtype=np.float32)
        pixels[inside] = (1 - OPACITY) * pixels[inside] + OPACITY * rgb
        if inside.any():
            rows, columns = np.nonzero(inside)
            middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
            tags.append((columns[middle] * scale, rows[middle] * scale, one, colour))
    figure, axes = _picture(pixels.astype(np.uint8), (high, wide))
    for x, y, one, colour in tags:
        _tag(axes, x, y, one, colour)
    return in_any_script(figure)


def _reduced(pixels: np.ndarray) -> np.ndarray:
    """The pixels of a picture, of a larger one at most 1,000 per side: more would not be seen, and take seconds to draw."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST, LONGEST))
    return np.asarray(image)


def _picture(pixels: np.ndarray, size: tuple[int, int]) -> tuple[Figure, Axes]:
    """Axes in pixels of a picture of this (height, width), whose pixels may be fewer."""
    from matplotlib.figure import Figure

    high, wide = size
    sides = (-0.5, wide - 0.5, high - 0.5, -0.5)
    figure = Figure(figsize=(WIDTH, min(WIDTH * high / wide, 2 * WIDTH)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(pixels, extent=sides)
    axes.set(xlim=sides[:2], ylim=sides[2:])
    axes.axis("off")
    return figure, axes


def _tag(axes: Axes, x: float, y: float, one: Mapping[str, Any], colour: str, above: bool = False) -> None:
    score = "" if one["score"] is None else f" {one['score']:.2f}"
    label = _drawable(one["label"])
    axes.annotate(
        label + score,
        (x, y),
        (0, 5 if above else 0),
        textcoords="offset points",
        color=ink_on(colour),
        fontsize=9,
        va="bottom" if above else "top",
        bbox={"facecolor": colour, "edgecolor": "white", "linewidth": 0.8, "pad": 2},
        parse_math=False,
        annotation_clip=True,
        clip_on=True,
    )


def _drawable(label: str) -> str:
    label = printable(str(label))
    return label if len(label) <= 40 else label[:39] + "…"
