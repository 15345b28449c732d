"""Attention over long inputs on the CPU, by the products of oneDNN, where those of torch's fused kernel are slower.

That kernel multiplies by MKL, which leaves the AVX-512 instructions of some processors unused: see `many_rows.py`. So on these
processors, heads are computed one by one in blocks of queries, whose scores stay in the processor's cache: the matrix of weights is
never formed here either. Short inputs, masks, dropout, gradients and everything else are left to torch.

`softmax` reads and writes the scores three times. Powers alone are enough where none of them can overflow: the values that they
weigh are divided by their sum at the end. The mean of the keys is subtracted first, which changes no weight and leaves small scores. A
head whose scores are still too large is computed again, by `softmax`.

Models with 8-bit weights multiply in bfloat16, where that is faster. Scores rounded to bfloat16 would lose more than their inputs do,
so that oneDNN computes the weights together with the scores, in float32. It has no exponential function for that, but far below zero,
the logistic function is one: `1 / (1 + exp(-x))` is `exp(x)`, with an error of `exp(x)` times its value.
"""

from __future__ import annotations

import functools
import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from notebook_kit.nn.few_rows import available, best_time, is_ordinary_call, is_plain, product
from notebook_kit.nn.many_rows import fused_product
from notebook_kit.nn.row_counts import few_counts, padding

__all__ = ["gain", "long_attention", "pays"]

LEAST = 300  # queries and keys, from which it is faster
BLOCK = 512  # queries; with 1,500 keys, their scores take 3 MiB
LEAST_GAIN = 1.1

LARGEST_SUM = 2.0**100
"""Up to this sum of powers, neither they nor what they weigh can overflow."""

SHIFT = 64.0
"""What is subtracted from scores before the logistic function. That of the largest score of a query, which is at least the mean, is
at least `exp(-64)`: as small weights as float32 could add to it are still numbers."""

LARGEST_LOGISTIC = 2.0**-9
"""Up to this sum of its values, the logistic function is as near to the exponential function as bfloat16 is to float32."""

_exact: set[int] = set()  # apart from those of linear layers, so that a model for one length keeps that one


@functools.cache
def gain(threads: int, exact: bool = True) -> float:
    """How many times as fast as the fused kernel `long_attention` is on this processor; 0 if torch has no such kernels.

    Args:
        threads: `torch.get_num_threads()`; another number is timed again.
        exact: In float32, rather than in bfloat16.
    """
    if not available() or not (exact or available(torch.bfloat16)):
        return 0.0
    return _seconds(threads, None) / _seconds(threads, not exact)


@functools.cache
def _seconds(threads: int, rounds: bool | None) -> float:
    """The time of a few heads: in float32 or rounded to bfloat16, or by the fused kernel for None."""
    with torch.inference_mode():
        zeros = partial(torch.zeros, dtype=torch.float32, device="cpu")  # whatever the defaults are
        query, key = zeros(1, 2, BLOCK, 64), zeros(1, 2, 1024, 64)
        if rounds is None:
            return best_time(lambda: F.scaled_dot_product_attention(query, key, key))
        # Several times, as the machine may be busy, and two such times are compared.
        return best_time(lambda: _attention(query, key, key, 1.0, rounds), times=10, set_up=3)


