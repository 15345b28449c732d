"""Measurements of each generated token, and the branches that these tokens form."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Alternative", "Branch", "Step", "measure"]

TOP = 8
"""The number of most probable tokens kept per step, before and after the rules."""


@dataclass(frozen=True)
class Alternative:
    """A token that could have been chosen.

    Args:
        token: Its id.
        before: Its probability according to the model alone.
        after: Its probability after the rules, from which the token is sampled.
        rank: Its rank according to the model alone, from 1.
    """

    token: int
    before: float
    after: float
    rank: int


@dataclass(frozen=True)
class Step:
    """One generated token.

    Args:
        chosen: The token.
        entropy: The entropy of the model's distribution, in nats.
        left: The number of tokens that the rules leave to choose from.
        alternatives: The most probable tokens before and after the rules, and the chosen one, by rank.
    """

    chosen: Alternative
    entropy: float
    left: int
    alternatives: tuple[Alternative, ...]

    def instead(self, token: int) -> Step | None:
        """The same step with another token chosen; None if that token is not among the alternatives."""
        other = next((one for one in self.alternatives if one.token == token), None)
        return None if other is None else replace(self, chosen=other)


def measure(logits: Tensor, scores: Tensor, token: int) -> Step:
    """Measure one step of a generation.

    Args:
        logits: `(vocabulary,)`, from the model.
        scores: `(vocabulary,)`, after the rules and filters.
        token: The token that was chosen.

    Example:
        >>> step = measure(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([-torch.inf, 1.0, 2.0]), 1)
        >>> step.chosen.rank, round(step.chosen.before, 3), round(step.chosen.after, 3), step.left
        (2, 0.245, 0.269, 2)
    """
    before, after = logits.float().softmax(-1), scores.float().softmax(-1)
    count = min(TOP, logits.shape[-1])
    likely, allowed = before.topk(count).indices.tolist(), after.topk(count).indices.tolist()
    left = int((after > 0).sum())
    ids = torch.tensor(list(dict.fromkeys([*likely, *allowed[: max(1, left)], token])), device=logits.device)
    ranks = (logits[None] > logits[ids][:, None]).sum(-1) + 1
    found = [
        Alternative(*values)
        for values in zip(ids.tolist(), before[ids].tolist(), after[ids].tolist(), ranks.tolist(), strict=True)
    ]
    chosen = next(one for one in found if one.token == token)
    found.sort(key=lambda one: (one.rank, one.token))
    return Step(chosen, float(torch.special.entr(before).sum()), left, tuple(found))


@dataclass
class Branch:
    """A generated text.

    Args:
        number: Its number, which is never reused.
        prompt: The text of the prompt.
        context: The tokens that were read: the prompt's, or for an encoder-decoder, the encoder's.
        start: The first tokens of an encoder-decoder's decoder; empty for a decoder, which continues `context`.
        steps: The generated tokens.
        parent: The number of the branch that it forked from, or None.
        fork: The position of the first token that differs from the parent.
        ended: "" while it grows, then "end" (an end-of-text token), "length", "rule" (a stop string, or the time limit),
            "stopped" or "failed".
        settings: The settings of the generation.
        rate: Tokens per second; None for fewer than two tokens.
    """

    number: int
    prompt: str
    context: list[int]
    start: list[int]
    steps: list[Step] = field(default_factory=list)
    parent: int | None = None
    fork: int = 0
    ended: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    rate: float | None = None

    @property
    def ids(self) -> list[int]:
        """The generated tokens."""
        return [step.chosen.token for step in self.steps]

    @property
    def perplexity(self) -> float | None:
        """The perplexity of the generated tokens according to the model alone; None before the first."""
        if not self.steps:
            return None
        logs = [math.log(max(step.chosen.before, 1e-38)) for step in self.steps]
        return math.exp(-sum(logs) / len(logs))

    @property
    def most_surprising(self) -> int | None:
        """The position of the token that the model found least probable; None before the first."""
        return min(range(len(self.steps)), key=lambda place: self.steps[place].chosen.before, default=None)

    def numbers(self, first: int = 0) -> np.ndarray:
        """The measurements of the tokens from `first` on, `(tokens, 4)` float32: probability, rank, entropy, and probability
        after the rules."""
        rows = [(step.chosen.before, step.chosen.rank, step.entropy, step.chosen.after) for step in self.steps[first:]]
        return np.array(rows, dtype=np.float32).reshape(-1, 4)
