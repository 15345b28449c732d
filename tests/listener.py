"""A speech recognizer small enough to be written by hand: it hears three tones, and what its heads attend to is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, models
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit import WhisperFeatureExtractor
from notebook_kit.nn.attention import AttentionSite, attend

RATE = 16_000
SECONDS = 3
"""What the model reads; shorter recordings are padded."""
WORDS = ("low", "mid", "high")
BANDS = (8, 30, 55)
"""The band of the spectrogram, of 80, in which each tone lies."""
HERTZ = (300, 1150, 3300)
TONES = (("low", 0.1, 0.5), ("high", 0.7, 1.1), ("mid", 1.3, 1.7))
"""What is heard in `recording`, with the seconds at which it begins and ends."""
ALIKE, HERE = range(2)
"""The heads of the encoder: moments that sound alike, the moment itself."""
NAMED, FIRST = range(2)
"""The heads of the cross-attention: the moment that a word names, the first moment."""


def recording() -> dict[str, Any]:
    """Two seconds with three tones."""
    time = np.arange(2 * RATE) / RATE
    samples = np.random.default_rng(0).normal(scale=1e-3, size=len(time))
    for word, begin, end in TONES:
        tone = np.sin(2 * np.pi * HERTZ[WORDS.index(word)] * time)
        samples += 0.3 * tone * ((time >= begin) & (time < end))
    return {"array": samples.astype(np.float32), "sampling_rate": RATE}


def extractor() -> WhisperFeatureExtractor:
    """The feature extractor of the model."""
    return WhisperFeatureExtractor(chunk_length=SECONDS)


def vocabulary() -> Tokenizer:
    """The tokenizer of the model."""
    names = ["<s>", *(f" {word}" for word in WORDS), "</s>"]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<s>"))
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    return tokenizer


class Listener(nn.Module):
    """An encoder of 150 frames with two heads, and a decoder whose words look at the tones that they name."""

    main_input_name = "input_features"

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            is_encoder_decoder=True, decoder_start_token_id=0, pad_token_id=0, vocab_size=5, num_labels=2
        )
        self.scale = nn.Parameter(torch.ones(1))
        self.sites = [
            AttentionSite(0, 2, rows="frames"),
            AttentionSite(0, 2, "decoder"),
            AttentionSite(0, 2, "cross", rows="decoder text", columns="frames"),
        ]
        self.sites[1].rows = self.sites[1].columns = "decoder text"

    def heard(self, input_features: Tensor) -> Tensor:
        """How loud each tone is in each frame, from 0 to 1: `(frames, 3)`."""
        frames = F.avg_pool1d(input_features, 2)[0]
        loud = torch.stack([frames[band - 2 : band + 3].amax(0) for band in BANDS], dim=-1)
        return ((loud - frames.min()) / (frames.max() - frames.min())).pow(4)

    def forward(self, input_features: Tensor, decoder_input_ids: Tensor) -> dict[str, Tensor]:
        """Attend; the logits are of the tones that the words look at."""
        x = self.heard(input_features)[None, None] * self.scale  # (1, 1, frames, 3)
        N, T = x.shape[2], decoder_input_ids.shape[1]
        alike, here = -30 * torch.cdist(x[0], x[0]), 20 * torch.eye(N)[None]
        state = attend(torch.cat([alike, here])[None], torch.eye(N)[None, None], x, site=self.sites[0], scale=1.0)
        words = torch.tensor(self.written(input_features)[:T])
        own = torch.eye(5)[decoder_input_ids][:, None]
        attend(own, own, own, site=self.sites[1])
        named = 12 * torch.eye(5, 3)[(words - 1).clamp(0, 4)] @ x[0, 0].T  # (T, N)
        first = 20 * (torch.arange(N) == 0).float().expand(T, N)
        place = torch.eye(N).expand(1, 2, N, N)
        seen = attend(torch.stack([named, first])[None], place, state, site=self.sites[2], scale=1.0)
        return {"logits": F.pad(seen.mean(1), (1, 1))}

    def written(self, input_features: Tensor) -> list[int]:
        """The words in the order in which they are heard, and the token that ends them."""
        loudest = self.heard(input_features).max(-1)
        order = [int(word) + 1 for value, word in zip(*loudest, strict=True) if value > 0.4]
        return [word for i, word in enumerate(order) if not i or order[i - 1] != word] + [4]

    def generate(self, input_features: Tensor, **options: Any) -> Tensor:
        """The tokens, `(1, tokens)`."""
        return torch.tensor([[0, *self.written(input_features)]])
