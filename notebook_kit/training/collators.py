"""Data collators: from a list of examples to one batch of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from notebook_kit.errors import InputError
from notebook_kit.processing.padding import as_columns, as_mapping, pad_rows
from notebook_kit.processing.tensors import to_lists, to_tensor

__all__ = [
    "DataCollatorForSeq2Seq",
    "DataCollatorForTokenClassification",
    "DataCollatorWithPadding",
    "default_data_collator",
]


def _labels(features: Any) -> torch.Tensor | None:
    """The column `label` or `label_ids` as a tensor; integers stay integers."""
    for name, values in as_columns(features, ("label", "label_ids")).items():
        if values is not None and not (isinstance(values, list) and values[0] is None):
            return _stack(name, values)
    return None


def _padded(collator: Any, features: Any, left_out: Sequence[str], return_tensors: str) -> Any:
    """The features, without the entries in `left_out`, padded by the collator's tokenizer."""

    def rest(entries: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in entries.items() if name not in left_out}

    return collator.tokenizer.pad(
        rest(features) if isinstance(features, Mapping) else [rest(as_mapping(feature)) for feature in features],
        padding=collator.padding,
        max_length=collator.max_length,
        pad_to_multiple_of=collator.pad_to_multiple_of,
        return_tensors=return_tensors,
    )


def _token_labels(features: Any) -> tuple[str, list[list[int]] | None]:
    """The name of the column with the labels of each token, and its rows, or None without labels."""
    columns = as_columns(features, ("label", "labels"))
    name = "label" if "label" in columns else "labels"
    rows = columns.get(name)
    return name, None if rows is None or rows[0] is None else [to_lists(row) for row in rows]


def _stack(name: str, values: Any) -> torch.Tensor:
    try:
        if isinstance(values, list) and isinstance(values[0], torch.Tensor):
            return torch.stack(values)
        return torch.as_tensor(values if isinstance(values, torch.Tensor) else np.asarray(values))
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"The values of {name!r} in a batch cannot be stacked into a tensor: {error}. They may differ in length.",
            next_step="Pass the Trainer data_collator=DataCollatorWithPadding(tokenizer) or processing_class=tokenizer, so that"
            " each batch is padded; or pad when tokenizing.",
        ) from error


def _narrow(tensor: torch.Tensor) -> torch.Tensor:
    # Floats of NumPy and Python are float64; models and their losses are float32.
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def default_data_collator(features: list[Any], return_tensors: str = "pt") -> dict[str, Any]:
    """Stack examples of equal shapes; `label` and `label_ids` become `labels`. Text is left out.

    Args:
        features: Mappings from names to numbers, lists, arrays or tensors, all with the same names.
        return_tensors: "pt" for torch tensors or "np" for NumPy arrays.

    Returns:
        A dictionary of tensors of shape (batch, ...).

    Raises:
        InputError: if the values of one name differ in shape.

    Example:
        >>> default_data_collator([{"x": [1, 2], "label": 0}, {"x": [3, 4], "label": 1}])
        {'labels': tensor([0, 1]), 'x': tensor([[1, 2],
                [3, 4]])}
    """
    examples = [as_mapping(feature) for feature in features]
    batch: dict[str, Any] = {}
    labels = _labels(examples)
    if labels is not None:
        batch["labels"] = _narrow(labels)
    for name, value in examples[0].items():
        if name in ("label", "label_ids") or value is None or isinstance(value, str):
            continue
        batch[name] = _narrow(_stack(name, [example[name] for example in examples]))
    if return_tensors == "np":
        return {name: tensor.numpy() for name, tensor in batch.items()}
    return batch


@dataclass
class DataCollatorWithPadding:
    """Pad the examples of a batch to one length with the tokenizer's `pad`; `label` and `label_ids` become `labels`.

    The batch is a list of examples, a dictionary of columns such as `dataset[:8]`, or a `BatchEncoding`.

    Args:
        tokenizer: The tokenizer that made the examples (or any object with its `pad`).
        padding: True or "longest": to the longest example of the batch; "max_length": to `max_length`; False: no padding.
        max_length: In tokens.
        pad_to_multiple_of: Round the length up to a multiple of this, for example 8 for tensor cores.
        return_tensors: "pt" or "np".

    Raises:
        InputError: if a column cannot be padded.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import DataCollatorWithPadding, PreTrainedTokenizerFast
        >>> tokenizer = PreTrainedTokenizerFast(Tokenizer(models.WordLevel({"[PAD]": 0})), pad_token="[PAD]")
        >>> batch = DataCollatorWithPadding(tokenizer)([{"input_ids": [5, 6, 7], "label": 1}, {"input_ids": [8], "label": 0}])
        >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist(), batch["labels"].tolist()
        ([[5, 6, 7], [8, 0, 0]], [[1, 1, 1], [1, 0, 0]], [1, 0])
    """

    tokenizer: Any
    padding: bool | str = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"

    def __call__(self, features: Any) -> dict[str, Any]:
        labels = _labels(features)
        batch = _padded(self, features, () if labels is None else ("label", "label_ids"), self.return_tensors)
        if labels is not None:
            batch["labels"] = _narrow(labels) if self.return_tensors == "pt" else labels.numpy()
        return batch


