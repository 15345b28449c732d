"""Batches that do not fit into the memory of the device, computed in parts: `auto_find_batch_size`."""

from __future__ import annotations

import math
from typing import Any

import torch

from notebook_kit.errors import ConfigurationError, notice
from notebook_kit.training.distributed import as_inputs, is_out_of_memory, release_memory
from notebook_kit.training.recording.steps import count_samples
from notebook_kit.training.seeding import restore_rng_states, rng_states
from notebook_kit.training.state import TrainerLike

__all__ = ["Splitter", "split_batch"]


class Splitter:
    """Splits the batches of updates into parts of at most `rows` examples, and halves `rows` when memory runs out.

    Since the Trainer weighs the parts by their labels, the result is that of the whole batch, but for dropout, and for losses
    that compare the examples of a batch.

    Args:
        trainer: The Trainer; without `auto_find_batch_size` nothing is split.

    Attributes:
        rows: The most examples in a part; None: whole batches.

    Raises:
        ConfigurationError: with several processes, which would have to split alike.
    """

    def __init__(self, trainer: TrainerLike) -> None:
        self.trainer, self.enabled = trainer, trainer.args.auto_find_batch_size
        if self.enabled and trainer.distributed.world_size > 1:
            raise ConfigurationError(
                "auto_find_batch_size=True works in one process, and this run has"
                f" {trainer.distributed.world_size}: one of them would wait for another that tries again.",
                next_step="Set a per_device_train_batch_size that fits, and gradient_accumulation_steps for the rest.",
            )
        found = trainer.state.train_batch_size  # of a resumed run
        self.rows = found if self.enabled and found and found < trainer.args.train_batch_size else None
        self._before: dict[str, Any] | None = None
        self._again = False

    def split(self, batches: list[Any]) -> list[Any]:
        """The batches of an update, in parts that fit. If the update is tried again, with the random numbers it had."""
        if not self.enabled:
            return batches
        if self._again:
            self.trainer.optimizer.zero_grad(set_to_none=True)
            release_memory()
            restore_rng_states(self._before or {})
        self._before, self._again = rng_states(), False
        if self.rows is None:
            return batches
        return [part for batch in batches for part in split_batch(batch, self.rows)]

    def try_again(self, error: Exception, batches: list[Any]) -> bool:
        """After an error in an update: whether to try it again in smaller parts."""
        most = min(max(map(count_samples, batches), default=0), self.rows or math.inf)
        if not (self.enabled and most > 1 and is_out_of_memory(error)):
            return False
        self.rows, self._again = math.ceil(most / 2), True
        self.trainer.state.train_batch_size = self.rows
        notice(
            f"{most} examples at once do not fit into memory. From step {self.trainer.state.global_step + 1} on, batches are"
            f" computed in parts of at most {self.rows}."
        )
        return True


def split_batch(batch: Any, rows: int) -> list[Any]:
    """A batch in parts of at most `rows` examples. What has no row per example is in each part.

    Example:
        >>> parts = split_batch({"x": torch.arange(5), "names": list("abcde"), "scale": torch.tensor(2.0)}, 2)
        >>> [(part["x"].tolist(), part["names"], float(part["scale"])) for part in parts]
        [([0, 1], ['a', 'b'], 2.0), ([2, 3], ['c', 'd'], 2.0), ([4], ['e'], 2.0)]
    """
    inputs = as_inputs(batch)
    count = count_samples(inputs)
    if count <= rows:
        return [batch]
    return [
        {name: _part(value, start, rows, count) for name, value in inputs.items()} for start in range(0, count, rows)
    ]


def _part(value: Any, start: int, rows: int, count: int) -> Any:
    has_rows = value.ndim > 0 if isinstance(value, torch.Tensor) else isinstance(value, list | tuple)
    return value[start : start + rows] if has_rows and len(value) == count else value
