"""Attention rollout: the flow of information from the input to a layer, if attention alone carried it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from notebook_kit.errors import InputError

__all__ = ["rollout"]


def rollout(layers: Sequence[Tensor]) -> Tensor:
    """Multiply the attention of the layers, averaged over heads and mixed half and half with the residual connection.

    It does not explain the prediction: it ignores values, feed-forward layers and the differences between heads.

    Args:
        layers: The layers from the first to the requested one, `(heads, tokens, tokens)` each.

    Returns:
        `(tokens, tokens)`, float32: row i has the share of each input token in position i after the last layer.

    Raises:
        InputError: If rows and columns are not the same tokens.

    Source: Abnar & Zuidema, Quantifying Attention Flow in Transformers, 2020, section 3.

    Example:
        >>> rollout([torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])])
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]])
    """
    if not layers or layers[0].shape[-1] != layers[0].shape[-2]:
        raise InputError(
            "Rollout needs self-attention, whose rows and columns are the same tokens.",
            next_step="Pass the self-attention of all layers.",
        )
    T = layers[0].shape[-1]
    identity = torch.eye(T)
    flow = identity
    for layer in layers:
        heads, *_ = layer.shape
        mean = torch.full((1, heads), 1 / heads) @ layer.float().flatten(1)  # a matrix product: faster than mean(0)
        mixed = mean.view(T, T) + identity
        flow = mixed / mixed.sum(-1, keepdim=True) @ flow
    return flow
