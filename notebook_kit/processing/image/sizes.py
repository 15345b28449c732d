"""The arithmetic of sizes: in which forms a size can be stated, and which size an image is resized to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from notebook_kit.errors import InputError, near_matches

__all__ = ["MOST", "aspect_ratio_size", "divisible", "fixed_size", "new_size", "shortest_edge", "size_dict"]

MOST = 65_536
"""Pixels of the longest edge that can be asked for."""
_FORMS = (
    {"height", "width"},
    {"shortest_edge"},
    {"shortest_edge", "longest_edge"},
    {"longest_edge"},
    {"max_height", "max_width"},
    {"min_pixels", "max_pixels"},
    {"max_pixels"},
)
_KEYS = sorted(set().union(*_FORMS))
_NEXT = "Use height and width, shortest_edge (and longest_edge), longest_edge, max_height and max_width, or max_pixels."


def size_dict(size: Any, name: str = "size", square: bool = True, max_size: int | None = None) -> dict[str, int]:
    """A size in the form of current files, from any form that files or callers use.

    Args:
        size: A dictionary; a number; or (height, width).
        name: The setting, for messages.
        square: Whether a number is both the height and the width, or else that of the shortest edge.
        max_size: The limit of the longest edge, which old files state beside a number.

    Raises:
        InputError: If it has other keys, or values that are not whole numbers above 0.

    Example:
        >>> size_dict(224), size_dict(800, square=False, max_size=1333)
        ({'height': 224, 'width': 224}, {'shortest_edge': 800, 'longest_edge': 1333})
    """
    if isinstance(size, Mapping):
        found = {str(key): value for key, value in size.items() if value is not None}
    elif isinstance(size, list | tuple) and len(size) == 2:
        found = {"height": size[0], "width": size[1]}
    elif isinstance(size, list | tuple) and len(size) == 1:
        return size_dict(size[0], name, square, max_size)
    elif isinstance(size, list | tuple) or not _is_whole(size):
        raise InputError(f"{name} is {size!r}; expected a dictionary, a number, or (height, width).", next_step=_NEXT)
    elif square and max_size is None:
        found = {"height": size, "width": size}
    else:
        found = {"shortest_edge": size}
    if max_size is not None and set(found) == {"shortest_edge"}:
        found["longest_edge"] = max_size
    if set(found) not in _FORMS:
        unknown = [key for key in found if key not in _KEYS]
        near = near_matches(unknown[0], _KEYS) if unknown else ""
        raise InputError(f"{name} has the keys {', '.join(found) or 'none'}. {near}".rstrip(), next_step=_NEXT)
    for key, value in found.items():
        most = MOST**2 if key.endswith("pixels") else MOST
        if not _is_whole(value) or not 1 <= value <= most:
            raise InputError(
                f"{name}[{key!r}] is {value!r}; expected a whole number from 1 to {most:,}.",
                next_step="Sizes are in pixels.",
            )
    return {key: int(value) for key, value in found.items()}


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__index__") and not hasattr(value, "ndim")


def fixed_size(size: Mapping[str, int], name: str) -> tuple[int, int]:
    """The height and the width of a size that has to state both.

    Example:
        >>> fixed_size({"height": 224, "width": 192}, "crop_size")
        (224, 192)
    """
    if set(size) != {"height", "width"}:
        raise InputError(
            f"{name} has the keys {', '.join(size)}; expected height and width.",
            next_step=f'Pass {name}={{"height": 224, "width": 224}}, or {name}=224.',
        )
    return size["height"], size["width"]


def shortest_edge(size: Mapping[str, int]) -> int:
    """The shortest edge of a size that has to state it alone.

    Example:
        >>> shortest_edge({"shortest_edge": 384})
        384
    """
    if set(size) != {"shortest_edge"}:
        raise InputError(
            f"size has the keys {', '.join(size)}; expected shortest_edge.",
            next_step='Pass size={"shortest_edge": 224}, or size=224.',
        )
    return size["shortest_edge"]


def new_size(height: int, width: int, size: Mapping[str, int]) -> tuple[int, int]:
    """The (height, width) that an image is resized to; each at least 1.

    Args:
        height, width: The image's.
        size: One of: `height` and `width`; `shortest_edge`, to which the shorter edge is scaled; that and `longest_edge`, which
            the longer edge does not exceed; `longest_edge`, to which the longer edge is scaled; `max_height` and `max_width`, a
            box that the image is scaled to fit into; `max_pixels` (and `min_pixels`), limits of the area.

    Example:
        >>> new_size(480, 640, {"shortest_edge": 224}), new_size(480, 640, {"longest_edge": 320})
        ((224, 298), (240, 320))
    """
    if "height" in size:
        return size["height"], size["width"]
    if "shortest_edge" in size:
        found = aspect_ratio_size(height, width, size["shortest_edge"], size.get("longest_edge"))
    elif "longest_edge" in size:
        longest = max(height, width)
        found = height * size["longest_edge"] // longest, width * size["longest_edge"] // longest
    elif "max_height" in size:
        scale = min(size["max_height"] / height, size["max_width"] / width)
        found = int(height * scale), int(width * scale)
    else:
        found = _within_area(height, width, size.get("min_pixels", 1), size["max_pixels"])
    return max(found[0], 1), max(found[1], 1)


def aspect_ratio_size(height: int, width: int, shortest: int, longest: int | None = None) -> tuple[int, int]:
    """The size with the shorter edge scaled to `shortest`, or to less if the longer edge would exceed `longest`.

    The other edge is rounded down, as in `transformers`.

    Example:
        >>> aspect_ratio_size(480, 640, 800, 1000)
        (750, 1000)
    """
    exact: float = shortest
    low, high = min(height, width), max(height, width)
    if longest is not None and high / low * shortest > longest:
        exact = longest * low / high
        shortest = round(exact)
    if longest is not None and low == shortest:
        return height, width
    if width < height:
        return int(exact * height / width), shortest
    return shortest, int(exact * width / height)


def _within_area(height: int, width: int, least: int, most: int) -> tuple[int, int]:
    area = height * width
    if least <= area <= most:
        return height, width
    scale = math.sqrt((most if area > most else least) / area)
    rounded = math.floor if area > most else math.ceil
    return rounded(height * scale), rounded(width * scale)


def divisible(height: int, width: int, divisor: int) -> tuple[int, int]:
    """Both edges rounded up to a multiple of `divisor`.

    Example:
        >>> divisible(480, 641, 32)
        (480, 672)
    """
    return math.ceil(height / divisor) * divisor, math.ceil(width / divisor) * divisor
