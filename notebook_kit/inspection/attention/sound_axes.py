"""The axes of attention over a recording: frames, and patches of a spectrogram."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from notebook_kit.inspection.attention.axes import Axis, Groups, NumberedAxis, PatchGrid
from notebook_kit.inspection.drawing.pictures import Box

__all__ = ["PADDING", "Frames", "SoundPatches"]

PADDING = "[PAD]"
"""The label of what follows a recording: the silence with which a model fills its input."""

TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Frames(NumberedAxis):
    """Consecutive frames of a sound or a film.

    Args:
        count: The number of frames, padding included.
        seconds: The duration of one frame.
        start: The start of the first frame, in seconds.
        picture: The spectrogram of what was recorded, or None; as for `PatchGrid`.
        recorded: The end of the recording, in seconds; what follows is padding. None if there is no padding.
        is_exact: Whether `seconds` is the step of the model. Otherwise the model divides the duration into equal frames.

    Example:
        >>> frames = Frames(4, 0.5)
        >>> frames.labels, [frames.name_of(group) for group in frames.merged(frames.kept())]
        (('0.00 s', '0.50 s', '1.00 s', '1.50 s'), ['0–1 s', '1–2 s'])
        >>> shorter, groups = Frames(6, 0.5, recorded=2.0).pooled(2)
        >>> shorter.labels, groups
        (('0.00 s', '1.00 s', '[PAD]'), ((0, 1), (2, 3), (4, 5)))
    """

    kind: ClassVar[str] = "frames"
    is_ordered: ClassVar[bool] = True

    count: int
    seconds: float
    start: float = 0.0
    picture: Any = None
    recorded: float | None = None
    is_exact: bool = False

    @property
    def heard(self) -> int:
        """The number of frames that begin before the end of the recording; at least one."""
        if self.recorded is None:
            return self.count
        return max(1, min(self.count, math.ceil((self.recorded - self.start) / self.seconds - TINY)))

    @property
    def _begins(self) -> list[float]:
        return [self.start + i * self.seconds for i in range(self.heard)]

    @cached_property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*(f"{begin:.2f} s" for begin in self._begins), *[PADDING] * (self.count - self.heard))

    @cached_property
    def special(self) -> tuple[bool, ...]:  # type: ignore[override]
        return tuple(i >= self.heard for i in range(self.count))

    @cached_property
    def _whole_seconds(self) -> tuple[int, ...]:
        return (*(int(begin + 1e-9) for begin in self._begins), *[-1] * (self.count - self.heard))

    @cached_property
    def words(self) -> tuple[int, ...]:  # type: ignore[override]
        number = {second: i for i, second in enumerate(dict.fromkeys(self._whole_seconds))}
        return tuple(number[second] for second in self._whole_seconds)

    @cached_property
    def word_labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(
            PADDING if second < 0 else f"{second}–{second + 1} s" for second in dict.fromkeys(self._whole_seconds)
        )

    @property
    def places(self) -> np.ndarray:
        """The middle of each frame, in seconds; NaN for padding."""
        places = self.start + (np.arange(self.count) + 0.5) * self.seconds
        places[self.heard :] = np.nan
        return places[:, None]

    @property
    def span(self) -> tuple[float, float] | None:
        """From the first frame to the end of the recording."""
        end = self.start + self.count * self.seconds
        return None if self.picture is None else (self.start, end if self.recorded is None else self.recorded)

    @cached_property
    def boxes(self) -> tuple[Box | None, ...] | None:
        """The part of the spectrogram that each frame covers, from top to bottom."""
        if self.span is None:
            return None
        begin, end = self.span
        edges = [min(1.0, i * self.seconds / (end - begin)) for i in range(self.heard + 1)]
        edges[-1] = 1.0 if self.heard < self.count or edges[-1] > 0.99 else edges[-1]
        sides = itertools.pairwise(edges)
        return (*((left, 0.0, right, 1.0) for left, right in sides), *[None] * (self.count - self.heard))

    def fitted(self, size: int) -> Frames:
        """The same duration in `size` frames, or `size` frames of the step of the model."""
        if size == self.count or not size:
            return self
        seconds = self.seconds if self.is_exact else self.count * self.seconds / size
        return replace(self, count=size, seconds=seconds)

    def pooled(self, parts: int = 1) -> tuple[Axis, Groups | None]:
        """As in `Axis`: `parts` consecutive frames become one."""
        if parts == 1 and self.count - self.heard <= 1:
            return self, None
        groups = [tuple(range(i, min(i + parts, self.heard))) for i in range(0, self.heard, parts)]
        padding = tuple(range(self.heard, self.count))
        shorter = replace(self, count=len(groups) + bool(padding), seconds=self.seconds * parts, is_exact=True)
        return shorter, (*groups, *([padding] if padding else []))


@dataclass(frozen=True, eq=False)
class SoundPatches(PatchGrid):
    """The patches of a spectrogram, from the lowest band to the highest, each row in the order of time.

    Args:
        rows: Rows of patches.
        columns: Patches per row.
        picture: The spectrogram of what was recorded, with the lowest band at the bottom.
        before: As for `PatchGrid`; labels of the tokens before the first patch.
        after: Empty, or the label of padding.
        times: The seconds at which columns begin, and at which the last one ends: `columns + 1` values.
        hertz: The frequencies at which rows begin and end: `rows + 1` values.
        heights: The same as fractions of the height of the picture.
        recorded: The end of the recording, in seconds; columns that begin later are padding.

    Example:
        >>> grid = SoundPatches(2, 2, None, ("[CLS]",), times=(0, 0.5, 1), hertz=(20, 900, 8000), heights=(0, 0.5, 1), recorded=0.5)
        >>> shorter, groups = grid.pooled()
        >>> shorter.labels, groups
        (('[CLS]', '0.00 s 20 Hz', '0.00 s 900 Hz', '[PAD]'), ((0,), (1,), (3,), (2, 4)))
    """

    kind: ClassVar[str] = "spectrogram"
    rises: ClassVar[bool] = True

    times: tuple[float, ...] = ()
    hertz: tuple[float, ...] = ()
    heights: tuple[float, ...] = ()
    recorded: float = math.inf

    @cached_property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override]
        cells = (f"{begin:.2f} s {low:.0f} Hz" for low in self.hertz[:-1] for begin in self.times[:-1])
        return (*self.before, *cells, *self.after)

    @cached_property
    def special(self) -> tuple[bool, ...]:  # type: ignore[override]
        return (True,) * len(self.before) + (False,) * (self.rows * self.columns) + (True,) * len(self.after)

    @property
    def span(self) -> tuple[float, float] | None:
        """From the first column to the end of the recording."""
        return 0.0, min(self.recorded, self.times[-1])

    @cached_property
    def boxes(self) -> tuple[Box | None, ...]:
        """The part of the spectrogram that each patch covers."""
        end = min(self.recorded, self.times[-1])
        cells = [
            (min(1.0, left / end), 1 - upper, min(1.0, right / end), 1 - lower)
            for lower, upper in itertools.pairwise(self.heights)
            for left, right in itertools.pairwise(self.times)
        ]
        return (*(None for _ in self.before), *cells, *(None for _ in self.after))

    def fitted(self, size: int) -> SoundPatches:
        """The same grid; a spectrogram has one size."""
        return self

    def pooled(self, parts: int = 1) -> tuple[Axis, Groups | None]:
        """As in `Axis`: patches are merged with neighbours in time and in frequency, up to `parts` of them."""
        high = max(1, math.isqrt(parts))
        wide = -(-parts // high)
        heard = max(1, sum(begin < self.recorded - TINY for begin in self.times[:-1]))
        if parts == 1 and (self.after or heard == self.columns):
            return self, None
        lows, begins = range(0, self.rows, high), range(0, heard, wide)
        cells = np.arange(self.rows * self.columns).reshape(self.rows, self.columns) + len(self.before)
        groups = [cells[low : low + high, at : min(at + wide, heard)] for low in lows for at in begins]
        padding = [cells[:, heard:]] if heard < self.columns else []
        shorter = replace(
            self,
            rows=len(lows),
            columns=len(begins),
            after=(PADDING,) if padding else (),
            times=(*(self.times[at] for at in begins), self.times[heard]),
            hertz=_thinned(self.hertz, high),
            heights=_thinned(self.heights, high),
        )
        first = [(i,) for i in range(len(self.before))]
        return shorter, (*first, *(tuple(group.ravel().tolist()) for group in [*groups, *padding]))


def _thinned(edges: Sequence[float], step: int) -> tuple[float, ...]:
    """Every `step`-th edge, and the last one."""
    return (*edges[:-1:step], edges[-1])
