"""`keras.utils.set_random_seed` reaches what torch draws for a TF model: new weights, and the masks of collators."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

__all__ = ["drawn_seed", "keeping_torch_seeded", "torch_seeded"]

_seeded = threading.RLock()


def drawn_seed() -> int:
    """A seed from Python's generator, from which Keras draws the seeds of its initializers too.

    `keras.utils.set_random_seed` and `notebook_kit.set_seed` seed that generator; `torch.manual_seed` alone does not.

    Example:
        >>> import keras
        >>> keras.utils.set_random_seed(0); first = drawn_seed()
        >>> keras.utils.set_random_seed(0); drawn_seed() == first
        True
    """
    return random.getrandbits(62)


@contextmanager
def torch_seeded(seed: int | None = None) -> Iterator[None]:
    """In this block torch draws from `seed`, by default from `drawn_seed()`; after it, as if there had been no block.

    Args:
        seed: The seed.

    Example:
        >>> with torch_seeded(3): first = torch.rand(2)
        >>> with torch_seeded(3): bool((torch.rand(2) == first).all())
        True
    """
    with _seeded:
        state = torch.get_rng_state()
        torch.default_generator.manual_seed(drawn_seed() if seed is None else seed)
        try:
            yield
        finally:
            torch.set_rng_state(state)


def keeping_torch_seeded() -> AbstractContextManager[object]:
    """A context during which no other thread is within `torch_seeded`: for what resets torch's generator, as tracing does. A thread of
    `tf.data` prepares batches meanwhile.

    Example:
        >>> with keeping_torch_seeded():
        ...     torch.set_rng_state(torch.get_rng_state())
    """
    return _seeded
