"""Tokens as a picture and a table, shown where no kernel runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from notebook_kit.inspection.tokens.analysis import SPECIAL, UNKNOWN, Analysis
from notebook_kit.panels.panel import Face
from notebook_kit.panels.token_inspector.blocks import group_text

__all__ = ["ShownTokens", "face_of", "figure_of", "table_of"]

FACE_TOKENS = 120

COLUMNS = [
    *("token", "id", "text", "sequence", "start", "end", "byte_start", "byte_end", "bytes", "part_of"),
    *("rank", "score", "special", "unknown", "added", "inserted"),
]
NUMBERS = ("sequence", "start", "end", "byte_start", "byte_end", "rank")


@dataclass(frozen=True)
class ShownTokens:
    """A text under one tokenizer.

    Args:
        name: The tokenizer's name.
        analysis: The analysis of the text.
        selected: Positions of the selected tokens.
    """

    name: str
    analysis: Analysis
    selected: Collection[int] = ()


def table_of(shown: Sequence[ShownTokens]) -> Any:
    """The tokens as a pandas DataFrame, one row per token, with a column `tokenizer` if there are several."""
    import pandas

    frames = []
    for one in shown:
        frame = pandas.DataFrame(one.analysis.records(), columns=COLUMNS)
        for column in NUMBERS:
            if frame[column].isna().any():
                frame[column] = frame[column].astype("Int64")
            elif len(frame):
                frame[column] = frame[column].astype("int64")
        if len(shown) > 1:
            frame.insert(0, "tokenizer", one.name)
        frames.append(frame)
    return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame(columns=COLUMNS)


def face_of(shown: Sequence[ShownTokens], word: Callable[..., str]) -> Face:
    """A picture and a table of the first tokens; `word` is the method of the panel."""
    from notebook_kit.inspection.drawing.chips import png

    if not shown:
        return Face("TokenInspector", note=word("empty"))
    rows = []
    for one in shown:
        for record in one.analysis.records()[:FACE_TOKENS]:
            kinds = [word(kind) for kind in ("special", "unknown") if record[kind]]
            span = "" if record["start"] is None else f"{record['start']}–{record['end']}"
            line = [record["token"], record["id"], record["text"], span, " ".join(kinds)]
            rows.append([one.name, *line] if len(shown) > 1 else line)
    header = [word(key) for key in ("token", "id", "covers", "span", "kind")]
    names = ", ".join(one.name for one in shown)
    return Face(
        title=f"TokenInspector: {names}",
        png=png(figure_of(shown, word)),
        alt=word("face_alt", names=names),
        header=[word("tokenizer"), *header] if len(shown) > 1 else header,
        rows=rows,
        note="; ".join(f"{one.name}: " + word("face_totals", **one.analysis.totals()) for one in shown),
    )


def figure_of(shown: Sequence[ShownTokens], word: Callable[..., str]) -> Any:
    """The first tokens of each tokenizer as chips, with the selected ones framed, as a matplotlib `Figure`."""
    from notebook_kit.inspection.drawing.chips import Chip, draw

    rows = []
    for one in shown:
        analysis = one.analysis
        chips = []
        for number, group in enumerate(analysis.groups[:FACE_TOKENS]):
            flag = analysis.flags[group.first]
            is_selected = any(group.first <= position < group.first + group.count for position in one.selected)
            kind = "unknown" if flag & UNKNOWN else "special" if flag & SPECIAL else ("one", "other")[number % 2]
            count = group.count if group.count > 1 else 0
            token_id = analysis.ids[group.first] if not count else None
            chips.append(Chip(group_text(analysis, group), kind, is_selected, count, token_id))
        title = f"{one.name} · {word('count_tokens', count=len(analysis))}"
        rows.append((title, chips, len(analysis.groups) - len(chips)))
    return draw(rows)
