"""Fields that Donut writes as nested tokens, `<s_total>12</s_total>`, as dictionaries and lists."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

__all__ = ["nested_fields"]

_SEPARATOR = "<sep/>"
_OPENING = re.compile(r"<s_([^>]*)>", re.IGNORECASE)


def nested_fields(tokens: str, categories: Container[str] = ()) -> tuple[list[dict[str, Any]], bool, str]:
    """The fields of a text.

    Args:
        tokens: The text.
        categories: Special tokens such as `<yes/>`, whose value is their name.

    Returns:
        One dictionary per part of the text that a separator after a field ends; whether there was one; and what is left after
        the last field.

    Example:
        >>> nested_fields("<s_item><s_name>tea</s_name><sep/><s_name>cake</s_name></s_item><s_total>5</s_total>.")
        ([{'item': [{'name': 'tea'}, {'name': 'cake'}], 'total': '5'}], False, '.')
    """
    parts: list[dict[str, Any]] = []
    fields: dict[str, Any] = {}
    is_separated = False
    while opening := _OPENING.search(tokens):
        start, key = opening.group(), opening[1]
        closing = re.search(re.escape(f"</s_{key}>"), tokens, re.IGNORECASE)
        if closing is None:
            tokens = tokens.replace(start, "")
            continue
        # The text may close the field before it opens it, or close it twice.
        between = re.search(f"{re.escape(start)}(.*?){re.escape(closing.group())}", tokens, re.IGNORECASE | re.DOTALL)
        value = None if between is None else _value(between[1].strip(), categories)
        if value is not None:
            fields[key] = value
        tokens = tokens[closing.end() :].strip()
        if tokens.startswith(_SEPARATOR):
            parts.append(fields)
            fields, is_separated, tokens = {}, True, tokens[len(_SEPARATOR) :]
    return [*parts, *([fields] if fields else [])], is_separated, tokens


def _value(content: str, categories: Container[str]) -> Any:
    """The value of a field: a text, a list of texts, a dictionary, or a list of dictionaries; None if it has only broken fields."""
    if "<s_" in content and "</s_" in content:
        values: list[Any] = nested_fields(content, categories)[0]
        return (values[0] if len(values) == 1 else values) if values else None
    leaves = [leaf.strip() for leaf in content.split(_SEPARATOR)]
    names = [
        leaf[1:-2] if leaf in categories and leaf.startswith("<") and leaf.endswith("/>") else leaf for leaf in leaves
    ]
    return names[0] if len(names) == 1 else names
