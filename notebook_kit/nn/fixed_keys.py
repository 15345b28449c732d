"""Attention of one or a few positions to keys and values that stay the same for many steps, as those of an encoder.

A step reads them all and computes little, so what counts is the rate at which memory is read. torch's fused kernel reads float32 at
less than half of that rate on some processors, and bfloat16 at an eighth. Two products are faster there, if in float32 the keys and in
bfloat16 the values are laid out the other way round, each number of the head in a row. Both ways are timed on the processor at
hand before their first use.

Of such keys and values, torch's kernels are up to four times as slow as of others, so two products are computed with a mask and for
more queries too, and what is left to torch gets a copy by rows.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from notebook_kit.nn.few_rows import KINDS, best_time, is_direct_call, is_ordinary_call, is_plain

__all__ = ["attention", "by_rows", "gain", "laid_out", "suits"]

LEAST_GAIN = 1.1
FEWEST_KEYS = 64
MOST_QUERIES = 64


@functools.cache
def gain(threads: int, dtype: torch.dtype = torch.float32) -> float:
    """How many times as fast as the fused kernel two products are on this processor, for one query per head.

    Args:
        threads: `torch.get_num_threads()`; another number is timed again.
        dtype: float32 or bfloat16.
    """
    with torch.inference_mode():
        make = partial(torch.ones, dtype=dtype, device="cpu")  # whatever the defaults are
        query = make(1, 8, 1, 64)
        # In turns, and so large that none is in the processor's fast caches: 1 or 2 MiB each.
        fused = [(make(1, 8, 1024, 64), make(1, 8, 1024, 64)) for _ in range(4)]
        others = [_turned(key, value) for key, value in fused]

        def best(attend: Callable[..., Tensor], pairs: list[tuple[Tensor, Tensor]]) -> float:
            turns = itertools.cycle(pairs)
            return best_time(lambda: attend(query, *next(turns)), 2 * len(pairs), len(pairs))

        return best(F.scaled_dot_product_attention, fused) / best(attention, others)


def laid_out(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The same keys and values, `(batch, heads, positions, head_dim)`, in the memory layout that further steps read fastest."""
    if (
        key.dim() == 4
        and key.shape[2] >= FEWEST_KEYS
        and key.dtype in KINDS
        and is_ordinary_call()
        and is_plain(key, key.dtype)
        and is_plain(value, key.dtype)
        and gain(torch.get_num_threads(), key.dtype) >= LEAST_GAIN
    ):
        return (key, value) if _is_turned(key, value) else _turned(key, value)
    return key.contiguous(), value.contiguous()


def by_rows(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The same keys and values in the memory layout that torch's kernels read fastest: copies after `laid_out`."""
    if _is_turned(key, value) and is_direct_call() and key.device.type == "cpu":
        return key.contiguous(), value.contiguous()
    return key, value


def suits(query: Tensor, key: Tensor, value: Tensor, offset: Tensor | None = None) -> bool:
    """Whether `attention` takes these, and is expected to be faster than the fused kernel: after `laid_out`."""
    return (
        _is_turned(key, value)
        and is_ordinary_call()  # before sizes, on which an exported graph must not depend
        and key.dtype in KINDS
        and query.dim() == 4
        and query.shape[2] <= MOST_QUERIES
        and key.shape[2] >= FEWEST_KEYS
        and query.shape[1] == key.shape[1]
        and all(part is None or is_plain(part, key.dtype) for part in (query, key, value, offset))
    )


def attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None = None, offset: Tensor | None = None
) -> Tensor:
    """`softmax(query @ key.T * scale + offset) @ value`, without gradients.

    Args:
        query: `(batch, heads, from, head_dim)`, float32 or bfloat16 as the others.
        key, value: `(batch, heads, to, head_dim)`.
        scale: Factor of the scores; `head_dim ** -0.5` by default.
        offset: Added to the scores; broadcast to `(batch, heads, from, to)`.

    Returns:
        `(batch, heads, from, head_dim)`.

    Example:
        >>> import torch
        >>> from notebook_kit.nn import fixed_keys
        >>> q, (k, v) = torch.randn(1, 2, 1, 16), torch.randn(2, 1, 2, 100, 16)
        >>> with torch.no_grad():
        ...     found = fixed_keys.attention(q, *fixed_keys.laid_out(k, v))
        >>> torch.allclose(found, torch.nn.functional.scaled_dot_product_attention(q, k, v), atol=1e-5)
        True
    """
    scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scale is None else scale), key.transpose(-2, -1))
    if offset is not None:
        scores.add_(offset)
    return torch.matmul(torch.softmax(scores, dim=-1, out=scores), value)


def _turned(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    if key.dtype == torch.bfloat16:
        return key.contiguous(), value.transpose(-2, -1).contiguous().transpose(-2, -1)
    return key.transpose(-2, -1).contiguous().transpose(-2, -1), value.contiguous()


def _is_turned(key: Tensor, value: Tensor) -> bool:
    one = value if key.dtype == torch.bfloat16 else key
    return one.stride(-2) == 1 and one.shape[-1] > 1
