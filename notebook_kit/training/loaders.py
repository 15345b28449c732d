"""The loader of a Trainer for a dataset: order, columns, batches, and the part of this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader

from notebook_kit.training import data
from notebook_kit.training.state import TrainerLike

__all__ = ["loader_of"]


def loader_of(
    trainer: TrainerLike, dataset: Any, role: str, batch_size: int, training: bool, sampler: Any
) -> DataLoader:
    """A loader over `dataset`.

    Args:
        trainer: The Trainer.
        dataset: A dataset that was checked.
        role: Its name in messages.
        batch_size: Examples per batch.
        training: Whether it is for training.
        sampler: The order of the examples, if a subclass decides on it.
    """
    args, distributed, collator, lengths = trainer.args, trainer.distributed, trainer.data_collator, None
    if sampler is None and (training or args.eval_do_concat_batches):
        own = trainer.eval_dataset.values() if isinstance(trainer.eval_dataset, Mapping) else [trainer.eval_dataset]
        main_input = getattr(trainer.model, "main_input_name", "input_ids")
        lengths = trainer.lengths.of(dataset, [trainer.train_dataset, *own], args, main_input)
    if args.remove_unused_columns:
        dataset, collator = data.fit_columns(dataset, collator, trainer.model, trainer.label_names, role)
    order: dict[str, Any] = {"lengths": lengths, "sampler": sampler, "world_size": distributed.world_size}
    loader = data.make_loader(dataset, collator, args, distributed.device.type, batch_size, training=training, **order)
    return distributed.wrap_loader(loader, training, data.data_seed(args))
