"""Samples of sound: one channel out of several, integers as floats, another sampling rate, and what no recording looks like.

Everything here works on float32 samples between -1 and 1.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import soxr

from notebook_kit.errors import InputError, notice
from notebook_kit.processing.naming import capitalized

__all__ = ["check_rate", "check_samples", "is_silent", "one_channel", "resampled", "to_floats"]

RATES = (100, 1_000_000)
"""The lowest and the highest sampling rate, in Hz, that a recording can have."""
MOST_CHANNELS = 64
LOUDEST = 256.0
"""Samples beyond this are integers in the guise of floats. Synthetic samples may exceed 1, but not so far."""
QUIETEST = 2.0**-15
"""The smallest step of 16 bits: samples that vary less than this are silent."""
_CLIPPED = 0.05
"""The share of samples at full scale from which a recording counts as clipped; of loud music it is below 1 %."""


def to_floats(samples: np.ndarray, name: str) -> np.ndarray:
    """Samples of any type as float32: integers are divided by the largest of their type.

    Args:
        samples: Floats; or integers of 8 (unsigned with 128 as zero, as in WAV files, or signed), 16 or 32 bits. Integers
            of 64 bits, as lists of Python numbers become, are taken as 16 bits if they fit, else as 32.
        name: The recording, for messages.

    Raises:
        InputError: If they are not numbers.

    Example:
        >>> to_floats(np.array([-32768, 16384], dtype="int16"), "").tolist()
        [-1.0, 0.5]
    """
    kind = samples.dtype
    if kind.kind == "f":
        return samples.astype(np.float32, copy=False)
    if kind == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if kind.kind == "i":
        bits = kind.itemsize * 8
        if bits == 64:
            largest = max(abs(int(samples.max(initial=0))), abs(int(samples.min(initial=0))))
            bits = 16 if largest <= 2**15 else 32
        return (samples / 2.0 ** (bits - 1)).astype(np.float32)
    if kind.kind == "c":
        raise InputError(
            f"{capitalized(name)} holds complex numbers, as a spectrum does; samples are real numbers.",
            next_step="Pass the recording itself. If the imaginary parts are zero, pass samples.real.",
        )
    raise InputError(
        f"{capitalized(name)} holds no samples: they are of type {kind}.",
        next_step="Pass floats from -1 to 1, or integers of 8, 16 or 32 bits.",
    )


def one_channel(samples: np.ndarray, name: str) -> np.ndarray:
    """The mean of the channels, which one notice per process mentions.

    Args:
        samples: (samples,), (channels, samples) or (samples, channels): the shorter axis holds the channels, the first one if
            both are equally long.
        name: The recording, for messages.

    Raises:
        InputError: If there are more than two axes, or more than 64 channels.

    Example:
        >>> one_channel(np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]), "the array").tolist()
        [0.0, 0.5, 1.0]
    """
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2 or min(samples.shape) > MOST_CHANNELS:
        raise InputError(
            f"{capitalized(name)} is not one recording: expected (samples,), (channels, samples) or (samples, channels).",
            next_step="Pass one recording per array, or a list of them.",
        )
    axis = 0 if samples.shape[0] <= samples.shape[1] else 1
    if samples.size == 0:  # a mean over no channels would be NaN
        return np.empty(0, samples.dtype)
    if samples.shape[axis] > 1:
        mention_channels()
    return samples.mean(axis=axis)


@functools.cache
def mention_channels() -> None:
    """Log, once per process, that channels are averaged."""
    notice("A recording has several channels: the mean of them is used, here and for further recordings.")


def check_rate(rate: Any, name: str) -> int:
    """A sampling rate, if it can be one.

    Raises:
        InputError: If it is not a whole number of Hz from 100 to 1,000,000.

    Example:
        >>> check_rate(0, "'talk.wav'")
        Traceback (most recent call last):
        notebook_kit.errors.InputError: The sampling rate of 'talk.wav' is 0; expected a number from 100 to 1,000,000 Hz.
        → Pass the number of samples per second, such as 16_000 or 44_100.
    """
    try:
        number = float(rate)
    except (TypeError, ValueError):
        number = float("nan")
    low, high = RATES
    if isinstance(rate, bool) or not low <= number <= high or number != round(number):
        raise InputError(
            f"The sampling rate of {name} is {rate!r}; expected a number from {low:,} to {high:,} Hz.",
            next_step="Pass the number of samples per second, such as 16_000 or 44_100.",
        )
    return int(number)


def resampled(samples: np.ndarray, rate: int, target: int | None) -> np.ndarray:
    """Samples of one channel at another rate, by soxr in high quality; unchanged if the rates are equal or `target` is None.

    Example:
        >>> resampled(np.zeros(44_100, "float32"), 44_100, 16_000).shape
        (16000,)
    """
    if target in (None, rate):
        return samples
    return soxr.resample(samples, rate, target)


def check_samples(samples: np.ndarray, name: str) -> np.ndarray:
    """Samples of one channel, if they can be a recording. A notice mentions clipped ones.

    Raises:
        InputError: If there are none, some are NaN or infinite, or they are not in the range of floats.
    """
    if samples.size == 0:
        raise InputError(f"{capitalized(name)} is empty: it has no samples.", next_step="Pass a recording with sound.")
    low, high = float(samples.min()), float(samples.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(np.count_nonzero(~np.isfinite(samples)))
        raise InputError(
            f"{capitalized(name)} cannot be used: {bad:,} of its {samples.size:,} samples are NaN or infinite.",
            next_step="Check how the samples were computed; np.nan_to_num(samples) replaces NaN by 0.",
        )
    if max(-low, high) > LOUDEST:
        raise InputError(
            f"{capitalized(name)} has samples from {low:,.0f} to {high:,.0f}, and floats are expected from -1 to 1.",
            next_step="Divide integers by the largest of their type, such as samples / 32768 for 16 bits.",
        )
    if max(-low, high) <= 1:
        clipped = np.count_nonzero(samples >= 1 - QUIETEST) + np.count_nonzero(samples <= QUIETEST - 1)
        if clipped > _CLIPPED * samples.size:
            notice(
                f"{capitalized(name)} is clipped: {clipped / samples.size:.0%} of its samples are at full scale, so it may be "
                "understood badly. Record at a lower level."
            )
    return samples


def is_silent(samples: np.ndarray) -> bool:
    """Whether nothing can be heard: the samples vary by less than the smallest step of 16 bits.

    Example:
        >>> is_silent(np.full(100, 0.25)), is_silent(np.array([0.0, 0.001]))
        (True, False)
    """
    return samples.size == 0 or float(samples.max()) - float(samples.min()) <= QUIETEST
