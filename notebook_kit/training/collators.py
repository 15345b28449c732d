"""Data collators: from a list of examples to one batch of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.processing.padding import as_columns, as_mapping, pad_rows
from notebook_kit.processing.tensors import to_lists, to_tensor

__all__ = [
    "DataCollatorForMultipleChoice",
    "DataCollatorForSeq2Seq",
    "DataCollatorForTokenClassification",
    "DataCollatorMixin",
    "DataCollatorWithPadding",
    "DefaultDataCollator",
    "as_examples",
    "default_data_collator",
]

_LABELS = ("label", "label_ids", "labels")


class DataCollatorMixin:
    """Base class of collators: a subclass creates the batch as torch tensors, in `torch_call`.

    Attributes:
        return_tensors: "pt" for torch tensors, "np" for NumPy arrays, "tf" for TensorFlow tensors.

    Raises:
        ConfigurationError: if `pad_to_multiple_of` or `max_length` is not a positive number.
        InputError: for an unknown kind of tensor.
    """

    return_tensors: str = "pt"

    def __post_init__(self) -> None:
        for name in ("pad_to_multiple_of", "max_length"):
            value = getattr(self, name, None)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigurationError(f"{name} is {value!r}.", next_step="Pass a positive whole number, or None.")

    def __call__(self, features: Any, return_tensors: str | None = None) -> dict[str, Any]:
        if not isinstance(features, Mapping | Sequence) or isinstance(features, str) or not features:
            raise InputError(
                f"A batch is a list of examples, but this is {features!r:.80}.",
                next_step='Pass examples such as [{"input_ids": [...], "labels": 0}, ...].',
            )
        kind = str(return_tensors or self.return_tensors)
        if kind == "pt":
            return self.torch_call(features)
        to_tensor([], kind)  # complains about an unknown kind
        batch = self.numpy_call(features)
        return batch if kind == "np" else {name: to_tensor(value, kind, name) for name, value in batch.items()}

    def torch_call(self, features: Any) -> dict[str, Any]:
        """The batch as torch tensors."""
        raise NotImplementedError(f"{type(self).__name__} needs a method torch_call(features).")

    def numpy_call(self, features: Any) -> dict[str, Any]:
        """The batch as NumPy arrays."""
        batch = self.torch_call(features)
        return {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in batch.items()}

    def _padded(self: Any, features: Any, left_out: Sequence[str]) -> Any:
        """The features, without the entries in `left_out`, padded by the tokenizer."""

        def rest(entries: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in entries.items() if name not in left_out}

        if not callable(getattr(self.tokenizer, "pad", None)):
            raise InputError(
                f"The tokenizer of the {type(self).__name__} is {self.tokenizer!r:.80}, which cannot pad.",
                next_step="Pass a tokenizer, such as AutoTokenizer.from_pretrained(name).",
            )
        return self.tokenizer.pad(
            rest(features) if isinstance(features, Mapping) else [rest(as_mapping(feature)) for feature in features],
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors="pt",
        )

    def _padded_labels(self: Any, rows: list[list[int]], length: int) -> torch.Tensor:
        side = getattr(self.tokenizer, "padding_side", "right")
        return to_tensor(pad_rows(rows, self.label_pad_token_id, length=length, side=side), "pt", "labels")


def as_examples(features: Any) -> list[Mapping[str, Any]]:
    """The rows of a batch, which may be a list of examples or a mapping of columns."""
    if not isinstance(features, Mapping):
        return [as_mapping(feature) for feature in features]
    for name, column in features.items():
        if not isinstance(column, Iterable) or getattr(column, "ndim", 1) == 0:
            raise InputError(
                f"The column {name!r} of a batch is {column!r:.80}; expected one entry per example.",
                next_step="Pass a list of examples, or lists by name.",
            )
    return [dict(zip(features, values, strict=True)) for values in zip(*features.values(), strict=True)]


def _labels(features: Any, names: Sequence[str]) -> list[Any] | None:
    """The labels of a batch: the column with the first of these names, or None without one."""
    for name, values in as_columns(features, names).items():
        rows = list(values) if values is not None else []
        absent = sum(row is None for row in rows)
        if absent == len(rows):
            continue
        if absent:
            raise InputError(
                f"{absent} of the {len(rows)} examples of a batch have no label: their {name!r} is None.",
                next_step=f"Drop them: dataset.filter(lambda example: example[{name!r}] is not None).",
            )
        first = rows[0][0] if isinstance(rows[0], Sequence) and len(rows[0]) else rows[0]
        if isinstance(first, str):
            raise InputError(
                f"The labels of a batch, {name!r}, are text, such as {rows[0]!r}; a model learns from class numbers.",
                next_step=f"Number them: dataset.class_encode_column({name!r}), or dataset.map with a dictionary label2id; pass"
                " id2label and label2id to the model's from_pretrained too.",
            )
        return rows
    return None


_PAD = (
    "Pass the Trainer data_collator=DataCollatorWithPadding(tokenizer) or processing_class=tokenizer, so that each batch is "
    "padded; or pad when tokenizing."
)
_PAD_SOUND = "Pass the Trainer processing_class=feature_extractor, so that each batch is padded."
_EQUAL_SHAPES = {
    "pixel_values": "Bring the images to one size, as the checkpoint's image processor does.",
    "input_values": _PAD_SOUND,
    "input_features": _PAD_SOUND,
}


def _stack(name: str, values: Any) -> torch.Tensor:
    """One tensor of the values; floats in single precision, as models have them."""
    try:
        tensor = to_tensor(values, "pt", name)
    except InputError as error:
        raise InputError(
            f"{error.what} The values of {name!r} in a batch need equal shapes to be stacked.",
            next_step=_EQUAL_SHAPES.get(name, _PAD),
        ) from error
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _stacked_labels(rows: list[Any]) -> torch.Tensor:
    labels = _stack("labels", rows)
    return labels if labels.is_floating_point() else labels.long()


def default_data_collator(features: list[Any], return_tensors: str = "pt") -> dict[str, Any]:
    """Stack examples of equal shapes; `label` and `label_ids` become `labels`. Text is left out.

    Args:
        features: Mappings from names to numbers, lists, arrays or tensors, all with the same names.
        return_tensors: "pt" for torch tensors, "np" for NumPy arrays, "tf" for TensorFlow tensors.

    Returns:
        A dictionary of tensors of shape (batch, ...).

    Raises:
        InputError: if the values of one name differ in shape, or labels are text.

    Example:
        >>> default_data_collator([{"x": [1, 2], "label": 0}, {"x": [3, 4], "label": 1}])
        {'labels': tensor([0, 1]), 'x': tensor([[1, 2],
                [3, 4]])}
    """
    return DefaultDataCollator(return_tensors)(features)


@dataclass
class DefaultDataCollator(DataCollatorMixin):
    """`default_data_collator` as an object, with a fixed kind of tensor.

    Args:
        return_tensors: "pt", "np" or "tf".

    Example:
        >>> DefaultDataCollator(return_tensors="np")([{"x": 1.5, "label": 0}, {"x": 2.5, "label": 1}])
        {'labels': array([0, 1]), 'x': array([1.5, 2.5], dtype=float32)}
    """

    return_tensors: str = "pt"

    def torch_call(self, features: Any) -> dict[str, Any]:
        examples = as_examples(features)
        labels = _labels(examples, _LABELS)
        batch = {} if labels is None else {"labels": _stacked_labels(labels)}
        for name, value in examples[0].items():
            if name not in _LABELS and value is not None and not isinstance(value, str):
                batch[name] = _stack(name, [example[name] for example in examples])
        return batch


@dataclass
class DataCollatorWithPadding(DataCollatorMixin):
    """Pad the examples of a batch to one length with the tokenizer's `pad`; `label` and `label_ids` become `labels`.

    The batch is a list of examples, a dictionary of columns such as `dataset[:8]`, or a `BatchEncoding`.

    Args:
        tokenizer: The tokenizer that made the examples (or any object with its `pad`).
        padding: True or "longest": to the longest example of the batch; "max_length": to `max_length`; False: no padding.
        max_length: In tokens.
        pad_to_multiple_of: Round the length up to a multiple of this, for example 8 for tensor cores.
        return_tensors: "pt", "np" or "tf".

    Raises:
        InputError: if a column cannot be padded, or labels are text.

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

    def torch_call(self, features: Any) -> dict[str, Any]:
        labels = _labels(features, _LABELS)
        batch = self._padded(features, _LABELS)
        if labels is not None:
            batch["labels"] = _stacked_labels(labels)
        return batch


