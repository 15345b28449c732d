"""What is known of each generated token, and the branches that they make."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Alternative", "Branch", "Step", "measured"]

TOP = 8
"""How many of the most probable tokens are kept for each step, before and after the rules."""


@dataclass(frozen=True)
class Alternative:
    """A token that could have come.

    Args:
        token: Its id.
        before: Its probability by the model alone.
        after: Its probability after the rules: what was drawn from.
        rank: Its place by the model alone, from 1.
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
        entropy: Of the model's distribution, in nats.
        left: How many tokens the rules left to choose from.
        alternatives: The most probable tokens before and after the rules, and the chosen one, by rank.
    """

    chosen: Alternative
    entropy: float
    left: int
    alternatives: tuple[Alternative, ...]

    def instead(self, token: int) -> Step | None:
        """The same step with another token chosen; None if that is not among the alternatives."""
        other = next((one for one in self.alternatives if one.token == token), None)
        return None if other is None else Step(other, self.entropy, self.left, self.alternatives)


def measured(logits: Tensor, scores: Tensor, token: int) -> Step:
    """What there is to know of one step.

    Args:
        logits: `(vocabulary,)`, as the model gave them.
        scores: `(vocabulary,)`, after the rules and filters.
        token: The token that was chosen.

    Example:
        >>> step = measured(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([-torch.inf, 1.0, 2.0]), 1)
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
    """A text that was generated, from the prompt on.

    Args:
        number: What it is called; numbers are not given twice.
        prompt: The text of the prompt.
        context: The tokens that were read: the prompt's, or for an encoder-decoder those of the encoder.
        start: The tokens that the decoder starts with; empty for a decoder, which goes on from `context`.
        steps: What was generated.
        parent: The branch that it came from, or None.
        fork: The position where it left that branch.
        ended: "" while it grows, then "end" (by a token that ends texts), "length", "rule" (a stop string, or time),
            "stopped" or "failed".
        settings: How it was generated.
        rate: Tokens a second, where there were several.
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
        """Of what was generated, by the model alone; None while there is nothing."""
        if not self.steps:
            return None
        logs = [math.log(max(step.chosen.before, 1e-38)) for step in self.steps]
        return math.exp(-sum(logs) / len(logs))

    def numbers(self, first: int = 0) -> np.ndarray:
        """`(tokens from first on, 4)` float32: probability, rank, entropy, and the probability after the rules."""
        rows = [(step.chosen.before, step.chosen.rank, step.entropy, step.chosen.after) for step in self.steps[first:]]
        return np.array(rows, dtype=np.float32).reshape(-1, 4)
