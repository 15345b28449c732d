"""A recording, drawn with matplotlib: its wave and its spectrogram, with what was heard when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from notebook_kit.inspection.drawing.fonts import families_for, in_any_script
from notebook_kit.inspection.drawing.heat_maps import palette
from notebook_kit.inspection.drawing.letters import printable
from notebook_kit.inspection.sounds import outline, spectrogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["sound_with_words"]

COLUMNS = 700
ROWS = (0.97, 0.84)
"""The tops of the labels' rows, as parts of the spectrogram's height."""
GAP = 5
"""Points between labels, and the least width of a frame around what was heard."""


def sound_with_words(samples: np.ndarray, rate: int, words: Sequence[Mapping[str, Any]] = ()) -> Figure:
    """The wave of a recording above its spectrogram, with words at their times.

    Args:
        samples: (samples,), from -1 to 1.
        rate: Samples per second.
        words: Dicts with `label`, and `start` and `end` in seconds, in order of time. Drawn are as many as fit beside each
            other, all over the recording; the others are left out.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    duration = len(samples) / rate
    figure = Figure(figsize=(7, 3), layout="constrained")
    wave, heard = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    low, high = outline(samples, COLUMNS)
    wave.fill_between(np.linspace(0, duration, len(low)), low, high, color="#0072b2", linewidth=0.4)
    wave.set_yticks([])
    wave.set_ylim(-1, 1)
    bands = spectrogram(samples, rate, COLUMNS)
    colours = ListedColormap(palette(False) / 255)
    heard.imshow(bands, aspect="auto", origin="lower", extent=(0, duration, 0, 1), cmap=colours, vmin=0, vmax=1)
    heard.set_yticks([])
    heard.set_xlabel("s")
    _label(figure, heard, words, duration)
    return in_any_script(figure)


def _label(figure: Figure, heard: Axes, words: Sequence[Mapping[str, Any]], duration: float) -> None:
    """Write words over a spectrogram of so many seconds, in rows, without overlaps, with a frame or a mark at each one's time."""
    if not words or not duration:
        return
    heard.set_xlim(0, duration)
    figure.draw_without_rendering()  # lays out the axes, whose width decides what fits
    second = heard.get_window_extent().width / duration  # in pixels
    gap = GAP * figure.dpi / 72 / second
    ends = [-gap] * len(ROWS)
    for word in words:
        middle = min((word["start"] + word["end"]) / 2, duration)
        row = min(range(len(ROWS)), key=ends.__getitem__)
        label = printable(word["label"].strip())
        if not label or ends[row] + gap >= max(middle, gap):  # no need to measure it
            continue
        style: dict[str, Any] = {"color": "white", "fontsize": 7, "ha": "center", "va": "top", "parse_math": False}
        text = heard.text(middle, ROWS[row], label, clip_on=True, **style)
        text.set_fontfamily(families_for(label, text.get_fontfamily()))
        width = text.get_window_extent().width / second
        if width > duration:  # a long sentence
            text.set_text(label[: int(len(label) * duration / width) - 2] + "…")
            width = text.get_window_extent().width / second
        left = min(max(middle - width / 2, 0), max(duration - width, 0))
        if left < ends[row] + gap:
            text.remove()
            continue
        text.set_x(left + width / 2)
        ends[row] = left + width
        if word["end"] - word["start"] >= gap:
            heard.axvspan(word["start"], word["end"], fill=False, edgecolor="white", linewidth=0.6)
        else:  # frames this narrow would hide the spectrogram
            heard.axvline(middle, 0.64, 0.7, color="white", linewidth=0.6)
