"""A recording, drawn with matplotlib: its wave and its spectrogram, with what was heard when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from notebook_kit.inspection.drawing.fonts import in_any_script
from notebook_kit.inspection.drawing.heat_maps import palette
from notebook_kit.inspection.drawing.letters import printable
from notebook_kit.inspection.sounds import outline, spectrogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sound_with_words"]

COLUMNS = 700
MOST_WORDS = 40


def sound_with_words(samples: np.ndarray, rate: int, words: Sequence[Mapping[str, Any]] = ()) -> Figure:
    """The wave of a recording above its spectrogram, with words at their times.

    Args:
        samples: (samples,), from -1 to 1.
        rate: Samples per second.
        words: Dicts with `label`, and `start` and `end` in seconds. More than 40 are left out.
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
    for i, word in enumerate(words[:MOST_WORDS]):
        heard.axvspan(word["start"], word["end"], ymin=0.0, ymax=1.0, fill=False, edgecolor="white", linewidth=0.6)
        place = ((word["start"] + word["end"]) / 2, 0.97 - 0.13 * (i % 2))
        label = printable(word["label"].strip())
        heard.text(*place, label, color="white", fontsize=7, ha="center", va="top", parse_math=False, clip_on=True)
    return in_any_script(figure)
