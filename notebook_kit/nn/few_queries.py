"""Attention of one or a few positions to many keys and values on the CPU, as in a step of generation.

A step reads all keys and values and computes little, so what counts is the rate at which memory is read. On some processors, torch's
fused kernel reads float32 at less than half of that rate and bfloat16 at an eighth, and reads keys that several heads share once
for each of these heads. Two products are faster there. Keys and values that stay the same for many steps, as those of an encoder, are
read faster still if in float32 the keys, and in bfloat16 the values, are laid out the other way round, each number of the
head in a row. All ways are timed on the processor at hand before their first use.

In models with 8-bit weights, these keys and values are kept in float16, half of the memory to read. Its error of 1 in 2,000 is small
beside that of 8 bits. Scores are computed in float32: the keys are converted in parts that stay in the processor's cache.

Of keys and values that are laid out so, torch's kernels are up to four times as slow as of others, so two products are computed with more
queries too, and what is left to torch gets a copy by rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from notebook_kit.nn.few_rows import KINDS, best_time, is_direct_call, is_ordinary_call, is_plain
from notebook_kit.nn.row_counts import scratch

__all__ = ["attention", "by_rows", "gain", "gain_of_halves", "is_half", "laid_out", "suits"]

LEAST_GAIN = 1.05
LEAST_GAIN_AS_STORED = 1.3  # of keys and values that grow, as each step copies or reads them in another way
MOST_OF_HALVES = torch.finfo(torch.float16).max
LEAST_NUMBERS = 1 << 18  # of the keys of a layer; fewer stay in the processor's caches
PART = 1 << 18  # numbers of keys or values that are converted to float32 together: 1 MiB
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
        heads = 8 if sharing == 1 else 2
        query = torch.ones(2, heads * sharing, 1, 64, dtype=dtype, device="cpu")  # whatever the defaults are
        stored = _sets(heads, dtype)
        kernel = partial(F.scaled_dot_product_attention, enable_gqa=sharing > 1)
        others = [_turned(*one) for one in stored] if is_turned else stored
        return _ratio(
            [partial(kernel, query, *one) for one in stored], [partial(attention, query, *one) for one in others]
        )


@functools.cache
def gain_of_halves(threads: int) -> float:
    """How many times as fast `attention` to float16 is on this processor as to float32, for one query per head."""
    with torch.inference_mode():
        query, stored = torch.ones(2, 8, 1, 64, dtype=torch.float32, device="cpu"), _sets(8, torch.float32)
        turned, halves = (
            [partial(attention, query, *lay_out(*one)) for one in stored] for lay_out in (_turned, _halves)
        )
        return _ratio(turned, halves)


def _sets(heads: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of several layers: more than stays in the processor's caches, 48 MiB in float32 with 8 heads."""
    make = partial(torch.ones, 2, heads, 1024, 64, dtype=dtype, device="cpu")
    return [(make(), make()) for _ in range(6)]


def _ratio(first: Sequence[Callable[[], Any]], second: Sequence[Callable[[], Any]]) -> float:
    """How many times as long the first calls take as the second; in turns, since other programs run at times."""
    spent = [[best_time(call, 1, 0) for call in pair] for _ in range(3) for pair in zip(first, second, strict=True)]
    return min(one for one, _ in spent) / min(other for _, other in spent)


def laid_out(key: Tensor, value: Tensor, exact: bool = True) -> tuple[Tensor, Tensor]:
    """The same keys and values in the memory layout that further steps read fastest.

    Args:
        key, value: `(batch, heads, positions, head_dim)`.
        exact: Whether they stay as they are, rather than be rounded to float16 where that is faster.
    """
    if (
        key.dim() == 4
        and key.shape[2] >= FEWEST_KEYS
        and key.numel() >= LEAST_NUMBERS
        and key.dtype in KINDS
        and is_ordinary_call()
        and is_plain(key, key.dtype)
        and is_plain(value, key.dtype)
    ):
        threads = torch.get_num_threads()
        if (
            not exact
            and key.dtype == torch.float32
            and gain_of_halves(threads) >= LEAST_GAIN
            and all(low > -MOST_OF_HALVES and high < MOST_OF_HALVES for low, high in map(torch.aminmax, (key, value)))
        ):
            return _halves(key, value)
        if gain(threads, key.dtype, is_turned=True) >= LEAST_GAIN:
            return (key, value) if _is_turned(key, value) else _turned(key, value)
    return key.contiguous(), value.contiguous()


def is_half(dtype: torch.dtype, key: Tensor) -> bool:
    """Whether `laid_out` has rounded the keys to float16, for queries of this dtype."""
    return key.dtype == torch.float16 and dtype == torch.float32


