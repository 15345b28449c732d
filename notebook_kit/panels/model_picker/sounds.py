"""Recordings to try a model on: those that a reader uploads, and samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from notebook_kit import zoo
from notebook_kit.errors import InputError, MissingDependencyError
from notebook_kit.processing.audio.loading import load_audio

__all__ = ["SOUND_TASKS", "loaded_sound", "sound_samples"]

SOUND_TASKS = frozenset({"audio-classification", "automatic-speech-recognition"})
RATE = 16_000
MOST_SAMPLES = 8
CHIME = "chime"


def sound_samples() -> list[dict[str, Any]]:
    """The samples as the page shows them: `name` and `label`.

    Example:
        >>> all(set(one) == {"name", "label"} for one in sound_samples())
        True
    """
    labels = {path.name: path.stem.replace("_", " ") for path in zoo.sample_sounds()[:MOST_SAMPLES]} or {CHIME: CHIME}
    return [{"name": name, "label": label} for name, label in labels.items()]


def loaded_sound(choice: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """The recording of a sample, `{"sample": name}`, or of an uploaded file, `{"file": name}` and its bytes.

    Returns:
        `{"array": samples, "sampling_rate": 16000}`.

    Raises:
        InputError: If there is no such sample, or the file cannot be read.
    """
    name = str(choice.get("sample") or choice.get("file") or "")
    if "sample" in choice:
        path = next((path for path in zoo.sample_sounds() if path.name == name), None)
        if path is None and name != CHIME:
            raise InputError(f"There is no sample {name!r}.", next_step="Choose one of those shown, or a file.")
        return {"array": _chime() if path is None else load_audio(path, RATE), "sampling_rate": RATE}
    try:
        return {"array": load_audio(data, RATE), "sampling_rate": RATE}
    except MissingDependencyError as error:
        raise InputError(f"{name or 'The file'} cannot be read here.", next_step=error.next_step) from error
    except InputError as error:
        raise InputError(
            f"{name or 'The file'} is not a recording that can be read.",
            next_step="Choose a WAV, FLAC, Ogg or MP3 file.",
        ) from error


def _chime() -> np.ndarray:
    """Three falling tones."""
    time = np.arange(int(0.5 * RATE)) / RATE
    tones = [np.sin(2 * np.pi * hertz * time) * np.exp(-6 * time) for hertz in (784, 659, 523)]
    return (0.4 * np.concatenate(tones)).astype(np.float32)
