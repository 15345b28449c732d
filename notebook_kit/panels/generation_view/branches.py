"""The branches of a `GenerationView`: which are kept, and how they are sent to the page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np

from notebook_kit.errors import InputError
from notebook_kit.inspection.generation.steps import Branch, Step
from notebook_kit.inspection.tokens.spelling import Spelling
from notebook_kit.panels.panel import Answer

__all__ = ["Branches", "for_page", "line_of", "news_of", "step_answer", "step_of", "tokens_answer"]

KEPT = 12
PROMPT_CHARACTERS = 80
LINE_TOKENS = 24


class Branches:
    """The generated texts by number, the oldest first; of more than `KEPT`, the oldest are dropped."""

    def __init__(self) -> None:
        self._kept: dict[int, Branch] = {}
        self._last_number = 0
        self._lock = threading.RLock()

    def __iter__(self) -> Iterator[Branch]:
        return iter(list(self._kept.values()))

    def get(self, number: int) -> Branch | None:
        """The branch with this number, or None."""
        return self._kept.get(number)

    def new(self, prompt: str, context: list[int], start: list[int]) -> Branch:
        """Create a branch from a prompt; `add` keeps it."""
        return Branch(self._next_number(), prompt, context, start)

    def fork(self, old: Branch, position: int, steps: list[Step]) -> Branch:
        """Create a branch that leaves another one at a position, with these steps; `add` keeps it."""
        return Branch(self._next_number(), old.prompt, old.context, old.start, list(steps), old.number, position)

    def add(self, branch: Branch) -> None:
        """Keep a branch."""
        with self._lock:
            self._kept[branch.number] = branch
            while len(self._kept) > KEPT:
                self._kept.pop(next(number for number in self._kept if number != branch.number))

    def remove(self, branch: Branch) -> None:
        """Drop a branch."""
        self._kept.pop(branch.number, None)

    def clear(self) -> None:
        """Drop all branches."""
        self._kept.clear()

    def _next_number(self) -> int:
        with self._lock:
            self._last_number += 1
            return self._last_number


def step_of(branch: Branch, position: int) -> Step:
    """The step of a generated token.

    Raises:
        InputError: If there is no such token.
    """
    if not isinstance(position, Integral) or not 0 <= position < len(branch.steps):
        raise InputError(
            f"There is no generated token {position!r}.", next_step=f"Count from 0; there are {len(branch.steps)}."
        )
    return branch.steps[int(position)]


def for_page(branch: Branch, spelling: Spelling) -> dict[str, Any]:
    """A branch as JSON values for the page."""
    return {
        "branch": branch.number,
        "context": spelling.line(branch.context),
        "tokens": spelling.line(branch.ids),
        "ended": branch.ended,
        "rate": branch.rate,
        "fork": branch.fork if branch.parent is not None else None,
    }


def line_of(branch: Branch, spelling: Spelling) -> dict[str, Any]:
    """A branch as a line in the page's list of branches."""
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
    """The current state of a branch, its tokens from `first` on, and four float32 numbers for each of them."""
    values = for_page(branch, spelling)
    tokens = values["tokens"][first:]
    if first:
        del values["context"]  # a page that has some of the tokens has it
    numbers = branch.numbers(first)[: len(tokens)]  # the branch may have grown in the meantime
    return Answer({**values, "first": first, "tokens": tokens}, [numbers.tobytes()])


def news_of(branch: Branch, spelling: Spelling, first: int) -> tuple[dict[str, Any], list[bytes]]:
    """The message and the buffers that send the page a branch's tokens from `first` on."""
    tokens = spelling.line(branch.ids)[first:]
    return {"nk_news": {"branch": branch.number, "first": first, "tokens": tokens}}, [branch.numbers(first).tobytes()]


def step_answer(step: Step, position: int, spelling: Spelling) -> Answer:
    """The alternatives at a position, and `(before, after)` of each as float32."""
    numbers = np.array([(one.before, one.after) for one in step.alternatives], dtype=np.float32)
    values = {
        "position": position,
        "alternatives": [[*spelling.of(one.token), one.token, one.rank] for one in step.alternatives],
        "chosen": step.chosen.token,
        "left": step.left,
    }
    return Answer(values, [numbers.tobytes()])
