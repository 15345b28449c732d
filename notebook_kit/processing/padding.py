"""Pad rows of unequal lengths to one length: token ids, audio samples, labels; and pictures to one size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from notebook_kit.errors import InputError, near_matches
from notebook_kit.processing.tensors import tensor_kind, to_lists, to_tensor

__all__ = ["as_columns", "as_mapping", "check_side", "pad_features", "pad_inputs", "pad_pictures", "pad_rows"]

_SIDES = ("right", "left")


def pad_rows(
    rows: Sequence[Any],
    fill: Any = 0,
    *,
    length: int | None = None,
    multiple_of: int | None = None,
    side: str = "right",
) -> Any:
    """Pad rows along their first axis to one length.

    Args:
        rows: Lists, arrays or tensors of shape (length, ...).
        fill: The padding value: a number, or a value with the shape of one entry.
        length: The length to pad to; None pads to the longest row. Longer rows are not cut.
        multiple_of: Round the length up to a multiple of this.
        side: "right" or "left": where the padding goes.

    Returns:
        A list of lists for lists; for arrays or tensors, one array or tensor of shape (rows, length, ...) with the rows'
        dtype, or a list of lists if a row is longer than `length`.

    Example:
        >>> pad_rows([[5, 6, 7], [8]], fill=1)
        [[5, 6, 7], [8, 1, 1]]
    """
    longest = max(map(len, rows), default=0)
    length = longest if length is None else length
    if multiple_of:
        length = -(-length // multiple_of) * multiple_of
    kinds = set(map(type, rows))
    if kinds != {list}:
        if len(kinds) == 1 and tensor_kind(rows) and longest <= length:
            return _pad_arrays(rows, fill, length, side)
        rows = [to_lists(row) for row in rows]
    # Rows that are long enough are not copied: pipelines batch texts of similar length.
    if side == "right":
        return [row if len(row) >= length else [*row, *[fill] * (length - len(row))] for row in rows]
    return [row if len(row) >= length else [*[fill] * (length - len(row)), *row] for row in rows]


def _pad_arrays(rows: Sequence[Any], fill: Any, length: int, side: str) -> Any:
    kind = tensor_kind(rows)
    if all(len(row) == length for row in rows):
        return to_tensor(list(rows), str(kind))
    shape = (len(rows), length, *rows[0].shape[1:])
    if kind == "pt":
        import torch

        padded = rows[0].new_empty(shape)
        padded[:] = torch.as_tensor(fill)
    else:
        import numpy as np

        padded = np.full(shape, fill, rows[0].dtype)
    for target, row in zip(padded, rows, strict=True):
        target[slice(len(row)) if side == "right" else slice(length - len(row), None)] = row
    return padded


def pad_features(
    features: Any,
    names: Iterable[str],
    *,
    fill: Mapping[str, Any] | None = None,
    length: int | None = None,
    multiple_of: int | None = None,
    side: str = "right",
    return_tensors: str | None = "pt",
) -> dict[str, Any]:
    """Pad and collate features, each with one sequence per entry, into one batch.

    Args:
        features: As for `as_columns`; entries are lists of numbers, arrays or tensors of shape (length, ...).
        names: The entries to include; names missing from the features are skipped.
        fill: The padding value by entry name; 0 for entries not listed.
        length: The length to pad to; None pads each entry to its longest row. Longer rows are not cut.
        multiple_of: Round the length up to a multiple of this.
        side: "right" or "left": where the padding goes.
        return_tensors: "pt", "np", or None to keep the format of the input.

    Returns:
        The entries by name, each of shape (features, length, ...).

    Raises:
        InputError: If the features differ in their entries, or if tensors were requested and rows differ in length.

    Example:
        >>> pad_features([{"input_ids": [5, 6, 7]}, {"input_ids": [8]}], ["input_ids"], fill={"input_ids": 1})
        {'input_ids': tensor([[5, 6, 7],
                [8, 1, 1]])}
    """
    fill = fill or {}
    batch = {}
    for name, rows in as_columns(features, names).items():
        padded = pad_rows(rows, fill.get(name, 0), length=length, multiple_of=multiple_of, side=side)
        batch[name] = padded if return_tensors is None else to_tensor(padded, return_tensors, name)
    return batch


def pad_inputs(
    features: Any,
    main: str,
    fill: Mapping[str, Any],
    *,
    padding: bool = True,
    length: int | None = None,
    multiple_of: int | None = None,
    side: str = "right",
    mask: bool = True,
    return_tensors: str | None = None,
) -> dict[str, Any]:
    """Pad the output of a processor; tokenizers and feature extractors implement `pad` with this.

    Args:
        features: As for `as_columns`, or a single feature.
        main: The entry that defines the lengths, such as "input_ids" or "input_values".
        fill: The padding value by entry name; entries not listed are not padded.
        padding: Whether to pad; False only collates.
        length, multiple_of, side: As in `pad_features`; without `length`, rows are padded to the longest row of `main`.
        mask: Add an "attention_mask" if it is missing, and pad it with 0.
        return_tensors: "pt" or "np"; None keeps the format of the input: lists for lists, tensors for tensors.

    Returns:
        All entries by name.

    Raises:
        InputError: If `main` is missing, if entries differ in their number of rows, or if tensors were requested and rows
            differ in length.

    Example:
        >>> pad_inputs([{"input_ids": [5, 6, 7]}, {"input_ids": [8]}], "input_ids", {"input_ids": 0})
        {'input_ids': [[5, 6, 7], [8, 0, 0]], 'attention_mask': [[1, 1, 1], [1, 0, 0]]}
    """
    columns = as_columns(features)
    rows = columns.get(main)
    if main not in columns:
        raise InputError(
            f"There is nothing to pad: the inputs are {', '.join(map(repr, columns)) or 'empty'}, without {main!r}.",
            next_step=f"Pass the processor's output: a dictionary with {main}, or a list of such dictionaries.",
        )
    if rows is not None and not hasattr(rows, "__len__"):
        raise InputError(
            f"{main!r} is {type(rows).__name__!r}, which is not a row of ids.",
            next_step=f"Pass the processor's output: a dictionary with {main}, or a list of such dictionaries.",
        )
    if rows is None or len(rows) == 0:
        return columns | ({"attention_mask": []} if mask else {})
    return_tensors = tensor_kind(rows) if return_tensors is None else return_tensors
    columns = {name: to_lists(value) for name, value in columns.items()}
    single = not isinstance(columns[main][0], list | tuple)
    if single:
        columns = {name: [value] for name, value in columns.items()}
    rows = columns[main]
    if mask:
        columns.setdefault("attention_mask", [[1] * len(row) for row in rows])
        fill = {**fill, "attention_mask": 0}
    for name, value in columns.items():
        if len(value) != len(rows):
            raise InputError(
                f"{name!r} has {len(value)} entries, {main!r} has {len(rows)}.",
                next_step=f"Every entry of a batch needs one value per row of {main}.",
            )
    if padding:
        length = max(map(len, rows)) if length is None else length
        for name in columns.keys() & fill.keys():
            columns[name] = pad_rows(columns[name], fill[name], length=length, multiple_of=multiple_of, side=side)
    if single:
        columns = {name: value[0] for name, value in columns.items()}
    if return_tensors is None:
        return columns
    return {name: to_tensor(value, return_tensors, name) for name, value in columns.items()}


def pad_pictures(pixels: Sequence[Any], masks: Sequence[Any]) -> tuple[Any, Any]:
    """Join pictures of different sizes, with zeros at the right and at the bottom.

    Args:
        pixels: Tensors `(..., height, width)`.
        masks: The mask of each picture, `(height, width)`, 1 for its pixels; None if all are.

    Returns:
        `(pictures, ..., height, width)`, and the masks, `(pictures, height, width)`.

    Example:
        >>> import torch
        >>> pictures, masks = pad_pictures([torch.ones(3, 2, 4), torch.ones(3, 5, 1)], [None, None])
        >>> pictures.shape, masks.sum((1, 2)).tolist()
        (torch.Size([2, 3, 5, 4]), [8, 5])
    """
    import torch

    height, width = (max(one.shape[axis] for one in pixels) for axis in (-2, -1))
    joined = pixels[0].new_zeros(len(pixels), *pixels[0].shape[:-2], height, width)
    covered = torch.zeros(len(pixels), height, width, dtype=torch.int64)
    for i, (one, mask) in enumerate(zip(pixels, masks, strict=True)):
        h, w = one.shape[-2:]
        joined[i, ..., :h, :w] = one
        covered[i, :h, :w] = 1 if mask is None else torch.as_tensor(mask)
    return joined, covered


def as_columns(features: Any, names: Iterable[str] | None = None) -> dict[str, Any]:
    """The entries of a batch by name.

    Args:
        features: A list of dictionaries, one per row (or of objects with the entries as attributes), or one mapping, such
            as a dictionary of lists or a `BatchEncoding`.
        names: The entries to include, if present; None for all.

    Raises:
        InputError: If a feature is not a mapping, or lacks an entry that the first feature has.

    Example:
        >>> as_columns([{"input_ids": [5, 6], "label": 0}, {"input_ids": [7], "label": 1}])
        {'input_ids': [[5, 6], [7]], 'label': [0, 1]}
    """
    if isinstance(features, Mapping):
        return {name: features[name] for name in (features.keys() if names is None else names) if name in features}
    if not isinstance(features, Iterable) or isinstance(features, str | bytes) or getattr(features, "ndim", 1) == 0:
        raise InputError(
            f"The batch is {type(features).__name__!r}, which is not a list of examples.",
            next_step='Pass dictionaries such as {"input_ids": [...], "labels": 0}, or one dictionary of lists.',
        )
    features = [feature if isinstance(feature, dict) else as_mapping(feature) for feature in features]
    if not features:
        return {}
    columns = {}
    for name in features[0] if names is None else [name for name in names if name in features[0]]:
        try:
            columns[name] = [feature[name] for feature in features]
        except KeyError:
            place = next(place for place, feature in enumerate(features) if name not in feature)
            raise InputError(
                f"Feature {place} has no {name!r}, but feature 0 does: all features of a batch need the same entries.",
                next_step="Process all features with the same options, or drop the columns that only some of them have.",
            ) from None
    return columns


def as_mapping(feature: Any) -> Mapping[str, Any]:
    """One example of a batch as a mapping: the example itself, its `data`, or its attributes.

    Raises:
        InputError: If it has none of these.
    """
    if isinstance(feature, Mapping):
        return feature
    if isinstance(data := getattr(feature, "data", None), Mapping):
        return data
    if hasattr(feature, "__dict__") and not hasattr(feature, "__array__"):
        return vars(feature)
    raise InputError(
        f"The batch is a list of {type(feature).__name__}, but each example must map input names to values.",
        next_step='Pass dictionaries such as {"input_ids": [...], "labels": 0}.',
    )


def check_side(side: str) -> str:
    """Return `side` if it is "right" or "left".

    Raises:
        InputError: If it is anything else.
    """
    if not isinstance(side, str) or side not in _SIDES:
        raise InputError(
            f"There is no side {side!r}. {near_matches(str(side), _SIDES)}", next_step="Use 'right' or 'left'."
        )
    return side
