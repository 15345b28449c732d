"""Spectrograms on torch: mel filters, Whisper's log-mel spectrogram, and Kaldi's filter banks."""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

__all__ = ["kaldi_fbank", "log_mel", "mel_filters"]

_PREEMPHASIS = 0.97
_KALDI_FLOOR = 1.192092955078125e-07  # the epsilon of float32
_LOG_FLOOR = 1e-10
_BLOCK = 500  # frames, whose spectra stay in the processor's cache
_BAND = 16  # mels; most filters cover few frequencies, so products in bands of them are several times as fast


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
    B, T = samples.shape
    frames, half = T // hop_length, n_fft // 2
    window = torch.hann_window(n_fft, device=samples.device)
    if half >= T:
        padded = F.pad(samples[:, None], (half, half), mode="reflect")[:, 0]  # torch's error
    else:  # several times as fast
        padded = torch.cat((samples[:, 1 : half + 1].flip(1), samples, samples[:, T - half - 1 : T - 1].flip(1)), dim=1)
    stretches = padded.unfold(1, n_fft, hop_length)[:, :frames]  # (B, frames, n_fft), which overlap in memory
    mels = samples.new_full((B, len(filters), frames), _LOG_FLOOR)
    bands = _bands(filters)
    for row in range(B):
        heard = (
            min(frames, (lengths[row] + n_fft) // hop_length + 1) if lengths else frames
        )  # later ones hear only zeros
        for start in range(0, heard, _BLOCK):
            block = slice(start, min(start + _BLOCK, heard))
            parts = torch.view_as_real(torch.fft.rfft(stretches[row, block] * window))  # (block, bins, 2)
            power = parts[..., 0].square().addcmul_(parts[..., 1], parts[..., 1])
            for part, bins in bands:
                mels[row, part, block] = filters[part, bins] @ power[:, bins].T
    mels.clamp_(min=_LOG_FLOOR).log10_()
    loudest = mels.amax(dim=(1, 2), keepdim=True)
    return torch.maximum(mels, loudest - 8, out=mels).add_(4).div_(4)


def _bands(filters: torch.Tensor) -> list[tuple[slice, slice]]:
    """Groups of neighbouring mels, and the range of frequencies outside of which their filters are zero."""
    bands = []
    for start in range(0, len(filters), _BAND):
        part = slice(start, start + _BAND)
        used = filters[part].any(dim=0).nonzero().flatten().tolist() or [0]
        bands.append((part, slice(used[0], used[-1] + 1)))
    return bands


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
        samples = F.pad(samples, (0, 400 - samples.shape[0]))
    frames = samples.unfold(0, 400, 160)  # (frames, 400)
    frames = frames - frames.mean(dim=1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    frames = (frames - _PREEMPHASIS * before) * torch.hann_window(400, periodic=False, dtype=torch.float64)
    power = torch.view_as_real(torch.fft.rfft(frames, n=512)).square_().sum(dim=-1)  # (frames, 257)
    return (power @ filters).clamp_(min=_KALDI_FLOOR).log_().float()
