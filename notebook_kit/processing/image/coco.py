"""The masks of COCO's annotations: polygons and run lengths, and the colours of panoptic pictures.

They give the same pixels as COCO's own library, `pycocotools`, which is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from notebook_kit.errors import InputError

__all__ = ["boxes_around", "mask_of", "run_lengths", "segment_ids"]

_UPSAMPLING = 5


def mask_of(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The mask (height, width), uint8, of one object.

    Args:
        segmentation: Polygons, each `[x0, y0, x1, y1, ...]` in pixels; or run lengths, `{"counts": ..., "size": [height, width]}`
            with the counts as a list or as COCO's text.
        height, width: The image's.

    Raises:
        InputError: If it is neither, or the run lengths are for an image of another size.

    Example:
        >>> mask_of([[1, 1, 3, 1, 3, 3, 1, 3]], 4, 4).tolist()
        [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    try:
        if isinstance(segmentation, Mapping):
            return _from_run_lengths(segmentation, height, width)
        masks = [_polygon(np.asarray(points, np.float64).ravel(), height, width) for points in segmentation]
    except (TypeError, ValueError, KeyError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"A segmentation of COCO cannot be read: {error}.",
            next_step='Expected polygons [[x0, y0, x1, y1, ...], ...], or {"counts": ..., "size": [height, width]}.',
        ) from error
    return np.any(masks, axis=0).astype(np.uint8) if masks else np.zeros((height, width), np.uint8)


def _polygon(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fill a polygon: its outline is drawn five times enlarged; where it crosses a column of pixels, inside begins or ends."""
    if points.size < 6 or points.size % 2 or not np.isfinite(points).all():
        raise ValueError(
            f"a polygon has at least three points of two finite numbers, and this one has {points.size} numbers"
        )
    limit = _UPSAMPLING * 2.0 * (max(height, width) + 1)
    corners = (np.clip(_UPSAMPLING * points, -limit, limit) + 0.5).astype(np.int64).reshape(-1, 2)
    outline = np.concatenate([_line(*pair) for pair in zip(corners, np.roll(corners, -1, axis=0), strict=True)])
    x, y = outline[:, 0], outline[:, 1]
    steps = np.flatnonzero(x[1:] != x[:-1]) + 1
    left = (np.minimum(x[steps], x[steps - 1]) + 0.5) / _UPSAMPLING - 0.5
    upper = (np.minimum(y[steps], y[steps - 1]) + 0.5) / _UPSAMPLING - 0.5
    on_column = (left == np.floor(left)) & (left >= 0) & (left <= width - 1)
    columns, rows = left[on_column].astype(np.int64), np.ceil(upper[on_column].clip(0, height)).astype(np.int64)
    crossings = np.bincount(columns * height + rows, minlength=height * width + 1)
    inside = np.cumsum(crossings)[: height * width] % 2
    return inside.reshape(width, height).T  # COCO counts column by column


def _line(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The points of a line from corner to corner, both included."""
    long = 0 if abs(end[0] - start[0]) >= abs(end[1] - start[1]) else 1
    first, last = (start, end) if start[long] <= end[long] else (end, start)
    length = int(last[long] - first[long])
    along = np.arange(length + 1)
    slope = (last[1 - long] - first[1 - long]) / length if length else 0.0
    points = np.empty((length + 1, 2), np.int64)
    points[:, long] = first[long] + along
    points[:, 1 - long] = (first[1 - long] + slope * along + 0.5).astype(np.int64)
    return points if first is start else points[::-1]


def _from_run_lengths(segmentation: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    counts, size = segmentation["counts"], list(segmentation["size"])
    if size != [height, width]:
        raise InputError(
            f"The run lengths of a segmentation are for an image of {size}, and this one has [{height}, {width}].",
            next_step="Check that the annotations belong to the image.",
        )
    lengths = np.asarray(_decoded(counts) if isinstance(counts, str | bytes) else counts, np.int64)
    if (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError(f"the run lengths add up to {lengths.sum()}, and the image has {height * width} pixels")
    values = np.arange(len(lengths)) % 2
    return np.repeat(values, lengths).reshape(width, height).T.astype(np.uint8)


def _decoded(text: str | bytes) -> list[int]:
    """COCO's text of run lengths: five bits per letter, and from the third on as differences from the last but one."""
    letters = text.encode() if isinstance(text, str) else text
    lengths: list[int] = []
    value = shift = 0
    for letter in letters:
        bits = letter - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths


def segment_ids(picture: np.ndarray) -> np.ndarray:
    """The id of each pixel's segment in a panoptic picture (height, width, 3): red + 256 green + 65,536 blue.

    Example:
        >>> segment_ids(np.array([[[1, 2, 0]]], np.uint8)).tolist()
        [[513]]
    """
    red, green, blue = (picture[..., i].astype(np.int64) for i in range(3))
    return red + 256 * green + 65_536 * blue


def boxes_around(masks: np.ndarray) -> np.ndarray:
    """The corners (x0, y0, x1, y1), float32, of the pixels of each mask (masks, height, width).

    A mask without pixels gets (1e8, 1e8, 0, 0), as in `transformers`.

    Example:
        >>> boxes_around(np.array([[[0, 0, 0], [0, 1, 1]]])).tolist()
        [[1.0, 1.0, 2.0, 1.0]]
    """
    boxes = np.tile(np.array([1e8, 1e8, 0, 0], np.float32), (len(masks), 1))
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size:
            box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return boxes


def run_lengths(mask: Sequence[Any] | np.ndarray) -> list[int]:
    """The run lengths of a mask as pairs of (first position from 1, length), row by row, as results of COCO have them.

    Example:
        >>> run_lengths(np.array([[0, 1, 1], [0, 0, 1]]))
        [2, 2, 6, 1]
    """
    flat = np.concatenate([[0], np.asarray(mask).ravel(), [0]])
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    changes[1::2] -= changes[::2]
    return changes.tolist()
