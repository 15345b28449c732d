"""Products of few rows with each of several matrices, computed as sums of weighted rows.

torch sums rows of an embedding table, each times a weight, by a kernel of FBGEMM that is compiled for the width of the table, reads
ahead, and takes tables of 8 bits too. With the rows of all matrices as the table, and an index for each row in turn, that is a product
of one or a few rows per matrix. On some processors it reads memory twice as fast as the kernels that torch has for products, and
8 bits take half of that time again. It is timed on the processor at hand by those who use it; see `nn/few_queries.py`.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

__all__ = ["ENDING", "available", "in_bytes", "in_floats", "steps", "weighted_sums"]

ENDING = 8
"""Bytes at the end of each row of 8-bit numbers: its step and its smallest number, in float32."""

MOST_INDICES = 1 << 18
"""There is an index of 8 bytes for each weight; of more weights, some matrices are multiplied at a time."""


def weighted_sums(weights: Tensor, rows: Tensor) -> Tensor:
    """`weights @ rows` for each of several matrices, without gradients.

    Args:
        weights: `(matrices, few, count)`, float32.
        rows: `(matrices, count, width)`, contiguous, on the CPU, float32; or what `in_bytes` returns for that.

    Returns:
        `(matrices, few, width)`, float32.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.weighted_sums import weighted_sums
        >>> weights, rows = torch.tensor([[[2.0, 3.0]], [[1.0, -1.0]]]), torch.arange(8.0).view(2, 2, 2)
        >>> weighted_sums(weights, rows)
        tensor([[[ 6., 11.]],
        <BLANKLINE>
                [[-2., -2.]]])

    Source: Khudia et al., FBGEMM: Enabling High-Performance Low-Precision Deep Learning Inference, 2021, and
        `torch.nn.EmbeddingBag`.
    """
    matrices, few, count = weights.shape
    if weights.numel() == 0:
        return weights.new_zeros(matrices, few, rows.shape[-1] - (ENDING if rows.dtype == torch.uint8 else 0))
    if (most := max(1, MOST_INDICES // (few * count))) < matrices:
        parts = zip(weights.split(most), rows.split(most), strict=True)
        return torch.cat([weighted_sums(*part) for part in parts])
    indices, starts = _indices(matrices, few, count)
    table, factors = rows.view(matrices * count, -1), weights.reshape(-1)
    if rows.dtype == torch.uint8:
        sums = torch.ops.quantized.embedding_bag_byte_rowwise_offsets.default(
            table, indices, starts, False, 0, False, factors, None, True
        )
    else:
        sums = torch.embedding_bag(table, indices, starts, False, 0, False, factors, True)[0]
    return sums.view(matrices, few, -1)


@functools.lru_cache(maxsize=8)  # those of keys and of values, in all layers and steps
def _indices(matrices: int, few: int, count: int) -> tuple[Tensor, Tensor]:
    """The rows that each sum takes, one sum after the other, and where they start. Of 64 bits, which the kernels take faster."""
    with torch.inference_mode(False), torch.device("cpu"):
        rows = torch.arange(matrices * count).view(matrices, 1, count)
        starts = torch.arange(0, matrices * few * count + 1, count)
        return rows.repeat(1, few, 1).view(-1), starts


def in_bytes(rows: Tensor) -> Tensor:
    """Rows rounded to 8 bits, each in whole steps from its smallest number.

    Args:
        rows: `(matrices, count, width)`, float32, on the CPU, finite. The kernel adds 1e-8 to the range of each row.

    Returns:
        `(matrices, count, width + 8)`, uint8: each row ends with its step and its smallest number.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.weighted_sums import in_bytes, in_floats
        >>> rows = in_bytes(torch.tensor([[[1.0, 2.0, 3.55]]]))
        >>> rows[..., :3], in_floats(rows)
        (tensor([[[  0, 100, 255]]], dtype=torch.uint8), tensor([[[1.0000, 2.0000, 3.5500]]]))
    """
    matrices, count, _ = rows.shape
    table = rows.reshape(matrices * count, -1)
    return torch.ops.quantized.embedding_bag_byte_prepack.default(table).view(matrices, count, -1)


def in_floats(rows: Tensor) -> Tensor:
    """The numbers of `in_bytes`, in float32.

    Args:
        rows: `(matrices, count, width + 8)`, contiguous.
    """
    matrices, count, _ = rows.shape
    table = rows.view(matrices * count, -1)
    return torch.ops.quantized.embedding_bag_byte_unpack.default(table).view(matrices, count, -1)


def steps(rows: Tensor) -> Tensor:
    """The step between two numbers of each row of `in_bytes`: `(matrices, count)`.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.weighted_sums import in_bytes, steps
        >>> steps(in_bytes(torch.tensor([[[1.0, 2.0, 3.55]]])))
        tensor([[0.0100]])
    """
    return rows[..., -ENDING : -ENDING // 2].clone(memory_format=torch.contiguous_format).view(torch.float32)[..., 0]


@functools.cache
def available(dtype: torch.dtype) -> bool:
    """Whether this torch sums rows in float32.

    Args:
        dtype: Of the rows: float32, or uint8 for those of `in_bytes`.
    """
    with torch.inference_mode(), torch.device("cpu"):
        generator = torch.Generator().manual_seed(0)
        rows, weights = (
            torch.rand(shape, generator=generator, dtype=torch.float32) for shape in ((3, 99, 37), (3, 2, 99))
        )
        exact = torch.bmm(weights, rows)
        try:
            if dtype == torch.uint8:
                rows = in_bytes(rows)
                if not torch.allclose(torch.bmm(weights, in_floats(rows)), exact, rtol=0.01):
                    return False
                exact = torch.bmm(weights, in_floats(rows))
            return torch.allclose(weighted_sums(weights, rows), exact, rtol=99 * torch.finfo(torch.float32).eps)
        except (AttributeError, RuntimeError, TypeError, NotImplementedError):  # not in this build of torch
            return False
