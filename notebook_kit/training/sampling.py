"""In which order examples are read: shuffled, or shuffled among alike lengths, so that batches need little padding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from notebook_kit.training.seeding import restore_rng_states, rng_states

# Batches that are sorted together. More would pad still less, but make the batches of an epoch less random.
MEGA_BATCH = 50
# A dataset whose lengths can only be had by building each item is read through only up to this many items.
MOST_ITEMS_READ = 20_000


class EpochSampler(Sampler[int]):
    """A random permutation that depends on the seed and the epoch alone, so that a resumed run sees the same one.

    The same permutation as torch's `RandomSampler` with a generator seeded with `seed + epoch`.
    """

    def __init__(self, data: Sized, seed: int) -> None:
        self.data, self.seed, self.epoch = data, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        yield from torch.randperm(len(self.data), generator=generator).tolist()


class LengthGroupedBatchSampler(Sampler[list[int]]):
    """Random batches of examples of alike lengths.

    All examples are shuffled, cut into runs of `MEGA_BATCH` batches, sorted by length within each run, cut into batches,
    and the batches are shuffled. Every epoch has every example once and as many batches as plain shuffling has. The batch
    that may be smaller comes last; its place among the lengths is drawn too, so that it is not always the shortest ones
    that share it (or, with `drop_last`, are left out).

    Args:
        lengths: The length of each example, in tokens.
        batch_size: Examples a batch.
        seed: With the epoch it decides the order.
        drop_last: Leave out the smaller batch.
        group: How many batches in a row are of alike lengths: one for each process that works at the same time.
    """

    def __init__(
        self, lengths: Sequence[int] | np.ndarray, batch_size: int, seed: int, drop_last: bool = False, group: int = 1
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size, self.seed, self.drop_last, self.group = batch_size, seed, drop_last, group
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.lengths), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.seed % 2**63, self.epoch])
        shuffled = random.permutation(len(self.lengths))
        mega = self.batch_size * self.group * max(1, MEGA_BATCH // self.group)
        runs = [
            run[np.argsort(-self.lengths[run], kind="stable")]
            for run in (shuffled[start : start + mega] for start in range(0, len(shuffled), mega))
        ]
        small: list[list[int]] = []
        rest = len(self.lengths) % self.batch_size
        if rest:
            start = int(random.integers(0, len(runs[-1]) // self.batch_size + 1)) * self.batch_size
            small = [runs[-1][start : start + rest].tolist()]
            runs[-1] = np.delete(runs[-1], np.s_[start : start + rest])
        size = self.batch_size * self.group
        groups = [run[start : start + size] for run in runs for start in range(0, len(run), size)]
        if groups:
            # A group that lacks a batch goes last: in front it would shift which process gets which batch.
            whole = [index for index, group in enumerate(groups) if len(group) == size]
            partial = [index for index, group in enumerate(groups) if len(group) != size]
            for index in [*random.permutation(whole).astype(int).tolist(), *partial]:
                for start in range(0, len(groups[index]), self.batch_size):
                    yield groups[index][start : start + self.batch_size].tolist()
        if small and not self.drop_last:
            yield small[0]


class SortedBatchSampler(Sampler[list[int]]):
    """All examples, the longest first; `order[i]` is the example that comes i-th, so that results can be put back."""

    def __init__(self, lengths: Sequence[int] | np.ndarray, batch_size: int) -> None:
        self.order = np.argsort(-np.asarray(lengths), kind="stable")
        self.batch_size, self.drop_last = batch_size, False

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.order), self.batch_size):
            yield self.order[start : start + self.batch_size].tolist()


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell every part of `loader` that wants to know which epoch begins."""
    seen: set[int] = set()
    parts = [loader]
    while parts:
        part = parts.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        if callable(getattr(part, "set_epoch", None)):
            part.set_epoch(epoch)
        parts.extend(getattr(part, name, None) for name in ("batch_sampler", "sampler", "dataset"))


def sorted_order(loader: Any) -> np.ndarray | None:
    """The order in which `loader` gives the examples, if it is one of ours that changes it."""
    part = getattr(loader, "batch_sampler", None)
    while part is not None and not isinstance(part, SortedBatchSampler):
        part = getattr(part, "batch_sampler", None)
    return part.order if part is not None else None


def example_lengths(
    dataset: Any, input_name: str = "input_ids", length_column: str = "length", read_any: bool = False
) -> np.ndarray | None:
    """The length of each example, or None where it cannot be had cheaply.

    Args:
        dataset: A `datasets.Dataset` (its column `length`, or the offsets of its token column: no example is decoded), or
            a sequence of mappings.
        input_name: The column or key that holds the tokens.
        length_column: A column that holds the lengths already.
        read_any: Read a dataset that builds its items one by one even if it is large.
    """
    if hasattr(dataset, "with_format") and hasattr(dataset, "column_names"):
        return _column_lengths(dataset, input_name, length_column)
    if not isinstance(dataset, Sized) or not hasattr(dataset, "__getitem__"):
        return None
    count = len(dataset)
    if count == 0 or (count > MOST_ITEMS_READ and not read_any and not isinstance(dataset, (list, tuple))):
        return None
    # Items may be built with random numbers (augmentation): looking at them must not change the run.
    states = rng_states()
    try:
        if _item_length(dataset[0], input_name, length_column) is None:
            return None
        lengths = [_item_length(dataset[index], input_name, length_column) for index in range(count)]
    finally:
        restore_rng_states(states)
    return None if any(length is None for length in lengths) else np.asarray(lengths)


def _item_length(item: Any, input_name: str, length_column: str) -> int | None:
    if not isinstance(item, Mapping):
        return None
    if length_column in item:
        return int(item[length_column])
    tokens: Any = item.get(input_name)
    return len(tokens) if hasattr(tokens, "__len__") and not isinstance(tokens, str) else None


def _column_lengths(dataset: Any, input_name: str, length_column: str) -> np.ndarray | None:
    import pyarrow.compute

    names = dataset.column_names or []
    wanted = length_column if length_column in names else input_name if input_name in names else None
    if wanted is None or not hasattr(dataset, "select_columns"):
        return None
    parts = []
    for table in dataset.select_columns([wanted]).with_format("arrow").iter(batch_size=50_000):
        column = table.column(wanted)
        if wanted == length_column:
            parts.append(column.to_numpy())
        elif hasattr(column.type, "value_type"):
            parts.append(pyarrow.compute.list_value_length(column).to_numpy())
        else:
            return None
    return np.concatenate(parts) if parts else None
