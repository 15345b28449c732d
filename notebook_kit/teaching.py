"""What the tutorials need of their own: the check under an exercise.

    from notebook_kit.teaching import check

The words follow `notebook_kit.panels.set_language`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from notebook_kit.errors import NotebookKitError
from notebook_kit.language import strings

__all__ = ["check"]


def check(
    name: str,
    given: Any,
    test: Callable[[Any], Any],
    *,
    hint: str,
    explain: str = "",
    on: tuple[Any, ...] | None = None,
) -> None:
    """Look at the answer to an exercise and print what to do next.

    It prints that the exercise is not filled in yet, or that the answer is right, or that it is not right yet and a hint.
    A wrong answer is never an error: a notebook with open exercises runs from top to bottom.

    Args:
        name: What the exercise is called, such as "Exercise 1".
        given: The answer. `...` means that it is not filled in yet; so does a list, tuple, dict or set that holds `...`.
        test: Gets the answer and returns whether it is right. It may return a string instead, which is a hint for just this
            mistake, or `...` where it sees that nothing is filled in yet.
        hint: What helps when the answer is wrong.
        explain: Why the answer is right, shown when it is.
        on: Where the answer is a function: the arguments to call it with. What it returns is then tested.

    Example:
        >>> answer = ...
        >>> check("Exercise 1", answer, lambda number: number == 6, hint="Multiply.")
        … Exercise 1: not filled in yet. Put your answer in place of the three dots, run that cell, then run this one again.
        >>> check("Exercise 1", 5, lambda number: number == 6, hint="Multiply.")
        ✗ Exercise 1: not right yet. Hint: Multiply.
        >>> check("Exercise 1", 6, lambda number: number == 6, hint="Multiply.", explain="2 heads of 3 numbers each.")
        ✓ Exercise 1: right. 2 heads of 3 numbers each.
        >>> check("Exercise 2", lambda row: sum(row), lambda total: total == 3, on=([1, 2],), hint="Add.")
        ✓ Exercise 2: right.
    """
    words = strings("teaching")
    try:
        if on is not None and given is not ...:
            given = given(*on)
        verdict = ... if _is_open(given) else test(given)
        if verdict is not ... and not isinstance(verdict, str):
            verdict = bool(verdict)
    except Exception as error:  # a learner's code may raise anything; a stack trace through ours teaches nothing
        what = error.what if isinstance(error, NotebookKitError) else str(error)
        verdict = f"{hint} {words['teaching.raised'].format(error=f'{type(error).__name__}: {what}'.rstrip(': '))}"
    if verdict is ...:
        line = f"… {name}: {words['teaching.open']}"
    elif verdict is True:
        line = f"✓ {name}: {words['teaching.right']} {explain}"
    else:
        line = f"✗ {name}: {words['teaching.wrong'].format(hint=verdict or hint)}"
    print(line.rstrip())  # noqa: T201 (it talks to the learner)


def _is_open(given: Any) -> bool:
    """Whether three dots still stand where the answer should be."""
    if isinstance(given, dict):
        given = list(given.values())
    # `is`, not `in`: comparing tensors with `...` has no truth value
    return given is ... or (isinstance(given, list | tuple | set) and any(entry is ... for entry in given))
