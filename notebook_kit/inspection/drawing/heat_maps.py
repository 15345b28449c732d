"""Pictures of attention: a plain PNG, which is fast, or a matplotlib figure with labels."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from notebook_kit.inspection.drawing.fonts import in_any_script
from notebook_kit.inspection.drawing.letters import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LABELLED", "heat_map_png", "label_of", "lens_figure", "lines_figure", "matrix_figure", "palette", "png_of"]

LABELLED = 48
"""The maximum number of tokens that a picture labels; more labels would be illegible."""

# Every 17th colour of matplotlib's cividis (Nunez et al., 2018), and a scale from orange through white to blue for signed values.
CIVIDIS = "00204c 002a66 00346e 273f6c 3c4a6b 4c556b 5b5f6d 686a70 757575 838178 928c78 a19876 b0a572 c0b26d d0c065 e1cd5b f2dc4d ffea46"
DIVERGING = "7f3b08 b35806 e08214 fdb863 fee0b6 f7f7f7 d1e5f0 92c5de 4393c3 2166ac 053061"


def palette(signed: bool) -> np.ndarray:
    """256 colours, `(256, 3)`, uint8."""
    stops = np.array(
        [[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in (DIVERGING if signed else CIVIDIS).split()]
    )
    place = np.linspace(0, len(stops) - 1, 256)
    return (
        np.stack([np.interp(place, range(len(stops)), stops[:, i]) for i in range(3)], axis=1).round().astype(np.uint8)
    )


def heat_map_png(values: np.ndarray, signed: bool = False, most: int = 100_000) -> bytes:
    """A matrix of bytes as a PNG with one pixel per weight (more for small matrices), without a drawing library.

    Args:
        values: `(rows, columns)`, uint8.
        signed: Whether 128 means zero.
        most: The maximum size of the PNG in bytes; above it, each field of 2 x 2 weights is reduced to its strongest, repeatedly.

    Example:
        >>> heat_map_png(np.zeros((4, 4), dtype=np.uint8))[:4]
        b'\\x89PNG'
    """
    rows, columns = (side // 2 * 2 for side in values.shape)
    png = _png(values, signed)
    if len(png) <= most or min(rows, columns) < 2:
        return png
    fields = (
        values[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).transpose(0, 2, 1, 3).reshape(rows // 2, -1, 4)
    )
    strength = np.abs(fields.astype(np.int16) - 128) if signed else fields
    halved = np.take_along_axis(fields, strength.argmax(-1)[..., None], -1)[..., 0]
    return heat_map_png(halved, signed, most)


def _png(values: np.ndarray, signed: bool) -> bytes:
    rows, columns = values.shape
    larger = max(1, 384 // max(rows, columns))
    values = values.repeat(larger, 0).repeat(larger, 1)
    height, width = values.shape
    lines = np.zeros((height, width + 1), dtype=np.uint8)  # each line starts with the number of its filter: 0 for none
    lines[:, 1:] = values

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    body = chunk(b"PLTE", palette(signed).tobytes()) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 4))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def matrix_figure(
    weights: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    signed: bool = False,
    *,
    chosen: Sequence[int] = (),
    sides: tuple[str, str] = ("from", "to"),
) -> Figure:
    """A heat map with its tokens and a colour bar; the `chosen` rows are framed. `sides` names the rows and the columns."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    size = 4.2 + 0.09 * min(max(len(rows), len(columns)), LABELLED)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.subplots()
    top = float(np.abs(weights).max()) or 1.0
    image = axes.imshow(
        weights,
        cmap=ListedColormap(palette(signed) / 255),
        vmin=-top if signed else min(0.0, float(weights.min())),
        vmax=top,
        aspect="auto" if abs(len(rows) - len(columns)) > max(len(rows), len(columns)) / 2 else "equal",
        interpolation="nearest",
    )
    figure.colorbar(image, ax=axes, shrink=0.8)
    small = 8 if max(len(rows), len(columns)) <= 24 else 6
    if len(columns) <= LABELLED:
        axes.set_xticks(range(len(columns)), [label_of(label) for label in columns], rotation=90, fontsize=small)
    if len(rows) <= LABELLED:
        axes.set_yticks(range(len(rows)), [label_of(label) for label in rows], fontsize=small)
    for i in chosen:
        axes.axhspan(i - 0.5, i + 0.5, fill=False, edgecolor="#4a9eff", linewidth=1.5)
    axes.set_ylabel(f"{label_of(sides[0])} ↓")
    axes.set_xlabel(f"{label_of(sides[1])} →")
    axes.set_title(label_of(title, 90), fontsize=9)
    return in_any_script(figure)


