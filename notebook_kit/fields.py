"""Types and ranges of fields, and checks of values against them: what a JSON file or a caller may pass.

A table maps the name of a field to its type, in the notation of annotations; `Range` limits a number. `types_of` reads the
table of a dataclass, and `read_json` checks a file when it is read::

    class Settings:
        model_max_length: Annotated[int, Range(1)] | None = None
        padding_side: Literal["left", "right"] = "right"
        do_lower_case: bool = False

    values = read_json(folder / "tokenizer_config.json", types=types_of(Settings))

Fields that are not in the table are accepted unseen. A whole number is also a `float`; nothing else is converted.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

__all__ = [
    "Activation",
    "Check",
    "Dtype",
    "Fraction",
    "Layers",
    "NonNegative",
    "Range",
    "Rows",
    "Size",
    "expected",
    "mismatch",
    "shown",
    "types_of",
]


@dataclass(frozen=True)
class Range:
    """The lowest and the highest valid value of a number, both included.

    Example:
        >>> mismatch({"heads": 0}, {"heads": Annotated[int, Range(1, 8)]})
        'heads is 0; expected a whole number from 1 to 8'
    """

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Check:
    """A function that tells whether a value is valid, and what is, in words.

    Example:
        >>> Even = Annotated[Any, Check("an even number", lambda value: value % 2 == 0)]
        >>> mismatch({"size": 3}, {"size": Even | None})
        'size is 3; expected an even number or None'
    """

    words: str
    fits: Callable[[Any], bool]


Layers = Annotated[int, Range(0, 10_000)]
"""Number of layers: more would be a damaged file."""
Size = Annotated[int, Range(1, 1_000_000)]
"""A width, or a number of heads or groups."""
Rows = Annotated[int, Range(1, 100_000_000)]
"""Size of a vocabulary, or number of positions."""
Fraction = Annotated[float, Range(0, 1)]
"""A probability, such as that of dropout."""
NonNegative = Annotated[float, Range(0)]
"""A number that is not negative, such as the epsilon of a norm."""

Dtype = Literal["float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2"]
"""The name of a dtype of weights."""
Activation = Literal[
    "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu",
    "relu", "relu2", "silu", "swish", "mish", "tanh", "sigmoid", "linear",
]  # fmt: skip
"""The name of an activation function; `notebook_kit.nn.layers` has the functions."""

_LIMITS = {int: Range(-(2**63), 2**63 - 1), float: Range(-sys.float_info.max, sys.float_info.max)}
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    NoneType: "None",
    list: "a list",
    tuple: "a list",
    Sequence: "a list",
    dict: "a dictionary",
    Mapping: "a dictionary",
    Callable: "a function",
}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


@functools.cache
def types_of(kind: type) -> dict[str, Any]:
    """Field -> type, from the annotations of a class and its bases. A field whose default is None may be None.
    A class whose annotations cannot be evaluated adds none.

    Example:
        >>> class Settings:
        ...     top_k: int | None = None
        >>> types_of(Settings)
        {'top_k': int | None}
    """
    types: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        with suppress(Exception):  # an annotation with a name that exists only in a function, or for type checkers
            types |= inspect.get_annotations(base, eval_str=True)
    return {
        name: found | None if getattr(kind, name, ...) is None else found
        for name, found in types.items()
        if found is not ClassVar and get_origin(found) is not ClassVar
    }


def mismatch(values: Mapping[str, Any], types: Mapping[str, Any]) -> str:
    """A clause about the first value that is not of its field's type, or "".

    Args:
        values: Field -> value.
        types: Field -> type: a class, a union, `list[...]`, `dict[...]`, `Literal[...]`, a number in a `Range`, or a
            table like this one for a field that holds an object or None.

    Example:
        >>> mismatch({"top_k": 2.5, "note": None}, {"top_k": int | None})
        'top_k is 2.5; expected a whole number or None'
        >>> mismatch({"rope": {"factor": "two"}}, {"rope": {"factor": float}})
        "rope.factor is 'two'; expected a number"
        >>> mismatch({"0": "joy"}, {})
        ''
    """
    for name, value in values.items():
        kind = types.get(name, Any)
        if isinstance(kind, Mapping):
            if isinstance(value, Mapping):
                inner = mismatch(value, kind)
                if inner:
                    return f"{name}.{inner}"
            elif value is not None:
                return f"{name} is {shown(value)}; expected an object or None"
        elif not _fits(value, kind):
            return f"{name} is {shown(value)}; expected {expected(kind)}"
    return ""


def _fits(value: Any, kind: Any, limits: Range | None = None) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits = next((note for note in arguments[1:] if isinstance(note, Range)), limits)
        checks = [note for note in arguments[1:] if isinstance(note, Check)]
        return _fits(value, arguments[0], limits) and all(check.fits(value) for check in checks)
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in arguments)
    if origin is list or kind is list:
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value if arguments)
    if origin is dict or kind is dict:
        return isinstance(value, Mapping) and all(
            _fits_key(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items() if arguments
        )
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real):
            return False
        ranges = [limits or _LIMITS[kind]]
        if kind is float:  # a whole number of any size would be one that torch does not take
            ranges.append(_LIMITS[int if isinstance(value, Integral) else float])
        return all(allowed.low <= value <= allowed.high for allowed in ranges)  # type: ignore[operator]
    return not isinstance(kind, type) or kind not in _WORDS or isinstance(value, kind)


def _fits_key(key: Any, kind: Any) -> bool:
    """Whether a key fits: in JSON the keys that stand for numbers are text."""
    return (isinstance(key, str) and key.isdecimal()) or _fits(key, kind) if kind is int else _fits(key, kind)


def expected(kind: Any) -> str:
    """A type in words.

    Example:
        >>> expected(int | list[str] | None)
        'a whole number or a list of texts or None'
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        if checks := [note.words for note in arguments[1:] if isinstance(note, Check)]:
            return checks[0]
        limits = next((note for note in arguments[1:] if isinstance(note, Range)), Range())
        low = f" from {limits.low:,}" if limits.low != -math.inf else ""
        high = f" to {limits.high:,}" if limits.high != math.inf else " up" if low else ""
        return f"{expected(arguments[0])}{low}{high}"
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(expected, arguments)))
    if origin is Literal:
        *others, last = map(repr, arguments)
        return f"{'one of ' * (len(others) > 1)}{', '.join(others)} or {last}" if others else last
    if origin in (list, Sequence):
        plural = "lists" if get_origin(arguments[0]) is list else _PLURALS.get(arguments[0])
        return f"a list of {plural}" if plural else "a list"
    if origin is dict:
        return "an object" + (f" whose values are {_PLURALS[arguments[1]]}" if arguments[1] in _PLURALS else "")
    kind = kind if origin is None else origin
    return _WORDS.get(kind) or f"a {getattr(kind, '__name__', kind)}"


def shown(value: Any) -> str:
    """A value as in Python, shortened.

    Example:
        >>> shown("2"), shown([1, 2]), shown(10**30)
        ("'2'", 'a list of 2', '1e+30')
    """
    if isinstance(value, int) and abs(value) >= 10**20:
        value = float("inf") if abs(value) > sys.float_info.max else float(value)
    if isinstance(value, list | dict) and value:
        return f"a {'list' if isinstance(value, list) else 'JSON object'} of {len(value)}"
    text = repr(value)
    if "\n" in text:  # an array or a table
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
