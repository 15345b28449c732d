"""What lies between a checkpoint's files and a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tokenizers import AddedToken, Tokenizer

__all__ = ["Files", "Parts", "SingleFile"]


class Files(Protocol):
    """Where a tokenizer's files are found; a `notebook_kit.hub.Source` is one."""

    name: str

    def find(self, filename: str) -> Path | None: ...


class SingleFile:
    """One vocabulary file, given by its path, as a source without other files."""

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
    """What a tokenizer is built from.

    Attributes:
        backend: The pipeline, with its vocabulary.
        class_name: The tokenizer class that the checkpoint names.
        options: Its settings and special tokens by name.
        added_tokens: Further tokens, in the order of their ids.
        from_file: Whether `backend` came from a tokenizer.json, with a post-processor that need not be built.
        extras: What the class itself needs besides; see `load_marian`.
        overridden: The names in `options` that the caller passed.
    """

    backend: Tokenizer
    class_name: str
    options: dict[str, Any]
    added_tokens: list[AddedToken] = field(default_factory=list)
    from_file: bool = False
    extras: dict[str, Any] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()
