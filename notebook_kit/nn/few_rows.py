"""Products of one or a few rows with a large matrix on the CPU, by kernels that are made for them.

The usual kernels are made for one vector, or for many rows. oneDNN's, which torch brings along, bring a matrix from memory
a fifth faster for one row; and for a few rows up to three times as fast, from a copy of it in another order.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

__all__ = ["available", "laid_out", "one_row", "product"]


@functools.cache
def available() -> bool:
    """Whether this torch has the kernels and this processor runs them. They are not documented: another version may lack them."""
    if not torch.backends.mkldnn.is_available():
        return False
    weight = torch.eye(16, dtype=torch.float32, device="cpu")
    x = weight[:2].clone()
    try:
        with torch.inference_mode():
            found = product(x, laid_out(weight, 2), None), product(x[:1], weight, None)
        return bool(torch.equal(found[0], x) and torch.equal(found[1], x[:1]))
    except (AttributeError, RuntimeError, TypeError):
        return False


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight.T + bias`, with no gradient.

    Args:
        x: `(..., in)`, float32.
        weight: `(out, in)`, or what `laid_out` made of it.
        bias: `(out,)` or None.
    """
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def laid_out(weight: Tensor, rows: int) -> Tensor:
    """A copy of a matrix, `(out, in)`, in the order in which products with so many rows read it best."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)


def one_row(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(x)`, faster where it is a plain linear layer and `x` a single row.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.few_rows import one_row
        >>> layer, x = torch.nn.Linear(64, 32), torch.ones(1, 1, 64)
        >>> with torch.no_grad():
        ...     torch.allclose(one_row(layer, x), layer(x), atol=1e-5)
        True
    """
    if (
        type(layer) is nn.Linear
        and x.numel() == layer.in_features
        and x.device.type == "cpu"
        and x.dtype == layer.weight.dtype == torch.float32
        and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
        and not (layer._forward_hooks or layer._forward_pre_hooks)
        and available()
    ):
        return product(x, layer.weight, layer.bias)
    return layer(x)
