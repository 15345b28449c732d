"""The spectrograms of a batch of recordings, read stretch by stretch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from notebook_kit.errors import InputError, a_kind
from notebook_kit.nn.many_rows import fast_products

__all__ = ["Recordings"]

_LAYERS = ("attentions", "hidden_states")


class Recordings:
    """The spectrograms of a batch, and how far each is transcribed.

    Attributes:
        seek: For each recording the frame at which the next stretch begins.
        ends: For each recording the number of its frames.
        sound: For each recording the number of frames that are not padding; None if unknown.
        stride: Frames per state of the encoder.
        window: Frames that the encoder reads at once.
        wanted: What the encoder returns beside its states, such as `{"output_attentions": True}`.
        layers: Of the stretches that were encoded last: `attentions` and `hidden_states`, if wanted, with a tensor
            `(rows, ...)` per layer.
    """

    def __init__(
        self,
        model: Any,
        features: Tensor | None,
        encoder_outputs: Any,
        attention_mask: Tensor | None,
        num_frames: Any = None,
    ) -> None:
        if (features is None) == (encoder_outputs is None):
            raise InputError(
                f"generate needs spectrograms or the encoder's output, and got {'neither' if features is None else 'both'}.",
                next_step="Call model.generate(**feature_extractor(samples, sampling_rate=16000, return_tensors='pt')).",
            )
        self.model, self.stride = model, 2
        self.window = self.stride * model.config.max_source_positions
        self.states = None if encoder_outputs is None else encoder_outputs[0].to(model.device)
        if features is not None and (not isinstance(features, Tensor) or features.dim() != 3):
            what = f"of shape {tuple(features.shape)}" if isinstance(features, Tensor) else a_kind(features)
            raise InputError(
                f"input_features is {what}; expected a tensor (batch, bands, frames).",
                next_step="Call the feature extractor with return_tensors='pt'.",
            )
        self.features = None if features is None else features.to(model.device)
        rows = len(features if self.states is None else self.states)  # type: ignore[arg-type]
        frames = self.states.shape[1] * self.stride if features is None else features.shape[-1]  # type: ignore[union-attr]
        self.is_long = frames > self.window
        self.sound = (
            _counts(num_frames, rows)
            if attention_mask is None
            else torch.as_tensor(attention_mask).sum(dim=-1).tolist()
        )
        if self.is_long and rows > 1 and self.sound is None:
            raise InputError(
                "Several long recordings came without attention_mask, which tells where each ends.",
                next_step="Call the feature extractor with return_attention_mask=True, and pass all of its output.",
            )
        self.seek = [0] * rows
        self.ends = list(self.sound) if self.is_long and rows > 1 and self.sound else [frames] * rows
        self._first: Tensor | None = None
        self.wanted: dict[str, bool] = {}
        given = encoder_outputs if isinstance(encoder_outputs, dict) else {}
        self._given_layers = _layers_of(given)
        self.layers: dict[str, tuple[Tensor, ...]] = {}

    def __len__(self) -> int:
        return len(self.seek)

    @property
    def rows(self) -> list[int]:
        """The recordings that are not at their end."""
        return [row for row, (seek, end) in enumerate(zip(self.seek, self.ends, strict=True)) if seek < end]

    def repeat(self, copies: int) -> None:
        """Transcribe each recording several times."""
        for name in ("features", "states", "_first"):
            if (value := getattr(self, name)) is not None:
                setattr(self, name, value.repeat_interleave(copies, dim=0))
        for layers in (self._given_layers, self.layers):
            for name, values in layers.items():
                layers[name] = tuple(one.repeat_interleave(copies, dim=0) for one in values)
        for name in ("seek", "ends", "sound"):
            if (value := getattr(self, name)) is not None:
                setattr(self, name, [one for one in value for _ in range(copies)])

    def frames_left(self, row: int) -> int:
        """Frames of the next stretch."""
        return min(self.ends[row] - self.seek[row], self.window)

    def encoded(self, rows: list[int]) -> Tensor:
        """The encoder's states of the next stretch of these recordings, `(rows, states, width)`."""
        if self.states is not None:
            self.layers = {name: tuple(one[rows] for one in values) for name, values in self._given_layers.items()}
            return self.states[rows]
        is_first = not any(self.seek) and len(rows) == len(self)
        if is_first and self._first is not None:  # already read, to detect the language
            return self._first
        encoder, features = self.model.get_encoder(), self.stretch(rows)
        with fast_products(encoder, (features,), self.wanted):
            out = encoder(features, **self.wanted)
        states = out.last_hidden_state
        self.layers = _layers_of(out)
        self._first = states if is_first else None
        return states

    def stretch(self, rows: list[int]) -> Tensor:
        """The spectrograms of the next stretch of these recordings, padded to what the encoder reads."""
        assert self.features is not None
        parts = []
        for row in rows:
            begin = self.seek[row]
            part = self.features[row, :, begin : begin + self.frames_left(row)]
            parts.append(F.pad(part, (0, self.window - part.shape[-1])))
        return torch.stack(parts)


def _layers_of(output: Mapping[str, Any]) -> dict[str, tuple[Tensor, ...]]:
    return {name: output[name] for name in _LAYERS if output.get(name) is not None}


def _counts(num_frames: Any, rows: int) -> list[int] | None:
    """The frames of sound of each recording; one number counts for all."""
    if num_frames is None:
        return None
    try:
        counts = torch.as_tensor(num_frames).flatten().tolist()
    except (TypeError, ValueError, RuntimeError):
        counts = []
    if len(counts) == 1:
        counts *= rows
    if len(counts) != rows or not all(
        isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in counts
    ):
        raise InputError(
            f"num_frames is {num_frames!r}, for {rows} recordings.",
            next_step="Pass the frames of sound of each recording, or attention_mask from the feature extractor.",
        )
    return counts
