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

__all__ = ["annotations_of", "check_choice", "check_count", "checked"]

_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    dict: "a dict",
    types.NoneType: "None",
}


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
        notebook_kit.errors.InputError: stride is '8', of the type str.
        → Pass stride as a whole number or None.
    """
    value = value.value if isinstance(value, Enum) else value
    options = (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )
    for option in options:
        fits, converted = _converted(value, option)
        if fits:
            return converted
    expected = " or ".join(dict.fromkeys(_in_words(option) for option in options))
    raise InputError(
        f"{name} is {str(value)[:80]!r}, of the type {type(value).__name__}.", next_step=f"Pass {name} as {expected}."
    )


def _converted(value: Any, hint: Any) -> tuple[bool, Any]:
    """Whether a value fits a type other than a union, and the value as that type."""
    if hint in (None, types.NoneType):
        return value is None, None
    if hint is bool:
        return isinstance(value, bool | np.bool_) or (isinstance(value, Integral) and value in (0, 1)), bool(
            _plain(value)
        )
    if hint in (int, float):
        number = Integral if hint is int else Real
        return isinstance(value, number) and not isinstance(value, bool), _plain(value)
    if hint is str:
        return isinstance(value, str), value
    origin = typing.get_origin(hint) or hint
    if origin in (dict, collections.abc.Mapping):
        return isinstance(value, Mapping), value
    if typing.get_args(hint)[:1] == (str,) and origin in (list, collections.abc.Sequence, collections.abc.Collection):
        if isinstance(value, str):
            return True, [value]
        if not isinstance(value, Iterable) or isinstance(value, Mapping | bytes) or getattr(value, "ndim", 1) == 0:
            return False, None
        texts = list(value)
        return all(isinstance(text, str) for text in texts), texts
    return True, value


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _in_words(hint: Any) -> str:
    return _WORDS.get(typing.get_origin(hint) or hint, "a list of texts" if typing.get_args(hint) else str(hint))


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
            next_step=f"Pass one of {', '.join(choices)}.",
        )
    return choice
