"""A model card: its front matter as values, and its text as plain text."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

__all__ = ["Card", "parse_card", "read_card"]

LONGEST_CARD = 1_000_000
LONGEST_FRONT_MATTER = 100_000
LONGEST_SUMMARY = 1_500


@dataclass(frozen=True)
class Card:
    """A model card.

    Attributes:
        values: The front matter, parsed from YAML; empty if it is missing or damaged.
        text: The Markdown after the front matter.
    """

    values: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def summary(self) -> str:
        """The first paragraphs as plain text, without markup, code and images."""
        return _shortened(_plain(self.text[: 8 * LONGEST_SUMMARY]))


def read_card(path: Path | None) -> Card:
    """The card in a file; an empty one if there is no path or the file cannot be read."""
    if path is None:
        return Card()
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return parse_card(file.read(LONGEST_CARD))
    except OSError:
        return Card()


def parse_card(content: str) -> Card:
    """Split a model card into its front matter and its text.

    Args:
        content: The content of README.md.

    Example:
        >>> card = parse_card("---\\nlicense: mit\\nlanguage: [en, te]\\n---\\n# Small\\n\\nSays **hello** to [you](https://a.b).")
        >>> card.values, card.summary
        ({'license': 'mit', 'language': ['en', 'te']}, 'Small\\n\\nSays hello to you.')
    """
    found = re.match(r"\ufeff?\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", content, re.DOTALL)
    if found is None:
        return Card({}, content)
    return Card(_values(found[1]), content[found.end() :])


def _values(front_matter: str) -> dict[str, Any]:
    if len(front_matter) > LONGEST_FRONT_MATTER:
        return {}
    import yaml  # comes with huggingface_hub

    try:
        values = yaml.safe_load(front_matter)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return {key: value for key, value in values.items() if isinstance(key, str)} if isinstance(values, dict) else {}


class _Text(HTMLParser):
    """Collects the visible text of HTML."""

    silent = frozenset({"script", "style", "svg", "head", "template"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.depth += tag in self.silent

    def handle_endtag(self, tag: str) -> None:
        self.depth = max(0, self.depth - (tag in self.silent))

    def handle_data(self, data: str) -> None:
        if not self.depth:
            self.parts.append(data)


def _plain(markdown: str) -> str:
    text = re.sub(r"^(```|~~~)[^\n]*\n.*?(?:^\1[^\n]*$|\Z)", "", markdown, flags=re.DOTALL | re.MULTILINE)
    reader = _Text()
    # Some Python versions' parsers fail on a damaged declaration: keep the text before it.
    with suppress(AssertionError):
        reader.feed(text)
        reader.close()
    text = "".join(reader.parts)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\[\]]*)\]\([^()]*(?:\([^()]*\)[^()]*)*\)", r"\1", text)
    lines = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            line += "\n"
        line = re.sub(r"^\s*#{1,6}\s+|\s+#+\s*$|^\s*>+\s?", "", line)
        if line.lstrip().startswith("|") or re.fullmatch(r"\s*[-=*_|: ]{3,}\s*", line):  # tables and rules
            line = ""
        line = re.sub(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1", r"\2", line)
        line = re.sub(r"(?<![\w*])\*(?=\S)([^*]+?)(?<=\S)\*(?![\w*])|`([^`]*)`", lambda m: m[1] or m[2] or "", line)
        lines.append(line.strip())
    # Paragraphs are joined into one line, lists are not.
    text = re.sub(r"(?<=\S)\n(?=\S)(?![-*+•] |\d+[.)] )", " ", "\n".join(lines))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_SUMMARY:
        return text
    cut = text[:LONGEST_SUMMARY]
    end = max(cut.rfind("\n\n"), cut.rfind(". ") + 1)
    return (cut[:end] if end > LONGEST_SUMMARY // 2 else cut).rstrip() + " …"
