"""Fast products of many rows with a matrix on the CPU, in models that compute without gradients.

torch multiplies float32 matrices by MKL, which leaves the AVX-512 instructions of some processors unused (those of AMD). oneDNN,
which is part of torch as well, uses them, and is then about twice as fast. Elsewhere, both are equal. So they are timed on
the processor at hand before their first use, in a few milliseconds. No weight is copied, and no module is changed.

The first layer of a feed-forward block has the largest results, and its activation reads and writes all of them once more. oneDNN
computes some activations together with the product: see `layers.activated`.

Everything else is left to torch: small products and models, gradients, mixed precision, and calls that are compiled,
exported, traced or transformed.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from notebook_kit.nn.cache import KVCache
from notebook_kit.nn.few_rows import (
    MOST_ROWS,
    available,
    best_time,
    here,
    is_bare,
    is_linear,
    is_ordinary_call,
    is_plain,
    product,
    suits,
)
from notebook_kit.nn.heap import LEAST_ROWS, keep_freed_memory
from notebook_kit.nn.outputs import BaseModelOutput
from notebook_kit.nn.row_counts import in_parts

__all__ = [
    "FastProducts",
    "fast_products",
    "fused_product",
    "gain",
    "layer_product",
    "rows_of_call",
    "work_per_row",
]

LEAST_GAIN = 1.1
LEAST_WORK = 1 << 27  # multiplications of a call, for which looking at every operation costs less than is gained
LEAST_PRODUCT = 1 << 22  # multiplications of one product
SMALL = 1 << 17  # weights of a layer
FEW = 16  # rows; the gain of fewer is measured apart

_large: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()


@functools.cache
def gain(few: bool, threads: int) -> float:
    """How many times as fast as the default a product by oneDNN is on this processor; 0 if torch has none.

    Args:
        few: Whether there are fewer than 16 rows, rather than more.
        threads: `torch.get_num_threads()`; another number is timed again.
    """
    if not available():
        return 0.0
    ones = partial(torch.ones, dtype=torch.float32, device="cpu")  # whatever the defaults are
    with torch.inference_mode():
        weight, bias, x = ones(768, 768), ones(768), ones(FEW // 2 if few else 4 * FEW, 768)
        plain, other = (best_time(partial(multiply, x, weight, bias), times=6) for multiply in (F.linear, product))
        return plain / other


def fast_products(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AbstractContextManager[object]:
    """The context for a call of `model`: `FastProducts` where it pays, else one without effect.

    From the first call of many rows on, on any processor and with any weights, the process keeps memory that is freed: see `heap`.

    Args:
        model: The model, or its encoder.
        args, kwargs: The arguments of the call, from whose shapes the number of rows is estimated.
    """
    if (
        not is_ordinary_call()  # first, since a compiler reads the rest
        or not isinstance(model, nn.Module)
        or getattr(here, "fast", False)
        or not (rows := rows_of_call(args, kwargs)) > 1
    ):
        return nullcontext()
    if rows >= LEAST_ROWS:
        keep_freed_memory()
    if (
        (rows <= 2 * MOST_ROWS and getattr(here, "packed", None) is not None)  # which multiplies few rows faster
        or rows * work_per_row(model) < LEAST_WORK
        or gain(rows < FEW, torch.get_num_threads()) < LEAST_GAIN
    ):
        return nullcontext()
    return FastProducts()


def rows_of_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """About how many rows the model's products have: those of the decoder, if the encoder has run before.

    The first call of a decoder with a cache also multiplies the encoder's states.
    """
    first, encoded = None, kwargs.get("encoder_outputs")
    if encoded is not None:
        first, cache = kwargs.get("decoder_input_ids"), kwargs.get("past_key_values")
        if isinstance(cache, KVCache) and not cache.length and isinstance(encoded, BaseModelOutput):
            first = encoded.get("last_hidden_state")
    for value in (first, *args, *kwargs.values()):
        if isinstance(value, Tensor) and value.device.type == "cpu":
            return value.numel() // value.shape[-1] if value.dim() > 2 and value.shape[-1] else value.numel()
    return 0


def work_per_row(model: nn.Module) -> int:
    """The number of weights of a model's linear layers that are multiplied in float32."""
    if (known := _large.get(model)) is None:
        weights: list[Any] = [
            getattr(layer, "weight", None) for layer in model.modules() if not isinstance(layer, nn.Embedding)
        ]
        known = _large[model] = sum(
            weight.numel()
            for weight in weights
            if isinstance(weight, Tensor) and weight.dim() == 2 and is_plain(weight)
        )
    return known


