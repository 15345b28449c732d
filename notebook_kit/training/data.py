"""DataLoaders: checks of datasets, batches that fit the model, and an order of examples that saves padding."""

from __future__ import annotations

import inspect
import itertools
import logging
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Sampler, SequentialSampler

from notebook_kit.errors import InputError, a_kind
from notebook_kit.nn.inputs import ModelInputs, inputs_of
from notebook_kit.training.seeding import restore_rng_states, rng_states

if TYPE_CHECKING:
    from notebook_kit.training.arguments import TrainingArguments

logger = logging.getLogger(__name__)

# The number of batches that are sorted together. More would save more padding, but make batches less random.
MEGA_BATCH = 50
# If a dataset must build each item to know its length, it is read only up to this many items.
MAX_ITEMS_READ = 20_000

_READ_IMAGES = (
    "Prepare the images: dataset = dataset.with_transform(lambda batch: "
    '{{**image_processor(batch[{column!r}], return_tensors="pt"){labels}}}).'
)
_READ_SOUNDS = (
    "Prepare the sound: dataset = dataset.cast_column({column!r}, datasets.Audio(decode=False)).map(lambda batch: "
    "feature_extractor([load_audio(each, rate) for each in batch[{column!r}]], sampling_rate=rate), batched=True), with "
    "rate = feature_extractor.sampling_rate; and pass the Trainer processing_class=feature_extractor, which pads."
)
_TOKENIZE = (
    "Tokenize first: dataset = dataset.map(lambda batch: tokenizer(batch[{column!r}], truncation=True), batched=True)."
)


def is_column_dataset(dataset: Any) -> bool:
    """Whether `dataset` is a `datasets.Dataset` or `datasets.IterableDataset` (without importing datasets)."""
    return type(dataset).__module__.partition(".")[0] == "datasets" and hasattr(dataset, "column_names")


def check_dataset(dataset: Any, role: str) -> None:
    """Raise an InputError that names the next step if `dataset` cannot be one."""
    if found := _not_a_dataset(dataset):
        given, next_step = found
        raise InputError(f"{role} is {a_kind(dataset)}{given}; expected a dataset.", next_step=next_step)
    if isinstance(dataset, Sized) and not len(dataset):
        raise InputError(f"{role} is empty.", next_step="Check the filter or the split that produced it.")


def check_eval_dataset(dataset: Any, role: str = "eval_dataset") -> None:
    """As `check_dataset`, for a dataset or a dictionary of datasets by name."""
    if isinstance(dataset, Mapping) and not dataset:
        raise InputError(f"{role} is an empty dictionary.", next_step="Pass datasets by name, or one dataset.")
    parts = dataset if isinstance(dataset, Mapping) else {None: dataset}
    for name, part in parts.items():
        check_dataset(part, role if name is None else f"{role}[{name!r}]")


def _not_a_dataset(dataset: Any) -> tuple[str, str] | None:
    """More about something that is not a dataset, and the next step; None for a dataset."""
    if isinstance(dataset, str):
        return f", {dataset!r}", "Load it: datasets.load_dataset(name)['train']."
    if hasattr(dataset, "columns") and hasattr(dataset, "dtypes") and not is_column_dataset(dataset):
        library = type(dataset).__module__.partition(".")[0]
        convert = f"from_{library}(frame)" if library in ("pandas", "polars") else "from_pandas(frame.to_pandas())"
        return f" of {library}", f"Convert it: datasets.Dataset.{convert}."
    if hasattr(dataset, "to_pylist"):  # of pyarrow
        return f" of {type(dataset).__module__.partition('.')[0]}", "Pass its rows: table.to_pylist()."
    if isinstance(dataset, (DataLoader, Iterator)):
        loaders = "Override get_train_dataloader to use loaders of your own; wrap a generator function with"
        return ", which is read only once", f"{loaders} datasets.IterableDataset.from_generator."
    if (
        isinstance(dataset, Mapping)
        and dataset
        and all(isinstance(part, Sized) and hasattr(part, "__getitem__") for part in dataset.values())
    ):
        split = next((name for name in dataset if str(name).startswith("train")), next(iter(dataset)))
        what = "splits" if any(is_column_dataset(part) for part in dataset.values()) else "columns or datasets"
        columns = "columns become a dataset with datasets.Dataset.from_dict"
        return (
            f" with the {what} {', '.join(map(repr, dataset))}",
            f"Pass one split, for example dataset[{split!r}]; {columns}.",
        )
    if isinstance(dataset, Mapping) and dataset and 0 not in dataset:
        return (
            f" with the keys {', '.join(map(repr, itertools.islice(dataset, 5)))}",
            "Pass a list of dictionaries, one per row.",
        )
    if isinstance(dataset, Sized) and not (hasattr(dataset, "__getitem__") or isinstance(dataset, IterableDataset)):
        return ", whose entries have no positions", "Pass a list of dictionaries: list(dataset)."
    scalar = isinstance(dataset, (bytes, type)) or getattr(dataset, "ndim", None) == 0
    if scalar or not (isinstance(dataset, Iterable) or hasattr(dataset, "__getitem__")):
        return "", "Pass a datasets.Dataset, a torch Dataset or a list of dictionaries."
    return None


