"""Stand-ins for speech: programs that beep instead of speaking, and a cache with a beep for each recording."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile

from notebook_kit.recipes import voices_programs
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
    """Put all programs in the place; returns the commands that will have been run, and for packages what they were asked to say."""
    commands: list[list[str]] = []

    def run(command, input=b"", **_):
        commands.append([*command, input.decode()])
        if "--ipa" in command:
            output = "\n".join(line.lower() for line in input.decode().split("\n")).encode() + b"\n"
        elif command[0] == "text2wave":
            output = (32_767 * beeps(input.decode())).astype(np.int16).tobytes()
        else:
            is_espeak = command[0] == "espeak-ng"
            text, rate = (command[-1], 22_050) if is_espeak else (command[command.index("-t") + 1], 16_000)
            output = _as_file(text, rate)
        return subprocess.CompletedProcess(command, 0, output, b"")

    class Pico:
        def __init__(self, language):
            self.language = language

        def speak(self, text):
            commands.append([self.language, str(self.rate), str(self.pitch), text])
            return (32_767 * beeps(text)).astype(np.int16).tobytes()

    class RHVoice:
        def __init__(self, **_):
            pass

        def say(self, text, voice, format_, sets):
            commands.append([voice, *map(str, sets), text])
            file = _as_file(text, 24_000)
            return nullcontext([file[:100], file[100:]])

    voices_programs.rhvoice.cache_clear()
    for module in ("voices_programs", "voices_phones"):
        monkeypatch.setattr(f"notebook_kit.recipes.{module}.subprocess.run", run)
        monkeypatch.setattr(f"notebook_kit.recipes.{module}.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setitem(sys.modules, "ttspico", SimpleNamespace(TtsEngine=Pico))
    monkeypatch.setitem(sys.modules, "rhvoice_wrapper", SimpleNamespace(TTS=RHVoice))
    return commands


def _as_file(text: str, rate: int) -> bytes:
    sound = io.BytesIO()
    soundfile.write(sound, beeps(text, rate), rate, format="WAV")
    return sound.getvalue()


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
