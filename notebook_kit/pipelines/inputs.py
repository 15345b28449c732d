"""The kinds of input that a pipeline accepts: one, a list of them, or a stream."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, MappingView, Set, Sized
from typing import Any, Literal

from notebook_kit.errors import InputError, a_kind, near_matches

__all__ = ["KeyDataset", "KeyPairDataset", "iterate", "kind_of", "refuse_frame"]


class KeyDataset:
    """One column of a dataset, as a sequence that a pipeline reads as a stream.

    Args:
        dataset: Anything with a length whose rows are mappings.
        key: The name of the column.

    Example:
        >>> list(KeyDataset([{"text": "one", "label": 1}, {"text": "two", "label": 0}], "text"))
        ['one', 'two']
    """

    def __init__(self, dataset: Any, key: str) -> None:
        self.dataset = dataset
        self.key = key

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> Any:
        return _entry(self.dataset[i], self.key)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


class KeyPairDataset(KeyDataset):
    """Two columns of a dataset, as the two texts of a pair.

    Example:
        >>> KeyPairDataset([{"premise": "It rains.", "hypothesis": "It is wet."}], "premise", "hypothesis")[0]
        {'text': 'It rains.', 'text_pair': 'It is wet.'}
    """

    def __init__(self, dataset: Any, key1: str, key2: str) -> None:
        super().__init__(dataset, key1)
        self.key2 = key2

    def __getitem__(self, i: int) -> dict[str, Any]:
        row = self.dataset[i]
        return {"text": _entry(row, self.key), "text_pair": _entry(row, self.key2)}


def _entry(row: Any, key: str) -> Any:
    """The entry of a row in a column."""
    if isinstance(row, Mapping) and key not in row:
        names = [str(name) for name in row]
        raise InputError(
            f"The dataset has no column {key!r}. {near_matches(key, names)}".rstrip(),
            next_step=f"Its columns are {', '.join(names)}.",
        )
    return row[key]


def kind_of(inputs: Any) -> Literal["one", "list", "stream"]:
    """Whether `inputs` is one input, a list of inputs (which gives a list), or a stream (which gives a stream).

    A list, a tuple, a view of a dict and a column (`dataset["text"]`, a Series of pandas or polars, an array of numpy or
    pyarrow) are lists.
    Generators, iterators, iterable datasets, torch datasets and `KeyDataset` are streams.

    Raises:
        InputError: if `inputs` is none of these, such as a whole DataFrame, or has no order, as a set.

    Example:
        >>> kind_of("a text"), kind_of(["a text"]), kind_of(text for text in ["a text"])
        ('one', 'list', 'stream')
    """
    if isinstance(inputs, str | bytes | Mapping | os.PathLike):
        return "one"
    if isinstance(inputs, list | tuple):
        return "list"
    if isinstance(inputs, Set) and not isinstance(inputs, MappingView):
        raise InputError(
            f"The input is {a_kind(inputs)}, whose elements have no order, so that no result could be assigned to "
            "its input.",
            next_step="Pass a list, such as sorted(inputs).",
        )
    refuse_frame(inputs)
    if isinstance(inputs, KeyDataset | Iterator):
        return "stream"
    if not isinstance(inputs, Iterable) or getattr(inputs, "ndim", 1) == 0:
        if hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__") and not hasattr(inputs, "ndim"):
            return "stream"
        raise InputError(
            f"The input has the type {type(inputs).__name__}, which a pipeline cannot read.",
            next_step="Pass one input, a list of them, a column of a dataset, or a generator.",
        )
    import torch.utils.data

    if isinstance(inputs, torch.utils.data.Dataset):
        return "stream"
    # A datasets.Dataset is a stream of rows. Its columns are lists, as they were before datasets 4.
    if type(inputs).__module__.startswith("datasets.") and not type(inputs).__name__.endswith("Column"):
        return "stream"
    return "list" if isinstance(inputs, Sized) else "stream"


def refuse_frame(inputs: Any, parts: tuple[str, ...] = ()) -> None:
    """Raise an error for a table of pandas, polars or pyarrow: iterating over it gives the names of its columns.

    Args:
        inputs: Any input.
        parts: The keyword arguments by which a pipeline takes several columns.

    Raises:
        InputError: if it is a table, with the way to pass its columns.
    """
    kind = type(inputs)
    if kind.__name__ not in ("DataFrame", "LazyFrame", "Table", "RecordBatch"):
        return
    names = list(getattr(inputs, "column_names", None) or getattr(inputs, "columns", []))
    variable = "df" if kind.__name__.endswith("Frame") else "table"

    def column(name: str, place: int = 0) -> str:
        return f'{variable}["{name if name in names else names[place] if place < len(names) else name}"]'

    step = f"Pass {column('text')}"
    if parts:
        step = f"Pass {', '.join(f'{part}={column(part, place)}' for place, part in enumerate(parts))}"
    elif len(names) > 1:
        step += "; or, for inputs of several parts, a list with one dict per row"
    raise InputError(
        f"The input is a {kind.__name__} of {kind.__module__.partition('.')[0]} with the column{'s' * (len(names) != 1)} "
        f"{', '.join(map(repr, names))}, and a pipeline reads {'columns' if parts else 'one column'}.",
        next_step=f"{step}.",
    )


def iterate(inputs: Any) -> Iterator[Any]:
    """Iterate over a list, a stream, or an object with only `__len__` and `__getitem__`."""
    if hasattr(inputs, "to_pylist"):  # the elements of pyarrow's arrays are pyarrow scalars
        return iter(inputs.to_pylist())
    if isinstance(inputs, Iterable):
        return iter(inputs)
    return (inputs[i] for i in range(len(inputs)))