class FastProducts(TorchFunctionMode):
    """In a `with` block, and only on its thread, linear layers multiply by oneDNN. Gradients are not computed.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.many_rows import FastProducts
        >>> layer, x = torch.nn.Linear(512, 512), torch.ones(64, 512)
        >>> with torch.no_grad(), FastProducts():
        ...     fast = layer(x)
        >>> torch.allclose(fast, layer(x), atol=1e-5)
        True
    """

    def __enter__(self) -> FastProducts:
        super().__enter__()
        here.fast = True
        return self

    def __exit__(self, *error: Any) -> None:
        here.fast = False
        super().__exit__(*error)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear and not kwargs and len(args) == 3:
            x, weight, bias = args
            if _pays(x, weight, bias):
                return _multiplied(x, weight, bias)
        elif func is torch.addmm and not kwargs and len(args) == 3:
            bias, x, weight = args
            # (in, out), as in GPT-2
            if type(weight) is nn.Parameter and x.dim() == weight.dim() == 2 and _pays(x, weight.t(), bias):
                return _multiplied(x, weight.t(), bias)
        return func(*args, **(kwargs or {}))


def layer_product(layer: nn.Module, x: Tensor, post: tuple[str, str] | None = None) -> Tensor | None:
    """`layer(x)` within `FastProducts`, in memory that nothing else refers to; None for what torch has to compute.

    Args:
        layer: Any layer; only a linear one without hooks has such a result.
        x: `(..., in)`.
        post: oneDNN's name and algorithm of an activation to compute with it.
    """
    if not is_linear(layer) or not is_bare(layer):  # before its parameters, which those of torch.jit keep otherwise
        return None
    weight, bias = layer._parameters.get("weight"), layer._parameters.get("bias")
    if type(weight) is not nn.Parameter or weight.dim() != 2:
        return None
    rows_are_outputs = weight if type(layer) is nn.Linear else weight.t()
    # With a mode of the user's, operations stay apart, as it may look at them.
    if torch._C._len_torch_function_stack() != 1 or not _pays(x, rows_are_outputs, bias):
        return None
    return _multiplied(x, rows_are_outputs, bias, post)


def fused_product(x: Tensor, weight: Tensor, bias: Tensor | None, post: tuple[str, str]) -> Tensor:
    """`activation(x @ weight.T + bias)`, without gradients.

    Args:
        x, weight, bias: As for `few_rows.product`, float32.
        post: oneDNN's name and algorithm of the activation, such as `("gelu", "none")`.
    """
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, post[0], [], post[1])


def _multiplied(x: Tensor, weight: Tensor, bias: Tensor | None, post: tuple[str, str] | None = None) -> Tensor:
    multiply = product if post is None else partial(fused_product, post=post)
    coarse = weight.numel() < SMALL
    found = in_parts(lambda rows: multiply(rows, weight, bias), x.reshape(-1, x.shape[-1]), coarse=coarse)
    return found.view(*x.shape[:-1], len(weight))


def _pays(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return (
        is_ordinary_call()
        and suits(x, weight, bias)
        and (rows := x.shape[:-1].numel()) > 1
        and rows * weight.numel() >= LEAST_PRODUCT
    )
