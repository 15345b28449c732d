"""The types that connect a checkpoint's files with a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tokenizers import AddedToken, Tokenizer

__all__ = ["Files", "Parts", "SingleFile"]


class Files(Protocol):
    """A source of a tokenizer's files, such as a `notebook_kit.hub.Source`."""

    name: str

    def find(self, filename: str) -> Path | None: ...


class SingleFile:
    """A single vocabulary file, as a source without other files."""

    def __init__(self, path: Path) -> None:
        self.name, self.path = str(path), path

    def find(self, filename: str) -> Path | None:
        suffix = Path(filename).suffix
        known = {".txt": "vocab.txt", ".json": "tokenizer.json", ".model": "tokenizer.model"}
        return self.path if suffix == self.path.suffix and filename == known[suffix] else None

    def filenames(self) -> list[str]:
        return [self.path.name]


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
