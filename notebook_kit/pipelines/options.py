"""The values of options, checked against the annotations of the steps that take them."""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from numbers import Integral, Real
from typing import Any

import numpy as np

from notebook_kit.errors import InputError, near_matches
from notebook_kit.fields import expected, shown

__all__ = ["annotations_of", "check_choice", "check_count", "check_threshold", "checked", "labels_of"]

_LISTS = (list, tuple, collections.abc.Sequence)


def annotations_of(step: Callable[..., Any]) -> dict[str, Any]:
    """Name -> type of the parameters of a step; empty if the annotations cannot be evaluated.

    Example:
        >>> def postprocess(item, *, top_k: "int | None" = None): ...
        >>> annotations_of(postprocess)
        {'top_k': int | None}
    """
    try:
        return typing.get_type_hints(step)
    except Exception:  # names that exist only while types are checked
        return {}


def checked(name: str, value: Any, hint: Any) -> Any:
    """The value of an option, converted to the type that is meant: a single text to a list of texts, numpy's numbers, enums.

    Args:
        name: The name of the option, for the error.
        value: Any value.
        hint: The annotation. Types other than simple ones, lists and dicts of them, and their unions are not checked.

    Raises:
        InputError: if the value has another type.

    Example:
        >>> checked("ignore_labels", "LOC", list[str] | None)
        ['LOC']
        >>> checked("stride", "8", int | None)
        Traceback (most recent call last):
        notebook_kit.errors.InputError: stride is '8'; expected a whole number or None.
        → Correct stride.
    """
    value = value.value if isinstance(value, Enum) else value
    fits, converted = _converted(value, hint)
    if not fits:
        raise InputError(f"{name} is {shown(value)}; expected {expected(hint)}.", next_step=f"Correct {name}.")
    return converted


def _alternatives(hint: Any) -> tuple[Any, ...]:
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return typing.get_args(hint) if is_union else (hint,)


def _converted(value: Any, hint: Any) -> tuple[bool, Any]:
    """Whether a value fits a type, and the value as that type."""
    if hint is Any:
        return True, value
    if len(alternatives := _alternatives(hint)) > 1:
        return next((found for kind in alternatives if (found := _converted(value, kind))[0]), (False, None))
    origin = typing.get_origin(hint) or hint
    if origin is bool:
        fits = isinstance(value, bool | np.bool_) or (isinstance(value, Integral) and value in (0, 1))
        return fits, fits and bool(value)
    if origin in (int, float):
        number = Integral if origin is int else Real
        fits = isinstance(value, number) and not isinstance(value, bool)
        return fits, value.item() if isinstance(value, np.generic) else value
    if origin in _LISTS:
        return _as_list(value, typing.get_args(hint), exactly=origin is tuple)
    if origin is collections.abc.Callable:
        return callable(value), value
    return not isinstance(origin, type) or isinstance(value, origin), value


def _as_list(value: Any, kinds: tuple[Any, ...], exactly: bool) -> tuple[bool, Any]:
    """Whether a value is a list of elements of a type, or with `exactly` of one element per type, and the value as a list."""
    if isinstance(value, str) and kinds == (str,):
        return True, [value]
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping) or getattr(value, "ndim", 1) == 0:
        return False, None
    plain = getattr(value, "tolist", getattr(value, "to_pylist", None))
    values = value if isinstance(value, list | tuple) else plain() if plain else list(value)
    if not exactly:
        kinds = (kinds or (Any,)) * len(values)
    return len(kinds) == len(values) and all(
        _converted(v, kind)[0] for v, kind in zip(values, kinds, strict=True)
    ), values


def labels_of(labels: str | Sequence[str] | None) -> list[str]:
    """The labels to choose from: a list of texts, or a text with commas between them.

    Raises:
        InputError: If there are none, or one is empty.

    Example:
        >>> labels_of("travel, food")
        ['travel', 'food']
    """
    names = [label.strip() for label in labels.split(",") if label.strip()] if isinstance(labels, str) else labels
    if names is None or not len(names):
        raise InputError("There are no labels to choose from.", next_step="Pass candidate_labels=['...', '...'].")
    for place, name in enumerate(names):
        if not name.strip():
            raise InputError(f"candidate_labels[{place}] is {name!r}.", next_step="Remove it, or write what it means.")
    return list(names)


def check_count(name: str, value: Any, least: int = 1, *, unit: str = "", otherwise: str = "") -> None:
    """Raise an error for a value that is neither `None` nor an integer from `least` on.

    Raises:
        InputError: with the name, the `unit`, and, after the range, the text `otherwise` about other allowed values.

    Example:
        >>> check_count("top_k", 0)
        Traceback (most recent call last):
        notebook_kit.errors.InputError: top_k is 0.
        → Pass top_k as a number from 1.
    """
    if value is not None and (not isinstance(value, Integral) or isinstance(value, bool) or value < least):
        number = f"a number of {unit}" if unit else "a number"
        raise InputError(f"{name} is {value!r}.", next_step=f"Pass {name} as {number} from {least}{otherwise}.")


def check_threshold(name: str, value: float | None) -> None:
    """Raise an error for a threshold that no score exceeds.

    Raises:
        InputError: if it is above 1 or NaN.

    Example:
        >>> check_threshold("threshold", 50)
        Traceback (most recent call last):
        notebook_kit.errors.InputError: threshold is 50, and scores are at most 1.
        → Pass threshold as a number from 0 to 1, such as 0.5 for 50 %.
    """
    if value is not None and not value <= 1:
        raise InputError(
            f"{name} is {value!r}, and scores are at most 1.",
            next_step=f"Pass {name} as a number from 0 to 1, such as 0.5 for 50 %.",
        )


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """One of `choices`, from a string in upper or lower case, or from a member of an enumeration.

    Raises:
        InputError: for any other value, with near matches.

    Example:
        >>> check_choice("aggregation_strategy", "FIRST", ["none", "first"])
        'first'
    """
    choice = str(getattr(value, "value", value)).lower()
    if choice not in choices:
        raise InputError(
            f"{name} is {choice!r}. {near_matches(choice, choices)}".rstrip(),
            next_step=f"Pass one of {', '.join(choices)}." if len(choices) > 1 else f"Pass {choices[0]!r}.",
        )
    return choice