def pays(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether `long_attention` takes these, and is expected to be faster than the fused kernel."""
    return (
        is_ordinary_call()  # before sizes, on which an exported graph must not depend
        and query.dim() == 4
        and query.shape[-2] >= LEAST
        and key.shape[-2] >= LEAST
        and query.shape[:2] == key.shape[:2] == value.shape[:2]
        and query.shape[-1] == key.shape[-1]
        and key.shape[-2] == value.shape[-2]
        and 0 not in query.shape  # a batch without rows
        and is_plain(query)
        and is_plain(key)
        and is_plain(value)
        and gain(torch.get_num_threads()) >= LEAST_GAIN
    )


def long_attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None, exact: bool = True) -> Tensor:
    """`softmax(query @ key.T * scale) @ value`, without gradients.

    Args:
        query: `(batch, heads, from, head_dim)`, float32.
        key: `(batch, heads, to, head_dim)`.
        value: `(batch, heads, to, width)`.
        scale: Factor of the scores; `head_dim ** -0.5` by default.
        exact: Compute in float32. Otherwise, inputs, weights and results are rounded to bfloat16 where that is faster.

    Returns:
        `(batch, heads, from, width)`, float32.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.long_attention import long_attention
        >>> q, k, v = torch.randn(3, 1, 2, 500, 16)
        >>> with torch.no_grad():
        ...     torch.allclose(long_attention(q, k, v), torch.nn.functional.scaled_dot_product_attention(q, k, v), atol=1e-5)
        True
    """
    threads = torch.get_num_threads()
    rounds = not exact and gain(threads, False) >= LEAST_GAIN * gain(threads)
    return _attention(query, key, value, query.shape[-1] ** -0.5 if scale is None else scale, rounds)


def _attention(query: Tensor, key: Tensor, value: Tensor, scale: float, rounds: bool) -> Tensor:
    B, H, T, _ = query.shape
    # As the fused kernel returns it: heads are merged without a copy.
    result = value.new_empty(B, T, H, value.shape[-1])
    mean = key.mean(dim=2, keepdim=True)  # (batch, heads, 1, head_dim)
    for b in range(B):
        if rounds:  # all heads together, so that each of them is half of the memory to read
            q, k, v = query[b].bfloat16(), (key[b] - mean[b]).mul_(scale).bfloat16(), value[b].bfloat16()
        for h in range(H):
            given, out = (query[b, h], key[b, h], value[b, h], scale), result[b, :, h]
            if not (rounds and _logistics(q[h], k[h], v[h], out)) and not _powers(*given, mean[b, h], out):
                _softmax(*given, out)
    return result.transpose(1, 2)


# One head each: query (from, head_dim), key (to, head_dim), value (to, width), mean (1, head_dim), out (from, width). oneDNN is slow
# for keys that are not contiguous. Copies of one head stay in the processor's cache, and need no new memory.


def _logistics(query: Tensor, keys: Tensor, value: Tensor, out: Tensor) -> bool:
    """By products of bfloat16, with keys without their mean and times the scale; False if scores are too large, as for `_powers`."""
    (to, width), more = value.shape, padding(len(keys), _exact)
    keys = _padded(keys.contiguous(), more)
    values = keys.new_zeros(to + more, width + 1)
    values[:to, :width] = value
    values[:to, width] = 1  # for the sums of the weights, without those of padding
    shift, summed = keys.new_full((to + more,), -SHIFT), out.new_empty(len(query), width + 1)
    for start in range(0, len(query), BLOCK):
        block = few_counts(query[start : start + BLOCK], exact=_exact)
        weights = fused_product(block, keys, shift, ("sigmoid", ""))
        part = summed[start : start + BLOCK]
        part.copy_(product(weights, values.t(), None)[: len(part)])
        if not start and not part[:, width].amax() <= LARGEST_LOGISTIC:  # or NaN: further blocks need not be computed
            return False
    torch.div(summed[:, :width], summed[:, width:], out=out)
    return bool(summed[:, width].amax() <= LARGEST_LOGISTIC)


def _powers(query: Tensor, key: Tensor, value: Tensor, scale: float, mean: Tensor, out: Tensor) -> bool:
    """By products of float32; False if scores are too large, so that nothing of `out` counts."""
    to, more = len(key), padding(len(key), _exact)
    query, keys = query.contiguous(), _padded(torch.sub(key, mean).mul_(scale * math.log2(math.e)), more)
    values = _padded(value.contiguous(), more)
    for start in range(0, len(query), BLOCK):
        block = few_counts(query[start : start + BLOCK], exact=_exact)
        weights = product(block, keys, None).exp2_()
        summed = product(weights, values.t(), None)[: len(out) - start]
        total = weights[: len(summed), :to].sum(dim=1, keepdim=True)
        if not total.amax() <= LARGEST_SUM:  # or NaN
            return False
        torch.div(summed, total, out=out[start : start + BLOCK])
    return True


def _softmax(query: Tensor, key: Tensor, value: Tensor, scale: float, out: Tensor) -> None:
    """For scores of any size, and for keys that are infinite, whose mean says nothing."""
    to, more = len(key), padding(len(key), _exact)
    query, keys, values = query * scale, _padded(key.contiguous(), more), _padded(value.contiguous(), more)
    for start in range(0, len(query), BLOCK):
        block = few_counts(query[start : start + BLOCK], exact=_exact)
        scores = product(block, keys, None)
        scores[:, to:] = -torch.inf
        weights = torch.softmax(scores, dim=1, out=scores)
        out[start : start + BLOCK] = product(weights, values.t(), None)[: len(out) - start]


def _padded(rows: Tensor, more: int) -> Tensor:
    return F.pad(rows, (0, 0, 0, more)) if more else rows
