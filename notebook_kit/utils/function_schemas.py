"""The JSON schema of a Python function, which shows a chat model what it may call and how.

The schema is that of `transformers`: types come from the annotations, descriptions from a docstring in Google's style.
"""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Union

from notebook_kit.errors import InputError

__all__ = ["get_json_schema"]

_NAMES: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    tuple: "array",
    dict: "object",
    type(None): "null",
}
_SECTION = re.compile(r"^(Args|Arguments|Returns|Yields|Raises|Example|Examples|Note|Notes):\s*$")
_ARGUMENT = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_CHOICES = re.compile(r"\(choices:\s*(\[.*\])\s*\)", re.IGNORECASE | re.DOTALL)


def get_json_schema(func: Callable[..., Any]) -> dict[str, Any]:
    """The JSON schema of a function, for the `tools` of `apply_chat_template`.

    Args:
        func: A function with annotated parameters and a docstring in Google's style, whose section `Args:` describes each of
            them. `(choices: ["a", "b"])` in a description, or an annotation as `Literal["a", "b"]`, lists allowed values.

    Returns:
        `{"type": "function", "function": {"name": ..., "description": ..., "parameters": ...}}`, with "return" beside
        "parameters" if the result is annotated. Parameters without a default are "required".

    Raises:
        InputError: A parameter has no annotation or no description, an annotation has no counterpart in JSON, or the function
            has no docstring.

    Example:
        >>> from notebook_kit.utils import get_json_schema
        >>> def temperature(city: str, unit: str = "C") -> float:
        ...     '''The temperature of the air.
        ...
        ...     Args:
        ...         city: Where.
        ...         unit: C or F. (choices: ["C", "F"])
        ...     '''
        >>> schema = get_json_schema(temperature)["function"]
        >>> schema["parameters"]["properties"]["unit"]
        {'type': 'string', 'enum': ['C', 'F'], 'description': 'C or F.'}
        >>> schema["parameters"]["required"], schema["return"]
        (['city'], {'type': 'number'})
    """
    if not callable(func):
        raise InputError(f"func is of the type {type(func).__name__}.", next_step="Pass a function.")
    name = getattr(func, "__name__", type(func).__name__)
    docstring = inspect.getdoc(func)
    if not docstring:
        raise InputError(
            f"The function {name} has no docstring, from which a model learns what it does.",
            next_step="Write one, with a section 'Args:' that describes each parameter.",
        )
    description, described, result = _sections(docstring)
    try:
        annotations = typing.get_type_hints(func)
    except Exception as error:  # a name in an annotation that is not defined
        raise InputError(f"The annotations of {name} cannot be read: {error}.") from error
    properties: dict[str, Any] = {}
    required = []
    for parameter in inspect.signature(func).parameters.values():
        properties[parameter.name] = _property(name, parameter.name, annotations, described)
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    schema: dict[str, Any] = {"name": name, "description": description, "parameters": parameters}
    if "return" in annotations:
        schema["return"] = _schema(annotations["return"], f"the result of {name}")
        if result:
            schema["return"]["description"] = result
    return {"type": "function", "function": schema}


def _property(function: str, name: str, annotations: Mapping[str, Any], described: Mapping[str, str]) -> dict[str, Any]:
    """The schema of one parameter."""
    if name not in annotations:
        raise InputError(
            f"The parameter {name!r} of {function} has no annotation.", next_step=f"Annotate it, such as {name}: str."
        )
    if name not in described:
        raise InputError(
            f"The docstring of {function} does not describe the parameter {name!r}.",
            next_step=f"Add a line '{name}: ...' to its section 'Args:'.",
        )
    schema, text = _schema(annotations[name], f"the parameter {name!r} of {function}"), described[name]
    if choices := _CHOICES.search(text):
        try:
            schema["enum"] = json.loads(choices[1])
        except ValueError as error:
            raise InputError(
                f"The choices of the parameter {name!r} of {function}, {choices[1]}, are no list in JSON.",
                next_step='Write them as (choices: ["a", "b"]).',
            ) from error
        text = (text[: choices.start()] + text[choices.end() :]).strip()
    return schema | {"description": text}


def _sections(docstring: str) -> tuple[str, dict[str, str], str]:
    """The description, the description of each parameter, and that of the result."""
    parts: dict[str, list[str]] = {"": []}
    section = ""
    for line in docstring.splitlines():
        if found := _SECTION.match(line):
            section = {"Arguments": "Args"}.get(found[1], found[1])
            parts[section] = []
        else:
            parts[section].append(line)
    described: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc("\n".join(["", *parts.get("Args", [])])).splitlines():
        if found := _ARGUMENT.match(line):  # at the first indent; what continues a description is indented further
            name = found[1]
            described[name] = found[2].strip()
        elif name and line.strip():
            described[name] = f"{described[name]} {line.strip()}".strip()
    result = inspect.cleandoc("\n".join(["", *parts.get("Returns", [])])).strip()
    return "\n".join(parts[""]).strip(), described, result


def _schema(annotation: Any, what: str) -> dict[str, Any]:
    """The schema of an annotation."""
    if annotation is Any:
        return {}
    if annotation is None:
        return {"type": "null"}
    if isinstance(annotation, type) and not typing.get_args(annotation):
        if annotation in _NAMES:
            return {"type": _NAMES[annotation]}
        raise _unknown(annotation, what)
    origin, given = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union(given, what)
    if origin is Literal:
        kinds = _distinct(_NAMES.get(type(value)) for value in given)
        if None in kinds:
            raise _unknown(annotation, what)
        return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": list(given)}
    if origin is tuple:
        return {"type": "array", "prefixItems": [_schema(each, what) for each in given]}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema(given[1], what)}
    if origin in (list, Sequence, Iterable):
        return {"type": "array", "items": _schema(given[0], what)}
    raise _unknown(annotation, what)


def _union(given: tuple[Any, ...], what: str) -> dict[str, Any]:
    """The schema of one of several types; None among them makes it "nullable"."""
    schemas = [_schema(each, what) for each in given if each is not type(None)]
    if len(schemas) == 1:
        schema = schemas[0]
    elif all(set(each) == {"type"} and isinstance(each["type"], str) for each in schemas):
        schema = {"type": sorted(_distinct(each["type"] for each in schemas))}
    else:
        schema = {"anyOf": schemas}
    return schema | ({"nullable": True} if type(None) in given else {})


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _unknown(annotation: Any, what: str) -> InputError:
    return InputError(
        f"The annotation of {what}, {annotation!r}, has no counterpart in JSON.",
        next_step="Use str, int, float, bool, list, dict, tuple, Literal, or unions of these.",
    )
