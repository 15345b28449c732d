"""What is sent to the page about searches and models, as JSON values."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from notebook_kit.hub.catalog import FoundModel
from notebook_kit.hub.details import ModelDetails
from notebook_kit.hub.search import Search
from notebook_kit.panels.panel import described

__all__ = ["details_of", "page_of", "row_of"]

MAX_CONFIG = 20_000  # characters
MAX_LABELS = 200


def page_of(key: str, search: Search, first: int, sort: str) -> dict[str, Any]:
    """The rows of a search from `first` on, and the earlier rows that have changed since the page last asked."""
    changed = sorted(place for place in search.changed if place < first)
    search.changed.clear()
    return {
        "of": key,
        "from": first,
        "rows": [row_of(model, search.room) for model in search.models[first:]],
        "changed": [[place, row_of(search.models[place], search.room)] for place in changed],
        "order": search.ordered(sort) if sort in ("name", "size") else None,
        "done": search.is_done,
        "scanned": search.scanned,
        "problem": described(search.problem) if search.problem else None,
        "free": search.free,
    }


def row_of(model: FoundModel, room: int | None) -> dict[str, Any]:
    """One model; `room` is the number of bytes of free memory, None if unknown."""
    row = dataclasses.asdict(model)
    return {**row, "fits": model.fits(room), "fits_half": model.fits(room, 2), "size": model.size}


def details_of(details: ModelDetails, free: dict[str, int]) -> dict[str, Any]:
    """The details of a model; `free` is the result of `free_memory`."""
    config = json.dumps(details.config, indent=2, ensure_ascii=False, default=str)
    return {
        "row": row_of(details.model, max(free.values(), default=None)),
        "summary": details.summary,
        "config": config if len(config) <= MAX_CONFIG else config[:MAX_CONFIG] + "\n…",
        "labels": [label[:200] for label in details.labels[:MAX_LABELS]],
        "label_count": len(details.labels),
        "files": [list(file) for file in details.files],
        "problem": described(details.problem) if details.problem else None,
        "free": free,
    }