@dataclass
class DataCollatorForTokenClassification(DataCollatorWithPadding):
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

    label_pad_token_id: int = -100

    def torch_call(self, features: Any) -> dict[str, Any]:
        labels = _labels(features, _LABELS)
        batch = self._padded(features, _LABELS)
        if labels is not None:
            batch["labels"] = self._padded_labels([to_lists(row) for row in labels], batch["input_ids"].shape[1])
        return batch


@dataclass
class DataCollatorForSeq2Seq(DataCollatorMixin):
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

    def torch_call(self, features: Any) -> dict[str, Any]:
        labels = _labels(features, _LABELS)
        batch = self._padded(features, _LABELS)
        if labels is None:
            return batch
        rows = [to_lists(row) for row in labels]
        batch["labels"] = self._padded_labels(rows, self._width(rows))
        if hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            batch["decoder_input_ids"] = self.model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
        return batch

    def _width(self, rows: list[list[int]]) -> int:
        """The length to pad the labels to."""
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
        return width


@dataclass
class DataCollatorForMultipleChoice(DataCollatorWithPadding):
    """Pad the choices of all examples to one length. Each example has one list of tokens per choice.

    Args:
        tokenizer, padding, max_length, pad_to_multiple_of, return_tensors: As for `DataCollatorWithPadding`.

    Returns:
        A batch of tensors of shape (examples, choices, tokens), and `labels`, the number of the right choice, of shape (examples,).

    Raises:
        InputError: if examples differ in their number of choices.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import DataCollatorForMultipleChoice, PreTrainedTokenizerFast
        >>> tokenizer = PreTrainedTokenizerFast(Tokenizer(models.WordLevel({"[PAD]": 0})), pad_token="[PAD]")
        >>> batch = DataCollatorForMultipleChoice(tokenizer)([{"input_ids": [[5, 6, 7], [8]], "label": 1}])
        >>> batch["input_ids"].tolist(), batch["labels"].tolist()
        ([[[5, 6, 7], [8, 0, 0]]], [1])
    """

    def torch_call(self, features: Any) -> dict[str, Any]:
        examples = as_examples(features)
        labels = _labels(examples, _LABELS)
        counts = {len(example["input_ids"]) for example in examples}
        if len(counts) > 1:
            raise InputError(
                f"The examples of a batch have {' and '.join(map(str, sorted(counts)))} choices.",
                next_step="Give all examples of a batch the same number of choices.",
            )
        choices = [
            {name: values[choice] for name, values in example.items() if name not in _LABELS}
            for example in examples
            for choice in range(len(example["input_ids"]))
        ]
        padded = self._padded(choices, ()).items()
        batch = {name: value.view(len(examples), -1, *value.shape[1:]) for name, value in padded}
        if labels is not None:
            batch["labels"] = _stacked_labels(labels)
        return batch
