"""Fewer different numbers of rows, for products by oneDNN.

oneDNN compiles a product for each number of rows and shape of weights, in about half a millisecond and 0.6 MiB, and keeps the
latest 1,024 of them. Texts of many lengths would take hundreds of MiB, and as much again is lost in the gaps between what is kept. So
after some different numbers of rows, others are padded with rows of zeros to the next of eight numbers per power of two. More than 512
rows are multiplied in parts of 512 and a rest, which costs batches of texts of DistilBERT's size 2 to 6 % of their time, and recordings
nothing. The results are the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from notebook_kit.nn.few_rows import is_ordinary_call

__all__ = ["PART", "few_counts", "in_parts", "padding", "parts", "rounded_up", "scratch"]

MOST_EXACT = 4
"""So many numbers of rows per process are multiplied as they are, which is faster by some percent than padding. With 32, a stream of
recordings of many lengths took 180 MiB more memory, and no less time."""

PART, STEP = 512, 32
"""The largest part, and what the rest after such parts is padded to a multiple of, both in rows."""

_exact: set[int] = set()


def in_parts(
    multiply: Callable[[Tensor], Tensor], rows: Tensor, exact: set[int] | None = None, coarse: bool = False
) -> Tensor:
    """`multiply(rows)`, which is called with few different numbers of rows.

    Args:
        multiply: Rows to as many rows, each of which depends on its own only: a product, or an activation.
        rows: `(rows, columns)`, which `multiply` gets as they are if their number is among the first of the process.
        exact: The first numbers, for products that count them apart.
        coarse: Whether to pad more, for fewer numbers: for small layers, which take as much memory per number and less time.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.row_counts import in_parts
        >>> rows, counts = torch.arange(1_300.0)[:, None], []
        >>> found = in_parts(lambda part: counts.append(len(part)) or 2 * part, rows, exact=set(range(4)))
        >>> counts, torch.equal(found, 2 * rows)
        ([512, 512, 288], True)
    """
    count = len(rows)
    sizes = parts(count, exact, coarse)
    if len(sizes) == 1:
        return multiply(rows if sizes[0] == count else _padded(rows, sizes[0]))[:count]
    result, start = None, 0
    for size in sizes:
        part = rows[start : start + size]
        found = multiply(part.contiguous() if len(part) == size else _padded(part, size))
        if result is None:
            result = found.new_empty(count, *found.shape[1:])
        result[start : start + size] = found[: len(part)]
        start += size
    assert result is not None
    return result


def parts(count: int, exact: set[int] | None = None, coarse: bool = False) -> list[int]:
    """The numbers of rows in which so many are multiplied; the last may exceed what is left.

    Args:
        count: Number of rows.
        exact, coarse: As for `in_parts`.

    Example:
        >>> from notebook_kit.nn.row_counts import parts
        >>> [parts(count, exact=set(range(4))) for count in (100, 300, 1_000, 1_100)]
        [[104], [320], [512, 512], [512, 512, 96]]
    """
    if count < (2 * STEP if coarse else PART):
        return [count + padding(count, exact)]
    step = 2 * STEP if coarse and count > 4 * STEP else STEP
    more = padding(count, exact, step)
    if not more and count % step:  # one of the first
        return [count]
    whole, left = divmod(count + more, PART)
    return [PART] * whole + [left] * bool(left)


def rounded_up(rows: Tensor) -> Tensor:
    """The rows, contiguous, with rows of zeros up to one of eight numbers per power of two.

    Args:
        rows: `(rows, columns)`.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.row_counts import rounded_up
        >>> [len(rounded_up(torch.ones(rows, 2))) for rows in (15, 16, 17, 1_000, 1_025)]
        [15, 16, 18, 1024, 1152]
    """
    more = _missing(len(rows))
    return F.pad(rows, (0, 0, 0, more)) if more else rows.contiguous()


def few_counts(rows: Tensor, exact: set[int] | None = None) -> Tensor:
    """The rows as they are, if their number is among the first of the process; else `rounded_up`.

    Args:
        rows: `(rows, columns)`.
        exact: The first numbers, for products that count them apart.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.row_counts import few_counts
        >>> len({len(few_counts(torch.ones(rows, 2))) for rows in range(256, 512)}) <= 4 + 9
        True
    """
    return rounded_up(rows) if padding(len(rows), exact) else rows


def padding(count: int, exact: set[int] | None = None, step: int | None = None) -> int:
    """How many rows of zeros are added to so many rows, unless their number is among the first of the process.

    Args:
        count: Number of rows.
        exact: The first numbers, for products that count them apart.
        step: What the sum is a multiple of; by default, it is one of eight numbers per power of two.
    """
    exact = _exact if exact is None else exact
    more = _missing(count) if step is None else -count % step
    if not more or count in exact:
        return 0
    if len(exact) < MOST_EXACT:
        exact.add(count)
        return 0
    return more


def _padded(rows: Tensor, size: int) -> Tensor:
    """Float32 in the memory of `scratch`, which the next call overwrites; other kinds in new memory."""
    count = len(rows)
    if rows.dtype != torch.float32 or (padded := scratch(torch.Size((size, rows.shape[1])))) is None:
        return F.pad(rows, (0, 0, 0, size - count))
    padded[:count] = rows
    padded[count:] = 0
    return padded


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
