"""From what a user passes as a dataset to a DataLoader whose batches fit the model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import DataLoader, IterableDataset, SequentialSampler

from notebook_kit.errors import InputError
from notebook_kit.nn.inputs import ModelInputs, inputs_of
from notebook_kit.training.sampling import EpochSampler, LengthGroupedBatchSampler, SortedBatchSampler, example_lengths

if TYPE_CHECKING:
    import numpy as np

    from notebook_kit.training.arguments import TrainingArguments

logger = logging.getLogger(__name__)

_TOKENIZE = (
    "Tokenize first: dataset = dataset.map(lambda batch: tokenizer(batch[{column!r}], truncation=True), batched=True)."
)


def is_column_dataset(dataset: Any) -> bool:
    """Whether `dataset` is a `datasets.Dataset` or `datasets.IterableDataset` (without importing datasets)."""
    return type(dataset).__module__.partition(".")[0] == "datasets" and hasattr(dataset, "column_names")


def check_dataset(dataset: Any, role: str) -> None:
    """Raise an InputError that names the next step if `dataset` cannot be one."""
    if isinstance(dataset, str):
        raise InputError(
            f"{role} is the text {dataset!r}; expected a dataset.",
            next_step="Load it: datasets.load_dataset(name)['train'].",
        )
    if isinstance(dataset, Mapping):
        names = list(dataset)
        if names and all(isinstance(value, Sized) and hasattr(value, "__getitem__") for value in dataset.values()):
            split = next((name for name in names if str(name).startswith("train")), names[0])
            what = "splits" if any(is_column_dataset(value) for value in dataset.values()) else "columns or datasets"
            raise InputError(
                f"{role} is a {type(dataset).__name__} with the {what} {', '.join(map(repr, names))}; expected one dataset.",
                next_step=f"Pass one split, for example dataset[{split!r}]; columns become a dataset with"
                " datasets.Dataset.from_dict.",
            )
    if not isinstance(dataset, Iterable) and not hasattr(dataset, "__getitem__"):
        raise InputError(
            f"{role} is a {type(dataset).__name__}; expected a datasets.Dataset, a torch Dataset, or a list of dictionaries.",
            next_step="Make one, for example with datasets.Dataset.from_dict.",
        )
    if isinstance(dataset, Sized) and len(dataset) == 0:
        raise InputError(f"{role} is empty.", next_step="Look at the filter or the split that made it.")


class DropNames:
    """A collator that first leaves out what the model does not take."""

    def __init__(self, collator: Callable[[list[Any]], Any], keep: set[str]) -> None:
        self.collator, self.keep = collator, keep

    def __call__(self, features: list[Any]) -> Any:
        if features and isinstance(features[0], Mapping):
            features = [{name: value for name, value in item.items() if name in self.keep} for item in features]
        return self.collator(features)


def fit_columns(
    dataset: Any, collator: Callable[[list[Any]], Any], model: nn.Module, label_names: list[str], role: str
) -> tuple[Any, Callable[[list[Any]], Any]]:
    """`dataset` and `collator` without the columns that `model` does not take.

    Raises:
        InputError: if none of the columns is an input of the model: the text has not been tokenized.
    """
    inputs = inputs_of(model)
    labels = {"label", "label_ids", *label_names}
    keep = {*inputs.names, *labels}
    columns = dataset.column_names if is_column_dataset(dataset) else None
    if columns is None:
        if isinstance(dataset, Sized) and isinstance(dataset, (list, tuple)):
            first = dataset[0]
            if isinstance(first, Mapping):
                _check_inputs(list(first), inputs, labels, first, role)
            elif isinstance(first, str):
                _check_inputs(["text"], inputs, labels, {"text": first}, role)
        return dataset, DropNames(collator, keep)
    unused = [column for column in columns if column not in keep]
    if getattr(dataset, "format", {}).get("type") == "custom":
        # A transform on the fly may read any column, so columns can only be dropped from what it returns.
        return dataset, DropNames(collator, keep)
    _check_inputs(columns, inputs, labels, dataset.features or {}, role)
    if unused:
        logger.info(
            "%s: the columns %s are not inputs of %s and are left out.", role, ", ".join(unused), type(model).__name__
        )
        dataset = dataset.remove_columns(unused)
    return dataset, collator


def _check_inputs(
    columns: list[str], inputs: ModelInputs, labels: set[str], kinds: Mapping[str, Any], role: str
) -> None:
    names = [name for name in inputs.names if name not in labels]
    if not names or any(column in names for column in columns):
        return
    texts = [
        column
        for column in columns
        if getattr(kinds.get(column), "dtype", "") == "string" or isinstance(kinds.get(column), str)
    ]
    if inputs.takes_any and not texts:
        return
    column = texts[0] if texts else "text"
    raise InputError(
        f"{role} has the columns {', '.join(columns) or '(none)'}, none of which the model takes; it takes"
        f" {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}.",
        next_step=_TOKENIZE.format(column=column)
        if texts or "input_ids" in names
        else "Rename the columns to the model's inputs, or pass remove_unused_columns=False and a data_collator.",
    )


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
) -> DataLoader:
    """A DataLoader over `dataset`; with `lengths`, over batches of alike lengths."""
    workers = args.dataloader_num_workers
    options: dict[str, Any] = {
        "collate_fn": collator,
        "num_workers": workers,
        "pin_memory": args.dataloader_pin_memory and device_type == "cuda",
        "persistent_workers": args.dataloader_persistent_workers and workers > 0,
    }
    if workers > 0:
        options["multiprocessing_context"] = args.dataloader_multiprocessing_context
        options["prefetch_factor"] = args.dataloader_prefetch_factor
        options["in_order"] = args.dataloader_in_order
    drop_last = training and args.dataloader_drop_last
    seed = args.data_seed if args.data_seed is not None else args.seed
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        return DataLoader(dataset, batch_size=batch_size, drop_last=drop_last, **options)
    if lengths is not None and training:
        options["batch_sampler"] = LengthGroupedBatchSampler(lengths, batch_size, seed, drop_last, group=world_size)
    elif lengths is not None:
        options["batch_sampler"] = SortedBatchSampler(lengths, batch_size)
    else:
        shuffled = training and args.train_sampling_strategy != "sequential"
        options["sampler"] = EpochSampler(dataset, seed) if shuffled else SequentialSampler(dataset)
        options["batch_size"], options["drop_last"] = batch_size, drop_last
    return DataLoader(dataset, **options)  # type: ignore[arg-type]  # any sized mapping from places to examples will do


def lengths_for_grouping(dataset: Any, args: TrainingArguments, input_name: str) -> np.ndarray | None:
    """The lengths to group by, or None if that is not asked for, not possible, or of no use."""
    if not args.group_by_length or isinstance(dataset, IterableDataset):
        return None
    lengths = example_lengths(dataset, input_name, args.length_column_name)
    return lengths if lengths is not None and len(lengths) and lengths.min() != lengths.max() else None
