"""Recordings of people, fetched and never committed, and files of clips.

The recordings are those of Debian's packages: prompts for telephones (one woman, 8 kHz), the names of animals from Tux Paint, and the
letters of the alphabet from KLettres.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from notebook_kit.errors import CheckpointError
from notebook_kit.processing.audio.loading import load_audio
from notebook_kit.recipes.debian import package_files
from notebook_kit.recipes.voices_texts import ASTERISK, LETTER_NAMES

__all__ = ["PACKAGES", "RATE", "STAMPS", "Clip", "as_integers", "read_clips", "recordings", "trimmed", "write_clips"]

RATE = 16_000
"""Samples per second of all clips."""

STAMPS = "usr/share/tuxpaint/stamps/animals"
PACKAGES = {
    "asterisk-core-sounds-en-wav": [
        f"usr/share/asterisk/sounds/en_US_f_Allison/{folder}*.wav"
        for folder in ("", "digits/", "letters/", "phonetic/", "dictate/")
    ],
    "tuxpaint-stamps-default": [f"{STAMPS}/**/*_desc.ogg", f"{STAMPS}/**/*.txt"],
    "klettres-data": ["usr/share/klettres/en/alpha/*.ogg", "usr/share/klettres/en_GB/alpha/*.ogg"],
}
"""Package -> patterns of the files with recordings."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One spoken text.

    Attributes:
        text: What is said; a capital letter is the name of the letter.
        voice: Who says it: a voice of a program, or the package of a recording.
        samples: int16 of shape (samples,), 16,000 per second.
    """

    text: str
    voice: str
    samples: np.ndarray


def recordings(package: str, cache_dir: str | os.PathLike[str] | None = None) -> list[Clip]:
    """The English recordings of a package, in the order of their files.

    Args:
        package: One of `PACKAGES`.
        cache_dir: As in `notebook_kit.recipes.data.movie_snippets`.

    Raises:
        MissingDependencyError, HubUnreachableError, CheckpointError: As in `notebook_kit.recipes.debian.package_files`.

    Example:
        >>> found = recordings("asterisk-core-sounds-en-wav")  # doctest: +SKIP
        >>> found[0].text, found[0].samples.shape  # doctest: +SKIP
        ('zero', (12240,))
    """
    root = package_files(package, PACKAGES[package], cache_dir)
    files = {"asterisk-core-sounds-en-wav": _prompts, "tuxpaint-stamps-default": _animals, "klettres-data": _letters}
    found = files[package](root)
    if not found:
        raise CheckpointError(
            f"The package {package} contains no recordings in English.", next_step="Use Debian 12's package."
        )
    return [Clip(text, package, as_integers(load_audio(path, RATE))) for path, text in found]


def _prompts(root: Path) -> list[tuple[Path, str]]:
    folder = root / "usr/share/asterisk/sounds/en_US_f_Allison"
    return [(folder / f"{name}.wav", text) for name, text in ASTERISK.items()]


def _animals(root: Path) -> list[tuple[Path, str]]:
    found = []
    for sound in sorted((root / STAMPS).rglob("*_desc.ogg")):
        text = sound.with_name(sound.name.replace("_desc.ogg", ".txt"))
        if text.is_file():  # a few recordings have no text
            found.append((sound, text.read_text(encoding="utf-8").splitlines()[0].rstrip(".").lower()))
    return found


def _letters(root: Path) -> list[tuple[Path, str]]:
    return [
        (path, path.stem.upper())
        for folder in ("en", "en_GB")
        for path in sorted((root / "usr/share/klettres" / folder / "alpha").glob("*.ogg"))
        if path.stem.upper() in LETTER_NAMES
    ]


def trimmed(clip: Clip) -> Clip:
    """The clip without the silence before and after the sound, except for a hundredth of a second.

    Example:
        >>> beep = np.concatenate([np.zeros(4000), 9000 * np.sin(np.arange(4000)), np.zeros(4000)]).astype(np.int16)
        >>> len(trimmed(Clip("beep", "", beep)).samples)
        4636
    """
    window = RATE // 50
    power = np.convolve(np.square(clip.samples.astype(np.float32)), np.ones(window) / window, "same")
    loud = np.flatnonzero(power > 1e-3 * power.max())
    if not len(loud):
        return clip
    kept = RATE // 100
    return replace(clip, samples=clip.samples[max(0, loud[0] - kept) : loud[-1] + kept])


# Files -----------------------------------------------------------------------------------------------------------------


def as_integers(samples: np.ndarray) -> np.ndarray:
    return (32767 * samples.clip(-1, 1)).round().astype(np.int16)


def write_clips(path: Path, clips: Sequence[Clip]) -> None:
    scratch = path.with_name(f".{path.name}")
    about = json.dumps([(clip.text, clip.voice) for clip in clips])
    with open(scratch, "wb") as file:
        np.savez(
            file,
            about=np.array(about),
            lengths=np.array([len(clip.samples) for clip in clips]),
            samples=np.concatenate([clip.samples for clip in clips]),
        )
    os.replace(scratch, path)


def read_clips(path: Path) -> list[Clip]:
    with np.load(path) as kept:
        parts = np.split(kept["samples"], kept["lengths"].cumsum()[:-1])
        return [
            Clip(text, voice, part) for (text, voice), part in zip(json.loads(str(kept["about"])), parts, strict=True)
        ]
