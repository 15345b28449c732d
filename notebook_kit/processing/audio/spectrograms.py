"""Spectrograms on torch: mel filters, Whisper's log-mel spectrogram, and Kaldi's filter banks."""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
import torch

__all__ = ["kaldi_fbank", "log_mel", "mel_filters"]

_PREEMPHASIS = 0.97
_KALDI_FLOOR = 1.192092955078125e-07  # the epsilon of float32
_LOG_FLOOR = 1e-10


def _slaney(hertz: np.ndarray) -> np.ndarray:
    """Slaney's mel scale: linear up to 1 kHz, logarithmic above."""
    linear = hertz * 3 / 200
    return np.where(hertz < 1000, linear, 15 + np.log(np.maximum(hertz, 1) / 1000) * 27 / math.log(6.4))


def _from_slaney(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * math.log(6.4) / 27))


def _kaldi(hertz: np.ndarray) -> np.ndarray:
    return 1127 * np.log1p(hertz / 700)


@functools.lru_cache(maxsize=32)
def mel_filters(
    bins: int, mels: int, rate: int, low: float, high: float, scale: Literal["slaney", "kaldi"] = "slaney"
) -> np.ndarray:
    """Triangular filters from frequencies to mels.

    Args:
        bins: Frequencies of the Fourier transform, from 0 to half the sampling rate.
        mels: Filters.
        rate: The sampling rate, in Hz.
        low, high: The range of the filters, in Hz.
        scale: "slaney" as librosa and Whisper have it: triangles over hertz, each of area 1. "kaldi": triangles over mels, each
            of height 1.

    Returns:
        float64 of shape (bins, mels).

    Example:
        >>> mel_filters(201, 80, 16_000, 0, 8000).shape
        (201, 80)
    """
    to_mels = _slaney if scale == "slaney" else _kaldi
    low_mel, high_mel = to_mels(np.array([low, high], dtype=np.float64))
    corners = np.linspace(low_mel, high_mel, mels + 2)
    if scale == "slaney":
        corners, places = _from_slaney(corners), np.linspace(0, rate // 2, bins)
    else:
        places = _kaldi(np.arange(bins) * rate / ((bins - 1) * 2))
    widths = np.diff(corners)
    slopes = corners[None, :] - places[:, None]
    filters = np.maximum(0, np.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]))
    return filters * (2 / (corners[2:] - corners[:-2])) if scale == "slaney" else filters


def log_mel(
    samples: torch.Tensor, filters: torch.Tensor, n_fft: int, hop_length: int, lengths: list[int] | None = None
) -> torch.Tensor:
    """Whisper's log-mel spectrogram: the power of a short-time Fourier transform (Hann window, centred frames), its mels as
    log10, limited to 8 below the loudest of each recording, and scaled to about -1..1.

    Args:
        samples: (recordings, samples).
        filters: (mels, n_fft // 2 + 1).
        n_fft, hop_length: In samples.
        lengths: From where each recording is followed by zeros only, which need not be transformed.

    Returns:
        float32 of shape (recordings, mels, samples // hop_length).
    """
    T = samples.shape[1]
    frames = T // hop_length
    # two windows after the longest recording, frames hear only zeros
    heard = min(T, (max(lengths) + 2 * n_fft) // hop_length * hop_length) if lengths else T
    window = torch.hann_window(n_fft, device=samples.device)
    spectrum = torch.stft(samples[:, : heard + n_fft], n_fft, hop_length, window=window, return_complex=True)
    spectrum = spectrum[..., : heard // hop_length]  # (B, bins, frames heard)
    parts = torch.view_as_real(spectrum).transpose(1, 2)  # (B, frames, bins, 2), as stft lays it out in memory
    power = parts[..., 0].square() + parts[..., 1].square()  # several times faster than a sum over the last axis
    mels = (power @ filters.T).transpose(1, 2).contiguous().clamp_(min=_LOG_FLOOR).log10_()  # (B, mels, frames)
    if mels.shape[-1] < frames:
        mels = torch.nn.functional.pad(mels, (0, frames - mels.shape[-1]), value=math.log10(_LOG_FLOOR))
    loudest = mels.amax(dim=(1, 2), keepdim=True)
    return torch.maximum(mels, loudest - 8).add_(4).div_(4)


def kaldi_fbank(samples: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Kaldi's log filter banks at 16 kHz: frames of 400 samples every 160, without their mean, with pre-emphasis and a Hann
    window; a Fourier transform of 512.

    Args:
        samples: (samples,). Fewer than 400 are followed by zeros.
        filters: (257, mels), float64.

    Returns:
        float32 of shape (frames, mels).

    Example:
        >>> filters = torch.from_numpy(mel_filters(257, 128, 16_000, 20, 8000, "kaldi"))
        >>> kaldi_fbank(torch.zeros(16_000), filters).shape
        torch.Size([98, 128])
    """
    samples = samples.double()
    if samples.shape[0] < 400:
        samples = torch.nn.functional.pad(samples, (0, 400 - samples.shape[0]))
    frames = samples.unfold(0, 400, 160)  # (frames, 400)
    frames = frames - frames.mean(dim=1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    frames = (frames - _PREEMPHASIS * before) * torch.hann_window(400, periodic=False, dtype=torch.float64)
    power = torch.view_as_real(torch.fft.rfft(frames, n=512)).square_().sum(dim=-1)  # (frames, 257)
    return (power @ filters).clamp_(min=_KALDI_FLOOR).log_().float()
