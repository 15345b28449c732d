"""A recording for looking at and listening to: the outline of its wave, its spectrogram, a file that browsers play."""

from __future__ import annotations

import io
import wave

import numpy as np

__all__ = ["outline", "spectrogram", "wave_file"]

N_FFT = 512
RANGE = 6.0
"""Powers of ten below the loudest that a spectrogram shows: 60 dB."""


def outline(samples: np.ndarray, columns: int) -> np.ndarray:
    """The lowest and the highest sample of each column of a drawing.

    Args:
        samples: (samples,), from -1 to 1.
        columns: The maximum number of columns.

    Returns:
        float32 of shape (2, columns); as many columns as samples if those are fewer.

    Example:
        >>> outline(np.array([0.0, 0.5, -0.25, 0.0], dtype=np.float32), 2).tolist()
        [[0.0, -0.25], [0.5, 0.0]]
    """
    columns = max(1, min(columns, len(samples)))
    starts = np.arange(columns) * len(samples) // columns
    return np.stack([np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)])


def spectrogram(samples: np.ndarray, rate: int, columns: int, mels: int = 80) -> np.ndarray:
    """A log-mel spectrogram with evenly spaced frames of 512 samples (Hann window), however long the recording is.

    Args:
        samples: (samples,).
        rate: Samples per second.
        columns: The maximum number of frames; short recordings have one per 10 ms.
        mels: Bands of the mel scale (Slaney's), from 0 Hz to half the rate.

    Returns:
        float32 of shape (mels, columns), from 0 for 60 dB below the loudest to 1 for the loudest; the lowest band first.

    Example:
        >>> tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
        >>> bands = spectrogram(tone, 16_000, 1000)
        >>> bands.shape, int(bands[:, 50].argmax())  # 440 Hz
        ((80, 100), 11)
    """
    from notebook_kit.processing.audio.spectrograms import mel_filters  # which loads torch

    columns = max(1, min(columns, len(samples) * 100 // rate))
    padded = np.pad(samples.astype(np.float32), N_FFT // 2)
    starts = (np.arange(columns) + 0.5) * len(samples) / columns
    frames = padded[starts.astype(np.int64)[:, None] + np.arange(N_FFT)] * np.hanning(N_FFT).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2  # (columns, N_FFT // 2 + 1)
    bands = np.log10(power @ mel_filters(N_FFT // 2 + 1, mels, rate, 0.0, rate / 2) + 1e-10).T
    return np.clip((bands - bands.max()) / RANGE + 1, 0, 1).astype(np.float32)


def wave_file(samples: np.ndarray, rate: int) -> bytes:
    """A WAV file of 16-bit samples.

    Args:
        samples: (samples,), from -1 to 1.
        rate: Samples per second.

    Example:
        >>> wave_file(np.zeros(8, dtype=np.float32), 16_000)[:4]
        b'RIFF'
    """
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return stream.getvalue()