def lines_figure(
    weights: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    *,
    chosen: Sequence[int] = (),
    least: float = 0.0,
    signed: bool = False,
    most: int = 4000,
    sides: tuple[str, str] = ("from", "to"),
) -> Figure:
    """Tokens on the left and right, connected by lines whose width and opacity show the weight; `sides` names the two."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    long = max(len(rows), len(columns))
    figure = Figure(figsize=(5.5, min(1.2 + 0.2 * long, 40)), layout="constrained")
    axes = figure.subplots()
    strength = np.abs(weights)
    top = float(strength.max()) or 1.0
    drawn = strength.copy()
    drawn[strength < max(least, top / 255)] = 0
    if len(chosen):
        others = [i for i in range(len(rows)) if i not in set(chosen)]
        drawn[others] = 0
    places = np.argsort(drawn, axis=None)[::-1][: min(most, np.count_nonzero(drawn))]
    y, x = np.unravel_index(places, weights.shape)
    part = drawn[y, x] / top
    colours = np.zeros((len(part), 4))
    negative = weights[y, x] < 0
    colours[:, :3] = np.where(negative[:, None], [0.70, 0.35, 0.02], [0.04, 0.36, 0.68])
    colours[:, 3] = 0.08 + 0.92 * part
    axes.add_collection(
        LineCollection(
            [[(0, a), (1, b)] for a, b in zip(y, x, strict=True)],
            colors=colours,
            linewidths=0.4 + 2.6 * part,
        )
    )
    for i, label in enumerate(rows):
        heavy = "bold" if i in set(chosen) else "normal"
        axes.text(-0.03, i, label_of(label), ha="right", va="center", fontsize=8, fontweight=heavy)
    for i, label in enumerate(columns):
        axes.text(1.03, i, label_of(label), ha="left", va="center", fontsize=8)
    for at, align, side in ((-0.03, "right", sides[0]), (1.03, "left", sides[1])):
        axes.text(at, -1.2, label_of(side), ha=align, va="center", fontsize=8, color="#4a515a", fontstyle="italic")
    axes.set_xlim(-0.6, 1.6)
    axes.set_ylim(long - 0.4, -1.8)
    axes.axis("off")
    axes.set_title(label_of(title, 90) + ("" if not signed else " (blue: more, orange: less)"), fontsize=9)
    return in_any_script(figure)


def lens_figure(
    chances: np.ndarray, words: Sequence[Sequence[str]], rows: Sequence[str], columns: Sequence[str], title: str
) -> Figure:
    """A table of layers by positions, with a word in each cell, coloured by its probability."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 + 0.62 * len(columns), 1.2 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    colours = palette(False)
    image = axes.imshow(chances, cmap=ListedColormap(colours / 255), vmin=0, vmax=1, aspect="auto")
    figure.colorbar(image, ax=axes, shrink=0.8)
    for i, line in enumerate(words):
        for j, word in enumerate(line):
            back = colours[round(float(chances[i, j]) * 255)]
            ink = "black" if back.astype(int).sum() > 350 else "white"
            axes.text(j, i, label_of(word, 8), ha="center", va="center", fontsize=7, color=ink)
    axes.set_xticks(
        range(len(columns)), [label_of(label, 12) for label in columns], rotation=45, ha="right", fontsize=7
    )
    axes.set_yticks(range(len(rows)), [label_of(label) for label in rows], fontsize=7)
    axes.set_title(label_of(title, 90), fontsize=9)
    return in_any_script(figure)


def png_of(figure: Figure, dpi: int = 80) -> bytes:
    """A figure as PNG bytes; characters that the font lacks become boxes, without warnings."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph.*")
        warnings.filterwarnings("ignore", message=".*constrained_layout.*")
        FigureCanvasAgg(figure).print_figure(stream, format="png", dpi=dpi)
    return stream.getvalue()


def label_of(label: Any, most: int = 24) -> str:
    """A label of at most `most` characters, with `$` escaped, which would start a formula."""
    text = printable(str(label))
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text.replace("$", r"\$")
