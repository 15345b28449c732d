"""Fast convolutions over time on the CPU, for models of sound that compute without gradients.

torch computes a convolution of `(batch, channels, time)` with channels apart, and the activation after it in a second pass. With all
channels of a moment next to each other in memory, oneDNN is up to 1.8 times as fast for long inputs, and applies the activation as it
writes. The results differ in rounding. That it is not slower is timed on the processor at hand before the first use, in a few
milliseconds.

Everything else is left to torch: gradients, mixed precision, other devices and types, and calls that are compiled, exported, traced
or transformed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.nn.few_rows import available as products_available
from notebook_kit.nn.few_rows import best_time, is_bare, is_ordinary_call, is_plain, product
from notebook_kit.nn.row_counts import in_parts

__all__ = [
    "available",
    "convolved",
    "group_convolved",
    "is_bare_call",
    "is_fast_call",
    "is_fast_group_call",
    "is_usual",
    "laid_out",
    "normalized_convolved",
    "type_for",
    "with_norm",
]

LEAST_GAIN = 1.1
LEAST_RATIO = 0.75  # of a small product, which gains nothing; large ones gain since they read and write less memory
LEAST_WORK = 1 << 28  # rows times weights, for which the few milliseconds of timing and checking are worth it

_exact: set[int] = set()  # numbers of rows, apart from those of linear layers


def convolved(
    x: Tensor,
    conv: nn.Conv1d,
    act: Callable[[Tensor], Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    weight: Tensor | None = None,
) -> Tensor:
    """`act(conv(x))` without gradients, where the channels of a moment are next to each other in memory.

    Args:
        x: `(batch, time, channels)`, for which `is_fast_call` holds; or what this function returned.
        conv: A convolution, with zeros as padding if any.
        act: The activation; None for none.
        dtype: The type in which to compute; see `type_for`.
        weight: The weight of the convolution by `laid_out` in this type, for several calls.

    Returns:
        `(batch, time, channels)`, of this type.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.frame_convolutions import convolved
        >>> conv, x = torch.nn.Conv1d(8, 16, 3, stride=2), torch.randn(2, 50, 8)
        >>> with torch.no_grad():
        ...     torch.allclose(convolved(x, conv, torch.relu), conv(x.transpose(1, 2)).relu().transpose(1, 2), atol=1e-5)
        True
    """
    fused, bias = act is F.gelu, None if conv.bias is None else conv.bias.to(dtype)
    x, weight = x.to(dtype), conv.weight.to(dtype) if weight is None else weight
    y = _convolution(x, weight, bias, conv.stride[0], "gelu" if fused else "none", int(conv.padding[0]))
    return y if fused or act is None else act(y)


def type_for(exact: bool) -> torch.dtype:
    """The type in which `convolved` shall compute: bfloat16 if the result need not be exact and it is faster on this processor.

    Args:
        exact: False in models with 8-bit weights, which lose nothing by it; see `nn.attention.AttentionSite`.

    Example:
        >>> from notebook_kit.nn.frame_convolutions import type_for
        >>> type_for(exact=True)
        torch.float32
    """
    is_faster = not exact and gain_of_rounding(torch.get_num_threads()) >= LEAST_GAIN
    return torch.bfloat16 if is_faster else torch.float32


def laid_out(conv: nn.Conv1d, time: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A copy of its weight in the memory layout of oneDNN, which every call of `convolved` would make otherwise.

    Args:
        conv: A convolution.
        time: The length of the inputs, for which the layout is chosen. It can be used for others.
        dtype: The type in which to compute.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.frame_convolutions import convolved, laid_out
        >>> conv, x = torch.nn.Conv1d(8, 16, 3), torch.randn(1, 50, 8)
        >>> with torch.no_grad():
        ...     torch.allclose(convolved(x, conv, weight=laid_out(conv, 50)), convolved(x, conv), atol=1e-5)
        True
    """
    size = [1, conv.in_channels, 1, time]
    given = [0, int(conv.padding[0])], [1, conv.stride[0]], [1, 1], 1, size
    return torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach().to(dtype)[:, :, None], *given)


