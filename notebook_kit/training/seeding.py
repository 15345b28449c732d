"""Seeding, saving and restoring all random number generators."""

from __future__ import annotations

import os
import random
import sys
from numbers import Integral
from typing import Any

import numpy as np
import torch

from notebook_kit.errors import InputError

__all__ = ["enable_full_determinism", "set_seed"]


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seed Python's, NumPy's and torch's generators (on every device), and TensorFlow's if it has been imported.

    Args:
        seed: The seed.
        deterministic: Also make torch use algorithms that give bitwise identical results on every run. They are slower,
            and operations without one raise an error.

    Raises:
        InputError: if the seed is not a whole number from 0 to 2**64 - 1.

    Example:
        >>> import torch
        >>> set_seed(0); first = torch.rand(2)
        >>> set_seed(0); bool((torch.rand(2) == first).all())
        True
    """
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed < 2**64:
        raise InputError(
            f"A seed must be a whole number from 0 to 2**64 - 1; it was {seed!r}.", next_step="Pass, for example, 42."
        )
    seed = int(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if (tensorflow := sys.modules.get("tensorflow")) is not None:  # where it is in use; it is not imported for this
        tensorflow.random.set_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":16:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def enable_full_determinism(seed: int, warn_only: bool = False) -> None:
    """`set_seed(seed, deterministic=True)`: every run gives bitwise the same results.

    Args:
        seed: The seed.
        warn_only: Warn about operations that have no deterministic algorithm, instead of raising an error.

    Example:
        >>> import torch
        >>> enable_full_determinism(0)
        >>> torch.are_deterministic_algorithms_enabled()
        True
        >>> torch.use_deterministic_algorithms(False)
    """
    set_seed(seed, deterministic=True)
    torch.use_deterministic_algorithms(True, warn_only=warn_only)


def rng_states() -> dict[str, Any]:
    """The states of all generators of this process, for `restore_rng_states`."""
    states: dict[str, Any] = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_rng_states(states: dict[str, Any]) -> None:
    """Restore all generators to the states that `rng_states` returned."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        cuda = states["cuda"]
        torch.cuda.set_rng_state_all(cuda) if isinstance(cuda, list) else torch.cuda.set_rng_state(cuda)
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
