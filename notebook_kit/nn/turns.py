"""Training a model and looking into it take turns, since a panel may ask on another thread while a cell is training.

Both set the mode of the modules (dropout on or off), so a step of training during a look would go without dropout. A look waits for
the end of the step in progress, and the next step for the end of the look.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["looking", "using"]


class _Turns:
    """Who uses the weights of one model at present."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.users: Counter[int] = Counter()  # thread -> depth
        self.looker: int | None = None
        self.waiting = Counter[str]()
        self.last = "use"  # or "look": those who wait take turns, so that neither can keep the other out

    def is_inside(self) -> bool:
        """Whether this thread has its turn already."""
        me = threading.get_ident()
        return self.looker == me or self.users[me] > 0

    def wait(self, kind: str, other: str) -> None:
        """Wait for this thread's turn."""
        self.waiting[kind] += 1
        try:
            self.changed.wait_for(
                lambda: (
                    self.looker is None
                    and (kind == "use" or not self.users)
                    and (self.last == other or not self.waiting[other])
                )
            )
        finally:
            self.waiting[kind] -= 1
            self.changed.notify_all()
        self.last = kind


_turns = WeakIdKeyDictionary()  # by the first parameter, which a model shares with what wraps it
_lock = threading.Lock()


def _forget() -> None:
    """In the copy of a process: the threads that had or awaited their turns are not there."""
    global _lock
    _lock = threading.Lock()
    _turns.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _turns_of(model: nn.Module) -> _Turns:
    key = next(model.parameters(), None)
    if key is None:
        return _Turns()
    with _lock:
        if key not in _turns:
            _turns[key] = _Turns()
        return _turns[key]


class using:
    """A step of training or evaluation, during which nobody looks into the model. Several threads may use it at once. One object can
    be entered again and again.

    Example:
        >>> from torch import nn
        >>> from notebook_kit.nn.turns import looking, using
        >>> model = nn.Linear(2, 2)
        >>> with using(model), looking(model):  # within one thread nothing waits
        ...     print("both")
        both
    """

    def __init__(self, model: nn.Module) -> None:
        self._turns = _turns_of(model)

    def __enter__(self) -> None:
        turns, me = self._turns, threading.get_ident()
        with turns.changed:
            if not turns.is_inside():
                turns.wait("use", "look")
            turns.users[me] += 1

    def __exit__(self, *error: object) -> None:
        turns, me = self._turns, threading.get_ident()
        with turns.changed:
            turns.users[me] -= 1
            if not turns.users[me]:
                del turns.users[me]
            turns.changed.notify_all()


@contextmanager
def looking(model: nn.Module) -> Iterator[None]:
    """A look into a model, without dropout, during which no other thread uses or looks into it; afterwards each module has its
    former mode.
    """
    turns = _turns_of(model)
    with turns.changed:
        is_nested = turns.is_inside()
        if not is_nested:
            turns.wait("look", "use")
            turns.looker = threading.get_ident()
    training: list[nn.Module] = []
    try:
        training = [module for module in model.modules() if module.training]
        model.eval()
        yield
    finally:
        for module in training:
            module.training = True
        if not is_nested:
            with turns.changed:
                turns.looker = None
                turns.changed.notify_all()