@dataclass
class DataCollatorForTokenClassification:
    """Like `DataCollatorWithPadding`, for examples with a label for each token.

    Args:
        tokenizer, padding, max_length, pad_to_multiple_of, return_tensors: As for `DataCollatorWithPadding`.
        label_pad_token_id: The label of padding; losses ignore -100.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import DataCollatorForTokenClassification, PreTrainedTokenizerFast
        >>> tokenizer = PreTrainedTokenizerFast(Tokenizer(models.WordLevel({"[PAD]": 0})), pad_token="[PAD]")
        >>> collate = DataCollatorForTokenClassification(tokenizer)
        >>> batch = collate([{"input_ids": [5, 6, 7], "labels": [0, 3, 4]}, {"input_ids": [8], "labels": [3]}])
        >>> batch["labels"].tolist()
        [[0, 3, 4], [3, -100, -100]]
    """

    tokenizer: Any
    padding: bool | str = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = -100
    return_tensors: str = "pt"

    def __call__(self, features: Any) -> dict[str, Any]:
        name, rows = _token_labels(features)
        batch = _padded(self, features, (name,), self.return_tensors)
        if rows is not None:
            side = getattr(self.tokenizer, "padding_side", "right")
            labels = pad_rows(rows, self.label_pad_token_id, length=batch["input_ids"].shape[1], side=side)
            batch["labels"] = to_tensor(labels, self.return_tensors, "labels")
        return batch


@dataclass
class DataCollatorForSeq2Seq:
    """Pad the inputs of a batch with the tokenizer, and its labels, which differ in length from the inputs, with -100.

    Args:
        tokenizer, padding, max_length, pad_to_multiple_of, return_tensors: As for `DataCollatorWithPadding`; with
            `padding="max_length"` the labels are padded to `max_length` too.
        model: The model to train; it computes `decoder_input_ids` from the labels.
        label_pad_token_id: The label of padding; losses ignore -100.

    Raises:
        InputError: if a row of labels is longer than `max_length`, or rows differ in length and `padding` is False.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import DataCollatorForSeq2Seq, PreTrainedTokenizerFast
        >>> tokenizer = PreTrainedTokenizerFast(Tokenizer(models.WordLevel({"[PAD]": 0})), pad_token="[PAD]")
        >>> batch = DataCollatorForSeq2Seq(tokenizer)([{"input_ids": [5, 6], "labels": [7, 8, 9]}, {"input_ids": [5], "labels": [7]}])
        >>> batch["input_ids"].tolist(), batch["labels"].tolist()
        ([[5, 6], [5, 0]], [[7, 8, 9], [7, -100, -100]])
    """

    tokenizer: Any
    model: Any = None
    padding: bool | str = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = -100
    return_tensors: str = "pt"

    def __call__(self, features: Any, return_tensors: str | None = None) -> dict[str, Any]:
        kind = self.return_tensors if return_tensors is None else return_tensors
        name, rows = _token_labels(features)
        batch = _padded(self, features, (name,), kind)
        if rows is None:
            return batch
        labels = to_tensor(self._padded_labels(rows), "pt", "labels")
        batch["labels"] = labels if kind == "pt" else labels.numpy()
        if hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            decoder_ids = self.model.prepare_decoder_input_ids_from_labels(labels=labels)
            batch["decoder_input_ids"] = decoder_ids if kind == "pt" else decoder_ids.numpy()
        return batch

    def _padded_labels(self, rows: list[list[int]]) -> list[list[int]]:
        """The labels, padded to one length."""
        longest = max(map(len, rows))
        width = self.max_length if self.padding == "max_length" and self.max_length is not None else longest
        if self.pad_to_multiple_of:
            width = -(-width // self.pad_to_multiple_of) * self.pad_to_multiple_of
        if self.padding in (False, "do_not_pad") and any(len(row) != width for row in rows):
            raise InputError(
                f"The labels of a batch have up to {longest} tokens and differ in length, and padding is off.",
                next_step="Pass padding=True.",
            )
        if longest > width:
            raise InputError(
                f"The labels of a batch have up to {longest} tokens, but max_length is {width}.",
                next_step="Truncate them when tokenizing: truncation=True, max_length=...",
            )
        side = getattr(self.tokenizer, "padding_side", "right")
        return pad_rows(rows, self.label_pad_token_id, length=width, side=side)
