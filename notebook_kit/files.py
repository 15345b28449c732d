"""Files: atomic writes, after which a crash leaves either the old content or the new, and reads with helpful errors."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from notebook_kit.errors import CheckpointError, InputError
from notebook_kit.fields import mismatch

__all__ = [
    "as_path",
    "check_fields",
    "check_mapping",
    "damaged",
    "flush_file",
    "flush_folder",
    "read_json",
    "replacing",
    "temporary_name",
    "write_text",
]


MOST_NESTED = 100
"""Levels of a JSON file. Files of checkpoints have fewer than ten; thousands exhaust Python's stack."""


def as_path(given: Any, what: str) -> Path:
    """A path that a user passed.

    Args:
        given: Text, or an object with `__fspath__`.
        what: The name of the argument, for the message.

    Raises:
        InputError: If it is neither.

    Example:
        >>> as_path("runs/first", "folder").name
        'first'
    """
    if not isinstance(given, str | os.PathLike):
        raise InputError(
            f"{what} is {given!r:.80}; expected text or a path.",
            next_step=f"Pass the path as text, such as {what}='runs/first'.",
        )
    return Path(given)


def check_mapping(values: Any) -> None:
    """Check what a user passed as the content of a JSON file.

    Raises:
        InputError: If it is not a mapping.
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f"The values are {values!r:.80}; expected a dictionary.",
            next_step="Pass a dictionary; for a folder or a file, use from_pretrained.",
        )


def read_json(
    path: str | os.PathLike[str], next_step: str = "", types: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The JSON object in a file (UTF-8).

    Args:
        path: The file.
        next_step: The suggestion in the error; by default to restore or download the file.
        types: Field -> type, to check the fields that the file has; see `notebook_kit.fields`.

    Raises:
        CheckpointError: If the file cannot be read, is not valid JSON, contains something other than an object, or has a
            field of another type.

    Example:
        >>> import tempfile
        >>> path = write_text(Path(tempfile.mkdtemp()) / "config.json", '{"hidden_size": 768}')
        >>> read_json(path, types={"hidden_size": int})
        {'hidden_size': 768}
    """
    path = as_path(path, "path")
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_int=_number)
    except OSError as error:
        raise damaged(path, error.strerror or error, next_step) from error
    except RecursionError:
        raise damaged(path, "its values are nested too deeply", next_step) from None
    except ValueError as error:
        raise damaged(path, f"it is not valid JSON: {error}", next_step) from error
    if not isinstance(values, dict):
        raise damaged(path, f"it holds a JSON {type(values).__name__} instead of an object", next_step)
    if (deepest := _nested_too_deeply(values)) is not None:
        raise damaged(path, f"the values of {deepest!r} are nested more than {MOST_NESTED} deep", next_step)
    check_fields(path, values, types or {}, next_step)
    return values


def check_fields(path: object, values: Mapping[str, Any], types: Mapping[str, Any], next_step: str = "") -> None:
    """Check the content of a file.

    Args:
        path: The file, for the message.
        values: Its content.
        types: Field -> type; see `notebook_kit.fields`.
        next_step: The suggestion in the error; by default to correct the file.

    Raises:
        CheckpointError: If a field has a value of another type.

    Example:
        >>> check_fields("run/config.json", {"hidden_size": "768"}, {"hidden_size": int})
        Traceback (most recent call last):
        notebook_kit.errors.CheckpointError: run/config.json: hidden_size is '768'; expected a whole number.
        → Correct the file, or pass force_download=True if it came from the Hub.
    """
    if fault := mismatch(values, types):
        step = next_step or "Correct the file, or pass force_download=True if it came from the Hub."
        raise CheckpointError(f"{path}: {fault}.", next_step=step)


def _number(digits: str) -> int | float:
    """A whole number; as a float, perhaps infinite, if it is too long to be meant (Python refuses to convert 4,301 digits)."""
    return int(digits) if len(digits) <= 40 else float(digits)


def _nested_too_deeply(values: Mapping[str, Any]) -> str | None:
    """The first field with more than `MOST_NESTED` levels."""
    for name, value in values.items():
        level = [value] if isinstance(value, dict | list) else []
        for _ in range(MOST_NESTED):
            inside = (node.values() if isinstance(node, dict) else node for node in level)
            level = [child for children in inside for child in children if isinstance(child, dict | list)]
            if not level:
                break
        else:
            return name
    return None


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
        if os.path.exists(path):
            temporary.touch(0o600)  # it may be private
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
