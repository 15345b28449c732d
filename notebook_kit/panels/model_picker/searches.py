"""The recent searches of a picker, cached so that returning to one sends no new requests."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections import OrderedDict

from notebook_kit.hub.client import Token
from notebook_kit.hub.search import Query, Search

__all__ = ["Searches"]

KEPT = 4  # searches


class Searches:
    """The most recent searches, by key. Thread-safe.

    Args:
        token: Access token for the Hub.
        cache_dir: The cache folder; by default the Hub's own.
    """

    def __init__(self, token: Token = None, cache_dir: str | os.PathLike[str] | None = None) -> None:
        self._token, self._cache_dir = token, cache_dir
        self._kept: OrderedDict[str, Search] = OrderedDict()
        self._lock = threading.Lock()

    def search(self, query: Query) -> tuple[str, Search]:
        """The key of a query's search, and the search, created if necessary."""
        # The Hub cannot sort by name or size, so these orders reuse the search by downloads.
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
        """The search with this key, or None if it has been discarded."""
        with self._lock:
            return self._kept.get(key)

    def forget(self, key: str | None = None) -> None:
        """Discard one search, or all of them."""
        with self._lock:
            if key is None:
                self._kept.clear()
            else:
                self._kept.pop(key, None)
