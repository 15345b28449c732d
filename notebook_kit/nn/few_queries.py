"""Attention of one or a few positions to many keys and values on the CPU, as in a step of generation.

A step reads all keys and values and computes little, so what counts is the rate at which memory is read. On some processors, torch's
fused kernel reads float32 at less than half of that rate and bfloat16 at an eighth, and reads keys that several heads share once
for each of these heads. Two products are faster there. Keys and values that stay the same for many steps, as those of an encoder, are
read faster still if in float32 the keys, and in bfloat16 the values, are laid out the other way round, each number of the
head in a row. Both products are then sums of weighted rows, of the keys' numbers and of the values, for which torch has a kernel that
is twice as fast: see `nn/weighted_sums.py`. All ways are timed on the processor at hand before their first use.

In models with 8-bit weights, these keys and values are rounded to 8 bits too, a quarter of the memory to read: keys with one step for
each number of a head, values with one for each position.

Of keys and values that are laid out so, torch's kernels are up to four times as slow as of others, so two products are computed with more
queries too, and what is left to torch gets a copy by rows.

Source: Liu et al., KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache, 2024, section 3, for how keys and values are rounded.
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
from notebook_kit.nn.weighted_sums import ENDING, available, in_bytes, in_floats, steps, weighted_sums

__all__ = ["attention", "by_rows", "gain", "gain_of_bytes", "gain_of_sums", "is_rounded", "laid_out", "suits"]

LEAST_GAIN = 1.05
LEAST_GAIN_AS_STORED = 1.3  # of keys and values that grow, as each step copies or reads them in another way
LARGEST = 1e30  # of numbers that are rounded; their range and its steps must be finite
SMALLEST = 1e-5  # usual number that is rounded: the kernel adds 1e-8 to ranges
COARSEST = 0.08  # steps, as a part of a usual number; 0.04 for a normal distribution and in tiny.en
LEAST_NUMBERS = 1 << 18  # of the keys of a layer; fewer stay in the processor's caches
FEWEST_KEYS, FEWEST_AS_STORED = 64, 128
MOST_QUERIES, MOST_QUERIES_AS_STORED, MOST_QUERIES_SUMMED = 64, 8, 8


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
def gain_of_sums(threads: int) -> float:
    """How many times as fast as two products sums of weighted rows are on this processor, for one query per head; 0 if torch lacks them."""
    if not available(torch.float32):
        return 0.0
    with torch.inference_mode():
        query, stored = _query(), [_turned(*one) for one in _sets(8, torch.float32)]
        ways = ([partial(way, query, *one, None, None) for one in stored] for way in (_products, _by_sums))
        return _ratio(*ways)


@functools.cache
def gain_of_bytes(threads: int) -> float:
    """How many times as fast `attention` to 8 bits is on this processor as to float32, for one query per head; 0 if torch lacks it."""
    if not available(torch.uint8):
        return 0.0
    with torch.inference_mode():
        query, stored = _query(), _sets(8, torch.float32)
        ways = ([partial(attention, query, *lay_out(*one)) for one in stored] for lay_out in (_turned, _rounded))
        return _ratio(*ways)


def _query() -> Tensor:
    return torch.ones(2, 8, 1, 64, dtype=torch.float32, device="cpu")  # whatever the defaults are


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
        exact: Whether they stay as they are, rather than be rounded to 8 bits where that is faster. Of rounded ones, only `attention`
            and `by_rows` may read the numbers.
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
            and gain_of_bytes(threads) >= LEAST_GAIN
            and all(low > -LARGEST and high < LARGEST for low, high in map(torch.aminmax, (key, value)))
        ):
            rounded = _rounded(key, value)
            if _is_fine(rounded[0].transpose(-2, -1), key) and _is_fine(rounded[1], value):
                return rounded
        if gain(threads, key.dtype, is_turned=True) >= LEAST_GAIN:
            return (key, value) if _is_turned(key, value) else _turned(key, value)
    return key.contiguous(), value.contiguous()


def is_rounded(key: Tensor) -> bool:
    """Whether `laid_out` has rounded these keys or values to 8 bits."""
    return key.dtype == torch.uint8


def by_rows(key: Tensor, value: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same keys and values as torch's kernels take them and read them fastest: copies after `laid_out`.

    Args:
        key, value: `(batch, heads, positions, head_dim)`.
        dtype: That of the query.
    """
    if is_rounded(key):
        B, H, T, D = key.shape
        keys = in_floats(_table(key.transpose(-2, -1))).view(B, H, D, T)
        values = in_floats(_table(value)).view(B, H, T, -1)
        return keys.transpose(-2, -1).to(dtype).contiguous(), values.to(dtype)
    if _is_turned(key, value) and is_direct_call() and key.device.type == "cpu":
        return key.contiguous(), value.contiguous()
    return key, value


