"""Attention over long inputs on the CPU, by the products of oneDNN, where those of torch's fused kernel are slower.

That kernel multiplies by MKL, which leaves the AVX-512 instructions of some processors unused: see `many_rows.py`. So on these
processors, heads are computed one by one in blocks of queries, whose scores stay in the processor's cache: the matrix of weights is
never formed here either. Short inputs, masks, dropout, gradients and everything else are left to torch.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

from notebook_kit.nn.few_rows import is_ordinary_call, is_plain, product
from notebook_kit.nn.many_rows import LEAST_GAIN, gain
from notebook_kit.nn.row_counts import few_counts, padding

__all__ = ["long_attention", "pays"]

LEAST = 300  # queries and keys, from which it is faster
BLOCK = 512  # queries; with 1,500 keys, their scores take 3 MiB

_exact: set[int] = set()  # apart from those of linear layers, so that a model for one length keeps that one


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
        and gain(False, torch.get_num_threads()) >= LEAST_GAIN
    )


def long_attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """`softmax(query @ key.T * scale) @ value`, without gradients.

    Args:
        query: `(batch, heads, from, head_dim)`, float32.
        key: `(batch, heads, to, head_dim)`.
        value: `(batch, heads, to, width)`.
        scale: Factor of the scores; `head_dim ** -0.5` by default.

    Returns:
        `(batch, heads, from, width)`.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.long_attention import long_attention
        >>> q, k, v = torch.randn(3, 1, 2, 500, 16)
        >>> with torch.no_grad():
        ...     torch.allclose(long_attention(q, k, v), torch.nn.functional.scaled_dot_product_attention(q, k, v), atol=1e-5)
        True
    """
    B, H, T, D = query.shape
    to, scale = key.shape[-2], D**-0.5 if scale is None else scale
    more = padding(to, _exact)
    # As the fused kernel returns it: heads are merged without a copy.
    result = value.new_empty(B, T, H, value.shape[-1])
    for b, h in itertools.product(range(B), range(H)):
        # oneDNN is slow for rows that are not contiguous. Copies of one head stay in the processor's cache, and need no new memory.
        keys, columns = key[b, h].contiguous(), value[b, h].t().contiguous()  # (to, head_dim), (width, to)
        if more:
            keys, columns = F.pad(keys, (0, 0, 0, more)), F.pad(columns, (0, more))
        for start in range(0, T, BLOCK):
            block = (query[b, h, start : start + BLOCK] * scale).contiguous()
            scores = product(few_counts(block, exact=_exact), keys, None)
            if more:
                scores[:, to:] = -torch.inf
            weights = torch.softmax(scores, dim=-1, out=scores)
            result[b, start : start + BLOCK, h] = product(weights, columns, None)[: len(block)]
    return result.transpose(1, 2)