def _collate_kept(collator: Callable[[list[Any]], Any], keep: Callable[[str, Any], bool], features: list[Any]) -> Any:
    """A batch without the columns that the model does not take."""
    if features and all(isinstance(item, Mapping) for item in features):
        features = [{name: value for name, value in item.items() if keep(name, value)} for item in features]
    return collator(features)


def _is_text(kind: Any) -> bool:
    """Whether a value, or the type of a column, is text."""
    return isinstance(kind, str) or getattr(kind, "dtype", "") == "string"


def fit_columns(
    dataset: Any, collator: Callable[[list[Any]], Any], model: nn.Module, label_names: list[str], role: str
) -> tuple[Any, Callable[[list[Any]], Any]]:
    """`dataset` and `collator` without the columns that `model` does not take.

    Raises:
        InputError: if none of the columns is an input of the model, as before tokenization.
    """
    inputs = inputs_of(model)
    labels = {"label", "label_ids", *label_names}
    kept = {*inputs.names, *labels}

    def keep(column: str, kind: Any) -> bool:
        # A `forward(self, **kwargs)` may take any column; but text is not an input of a model.
        return column in kept or (inputs.takes_any and not inputs.names and not _is_text(kind))

    if isinstance(dataset, (list, tuple)) and isinstance(dataset[0], (Mapping, str)):
        first = {"text": dataset[0]} if isinstance(dataset[0], str) else dataset[0]
        _check_inputs(first, inputs, labels, role)
    columns = dataset.column_names if is_column_dataset(dataset) else None
    # An on-the-fly transform may read any column, so columns can only be dropped from its results.
    if columns is None or getattr(dataset, "format", {}).get("type") == "custom":
        return dataset, partial(_collate_kept, collator, keep)
    kinds = {column: (dataset.features or {}).get(column) for column in columns}
    _check_inputs(kinds, inputs, labels, role)
    if unused := [column for column, kind in kinds.items() if not keep(column, kind)]:
        names = ", ".join(unused)
        logger.info("%s: the columns %s are not inputs of %s and are left out.", role, names, type(model).__name__)
        dataset = dataset.remove_columns(unused)
    return dataset, collator


def _check_inputs(columns: Mapping[str, Any], inputs: ModelInputs, labels: set[str], role: str) -> None:
    """Raise an InputError if none of the columns (name -> value or type) is an input of the model."""
    names = [name for name in inputs.names if name not in labels]
    if not names or any(column in names for column in columns):
        return
    texts = [name for name, kind in columns.items() if _is_text(kind)]
    if inputs.takes_any and not texts:
        return
    raise InputError(
        f"{role} has the columns {', '.join(columns) or '(none)'}, none of which the model takes; it takes"
        f" {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}.",
        next_step=_preparation(columns, names, texts),
    )


def _preparation(columns: Mapping[str, Any], names: list[str], texts: list[str]) -> str:
    """How to get the inputs `names` of a model from the columns of a dataset, of which `texts` are text."""
    if "pixel_values" in names:
        column = next((name for name, kind in columns.items() if type(kind).__name__ == "Image"), None)
        if column is not None:
            return _READ_IMAGES.format(column=column, labels=_labels_in(columns))
    main = next((name for name in ("input_values", "input_features") if name in names), None)
    column = next((name for name, kind in columns.items() if type(kind).__name__ == "Audio"), None)
    if main is not None and column is not None:
        return _READ_SOUNDS.format(column=column)
    if texts or "input_ids" in names:
        return _TOKENIZE.format(column=texts[0] if texts else "text")
    return "Rename the columns to the model's inputs, or pass remove_unused_columns=False and a data_collator."


