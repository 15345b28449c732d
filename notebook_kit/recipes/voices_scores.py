"""What the models of sound are measured with: word error rate, and two baselines that learn nothing but templates.

Both baselines compare log-mel spectrograms of which the mean over time is subtracted, which removes most of what a microphone or a
telephone does to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from notebook_kit.processing.audio.spectrograms import log_mel, mel_filters
from notebook_kit.recipes.voices_data import RATE, Clip

__all__ = [
    "centroid_accuracy",
    "edits",
    "error_rate",
    "nearest_template",
    "nearest_words",
    "spectrogram",
    "warped_distances",
]

_MELS = 40


def edits(reference: Sequence[object], found: Sequence[object]) -> int:
    """The fewest insertions, deletions and replacements between two sequences (Levenshtein).

    Example:
        >>> edits("kitten", "sitting")
        3
    """
    row = list(range(len(found) + 1))
    for i, wanted in enumerate(reference, 1):
        above, row = row, [i]
        for j, given in enumerate(found, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (wanted != given)))
    return row[-1]


def error_rate(references: Iterable[str], found: Iterable[str]) -> float:
    """The word error rate: edits between words, divided by the number of words of the references.

    Example:
        >>> error_rate(["turn on the light"], ["turn the light"])
        0.25
    """
    pairs = [(reference.split(), text.split()) for reference, text in zip(references, found, strict=True)]
    return sum(edits(*pair) for pair in pairs) / sum(len(reference) for reference, _ in pairs)


def nearest_words(text: str, words: Sequence[str]) -> str:
    """A text in which each word is replaced by the known word that needs the fewest edits.

    Example:
        >>> nearest_words("turn onn te lite", ["light", "on", "the", "turn"])
        'turn on the light'
    """
    return " ".join(min(words, key=lambda known: edits(known, word)) for word in text.split())


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Log-mels of the part of a clip that is not silent, without their mean: float32 of shape (frames of 10 ms, 40)."""
    sound = torch.from_numpy(samples.astype(np.float32))[None]
    sound = sound / sound.abs().max().clamp(min=1e-6)
    filters = torch.from_numpy(mel_filters(201, _MELS, RATE, 0.0, 8000.0).T).float()
    mels = log_mel(sound, filters, 400, 160)[0].T.numpy()  # (frames, mels)
    loudness = mels.mean(axis=1)
    loud = np.flatnonzero(loudness > loudness.min() + 0.25 * np.ptp(loudness))
    mels = mels[loud[0] : loud[-1] + 1] if len(loud) else mels
    return mels - mels.mean(axis=0)


def centroid_accuracy(learned: Sequence[Clip], asked: Sequence[Clip], pieces: int = 5) -> float:
    """The accuracy of the nearest centroid: mean log-mels of `pieces` equal parts of each clip, averaged over each word's clips.

    Args:
        learned: Clips of known words.
        asked: Clips to recognize.
        pieces: Parts of a clip, so that order counts; with 1, only the mean spectrum does.
    """

    def vector(clip: Clip) -> np.ndarray:
        mels = spectrogram(clip.samples)
        return np.concatenate([part.mean(axis=0) if len(part) else mels[0] for part in np.array_split(mels, pieces)])

    words = sorted({clip.text for clip in learned})
    vectors = np.stack([vector(clip) for clip in learned])
    texts = np.array([clip.text for clip in learned])
    centroids = np.stack([vectors[texts == word].mean(axis=0) for word in words])
    found = [words[np.square(centroids - vector(clip)).sum(axis=1).argmin()] for clip in asked]
    return float(np.mean([word == clip.text for word, clip in zip(found, asked, strict=True)]))


def nearest_template(templates: Sequence[Clip], asked: Sequence[Clip]) -> list[str]:
    """The text of the template whose spectrogram is nearest by dynamic time warping (Sakoe and Chiba, 1978)."""
    patterns = [spectrogram(clip.samples)[::2] for clip in templates]
    found = []
    for clip in asked:
        distances = warped_distances(spectrogram(clip.samples)[::2], patterns)
        found.append(templates[int(distances.argmin())].text)
    return found


def warped_distances(pattern: np.ndarray, templates: Sequence[np.ndarray]) -> np.ndarray:
    """The distances of dynamic time warping between a pattern and templates, each divided by the two lengths.

    Args:
        pattern: (frames, bands).
        templates: Each (its frames, bands).

    Returns:
        float64 of shape (templates,).

    Example:
        >>> slow, fast = np.repeat(np.eye(3), 4, axis=0), np.eye(3)
        >>> warped_distances(slow, [fast, fast[::-1]]).round(2).tolist()
        [0.0, 0.75]
    """
    lengths = np.array([len(template) for template in templates])
    N, T = len(templates), int(lengths.max())
    batch = np.zeros((N, T, pattern.shape[1]))
    for row, template in zip(batch, templates, strict=True):
        row[: len(template)] = template
    # costs (N, frames of the pattern, frames of the template)
    squares = np.square(pattern).sum(-1)[None, :, None] + np.square(batch).sum(-1)[:, None]
    costs = np.sqrt(np.maximum(squares - 2 * np.einsum("if,njf->nij", pattern, batch), 0))
    above = np.full((N, T + 1), np.inf)
    above[:, 0] = 0
    for i in range(len(pattern)):
        row = np.full((N, T + 1), np.inf)
        before = np.minimum(above[:, 1:], above[:, :-1])
        for j in range(T):
            row[:, j + 1] = costs[:, i, j] + np.minimum(before[:, j], row[:, j])
        above = row
    return above[np.arange(N), lengths] / (len(pattern) + lengths)
