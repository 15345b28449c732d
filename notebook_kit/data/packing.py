"""Texts without padding: blocks of equal length, and batches as one long row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import accumulate
from typing import Any

import torch

from notebook_kit.errors import InputError
from notebook_kit.processing.tensors import to_lists
from notebook_kit.training.collators import DataCollatorMixin, as_examples

__all__ = ["DataCollatorWithFlattening", "pack_blocks"]


@dataclass
class DataCollatorWithFlattening(DataCollatorMixin):
    """Join all examples of a batch to one row without padding. Position ids begin again with each example.

    For attention that keeps the examples of a row apart, as FlashAttention's kernels for rows of different lengths do.

    Args:
        return_tensors: "pt" or "np".
        return_position_ids: Add `position_ids`.
        separator_id: The label at the beginning of each example; losses ignore -100.
        return_flash_attn_kwargs: Add `cu_seq_lens_q` and `cu_seq_lens_k`, the borders of the examples, and `max_length_q` and
            `max_length_k`, the length of the longest.
        return_seq_idx: Add `seq_idx`, the number of each token's example.
        position_ids_start: The first position; 2 for RoBERTa and models like it.

    Returns:
        `input_ids`, `labels` and the other entries per token, of shape (1, tokens of all examples).

    Example:
        >>> batch = DataCollatorWithFlattening()([{"input_ids": [5, 6, 7]}, {"input_ids": [8, 9]}])
        >>> batch["input_ids"].tolist(), batch["labels"].tolist(), batch["position_ids"].tolist()
        ([[5, 6, 7, 8, 9]], [[-100, 6, 7, -100, 9]], [[0, 1, 2, 0, 1]])
    """

    return_tensors: str = "pt"
    _: KW_ONLY
    return_position_ids: bool = True
    separator_id: int = -100
    return_flash_attn_kwargs: bool = False
    return_seq_idx: bool = False
    position_ids_start: int = 0

    def __call__(
        self, features: Any, return_tensors: str | None = None, separator_id: int | None = None
    ) -> dict[str, Any]:
        self._separator = self.separator_id if separator_id is None else separator_id
        return super().__call__(features, return_tensors)

    def torch_call(self, features: Any) -> dict[str, Any]:
        examples = as_examples(features)
        rows = [to_lists(example["input_ids"]) for example in examples]
        targets = [to_lists(example.get("labels", row)) for example, row in zip(examples, rows, strict=True)]
        lengths = [len(row) for row in rows]
        batch: dict[str, Any] = {
            "input_ids": _joined(rows),
            "labels": _joined([[self._separator, *target[1:]] for target in targets]),
        }
        if self.return_position_ids:
            batch["position_ids"] = _joined(
                [range(self.position_ids_start, self.position_ids_start + n) for n in lengths]
            )
        if self.return_seq_idx:
            batch["seq_idx"] = _joined([[number] * n for number, n in enumerate(lengths)]).int()
        if self.return_flash_attn_kwargs:
            borders = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
            batch |= {"cu_seq_lens_q": borders, "cu_seq_lens_k": borders}
            batch |= {"max_length_q": max(lengths), "max_length_k": max(lengths)}
        return batch


def _joined(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return torch.tensor([[token for row in rows for token in row]], dtype=torch.long)


def pack_blocks(batch: Any, block_size: int, separator: int | None = None) -> Any:
    """Concatenate tokenized texts and cut them into blocks of equal length, so that training needs no padding.

    Use it as `dataset.map(pack_blocks, batched=True, fn_kwargs={"block_size": 128}, remove_columns=dataset.column_names)`,
    or on a list of examples. Tokens that do not fill a last block are left out. A token attends to all previous tokens of
    its block, including those of other texts, as in the training of GPT-2.

    Args:
        batch: Columns of lists (`{"input_ids": [[...], ...]}`) or a list of examples, as the tokenizer returns them.
        block_size: Tokens per block.
        separator: The id to append to each text that does not end with it, usually `tokenizer.eos_token_id`.

    Returns:
        Like `batch`: `input_ids`, the other columns with one entry per token, and `labels`, a copy of `input_ids`.

    Raises:
        InputError: if `input_ids` is missing, or the block size is below 2.

    Example:
        >>> pack_blocks({"input_ids": [[5, 6, 7], [8, 9]], "text": ["abc", "de"]}, block_size=3, separator=0)["input_ids"]
        [[5, 6, 7], [0, 8, 9]]
    """
    if not isinstance(block_size, int) or block_size < 2:
        raise InputError(
            f"block_size is {block_size!r}.", next_step="Pass a whole number of at least 2, for example 128."
        )
    is_list = not isinstance(batch, Mapping) and isinstance(batch, Sequence)
    names = list(batch[0] if is_list and batch else batch)
    if "input_ids" not in names:
        raise InputError(
            f"There is no input_ids to pack; the columns are {', '.join(map(repr, names)) or 'none'}.",
            next_step="Tokenize first: dataset.map(lambda batch: tokenizer(batch['text']), batched=True).",
        )
    columns = {name: [example[name] for example in batch] for name in names} if is_list else dict(batch)
    ids = columns["input_ids"]
    packed: dict[str, list[Any]] = {}
    for name, rows in columns.items():
        pairs = list(zip(rows, ids, strict=True))
        per_token = all(
            hasattr(row, "__len__") and not isinstance(row, str) and len(row) == len(own) for row, own in pairs
        )
        if name == "labels" or not per_token:
            continue
        joined: list[Any] = []
        for row, own in pairs:
            joined.extend(row)
            if separator is not None and (not len(own) or own[-1] != separator):
                joined.append({"input_ids": separator, "attention_mask": 1}.get(name, 0))
        whole = len(joined) // block_size * block_size
        packed[name] = [joined[start : start + block_size] for start in range(0, whole, block_size)]
    packed["labels"] = [list(block) for block in packed["input_ids"]]
    if is_list:
        return [dict(zip(packed, values, strict=True)) for values in zip(*packed.values(), strict=True)]
    return packed
