"""Speech to learn from: sentences spoken by the programs espeak-ng and flite, and recordings of people; fetched, never committed.

The programs have many voices. Some are held out for validation and others for the test, so that a model is measured on voices that
it has not heard. The recordings are those of Debian's packages: prompts for telephones (one woman, 8 kHz), the names of animals from
Tux Paint, and the letters of the alphabet from KLettres.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from notebook_kit.errors import CheckpointError, MissingDependencyError
from notebook_kit.processing.audio.loading import load_audio
from notebook_kit.recipes.debian import package_files
from notebook_kit.recipes.voices_texts import ASTERISK, LETTER_NAMES

__all__ = ["PACKAGES", "RATE", "VOICES", "Clip", "Part", "Voice", "recordings", "spoken", "trimmed"]

RATE = 16_000
"""Samples per second of all clips."""

Part = Literal["train", "validation", "test"]

_ACCENTS = {
    "train": "en-us en-gb en-gb-x-rp en-gb-x-gbcwmd en-us-nyc",
    "validation": "en-us en-gb",
    "test": "en-us en-gb en-gb-scotland en-029",
}
_VARIANTS = {
    "train": "m1 m2 m3 m4 m6 m8 f1 f2 f3 f4 Alex Andy Annie Denis Hugo Mario Michael adam belinda boris david ed "
    "linda max norbert pablo rob shelby steph travis victor zac",
    "validation": "m5 Lee Andrea john",
    "test": "m7 f5 Alicia Gene anika benjamin paul robert",
}
_FLITE = {"train": "kal kal16 awb slt", "validation": "", "test": "rms"}

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


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice of one program.

    Attributes:
        engine: "espeak" or "flite".
        name: The program's name for it; for espeak an accent and a variant, joined by a plus sign.
        part: "train", or "validation" or "test", which no training may use.
    """

    engine: str
    name: str
    part: Part


def _voices() -> list[Voice]:
    found = []
    for part in get_args(Part):
        variants, accents = _VARIANTS[part].split(), _ACCENTS[part].split()
        found += [Voice("espeak", f"{accent}+{variant}", part) for variant in variants for accent in accents]
        found += [Voice("flite", name, part) for name in _FLITE[part].split()]
    return found


VOICES: list[Voice] = _voices()


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


def spoken(
    texts: Sequence[str],
    part: Part,
    seed: int,
    kept: Path | None = None,
    flite: float = 0.5,
    pitches: tuple[float, float] = (1.0, 1.0),
) -> list[Clip]:
    """Texts, each said by a random voice of a part at a random pitch and speed.

    Args:
        texts: What to say.
        part: The voices to choose from.
        seed: Of the choice.
        kept: A file that keeps the result, and is read if it exists.
        flite: The share of flite's voices, if the part has any.
        pitches: The lowest and the highest pitch of flite's voices, as a multiple of their own.

    Raises:
        MissingDependencyError: If a program is not installed.

    Example:
        >>> clip = spoken(["good morning"], "test", seed=1)[0]  # doctest: +SKIP
        >>> clip.text, clip.voice, clip.samples.dtype.name  # doctest: +SKIP
        ('good morning', 'espeak en-gb+m7', 'int16')
    """
    if kept is not None and kept.exists():
        return _read(kept)
    chance = random.Random(seed)
    commands = [_command(text, part, chance, flite, pitches) for text in texts]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        clips = list(pool.map(_say, commands))
    if kept is not None:
        _write(kept, clips)
    return clips


@dataclass(frozen=True, slots=True)
class _Command:
    text: str
    voice: str
    arguments: list[str]


def _command(text: str, part: Part, chance: random.Random, flite: float, pitches: tuple[float, float]) -> _Command:
    """The command line that says a text. Pitch and speed differ as they do among people, and a little more."""
    engine = "flite" if chance.random() < flite and _FLITE[part] else "espeak"
    voice = chance.choice([voice for voice in VOICES if voice.part == part and voice.engine == engine])
    said = " ".join(LETTER_NAMES.get(word, word) for word in text.split())
    if engine == "espeak":
        pitch, speed, pause = chance.randint(15, 85), chance.randint(110, 190), chance.choice([0, 0, 1, 3])
        arguments = [
            "espeak-ng",
            "-v",
            voice.name,
            "-p",
            str(pitch),
            "-s",
            str(speed),
            "-g",
            str(pause),
            "--stdout",
            said,
        ]
    else:
        settings = [f"duration_stretch={chance.uniform(0.85, 1.4):.2f}"]
        if pitches[0] < pitches[1]:
            settings.append(f"f0_shift={chance.uniform(*pitches):.2f}")
        arguments = ["flite", "-voice", voice.name, "-t", said, "-o", "/dev/stdout"]
        arguments += [word for setting in settings for word in ("--setf", setting)]
    return _Command(text, f"{engine} {voice.name}", arguments)


def _say(command: _Command) -> Clip:
    if shutil.which(command.arguments[0]) is None:
        raise MissingDependencyError(
            f"The program {command.arguments[0]}, which speaks the texts, is not installed.",
            next_step="Install both: `apt-get install espeak-ng flite`.",
        )
    sound = subprocess.run(command.arguments, capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout
    return Clip(command.text, command.voice, _as_integers(load_audio(io.BytesIO(sound), RATE)))


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
    return [Clip(text, package, _as_integers(load_audio(path, RATE))) for path, text in found]


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


def _as_integers(samples: np.ndarray) -> np.ndarray:
    return (32767 * samples.clip(-1, 1)).round().astype(np.int16)


def _write(path: Path, clips: Sequence[Clip]) -> None:
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


def _read(path: Path) -> list[Clip]:
    with np.load(path) as kept:
        parts = np.split(kept["samples"], kept["lengths"].cumsum()[:-1])
        return [
            Clip(text, voice, part) for (text, voice), part in zip(json.loads(str(kept["about"])), parts, strict=True)
        ]
