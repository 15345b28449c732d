"""The largest of many numbers, as the likeliest tokens of a vocabulary, several times as fast as `torch.topk` on the CPU.

torch compares every number with the largest so far one by one. Here, the maxima of blocks are found first, many numbers at once; only the
blocks with the largest maxima can contain any of the numbers that are sought.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["largest", "largest_in_order"]

BLOCK = 64
FEWEST = 8192  # numbers per row


def largest(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest numbers of each row, and their places; of equal numbers, any.

    Args:
        x: `(rows, numbers)`.

    Returns:
        Both `(rows, count)`, the largest first.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.largest import largest
        >>> values, places = largest(torch.arange(10_000.0)[None], 3)
        >>> values.tolist(), places.tolist()
        ([[9999.0, 9998.0, 9997.0]], [[9999, 9998, 9997]])
    """
    rows, size = x.shape
    blocks = size // BLOCK
    if size < FEWEST or 4 * count > blocks or x.device.type != "cpu":
        return x.topk(count, dim=1)
    end = blocks * BLOCK
    parts = x[:, :end].view(rows, blocks, BLOCK)
    chosen = parts.amax(dim=2).topk(count, dim=1, sorted=False).indices  # (rows, count) of blocks
    some = parts.gather(1, chosen[:, :, None].expand(rows, count, BLOCK)).view(rows, count * BLOCK)
    places = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=x.device)).view(rows, count * BLOCK)
    if end < size:
        some = torch.cat((some, x[:, end:]), dim=1)
        places = torch.cat((places, torch.arange(end, size, device=x.device).expand(rows, -1)), dim=1)
    values, order = some.topk(count, dim=1)
    return values, places.gather(1, order)


def largest_in_order(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As `x.topk(count, dim=1)`, which of several equal numbers included.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.largest import largest_in_order
        >>> x = torch.randint(5, (2, 10_000)).float()
        >>> all(map(torch.equal, largest_in_order(x, 3), x.topk(3, dim=1)))
        True
    """
    more = min(count + 1, x.shape[1])
    values, places = largest(x, more)
    if count < more and not bool((values[:, :-1] > values[:, 1:]).all()):  # equal numbers, or NaN
        return x.topk(count, dim=1)
    return values[:, :count], places[:, :count]
