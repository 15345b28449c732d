"""Products of one or a few rows with small 8-bit matrices, whose activations stay in bfloat16 instead of being rounded to 8 bits.

A step of generation multiplies one row per sequence. With matrices of up to about a million weights, rounding the rows takes longer
than the product. torch has an operation that takes 8-bit weights and bfloat16 rows. It is made for large models with
8-bit weights, and multiplies with floating-point numbers: too slow for many rows or large matrices, but a small product takes a third
of the time. It is timed on the processor at hand for each shape.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from notebook_kit.nn.few_rows import best_time
from notebook_kit.nn.int8 import Int8Product
from notebook_kit.nn.int8_rows import added, rounded_rows

__all__ = ["LEAST_GAIN", "MOST_ROWS", "gain", "product"]

MOST_ROWS = 8
LEAST_GAIN = 1.2
MOST_WEIGHTS = 1 << 21  # larger matrices are read from memory, where rounding takes little of the time
CACHE = 1 << 21  # numbers, 8 MiB


def product(
    x: Tensor, weight: Tensor, ones: Tensor, scale: Tensor, shift: Tensor, exact: Tensor, columns: Tensor
) -> Tensor:
    """`(x @ weight.T) * scale + x[:, columns] @ exact + shift`, without gradients.

    Args:
        x: `(rows, in)`, float32.
        weight: `(out, in)`, int8.
        ones: `(out,)`, bfloat16.
        scale, shift: `(out,)`, float32.
        exact: `(count, out)`, float32.
        columns: `(count,)`, columns of `x`, which are 0 in `weight`.

    Returns:
        `(rows, out)`, float32.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.int8_few import product
        >>> x, weight, ones = torch.ones(2, 64), torch.full((32, 64), 3, dtype=torch.int8), torch.ones(32)
        >>> product(x, weight, ones.bfloat16(), 0.5 * ones, ones, torch.zeros(0, 32), torch.zeros(0, dtype=torch.int64))[0, :4]
        tensor([97., 97., 97., 97.])
    """
    out = torch._weight_int8pack_mm(x.bfloat16(), weight, ones)  # in bfloat16; the scale, with more digits, follows
    if columns.shape[0]:
        return torch.addmm(shift, x.index_select(1, columns), exact).addcmul_(out, scale)
    return torch.addcmul(shift, out, scale)


@functools.cache
def gain(by_levels: Int8Product, rows: int, outputs: int, inputs: int, count: int, threads: int) -> float:
    """How many times as fast as another product of 8 bits this one is on this processor; 0 if torch does not have it.

    Args:
        by_levels: The other one.
        rows, outputs, inputs: The shape.
        count: The number of columns that are multiplied in float32.
        threads: `torch.get_num_threads()`; another number is timed again.
    """
    if not 1 <= rows <= MOST_ROWS or outputs * inputs > MOST_WEIGHTS or inputs % 64 or outputs % 32:
        return 0.0
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        levels = 2 * by_levels.levels + 1
        weight = (torch.arange(outputs * inputs, dtype=torch.int32) % levels - by_levels.levels).to(torch.int8)
        weight = weight.view(outputs, inputs)
        columns, others = torch.arange(count), torch.ones(inputs, dtype=torch.float32)
        weight[:, :count], others[:count] = 0, 0
        x = torch.linspace(-1, 1, rows * inputs, dtype=torch.float32).view(rows, inputs)
        scale, exact = torch.ones(outputs, dtype=torch.float32), torch.zeros(count + 2, outputs, dtype=torch.float32)
        ones = scale.bfloat16()
        packed, cache = by_levels.pack(weight, scale), torch.ones(CACHE, dtype=torch.float32)

        def few() -> Tensor:
            return product(x, weight, ones, scale, exact[-1], exact[1:-1], columns)

        def other() -> Tensor:
            if rows == 1 and by_levels.one_row is not None:
                out = by_levels.one_row(x * others, packed)
                return out.addmm_(torch.cat((x.index_select(1, columns), x[:, :1]), dim=1), exact[1:])
            given, step, factors = rounded_rows(x, columns, others, by_levels.rounds)
            return added(by_levels.multiply(given, packed), step, factors, exact)

        try:
            found = few()
        except (AttributeError, RuntimeError, TypeError, NotImplementedError):  # not in this build of torch
            return 0.0
        sums = torch.mm(x.bfloat16().float(), weight.float().t())
        if not torch.allclose(found, sums, rtol=0.01, atol=0.01 * float(sums.abs().max())):
            return 0.0
        spent = []
        for _ in range(6):  # in turns, with weights that are not in the processor's fast caches, as in a step
            for call in (few, other):
                cache.sum()
                spent.append(best_time(call, 1, 0))
        return min(spent[1::2]) / min(spent[::2])
