"""The axis of a model that reads words and a picture as one sequence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from notebook_kit.inspection.attention.axes import Axis, PatchGrid, TokenAxis
from notebook_kit.inspection.drawing.pictures import Box

__all__ = ["WordsAndPatches"]


@dataclass(frozen=True, eq=False)
class WordsAndPatches(Axis):
    """The tokens of a text, then the patches of a picture. The text is the first segment, the picture the second.

    Args:
        text: The tokens.
        patches: The patches, with any class token before them.

    Example:
        >>> from notebook_kit.inspection.attention.axes import named_tokens
        >>> axis = WordsAndPatches(named_tokens(["a", "cat"]), PatchGrid(1, 2, before=("[CLS]",)))
        >>> axis.labels, axis.kept(segment=0), axis.boxes[3]
        (('a', 'cat', '[CLS]', '0,0', '0,1'), [0, 1], (0.0, 0.0, 0.5, 1.0))
    """

    kind: ClassVar[str] = "joint"

    text: TokenAxis
    patches: PatchGrid
    ids: Any = None

    @cached_property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self.text.labels, *self.patches.labels)

    @cached_property
    def special(self) -> tuple[bool, ...]:  # type: ignore[override]
        return (*self.text.special, *self.patches.special)

    @cached_property
    def words(self) -> tuple[int, ...]:  # type: ignore[override]
        first = max(self.text.words, default=-1) + 1
        return (*self.text.words, *(first + word for word in self.patches.words))

    @cached_property
    def word_labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self.text.word_labels, *self.patches.word_labels)

    @cached_property
    def segments(self) -> tuple[int | None, ...]:  # type: ignore[override]
        parts = (*(0 for _ in self.text.labels), *(1 for _ in self.patches.labels))
        return tuple(None if special else part for part, special in zip(parts, self.special, strict=True))

    @property
    def picture(self) -> Any:
        """The picture under the patches."""
        return self.patches.picture

    @property
    def identities(self) -> tuple[Any, ...]:
        """Those of the tokens; patches all differ."""
        return (*self.text.identities, *((i,) for i in range(len(self.patches))))

    @property
    def places(self) -> np.ndarray:
        """Row and column of each patch; tokens have no place on the picture."""
        return np.concatenate([np.full((len(self.text), 2), np.nan), self.patches.places])

    @property
    def boxes(self) -> tuple[Box | None, ...]:
        """The rectangle of each patch."""
        return (*(None for _ in self.text.labels), *self.patches.boxes)

    @property
    def first(self) -> int | None:
        """The first token, from which such a model answers."""
        return 0 if len(self.text) else None

    def fitted(self, size: int) -> WordsAndPatches:
        """The same text, with a grid for the other positions."""
        return replace(self, patches=self.patches.fitted(size - len(self.text)))
