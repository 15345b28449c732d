"""Weights drawn over a picture: patches of an image, boxes on a page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from notebook_kit.errors import InputError, a_kind
from notebook_kit.inspection.drawing.fonts import in_any_script
from notebook_kit.inspection.drawing.heat_maps import label_of, palette
from notebook_kit.processing.image.loading import load_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Box", "heat_over_picture", "heat_over_sound", "jpeg_of", "maps_over_picture", "pixels_of"]

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as fractions of a picture's width and height."""

LONGEST_SIDE = 512
OPACITY = 0.54
LEAST_TOP = 0.02
"""The scale ends at no less than this part of the largest weight, so the picture stays dark if most weight is outside it."""


def pixels_of(picture: Any) -> np.ndarray:
    """A picture as `(height, width, 3)` bytes.

    Args:
        picture: A PIL image, an array or tensor `(height, width, 3)` of bytes, or the path of an image file.

    Raises:
        InputError: If it is none of these.

    Example:
        >>> pixels_of(np.zeros((2, 3, 3), dtype=np.uint8)).shape
        (2, 3, 3)
    """
    from PIL import Image

    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if isinstance(picture, str) or hasattr(picture, "__fspath__"):
        return np.asarray(load_image(picture))
    pixels = np.asarray(picture)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(
            f"{a_kind(picture, starts=True)} of shape {pixels.shape} and dtype {pixels.dtype} is not a picture.",
            next_step="Pass a PIL image, or an array (height, width, 3) of bytes.",
        )
    return pixels


def jpeg_of(picture: Any, longest: int = LONGEST_SIDE, quality: int = 88) -> bytes:
    """A picture as JPEG, scaled down to at most `longest` pixels per side.

    Example:
        >>> jpeg_of(np.zeros((2, 3, 3), dtype=np.uint8))[:2]
        b'\\xff\\xd8'
    """
    from PIL import Image

    image = Image.fromarray(pixels_of(picture))
    image.thumbnail((longest, longest))
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=quality)
    return stream.getvalue()


def heat_over_picture(
    weights: np.ndarray,
    boxes: Sequence[Box | None],
    labels: Sequence[str],
    picture: Any,
    title: str,
    *,
    source: tuple[Sequence[Box | None], Any] | None = None,
    source_title: str = "",
    signed: bool = False,
) -> Figure:
    """One weight per box as colours over a picture in grey, as a matplotlib `Figure`.

    Args:
        weights: `(boxes,)`.
        boxes: The box of each weight; None if it is not on the picture (a class token), to list it below.
        labels: The label of each weight.
        picture: See `pixels_of`; None draws plain boxes.
        title: The title.
        source: The boxes that attend and their picture, to draw on the left; None for no such picture.
        source_title: The title of that picture.
        signed: Whether weights may be negative.
    """
    from matplotlib.figure import Figure

    pixels = _pixels_or_plain(picture, boxes)
    high, wide = pixels.shape[:2]
    grey = _grey(pixels)
    count = 1 if source is None else 2
    width = 4.4
    figure = Figure(figsize=(width * count + 0.7, width * min(1.6, high / wide) + 0.9), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    if source is not None:
        _draw_source(axes[0], *source, source_title)
    to = axes[-1]
    to.imshow(grey, extent=(0, 1, 1, 0), aspect=high / wide)
    top, colours = _colour(to, weights, boxes, signed)
    beside = [f"{label} {weight:.3f}" for label, weight, box in zip(labels, weights, boxes, strict=True) if box is None]
    _bare(to, title, ", ".join(label_of(one) for one in beside[:6]))
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(-top if signed else 0.0, top or 1.0), colours)
    figure.colorbar(scale, ax=to, shrink=0.85, pad=0.02)
    return in_any_script(figure)