def by_rows(key: Tensor, value: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same keys and values as torch's kernels take them and read them fastest: copies after `laid_out`.

    Args:
        key, value: `(batch, heads, positions, head_dim)`.
        dtype: That of the query.
    """
    if is_half(dtype, key):
        return key.float().contiguous(), value.float().contiguous()
    if _is_turned(key, value) and is_direct_call() and key.device.type == "cpu":
        return key.contiguous(), value.contiguous()
    return key, value


def suits(query: Tensor, key: Tensor, value: Tensor, offset: Tensor | None = None) -> bool:
    """Whether `attention` takes these, and is expected to be faster than the fused kernel."""
    if not (
        is_ordinary_call()  # before sizes, on which an exported graph must not depend
        and (key.dtype in KINDS or is_half(query.dtype, key))
        and query.dim() == 4
        and query.shape[2] <= MOST_QUERIES
        and key.shape[2] >= FEWEST_KEYS
        and key.shape[1] > 0
        and query.shape[1] % key.shape[1] == 0
        and all(is_plain(part, key.dtype) for part in (key, value))
        and all(part is None or is_plain(part, query.dtype) for part in (query, offset))
        and (query.dtype == key.dtype or is_half(query.dtype, key))
    ):
        return False
    if key.dtype == torch.float16:
        return query.shape[1] == key.shape[1] and all(x.transpose(-2, -1).is_contiguous() for x in (key, value))
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
        key, value: `(batch, heads or fewer, to, head_dim)`; or float16, from `laid_out`.
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
    if is_half(query.dtype, key):
        return _attention_to_halves(query, key, value, scale, offset)
    B, H, Q, D = query.shape
    heads = key.shape[1]  # each serves several heads of the query
    # Scores in float32, as the fused kernel has them: rounded to bfloat16, large ones would be wrong by percents.
    rows = (query.float() * (D**-0.5 if scale is None else scale)).reshape(B, heads, H // heads * Q, D)
    scores = torch.matmul(rows, key.float().transpose(-2, -1))
    if offset is not None:
        scores.add_(offset)
    weights = torch.softmax(scores, dim=-1, out=scores).to(value.dtype)
    return torch.matmul(weights, value).view(B, H, Q, value.shape[-1])


def _attention_to_halves(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, offset: Tensor | None
) -> Tensor:
    B, H, Q, D = query.shape
    T, width = value.shape[-2:]
    rows = (query * (D**-0.5 if scale is None else scale)).reshape(B * H, Q, D)
    scores = query.new_empty(B * H, Q, T)
    _multiply(rows, key.transpose(-2, -1).view(B * H, D, T), scores)
    if offset is not None:
        scores.view(B, H, Q, T).add_(offset)
    weights = torch.softmax(scores, dim=-1, out=scores)
    by_columns = value.transpose(-2, -1).view(B * H, width, T)
    if Q == 1:  # torch multiplies one row of float16 fast, and sums in float32
        return torch.bmm(weights.half(), by_columns.transpose(-2, -1)).float().view(B, H, Q, width)
    result = query.new_empty(B * H, Q, width)
    _multiply(weights, by_columns, result, is_transposed=True)
    return result.view(B, H, Q, width)


def _multiply(x: Tensor, halves: Tensor, out: Tensor, is_transposed: bool = False) -> None:
    """`x @ halves`, each `(heads, ...)`, with some heads at a time in float32, in the same memory."""
    count, rows, columns = halves.shape
    heads = max(1, min(count, PART // (rows * columns)))
    memory = scratch(torch.Size((heads, rows, columns)))
    assert memory is not None  # else `suits` is False
    for given, part, into in zip(x.split(heads), halves.split(heads), out.split(heads), strict=True):
        floats = (memory if part.shape[0] == heads else memory[: part.shape[0]]).copy_(part)
        torch.bmm(given, floats.transpose(-2, -1) if is_transposed else floats, out=into)


def _halves(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """In float16, each number of the head in a row."""
    found = (x.half().transpose(-2, -1).contiguous().transpose(-2, -1) for x in (key, value))
    return next(found), next(found)


def _turned(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    if key.dtype == torch.bfloat16:
        return key.contiguous(), value.transpose(-2, -1).contiguous().transpose(-2, -1)
    return key.transpose(-2, -1).contiguous().transpose(-2, -1), value.contiguous()


def _is_turned(key: Tensor, value: Tensor) -> bool:
    one = value if key.dtype == torch.bfloat16 else key
    return one.stride(-2) == 1 and one.shape[-1] > 1
