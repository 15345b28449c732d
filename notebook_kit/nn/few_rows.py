"""Fast products of one or a few rows with a large matrix on the CPU.

torch's default kernels suit one vector or many rows. On many processors, the oneDNN kernels that torch includes read a matrix
from memory faster for one row, and up to four times as fast for a few rows if they use a copy of the matrix in another memory
layout. Elsewhere, they gain nothing. So all are timed on the processor at hand before their first use. Copies take as much memory
as the weights; they are created only before steps that will save more time than the copying takes, and freed when the generation
ends. A single sequence would gain too little for that in float32; in bfloat16, of which torch reads one row at half of the memory's
rate, it is up to 1.6 times as fast.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.nn.modules import module as _module

from notebook_kit.nn.heap import MOST_AHEAD, use_huge_pages

__all__ = [
    "PackedProducts",
    "Timing",
    "available",
    "best_time",
    "here",
    "is_bare",
    "is_direct_call",
    "is_linear",
    "is_ordinary_call",
    "is_plain",
    "laid_out",
    "one_row",
    "packing_pays",
    "product",
    "suits",
    "timing",
]

LEAST_GAIN = 1.1  # for which a copy of the weights is worth its memory
MOST_ROWS = 32
SMALLEST_MODEL = 1 << 20  # parameters, of a model or of a single layer; for smaller ones the overhead exceeds the gain
LEAST_AHEAD = 1 << 18  # bytes of a copy, for which memory is prepared
MOST_IN_PIECES = 1 << 27  # bytes of a copy that is divided for that: the heap may keep freed pieces
PIECE = 64  # a multiple of the rows that oneDNN keeps together
MOST_BYTES = 1 << 30  # of all copies; further matrices are multiplied by the default kernels


_PLAIN = (Tensor, nn.Parameter)
KINDS = (torch.float32, torch.bfloat16)
_LINEAR = nn.Linear.forward  # a library or a user may replace it

here = threading.local()
"""What is active on a thread: `here.packed`, a `PackedProducts` or None, and whether `many_rows.FastProducts` are, `here.fast`."""


@functools.cache
def available(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this torch has the kernels, which are undocumented, and this processor runs them."""
    if dtype not in KINDS or not torch.backends.mkldnn.is_available():
        return False
    weight = torch.eye(16, dtype=dtype, device="cpu")
    x = weight[:2].clone()
    try:
        with torch.inference_mode():
            found = product(x, laid_out(weight, 2), None), product(x[:1], weight, None)
        return bool(torch.equal(found[0], x) and torch.equal(found[1], x[:1]))
    except (AttributeError, RuntimeError, TypeError):
        return False


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight.T + bias`, without gradients.

    Args:
        x: `(..., in)`, float32 or bfloat16 as the others.
        weight: `(out, in)`, or its copy by `laid_out`.
        bias: `(out,)` or None. oneDNN reads it without regard to its strides, so `suits` requires a contiguous one.
    """
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def suits(x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype = torch.float32) -> bool:
    """Whether `product` takes these arguments of `torch.nn.functional.linear`, and then returns what that would."""
    return (
        all(part is None or is_plain(part, dtype) for part in (x, weight, bias))
        and weight.dim() == 2
        and x.dim() > 0
        and x.shape[-1] == weight.shape[1]  # else torch's error
        and (bias is None or (bias.shape == weight.shape[:1] and bias.is_contiguous()))
    )


def is_plain(x: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Whether these are ordinary numbers on the CPU, of float32 or another kind."""
    return (
        type(x) in _PLAIN
        and x.dtype == dtype
        and x.device.type == "cpu"
        and x.layout == torch.strided
        and not x.is_nested
    )


def is_ordinary_call() -> bool:
    """Whether operations are only computed: without gradients and mixed precision, and not compiled, exported, traced,
    counted or transformed.
    """
    return not torch.is_grad_enabled() and is_direct_call()


def is_direct_call() -> bool:
    """As `is_ordinary_call`, with or without gradients."""
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch.is_autocast_enabled("cpu")
        or torch._C._len_torch_dispatch_stack()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def is_bare(layer: nn.Module) -> bool:
    """Whether a call of a layer is that of its class's `forward`, without hooks before or after it."""
    return not (
        layer._forward_hooks
        or layer._forward_pre_hooks
        or _module._global_forward_hooks
        or _module._global_forward_pre_hooks
        or "forward" in layer.__dict__
    )


def laid_out(weight: Tensor, rows: int) -> Tensor:
    """A copy of a matrix, `(out, in)`, in the best memory layout for products with this number of rows."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)


@dataclass(frozen=True)
class Timing:
    """Seconds on this processor, for one matrix of a model.

    Attributes:
        plain: A product by the default kernel.
        other: The same by oneDNN, without a copy of the matrix.
        packed: The same by oneDNN, with a copy of the matrix; not measured for one row in float32.
        copying: Copying the matrix.
        layout: The number of rows for which the copy is laid out.
    """

    plain: float
    other: float
    packed: float = math.inf
    copying: float = math.inf
    layout: int = MOST_ROWS


@functools.cache
def timing(rows: int, threads: int, dtype: torch.dtype = torch.float32) -> Timing:
    """Time the products of `rows` rows with `threads` threads, once per process, in 20 to 100 milliseconds.

    Args:
        rows: The number of rows.
        threads: `torch.get_num_threads()`; another number is timed again.
        dtype: float32 or bfloat16.
    """
    ones = partial(torch.ones, dtype=dtype, device="cpu")  # whatever the defaults are
    with torch.inference_mode():
        weights = [ones(3072, 768) for _ in range(2)]  # in turns, so that neither is in the processor's fast caches
        x, bias = ones(rows, 768), ones(3072)

        def best(multiply: Callable[..., Tensor], matrices: list[Tensor]) -> float:
            turns = itertools.cycle(matrices)
            return best_time(lambda: multiply(x, next(turns), bias), 4 * len(matrices), len(matrices))

        found = []
        # One for more rows is often read faster.
        for layout in sorted({rows, MOST_ROWS}) if rows > 1 or dtype != torch.float32 else ():
            copies = [laid_out(weight, layout) for weight in weights]
            copying = best_time(partial(laid_out, weights[0], layout), set_up=0)
            found.append((best(product, copies), copying, layout))
        return Timing(best(F.linear, weights), best(product, weights), *min(found, default=()))


def best_time(call: Callable[[], Any], times: int = 3, set_up: int = 1) -> float:
    """The shortest of some calls, in seconds of this thread, after `set_up` calls that do not count.

    While other programs run, the time of the clock on the wall would say little. (On Windows, it is the only fine one.)
    """
    clock = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-6 else time.perf_counter
    spent = []
    for _ in range(set_up + times):
        start = clock()
        call()
        spent.append(clock() - start)
    return min(spent[set_up:])


def one_row(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(x)`, faster for a plain linear layer and a single row.

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
        and is_ordinary_call()  # before sizes, on which an exported graph must not depend
        and x.numel() == layer.in_features
        and layer.weight.numel() >= SMALLEST_MODEL
        and suits(x, layer.weight, layer.bias)
        and is_bare(layer)
        and nn.Linear.forward is _LINEAR
        and available()
        and (spent := timing(1, torch.get_num_threads())).other < spent.plain
    ):
        return product(x, layer.weight, layer.bias)
    return layer(x)


