"""From what people have (a path, an address, bytes, an array, a decoder, ...) to the samples of one channel.

Example:
    >>> import numpy as np
    >>> load_audio({"array": np.zeros(44_100), "sampling_rate": 44_100}, sampling_rate=16_000).shape
    (16000,)
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from notebook_kit.errors import InputError
from notebook_kit.processing import naming
from notebook_kit.processing.audio.decoding import decoded
from notebook_kit.processing.audio.samples import check_rate, check_samples, one_channel, resampled, to_floats
from notebook_kit.processing.fetching import fetch
from notebook_kit.processing.naming import check_not_empty, check_opened_as_bytes, is_array, no_such_file

__all__ = ["described", "is_one", "load_audio"]

_ACCEPTED = (
    "Pass a path, an http(s) address, bytes, an array or tensor of samples, a dictionary with 'array' and 'sampling_rate', "
    "or a row of datasets.Audio."
)
_OTHERS = "an http(s) address"
_LONGEST_PATH = 4096


def load_audio(
    audio: Any, sampling_rate: int | None = 16_000, timeout: float | None = None, *, input_rate: int | None = None
) -> np.ndarray:
    """Load a recording: the mean of its channels at one sampling rate.

    Args:
        audio: One of:

            - a path, or a file opened in binary mode (from its beginning if it is at its end): WAV, FLAC, Ogg, MP3, AIFF; with
              ffmpeg also M4A, WebM, videos, ...;
            - an http(s) address: at most 64 MiB;
            - the bytes of a sound file, or a data URL;
            - a NumPy array, torch tensor or list of samples, of shape (samples,), (channels, samples) or (samples, channels):
              floats from -1 to 1, or integers of 8, 16 or 32 bits;
            - a dictionary with "array" (or "raw") and "sampling_rate", as `datasets` before version 4 decodes sound;
            - a decoder of torchcodec, as `datasets` from version 4 does;
            - a value of a `datasets.Audio` column that is not decoded: `{"bytes": ..., "path": ...}`.

        sampling_rate: Samples per second of the result; None keeps that of the recording.
        timeout: Seconds that a download may take; 30 if None.
        input_rate: Samples per second of an array that does not say it; `sampling_rate` if None.

    Returns:
        float32 of shape (samples,), between -1 and 1 as a rule.

    Raises:
        InputError: If it cannot be found, downloaded or read as sound; is truncated or empty; has NaN among its samples, or a
            sampling rate that cannot be. The message names the recording.
        MissingDependencyError: If its format needs ffmpeg.

    Example:
        >>> import numpy as np
        >>> from notebook_kit import load_audio
        >>> load_audio(np.zeros((2, 44_100), dtype="int16"), 16_000, input_rate=44_100).shape
        (16000,)
    """
    target = None if sampling_rate is None else check_rate(sampling_rate, "the result")
    name = described(audio)
    return check_samples(_samples(audio, name, target, timeout, input_rate), name)


def _samples(audio: Any, name: str, target: int | None, timeout: float | None, rate: Any) -> np.ndarray:
    if isinstance(audio, str):
        return decoded(_from_text(audio, timeout), name, target)[0]
    if isinstance(audio, os.PathLike):
        return decoded(_checked_path(Path(audio)), name, target)[0]
    if isinstance(audio, bytes | bytearray | memoryview):
        return decoded(bytes(audio), name, target)[0]
    if callable(getattr(audio, "get_all_samples", None)):
        audio = _decode(audio, name)
    if isinstance(audio, Mapping):
        content, rate = _content(audio, rate)
        return _samples(content, name, target, timeout, rate)
    if callable(getattr(audio, "read", None)):
        return decoded(_read(audio, name), name, target)[0]
    if is_array(audio) or isinstance(audio, list | tuple):
        samples = one_channel(to_floats(_array(audio, name), name), name)
        return resampled(samples, target if rate is None else check_rate(rate, name), target)  # type: ignore[arg-type]
    raise InputError(f"Sound cannot be read from {name}.", next_step=_ACCEPTED)


def is_one(value: Any) -> bool:
    """Whether the value is one recording rather than a collection of them.

    Example:
        >>> is_one([0.0, 0.5]), is_one(np.zeros((2, 100))), is_one(["a.wav"]), is_one({"array": [0.0], "sampling_rate": 8000})
        (True, True, False, True)
    """
    if isinstance(value, list | tuple):
        return bool(value) and isinstance(value[0], int | float | np.number)
    if isinstance(value, np.ndarray) and value.dtype == object:
        return False
    return (
        isinstance(value, str | bytes | bytearray | memoryview | os.PathLike | Mapping)
        or is_array(value)
        or callable(getattr(value, "get_all_samples", None))
        or callable(getattr(value, "read", None))
    )


def described(audio: Any) -> str:
    """The recording in a few words, for messages.

    Example:
        >>> described("talk.wav"), described([0.0, 0.5]), described({"array": None, "path": "7.wav"})
        ("'talk.wav'", 'the list of 2 samples', "'7.wav'")
    """
    if isinstance(audio, list | tuple):
        return f"the list of {len(audio):,} samples"
    if isinstance(audio, Mapping) and not audio.get("path"):
        inner = next((audio[key] for key in ("array", "raw", "bytes") if audio.get(key) is not None), None)
        if inner is not None:
            return described(inner)
    return naming.described(audio, "recording")


def _from_text(text: str, timeout: float | None) -> Path | bytes:
    check_not_empty(text, "recording")
    if text[:12].lower().startswith(("http://", "https://")):
        return fetch(text, timeout)
    if text[:5].lower() == "data:":
        head, _, body = text.partition(",")
        try:
            return base64.b64decode(body, validate=True) if head.endswith(";base64") else b""
        except ValueError as error:
            raise InputError(f"{described(text)} is not base64 text.", next_step=_ACCEPTED) from error
    if "://" in text[:20]:
        fetch(text, timeout)  # raises: it is neither HTTP nor HTTPS
    if len(text) >= _LONGEST_PATH or "\0" in text:
        raise InputError(f"{naming.capitalized(described(text))} is not the path of a recording.", next_step=_ACCEPTED)
    return _checked_path(Path(text).expanduser())


def _checked_path(path: Path) -> Path:
    if path.is_dir():
        raise InputError(
            f"{str(path)!r} is a folder.", next_step="Pass the recordings in it: sorted(folder.glob('*.wav'))."
        )
    if not path.exists():
        raise no_such_file(path, _OTHERS)
    if not os.access(path, os.R_OK):
        raise InputError(f"{str(path)!r} cannot be read: permission denied.", next_step="Change its permissions.")
    return path


def _read(file: Any, name: str) -> bytes:
    check_opened_as_bytes(file, name)
    content = file.read()
    if not isinstance(content, bytes):
        raise InputError(f"{naming.capitalized(name)} gives no bytes.", next_step="Open it with open(path, 'rb').")
    if not content and callable(getattr(file, "seekable", None)) and file.seekable():
        file.seek(0)  # it was at its end, as after writing into it or reading it before
        content = file.read()
    return content


def _decode(decoder: Any, name: str) -> dict[str, Any]:
    """The samples of a torchcodec decoder, (channels, samples)."""
    try:
        samples = decoder.get_all_samples()
        return {"array": samples.data, "sampling_rate": samples.sample_rate}
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{naming.capitalized(name)} cannot be decoded: {error}",
            next_step="Check the recording; decode=False in datasets.Audio passes its bytes.",
        ) from error


def _content(row: Mapping[str, Any], rate: Any) -> tuple[Any, Any]:
    """What a dictionary holds, and its sampling rate."""
    for key in ("array", "raw"):
        if row.get(key) is not None:
            stated = row.get("sampling_rate")
            if stated is None and rate is None:
                raise InputError(
                    f"A recording in a dictionary has the keys {key!r} and 'sampling_rate'; the latter is missing or None.",
                    next_step="Add 'sampling_rate', in samples per second.",
                )
            return row[key], rate if stated is None else stated
    content = row.get("bytes")
    content = row.get("path") if content is None else content
    if content is None or isinstance(content, Mapping):
        keys = ", ".join(map(repr, row)) or "none"
        raise InputError(
            f"A recording in a dictionary has the keys 'array' and 'sampling_rate', or 'path'; the keys here are {keys}.",
            next_step="For rows of a dataset, pass the recording: row['audio'], or KeyDataset(dataset, 'audio').",
        )
    return content, rate


def _array(audio: Any, name: str) -> np.ndarray:
    if hasattr(audio, "detach"):
        audio = audio.detach().cpu()
        return audio.float().numpy() if str(audio.dtype) in ("torch.bfloat16", "torch.float16") else audio.numpy()
    try:
        return np.asarray(audio)
    except ValueError as error:
        raise InputError(
            f"{naming.capitalized(name)} is not one recording: its rows differ in length.",
            next_step="Pass one recording per list.",
        ) from error
