"""A picker as it stands, for where no kernel runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notebook_kit.panels.panel import Face

if TYPE_CHECKING:
    from notebook_kit.hub.catalog import FoundModel
    from notebook_kit.panels.model_picker.model_picker import ModelPicker

__all__ = ["face_of", "size_words"]


def size_words(count: int | None) -> str:
    """Bytes for reading, in decimal units as the Hub gives them.

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


def face_of(picker: ModelPicker, most: int) -> Face:
    """The first rows as a table, and what is loaded."""
    said = {key.partition(".")[2]: words for key, words in picker._strings.items()}
    found = picker.found()

    def state(model: FoundModel) -> str:
        if model.obstacle:
            what = model.model_type if model.obstacle == "architecture" else model.task
            return said[f"obstacle_{model.obstacle}"].replace("{what}", what)
        if model.source == "zoo":
            return said["in_zoo"]
        if model.fetch_bytes == 0:
            return said["in_cache"]
        return ("" if model.is_exact or model.fetch_bytes is None else "≈ ") + size_words(model.fetch_bytes)

    def count(number: int | None) -> str:
        return "" if number is None else f"{number:,}"

    rows = [
        [model.id, model.task, count(model.parameters), state(model), model.licence, count(model.downloads), model.date]
        for model in found[:most]
    ]
    notes = [said["face_loaded"].replace("{id}", picker.picked)] if picker.picked else []
    if len(found) > most:
        notes.append(said["face_more"].replace("{count}", str(len(found) - most)))
    if not found:
        notes.append(said["nothing"])
    narrowed = [value for value in (picker.text, picker.task, picker.language, picker.licence) if value]
    return Face(
        title=": ".join(["ModelPicker", *([" · ".join(narrowed)] if narrowed else [])]),
        header=[said[key] for key in ("model", "task", "parameters", "to_fetch", "licence", "downloads", "updated")],
        rows=rows,
        note=" ".join(notes),
    )
