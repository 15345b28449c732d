"""The check under an exercise, for the tutorials.

    from notebook_kit.teaching import check

Its messages follow `notebook_kit.panels.set_language`.
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
    """Check the answer to an exercise and print what to do next.

    It prints that the exercise is not filled in yet, that the answer is right, or that it is not right yet, with a hint.
    A wrong answer is never an error: a notebook with open exercises runs from top to bottom.

    Args:
        name: The name of the exercise, such as "Exercise 1".
        given: The answer. `...` means that it is not filled in yet; so does a list, tuple, dict or set that holds `...`.
        test: Takes the answer and returns whether it is right. It may return a string instead, a hint for this particular
            mistake, or `...` if it finds that nothing is filled in yet.
        hint: Shown when the answer is wrong.
        explain: Why the answer is right; shown when it is.
        on: If the answer is a function: the arguments to call it with. Its result is then tested.

    Example:
        >>> answer = ...
        >>> check("Exercise 1", answer, lambda number: number == 6, hint="Multiply.")
        … Exercise 1: not filled in yet. Replace the three dots with your answer, run that cell, then run this one again.
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
    except Exception as error:  # their code may raise anything, and a stack trace through this one confuses
        what = error.what if isinstance(error, NotebookKitError) else str(error)
        verdict = f"{hint} {words['teaching.raised'].format(error=f'{type(error).__name__}: {what}'.rstrip(': '))}"
    if verdict is ...:
        line = f"… {name}: {words['teaching.open']}"
    elif verdict is True:
        line = f"✓ {name}: {words['teaching.right']} {explain}"
    else:
        line = f"✗ {name}: {words['teaching.wrong'].format(hint=verdict or hint)}"
    print(line.rstrip())  # noqa: T201 (its output is for the learner)


def _is_open(given: Any) -> bool:
    """Whether the answer, or a part of it, is still three dots."""
    if isinstance(given, dict):
        given = list(given.values())
    # `is`, not `in`: comparing tensors with `...` has no truth value
    return given is ... or (isinstance(given, list | tuple | set) and any(entry is ... for entry in given))
