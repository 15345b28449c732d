"""Batches of clips for the Trainer: each has its own random numbers, so that an interrupted training continues with the same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset

from notebook_kit.processing.audio.extractor import mask_of, normalized
from notebook_kit.recipes.shared import train_in_order
from notebook_kit.recipes.voices_data import Clip
from notebook_kit.recipes.voices_rooms import SPEEDS, padded, recorded

__all__ = ["Batches", "Collate", "as_recorded", "sound_batch", "trained"]

Collate = Callable[[Sequence[np.ndarray], Sequence[str], np.random.Generator], Mapping[str, Tensor]]

ALIKE = 4
"""A batch is drawn from this many times as many clips of similar lengths, so that little of it is padding."""


class Batches(Dataset[Mapping[str, Tensor]]):
    """One batch per step, of clips in random rooms.

    Args:
        clips: What to choose from.
        collate: From samples, texts and a source of random numbers to the inputs of the model.
        seed: Of all random numbers.
        steps, size: Number of batches, and of clips in each.
        hardness: Of the first and of the last recordings; between them it grows evenly. Above 1 it counts as 1.
        margins: Seconds of silence before and after each clip; random ones by default.
        speeds: The lowest and the highest; those of `recorded` by default.
        tight: How often a clip begins, or ends, without silence.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        collate: Collate,
        seed: int,
        steps: int,
        size: int,
        hardness: tuple[float, float] = (1.0, 1.0),
        margins: tuple[float, float] | None = None,
        speeds: tuple[float, float] = SPEEDS,
        tight: float = 0.0,
    ) -> None:
        self.clips = sorted(clips, key=lambda clip: len(clip.samples))
        self.collate, self.seed, self.steps, self.size = collate, seed, steps, size
        self.hardness, self.margins, self.speeds, self.tight = hardness, margins, speeds, tight

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Mapping[str, Tensor]:
        chance = np.random.default_rng([self.seed, step])
        width = min(ALIKE * self.size, len(self.clips))
        begin = int(chance.integers(0, len(self.clips) - width + 1))
        chosen = [self.clips[begin + place] for place in chance.choice(width, min(self.size, width), replace=False)]
        first_one, last_one = self.hardness
        hardness = min(1.0, first_one + (last_one - first_one) * step / self.steps)
        samples = [recorded(clip.samples, chance, hardness, self.margins, self.speeds, self.tight) for clip in chosen]
        return self.collate(samples, [clip.text for clip in chosen], chance)


def trained(model: nn.Module, batches: Sequence[Batches], rate: float, folder: Path, kept: Path) -> nn.Module:
    """Train a model on batches, or load the weights that an earlier call kept.

    Args:
        model: The model, with its initial weights.
        batches: What it learns from, in this order.
        rate: The highest learning rate; it falls to 0 along a cosine.
        folder: Of checkpoints, from which an interrupted training continues.
        kept: The file of the final weights.
    """
    if kept.exists():
        model.load_state_dict(torch.load(kept, weights_only=True))
        return model.eval()
    train_in_order(model, ConcatDataset(batches), rate, folder, batches[0].seed)
    torch.save(model.state_dict(), kept)
    return model.eval()


def sound_batch(samples: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """What a Wav2Vec2 reads: `input_values`, each clip with a mean of 0 and a variance of 1, padded, and `attention_mask`.

    Example:
        >>> batch = sound_batch([np.ones(3), np.arange(2.0)])
        >>> batch["input_values"].shape, batch["attention_mask"].tolist()
        (torch.Size([2, 3]), [[1, 1, 1], [1, 1, 0]])
    """
    lengths = [len(wave) for wave in samples]
    return {
        "input_values": torch.from_numpy(padded([normalized(wave) for wave in samples])),
        "attention_mask": torch.from_numpy(mask_of(lengths, max(lengths))),
    }


def as_recorded(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """The clips, each once in a random room: what a test hears, the same for all models."""
    chance = np.random.default_rng(seed)
    return [Clip(clip.text, clip.voice, (32767 * recorded(clip.samples, chance)).astype(np.int16)) for clip in clips]
