"""Text that every display can show."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["clean", "cleaned", "printable"]

_LONE = re.compile("[\ud800-\udfff]")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


def clean(text: str) -> str:
    """A text without lone surrogates, which UTF-8 and thus Jupyter's messages cannot carry; U+FFFD stands for each.

    Example:
        >>> clean("a\\ud800b")
        'a\ufffdb'
    """
    return _LONE.sub("\ufffd", text) if _LONE.search(text) else text


def cleaned(value: Any) -> Any:
    """JSON values with all their texts, the keys of dictionaries included, as `clean` returns them.

    Example:
        >>> cleaned({"tokens": ["a\\ud800"], "ids": [3]})
        {'tokens': ['a\ufffd'], 'ids': [3]}
    """
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {cleaned(key): cleaned(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(cleaned, value)) if type(value) in (list, tuple) else [cleaned(entry) for entry in value]
    return value


def printable(text: str) -> str:
    """A text for pictures and tables: `clean`, and with the codes of control characters, which SVG does not allow.

    Example:
        >>> printable("a\\x01b")
        'aU+0001b'
    """
    return _UNPRINTABLE.sub(lambda match: f"U+{ord(match[0]):04X}", clean(text))
