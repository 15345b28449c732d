"""A recording as an input from which attention is read: what the model heard, and when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import Axis
from notebook_kit.inspection.attention.samples import Notice, Sample, one_of
from notebook_kit.inspection.attention.sound_axes import Frames, SoundPatches
from notebook_kit.inspection.attention.written import writes, written
from notebook_kit.inspection.drawing.heat_maps import palette
from notebook_kit.inspection.sounds import spectrogram
from notebook_kit.nn.inputs import inputs_of
from notebook_kit.processing.audio.auto import AutoFeatureExtractor
from notebook_kit.processing.audio.loading import load_audio
from notebook_kit.processing.text.auto import AutoTokenizer

__all__ = ["LONGEST", "reads_sounds", "sound_sample"]

LONGEST = 30.0
"""Seconds of a recording that are read: 1,500 frames of 20 ms, so that the attention of a layer fits in memory."""
COLUMNS = 1000
"""The maximum width of the spectrogram that is shown, in pixels."""
STEP = 0.01
"""Seconds from one frame of a log-mel spectrogram to the next, in all feature extractors."""
RATE = 16_000


def reads_sounds(model: Any) -> bool:
    """Whether the main input of a model, of this library or of `transformers`, is sound.

    Example:
        >>> from notebook_kit import ASTConfig, ASTModel
        >>> tiny = ASTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, max_length=64)
        >>> reads_sounds(ASTModel(tiny)), reads_sounds("a text")
        (True, False)
    """
    return isinstance(model, nn.Module) and inputs_of(model).main in ("input_values", "input_features")


def sound_sample(model: nn.Module, recording: Any, feature_extractor: Any = None, tokenizer: Any = None) -> Sample:
    """Make a sample from a recording.

    Its axes are in seconds, with a spectrogram. What an encoder-decoder writes is the axis of its decoder.

    Args:
        model: The model that will read it.
        recording: A recording in any form that `load_audio` takes, or what the feature extractor or the processor returns for
            one recording; only the first 30 seconds are read.
        feature_extractor: The model's; by default that of the checkpoint that the model was loaded from.
        tokenizer: For what an encoder-decoder writes; by default that of the checkpoint.

    Raises:
        InputError: If the recording cannot be read, or the feature extractor or the tokenizer is needed but unknown.

    Example:
        >>> from notebook_kit import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model
        >>> model = Wav2Vec2Model(Wav2Vec2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2))
        >>> noise = {"array": np.random.default_rng(0).normal(size=8000), "sampling_rate": 8000}
        >>> sample = sound_sample(model, noise, Wav2Vec2FeatureExtractor())
        >>> sample.axis("frames", 49).labels[:3]
        ('0.00 s', '0.02 s', '0.04 s')
    """
    main = inputs_of(model).main
    if isinstance(recording, Mapping) and main in recording:
        features = one_of(recording, 0, dimensions=1 if _reads_samples(model) else 2)
        recorded, samples = _recorded(features[main][0], features.get("attention_mask")), None
    else:
        extractor = feature_extractor if feature_extractor is not None else _processor_of(model, "feature extractor")
        samples = load_audio(recording, extractor.sampling_rate)
        features = one_of(
            extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt"),
            0,
            dimensions=1 if _reads_samples(model) else 2,
        )
        recorded = len(samples) / extractor.sampling_rate
    features, notices = _cut(features, main, recorded)
    axes: dict[str, Axis] = _axes(model, features[main][0], min(recorded, LONGEST))
    if writes(model):
        if tokenizer is None:
            tokenizer = _processor_of(model, "tokenizer")
        features["decoder_input_ids"], axes["decoder text"] = written(model, features, tokenizer)
    features.pop("labels", None)
    return Sample(features, axes, notices)


def _reads_samples(model: nn.Module) -> bool:
    """Whether the model reads samples rather than a spectrogram."""
    return inputs_of(model).main == "input_values" and not hasattr(getattr(model, "config", None), "num_mel_bins")


def _processor_of(model: nn.Module, part: str) -> Any:
    """The feature extractor or the tokenizer of the checkpoint that a model was loaded from.

    Raises:
        InputError: If the model was not loaded by name.
    """
    config = getattr(model, "config", None)
    name = getattr(config, "name_or_path", "") or getattr(config, "_name_or_path", "")
    if not name:
        raise InputError(
            f"{type(model).__name__} was not loaded by name, so its {part} is unknown.",
            next_step="Pass processor=..., or a pipeline, which has one.",
        )
    return (AutoFeatureExtractor if part == "feature extractor" else AutoTokenizer).from_pretrained(name)


def _recorded(values: Tensor, mask: Tensor | None) -> float:
    """The seconds of features that are not padding: `(samples,)`, `(bands, frames)` or `(frames, bands)`."""
    step = 1 / RATE if values.dim() == 1 else STEP
    if mask is not None:
        return float(mask[0].sum()) * step
    if values.dim() == 1:
        return len(values) * step
    is_centred = (
        values.shape[0] < values.shape[1]
    )  # Whisper's windows are centred at their frames: two reach beyond the end
    bands = values if is_centred else values.T
    varies = (bands.amax(0) - bands.amin(0)) > 1e-5  # padding has one value in all bands
    heard = varies.nonzero()
    if not len(heard) or int(heard[-1]) == bands.shape[1] - 1:
        return bands.shape[1] * step
    return max(1, int(heard[-1]) + (-1 if is_centred else 1)) * step


def _cut(features: dict[str, Tensor], main: str, recorded: float) -> tuple[dict[str, Tensor], tuple[Notice, ...]]:
    """The features of the first half minute, and a notice if there was more. (Spectrograms are cut by their extractors.)"""
    if recorded <= LONGEST:
        return features, ()
    if features[main].dim() == 2:
        length = round(LONGEST * RATE)
        features = {
            name: values[:, :length] if values.dim() == 2 and name != "labels" else values
            for name, values in features.items()
        }
    return features, (("notice_sound_cut", {"seconds": round(LONGEST), "all": round(recorded)}),)


# Its axes ------------------------------------------------------------------------------------------------------------


def _axes(model: nn.Module, values: Tensor, recorded: float) -> dict[str, Axis]:
    """The axis of the encoder, by its name in `AttentionSite`."""
    config: Any = getattr(model, "config", None)
    if values.dim() == 1:
        picture = _coloured(spectrogram(values.numpy(), RATE, COLUMNS))
        samples = math.prod(getattr(config, "conv_stride", None) or [320])
        return {"frames": Frames(len(values) // samples, samples / RATE, 0.0, picture, recorded, is_exact=True)}
    if inputs_of(model).main == "input_features":
        total = values.shape[1] * STEP
        recorded = min(recorded, total)
        return {"frames": Frames(1, total, 0.0, _picture_of(values, recorded), recorded)}
    bands = values.T  # (bands, frames)
    recorded = min(recorded, bands.shape[1] * STEP)
    return {"patches": _patches(config, bands, recorded)}


def _patches(config: Any, bands: Tensor, recorded: float) -> SoundPatches:
    """The grid of AST, whose patches overlap: each is shown from the middle between it and the one before it."""
    B, T = bands.shape
    heights = _edges(B, config.patch_size, config.frequency_stride)
    times = _edges(T, config.patch_size, config.time_stride)
    # Bands are evenly spaced between 20 Hz and half the rate on the mel scale (O'Shaughnessy, 1987).
    low, high = (1127 * math.log(1 + one / 700) for one in (20, RATE / 2))
    hertz = tuple(700 * (math.exp((low + (high - low) * edge / B) / 1127) - 1) for edge in heights)
    return SoundPatches(
        len(heights) - 1,
        len(times) - 1,
        _picture_of(bands, recorded),
        ("[CLS]", "[DIST]"),
        times=tuple(edge * STEP for edge in times),
        hertz=hertz,
        heights=tuple(edge / B for edge in heights),
        recorded=recorded,
    )


def _edges(size: int, patch: int, stride: int) -> list[float]:
    """Where the patches along a side begin and end: from 0 to the side."""
    count = (size - patch) // stride + 1
    return [0.0, *(i * stride + (patch - stride) / 2 for i in range(1, count)), float(size)]


def _picture_of(bands: Tensor, recorded: float) -> Image.Image:
    """The recorded part of a log-mel spectrogram, `(bands, frames)`."""
    heard = bands[:, : max(1, round(recorded / STEP))].float()
    low, high = torch.quantile(heard[:, :: max(1, heard.shape[1] // 500)], 0.02), heard.max()
    return _coloured(((heard - low) / (high - low).clamp_min(1e-6)).clamp(0, 1).numpy())


def _coloured(bands: np.ndarray) -> Image.Image:
    """A spectrogram from 0 to 1, `(bands, columns)` with the lowest band first, as a picture with it at the bottom."""
    image = Image.fromarray(palette(False)[(np.flipud(bands) * 255).astype(np.uint8)])
    return image if image.width <= COLUMNS else image.resize((COLUMNS, image.height), Image.Resampling.BOX)
