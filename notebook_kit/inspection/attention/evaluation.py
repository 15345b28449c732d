"""Calling a model to look into it, without any trace on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from notebook_kit.nn.turns import looking

__all__ = ["evaluating"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Turn off dropout and gradients within the block; afterwards each module has its former mode.

    If a cell is training the model on another thread, the block waits for the end of the step.
    """
    with looking(model), torch.inference_mode():
        yield
