"""The length of a run: its batches, epochs and updates."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import Any

from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.state import Position

__all__ = ["RunLength"]


@dataclass(frozen=True)
class RunLength:
    """The length of a run.

    Attributes:
        batches_per_epoch, updates_per_epoch: On this process.
        epochs: Passes over the data; the last one may be partial.
        max_steps: Total number of optimizer updates.
        samples: Total number of examples, over all processes.
        is_stream: Whether the data has no length. Until the end of its first epoch all updates count as one.
    """

    batches_per_epoch: int
    updates_per_epoch: int
    epochs: int
    max_steps: int
    samples: float
    is_stream: bool = False

    @classmethod
    def of(
        cls, loader: Any, examples: int | None, args: TrainingArguments, world_size: int, max_steps: int
    ) -> RunLength:
        """The length of a run over a loader.

        Args:
            loader: The training batches.
            examples: How many examples it has; None for a stream of unknown length.
            args: The training arguments.
            world_size: Processes that train together.
            max_steps: Optimizer updates; 0 or less: determined by `args.num_train_epochs`.

        Raises:
            ConfigurationError: if neither the data nor `max_steps` sets a length.
            InputError: if the data does not fill one batch.
        """
        accumulation = args.gradient_accumulation_steps
        per_update = args.train_batch_size * accumulation * world_size
        if examples is None:
            if max_steps <= 0:
                raise ConfigurationError(
                    "The training data has no length (it is a stream), so epochs cannot be counted.",
                    next_step="Set max_steps to the number of optimizer updates.",
                )
            return cls(max_steps * accumulation, max_steps, sys.maxsize, max_steps, max_steps * per_update, True)
        batches = len(loader)
        if not batches:
            raise InputError(
                f"The training data has {examples} examples, too few for one batch of {args.train_batch_size}.",
                next_step="Set a smaller per_device_train_batch_size, or dataloader_drop_last=False.",
            )
        updates = max(1, math.ceil(batches / accumulation))
        if max_steps > 0:
            return cls(batches, updates, math.ceil(max_steps / updates), max_steps, max_steps * per_update)
        epochs = args.num_train_epochs
        return cls(batches, updates, math.ceil(epochs), math.ceil(epochs * updates), examples * epochs)

    def from_position(self, position: Position, steps: int, max_steps: int) -> RunLength:
        """The length of a run that goes on at a position in its data.

        Args:
            position: The position.
            steps: Updates done before, perhaps in batches of another size or on other data.
            max_steps: As for `of`.
        """
        if self.is_stream:
            return self
        done = position.epoch * self.updates_per_epoch + position.updates
        if max_steps > 0:
            left = max(0, max_steps - steps)
            return replace(self, max_steps=max_steps, epochs=math.ceil((done + left) / self.updates_per_epoch))
        return replace(self, max_steps=self.max_steps + steps - done)
