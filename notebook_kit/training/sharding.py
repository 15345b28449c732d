"""Each process's part of the batches, when several processes train or evaluate together.

Batches are dealt out in rounds: of each `world_size` successive batches, every process gets one. So the batches of a round
together are one batch of a single process, `world_size` times as large. No example counts twice, unless an update of
training has fewer examples than there are processes:

- In training, the examples of an incomplete last round are split among all processes.
- In an evaluation, a process without a batch in the last round repeats one, because models that are spread over processes
  must be called equally often everywhere, and the results are left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, Sampler

__all__ = ["BatchShard", "StreamShard", "is_filler", "rounds_of_all", "shard"]


class BatchShard(Sampler[list[int]]):
    """The batches of one process.

    Args:
        batch_sampler: All batches, in the same order on every process.
        rank, world_size: The number of this process, from 0, and of all processes.
        training: Whether an incomplete last round is split.
        drop_last: Leave out an incomplete last round of training.
    """

    def __init__(self, batch_sampler: Any, rank: int, world_size: int, training: bool, drop_last: bool = False) -> None:
        self.batch_sampler, self.rank, self.world_size = batch_sampler, rank, world_size
        self.training, self.drop_last = training, drop_last and training

    def __len__(self) -> int:
        whole, rest = divmod(len(self.batch_sampler), self.world_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def own(self) -> int:
        """The number of this process's batches, without a repeated one."""
        return len(range(self.rank, len(self.batch_sampler), self.world_size))

    def __iter__(self) -> Iterator[list[int]]:
        batches = iter(self.batch_sampler)
        while group := list(itertools.islice(batches, self.world_size)):
            if len(group) == self.world_size:
                yield group[self.rank]
            elif not self.training:
                yield group[min(self.rank, len(group) - 1)]
            elif not self.drop_last:
                rows = [row for batch in group for row in batch]
                part = np.array_split(rows, self.world_size)[self.rank].tolist()
                yield part or [rows[self.rank % len(rows)]]


class StreamShard:
    """The batches of one process from a loader without a batch sampler, which every process reads to the end.

    Attributes:
        filler: Whether the latest batch is one that another process has too.
    """

    def __init__(self, loader: Any, rank: int, world_size: int) -> None:
        self.loader, self.rank, self.world_size, self.filler = loader, rank, world_size, False
        self.dataset = getattr(loader, "dataset", None)

    def __len__(self) -> int:
        return math.ceil(len(self.loader) / self.world_size)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while group := list(itertools.islice(batches, self.world_size)):
            self.filler = self.rank >= len(group)
            yield group[min(self.rank, len(group) - 1)]


def shard(loader: Any, rank: int, world_size: int, *, training: bool, seed: int) -> Any:
    """A loader over this process's part of the batches of `loader`.

    Args:
        loader: A DataLoader or any other iterable of batches. One that accelerate prepared stays as it is.
        rank, world_size: The number of this process, from 0, and of all processes.
        training: Whether it is for training.
        seed: The seed of a random sampler that has none, so that all processes have the same order.
    """
    if world_size == 1 or _is_sharded(loader):
        return loader
    if (
        not isinstance(loader, DataLoader)
        or isinstance(loader.dataset, IterableDataset)
        or loader.batch_sampler is None
    ):
        return StreamShard(loader, rank, world_size)
    if isinstance(loader.sampler, RandomSampler) and loader.sampler.generator is None:
        loader.sampler.generator = torch.Generator().manual_seed(seed)
    drop_last = getattr(loader.batch_sampler, "drop_last", False)
    own = BatchShard(loader.batch_sampler, rank, world_size, training, drop_last)
    names = "num_workers collate_fn pin_memory timeout worker_init_fn multiprocessing_context generator prefetch_factor"
    options = {name: getattr(loader, name) for name in [*names.split(), "persistent_workers"]}
    return DataLoader(loader.dataset, batch_sampler=own, **options)


def _is_sharded(loader: Any) -> bool:
    prepared = type(loader).__module__.startswith("accelerate.")
    return prepared or isinstance(loader, StreamShard) or isinstance(getattr(loader, "batch_sampler", None), BatchShard)


def rounds_of_all(loader: Any, own: list[list[int]]) -> list[list[int]]:
    """The rows that all processes together have in each round, given those of this process; its own ones if it is alone.

    Args:
        loader: The loader of this process, set to an epoch.
        own: The rows of its batches in that epoch.
    """
    sampler = getattr(loader, "batch_sampler", None)
    if not own or not isinstance(sampler, BatchShard):
        return own
    batches, rounds = iter(sampler.batch_sampler), []
    while group := list(itertools.islice(batches, sampler.world_size)):
        rounds.append([row for batch in group for row in batch])
    return rounds[: len(own)]


def is_filler(loader: Any, index: int) -> bool:
    """Whether the batch with this index, the latest one read, is a repeated one of an evaluation."""
    if isinstance(loader, StreamShard):
        return loader.filler
    sampler = getattr(loader, "batch_sampler", None)
    return isinstance(sampler, BatchShard) and not sampler.training and index >= sampler.own
