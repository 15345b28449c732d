"""The types that connect a checkpoint's files with a tokenizer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tokenizers import AddedToken, Tokenizer

__all__ = ["Files", "GivenFiles", "Parts"]


class Files(Protocol):
    """A source of a tokenizer's files, such as a `notebook_kit.hub.Source`."""

    name: str

    def find(self, filename: str) -> Path | None: ...


class GivenFiles:
    """Files that a caller named one by one, as a source.

    Args:
        paths: The name that a checkpoint gives to each ("vocab.txt") -> where it is.
    """

    def __init__(self, paths: Mapping[str, str | os.PathLike[str]]) -> None:
        self.paths = {name: Path(path) for name, path in paths.items()}
        self.name = ", ".join(map(str, self.paths.values()))

    def find(self, filename: str) -> Path | None:
        return self.paths.get(filename)


@dataclass
class Parts:
    """The parts that a tokenizer is built from.

    Attributes:
        backend: The pipeline, with its vocabulary.
        class_name: The tokenizer class that the checkpoint names.
        options: The settings and special tokens by name.
        added_tokens: Added tokens, in the order of their ids.
        from_file: Whether `backend` was read from a tokenizer.json, which may include a post-processor.
        extras: Additional parts for subclasses; see `load_marian`.
        overridden: The names in `options` that the caller passed.
    """

    backend: Tokenizer
    class_name: str
    options: dict[str, Any]
    added_tokens: list[AddedToken] = field(default_factory=list)
    from_file: bool = False
    extras: dict[str, Any] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()
