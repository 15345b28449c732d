"""The models found, as a table shown where no kernel runs, and as a DataFrame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from notebook_kit.hub.catalog import FoundModel
from notebook_kit.panels.panel import Face

__all__ = ["ShownModels", "face_of", "size_words", "table_of"]

FACE_ROWS = 25
COLUMNS = [field.name for field in dataclasses.fields(FoundModel) if field.name != "is_exact"]
INTEGERS = ("parameters", "fetch_bytes", "downloads", "likes", "memory_float32", "memory_bfloat16")


@dataclasses.dataclass(frozen=True)
class ShownModels:
    """What a picker shows.

    Args:
        found: The models, in the order shown.
        picked: The model that is loaded, or None.
        narrowed: The filters in use: words, a task, a language, a licence.
    """

    found: Sequence[FoundModel]
    picked: str | None = None
    narrowed: Sequence[str] = ()


def size_words(count: int | None) -> str:
    """A number of bytes as text, in decimal units like on the Hub; "" for None.

    Example:
        >>> size_words(7_889_140), size_words(440_000_000_000), size_words(0), size_words(None)
        ('7.9 MB', '440 GB', '0 B', '')
    """
    if count is None:
        return ""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if value >= 100 or units[0] == "B" else f"{value:.1f} {units[0]}"


def table_of(found: Sequence[FoundModel], room: int | None) -> Any:
    """The models as a pandas DataFrame.

    Args:
        found: The models.
        room: Bytes of free memory; None if unknown.
    """
    import pandas

    rows = [
        {
            **{name: getattr(model, name) for name in COLUMNS},
            "supported": model.is_supported,
            "why": model.why,
            "memory_float32": model.memory(4),
            "memory_bfloat16": model.memory(2),
            "fits": model.fits(room),
        }
        for model in found
    ]
    frame = pandas.DataFrame(rows, columns=[*COLUMNS, "supported", "why", "memory_float32", "memory_bfloat16", "fits"])
    for column in INTEGERS:
        frame[column] = frame[column].astype("Int64" if frame[column].isna().any() else "int64")
    return frame


def face_of(shown: ShownModels, word: Callable[..., str]) -> Face:
    """The first models as a table, and the name of the loaded one; `word` is the method of the panel."""

    def state(model: FoundModel) -> str:
        if model.obstacle:
            what = model.model_type if model.obstacle == "architecture" else model.task
            return word(f"obstacle_{model.obstacle}", what=what)
        if model.source == "zoo":
            return word("in_zoo")
        if model.fetch_bytes == 0:
            return word("in_cache")
        return ("" if model.is_exact or model.fetch_bytes is None else "≈ ") + size_words(model.fetch_bytes)

    def count(number: int | None) -> str:
        return "" if number is None else f"{number:,}"

    rows = [
        [model.id, model.task, count(model.parameters), state(model), model.licence, count(model.downloads), model.date]
        for model in shown.found[:FACE_ROWS]
    ]
    notes = [word("face_loaded", id=shown.picked)] if shown.picked else []
    if len(shown.found) > FACE_ROWS:
        notes.append(word("face_more", count=len(shown.found) - FACE_ROWS))
    if not shown.found:
        notes.append(word("nothing"))
    return Face(
        title=": ".join(["ModelPicker", *([" · ".join(shown.narrowed)] if shown.narrowed else [])]),
        header=[word(key) for key in ("model", "task", "parameters", "to_fetch", "licence", "downloads", "updated")],
        rows=rows,
        note=" ".join(notes),
    )
