"""Batches for language models: masked words, and texts as their own labels."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.keywords import switch
from notebook_kit.processing.padding import pad_rows
from notebook_kit.processing.tensors import to_lists
from notebook_kit.training.collators import DataCollatorMixin, as_examples

__all__ = [
    "DataCollatorForLanguageModeling",
    "DataCollatorForWholeWordMask",
]

_NOT_PADDED = ("offset_mapping", "labels", "label", "label_ids")


@dataclass
class DataCollatorForLanguageModeling(DataCollatorMixin):
    """Pad texts to one length and add labels: the masked words, or (`mlm=False`) the texts themselves.

    Of the chosen tokens, most are replaced by the mask token, some by a random token, and the rest stay unchanged
    (Devlin et al., BERT, 2019, section 3.1). Special tokens are never chosen. With `mlm=False` the model itself compares each
    position with the next label. Padding, where the attention mask is 0, has no label; the end of a text has one even if its token
    is also the padding token, so that the model learns to stop.

    Args:
        tokenizer: The tokenizer that made the examples.
        mlm: Mask words (BERT, RoBERTa); False for causal models (GPT-2, Llama).
        whole_word_mask: Replace either all tokens of a word by the mask token or none. Examples then need `offset_mapping`,
            unless the tokens of a word begin with "##" from the second on (WordPiece).
        mlm_probability: The fraction of tokens that are chosen.
        mask_replace_prob: The fraction of the chosen tokens that become the mask token.
        random_replace_prob: The fraction of the chosen tokens that become a random token.
        pad_to_multiple_of: Round the length up to a multiple of this.
        return_tensors: "pt", "np" or "tf".
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
        super().__post_init__()
        self.generator: torch.Generator | None = None
        if switch("mlm", self.mlm):
            check_mask_token(self.tokenizer, "Masked language modeling")
        if self.whole_word_mask and not self.mlm:
            raise ConfigurationError(
                "whole_word_mask=True requires mlm=True, but mlm is False.", next_step="Leave out one of them."
            )
        if self.whole_word_mask:
            self.mask_replace_prob, self.random_replace_prob = 1.0, 0.0
        for name in (*(["mlm_probability"] if self.mlm else []), "mask_replace_prob", "random_replace_prob"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
                raise ConfigurationError(f"{name} is {value!r:.80}.", next_step="Use a number between 0 and 1.")
        if self.mask_replace_prob + self.random_replace_prob > 1:
            raise ConfigurationError(
                f"mask_replace_prob ({self.mask_replace_prob}) and random_replace_prob ({self.random_replace_prob}) sum to"
                " more than 1.",
                next_step="Lower one of them; the remaining fraction of the tokens stays unchanged.",
            )

    def torch_call(self, features: Any) -> dict[str, Any]:
        """A batch of the examples (mappings with `input_ids`, or lists of ids), with `labels` of shape (batch, tokens)."""
        examples, bare = examples_and_form(features)
        lengths = [len(example["input_ids"]) for example in examples]
        alike = self.pad_to_multiple_of is None and len(set(lengths)) == 1
        batch = self.tokenizer.pad(
            [{name: value for name, value in example.items() if name not in _NOT_PADDED} for example in examples],
            padding=not alike,  # blocks of one length need no padding token
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_attention_mask=False if bare else None,
            return_tensors="pt",
        )
        special = batch.pop("special_tokens_mask", None)
        if self.mlm:
            offsets = [example.get("offset_mapping") for example in examples]
            batch["input_ids"], batch["labels"] = self.torch_mask_tokens(batch["input_ids"], special, offsets)
        else:
            batch["labels"] = batch["input_ids"].masked_fill(self._padding(batch, lengths), -100)
        return batch

    def _padding(self, batch: Any, lengths: list[int]) -> Tensor:
        """Which tokens are padding: (batch, tokens)."""
        if "attention_mask" in batch:
            return batch["attention_mask"] == 0
        ids = batch["input_ids"]
        side = getattr(self.tokenizer, "padding_side", "right")
        added = torch.tensor(pad_rows([[False] * length for length in lengths], True, length=ids.shape[1], side=side))
        # Without a mask, padding that the examples came with is known by its token, unless texts end with that token.
        pad = self.tokenizer.pad_token_id
        return added if pad is None or pad == getattr(self.tokenizer, "eos_token_id", None) else added | (ids == pad)

    def torch_mask_tokens(
        self, inputs: Tensor, special_tokens_mask: Tensor | None = None, offset_mapping: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Choose tokens and mask them.

        Args:
            inputs: Token ids of shape (batch, tokens); changed in place.
            special_tokens_mask: 1 for special tokens, 0 for others; None: determined from the ids.
            offset_mapping: (start, end) characters of each token of each row; needed for whole words.

        Returns:
            The inputs, and the labels: the original id where a token was chosen, -100 elsewhere.
        """
        generator = self._generator()
        labels = inputs.clone()
        if special_tokens_mask is None:
            special_tokens_mask = special_mask(self.tokenizer, labels)
        barred = special_tokens_mask.bool()
        words = None
        if self.whole_word_mask:
            first = self._word_starts(labels, barred, offset_mapping) & ~barred
            words = first.cumsum(dim=1).masked_fill(barred, -1)
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

    def _word_starts(self, ids: Tensor, special: Tensor, offsets: Any) -> Tensor:
        """Whether a token begins a word, by its characters or by the "##" of WordPiece: (batch, tokens)."""
        if offsets is None or any(row is None for row in offsets):
            tokens = [self.tokenizer.convert_ids_to_tokens(row) for row in ids.tolist()]
            inside = [[token.startswith("##") for token in row] for row in tokens]
            if not any(map(any, inside)):
                raise InputError(
                    "whole_word_mask=True needs the character offsets of tokens, but the examples have no offset_mapping.",
                    next_step="Tokenize with return_offsets_mapping=True and return_special_tokens_mask=True, and train with"
                    " remove_unused_columns=False.",
                )
            return ~torch.tensor(inside)
        side = getattr(self.tokenizer, "padding_side", "right")
        table = torch.tensor(pad_rows([to_lists(row) for row in offsets], (-2, -2), length=ids.shape[1], side=side))
        end_before = torch.nn.functional.pad(table[:, :-1, 1], (1, 0), value=-1)
        special_before = torch.nn.functional.pad(special[:, :-1], (1, 0), value=False)
        return (table[:, :, 0] != end_before) | special_before

    def _generator(self) -> torch.Generator | None:
        """The generator of this process; None for torch's global generator."""
        if self.seed is not None and self.generator is None:
            worker = torch.utils.data.get_worker_info()
            self.generator = torch.Generator().manual_seed(self.seed + (worker.id if worker else 0))
        return self.generator


@dataclass
class DataCollatorForWholeWordMask(DataCollatorForLanguageModeling):
    """`DataCollatorForLanguageModeling` with `whole_word_mask=True`, under its former name.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import DataCollatorForWholeWordMask, PreTrainedTokenizerFast
        >>> backend = Tokenizer(models.WordLevel({"[PAD]": 0, "[MASK]": 1}))
        >>> tokenizer = PreTrainedTokenizerFast(backend, pad_token="[PAD]", mask_token="[MASK]")
        >>> collate = DataCollatorForWholeWordMask(tokenizer, mlm_probability=1.0)
        >>> word = {"input_ids": [5, 6], "offset_mapping": [(0, 3), (3, 5)], "special_tokens_mask": [0, 0]}
        >>> collate([word])["input_ids"].tolist()
        [[1, 1]]
    """

    whole_word_mask: bool = True


def examples_and_form(features: Any) -> tuple[list[dict[str, Any]], bool]:
    """The rows of a batch as dictionaries, and whether they came as bare lists of ids."""
    if isinstance(features, Mapping) or not isinstance(features[0], Sequence | np.ndarray | Tensor):
        examples, bare = [dict(example) for example in as_examples(features)], False
    else:
        examples, bare = [{"input_ids": feature} for feature in features], True
    for example in examples:
        if getattr(example.get("input_ids"), "ndim", 1) == 0 or not hasattr(example.get("input_ids"), "__len__"):
            raise InputError(
                f"An example of a batch has the input_ids {example.get('input_ids')!r:.80} among {', '.join(map(str, example))};"
                " expected a list of ids.",
                next_step="Tokenize first: dataset.map(lambda batch: tokenizer(batch['text']), batched=True).",
            )
    return examples, bare


def special_mask(tokenizer: Any, ids: Tensor) -> Tensor:
    """1 for special tokens, 0 for others: (batch, tokens)."""
    rows = ids.tolist()
    return torch.tensor([tokenizer.get_special_tokens_mask(row, already_has_special_tokens=True) for row in rows])


def check_mask_token(tokenizer: Any, what: str) -> None:
    if getattr(tokenizer, "mask_token", None) is None:
        raise ConfigurationError(
            f"{what} needs a mask token, and this tokenizer has none.",
            next_step="Pass mlm=False for a causal model, or give the tokenizer a mask token.",
        )
