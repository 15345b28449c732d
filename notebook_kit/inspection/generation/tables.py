"""Generated tokens and their alternatives as pandas DataFrames."""

from __future__ import annotations

from typing import Any

from notebook_kit.inspection.generation.steps import Branch, Step
from notebook_kit.inspection.tokens.spelling import Spelling

__all__ = ["alternatives_table", "token_table"]


def token_table(branch: Branch | None, spelling: Spelling | None) -> Any:
    """The generated tokens, one per row; `GenerationView.table` describes the columns."""
    import pandas

    steps = [] if branch is None else branch.steps
    lines = [] if spelling is None else spelling.line([step.chosen.token for step in steps])
    rows = [
        (text, token, step.chosen.before, step.chosen.rank, step.entropy, step.chosen.after, step.left)
        for (text, token, *_), step in zip(lines, steps, strict=True)
    ]
    return pandas.DataFrame(rows, columns=["token", "id", "probability", "rank", "entropy", "after", "left"])


def alternatives_table(step: Step, spelling: Spelling) -> Any:
    """The alternatives to a token, by rank; `GenerationView.alternatives` describes the columns."""
    import pandas

    rows = [(spelling.of(one.token)[0], one.token, one.before, one.after, one.rank) for one in step.alternatives]
    return pandas.DataFrame(rows, columns=["token", "id", "before", "after", "rank"])
