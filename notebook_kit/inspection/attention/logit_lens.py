"""The logit lens: a decoder's next tokens if it ended after each of its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.evaluation import evaluating
from notebook_kit.inspection.attention.reading import Reading

__all__ = ["BLOCK", "TOP", "LogitLens", "has_lens"]

TOP = 5
BLOCK = 16
"""The number of positions sent to the page at a time."""

# The names of the norm between the last layer and the head in the families of decoders.
NORMS = ("ln_f", "final_layer_norm", "norm", "final_layernorm")


def has_lens(model: Any) -> bool:
    """Whether a model is a decoder with a language-modelling head and a norm before that head.

    Example:
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel, GPT2Model
        >>> config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=9)
        >>> has_lens(GPT2LMHeadModel(config)), has_lens(GPT2Model(config))
        (True, False)
    """
    return _norm_and_head(model) is not None


def _norm_and_head(model: Any) -> tuple[nn.Module, nn.Module] | None:
    if not isinstance(model, nn.Module) or not callable(getattr(model, "generate", None)):
        return None
    can_generate = getattr(model, "can_generate", None)
    if can_generate is not None and not can_generate():
        return None
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return None
    find = getattr(model, "get_output_embeddings", None)
    head = getattr(model, "lm_head", None) if find is None else find()
    base = getattr(model, "base_model", None)
    norm = next((found for name in NORMS if isinstance(found := getattr(base, name, None), nn.Module)), None)
    return None if norm is None or not isinstance(head, nn.Module) else (norm, head)


@dataclass(frozen=True, eq=False)
class LogitLens:
    """The states of every layer, and their predictions.

    The states of each layer pass through the model's final norm and head, as if it were the last. The first row is the
    embeddings, before any layer; the last is the output of the model.

    Source: nostalgebraist, interpreting GPT: the logit lens, 2020.

    Attributes:
        states: One `(tokens, width)` tensor for the embeddings and one per layer; the norm is already applied to the last.
        norm: The final norm.
        head: The language-modelling head.
    """

    states: tuple[Tensor, ...]
    norm: nn.Module
    head: nn.Module

    @classmethod
    def of(cls, model: Any, reading: Reading) -> LogitLens:
        """Run a model on the inputs of a reading.

        Raises:
            InputError: If it is not a decoder whose output is one norm and one head on its last states.
        """
        found = _norm_and_head(model)
        if found is None or not reading.inputs:
            raise InputError(
                f"The logit lens needs a decoder with a language-modelling head; this is "
                f"{'bare attention' if model is None else 'a ' + type(model).__name__}.",
                next_step="Load a decoder with AutoModelForCausalLM, and pass it with a text.",
            )
        with evaluating(model):
            outputs = model(**reading.inputs, output_hidden_states=True)
            lens = cls(tuple(state[0] for state in outputs.hidden_states), *found)
            expected, own = outputs.logits[0, -1].float(), lens._logits(len(lens.states) - 1, -1)
        if not torch.allclose(own, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
            raise InputError(
                f"{type(model).__name__} does more to its last states than apply one norm and one head, so the logit lens "
                "cannot read its layers.",
                next_step="Use another decoder for the logit lens.",
            )
        return lens

    def __len__(self) -> int:
        """The number of positions."""
        return self.states[0].shape[0]

    @property
    def rows(self) -> int:
        """The number of rows: one for the embeddings, and one per layer."""
        return len(self.states)

    def _logits(self, row: int, position: int | slice) -> Tensor:
        state = self.states[row][position]
        return self.head(state if row == self.rows - 1 else self.norm(state)).float()

    def top(self, first: int, count: int, top: int = TOP) -> tuple[Tensor, Tensor]:
        """The most probable next tokens at a range of positions, for every row.

        Args:
            first: The first position.
            count: The number of positions.
            top: The number of tokens per row and position.

        Returns:
            Ids and probabilities, each `(rows, positions, top)`, on the CPU.
        """
        chosen = slice(max(0, first), max(0, first) + count)
        ids, chances = [], []
        with torch.inference_mode():
            for row in range(self.rows):
                found = self._logits(row, chosen).softmax(-1)
                best = found.topk(min(top, found.shape[-1]), dim=-1)
                ids.append(best.indices.cpu())
                chances.append(best.values.cpu())
        return torch.stack(ids), torch.stack(chances)
