"""Clips as a microphone records them: other voices, rooms, loudspeakers, telephones, noise; each time at random.

A few thousand clips of synthetic voices sound alike. Learned as they are, they would not prepare a model for the recording of a
person. So each clip is changed in another way each time it is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from notebook_kit.recipes.voices_data import RATE

__all__ = ["SPEEDS", "padded", "recorded"]

SPEEDS = (0.86, 1.18)
"""Playing faster raises the pitch and shortens the vocal tract, as in a smaller person."""
DECAYS = (0.05, 0.5)  # seconds until an echo has lost 60 dB
TELEPHONE = (300.0, 3400.0)  # Hz
QUIETEST_NOISE, LOUDEST_NOISE = 45.0, 5.0  # dB below the sound


def recorded(
    samples: np.ndarray,
    chance: np.random.Generator,
    hardness: float = 1.0,
    margins: tuple[float, float] | None = None,
    speeds: tuple[float, float] = SPEEDS,
    tight: float = 0.0,
) -> np.ndarray:
    """A clip in a random room, at a random speed, with silence and noise around it.

    Args:
        samples: int16 or float of shape (samples,).
        chance: The source of random numbers.
        hardness: From 0, a good recording, to 1, of which most are difficult.
        margins: Seconds of silence before and after the sound; random ones by default.
        speeds: The lowest and the highest.
        tight: How often, from 0 to 1, there is no silence before the sound, and independently none after it.

    Returns:
        float32 of shape (other samples,), at most 1.

    Example:
        >>> tone = np.sin(np.arange(8000) / 5)
        >>> heard = recorded(tone, np.random.default_rng(0))
        >>> heard.dtype.name, len(heard) > 4000, float(np.abs(heard).max()) <= 1
        ('float32', True, True)
    """
    sound = _at_speed(samples.astype(np.float32), float(np.exp(chance.uniform(*np.log(speeds)))))
    seconds = chance.uniform(0.03, 0.35, 2) if margins is None else np.array(margins)
    if tight:
        seconds = np.where(chance.random(2) < tight, 0.0, seconds)
    before, after = (seconds * RATE).astype(int)
    size = len(sound) + before + after
    length = 4096 * -(-(size + int(RATE * DECAYS[1])) // 4096)
    spectrum = np.fft.rfft(np.pad(sound, (before, 0)), length)
    frequencies = np.fft.rfftfreq(length, 1 / RATE).astype(np.float32)
    if chance.random() < hardness:
        spectrum *= _colour(frequencies, chance)
    if chance.random() < 0.6 * hardness:
        spectrum *= np.fft.rfft(_echo(chance), length)
    noise = _noise(frequencies, chance)
    below = chance.uniform(QUIETEST_NOISE + hardness * (LOUDEST_NOISE - QUIETEST_NOISE), QUIETEST_NOISE)
    ratio = 10 ** (below / 10) * size / length  # the sound is in a part of the time
    spectrum += noise * np.sqrt(_power(spectrum) / ratio / _power(noise))
    if chance.random() < 0.4 * hardness:
        spectrum *= _telephone(frequencies, chance)
    sound = np.fft.irfft(spectrum, length)[:size]
    return sound * np.float32(10 ** chance.uniform(-1.3, 0) / (np.abs(sound).max() + 1e-9))


def padded(clips: Sequence[np.ndarray], length: int | None = None) -> np.ndarray:
    """Clips with zeros after them, or cut: float32 of shape (clips, length or that of the longest).

    Example:
        >>> padded([np.ones(2), np.ones(1)]).tolist()
        [[1.0, 1.0], [1.0, 0.0]]
    """
    length = max(map(len, clips)) if length is None else length
    batch = np.zeros((len(clips), length), np.float32)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip[:length]
    return batch


def _at_speed(sound: np.ndarray, speed: float) -> np.ndarray:
    places = np.arange(0, len(sound) - 1, speed)
    return np.interp(places, np.arange(len(sound)), sound).astype(np.float32)


def _colour(frequencies: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """A smooth curve of gains, as microphones and loudspeakers have."""
    knots = np.linspace(0, RATE / 2, 9)
    return np.exp(np.interp(frequencies, knots, chance.normal(0, 0.46, 9))).astype(np.float32)  # 4 dB


def _echo(chance: np.random.Generator) -> np.ndarray:
    """The response of a room: the direct sound, and noise that dies away."""
    decay = chance.uniform(*DECAYS)
    times = np.arange(int(decay * RATE), dtype=np.float32) / RATE
    response = chance.standard_normal(len(times), np.float32) * np.exp(-6.9 / decay * times).astype(np.float32)
    response *= np.float32(chance.uniform(0.1, 0.7)) / np.sqrt(np.square(response).sum())
    response[0] = 1
    return response


def _noise(frequencies: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """The spectrum of noise between white and brown."""
    parts = chance.standard_normal((2, len(frequencies)), np.float32)
    return (parts[0] + 1j * parts[1]) * (frequencies + 50) ** np.float32(-chance.uniform(0, 1))


def _power(spectrum: np.ndarray) -> np.ndarray:
    return np.square(spectrum.real).sum() + np.square(spectrum.imag).sum() + np.float32(1e-9)


def _telephone(frequencies: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """The gains of a telephone line, which passes neither low nor high frequencies."""
    low, high = TELEPHONE[0] * chance.uniform(0.3, 1), TELEPHONE[1] * chance.uniform(0.9, 1.17)
    return (1 / (1 + (low / (frequencies + 1)) ** 6) / (1 + (frequencies / high) ** 24)).astype(np.float32)
