"""The branches of a `GenerationView`: which are kept, and how they cross to the page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from notebook_kit.errors import InputError
from notebook_kit.inspection.generation.steps import Branch, Step
from notebook_kit.inspection.tokens.spelling import Spelling
from notebook_kit.panels.panel import Answer

__all__ = ["Branches", "for_page", "line_of", "step_answer", "step_of", "tokens_answer"]

MOST = 12
PROMPT_CHARACTERS = 80
LINE_TOKENS = 24


class Branches:
    """The texts that were generated, the oldest first, by their numbers; the oldest go when there are too many."""

    def __init__(self) -> None:
        self._kept: dict[int, Branch] = {}
        self._numbered = 0
        self._guard = threading.RLock()

    def __iter__(self) -> Iterator[Branch]:
        return iter(list(self._kept.values()))

    def get(self, number: int) -> Branch | None:
        """The branch with a number, or None."""
        return self._kept.get(number)

    def new(self, prompt: str, context: list[int], start: list[int]) -> Branch:
        """A branch from a prompt; it is not kept before `add`."""
        return Branch(self._number(), prompt, context, start)

    def offshoot(self, old: Branch, fork: int, steps: list[Step]) -> Branch:
        """A branch that leaves another one at a position, with these steps; it is not kept before `add`."""
        return Branch(self._number(), old.prompt, old.context, old.start, list(steps), old.number, fork)

    def add(self, branch: Branch) -> None:
        """Keep a branch."""
        with self._guard:
            self._kept[branch.number] = branch
            while len(self._kept) > MOST:
                self._kept.pop(next(number for number in self._kept if number != branch.number))

    def remove(self, branch: Branch) -> None:
        """Forget a branch."""
        self._kept.pop(branch.number, None)

    def clear(self) -> None:
        """Forget all branches."""
        self._kept.clear()

    def _number(self) -> int:
        with self._guard:
            self._numbered += 1
            return self._numbered


def step_of(branch: Branch, position: int) -> Step:
    """The step of a generated token.

    Raises:
        InputError: If there is no such token.
    """
    if not 0 <= position < len(branch.steps):
        raise InputError(
            f"There is no generated token {position}.", next_step=f"Count from 0; there are {len(branch.steps)}."
        )
    return branch.steps[position]


def for_page(branch: Branch, spelling: Spelling) -> dict[str, Any]:
    """A branch as the page knows it."""
    return {
        "branch": branch.number,
        "context": spelling.line(branch.context),
        "tokens": spelling.line(branch.ids),
        "ended": branch.ended,
        "rate": branch.rate,
        "fork": branch.fork if branch.parent is not None else None,
    }


def line_of(branch: Branch, spelling: Spelling) -> dict[str, Any]:
    """A branch as one line of the list of branches."""
    fork = branch.fork if branch.parent is not None else 0
    return {
        "branch": branch.number,
        "parent": branch.parent,
        "fork": fork,
        "count": len(branch.steps),
        "perplexity": branch.perplexity,
        "ended": branch.ended,
        "prompt": branch.prompt[:PROMPT_CHARACTERS],
        "tokens": [entry[0] for entry in spelling.line(branch.ids[fork : fork + LINE_TOKENS])],
    }


def tokens_answer(branch: Branch, spelling: Spelling, first: int) -> Answer:
    """A branch as it is now, its tokens from `first` on, and four float32 numbers for each of these."""
    known = for_page(branch, spelling)
    tokens = known["tokens"][first:]
    if first:
        del known["context"]  # who has some of the tokens has it
    numbers = branch.numbers(first)[: len(tokens)]  # the branch may have grown meanwhile
    return Answer({**known, "first": first, "tokens": tokens}, [numbers.tobytes()])


def step_answer(step: Step, position: int, spelling: Spelling) -> Answer:
    """What could have come: alternatives as tokens, and `(before, after)` of each as float32."""
    numbers = np.array([(one.before, one.after) for one in step.alternatives], dtype=np.float32)
    values = {
        "position": position,
        "alternatives": [[*spelling.of(one.token), one.token, one.rank] for one in step.alternatives],
        "chosen": step.chosen.token,
        "left": step.left,
    }
    return Answer(values, [numbers.tobytes()])
