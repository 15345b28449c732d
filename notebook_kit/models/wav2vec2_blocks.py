"""Building blocks of Wav2Vec2, which HuBERT shares: settings, convolutions over samples, positions from a convolution, the encoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, InputError, a_kind
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.frame_convolutions import (
    convolved,
    group_convolved,
    is_bare_call,
    is_fast_call,
    is_fast_group_call,
    is_usual,
    laid_out,
    normalized_convolved,
    type_for,
    with_norm,
)
from notebook_kit.nn.layers import (
    activated,
    activation,
    merge_heads,
    recording,
    run_layers,
    split_heads,
    without_dropped,
)
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.row_counts import in_parts, padding

__all__ = [
    "FeatureEncoder",
    "FrameAdapter",
    "FrameEncoder",
    "FrameEncoderConfig",
    "check_samples",
    "frames_after",
    "is_sound",
]


# The settings ----------------------------------------------------------------------------------------------------------


class FrameEncoderConfig(PretrainedConfig):
    """The settings that Wav2Vec2 and HuBERT share; `Wav2Vec2Config` describes them."""

    vocab_size: Rows = 32
    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout: Fraction = 0.1
    activation_dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    feat_proj_dropout: Fraction = 0.0
    final_dropout: Fraction = 0.1
    layerdrop: Fraction = 0.1
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-5
    feat_extract_norm: str = "group"
    feat_extract_activation: Activation = "gelu"
    conv_dim: list[Size] = field(default_factory=lambda: [512] * 7)
    conv_stride: list[Size] = field(default_factory=lambda: [5, 2, 2, 2, 2, 2, 2])
    conv_kernel: list[Size] = field(default_factory=lambda: [10, 3, 3, 3, 3, 2, 2])
    conv_bias: bool = False
    num_conv_pos_embeddings: Size = 128
    num_conv_pos_embedding_groups: Size = 16
    do_stable_layer_norm: bool = False
    apply_spec_augment: bool = True
    mask_time_prob: Fraction = 0.05
    mask_time_length: Size = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: Fraction = 0.0
    mask_feature_length: Size = 10
    mask_feature_min_masks: int = 0
    ctc_loss_reduction: Literal["mean", "sum", "none"] = "sum"
    ctc_zero_infinity: bool = False
    use_weighted_layer_sum: bool = False
    classifier_proj_size: Size = 256
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples per frame: the product of the strides."""
        return math.prod(self.conv_stride)

    @property
    def num_feat_extract_layers(self) -> int:
        """Number of convolutions."""
        return len(self.conv_dim)

    @property
    def state_width(self) -> int:
        """Width of the states that a head reads."""
        return self.hidden_size

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that the convolutions agree.

        Raises:
            ConfigurationError: If their fields have different lengths, or the norm is unknown.
        """
        super().validate()
        lengths = {name: len(getattr(self, name)) for name in ("conv_dim", "conv_stride", "conv_kernel")}
        if len(set(lengths.values())) > 1 or not lengths["conv_dim"]:
            raise ConfigurationError(
                f"{type(self).__name__}: {', '.join(f'{name} has {n} entries' for name, n in lengths.items())}.",
                next_step="Pass one entry per convolution in each of the three.",
            )
        if self.feat_extract_norm not in ("group", "layer"):
            raise ConfigurationError(
                f'feat_extract_norm is {self.feat_extract_norm!r}; expected "group" or "layer".',
                next_step='Pass "group" for one norm after the first convolution, "layer" for one after each.',
            )


# From samples to frames ------------------------------------------------------------------------------------------------


def frames_after(samples: Any, kernels: Sequence[int], strides: Sequence[int]) -> Any:
    """Number of frames that a stack of convolutions makes of a number of samples, or of a tensor of them.

    Example:
        >>> frames_after(16_000, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
        49
    """
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def check_samples(input_values: Any, config: Any) -> None:
    """Check the shape and the type of a batch of waveforms.

    Raises:
        InputError: If it is not `(batch, samples)`, has whole numbers, or is too short for a single frame.
    """
    if not isinstance(input_values, Tensor) or input_values.dim() != 2:
        given = (
            f"has shape {tuple(input_values.shape)}"
            if isinstance(input_values, Tensor)
            else "is missing"
            if input_values is None
            else f"is {a_kind(input_values)}"
        )
        raise InputError(
            f"input_values {given}; expected a tensor (batch, samples).",
            next_step="Call model(**feature_extractor(samples, sampling_rate=16000, return_tensors='pt')).",
        )
    if not input_values.is_floating_point():
        raise InputError(
            f"input_values has the type {str(input_values.dtype).removeprefix('torch.')}, which are samples as in a file.",
            next_step="Call model(**feature_extractor(samples, sampling_rate=16000, return_tensors='pt')), which scales them.",
        )
    samples = input_values.shape[1]
    if frames_after(samples, config.conv_kernel, config.conv_stride) < 1:
        fewest = 1
        for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
            fewest = (fewest - 1) * stride + kernel
        raise InputError(
            f"The input has {samples} samples, and this model needs {fewest} for its first frame.",
            next_step=f"Leave shorter recordings out, or pad them to {fewest} samples.",
        )


def is_sound(frames: Tensor, width: int) -> Tensor:
    """Which frames are not padding: `(batch, width)` of True and False, from the number of frames of each row."""
    return torch.arange(width, device=frames.device) < frames.clamp(min=1)[:, None]


class ConvolutionLayer(nn.Module):
    """A convolution over time, a norm if there is one, and the activation: `(batch, channels, time)` to the same."""

    def __init__(self, config, index: int, norm: nn.Module | None) -> None:
        super().__init__()
        inputs = config.conv_dim[index - 1] if index else 1
        kernel, stride = config.conv_kernel[index], config.conv_stride[index]
        self.conv = nn.Conv1d(inputs, config.conv_dim[index], kernel, stride=stride, bias=config.conv_bias)
        if norm is not None:
            self.layer_norm = norm
        self.activation = activation(config.feat_extract_activation)

    def fast(self, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """The same for `(batch, time, channels)`, for which `is_fast_call` holds, and the weight by `laid_out`. The convolution is
        computed in `dtype`, and a norm in float32.
        """
        norm = getattr(self, "layer_norm", None)
        if norm is None:
            return convolved(x, self.conv, self.activation, dtype, weight)
        return self.activation(norm(convolved(x, self.conv, None, dtype, weight).float()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        norm = getattr(self, "layer_norm", None)
        if isinstance(norm, nn.LayerNorm):
            x = norm(x.transpose(1, 2)).transpose(1, 2)
        elif norm is not None:
            x = norm(x)
        return self.activation(x)


# Numbers of samples and of frames that are not padded: oneDNN keeps each compiled convolution.
_exact_samples: set[int] = set()
_exact_positions: set[int] = set()
_exact: set[int] = set()

FRAMES, STEP = 128, 16
"""How many frames are computed at once, and what the rest is padded to a multiple of."""


class FeatureEncoder(nn.Module):
    """A stack of convolutions: samples `(batch, samples)` to `(batch, frames, channels)`; if not `exact`, in bfloat16 where that
    is faster.
    """

    def __init__(self, config) -> None:
        super().__init__()
        layers = []
        for index, channels in enumerate(config.conv_dim):
            norm: nn.Module | None = None
            if config.feat_extract_norm == "layer":
                norm = nn.LayerNorm(channels)
            elif index == 0:
                norm = nn.GroupNorm(channels, channels)  # over time, for each channel
            layers.append(ConvolutionLayer(config, index, norm))
        self.conv_layers = nn.ModuleList(layers)
        self.kernels, self.strides = config.conv_kernel, config.conv_stride
        self.is_local = config.feat_extract_norm == "layer"

    def forward(self, input_values: Tensor, exact: bool = True) -> Tensor:
        layers: Iterable[Any] = self.conv_layers
        T, modules = input_values.shape[1], tuple(self.conv_layers.modules())
        if not is_bare_call(input_values, *modules) or not all(map(_is_usual, layers)):
            x = input_values[:, None]
            for layer in layers:
                x = layer(x)
            return x.transpose(1, 2)
        if is_fast_call(input_values, *modules):
            return self._fast(input_values, type_for(exact))
        # The first frames of each convolution do not depend on zeros after them; a norm over time does.
        x = F.pad(input_values, (0, padding(T, _exact_samples))) if self.is_local else input_values
        x = x[:, None]
        for layer in layers:
            x = layer(x)
        return x[..., : frames_after(T, self.kernels, self.strides)].transpose(1, 2)

    def _fast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The same for samples for which `is_fast_call` holds: a few frames at a time, which are few lengths and little memory.

        All recordings are read as one, each padded to whole frames. The frames that mix two of them are left out.
        """
        B, T = x.shape
        layers: Any = self.conv_layers
        first, kernel, stride = layers[0], self.kernels[0], self.strides[0]
        frames = frames_after(T, self.kernels, self.strides)
        # In frames of the first layer: from one frame of the last to the next, and what one of them depends on.
        hop, seen = math.prod(self.strides[1:]), 1
        for wide, step in zip(self.kernels[:0:-1], self.strides[:0:-1], strict=True):
            seen = (seen - 1) * step + wide
        # Of so many frames between two recordings, each depends on both.
        seams = math.ceil(((seen - 1) * stride + kernel) / (hop * stride)) - 1
        width = frames + seams
        y, total = x.new_empty(B * width, layers[-1].conv.out_channels), B * width - seams
        with_norms: list[Tensor] = []
        if not self.is_local:
            x = x - x.mean(dim=1, keepdim=True)
            with_norms = [with_norm(samples, first.conv, first.layer_norm) for samples in x]
        x = F.pad(x, (0, width * hop * stride - T)).flatten()
        weights: dict[Any, Tensor] = {}
        for start in range(0, total, FRAMES):
            left = min(FRAMES, total - start)
            size = left if left == FRAMES else left + padding(left, _exact, STEP)
            begin, count = start * hop, (size - 1) * hop + seen
            samples = x[begin * stride :][: (count - 1) * stride + kernel]
            part = F.pad(samples, (0, (count - 1) * stride + kernel - len(samples)))
            if self.is_local:
                part, rest = part[None, :, None], layers
            else:
                part = normalized_convolved(part, with_norms, stride, width * hop, begin, first.activation)[None]
                rest = layers[1:]
            for layer in rest:
                kind = torch.float32 if layer is first else dtype  # a convolution of samples stays exact
                if layer not in weights:
                    weights[layer] = laid_out(layer.conv, part.shape[1], kind)
                part = layer.fast(part, weights[layer], kind)
            y[start : start + left] = part[0, :left]
        return y.view(B, width, -1)[:, :frames]


def _is_usual(layer: Any) -> bool:
    """Whether it can be computed by `fast`: it may have been replaced, or parts of it."""
    return type(layer) is ConvolutionLayer and is_usual(layer.conv, getattr(layer, "layer_norm", None))


# The encoder -----------------------------------------------------------------------------------------------------------


class NormalizedConvolution(nn.Module):
    """A convolution over time whose weight is a direction `weight_v` and a length `weight_g` for each tap.

    Source: Salimans and Kingma, Weight Normalization, 2016.
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.kernel, self.groups = kernel, groups
        self.bias = nn.Parameter(torch.zeros(width))
        self.weight_v = nn.Parameter(torch.zeros(width, width // groups, kernel))
        self.weight_g = nn.Parameter(torch.zeros(1, 1, kernel))

    def fast(self, x: Tensor) -> Tensor:
        """The same for `(batch, frames, width)`, for which `is_fast_call` holds; the first `frames` frames of it."""
        length = self.weight_v.square().sum(dim=(0, 1), keepdim=True).sqrt_()  # several times as fast as `norm`
        return group_convolved(x, self.weight_v * (self.weight_g / length), self.bias, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        return F.conv1d(x, weight, self.bias, padding=self.kernel // 2, groups=self.groups)


class PositionalConvolution(nn.Module):
    """Relative positions: a wide convolution over the states, `(batch, frames, width)` to the same."""

    def __init__(self, config, batch_norm: bool = False) -> None:
        super().__init__()
        C, kernel, groups = config.hidden_size, config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups
        self.batch_norm = nn.BatchNorm1d(C) if batch_norm else None
        self.conv: nn.Module = (
            nn.Conv1d(C, C, kernel, padding=kernel // 2, groups=groups)
            if batch_norm
            else NormalizedConvolution(C, kernel, groups)
        )
        self.activation = activation(config.feat_extract_activation)

    def forward(self, x: Tensor) -> Tensor:
        # A subclass, such as one with a parametrization, may compute something else.
        if type(self.conv) is NormalizedConvolution and is_fast_group_call(x, self.conv):
            return in_parts(self.activation, self.conv.fast(x).flatten(0, 1)).view_as(x)
        T = x.shape[1]
        x = x.transpose(1, 2)
        x = x if self.batch_norm is None else self.batch_norm(x)
        if not is_bare_call(x, *self.modules()):
            return self.activation(self.conv(x))[..., :T].transpose(1, 2)
        x = F.pad(x, (0, padding(T, _exact_positions, None if T >= 256 else 32)))  # as the convolution does
        return torch.cat([self.activation(self.conv(row)) for row in x.split(1)])[..., :T].transpose(1, 2)


class FrameAttention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config) -> None:
        super().__init__()
        C = config.hidden_size
        self.heads, self.dropout = config.num_attention_heads, config.attention_dropout
        self.k_proj = nn.Linear(C, C)
        self.v_proj = nn.Linear(C, C)
        self.q_proj = nn.Linear(C, C)
        self.out_proj = nn.Linear(C, C)

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite) -> Tensor:
        q, k, v = (split_heads(project(x), self.heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        dropout = self.dropout if self.training else 0.0
        return self.out_proj(merge_heads(attend(q, k, v, site=site, mask=mask, dropout=dropout)))


class FeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = activation(config.hidden_act)
        self.inner_dropout = nn.Dropout(config.activation_dropout)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner_dropout(activated(self.intermediate_dense, self.activation, x))
        return self.dropout(self.output_dense(x))


class LanguageAdapter(nn.Module):
    """A narrow feed-forward block per layer, which is all that differs between the languages of one checkpoint (MMS)."""

    def __init__(self, config) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.linear_1 = nn.Linear(config.hidden_size, config.adapter_attn_dim)
        self.linear_2 = nn.Linear(config.adapter_attn_dim, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.relu(self.linear_1(self.norm(x))))


class FrameLayer(nn.Module):
    """Attention and a feed-forward block, with norms after the residual connections, or before the blocks (`pre_norm`)."""

    def __init__(self, config, pre_norm: bool, adapts: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = FrameAttention(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.adapter_layer = LanguageAdapter(config) if adapts else None

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite) -> Tensor:
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.layer_norm(x), mask, site))
            x = x + self.feed_forward(self.final_layer_norm(x))
        else:
            x = self.layer_norm(x + self.dropout(self.attention(x, mask, site)))
            x = self.final_layer_norm(x + self.feed_forward(x))
        return x if self.adapter_layer is None else x + self.adapter_layer(x)


class FrameEncoder(nn.Module):
    """Positions and a stack of layers: `(batch, frames, width)` to the same.

    Args:
        config: The family's settings.
        batch_norm: Normalize the positional convolution's input, rather than its weight.
        adapter: Width of the adapters in the layers; None for none.
    """

    def __init__(self, config, batch_norm: bool = False, adapter: int | None = None) -> None:
        super().__init__()
        self.config = config
        pre_norm = config.do_stable_layer_norm
        self.pos_conv_embed = PositionalConvolution(config, batch_norm)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        adapts = pre_norm and adapter is not None
        self.layers = nn.ModuleList(FrameLayer(config, pre_norm, adapts) for _ in range(config.num_hidden_layers))
        self.sites = [
            AttentionSite(layer, config.num_attention_heads, rows="frames") for layer in range(config.num_hidden_layers)
        ]

    def forward(
        self,
        x: Tensor,
        is_sound: Tensor | None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """The last states, all states or None, all attention weights or None; `is_sound` is False for padded frames."""
        if is_sound is not None:
            x = x * is_sound[..., None]
        mask = padding_mask(is_sound, x.dtype)
        x = x + self.pos_conv_embed(x)
        if not self.config.do_stable_layer_norm:
            x = self.layer_norm(x)
        x = self.dropout(x)
        layers, sites = without_dropped(self.layers, self.sites, self.config.layerdrop if self.training else 0.0)
        with recording(self, output_attentions) as record:
            x, states, _ = run_layers(
                self, layers, sites, x, mask, output_attentions=False, output_hidden_states=output_hidden_states
            )
        if self.config.do_stable_layer_norm:
            x = self.layer_norm(x)  # the last of all states is the one before it, as in the original
        return x, states, None if record is None else record.of(sites)


class FrameAdapter(nn.Module):
    """Convolutions after the encoder, which shorten the sequence: `(batch, frames, width)` to `(batch, fewer, output width)`."""

    def __init__(self, config) -> None:
        super().__init__()
        C, kernel, stride = config.state_width, config.adapter_kernel_size, config.adapter_stride
        self.layerdrop = config.layerdrop
        projects = config.hidden_size != C
        self.proj = nn.Linear(config.hidden_size, C) if projects else None
        self.proj_layer_norm = nn.LayerNorm(C) if projects else None
        self.layers = nn.ModuleList(
            nn.ModuleDict({"conv": nn.Conv1d(C, 2 * C, kernel, stride=stride, padding=1)})
            for _ in range(config.num_adapter_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.proj is not None and self.proj_layer_norm is not None:
            x = self.proj_layer_norm(self.proj(x))
        x = x.transpose(1, 2)
        for layer in self.layers:
            if not self.training or np.random.random() > self.layerdrop:
                x = F.glu(layer["conv"](x), dim=1)  # type: ignore[index]
        return x.transpose(1, 2)
