"""Options of accelerate for the Trainer, as a class."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from notebook_kit.files import read_json

__all__ = ["AcceleratorConfig"]


@dataclasses.dataclass
class AcceleratorConfig:
    """How batches are distributed over processes: `TrainingArguments(accelerator_config=...)`, which takes a dictionary too.

    Args:
        split_batches: Whether a batch of the loader is split over the processes; by default each process gets one.
        dispatch_batches: Whether only the first process reads batches and sends them to the others; None: for streams.
        even_batches: Whether batches are completed from the start of the dataset, so that each process has as many.
        use_seedable_sampler: Whether the order of the examples depends only on the seed.
        non_blocking: Whether batches are copied to a GPU while it computes; needs `dataloader_pin_memory=True`.
        gradient_accumulation_kwargs: Accepted and ignored: see `gradient_accumulation_steps`.

    Example:
        >>> from notebook_kit import TrainingArguments
        >>> TrainingArguments("out", accelerator_config=AcceleratorConfig(even_batches=False)).accelerator_config["even_batches"]
        False
    """

    split_batches: bool = False
    dispatch_batches: bool | None = None
    even_batches: bool = True
    use_seedable_sampler: bool = True
    non_blocking: bool = False
    gradient_accumulation_kwargs: dict[str, Any] | None = None

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike[str]) -> AcceleratorConfig:
        """Read the options from a JSON file."""
        return cls(**read_json(json_file))

    def to_dict(self) -> dict[str, Any]:
        """The options by name."""
        return dataclasses.asdict(self)
