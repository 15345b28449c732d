"""Pictures and masks as few bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from notebook_kit.inspection.drawing.pictures import jpeg_of

__all__ = ["packed_masks", "packed_picture", "runs_of"]

LONGEST = 1000
"""Pixels of the longer side of a picture on the page."""
PICTURE_BYTES = 300_000
MASKS_BYTES = 350_000
ICON = 100
"""Pixels; a picture of at most this size is sent without loss, since each of its pixels may be seen."""


def packed_picture(picture: Image.Image) -> bytes:
    """A picture for the page: at most 1,000 pixels wide and high, and about 300 kB.

    Example:
        >>> packed_picture(Image.new("RGB", (4000, 3000)))[:2], packed_picture(Image.new("RGB", (28, 28)))[1:4]
        (b'\\xff\\xd8', b'PNG')
    """
    if max(picture.size) <= ICON:
        stream = io.BytesIO()
        picture.save(stream, "png")
        return stream.getvalue()
    for longest, quality in ((LONGEST, 88), (LONGEST, 75), (LONGEST, 55), (LONGEST * 2 // 3, 55)):
        packed = jpeg_of(picture, longest, quality)
        if len(packed) <= PICTURE_BYTES:
            break
    return packed


def packed_masks(masks: Sequence[Image.Image]) -> tuple[tuple[int, int], list[bytes], list[float]]:
    """Masks for the page, as `runs_of` packs each of them: at most 1,000 pixels wide and high, and 350 kB together.

    Args:
        masks: PIL images of one size, 255 inside and 0 outside.

    Returns:
        The (width, height) of the packed masks, the packed masks, and the part of the picture that each of them covers.
    """
    if not masks:
        return (1, 1), [], []
    longest = LONGEST
    while True:
        scale = min(1.0, longest / max(masks[0].size))
        width, height = (max(1, round(side * scale)) for side in masks[0].size)
        arrays = [
            np.asarray(mask.convert("L").resize((width, height), Image.Resampling.NEAREST)) > 127 for mask in masks
        ]
        packed = [runs_of(array) for array in arrays]
        if sum(map(len, packed)) <= MASKS_BYTES or longest < 100:
            return (width, height), packed, [float(array.mean()) for array in arrays]
        longest = max(width, height) // 2


def runs_of(mask: np.ndarray) -> bytes:
    """A mask `(height, width)`, row by row, as the lengths of its runs: outside, inside, outside, ..., as LEB128 numbers.

    Example:
        >>> list(runs_of(np.array([[False, True, True], [True, False, False]])))
        [1, 3]
    """
    edges = np.flatnonzero(np.diff(mask.ravel().astype(np.int8), prepend=0, append=0))
    lengths = np.diff(edges, prepend=0).astype(np.uint32)
    count = 1 + (lengths >= 1 << 7) + (lengths >= 1 << 14) + (lengths >= 1 << 21)  # bytes of each number
    place = np.arange(4)
    digits = (lengths[:, None] >> (7 * place).astype(np.uint32)) & 127
    digits |= np.where(place < count[:, None] - 1, 128, 0).astype(np.uint32)
    return digits[place < count[:, None]].astype(np.uint8).tobytes()