def heat_over_sound(
    weights: np.ndarray,
    boxes: Sequence[Box | None],
    labels: Sequence[str],
    picture: Any,
    span: tuple[float, float],
    title: str,
    *,
    source: Sequence[Box | None] | None = None,
    source_title: str = "",
    signed: bool = False,
) -> Figure:
    """One weight per box as colours over a spectrogram in grey, with its seconds, as a matplotlib `Figure`.

    Args:
        weights, boxes, labels, picture, title, source_title, signed: As for `heat_over_picture`.
        span: The seconds at which the spectrogram begins and ends.
        source: The boxes that attend, to draw above; None if they are not on the spectrogram.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    pixels = _pixels_or_plain(picture, boxes)
    count = 1 if source is None else 2
    figure = Figure(figsize=(8, 1.7 * count + 0.4), layout="constrained")
    axes = figure.subplots(count, 1, squeeze=False)[:, 0]
    extent = (0, 1, 1, 0)
    if source is not None:
        axes[0].imshow(pixels, extent=extent, aspect="auto")
        _outline(axes[0], source)
        _timed(axes[0], span, source_title)
    to = axes[-1]
    to.imshow(_grey(pixels), extent=extent, aspect="auto")
    top, colours = _colour(to, weights, boxes, signed)
    _timed(to, span, title)
    beside = [f"{label} {weight:.3f}" for label, weight, box in zip(labels, weights, boxes, strict=True) if box is None]
    to.set_xlabel(", ".join(["s", *map(label_of, beside[:6])]), fontsize=8)
    figure.colorbar(ScalarMappable(Normalize(-top if signed else 0.0, top or 1.0), colours), ax=to, pad=0.02)
    return in_any_script(figure)


def _timed(axes: Any, span: tuple[float, float], title: str) -> None:
    """Label a spectrogram that is drawn from 0 to 1 with its seconds."""
    places = np.linspace(0, 1, 5)
    axes.set_xticks(places, [f"{span[0] + place * (span[1] - span[0]):.2f}" for place in places], fontsize=8)
    axes.set_yticks([])
    axes.set_title(label_of(title, 90), fontsize=9)


def _colour(axes: Any, weights: np.ndarray, boxes: Sequence[Box | None], signed: bool) -> tuple[float, Any]:
    """Colour boxes by weights; returns the weight of the brightest colour, and the colours."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    drawn = [weight for weight, box in zip(weights, boxes, strict=True) if box is not None]
    top = float(max(np.abs(drawn).max(initial=0.0), LEAST_TOP * np.abs(weights).max(initial=0.0)))
    colours = ListedColormap(palette(signed) / 255)
    for weight, box in zip(weights, boxes, strict=True):
        if box is not None:
            part = (0.5 + weight / top / 2 if signed else weight / top) if top else 0.0
            left, upper, right, lower = box
            axes.add_patch(
                Rectangle((left, upper), right - left, lower - upper, color=colours(float(part)), alpha=OPACITY, lw=0)
            )
    return top, colours


def maps_over_picture(
    maps: np.ndarray,
    boxes: Sequence[Box | None],
    labels: Sequence[str],
    picture: Any,
    title: str,
    signed: bool = False,
    aspect: float | None = None,
) -> Figure:
    """Several weights per box, each as colours over a small copy of the picture and at its own scale.

    Args:
        maps: `(maps, boxes)`.
        boxes: The box of each weight; those without one are left out.
        labels: The label of each map.
        picture: See `pixels_of`; None draws plain boxes.
        title: The title.
        signed: Whether weights may be negative.
        aspect: Height divided by width of a map; that of the picture if None.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    pixels = _grey(_pixels_or_plain(picture, boxes))
    aspect = aspect or pixels.shape[0] / pixels.shape[1]
    columns = min(6, len(maps))
    rows = -(-len(maps) // columns)
    side = 1.6
    figure = Figure(figsize=(side * columns, (side * min(1.6, aspect) + 0.3) * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    on_picture = [i for i, box in enumerate(boxes) if box is not None]
    colours = ListedColormap(palette(signed) / 255)
    for one, weights, label in zip(axes, maps, labels, strict=False):
        one.imshow(pixels, extent=(0, 1, 1, 0), aspect=aspect)
        parts = weights[on_picture] / max(float(np.abs(weights[on_picture]).max(initial=0.0)), 1e-30)
        cells = [Rectangle((box[0], box[1]), box[2] - box[0], box[3] - box[1]) for box in boxes if box is not None]
        faces = colours(0.5 + parts / 2 if signed else parts)
        one.add_collection(PatchCollection(cells, facecolors=faces, alpha=OPACITY, linewidths=0))
        _bare(one, label)
    for one in axes[len(maps) :]:
        one.axis("off")
    figure.suptitle(label_of(title, 90), fontsize=10)
    return in_any_script(figure)


def _grey(pixels: np.ndarray) -> np.ndarray:
    return np.repeat((pixels @ np.array([0.299, 0.587, 0.114]))[..., None], 3, axis=2).astype(np.uint8)


def _draw_source(axes: Any, boxes: Sequence[Box | None], picture: Any, title: str) -> None:
    pixels = _pixels_or_plain(picture, boxes)
    axes.imshow(pixels, extent=(0, 1, 1, 0), aspect=pixels.shape[0] / pixels.shape[1])
    _outline(axes, boxes)
    _bare(axes, title)


def _outline(axes: Any, boxes: Sequence[Box | None]) -> None:
    from matplotlib.patches import Rectangle

    for box in boxes:
        if box is not None:
            left, upper, right, lower = box
            for colour, line in (("white", 3.5), ("#0b5cad", 1.8)):
                axes.add_patch(Rectangle((left, upper), right - left, lower - upper, fill=False, ec=colour, lw=line))


def _pixels_or_plain(picture: Any, boxes: Sequence[Box | None]) -> np.ndarray:
    """The pixels of the picture; without one, plain white, shaped so that the first box is a square."""
    if picture is not None:
        return pixels_of(picture)
    left, upper, right, lower = next((box for box in boxes if box is not None), (0.0, 0.0, 1.0, 1.0))
    return np.full((max(1, round(240 * (right - left) / (lower - upper))), 240, 3), 255, dtype=np.uint8)


def _bare(axes: Any, title: str, below: str = "") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(label_of(title, 60), fontsize=9)
    axes.set_xlabel(below, fontsize=8)