def with_norm(samples: Tensor, conv: nn.Conv1d, norm: nn.GroupNorm) -> Tensor:
    """The weights with which `normalized_convolved` computes `norm(conv(samples))`, for one input channel and one group per channel,
    which normalizes each channel over time.

    The mean and the variance of each channel follow from those of the stretches of samples that the kernel covers, so the norm becomes
    part of the weights.

    Args:
        samples: `(samples,)` of a whole recording with a mean of 0, as the norm removes any offset, which would only cost digits.
        conv, norm: The layers, without padding, for which `is_fast_call` holds.

    Returns:
        `(kernel + 1, channels)`. The last row is the bias: to start from it would take one more pass over the result.
    """
    wide, weight = samples.unfold(0, conv.kernel_size[0], conv.stride[0]).double(), conv.weight[:, 0].double()
    mean = wide.mean(dim=0)  # (kernel,)
    wide = wide - mean
    spread = wide.t() @ wide / len(wide)  # (kernel, kernel)
    variance = ((weight @ spread) * weight).sum(dim=1)  # (channels,)
    scale = torch.rsqrt(variance.clamp_min_(0) + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
    weight = weight * scale[:, None]  # (channels, kernel); a bias of the convolution is removed by the norm
    bias = -(weight @ mean)
    if norm.affine:
        bias = bias + norm.bias
    return torch.cat((weight.t(), bias[None])).float()


def normalized_convolved(
    samples: Tensor, weights: Sequence[Tensor], stride: int, frames: int, begin: int, act: Callable[[Tensor], Tensor]
) -> Tensor:
    """`act(norm(conv(samples)))` for a stretch of recordings that follow each other.

    Args:
        samples: `(samples,)`.
        weights: Of each recording, from `with_norm`.
        stride: Of the convolution.
        frames: From the beginning of a recording to that of the next one.
        begin: Where in all of the recordings the stretch begins, in frames.
        act: The activation.

    Returns:
        `(time, channels)`.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.frame_convolutions import normalized_convolved, with_norm
        >>> conv, norm, x = torch.nn.Conv1d(1, 16, 10, stride=5), torch.nn.GroupNorm(16, 16), torch.randn(500)
        >>> x -= x.mean()
        >>> with torch.no_grad():
        ...     fast = normalized_convolved(x, [with_norm(x, conv, norm)], 5, 99, 0, torch.relu)
        ...     torch.allclose(fast, norm(conv(x[None])[None]).relu()[0].t(), atol=1e-5)
        True
    """
    stretches = F.pad(samples.unfold(0, len(weights[0]) - 1, stride), (0, 1), value=1.0)  # (time, kernel + 1)
    y, ends = samples.new_empty(len(stretches), weights[0].shape[1]), [frames * (i + 1) for i in range(len(weights))]
    ends[-1] = begin + len(y)
    start = begin
    for weight, end in zip(weights, ends, strict=True):
        if start < (end := min(end, begin + len(y))):
            torch.mm(stretches[start - begin : end - begin], weight, out=y[start - begin : end - begin])
            start = end
    return torch.ops.aten.gelu_(y) if act is F.gelu else act(y)


def group_convolved(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """A wide convolution in groups of few channels, which keeps the number of frames, as one product per group and row.

    Args:
        x: `(batch, time, channels)`, for which `is_fast_call` holds.
        weight: `(channels, channels // groups, kernel)`.
        bias: `(channels,)` or None.
        groups: Number of groups.

    Returns:
        `(batch, time, channels)`: of the convolution with `padding=kernel // 2`, the first `time` frames.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.frame_convolutions import group_convolved
        >>> conv, x = torch.nn.Conv1d(8, 8, 4, padding=2, groups=2), torch.randn(2, 50, 8)
        >>> with torch.no_grad():
        ...     fast, plain = group_convolved(x, conv.weight, conv.bias, 2), conv(x.transpose(1, 2))[..., :50]
        ...     torch.allclose(fast, plain.transpose(1, 2), atol=1e-5)
        True
    """
    B, T, C = x.shape
    width, kernel = C // groups, weight.shape[2]
    padded = F.pad(x, (0, 0, kernel // 2, (kernel - 1) // 2)).view(B, -1, groups, width)
    rows = padded.permute(2, 0, 1, 3).contiguous()  # (groups, B, padded time, width)
    matrices = weight.view(groups, width, width, kernel).transpose(2, 3).reshape(groups, width, kernel * width)
    y = x.new_empty(B, T, C)
    stretch = x.new_empty(T, kernel * width)
    for group in range(groups):
        part = slice(group * width, (group + 1) * width)
        for row in range(B):
            # Rows that overlap in memory: what the kernel covers at each frame. oneDNN needs them apart.
            stretch.copy_(rows[group, row].as_strided((T, kernel * width), (width, 1)))
            multiply = partial(product, weight=matrices[group], bias=None if bias is None else bias[part])
            y[row, :, part] = in_parts(multiply, stretch, _exact)
    return y


def is_fast_call(x: Tensor, *layers: nn.Module) -> bool:
    """Whether `convolved` and `with_norm` take an input and these layers, and are expected to be faster.

    False if a layer has a hook or another `forward`, which would not be called, and for convolutions of other kinds.

    Args:
        x: The input, of any shape.
        layers: All layers that would not be called: convolutions, norms and the modules that contain them.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.frame_convolutions import is_fast_call
        >>> is_fast_call(torch.ones(1, 16_000), torch.nn.Conv1d(1, 512, 10))  # gradients are computed
        False
    """
    return (
        is_bare_call(x, *layers)
        and x.shape[0] * x.shape[1] * max(map(_size, layers)) >= LEAST_WORK
        and ratio(torch.get_num_threads()) >= LEAST_RATIO
    )


def is_fast_group_call(x: Tensor, layer: nn.Module) -> bool:
    """The same for `group_convolved` and the layer with its weights; `x` is `(batch, time, channels)`."""
    return (
        is_bare_call(x, layer)
        and x.shape[0] * x.shape[1] * _size(layer) >= LEAST_WORK
        and group_gain(torch.get_num_threads()) >= LEAST_GAIN
    )


def is_bare_call(x: Tensor, *layers: nn.Module) -> bool:
    """Whether nobody sees what these layers get and return: no hooks, no gradients, an ordinary tensor in memory of the CPU.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.frame_convolutions import is_bare_call
        >>> with torch.no_grad():
        ...     is_bare_call(torch.ones(1, 100), torch.nn.Conv1d(1, 8, 10))
        True
    """
    return (
        is_ordinary_call()
        and is_plain(x)
        and all(map(is_bare, layers))
        and all(is_plain(part) for layer in layers for part in layer._parameters.values() if part is not None)
    )


def _size(layer: nn.Module) -> int:
    return max((part.numel() for part in layer._parameters.values() if part is not None), default=0)


_FORWARDS = {kind: kind.forward for kind in (nn.Conv1d, nn.GroupNorm)}  # which a library or a user may replace


def is_usual(conv: nn.Module, norm: nn.Module | None, zeros: int = 0) -> bool:
    """Whether `convolved`, or with one group per channel `with_norm`, compute what these layers do.

    Not for layers of other classes, which may do more: a convolution with an adapter, for example.

    Args:
        conv, norm: The layers.
        zeros: The padding at both ends that the convolution has to have.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.frame_convolutions import is_usual
        >>> is_usual(torch.nn.Conv1d(1, 8, 3), None), is_usual(torch.nn.Conv1d(1, 8, 3, padding=1), None)
        (True, False)
    """
    if type(conv) is not nn.Conv1d or (conv.padding, conv.dilation, conv.groups) != ((zeros,), (1,), 1):
        return False
    if zeros and conv.padding_mode != "zeros":
        return False
    if isinstance(norm, nn.GroupNorm):
        if type(norm) is not nn.GroupNorm or conv.in_channels != 1 or norm.num_groups != conv.out_channels:
            return False
    elif not (norm is None or isinstance(norm, nn.LayerNorm)):
        return False
    return all(kind.forward is forward for kind, forward in _FORWARDS.items())


@functools.cache
def ratio(threads: int) -> float:
    """How many times as fast as the default a convolution by these functions is on this processor within its caches, where the default
    has no disadvantage; 0 if torch has none.

    Args:
        threads: `torch.get_num_threads()`; another number is timed again.
    """
    if not available():
        return 0.0
    with torch.inference_mode():
        x, weight = _ones(1, 512, 256), _ones(256, 256, 3)
        channels_first = x.transpose(1, 2).contiguous()
        plain = best_time(lambda: F.gelu(F.conv1d(channels_first, weight, stride=2)), times=6)
        return plain / best_time(lambda: _convolution(x, weight, None, 2, "gelu"), times=6)


@functools.cache
def gain_of_rounding(threads: int) -> float:
    """How many times as fast a convolution in bfloat16 is on this processor as in float32, with rounding; 0 if torch has none."""
    if not products_available(torch.bfloat16):
        return 0.0
    with torch.inference_mode():
        x, weight, halves = _ones(1, 512, 256), _ones(256, 256, 3), torch.bfloat16
        exact = best_time(lambda: _convolution(x, weight, None, 2, "gelu"), times=6)
        try:
            return exact / best_time(lambda: _convolution(x.to(halves), weight.to(halves), None, 2, "gelu"), times=6)
        except (AttributeError, RuntimeError, TypeError):
            return 0.0


@functools.cache
def group_gain(threads: int) -> float:
    """The same for `group_convolved`."""
    if not available():
        return 0.0
    with torch.inference_mode():
        x, weight, bias = _ones(1, 128, 96), _ones(96, 48, 128), _ones(96)
        channels_first = x.transpose(1, 2).contiguous()
        plain = best_time(lambda: F.conv1d(channels_first, weight, bias, padding=64, groups=2), times=6)
        return plain / best_time(lambda: group_convolved(x, weight, bias, 2), times=6)


_ones = partial(torch.ones, dtype=torch.float32, device="cpu")  # whatever the defaults are


@functools.cache
def available() -> bool:
    """Whether this torch has the operations, which are undocumented, and this processor runs them."""
    if not products_available():
        return False
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
    x, conv = draw(2, 20, 16), nn.Conv1d(16, 24, 3, stride=2, bias=False, dtype=torch.float32, device="cpu")
    try:
        with torch.inference_mode():
            weight = conv.weight.copy_(draw(24, 16, 3))
            found = (
                torch.ops.aten.gelu_(_convolution(x, weight, None, 2, "none")),
                _convolution(x, weight, None, 2, "gelu"),
                _convolution(x, laid_out(conv, 20), None, 2, "gelu"),
            )
            expected = F.gelu(F.conv1d(x.transpose(1, 2), weight, stride=2)).transpose(1, 2)
        return all(torch.allclose(one, expected, atol=1e-5) for one in found)
    except (AttributeError, RuntimeError, TypeError):
        return False


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, act: str, zeros: int = 0) -> Tensor:
    y = torch.ops.mkldnn._convolution_pointwise(
        x.transpose(1, 2)[:, :, None],  # (B, channels, 1, time), of channels that are next to each other
        weight if weight.is_mkldnn else weight[:, :, None],
        bias,
        [0, zeros],
        [1, stride],
        [1, 1],
        1,
        act,
        [],
        "none",
    )
    return y[:, :, 0].transpose(1, 2)
