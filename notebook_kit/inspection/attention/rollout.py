"""Attention rollout: how information could flow from the input up to a layer, if attention were all there is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from notebook_kit.errors import InputError

__all__ = ["rollout"]


def rollout(layers: Sequence[Tensor]) -> Tensor:
    """Multiply the layers' attention, with half of each layer for the residual connection.

    It is not an explanation of the prediction: values, feed-forward layers and the differences between heads are left out.

    Args:
        layers: From the first layer to the one that is asked for: `(heads, tokens, tokens)` each.

    Returns:
        `(tokens, tokens)`, float32: row i says how much of each input token is in position i after the last layer.

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
            "Rollout needs attention of tokens to themselves.", next_step="Use it on self-attention of all layers."
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