def _labels_in(columns: Mapping[str, Any]) -> str:
    """The part of a batch's dictionary with its labels, if there is such a column."""
    name = next((name for name in ("label", "labels") if name in columns), None)
    return "" if name is None else f', "labels": batch[{name!r}]'


def make_loader(
    dataset: Any,
    collator: Callable[[list[Any]], Any],
    args: TrainingArguments,
    device_type: str,
    batch_size: int,
    *,
    training: bool,
    lengths: np.ndarray | None,
    world_size: int = 1,
    sampler: Any = None,
) -> DataLoader:
    """A DataLoader over `dataset`. A `sampler` decides on its order; otherwise, with `lengths`, each batch has examples of
    similar lengths.
    """
    workers = args.dataloader_num_workers
    options: dict[str, Any] = {
        "collate_fn": collator,
        "num_workers": workers,
        "pin_memory": args.dataloader_pin_memory and device_type == "cuda",
        "persistent_workers": args.dataloader_persistent_workers and workers > 0,
    }
    if workers > 0:
        for name in ("multiprocessing_context", "prefetch_factor", "in_order"):
            options[name] = getattr(args, f"dataloader_{name}")
    drop_last = training and args.dataloader_drop_last
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        return DataLoader(dataset, batch_size=batch_size, drop_last=drop_last, **options)
    if sampler is not None:
        options["sampler"], options["batch_size"], options["drop_last"] = sampler, batch_size, drop_last
    elif lengths is not None and training:
        options["batch_sampler"] = LengthGroupedBatchSampler(
            lengths, batch_size, data_seed(args), drop_last, group=world_size
        )
    elif lengths is not None:
        options["batch_sampler"] = SortedBatchSampler(lengths, batch_size)
    else:
        options["sampler"] = default_sampler(dataset, args) if training else SequentialSampler(dataset)
        options["batch_size"], options["drop_last"] = batch_size, drop_last
    return DataLoader(dataset, **options)  # type: ignore[arg-type]  # any sized mapping from positions to examples works


def data_seed(args: TrainingArguments) -> int:
    """The seed of the order of the examples."""
    return args.data_seed if args.data_seed is not None else args.seed


def default_sampler(dataset: Any, args: TrainingArguments) -> Sampler[int]:
    """The order of the examples of a training dataset that is not grouped by length."""
    in_order = args.train_sampling_strategy == "sequential"
    return SequentialSampler(dataset) if in_order else EpochSampler(dataset, data_seed(args))


def sampler_from(hook: Callable[..., Any], dataset: Any) -> Any:
    """The sampler that an override of `_get_train_sampler` returns; overrides for older versions have no parameter."""
    return hook(dataset) if inspect.signature(hook).parameters else hook()


def has_length(loader: Any) -> bool:
    """Whether a loader knows its length; a stream's loader may have a `__len__` that raises."""
    return operator.length_hint(loader, -1) >= 0


def lengths_for_grouping(dataset: Any, args: TrainingArguments, input_name: str) -> np.ndarray | None:
    """The lengths to group by, or None if grouping is off, not possible, or pointless."""
    if not args.group_by_length or isinstance(dataset, IterableDataset):
        return None
    lengths = example_lengths(dataset, input_name, args.length_column_name)
    return lengths if lengths is not None and len(lengths) and lengths.min() != lengths.max() else None


class Lengths:
    """The lengths of the examples of datasets, measured once for those that a Trainer keeps."""

    def __init__(self) -> None:
        # A dataset's id -> the dataset and its lengths. Keeping the dataset keeps its id unique.
        self.kept: dict[int, tuple[Any, np.ndarray | None]] = {}

    def of(self, dataset: Any, own: list[Any], args: TrainingArguments, input_name: str) -> np.ndarray | None:
        """What `lengths_for_grouping` returns for `dataset`.

        Args:
            own: The datasets that the Trainer keeps; the lengths of others are forgotten.
        """
        ids = {id(part) for part in own}
        self.kept = {key: value for key, value in self.kept.items() if key in ids}
        if id(dataset) not in ids:
            return lengths_for_grouping(dataset, args, input_name)
        if id(dataset) not in self.kept:
            self.kept[id(dataset)] = (dataset, lengths_for_grouping(dataset, args, input_name))
        return self.kept[id(dataset)][1]


# ------------------------------------------------------------------------------------------------- the order of examples


