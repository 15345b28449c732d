"""Batches for language models: masked words, texts as their own labels, and blocks of equal length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.processing.padding import as_mapping

__all__ = ["DataCollatorForLanguageModeling", "pack_blocks"]

_NOT_PADDED = ("offset_mapping", "labels", "label", "label_ids")


@dataclass
class DataCollatorForLanguageModeling:
    """Pad texts to one length and add labels: the masked words, or (`mlm=False`) the texts themselves.

    Of the chosen tokens, most are replaced by the mask token, some by a random token, and the rest stay unchanged
    (Devlin et al., BERT, 2019, section 3.1). Special tokens are never chosen. With `mlm=False` the model itself compares each
    position with the next label; padding tokens are ignored, even if the padding token is also the end-of-text token.

    Args:
        tokenizer: The tokenizer that made the examples.
        mlm: Mask words (BERT, RoBERTa); False for causal models (GPT-2, Llama).
        whole_word_mask: Replace either all tokens of a word by the mask token or none. Examples then need `offset_mapping`.
        mlm_probability: The fraction of tokens that are chosen.
        mask_replace_prob: The fraction of the chosen tokens that become the mask token.
        random_replace_prob: The fraction of the chosen tokens that become a random token.
        pad_to_multiple_of: Round the length up to a multiple of this.
        return_tensors: "pt" or "np".
        seed: Seed of the choice; worker processes add their number. None: use torch's global generator.

    Raises:
        ConfigurationError: if the tokenizer has no mask token, or the fractions are not between 0 and 1.
        InputError: if texts differ in length and there is no padding token.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import DataCollatorForLanguageModeling, PreTrainedTokenizerFast
        >>> backend = Tokenizer(models.WordLevel({"[PAD]": 0, "[MASK]": 1}))
        >>> tokenizer = PreTrainedTokenizerFast(backend, pad_token="[PAD]", mask_token="[MASK]")
        >>> DataCollatorForLanguageModeling(tokenizer, mlm=False)([[5, 6, 7], [8]])["labels"].tolist()
        [[5, 6, 7], [8, -100, -100]]
        >>> all_masked = DataCollatorForLanguageModeling(tokenizer, mlm_probability=1.0, mask_replace_prob=1.0, random_replace_prob=0.0)
        >>> batch = all_masked([[5, 6, 7], [8]])
        >>> batch["input_ids"].tolist(), batch["labels"].tolist()
        ([[1, 1, 1], [1, 0, 0]], [[5, 6, 7], [8, -100, -100]])
    """

    tokenizer: Any
    mlm: bool = True
    whole_word_mask: bool = False
    mlm_probability: float | None = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"
    seed: int | None = None

    def __post_init__(self) -> None:
        self.generator: torch.Generator | None = None
        if self.mlm and getattr(self.tokenizer, "mask_token", None) is None:
            raise ConfigurationError(
                "Masked language modeling needs a mask token, and this tokenizer has none.",
                next_step="Pass mlm=False for a causal model, or give the tokenizer a mask token.",
            )
        if self.whole_word_mask and not self.mlm:
            raise ConfigurationError(
                "whole_word_mask=True requires mlm=True, but mlm is False.", next_step="Leave out one of them."
            )
        if self.whole_word_mask:
            self.mask_replace_prob, self.random_replace_prob = 1.0, 0.0
        for name in (*(["mlm_probability"] if self.mlm else []), "mask_replace_prob", "random_replace_prob"):
            value = getattr(self, name)
            if value is None or not 0 <= value <= 1:
                raise ConfigurationError(f"{name} is {value!r}.", next_step="Use a number between 0 and 1.")
        if self.mask_replace_prob + self.random_replace_prob > 1:
            raise ConfigurationError(
                f"mask_replace_prob ({self.mask_replace_prob}) and random_replace_prob ({self.random_replace_prob}) sum to"
                " more than 1.",
                next_step="Lower one of them; the remaining fraction of the tokens stays unchanged.",
            )

    def __call__(self, features: list[Any], return_tensors: str | None = None) -> dict[str, Any]:
        """A batch of the examples (mappings with `input_ids`, or lists of ids), with `labels` of shape (batch, tokens)."""
        bare = isinstance(features[0], Sequence | np.ndarray | Tensor)
        examples = [{"input_ids": feature} if bare else dict(as_mapping(feature)) for feature in features]
        offsets = [example.get("offset_mapping") for example in examples]
        alike = self.pad_to_multiple_of is None and len({len(example["input_ids"]) for example in examples}) == 1
        batch = self.tokenizer.pad(
            [{name: value for name, value in example.items() if name not in _NOT_PADDED} for example in examples],
            padding=not alike,  # blocks of one length need no padding token
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_attention_mask=False if bare else None,
            return_tensors="pt",
        )
        special = batch.pop("special_tokens_mask", None)
        if self.mlm:
            batch["input_ids"], batch["labels"] = self.mask_tokens(batch["input_ids"], special, offsets)
        else:
            labels = batch["input_ids"].clone()
            if self.tokenizer.pad_token_id is not None:
                labels[labels == self.tokenizer.pad_token_id] = -100
            batch["labels"] = labels
        if (return_tensors or self.return_tensors) == "np":
            return {name: value.numpy() for name, value in batch.items()}
        return batch

    def mask_tokens(self, inputs: Tensor, special: Tensor | None = None, offsets: Any = None) -> tuple[Tensor, Tensor]:
        """Choose tokens and mask them.

        Args:
            inputs: Token ids of shape (batch, tokens); changed in place.
            special: 1 for special tokens, 0 for others; None: determined from the ids.
            offsets: (start, end) characters of each token of each row; needed for whole words.

        Returns:
            The inputs, and the labels: the original id where a token was chosen, -100 elsewhere.
        """
        generator = self._generator()
        labels = inputs.clone()
        if special is None:
            rows = labels.tolist()
            special = torch.tensor(
                [self.tokenizer.get_special_tokens_mask(row, already_has_special_tokens=True) for row in rows]
            )
        barred = special.bool()
        words = None
        if self.whole_word_mask:
            words, first = _words(offsets, special)
            barred = ~first
        chances = torch.full(labels.shape, float(self.mlm_probability or 0)).masked_fill_(barred, 0.0)
        chosen = torch.bernoulli(chances, generator=generator).bool()
        if words is not None:
            same = (words[:, :, None] == words[:, None, :]) & (words >= 0)[:, None, :]
            chosen = (same & chosen[:, None, :]).any(dim=2) & (words >= 0)
        labels[~chosen] = -100
        hidden = torch.bernoulli(torch.full(labels.shape, self.mask_replace_prob), generator=generator).bool() & chosen
        inputs[hidden] = self.tokenizer.convert_tokens_to_ids(self.tokenizer.mask_token)
        if self.mask_replace_prob == 1 or self.random_replace_prob == 0:
            return inputs, labels
        share = self.random_replace_prob / (1 - self.mask_replace_prob)
        swapped = torch.bernoulli(torch.full(labels.shape, share), generator=generator).bool() & chosen & ~hidden
        others = torch.randint(len(self.tokenizer), labels.shape, dtype=torch.long, generator=generator)
        inputs[swapped] = others[swapped]
        return inputs, labels

    def _generator(self) -> torch.Generator | None:
        """The generator of this process; None for torch's global generator."""
        if self.seed is not None and self.generator is None:
            worker = torch.utils.data.get_worker_info()
            self.generator = torch.Generator().manual_seed(self.seed + (worker.id if worker else 0))
        return self.generator


def _words(offsets: Any, special: Tensor) -> tuple[Tensor, Tensor]:
    """The number of each token's word (-1 for special tokens), and whether the token begins a word: (batch, tokens) each."""
    if offsets is None or any(row is None for row in offsets):
        raise InputError(
            "whole_word_mask=True needs the character offsets of tokens, but the examples have no offset_mapping.",
            next_step="Tokenize with return_offsets_mapping=True and return_special_tokens_mask=True, and train with "
            "remove_unused_columns=False.",
        )
    shape = special.shape
    starts, ends = torch.full(shape, -2), torch.full(shape, -2)
    for row, pairs in enumerate(offsets):
        table = torch.as_tensor(np.asarray(pairs))
        starts[row, : len(table)], ends[row, : len(table)] = table[:, 0], table[:, 1]
    is_special = special.bool()
    end_before = torch.cat([torch.full((shape[0], 1), -1), ends[:, :-1]], dim=1)
    special_before = torch.cat([torch.zeros(shape[0], 1, dtype=torch.bool), is_special[:, :-1]], dim=1)
    first = ~is_special & ((starts != end_before) | special_before)
    return first.cumsum(dim=1).masked_fill(is_special, -1), first


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