def packing_pays(model: nn.Module, rows: int, steps: int) -> bool:
    """Whether copies of a model's matrices save more time than they cost.

    Args:
        model: The model that generates; without modules, as one of another library may be, it has no matrices to copy.
        rows: The number of sequences in parallel.
        steps: The maximum number of new tokens per sequence.
    """
    weights = list(model.parameters()) if isinstance(model, nn.Module) else []
    if not weights or not 1 <= rows <= MOST_ROWS:
        return False
    dtype = weights[0].dtype
    if (rows == 1 and dtype == torch.float32) or not available(dtype):
        return False
    is_plain = all(weight.device.type == "cpu" and weight.dtype == dtype for weight in weights)
    if not is_plain or torch.is_autocast_enabled("cpu") or sum(map(Tensor.numel, weights)) < SMALLEST_MODEL:
        return False
    spent = timing(rows, torch.get_num_threads(), dtype)
    saved = steps * (spent.plain - spent.packed)
    return spent.plain > LEAST_GAIN * spent.packed and saved > spent.copying


class PackedProducts:
    """In a `with` block, and only on its thread, the linear layers of a model multiply with copies of their weights.

    A weight is copied when it is first used, and again when it has changed; but changes in place through `weight.data` or NumPy, which
    torch does not count, are not seen. In the block, the layers have another `forward`, which other threads may call as well:
    a mode of torch would intercept every operation, and take a tenth of the time of a step. Gradients are not computed.

    Args:
        model: The model whose layers multiply few rows.
        rows: The number of rows of most products.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.few_rows import PackedProducts
        >>> layer, x = torch.nn.Linear(64, 32), torch.ones(4, 64)
        >>> with torch.no_grad(), PackedProducts(layer, rows=4):
        ...     packed = layer(x)
        >>> torch.allclose(packed, layer(x), atol=1e-5)
        True
    """

    def __init__(self, model: nn.Module, rows: int) -> None:
        self.dtype = next((weight.dtype for weight in model.parameters() if weight.dtype in KINDS), torch.float32)
        self.layout, self.left = timing(rows, torch.get_num_threads(), self.dtype).layout, MOST_BYTES
        self.layers = [layer for layer in model.modules() if is_linear(layer)]
        # By the id of the weight; a reference to the weight keeps its id valid.
        self._copies: dict[int, tuple[Tensor, tuple[int, int], list[Tensor] | None]] = {}
        self._before: PackedProducts | None = None

    def __enter__(self) -> PackedProducts:
        self._before = getattr(here, "packed", None)
        here.packed = self
        with _LOCK:
            for layer in self.layers:
                forward: Any = layer.__dict__.get("forward")
                if forward is None:
                    forward = layer.__dict__["forward"] = partial(_forward, layer)
                    forward.blocks = 0
                if getattr(forward, "func", None) is _forward:  # a wrapper of others stays
                    forward.blocks += 1
        return self

    def __exit__(self, *error: Any) -> None:
        here.packed = self._before
        with _LOCK:
            for layer in self.layers:
                forward: Any = layer.__dict__.get("forward")
                if getattr(forward, "func", None) is _forward:
                    forward.blocks -= 1
                    if not forward.blocks:
                        del layer.__dict__["forward"]

    def multiply(self, layer: nn.Module, x: Tensor) -> Tensor | None:
        """The result of a linear layer for few rows; None for what torch has to compute."""
        weight, bias = layer._parameters.get("weight"), layer._parameters.get("bias")
        # A model trained in mixed precision may enable autocast in its own forward, and a hook may enable gradients.
        if type(weight) is not nn.Parameter or weight.dim() != 2 or not is_ordinary_call():
            return None
        rows_are_outputs = weight if type(layer) is nn.Linear else weight.t()
        if (
            not suits(x, rows_are_outputs, bias, self.dtype)
            or x.shape[:-1].numel() > 2 * MOST_ROWS
            or (copy := self._copy(weight, rows_are_outputs)) is None
        ):
            return None
        if len(copy) == 1:
            return product(x, copy[0], bias)
        biases = itertools.repeat(None) if bias is None else bias.split(len(copy[0]))
        return torch.cat([product(x, *part) for part in zip(copy, biases, strict=False)], dim=-1)

    def _copy(self, weight: Tensor, rows_are_outputs: Tensor) -> list[Tensor] | None:
        known = self._copies.get(id(weight))
        state = weight.data_ptr(), -1 if weight.is_inference() else weight._version
        if known is None or known[1] != state:  # a callback, such as a streamer, may change weights
            size = weight.numel() * weight.element_size()
            fits = known[2] is not None if known is not None else size <= self.left
            self.left -= size if fits and known is None else 0
            copy = _in_huge_pages(rows_are_outputs, self.layout, size) if fits else None
            known = self._copies[id(weight)] = (weight, state, copy)
        return known[2]


