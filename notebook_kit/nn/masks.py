"""The masks that are added to the scores of attention: of padding, and of later positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from notebook_kit.errors import InputError

__all__ = ["causal_mask", "padding_mask"]


def padding_mask(attention_mask: Tensor | None, dtype: torch.dtype, size: Sequence[int] | None = None) -> Tensor | None:
    """The mask that `attend` adds to the scores, from one with 1 for a token and 0 for padding.

    Args:
        attention_mask: `(batch, to)` or `(batch, from, to)`, or None if there is no padding.
        dtype: The dtype of the scores.
        size: `(batch, to)` of the input, to check the mask against.

    Returns:
        `(batch, 1, 1 or from, to)`; or None if nothing is masked, so that the fused kernel can take its fastest path (only
        checked on the CPU, as the check would wait for other devices).

    Raises:
        InputError: If the mask does not have this size.
    """
    if attention_mask is None:
        return None
    if size is not None and (attention_mask.shape[0] not in (1, size[0]) or attention_mask.shape[-1] != size[1]):
        raise InputError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, and the input has shape {tuple(size)}.",
            next_step="Pass the tokenizer's whole output: model(**tokenizer(texts, padding=True, return_tensors='pt')).",
        )
    if attention_mask.device.type == "cpu" and bool(attention_mask.all()):
        return None
    mask = attention_mask[:, None, None, :] if attention_mask.dim() == 2 else attention_mask[:, None]
    lowest = torch.finfo(dtype).min
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask == 0, lowest)


def causal_mask(
    attention_mask: Tensor | None,
    size: Sequence[int],
    past: int,
    dtype: torch.dtype,
    device: torch.device,
    window: int | None = None,
) -> tuple[Tensor | None, bool]:
    """The `mask` and `is_causal` that a decoder passes to `attend`, to attend neither to later positions nor to padding.

    Args:
        attention_mask: `(batch, past + tokens)`, 1 for a token and 0 for padding; or `(batch, tokens, past + tokens)`, 1
            where attention is allowed; None if there is no padding.
        size: `(batch, tokens)` of the new positions.
        past: Number of positions in the cache.
        dtype: The dtype of the scores.
        device: The device of the scores.
        window: Number of last positions that each position attends to, including itself; None for no limit.

    Returns:
        `mask`, `(batch or 1, 1, tokens, past + tokens)`, or None if the fused kernel needs none; and `is_causal`.

    Raises:
        InputError: If the mask does not have this size.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.masks import causal_mask
        >>> mask, is_causal = causal_mask(torch.tensor([[0, 1, 1]]), (1, 3), 0, torch.float32, torch.device("cpu"))
        >>> (mask == 0).int(), is_causal
        (tensor([[[[0, 0, 0],
                  [0, 1, 0],
                  [0, 1, 1]]]], dtype=torch.int32), False)
    """
    B, T = size
    end = past + T
    if attention_mask is not None:
        if attention_mask.shape[0] not in (1, B) or attention_mask.shape[-1] != end:
            expected = f"{past} cached and {T} new tokens" if past else f"{T} tokens"
            raise InputError(
                f"attention_mask has shape {tuple(attention_mask.shape)}, and the input has {B} rows of {expected}.",
                next_step="Pass the tokenizer's whole output; with past_key_values, the mask also covers the cached tokens.",
            )
        if attention_mask.device.type == "cpu" and bool(attention_mask.all()):
            attention_mask = None
    if window is not None and window >= end:
        window = None
    if attention_mask is None and window is None and (T == 1 or not past):
        return None, bool(T > 1)  # sizes are symbols while a graph is exported
    rows = torch.arange(past, end, device=device)[:, None]  # (from, 1)
    columns = torch.arange(end, device=device)  # (to,)
    allowed = columns <= rows
    if window is not None:
        allowed = allowed & (columns > rows - window)
    allowed = allowed[None, None]
    if attention_mask is not None:
        seen = attention_mask.to(device) != 0
        allowed = allowed & (seen[:, None, None] if seen.dim() == 2 else seen[:, None])
    lowest = torch.finfo(dtype).min
    return torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill(~allowed, lowest), False