def suits(query: Tensor, key: Tensor, value: Tensor, offset: Tensor | None = None) -> bool:
    """Whether `attention` takes these, and is expected to be faster than the fused kernel."""
    if not (
        is_ordinary_call()  # before sizes, on which an exported graph must not depend
        and (key.dtype in KINDS or is_rounded(key))
        and query.dim() == 4
        and query.shape[2] <= MOST_QUERIES
        and key.shape[2] >= FEWEST_KEYS
        and key.shape[1] > 0
        and query.shape[1] % key.shape[1] == 0
        and all(is_plain(part, key.dtype) for part in (key, value))
        and all(part is None or is_plain(part, query.dtype) for part in (query, offset))
        and query.dtype == (torch.float32 if is_rounded(key) else key.dtype)
    ):
        return False
    if is_rounded(key):
        return query.shape[1] == key.shape[1]
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
        key, value: `(batch, heads or fewer, to, head_dim)`; or 8 bits, from `laid_out`.
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
    if is_rounded(key):
        return _sums(query, _table(key.transpose(-2, -1)), _table(value), scale, offset)
    if (
        query.shape[2] <= MOST_QUERIES_SUMMED
        and query.shape[1] == key.shape[1]
        and key.dtype == torch.float32
        and key.transpose(-2, -1).is_contiguous()
        and value.is_contiguous()
        and gain_of_sums(torch.get_num_threads()) >= LEAST_GAIN
    ):
        return _by_sums(query, key, value, scale, offset)
    return _products(query, key, value, scale, offset)


def _by_sums(query: Tensor, key: Tensor, value: Tensor, scale: float | None, offset: Tensor | None) -> Tensor:
    return _sums(query, key.transpose(-2, -1).flatten(0, 1), value.flatten(0, 1), scale, offset)


def _sums(query: Tensor, key: Tensor, value: Tensor, scale: float | None, offset: Tensor | None) -> Tensor:
    """With keys `(batch * heads, head_dim, to)` and values `(batch * heads, to, head_dim)`, as `weighted_sums` takes them."""
    B, H, Q, D = query.shape
    rows = (query * (D**-0.5 if scale is None else scale)).reshape(B * H, Q, D)
    scores = weighted_sums(rows, key)
    if offset is not None:
        scores.view(B, H, *scores.shape[1:]).add_(offset)
    weights = torch.softmax(scores, dim=-1, out=scores)
    return weighted_sums(weights, value).unflatten(0, (B, H))


def _products(query: Tensor, key: Tensor, value: Tensor, scale: float | None, offset: Tensor | None) -> Tensor:
    B, H, Q, D = query.shape
    heads = key.shape[1]  # each serves several heads of the query
    # Scores in float32, as the fused kernel has them: rounded to bfloat16, large ones would be wrong by percents.
    rows = (query.float() * (D**-0.5 if scale is None else scale)).reshape(B, heads, H // heads * Q, D)
    scores = torch.matmul(rows, key.float().transpose(-2, -1))
    if offset is not None:
        scores.add_(offset)
    weights = torch.softmax(scores, dim=-1, out=scores).to(value.dtype)
    return torch.matmul(weights, value).view(B, H, Q, value.shape[-1])


def _rounded(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """In 8 bits: the numbers in tables whose rows end in bytes that only the kernel reads."""
    turned = in_bytes(key.transpose(-2, -1).flatten(0, 1)).unflatten(0, key.shape[:2])
    rows = in_bytes(value.flatten(0, 1)).unflatten(0, value.shape[:2])
    return turned[..., :-ENDING].transpose(-2, -1), rows[..., :-ENDING]


def _is_fine(rounded: Tensor, given: Tensor) -> bool:
    """Whether no outliers have made the steps coarse beside what numbers usually are."""
    usual = (
        given[:, :, ::4].abs().sqrt_().mean().square_()
    )  # of every fourth position; the root, so that outliers count less
    return bool(usual >= SMALLEST and steps(_table(rounded)).mean() <= COARSEST * usual)


def _table(rounded: Tensor) -> Tensor:
    """`(batch * heads, count, width + 8)`, as `in_bytes` returned it, of its numbers, `(batch, heads, count, width)`."""
    B, H, count, width = rounded.shape
    length = width + ENDING
    return rounded.as_strided((B * H, count, length), (count * length, length, 1))


def _turned(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    if key.dtype == torch.bfloat16:
        return key.contiguous(), value.transpose(-2, -1).contiguous().transpose(-2, -1)
    return key.transpose(-2, -1).contiguous().transpose(-2, -1), value.contiguous()


def _is_turned(key: Tensor, value: Tensor) -> bool:
    one = value if key.dtype == torch.bfloat16 else key
    return one.stride(-2) == 1 and one.shape[-1] > 1
