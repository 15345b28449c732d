"""The activations of 8-bit products: each row in whole steps of its range, so that a text's result does not depend on its batch.

In a step of generation, with one or a few rows, the operations around a product take as long as the product, and with many rows a
third. So layers that read the same states, such as those of queries, keys and values, round them only once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from notebook_kit.nn.few_rows import here, is_ordinary_call, is_plain, product
from notebook_kit.nn.int8 import rounded_bytes
from notebook_kit.nn.many_rows import LEAST_GAIN, LEAST_PRODUCT, gain
from notebook_kit.nn.row_counts import few_counts, scratch

__all__ = ["FEW", "TINY", "RoundedRows", "added", "rounded_rows", "shared_rows"]

FEW = 32
"""So many rows are a step of generation or a short prompt."""

BLOCK = 1 << 18
"""Numbers that are rounded together: 1 MiB."""

TINY = 1e-12

SHORTER = 1 - 2.0**-21
"""Factor of levels. As that of 0 is a whole number, the largest value of a row could be half a step above level 255, and would not be
a byte. The operations that lead to it lose less than that to rounding."""


class RoundedRows(NamedTuple):
    """Rows that are `step * (levels + zero)`, except for columns that are multiplied in float32.

    Attributes:
        levels: `(rows, in)`, as the product takes them: float32 from 0 to 255.5, or uint8.
        step: `(rows, 1)`.
        factors: `(rows, count + 2)`, of the part in float32: `step * zero`, the exact columns, and ones.
    """

    levels: Tensor
    step: Tensor
    factors: Tensor


def rounded_rows(x: Tensor, columns: Tensor, others: Tensor, rounds: bool, reuse: bool = False) -> RoundedRows:
    """The range of each row, and the row in steps of it.

    Args:
        x: `(rows, in)`, float32.
        columns: `(count,)`, those that are multiplied in float32.
        others: `(in,)`: 0 for these columns, 1 for the others.
        rounds: Whether the product rounds the levels itself.
        reuse: Whether the result is used up before the next such call, so that it may be in the memory of `scratch`. New memory for
            a large tensor would cost more time than the arithmetic.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.int8_rows import rounded_rows
        >>> x, columns, others = torch.tensor([[-1.0, 1.55, 9.0]]), torch.tensor([2]), torch.tensor([1.0, 1.0, 0.0])
        >>> rows = rounded_rows(x, columns, others, rounds=True)
        >>> rows.levels.round(), rows.factors.round()  # in steps of 0.01, from -1
        (tensor([[  0., 255., 100.]]), tensor([[-1.,  9.,  1.]]))
        >>> rounded_rows(x, columns, others, rounds=False).levels
        tensor([[  0, 255, 100]], dtype=torch.uint8)
    """
    masks = others if len(columns) else None
    block = BLOCK // x.shape[1] + 1
    if rounds or not is_ordinary_call() or len(x) <= block:  # in this order: a graph is for any number of rows
        levels, step, zero = _levels(x, masks, rounds, reuse)
    else:  # block by block, which stay in the processor's cache
        levels = torch.empty_like(x, dtype=torch.uint8, memory_format=torch.contiguous_format)
        parts = zip(x.split(block), levels.split(block), strict=True)
        step, zero = map(
            torch.cat, zip(*(_levels(part, masks, rounds, True, out)[1:] for part, out in parts), strict=True)
        )
    near = x.index_select(1, columns)
    return RoundedRows(levels, step, torch.cat((zero.mul_(step), near, torch.ones_like(step)), dim=1))


def _levels(
    x: Tensor, others: Tensor | None, rounds: bool, reuse: bool, out: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Levels, the step between two of them, and the number of steps from 0 to the first."""
    memory = scratch(x.shape) if reuse else None
    rest = x if others is None else torch.mul(x, others, out=memory)
    lowest, highest = rest.amin(1, keepdim=True), rest.amax(1, keepdim=True)
    if others is None:  # else the range contains the 0 of the columns that are left out
        lowest, highest = lowest.clamp_max_(0), highest.clamp_min_(0)
    step = highest.sub_(lowest).mul_(1 / 255).clamp_min_(TINY)
    if rounds:
        zero = lowest.div_(step).round_()
        return torch.div(rest, step, out=memory).sub_(zero), step, zero
    per_step = step.reciprocal().mul_(SHORTER)
    zero = lowest.mul_(per_step).round_()
    return rounded_bytes(torch.mul(rest, per_step, out=memory), zero, out), step, zero


def added(
    out: Tensor, step: Tensor, factors: Tensor, exact: Tensor, finish: Callable[[Tensor], Any] | None = None
) -> Tensor:
    """`out * step + factors @ exact`, in the memory of `out`.

    Args:
        out: `(rows, out)`, the products of levels.
        step, factors: Of the `RoundedRows`.
        exact: `(count + 2, out)`: what the factors are multiplied with.
        finish: Changes each number of a tensor in place, such as an activation.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.int8_rows import added
        >>> added(torch.ones(2, 3), torch.tensor([[2.0], [3.0]]), torch.ones(2, 2), torch.ones(2, 3))
        tensor([[4., 4., 4.],
                [5., 5., 5.]])
    """
    if (
        is_ordinary_call()  # first, since a graph is for any number of rows
        and out.numel() * len(exact) >= LEAST_PRODUCT
        and is_plain(factors)
        and gain(False, torch.get_num_threads()) >= LEAST_GAIN
    ):
        # Block by block: all of `factors @ exact` would need new memory.
        weight, block = exact.t(), 4 * BLOCK // out.shape[1] + 1
        for part, steps, given in zip(out.split(block), step.split(block), factors.split(block), strict=True):
            torch.addcmul(product(few_counts(given), weight, None)[: len(part)], part, steps, out=part)
            if finish is not None:
                finish(part)
        return out
    out.mul_(step).addmm_(factors, exact)
    if finish is not None:
        finish(out)
    return out


def shared_rows(x: Tensor, rows: Tensor, columns: Tensor, others: Tensor, rounds: bool) -> RoundedRows:
    """As `rounded_rows` of the `rows` in `x`; those of an earlier call on this thread, if it was for the same states.

    Those of the previous call with few rows are kept, and those with many, as of an encoder, as long as the states exist. Changes
    of the states in place are seen, except through `x.data` or NumPy, which torch does not count.
    """
    if x.is_inference():  # whose changes torch does not count
        return rounded_rows(rows, columns, others, rounds, reuse=not rounds)
    kept, key = "rounded" if len(rows) <= FEW else "rounded_many", (x._version, id(columns), rounds)
    known: Any = getattr(here, kept, None)
    if known is not None and known[0]() is x and known[1] == key and known[3]:
        return known[3][0]
    found = [rounded_rows(rows, columns, others, rounds, reuse=not rounds)]
    # With the columns, as another tensor could have their id.
    setattr(here, kept, (weakref.ref(x, lambda _: found.clear()), key, columns, found))
    return found[0]
