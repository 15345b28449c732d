"""Products of 8-bit activations and 8-bit weights: the fastest that the processor at hand computes exactly.

PyTorch has three. FBGEMM's is the fastest for few rows, oneDNN's for many. But without VNNI instructions, both sum pairs of
products in 16 bits, which overflow when activations and weights both use all 8 bits; with weights of 7 bits, they are exact there
too. `torch._int_mm` is exact everywhere, but without VNNI many times slower than a product of float32. So each is tried before
its first use: results must be those of integer arithmetic, and then the fastest is taken.

All are private to torch. One that is missing, or has another signature, is not taken.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from notebook_kit.nn.few_rows import best_time, is_ordinary_call
from notebook_kit.nn.row_counts import few_counts

__all__ = ["MANY", "ONE", "Int8Product", "best_product", "float_seconds", "rounded_bytes", "seconds"]

ONE, MANY = 1, 256

ROUNDING = 1.5 * 2.0**23
"""Added to a number of up to 2**22, it leaves no digits behind the point."""

_ON_CPU = torch.device("cpu")  # as a context, whatever `torch.set_default_device` said
_ones = functools.partial(torch.ones, dtype=torch.float32, device=_ON_CPU)


@dataclass(frozen=True)
class Int8Product:
    """A way to multiply. Weights are whole numbers from `-levels` to `levels`; activations are rounded to whole numbers.

    Attributes:
        name: The operation.
        levels: The largest weight for which results are exact.
        pack: int8 weights (out, in) and their float32 scales (out,) -> what `multiply` takes.
        unpack: From that, the int8 weights (out, in).
        multiply: Activations, (rows, in), and packed weights -> the products times the scales, float32, (rows, out). Activations
            are from 0 to 255.5 in float32, which the operation rounds itself, or else from 0 to 255 in uint8.
        rounds: Whether it takes float32.
        one_row: The same for one row of any values, float32, (1, in), which it rounds itself; None if there is no such operation.
    """

    name: str
    levels: int
    pack: Callable[[Tensor, Tensor], Any]
    unpack: Callable[[Any], Tensor]
    multiply: Callable[[Tensor, Any], Tensor]
    one_row: Callable[[Tensor, Any], Tensor] | None = None
    rounds: bool = False


def rounded_bytes(x: Tensor, shift: Tensor | float = 0.0, out: Tensor | None = None) -> Tensor:
    """`x - shift`, in the memory of `x`, rounded to whole numbers from 0 to 255: uint8, in a tenth of the time of torch's conversion.

    A float32 of that size with 2**23 added to it is a whole number, whose last byte is the one wanted.

    Args:
        x: float32, so that after the subtraction all are from -0.5 to 255.5, without the latter.
        shift: A whole number, or one per row, `(rows, 1)`.
        out: Memory for the result, uint8.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.int8 import rounded_bytes
        >>> rounded_bytes(torch.tensor([[-0.4, 7.6, 255.4]]))
        tensor([[  0,   8, 255]], dtype=torch.uint8)
    """
    if not is_ordinary_call():  # a trace has no views of other types
        return x.sub_(shift).round_().to(torch.uint8)
    whole = x.add_(ROUNDING - shift).view(torch.int32)
    return whole.to(torch.uint8) if out is None else out.copy_(whole)


def _fbgemm(levels: int) -> Int8Product:
    ops = torch.ops.quantized  # of which `op` is the operation itself, without a search of its arguments

    def pack(weight: Tensor, scale: Tensor) -> Any:
        zeros = torch.zeros(len(scale), dtype=torch.int64, device=_ON_CPU)
        with warnings.catch_warnings():  # one of torch's, that tensors of this kind will be removed
            warnings.simplefilter("ignore")
            rows = torch._make_per_channel_quantized_tensor(weight.contiguous(), scale.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(rows, None)

    return Int8Product(
        f"fbgemm, weights up to {levels}",
        levels,
        pack,
        unpack=lambda packed: torch.ops.quantized.linear_unpack(packed)[0].int_repr(),
        multiply=lambda x, packed: ops.linear_with_input_q_dq_qweight_dq_output_fp32.op(x, 1.0, 0, packed),
        one_row=lambda x, packed: ops.linear_dynamic.op(x, packed, False),
        rounds=True,
    )


def _onednn(levels: int) -> Int8Product:
    def pack(weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        blocks = torch.ops.onednn.qlinear_prepack(weight.contiguous(), None)
        return blocks, scale, torch.zeros(len(scale), dtype=torch.int64, device=_ON_CPU)

    def multiply(x: Tensor, packed: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        rows = few_counts(x) if is_ordinary_call() else x  # a graph is for any number of rows
        out = torch.ops.onednn.qlinear_pointwise(rows, 1.0, 0, *packed, None, 1.0, 0, torch.float32, "none", [], "")
        return out[: len(x)]

    return Int8Product(
        f"onednn, weights up to {levels}",
        levels,
        pack,
        unpack=lambda packed: packed[0].to_dense().t().contiguous(),
        multiply=multiply,
    )


def _int_mm() -> Int8Product:
    def pack(weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return weight.t().contiguous(), weight.sum(dim=1, dtype=torch.int32) * 128, scale

    def multiply(x: Tensor, packed: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        weight, shift, scale = packed  # (in, out), and what the subtraction below takes from each output
        return torch._int_mm(x.bitwise_xor(128).to(torch.int8), weight).add_(shift).float().mul_(scale)

    return Int8Product("_int_mm", 127, pack, unpack=lambda packed: packed[0].t().contiguous(), multiply=multiply)


def _candidates() -> list[Int8Product]:
    # A pair of 255 * 64 is just below 2**15.
    return [_fbgemm(127), _fbgemm(64), _onednn(127), _onednn(64), _int_mm()]


def _is_exact(product: Int8Product) -> bool:
    """Whether results equal integer arithmetic, for extreme values and random ones, rows in vectors and in blocks."""
    generator = torch.Generator().manual_seed(0)
    try:
        for rows, inputs, outputs in ((1, 64, 48), (33, 128, 32), (16, 37, 17)):
            x = torch.randint(0, 256, (rows, inputs), generator=generator)
            weight = torch.randint(-product.levels, product.levels + 1, (outputs, inputs), generator=generator)
            x[0], weight[0], weight[1] = 255, product.levels, -product.levels
            given = x.float() if product.rounds else x.to(torch.uint8)
            ours = product.multiply(given, product.pack(weight.to(torch.int8), _ones(outputs)))
            if not torch.equal(ours.long(), x @ weight.t()):
                return False
            # The same values, as it rounds them itself: from 0 to 255, or to 2550 in steps of 10.
            if product.one_row is not None and not torch.allclose(
                product.one_row(10 * x[:1].float(), product.pack(weight.to(torch.int8), _ones(outputs))),
                10 * ours[:1],
            ):
                return False
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):  # not in this build of torch
        return False
    return True


def seconds(product: Int8Product, rows: int) -> float:
    """The time of a product of this number of rows on this machine, with rounding, in seconds."""
    outputs, inputs = _shape(rows)
    packed, x = product.pack(_ones(outputs, inputs).to(torch.int8), _ones(outputs)), _ones(rows, inputs)
    multiply = product.multiply
    if rows == 1 and product.one_row is not None:
        multiply = product.one_row
    elif not product.rounds:
        multiply = lambda x, packed: product.multiply(rounded_bytes(x + 0.25), packed)  # noqa: E731
    return best_time(lambda: multiply(x, packed), times=4)


def float_seconds(rows: int) -> float:
    """The same for float32."""
    outputs, inputs = _shape(rows)
    x, weight = _ones(rows, inputs), _ones(outputs, inputs)
    return best_time(lambda: torch.nn.functional.linear(x, weight), times=4)


def _shape(rows: int) -> tuple[int, int]:
    """Outputs and inputs of the layer that is timed: of many rows, the results shall not fit into the fastest cache."""
    return (3072, 768) if rows >= MANY else (512, 512)


@functools.cache
def best_product(rows: int = MANY) -> Int8Product:
    """The fastest exact product. With 8-bit weights, unless those of 7 bits are more than 1.5 times as fast.

    Measured once per process and number of rows, in some milliseconds.

    Args:
        rows: The number of rows for which it should be fast; `ONE` for decoders, which read one token after the other.

    Example:
        >>> import torch
        >>> product = best_product()
        >>> x, weight = torch.tensor([[255.0, 1.0]]), torch.tensor([[60, -60]], dtype=torch.int8)
        >>> x = x if product.rounds else x.to(torch.uint8)
        >>> product.multiply(x, product.pack(weight, torch.ones(1)))
        tensor([[15240.]])
    """
    with torch.inference_mode(False), torch.no_grad(), _ON_CPU:
        times = {product: seconds(product, rows) for product in _candidates() if _is_exact(product)}
    exact = {product: spent * (1.0 if product.levels == 127 else 1.5) for product, spent in times.items()}
    return min(exact, key=exact.__getitem__)
