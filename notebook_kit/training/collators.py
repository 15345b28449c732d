"""From a list of examples to one batch of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from notebook_kit.errors import InputError

__all__ = [
    "DataCollatorForSeq2Seq",
    "DataCollatorForTokenClassification",
    "DataCollatorWithPadding",
    "default_data_collator",
]


def _as_mapping(feature: Any) -> Mapping[str, Any]:
    if isinstance(feature, Mapping):
        return feature
    if hasattr(feature, "data") and isinstance(feature.data, Mapping):
        return feature.data
    if hasattr(feature, "__dict__"):
        return vars(feature)
    raise InputError(
        f"An example of the dataset is a {type(feature).__name__}; expected a mapping from input names to values.",
        next_step='Let the dataset give dictionaries such as {"input_ids": [...], "labels": 0}.',
    )


def _labels(features: Sequence[Mapping[str, Any]]) -> torch.Tensor | None:
    """The column `label` or `label_ids` as the tensor `labels`: whole numbers stay whole."""
    first = features[0]
    name = "label" if first.get("label") is not None else "label_ids" if first.get("label_ids") is not None else None
    if name is None:
        return None
    values = [feature[name] for feature in features]
    return _stack(name, values)


def _stack(name: str, values: list[Any]) -> torch.Tensor:
    first = values[0]
    try:
        if isinstance(first, torch.Tensor):
            return torch.stack(values)
        return torch.as_tensor(np.stack(values) if isinstance(first, np.ndarray) else np.asarray(values))
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"The values of {name!r} in one batch do not make a tensor: {error}. They may differ in length.",
            next_step="Pass data_collator=DataCollatorWithPadding(tokenizer), or processing_class=tokenizer to the Trainer,"
            " so that each batch is padded; or pad when tokenizing.",
        ) from error


def _narrow(tensor: torch.Tensor) -> torch.Tensor:
    # NumPy and Python numbers are float64; models and their losses are float32.
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def default_data_collator(features: list[Any], return_tensors: str = "pt") -> dict[str, Any]:
    """Stack examples of equal shape; `label` and `label_ids` become `labels`. Text is left out.

    Args:
        features: Mappings from names to numbers, lists, arrays or tensors, all with the same names.
        return_tensors: "pt" for torch tensors or "np" for NumPy arrays.

    Returns:
        A dictionary of tensors of shape (batch, ...).

    Raises:
        InputError: if values of one name differ in shape.

    Example:
        >>> default_data_collator([{"x": [1, 2], "label": 0}, {"x": [3, 4], "label": 1}])
        {'labels': tensor([0, 1]), 'x': tensor([[1, 2],
                [3, 4]])}
    """
    examples = [_as_mapping(feature) for feature in features]
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

    Args:
        tokenizer: The tokenizer that made the examples (or any object with its `pad`).
        padding: True or "longest": to the longest of the batch; "max_length": to `max_length`; False: not at all.
        max_length: In tokens.
        pad_to_multiple_of: Round the length up to a multiple, for example 8 for tensor cores.
        return_tensors: "pt" or "np".

    Raises:
        InputError: if there are columns that cannot be padded.

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

    def __call__(self, features: list[Any]) -> dict[str, Any]:
        examples = [_as_mapping(feature) for feature in features]
        labels = _labels(examples)
        if labels is not None:
            examples = [{k: v for k, v in example.items() if k not in ("label", "label_ids")} for example in examples]
        batch = self.tokenizer.pad(
            examples,
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors=self.return_tensors,
        )
        if labels is not None:
            batch["labels"] = _narrow(labels) if self.return_tensors == "pt" else labels.numpy()
        return batch


@dataclass
class DataCollatorForTokenClassification:
    """Like `DataCollatorWithPadding`, for examples with a label for each token.

    Args:
        tokenizer, padding, max_length, pad_to_multiple_of, return_tensors: As for `DataCollatorWithPadding`.
        label_pad_token_id: The label of padding; the losses leave -100 out.

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

    def __call__(self, features: list[Any]) -> dict[str, Any]:
        examples = [_as_mapping(feature) for feature in features]
        name = "label" if "label" in examples[0] else "labels"
        rows = [list(example[name]) for example in examples] if name in examples[0] else None
        batch = self.tokenizer.pad(
            [{k: v for k, v in example.items() if k != name} for example in examples],
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors=self.return_tensors,
        )
        if rows is not None:
            width = batch["input_ids"].shape[1]
            left = getattr(self.tokenizer, "padding_side", "right") == "left"
            labels = np.full((len(rows), width), self.label_pad_token_id, dtype=np.int64)
            for row, values in zip(labels, rows, strict=True):
                row[slice(width - len(values), width) if left else slice(0, len(values))] = values
            batch["labels"] = torch.from_numpy(labels) if self.return_tensors == "pt" else labels
        return batch


@dataclass
class DataCollatorForSeq2Seq:
    """Pad the inputs of a batch with the tokenizer, and its labels, which are texts of other lengths, with -100.

    Args:
        tokenizer, padding, max_length, pad_to_multiple_of, return_tensors: As for `DataCollatorWithPadding`; with
            `padding="max_length"` the labels are padded to `max_length` too.
        model: The model that is trained: it makes `decoder_input_ids` of the labels.
        label_pad_token_id: The label of padding; the losses leave -100 out.

    Raises:
        InputError: if a row of labels is longer than `max_length`, or labels cannot be stacked without padding.

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

    def __call__(self, features: list[Any], return_tensors: str | None = None) -> dict[str, Any]:
        kind = self.return_tensors if return_tensors is None else return_tensors
        examples = [_as_mapping(feature) for feature in features]
        name = "label" if "label" in examples[0] else "labels"
        rows = None if examples[0].get(name) is None else [np.asarray(example[name]) for example in examples]
        batch = self.tokenizer.pad(
            [{key: value for key, value in example.items() if key != name} for example in examples],
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors=kind,
        )
        if rows is None:
            return batch
        labels = torch.from_numpy(self._stacked(rows))
        batch["labels"] = labels if kind == "pt" else labels.numpy()
        if hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            made = self.model.prepare_decoder_input_ids_from_labels(labels=labels)
            batch["decoder_input_ids"] = made if kind == "pt" else made.numpy()
        return batch

    def _stacked(self, rows: list[np.ndarray]) -> np.ndarray:
        """The labels as one array `(batch, tokens)`."""
        longest = max(len(row) for row in rows)
        width = longest
        if self.padding == "max_length" and self.max_length is not None:
            width = self.max_length
        if self.pad_to_multiple_of:
            width = -(-width // self.pad_to_multiple_of) * self.pad_to_multiple_of
        unpadded = self.padding is False or self.padding == "do_not_pad"
        if longest > width or (unpadded and any(len(row) != width for row in rows)):
            raise InputError(
                f"The labels of a batch have up to {longest} tokens; "
                + ("they differ in length, and padding is off." if unpadded else f"max_length is {width}."),
                next_step="Pass padding=True."
                if unpadded
                else "Cut them when tokenizing: truncation=True, max_length=...",
            )
        left = getattr(self.tokenizer, "padding_side", "right") == "left"
        labels = np.full((len(rows), width), self.label_pad_token_id, dtype=np.int64)
        for target, row in zip(labels, rows, strict=True):
            target[slice(width - len(row), width) if left else slice(0, len(row))] = row
        return labels
