"""Checks under the exercises of a tutorial, and a summary of a class for its teacher.

    from notebook_kit.teaching import check

The messages follow `notebook_kit.panels.set_language`. Nothing is written to disk unless `record_checks` is called.
"""

from __future__ import annotations

import functools
import json
import os
import re
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import InputError, NotebookKitError, near_matches, warn
from notebook_kit.language import strings

if TYPE_CHECKING:
    import pandas as pd

    from notebook_kit.training import TrainerCallback, TrainerState

__all__ = ["check", "class_summary", "record_checks", "try_callback"]

_record: dict[str, Any] = {}  # where the checks of this kernel are recorded, set by `record_checks`


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
        given: The answer. `...` means that it is not filled in yet; so does a list, tuple, dict or set that holds `...`. If it
            is a function that returns None where the test expects a value, the learner is asked about the missing `return`.
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
        >>> def total(row):
        ...     sum(row)
        >>> check("Exercise 2", total, lambda total: total == 3, on=([1, 2],), hint="Add.")
        ✗ Exercise 2: not right yet. Hint: `total` returned None. Does it end with `return`?
    """
    words = strings("teaching")
    returned: list[Any] = []
    function = getattr(given, "__name__", "")
    if isinstance(given, types.FunctionType):
        given = _watched(given, returned)
    try:
        if on is not None and given is not ...:
            given = given(*on)
        verdict = ... if _is_open(given) else test(given)
        if verdict is not ... and not isinstance(verdict, str):
            verdict = bool(verdict)
    except Exception as error:  # their code may raise anything, and a stack trace through this one confuses
        what = error.what if isinstance(error, NotebookKitError) else str(error)
        verdict = f"{hint} {words['teaching.raised'].format(error=f'{type(error).__name__}: {what}'.rstrip(': '))}"
    if verdict not in (True, ...) and any(value is None for value in returned):
        verdict = words["teaching.no_return"].format(name=function)
    if verdict is ...:
        line = f"… {name}: {words['teaching.open']}"
    elif verdict is True:
        line = f"✓ {name}: {words['teaching.right']} {explain}"
    else:
        line = f"✗ {name}: {words['teaching.wrong'].format(hint=verdict or hint)}"
    print(line.rstrip())  # noqa: T201 (its output is for the learner)
    _record_check(name, "open" if verdict is ... else "right" if verdict is True else "wrong")


def _watched(function: Callable[..., Any], returned: list[Any]) -> Callable[..., Any]:
    """The function, which also appends what it returns to `returned`."""

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        returned.append(function(*args, **kwargs))
        return returned[-1]

    return watched


def _is_open(given: Any) -> bool:
    """Whether the answer, or a part of it, is still three dots."""
    if isinstance(given, dict):
        given = list(given.values())
    # `is`, not `in`: comparing tensors with `...` has no truth value
    return given is ... or (isinstance(given, list | tuple | set) and any(entry is ... for entry in given))


def try_callback(callback: TrainerCallback, steps: int = 3) -> TrainerState:
    """Train a model of a single weight with a callback, to check that the callback works in a real run.

    Args:
        callback: The callback. A method named like no event of the Trainer is an error: it would never be called.
        steps: Number of training steps, each followed by a log.

    Returns:
        The state at the end of the run: `global_step`, `log_history`, ...

    Raises:
        InputError: If a method of the callback looks like an event that does not exist.

    Example:
        >>> from notebook_kit import TrainerCallback
        >>> class Counter(TrainerCallback):
        ...     steps = 0
        ...     def on_step_end(self, args, state, control, **kwargs):
        ...         self.steps += 1
        >>> counter = Counter()
        >>> try_callback(counter).global_step, counter.steps
        (3, 3)
    """
    import torch

    from notebook_kit.training import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    events = {name for name in dir(TrainerCallback) if name.startswith("on_")}
    for name in vars(type(callback)):
        if name not in events and not name.startswith("_") and callable(getattr(callback, name)):
            near = near_matches(name, events)
            if near or name.startswith("on"):
                raise InputError(f"The Trainer never calls a method named {name}. {near}".rstrip())

    class OneWeight(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": (self.weight * x - labels).square().mean(), "logits": self.weight * x}

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=1,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        rows = [{"x": float(i), "labels": 2.0 * i} for i in range(steps)]
        trainer = Trainer(OneWeight(), arguments, train_dataset=rows, callbacks=[callback])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return trainer.state


# A class -------------------------------------------------------------------------------------------------------------


def record_checks(folder: str | os.PathLike[str] | None, learner: str = "", chapter: str = "") -> None:
    """Append the verdict of each `check` of this kernel to a file in `folder`, for `class_summary`.

    Each line holds the learner, the chapter, the exercise, "right", "wrong" or "open", and the time in seconds since 1970; no
    answer is recorded. If the folder cannot be written to later on, one warning says so, and the exercises go on.

    Args:
        folder: A folder that the teacher can read, such as one shared by the class; created if missing. None stops the recording.
        learner: The name to appear in the summary; the name of the user account by default.
        chapter: The chapter, such as "03".

    Raises:
        InputError: If the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> shared = tempfile.mkdtemp()
        >>> record_checks(shared, learner="Asha", chapter="00")
        >>> check("Exercise 1", 6, lambda number: number == 6, hint="Multiply.")
        ✓ Exercise 1: right.
        >>> record_checks(None)
        >>> class_summary(shared).loc["Asha", "00 Exercise 1"]
        'right'
    """
    _record.clear()
    if folder is not None:
        who = learner or os.environ.get("JUPYTERHUB_USER") or os.environ.get("USER") or "learner"
        path = Path(folder) / (re.sub(r"[^\w-]+", "_", who) + ".checks.jsonl")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("a").close()
        except OSError as error:
            raise InputError(
                f"The checks cannot be recorded in {folder}: {error.strerror}.",
                next_step="Name a folder that you can write to.",
            ) from None
        _record.update(path=path, learner=who, chapter=chapter)


def _record_check(exercise: str, verdict: str) -> None:
    if not _record:
        return
    row = {"learner": _record["learner"], "chapter": _record["chapter"], "exercise": exercise, "verdict": verdict}
    try:
        with open(_record["path"], "a", encoding="utf-8") as file:
            file.write(json.dumps({**row, "time": round(time.time(), 3)}) + "\n")
    except OSError as error:
        warn(f"The checks cannot be recorded in {_record['path'].parent}: {error}. The exercises go on without it.")
        _record.clear()


def class_summary(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """What `record_checks` has recorded of a class: one row per learner, one column per exercise.

    Args:
        folder: The folder that the learners' checks were recorded in.

    Returns:
        A table of "right", "wrong" or "open", the best verdict so far, and an empty string where the check has not been run.
        A wrong answer that was tried more than once is "wrong (3 tries)".

    Raises:
        InputError: If the folder has no recorded checks.

    Example:
        >>> import tempfile
        >>> shared = tempfile.mkdtemp()
        >>> record_checks(shared, learner="Ravi")
        >>> for answer in (4, 5):
        ...     check("Exercise 1", answer, lambda number: number == 6, hint="Multiply.")
        ✗ Exercise 1: not right yet. Hint: Multiply.
        ✗ Exercise 1: not right yet. Hint: Multiply.
        >>> record_checks(None)
        >>> print(class_summary(shared).to_csv())
        learner,Exercise 1
        Ravi,wrong (2 tries)
        <BLANKLINE>
    """
    import pandas as pd

    tries: dict[tuple[str, str], list[str]] = {}
    for path in sorted(Path(folder).glob("*.checks.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                place = str(row["learner"]), f"{row['chapter']} {row['exercise']}".strip()
                tries.setdefault(place, []).append(str(row["verdict"]))
            except (ValueError, KeyError, TypeError):
                continue  # a line cut off by a full disk, or written by hand
    if not Path(folder).is_dir():
        raise InputError(f"There is no folder {folder}.", next_step="Name the folder that was given to record_checks.")
    if not tries:
        raise InputError(
            f"There are no recorded checks in {folder}.",
            next_step="Each learner calls record_checks(folder, learner=...) once, at the top of the notebook.",
        )
    columns = sorted({exercise for _, exercise in tries}, key=_natural)
    learners = sorted({learner for learner, _ in tries})
    table = [[_best(tries.get((learner, column), [])) for column in columns] for learner in learners]
    return pd.DataFrame(table, index=pd.Index(learners, name="learner"), columns=columns)


def _best(verdicts: list[str]) -> str:
    if "right" in verdicts:
        return "right"
    wrong = verdicts.count("wrong")
    return f"wrong ({wrong} tries)" if wrong > 1 else "wrong" if wrong else "open" if verdicts else ""


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """A sorting key by which "Exercise 2" comes before "Exercise 10"."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]
