"""Stand-ins for speech: programs that beep instead of speaking, and a cache with a beep for each recording."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import soundfile

from notebook_kit.recipes.debian import completion_mark
from notebook_kit.recipes.voices_data import PACKAGES, RATE, STAMPS
from notebook_kit.recipes.voices_texts import ASTERISK, LETTER_NAMES


def beeps(text: str, rate: int = RATE) -> np.ndarray:
    """A tone for each letter, so that other texts sound otherwise, with silence around them."""
    times = np.arange(rate // 12) / rate
    tones = [np.sin(2 * np.pi * (200 + 90 * (ord(letter.lower()) - 90)) * times) for letter in text]
    silence = np.zeros(rate // 8)
    return 0.5 * np.concatenate([silence, *tones, silence])


def speaking(monkeypatch) -> list[list[str]]:
    """Put both programs in the place; returns the commands that will have been run."""
    commands: list[list[str]] = []

    def run(command, **_):
        commands.append(command)
        text = command[-1] if command[0] == "espeak-ng" else command[command.index("-t") + 1]
        sound = io.BytesIO()
        rate = 22_050 if command[0] == "espeak-ng" else 16_000
        soundfile.write(sound, beeps(text, rate), rate, format="WAV")
        return subprocess.CompletedProcess(command, 0, sound.getvalue(), b"")

    monkeypatch.setattr("notebook_kit.recipes.voices_data.subprocess.run", run)
    monkeypatch.setattr("notebook_kit.recipes.voices_data.shutil.which", lambda name: f"/usr/bin/{name}")
    return commands


def write_sound_cache(cache: Path) -> Path:
    """Write a beep for each recording that the recipes look for."""
    asterisk = cache / "debian/asterisk-core-sounds-en-wav/usr/share/asterisk/sounds/en_US_f_Allison"
    for name, text in ASTERISK.items():
        _write(asterisk / f"{name}.wav", text, 8000)
    stamps = cache / "debian/tuxpaint-stamps-default" / STAMPS
    for name in ("cat", "dog"):
        _write(stamps / f"mammals/{name}_desc.ogg", f"a {name}", 22_050)
        (stamps / f"mammals/{name}.txt").write_text(f"A {name}.\nfr.utf8=Un animal.\n", encoding="utf-8")
    _write(stamps / "birds/nameless_desc.ogg", "a bird", 22_050)
    for letter in list(LETTER_NAMES)[:4]:
        _write(cache / f"debian/klettres-data/usr/share/klettres/en/alpha/{letter}.ogg", letter, 44_100)
    for package, patterns in PACKAGES.items():
        completion_mark(cache, package, patterns).touch()
    return cache


def _write(path: Path, text: str, rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, beeps(text, rate), rate)
