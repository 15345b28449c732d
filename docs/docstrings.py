"""From the way docstrings are written here (single backticks are code) to reStructuredText."""

from __future__ import annotations

import re

import notebook_kit
from notebook_kit import panels

PUBLIC = {
    **{name: f"notebook_kit.{name}" for name in notebook_kit.__all__},
    **{name: f"notebook_kit.panels.{name}" for name in panels.__all__},
}
"""Public name -> where its page has it."""

PARTS = re.compile(
    r"""
    (?P<example>^[ ]*>>>(?:.*\n?)(?:[ ]*\S.*\n?)*)                               # up to an empty line
    | :\n\n(?P<block>(?P<indent>[ ]+)\S.*(?:\n(?:(?P=indent).*|[ ]*(?=\n|\Z)))*)  # all that is indented after a colon
    | (?<!`)`(?P<code>[^`]+)`(?!`)(?P<letter>\w?)
    | (?<=\w)(?P<trailing>_+)(?!\w)
    """,
    re.M | re.X,
)

WORD = r"(?:[^`\s]|``[^`]+``|`[^`]+`)+"
COLON = re.compile(rf"(^ *Returns:\n)( +)({WORD}(?: {WORD})*?) ({WORD}: )", re.M)
"""A first line of Returns with a colon: the text before it would be taken for a type, so a new line starts at that word."""


def restructured(text: str) -> str:
    """A docstring in which code between single backticks is a literal, and a link where it is a public name.

    An indented block after a colon is code too. Examples stay as they are.

    Args:
        text: The docstring.
    """

    def part(found: re.Match[str]) -> str:
        if found["block"]:
            line = text[text.rfind("\n", 0, found.start()) + 1 :]
            if len(found["indent"]) > len(line) - len(line.lstrip(" ")):
                return f"::\n\n{found['block']}"
            return f":\n\n{restructured(found['block'])}"
        if found["trailing"]:  # a link, to reStructuredText
            return "\\" + "\\".join(found["trailing"])
        if found["code"]:
            code, letter = found["code"], found["letter"]
            marked = f":py:obj:`~{PUBLIC[code]}`" if code in PUBLIC else f"``{code}``"
            return f"{marked}\\ {letter}" if letter else marked
        return found[0]

    return COLON.sub(r"\1\2\3\n\2\4", PARTS.sub(part, text))
