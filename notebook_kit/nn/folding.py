"""A convolution and the norm after it as one operation, when nothing but the result is needed.

In evaluation, a batch norm multiplies each channel by a number and adds another. Both go into the weights of the convolution
before it, which saves one or two passes over every map of a convolutional network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["for_convolutions", "normed_convolution"]


def for_convolutions(pixels: Tensor) -> Tensor:
    """Pixels `(batch, channels, height, width)`, without gradients in the layout in memory that is fastest on a CPU."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or pixels.device.type != "cpu":
        return pixels
    return pixels.contiguous(memory_format=torch.channels_last)


def normed_convolution(convolution: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """`norm(convolution(x))`, in one operation if it is computed without gradients and by plain layers.

    Args:
        convolution: Usually a `torch.nn.Conv2d`.
        norm: A batch norm, or any module with its buffers.
        x: `(batch, channels, height, width)`.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.folding import normed_convolution
        >>> convolution, norm = torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8).eval()
        >>> x = torch.rand(1, 3, 16, 16)
        >>> with torch.no_grad():
        ...     torch.allclose(normed_convolution(convolution, norm, x), norm(convolution(x)), atol=1e-5)
        True
    """
    if not _folds(convolution, norm, x):
        return norm(convolution(x))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # type: ignore[operator]
    shift = norm.bias - norm.running_mean * scale  # type: ignore[operator]
    weight = convolution.weight * scale[:, None, None, None]  # type: ignore[operator]
    return convolution._conv_forward(x, weight, shift)  # type: ignore[operator]


def _folds(convolution: nn.Module, norm: nn.Module, x: Tensor) -> bool:
    return (
        not (torch.is_grad_enabled() or norm.training or torch.compiler.is_compiling())
        and type(convolution) is nn.Conv2d
        and convolution.bias is None
        and all(isinstance(getattr(norm, name, None), Tensor) for name in ("weight", "bias", "running_mean"))
        and x.dtype == convolution.weight.dtype == norm.running_mean.dtype == torch.float32
        and not torch.is_autocast_enabled(x.device.type)
        and not any(layer._forward_hooks or layer._forward_pre_hooks for layer in (convolution, norm))
    )