class EpochSampler(Sampler[int]):
    """A random permutation that depends only on the seed and the epoch, so that a resumed run repeats it.

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
    """Random batches of examples of similar lengths.

    All examples are shuffled, cut into runs of `MEGA_BATCH` batches, sorted by length within each run, and cut into
    batches, which are shuffled. Every epoch has each example once and as many batches as with plain shuffling. The batch
    that may be smaller comes last. Its examples come from a random position among the lengths, so that `drop_last` does
    not always leave out the shortest ones.

    Args:
        lengths: The length of each example, in tokens.
        batch_size: Examples per batch.
        seed: Determines the order, together with the epoch.
        drop_last: Leave out the smaller batch.
        group: How many successive batches have similar lengths: one per process.
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
            # An incomplete group goes last: earlier, it would change which process gets which batch.
            whole = [index for index, group in enumerate(groups) if len(group) == size]
            partial = [index for index, group in enumerate(groups) if len(group) != size]
            for index in [*random.permutation(whole).astype(int).tolist(), *partial]:
                for start in range(0, len(groups[index]), self.batch_size):
                    yield groups[index][start : start + self.batch_size].tolist()
        if small and not self.drop_last:
            yield small[0]


class SortedBatchSampler(Sampler[list[int]]):
    """All examples, the longest first; `order[i]` is the index of the i-th, so that results can be put back in order."""

    def __init__(self, lengths: Sequence[int] | np.ndarray, batch_size: int) -> None:
        self.order = np.argsort(-np.asarray(lengths), kind="stable")
        self.batch_size, self.drop_last = batch_size, False

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.order), self.batch_size):
            yield self.order[start : start + self.batch_size].tolist()


def _parts(loader: Any) -> Iterator[Any]:
    """`loader` and, recursively, its batch samplers, samplers and datasets, each once."""
    seen: set[int] = set()
    parts = [loader]
    while parts:
        part = parts.pop()
        if part is not None and id(part) not in seen:
            seen.add(id(part))
            yield part
            parts.extend(getattr(part, name, None) for name in ("batch_sampler", "sampler", "dataset"))


def set_epoch(loader: Any, epoch: int) -> None:
    """Call `set_epoch` on every part of `loader` that has it."""
    for part in _parts(loader):
        if callable(getattr(part, "set_epoch", None)):
            part.set_epoch(epoch)


def batch_rows(loader: Any, epoch: int, first: int, count: int) -> list[list[int]] | None:
    """The positions in the dataset of the examples of some batches; None if the order cannot be repeated.

    Args:
        loader: The training batches.
        epoch, first: The epoch and the first of the batches, both from 0.
        count: How many batches.
    """
    parts = list(_parts(loader))
    known = (EpochSampler, LengthGroupedBatchSampler, SequentialSampler)
    batches = getattr(loader, "batch_sampler", None)
    if batches is None or not any(isinstance(part, known) for part in parts):
        return None
    set_epoch(loader, epoch)
    return [list(rows) for rows in itertools.islice(iter(batches), first, first + count)]


def sorted_order(loader: Any) -> np.ndarray | None:
    """The order in which `loader` returns the examples, if its batch sampler is a `SortedBatchSampler`."""
    return next((part.order for part in _parts(loader) if isinstance(part, SortedBatchSampler)), None)


def example_lengths(dataset: Any, input_name: str = "input_ids", length_column: str = "length") -> np.ndarray | None:
    """The length of each example, or None if it is unknown or would be expensive to determine.

    Args:
        dataset: A `datasets.Dataset` (its length column, or the offsets of its token column, are read, not the examples),
            or a sequence of mappings.
        input_name: The column or key that holds the tokens.
        length_column: A column that already holds the lengths.
    """
    if hasattr(dataset, "with_format") and hasattr(dataset, "column_names"):
        return _column_lengths(dataset, input_name, length_column)
    if not isinstance(dataset, Sized) or not hasattr(dataset, "__getitem__"):
        return None
    count = len(dataset)
    if count == 0 or (count > MAX_ITEMS_READ and not isinstance(dataset, (list, tuple))):
        return None
    # Building items may draw random numbers (augmentation); reading the lengths must not change the run.
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


def batches_after(loader: Any, done: int) -> Iterator[Any]:
    """The batches of `loader` after the first `done`."""
    if not done:
        return iter(loader)
    if any(isinstance(part, (EpochSampler, LengthGroupedBatchSampler)) for part in _parts(loader)):
        from accelerate import skip_first_batches

        # The order does not depend on a shared generator, so skipped examples need not be read.
        return iter(skip_first_batches(loader, done))
    batches = iter(loader)
    next(itertools.islice(batches, done - 1, done), None)
    return batches
