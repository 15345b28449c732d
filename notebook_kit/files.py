"""Files: atomic writes, after which a crash leaves either the old content or the new, and reads with helpful errors."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from notebook_kit.errors import CheckpointError

__all__ = ["damaged", "flush_file", "flush_folder", "read_json", "replacing", "temporary_name", "write_text"]


def read_json(path: str | os.PathLike[str], next_step: str = "") -> dict[str, Any]:
    """The JSON object in a file (UTF-8).

    Args:
        path: The file.
        next_step: The suggestion in the error; by default to restore or download the file.

    Raises:
        CheckpointError: If the file cannot be read, is not valid JSON, or contains something other than an object.

    Example:
        >>> import tempfile
        >>> read_json(write_text(Path(tempfile.mkdtemp()) / "config.json", '{"hidden_size": 768}'))
        {'hidden_size': 768}
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise damaged(path, error.strerror or error, next_step) from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is not valid JSON: {error}", next_step) from error
    if not isinstance(values, dict):
        raise damaged(path, f"it holds a JSON {type(values).__name__} instead of an object", next_step)
    return values


def damaged(path: str | os.PathLike[str], why: object, next_step: str = "") -> CheckpointError:
    """The error to raise about a file that cannot be read.

    Example:
        >>> print(damaged("run/vocab.txt", "it is not UTF-8"))
        run/vocab.txt cannot be read: it is not UTF-8.
        → Restore the file, or pass force_download=True if it came from the Hub.
    """
    return CheckpointError(
        f"{path} cannot be read: {str(why).rstrip('.')}.",
        next_step=next_step or "Restore the file, or pass force_download=True if it came from the Hub.",
    )


def temporary_name(path: str | os.PathLike[str]) -> Path:
    """A unique hidden name in the folder of `path`.

    `tempfile` creates files that only their owner can read, but checkpoints are shared.

    Example:
        >>> temporary_name("run/config.json").name.startswith(".config.json.tmp-")
        True
    """
    path = Path(path)
    return path.with_name(f".{path.name}.tmp-{os.getpid()}-{os.urandom(4).hex()}")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name to write to; at the end of the block it replaces `path`, unless the block raised. The new file
    has the permissions of the one that it replaces.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing(path) as temporary:
        ...     _ = temporary.write_text("done")
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('done', 1)
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        flush_file(temporary)
        with suppress(OSError):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
        flush_folder(Path(path).parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file (UTF-8, Unix line endings), replacing any existing one atomically.

    Example:
        >>> import tempfile
        >>> write_text(Path(tempfile.mkdtemp()) / "vocab.txt", "నమస్తే\\n").read_text(encoding="utf-8")
        'నమస్తే\\n'
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def flush_file(path: str | os.PathLike[str]) -> None:
    """Flush a file to disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: str | os.PathLike[str]) -> None:
    """Make renames within a folder survive a power failure, where the system supports it (Windows does not)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
