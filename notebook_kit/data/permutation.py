"""Batches for XLNet, which predicts the tokens of a text in a random order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.training.collators import DataCollatorMixin
from notebook_kit.training.language_modeling import check_mask_token, examples_and_form, special_mask

__all__ = ["DataCollatorForPermutationLanguageModeling"]


@dataclass
class DataCollatorForPermutationLanguageModeling(DataCollatorMixin):
    """Batches for XLNet: spans of tokens to predict, and an order in which each position may see the others.

    See Yang et al., XLNet, 2019. One span of up to `max_span_length` tokens is chosen from each `length / plm_probability` tokens.

    Args:
        tokenizer: The tokenizer that made the examples.
        plm_probability: The fraction of tokens that are predicted.
        max_span_length: In tokens.
        return_tensors: "pt" or "np".

    Returns:
        `input_ids` and `labels` of shape (batch, tokens), `perm_mask` and `target_mapping` of shape (batch, tokens, tokens).

    Raises:
        ConfigurationError: if the tokenizer has no mask token.
        InputError: if the number of tokens is odd: XLNet computes a text in two halves.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import DataCollatorForPermutationLanguageModeling, PreTrainedTokenizerFast
        >>> backend = Tokenizer(models.WordLevel({"[PAD]": 0, "[MASK]": 1}))
        >>> tokenizer = PreTrainedTokenizerFast(backend, pad_token="[PAD]", mask_token="[MASK]")
        >>> DataCollatorForPermutationLanguageModeling(tokenizer)([[5, 6, 7, 8]])["perm_mask"].shape
        torch.Size([1, 4, 4])
    """

    tokenizer: Any
    plm_probability: float = 1 / 6
    max_span_length: int = 5
    return_tensors: str = "pt"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mask_token(self.tokenizer, "Permutation language modeling")

    def torch_call(self, features: Any) -> dict[str, Any]:
        rows = [list(example["input_ids"]) for example in examples_and_form(features)[0]]
        alike = len(set(map(len, rows))) == 1
        batch = self.tokenizer.pad(
            {"input_ids": rows}, padding=not alike, return_attention_mask=False, return_tensors="pt"
        )
        inputs, order, targets, labels = self.torch_mask_tokens(batch["input_ids"])
        return {"input_ids": inputs, "perm_mask": order, "target_mapping": targets, "labels": labels}

    def torch_mask_tokens(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The inputs with masked spans (changed in place), `perm_mask`, `target_mapping` and the labels."""
        B, T = inputs.shape
        if T % 2:
            raise InputError(
                f"The texts of a batch have {T} tokens, an odd number.",
                next_step="Pad or cut when tokenizing: padding='max_length', truncation=True, max_length=512.",
            )
        labels = inputs.clone()
        functional = special_mask(self.tokenizer, labels).bool()
        if self.tokenizer.pad_token_id is not None:
            functional |= labels == self.tokenizer.pad_token_id
        masked = torch.stack([self._spans(T) for _ in range(B)]) & ~functional
        inputs[masked] = self.tokenizer.mask_token_id
        labels[~masked] = -100
        order = torch.stack([_order(masked[row], functional[row]) for row in range(B)])
        return inputs, order, torch.eye(T).expand(B, T, T).clone(), labels

    def _spans(self, length: int) -> Tensor:
        """The tokens to predict: (length,)."""
        chosen, start = torch.zeros(length, dtype=torch.bool), 0
        while start < length:
            span = int(torch.randint(1, self.max_span_length + 1, (1,)))
            context = int(span / self.plm_probability)
            begin = start + int(torch.randint(context - span + 1, (1,)))
            chosen[begin : begin + span] = True
            start += context
        return chosen


def _order(masked: Tensor, functional: Tensor) -> Tensor:
    """1 where a position (row) may not see another (column), by a random order in which tokens are predicted."""
    length = len(masked)
    rank = torch.arange(length).reshape(-1, length // 2).transpose(0, 1)
    # The halves do not mix: XLNet reuses the first for the second.
    rank = rank[torch.randperm(length // 2)].transpose(0, 1).flatten()
    rank.masked_fill_(~masked & ~functional, -1)  # these are seen by all
    return ((rank[:, None] <= rank[None, :]) & masked).float()