def _in_huge_pages(weight: Tensor, layout: int, size: int) -> list[Tensor]:
    """`laid_out`, in pieces of some rows each if the whole would be too large for the heap."""
    if not LEAST_AHEAD <= size <= MOST_IN_PIECES:
        return [laid_out(weight, layout)]
    rows = -(-len(weight) // -(-size // MOST_AHEAD))
    copies = []
    for piece in weight.split(-(-rows // PIECE) * PIECE) if size > MOST_AHEAD else (weight,):
        use_huge_pages()
        copies.append(laid_out(piece, layout))
    return copies


_LOCK = threading.Lock()  # of the `forward` of layers, and of its `blocks`: how many blocks on any thread use it


def _forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The `forward` of linear layers within a block of `PackedProducts`, or in a copy that was made of them there."""
    if (
        len(args) == 1
        and not kwargs
        and not torch.compiler.is_compiling()
        and (packed := getattr(here, "packed", None)) is not None
        and (found := packed.multiply(layer, args[0])) is not None
    ):
        return found
    return type(layer).forward(layer, *args, **kwargs)


def is_linear(layer: nn.Module) -> bool:
    """Whether it multiplies with a matrix `(out, in)`, or as GPT-2's `(in, out)`, and does nothing else."""
    return (type(layer) is nn.Linear and nn.Linear.forward is _LINEAR) or type(layer).__name__ == "GPT2Projection"
