"""Inputs in a few words, for messages (a path, an array, some bytes, a row of a dataset), and faults of paths and files."""

from __future__ import annotations

import io
import mimetypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from notebook_kit.errors import InputError, near_matches

__all__ = ["capitalized", "check_not_empty", "check_opened_as_bytes", "described", "is_array", "no_such_file"]


def is_array(value: Any) -> bool:
    """Whether the value is a NumPy array or a torch tensor."""
    return isinstance(value, np.ndarray) or (hasattr(value, "detach") and hasattr(value, "ndim"))


def described(value: Any, noun: str) -> str:
    """An input in a few words.

    Args:
        value: The input.
        noun: What it is meant to be: "image", "recording".

    Example:
        >>> described("cats/7.jpg", "image"), described({"bytes": None, "path": "7.wav"}, "recording")
        ("'cats/7.jpg'", "'7.wav'")
        >>> described(b"GIF89a", "image"), described(np.zeros((2, 8)), "recording")
        ('the image of 6 bytes', 'the array of shape (2, 8) and type float64')
    """
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        return repr(text if len(text) <= 200 else f"{text[:60]}... ({len(text):,} characters)")
    if isinstance(value, bytes | bytearray | memoryview):
        return f"the {noun} of {len(value):,} bytes"
    if isinstance(value, Mapping):
        path = value.get("path")
        return described(path, noun) if path else f"the value with the keys {sorted(map(str, value))}"
    if is_array(value):
        kind = "array" if isinstance(value, np.ndarray) else "tensor"
        return f"the {kind} of shape {tuple(value.shape)} and type {str(value.dtype).removeprefix('torch.')}"
    name = getattr(value, "name", None)
    return repr(name) if isinstance(name, str) else f"a value of type {type(value).__name__}"


def capitalized(text: str) -> str:
    """The text with its first letter in upper case, for the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def check_not_empty(text: str, noun: str) -> None:
    """Raise an error for an empty text, which as a path would be the working folder.

    Raises:
        InputError: If the text is empty.
    """
    if not text:
        raise InputError(
            f"The path of the {noun} is an empty text.", next_step="Pass the path of a file, or an address."
        )


def check_opened_as_bytes(file: Any, name: str) -> None:
    """Raise an error for a file that is opened as text.

    Raises:
        InputError: If it is, with the name of the input.
    """
    if isinstance(file, io.TextIOBase):
        raise InputError(
            f"{capitalized(name)} was opened as text.", next_step="Open it with open(path, 'rb'), or pass its path."
        )


def no_such_file(path: Path, others: str = "") -> InputError:
    """The error for a path without a file, with files of similar names.

    Args:
        path: The path.
        others: What could have been passed instead of a path, such as "an http(s) address".
    """
    try:
        kind = _kind_of(path.name)
        names = [entry.name for entry in os.scandir(path.parent) if kind in ("", _kind_of(entry.name))]
    except (OSError, ValueError):
        names = []
    same = sorted(each for each in names if Path(each).stem.lower() == path.name.lower())  # only the ending is missing
    near = near_matches(path.name, same, max(1, len(same))) or near_matches(path.name, names)
    advice = f"Check the path (the working folder is {Path.cwd()})" + (f", or pass {others}." if others else ".")
    return InputError(f"There is no file {str(path)!r}.", next_step=near or advice)


def _kind_of(name: str) -> str:
    """What a file of this name contains, such as "image" or "audio"; "" if its ending does not say it."""
    return (mimetypes.guess_type(name)[0] or "").partition("/")[0]
