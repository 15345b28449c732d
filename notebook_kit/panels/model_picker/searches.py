"""The searches of a picker: kept so that going back to one asks nothing again, and as the page gets them."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections import OrderedDict
from typing import Any

from notebook_kit.hub.catalog import FoundModel
from notebook_kit.hub.client import Token
from notebook_kit.hub.search import Query, Search
from notebook_kit.panels.panel import described

__all__ = ["Searches", "page_of", "row_of"]

KEPT = 4


class Searches:
    """The newest searches, by key; safe to use from several threads.

    Args:
        token: For the Hub.
        cache_dir: The cache; by default the Hub's own.
    """

    def __init__(self, token: Token = None, cache_dir: str | os.PathLike[str] | None = None) -> None:
        self._token, self._cache_dir = token, cache_dir
        self._kept: OrderedDict[str, Search] = OrderedDict()
        self._lock = threading.Lock()

    def search(self, query: Query) -> tuple[str, Search]:
        """The search for a query, started if necessary, and its key."""
        # The Hub knows no order by name or size, so these go on with what has been found.
        order = query.sort if query.sort in ("likes", "date") else "downloads"
        key = json.dumps([*dataclasses.astuple(query)[:-1], order])
        search = self.get(key)
        if search is None:
            search = Search(dataclasses.replace(query, sort=order), self._token, self._cache_dir)
        with self._lock:
            search = self._kept.setdefault(key, search)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return key, search

    def get(self, key: str) -> Search | None:
        """The search with a key, if it is still kept."""
        with self._lock:
            return self._kept.get(key)

    def forget(self, key: str | None = None) -> None:
        """Forget one search, or all of them."""
        with self._lock:
            if key is None:
                self._kept.clear()
            else:
                self._kept.pop(key, None)


def page_of(key: str, search: Search, first: int, sort: str) -> dict[str, Any]:
    """What the page gets of a search: the rows from `first` on, and those before it that have changed since it asked."""
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
    """A model as the page gets it; `room`: bytes of free memory."""
    row = dataclasses.asdict(model)
    return {**row, "fits": model.fits(room), "fits_half": model.fits(room, 2), "size": model.size}
