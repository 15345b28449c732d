"""Answers about a recording: what was said and when, or scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from notebook_kit.inspection.drawing.heat_maps import heat_map_png
from notebook_kit.inspection.drawing.sounds import sound_with_words
from notebook_kit.inspection.sounds import outline, spectrogram
from notebook_kit.panels.panel import Answer
from notebook_kit.panels.result_view.shown import Shown, Words

__all__ = ["RATE", "WINDOW", "Recorded", "ShownHeard", "ShownSpeech"]

RATE = 16_000
"""Samples per second at which recordings are loaded and played."""
WINDOW = 60
"""Seconds of sound that the page asks for at a time."""
COLUMNS = 1000
MELS = 80


class Recorded(Shown):
    """What answers about a recording share: its outline and spectrogram, and its samples in windows of a minute.

    Args:
        result: The answer.
        things: As for `Shown`.
        samples: (samples,), float32 at 16 kHz.
    """

    def __init__(self, result: Any, things: Sequence[Mapping[str, Any]], samples: np.ndarray) -> None:
        super().__init__(result, things)
        self.samples = samples

    @property
    def duration(self) -> float:
        """In seconds."""
        return len(self.samples) / RATE

    def answer(self) -> Answer:
        bands = np.flipud(spectrogram(self.samples, RATE, COLUMNS, MELS))
        wave = np.clip(np.round(outline(self.samples, COLUMNS) * 127), -127, 127).astype(np.int8)
        more = {"duration": self.duration, "rate": RATE, "window": WINDOW}
        png = heat_map_png((bands * 255).astype(np.uint8))
        return Answer({**super().answer().values, **more}, [png, wave.tobytes()])

    def sound(self, window: int) -> Answer:
        """The samples of a window, as 16-bit integers in little-endian order."""
        size = WINDOW * RATE
        part = self.samples[window * size : (window + 1) * size]
        return Answer({"window": window}, [(np.clip(part, -1, 1) * 32767).astype("<i2").tobytes()])


class ShownHeard(Recorded):
    """Labels with scores for a recording.

    Args:
        result: The answer: dicts with `label` and `score`.
        samples: See `Recorded`.
    """

    kind = "heard"
    one, several = "score", "scores"

    def __init__(self, result: Sequence[Mapping[str, Any]], samples: np.ndarray) -> None:
        things = [{"label": str(one["label"]), "score": float(one["score"])} for one in result]
        super().__init__(result, things, samples)

    def figure(self) -> Any:
        return sound_with_words(self.samples, RATE)


class ShownSpeech(Recorded):
    """What was said in a recording.

    Args:
        result: The answer: `text`, and perhaps `chunks` with their `text` and `timestamp`, (start, end) in seconds.
        samples: See `Recorded`.
    """

    kind = "speech"

    def __init__(self, result: Mapping[str, Any], samples: np.ndarray) -> None:
        duration = len(samples) / RATE
        things = []
        for chunk in result.get("chunks") or ():
            start, end = chunk["timestamp"]
            start = 0.0 if start is None else float(start)
            end = duration if end is None else float(end)  # of a word that is cut off
            things.append(
                {"label": str(chunk["text"]), "score": None, "start": start, "end": max(start, min(end, duration))}
            )
        super().__init__(result, things, samples)
        self.text = str(result["text"])

    def answer(self) -> Answer:
        answer = super().answer()
        joined = "".join(thing["label"] for thing in self.things)
        return Answer(
            {**answer.values, "text": self.text, "spaced": joined.split() != self.text.split()}, answer.buffers
        )

    def rows(self, word: Words) -> tuple[list[str], list[list[Any]]]:
        rows = [[f"{one['start']:.2f} – {one['end']:.2f}", one["label"].strip()] for one in self.things]
        return [word("seconds"), word("said")], rows

    def note(self, word: Words) -> str:
        return self.text or word("silence")

    def figure(self) -> Any:
        return sound_with_words(self.samples, RATE, self.things)

    def brief(self) -> str:
        return repr(self.text if len(self.text) <= 60 else self.text[:59] + "…")
