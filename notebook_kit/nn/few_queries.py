"""Attention of one or a few positions to many keys and values on the CPU, as in a step of generation.

A step reads all keys and values and computes little, so what counts is the rate at which memory is read. On some processors, torch's
fused kernel reads float32 at less than half of that rate and bfloat16 at an eighth, and reads keys that several heads share once
for each of these heads. Two products are faster there. Keys and values that stay the same for many steps, as those of an encoder, are
read faster still if in float32 the keys, and in bfloat16 the values, are laid out the other way round, each number of the
head in a row. All ways are timed on the processor at hand before their first use.

Of keys and values that are laid out so, torch's kernels are up to four times as slow as of others, so two products are computed with more
queries too, and what is left to torch gets a copy by rows.
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
LEAST_GAIN_AS_STORED = 1.3  # of keys and values that grow, as each step copies or reads them in another way
FEWEST_KEYS, FEWEST_AS_STORED = 64, 128
MOST_QUERIES, MOST_QUERIES_AS_STORED = 64, 8


@functools.cache
def gain(threads: int, dtype: torch.dtype = torch.float32, sharing: int = 1, is_turned: bool = False) -> float:
    """How many times as fast as the fused kernel two products are on this processor, for one query per head.

    Args:
        threads: `torch.get_num_threads()`; another number is timed again.
        dtype: float32 or bfloat16.
        sharing: The number of heads that share keys and values.
        is_turned: Whether they are laid out by `laid_out`.
    """
    with torch.inference_mode():
        make = partial(torch.ones, dtype=dtype, device="cpu")  # whatever the defaults are
        heads = 8 if sharing == 1 else 2
        query = make(1, heads * sharing, 1, 64)
        # In turns, and so large that none is in the processor's fast caches.
        fused = [(make(1, heads, 1024, 64), make(1, heads, 1024, 64)) for _ in range(4)]
        others = [_turned(key, value) for key, value in fused] if is_turned else fused

        def best(attend: Callable[..., Tensor], pairs: list[tuple[Tensor, Tensor]]) -> float:
            turns = itertools.cycle(pairs)
            return best_time(lambda: attend(query, *next(turns)), 2 * len(pairs), len(pairs))

        kernel = partial(F.scaled_dot_product_attention, enable_gqa=sharing > 1)
        return best(kernel, fused) / best(attention, others)


def laid_out(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The same keys and values, `(batch, heads, positions, head_dim)`, in the memory layout that further steps read fastest."""
    if (
        key.dim() == 4
        and key.shape[2] >= FEWEST_KEYS
        and key.dtype in KINDS
        and is_ordinary_call()
        and is_plain(key, key.dtype)
        and is_plain(value, key.dtype)
        and gain(torch.get_num_threads(), key.dtype, is_turned=True) >= LEAST_GAIN
    ):
        return (key, value) if _is_turned(key, value) else _turned(key, value)
    return key.contiguous(), value.contiguous()


def by_rows(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The same keys and values in the memory layout that torch's kernels read fastest: copies after `laid_out`."""
    if _is_turned(key, value) and is_direct_call() and key.device.type == "cpu":
        return key.contiguous(), value.contiguous()
    return key, value


def suits(query: Tensor, key: Tensor, value: Tensor, offset: Tensor | None = None) -> bool:
    """Whether `attention` takes these, and is expected to be faster than the fused kernel."""
    if not (
        is_ordinary_call()  # before sizes, on which an exported graph must not depend
        and key.dtype in KINDS
        and query.dim() == 4
        and query.shape[2] <= MOST_QUERIES
        and key.shape[2] >= FEWEST_KEYS
        and key.shape[1] > 0
        and query.shape[1] % key.shape[1] == 0
        and all(part is None or is_plain(part, key.dtype) for part in (query, key, value, offset))
    ):
        return False
    sharing = query.shape[1] // key.shape[1]
    if sharing == 1 and _is_turned(key, value):
        return True
    return (
        query.shape[2] <= MOST_QUERIES_AS_STORED
        and key.shape[2] >= FEWEST_AS_STORED
        and (sharing > 1 or key.dtype == torch.bfloat16)  # else about as fast
        and (offset is None or sharing == 1 or (offset.dim() == 4 and offset.shape[1] == query.shape[2] == 1))
        and gain(torch.get_num_threads(), key.dtype, sharing) >= LEAST_GAIN_AS_STORED
    )


def attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None = None, offset: Tensor | None = None
) -> Tensor:
    """`softmax(query @ key.T * scale + offset) @ value`, without gradients.

    Args:
        query: `(batch, heads, from, head_dim)`, float32 or bfloat16 as the others.
        key, value: `(batch, heads or fewer, to, head_dim)`.
        scale: Factor of the scores; `head_dim ** -0.5` by default.
        offset: Added to the scores; broadcast to `(batch, heads, from, to)`. Where heads share keys, `(batch or 1, 1, 1, to)`.

    Returns:
        `(batch, heads, from, head_dim)`.

    Example:
        >>> import torch
        >>> from notebook_kit.nn import few_queries
        >>> q, (k, v) = torch.randn(1, 4, 1, 16), torch.randn(2, 1, 2, 100, 16)
        >>> with torch.no_grad():
        ...     found = few_queries.attention(q, *few_queries.laid_out(k, v))
        >>> exact = torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        >>> torch.allclose(found, exact, atol=1e-5)
        True
    """
    B, H, Q, D = query.shape
    heads = key.shape[1]  # each serves several heads of the query
    # Scores in float32, as the fused kernel has them: rounded to bfloat16, large ones would be wrong by percents.
    rows = (query.float() * (D**-0.5 if scale is None else scale)).reshape(B, heads, H // heads * Q, D)
    scores = torch.matmul(rows, key.float().transpose(-2, -1))
    if offset is not None:
        scores.add_(offset)
    weights = torch.softmax(scores, dim=-1, out=scores).to(value.dtype)
    return torch.matmul(weights, value).view(B, H, Q, value.shape[-1])


def _turned(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    if key.dtype == torch.bfloat16:
        return key.contiguous(), value.transpose(-2, -1).contiguous().transpose(-2, -1)
    return key.transpose(-2, -1).contiguous().transpose(-2, -1), value.contiguous()


def _is_turned(key: Tensor, value: Tensor) -> bool:
    one = value if key.dtype == torch.bfloat16 else key
    return one.stride(-2) == 1 and one.shape[-1] > 1
