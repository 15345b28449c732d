"""Fewer different numbers of rows, for products by oneDNN.

oneDNN compiles a product for each number of rows and shape of weights, in about half a millisecond and 0.75 MiB, and keeps the
latest 1,024 of them. Texts of many lengths would take hundreds of MiB. So after some different numbers of rows, others are padded with
rows of zeros to the next of eight numbers per power of two. The results are the same.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor
from torch.nn import functional as F

from notebook_kit.nn.few_rows import is_ordinary_call

__all__ = ["few_counts", "padding", "rounded_up", "scratch"]

MOST_EXACT = 4
"""So many numbers of rows per process are multiplied as they are, which is faster by some percent than padding. With 32, a stream of
recordings of many lengths took 180 MiB more memory, and no less time."""

_exact: set[int] = set()


def rounded_up(rows: Tensor, reuse: bool = False) -> Tensor:
    """The rows, contiguous, with rows of zeros up to one of eight numbers per power of two.

    Args:
        rows: `(rows, columns)`.
        reuse: Whether the result is used up before the next such call, so that it may be in the memory of `scratch`. Only for
            float32.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.row_counts import rounded_up
        >>> [len(rounded_up(torch.ones(rows, 2))) for rows in (15, 16, 17, 1_000, 1_025)]
        [15, 16, 18, 1024, 1152]
    """
    count = len(rows)
    if not (more := _missing(count)):
        return rows.contiguous()
    if not reuse or (padded := scratch(torch.Size((count + more, rows.shape[1])))) is None:
        return F.pad(rows, (0, 0, 0, more))
    padded[:count] = rows
    padded[count:] = 0
    return padded


def few_counts(rows: Tensor, reuse: bool = False, exact: set[int] | None = None) -> Tensor:
    """The rows as they are, if their number is among the first of the process; else `rounded_up`.

    Args:
        rows, reuse: As for `rounded_up`.
        exact: The first numbers, for products that count them apart.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.row_counts import few_counts
        >>> len({len(few_counts(torch.ones(rows, 2))) for rows in range(256, 512)}) <= 4 + 9
        True
    """
    return rounded_up(rows, reuse) if padding(len(rows), exact) else rows


def padding(count: int, exact: set[int] | None = None) -> int:
    """How many rows of zeros `few_counts` adds to so many rows."""
    exact = _exact if exact is None else exact
    more = _missing(count)
    if not more or count in exact:
        return 0
    if len(exact) < MOST_EXACT:
        exact.add(count)
        return 0
    return more


def _missing(count: int) -> int:
    """How many rows a number of rows lacks to the next of eight per power of two."""
    return -count % (1 << max(count.bit_length() - 4, 0))


_scratch = threading.local()


def scratch(shape: torch.Size) -> Tensor | None:
    """Memory for values that are used up before the next call, float32 of this shape, one per thread.

    None in calls that are compiled, traced or transformed: a trace would keep the memory of its thread for all others.
    """
    if not is_ordinary_call():
        return None
    size = shape.numel()
    memory: Tensor | None = getattr(_scratch, "memory", None)
    if memory is None or len(memory) < size:
        with torch.inference_mode(False):
            memory = _scratch.memory = torch.empty(size, dtype=torch.float32, device="cpu")
    return memory[:size].view(shape)
