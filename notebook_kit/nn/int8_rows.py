"""The activations of 8-bit products: each row in whole steps of a range of its own, so that a text's result does not depend on its batch.

In a step of generation, with one or a few rows, the operations around a product take as long as the product. So layers that read the
same states, such as those of queries, keys and values, round them only once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from notebook_kit.nn.few_rows import here
from notebook_kit.nn.row_counts import scratch

__all__ = ["FEW", "TINY", "RoundedRows", "rounded_rows", "shared_rows"]

FEW = 32
"""So many rows are kept for the next layer."""

TINY = 1e-12


class RoundedRows(NamedTuple):
    """Rows that are `step * (levels + zero)`, except for columns that are multiplied in float32.

    Attributes:
        levels: `(rows, in)`: from 0 to 255.5; a product rounds them.
        step: `(rows, 1)`.
        factors: `(rows, count + 2)`, of the part in float32: `step * zero`, the exact columns, and ones.
    """

    levels: Tensor
    step: Tensor
    factors: Tensor


def rounded_rows(x: Tensor, columns: Tensor, others: Tensor, reuse: bool = False) -> RoundedRows:
    """The range of each row, and the row in steps of it.

    Args:
        x: `(rows, in)`, float32.
        columns: `(count,)`, those that are multiplied in float32.
        others: `(in,)`: 0 for these columns, 1 for the others.
        reuse: Whether the result is used up before the next such call, so that it may be in the memory of `scratch`. New memory for
            a large tensor would cost more time than the arithmetic.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.int8_rows import rounded_rows
        >>> rows = rounded_rows(torch.tensor([[-1.0, 1.55, 9.0]]), torch.tensor([2]), torch.tensor([1.0, 1.0, 0.0]))
        >>> rows.levels.round(), rows.factors.round()  # in steps of 0.01, from -1
        (tensor([[  0., 255., 100.]]), tensor([[-1.,  9.,  1.]]))
    """
    out = scratch(x.shape) if reuse else None
    rest = torch.mul(x, others, out=out) if len(columns) else x
    lowest, highest = rest.amin(1, keepdim=True), rest.amax(1, keepdim=True)
    if rest is x:  # else the range contains the 0 of the columns that are left out
        lowest, highest = lowest.clamp_max_(0), highest.clamp_min_(0)
    step = highest.sub_(lowest).mul_(1 / 255).clamp_min_(TINY)
    zero = lowest.div_(step).round_()
    levels = torch.div(rest, step, out=out).sub_(zero)
    near = x.index_select(1, columns)
    return RoundedRows(levels, step, torch.cat((zero.mul_(step), near, torch.ones_like(step)), dim=1))


def shared_rows(x: Tensor, rows: Tensor, columns: Tensor, others: Tensor) -> RoundedRows:
    """As `rounded_rows` of the few `rows` in `x`; those of the previous call on this thread, if it was for the same states."""
    if x.is_inference():  # whose changes torch does not count
        return rounded_rows(rows, columns, others)
    known: Any = getattr(here, "rounded", None)
    if known is not None and known[0] is x and known[1] == x._version and known[2] is columns:
        return known[3]
    found = rounded_rows(rows, columns, others)
    here.rounded = x, x._version, columns, found
    return found
