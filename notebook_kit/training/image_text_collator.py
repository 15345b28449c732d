"""A data collator for pictures with words: captions, questions about pictures, pages of words with boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from notebook_kit.errors import InputError
from notebook_kit.processing.padding import as_mapping, pad_pictures, pad_rows
from notebook_kit.processing.tensors import to_lists, to_tensor
from notebook_kit.training.collators import DataCollatorMixin, DefaultDataCollator, as_examples

__all__ = ["DataCollatorForImageText"]

_PICTURES = ("pixel_values", "pixel_mask")
_TEXTS = ("input_ids", "attention_mask", "token_type_ids", "special_tokens_mask")


@dataclass
class DataCollatorForImageText(DataCollatorMixin):
    """Pad examples of pictures with words, as a joint processor returns them, to one batch.

    Each example has the inputs of a model without a batch axis; one of 1, as in `processor(image, text, return_tensors="pt")`,
    is removed. Each kind of input is padded in its way:

    - `pixel_values`, `(channels, height, width)`: with zeros at the right and at the bottom if pictures differ in size;
      `pixel_mask` then marks what is picture.
    - `input_ids` and the masks of a text: by the tokenizer. `bbox`, `(tokens, 4)`: with zeros.
    - `labels`: rows of token ids with -100; class numbers and scores are stacked. So is all else.

    Args:
        tokenizer: The tokenizer, or a joint processor with one.
        padding: True or "longest": to the longest text of the batch; "max_length": to `max_length`; False: no padding.
        max_length: In tokens.
        pad_to_multiple_of: Round the length up to a multiple of this, for example 8 for tensor cores.
        label_pad_token_id: The label of padding; losses ignore -100.
        return_tensors: "pt", "np" or "tf".

    Raises:
        InputError: If inputs cannot be padded to one batch, or labels are text.

    Example:
        >>> import torch
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import DataCollatorForImageText, PreTrainedTokenizerFast
        >>> tokenizer = PreTrainedTokenizerFast(Tokenizer(models.WordLevel({"[PAD]": 0})), pad_token="[PAD]")
        >>> batch = DataCollatorForImageText(tokenizer)([
        ...     {"pixel_values": torch.ones(3, 4, 6), "input_ids": [5, 6], "labels": [7, 8, 9]},
        ...     {"pixel_values": torch.ones(3, 8, 2), "input_ids": [5], "labels": [7]},
        ... ])
        >>> batch["pixel_values"].shape, batch["pixel_mask"][0].sum().item(), batch["input_ids"].tolist()
        (torch.Size([2, 3, 8, 6]), 24, [[5, 6], [5, 0]])
        >>> batch["labels"].tolist()
        [[7, 8, 9], [7, -100, -100]]
    """

    tokenizer: Any
    padding: bool | str = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = -100
    return_tensors: str = "pt"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tokenizer = getattr(self.tokenizer, "tokenizer", self.tokenizer)

    def torch_call(self, features: Any) -> dict[str, Any]:
        examples = [_without_batch_axis(example) for example in as_examples(features)]
        special = {*_PICTURES, *_TEXTS, "bbox"}
        rest = [{name: value for name, value in example.items() if name not in special} for example in examples]
        batch: dict[str, Any] = {}
        if "input_ids" in examples[0]:
            left_out = [name for name in examples[0] if name not in _TEXTS]
            batch = dict(self._padded(examples, left_out))
        if "bbox" in examples[0]:
            side = getattr(self.tokenizer, "padding_side", "right")
            boxes = [to_lists(example["bbox"]) for example in examples]
            batch["bbox"] = to_tensor(
                pad_rows(boxes, [0] * 4, length=batch["input_ids"].shape[1], side=side), "pt", "bbox"
            )
        if "pixel_values" in examples[0]:
            batch |= _pictures(examples)
        labels: list[Any] = [to_lists(example.get("labels")) for example in rest]
        if all(isinstance(row, list) and row and isinstance(row[0], int) for row in labels):
            batch["labels"] = self._padded_labels(labels, max(map(len, labels)))
            for example in rest:
                example.pop("labels")
        return batch | (DefaultDataCollator().torch_call(rest) if rest[0] else {})


def _without_batch_axis(example: Any) -> dict[str, Any]:
    """An example without a batch axis of 1, which all of a processor's tensors have."""
    example = dict(as_mapping(example))
    pixels, ids = example.get("pixel_values"), example.get("input_ids")
    has_axis = getattr(pixels, "ndim", 3) == 4 or getattr(ids, "ndim", 1) == 2
    if not has_axis:
        return example
    for name, value in example.items():
        if isinstance(value, torch.Tensor) and value.ndim and len(value) == 1:
            example[name] = value[0]
    return example


def _pictures(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """`pixel_values`, and if pictures differ in size or have one, `pixel_mask`."""
    pixels = [torch.as_tensor(example["pixel_values"]) for example in examples]
    shapes = {tuple(one.shape) for one in pixels}
    if any(len(shape) != 3 for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise InputError(
            f"The pictures of a batch have the shapes {', '.join(map(str, sorted(shapes)))}; expected (channels, height, width).",
            next_step="Pass what the image processor returns for one picture each.",
        )
    masks = [example.get("pixel_mask") for example in examples]
    if len(shapes) == 1 and masks[0] is None:
        return {"pixel_values": torch.stack(pixels)}
    padded, mask = pad_pictures(pixels, masks)
    return {"pixel_values": padded, "pixel_mask": mask}
