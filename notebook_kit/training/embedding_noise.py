"""NEFTune: noise on the token embeddings in training (Jain et al., arXiv:2310.05914), which helps fine-tuning on instructions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from notebook_kit.errors import ConfigurationError
from notebook_kit.nn.inputs import unwrap

__all__ = ["noisy_embeddings"]


@contextmanager
def noisy_embeddings(model: nn.Module, alpha: float | None) -> Iterator[None]:
    """Within this block, token embeddings of shape (B, T, C) in training mode get uniform noise between -a and a, where a is
    `alpha` divided by the square root of T * C.

    Args:
        model: A model with `get_input_embeddings`.
        alpha: The strength of the noise; None or 0: no noise.

    Raises:
        ConfigurationError: if the model has no token embeddings.

    Example:
        >>> from notebook_kit import BertConfig, BertModel
        >>> tiny = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)
        >>> embeddings = BertModel(tiny).train().get_input_embeddings()
        >>> ids = torch.tensor([[5, 6, 7, 8]])
        >>> with noisy_embeddings(BertModel(tiny), 5.0):
        ...     bool((embeddings(ids) == embeddings(ids)).all())  # of another model
        True
    """
    if not alpha:
        yield
        return
    embeddings = _embeddings(model)

    def add_noise(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        if not module.training:
            return None
        bound = alpha / (output.shape[-2] * output.shape[-1]) ** 0.5
        return output + torch.zeros_like(output).uniform_(-bound, bound)

    handle = embeddings.register_forward_hook(add_noise)
    try:
        yield
    finally:
        handle.remove()


def _embeddings(model: nn.Module) -> nn.Module:
    find: Any = getattr(unwrap(model), "get_input_embeddings", None)
    found = find() if find is not None else None
    if not isinstance(found, nn.Module):
        raise ConfigurationError(
            f"neftune_noise_alpha adds noise to token embeddings, which {type(model).__name__} does not have.",
            next_step="Leave it out, or define get_input_embeddings in your model.",
        )
    return found
