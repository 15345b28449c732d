"""One search over the zoo, the cache and the Hub."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from notebook_kit.errors import InputError, NotebookKitError, near_matches
from notebook_kit.hub.catalog import EXPAND, FoundModel, free_memory, from_hub, local_models, with_counts
from notebook_kit.hub.client import Client, Token, patiently
from notebook_kit.registry.tasks import ALIASES

__all__ = ["SORTS", "Query", "Search", "search_models"]

SORTS = ("downloads", "likes", "date", "name", "size")
"""Orders: the first three descending, "name" and "size" ascending."""

PAGE = 60
"""Models per request to the Hub."""
LONGEST_SCAN = 8 * PAGE
"""How many of the Hub's models `Search.more` checks at most, if few of them match the query."""
PATIENCE, PAGE_PATIENCE = 4.0, 20.0  # seconds to wait for the Hub's first answer, and for each page


@dataclass(frozen=True)
class Query:
    """What to search for.

    Args:
        text: Words that must all occur in the name.
        task: Such as "fill-mask"; "" for all.
        language: A code such as "te"; "" for all.
        licence: Such as "apache-2.0"; "" for all.
        max_bytes: The largest size of the files; None for any. Models of unknown size match.
        runs_here: Only models that notebook_kit can load and that fit into the free memory as float32. Models of unknown
            size match.
        sort: One of `SORTS`. The Hub cannot sort by name or size: these sort the models found so far, while the search
            proceeds by downloads.

    Raises:
        InputError: If there is no such order.
    """

    text: str = ""
    task: str = ""
    language: str = ""
    licence: str = ""
    max_bytes: int | None = None
    runs_here: bool = False
    sort: str = "downloads"

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise InputError(
                f"Models cannot be sorted by {self.sort!r}. {near_matches(self.sort, SORTS)}".rstrip(),
                next_step=f"Pass one of {', '.join(map(repr, SORTS))}.",
            )

    def accepts(self, model: FoundModel, free: int | None, is_listed: bool = False) -> bool:
        """Whether a model matches.

        Args:
            model: The model.
            free: Bytes of free memory; None if unknown.
            is_listed: Whether the Hub has already checked text, task, language and licence.
        """
        if self.max_bytes is not None and (model.size or 0) > self.max_bytes:
            return False
        if self.runs_here and not model.runs(free):
            return False
        if is_listed:
            return True
        name = model.id.lower()
        return (
            all(word in name for word in self.text.lower().split())
            and self.task in ("", model.task)
            and (not self.language or self.language in model.languages)
            and self.licence in ("", model.licence)
        )

    def parameters(self) -> dict[str, Any]:
        """The query as parameters of the Hub's `/api/models`."""
        tags = [*filter(None, [self.language]), *([f"license:{self.licence}"] if self.licence else [])]
        wanted = {"search": self.text.strip(), "pipeline_tag": self.task, "filter": tags}
        sort = {"likes": "likes", "date": "lastModified"}.get(self.sort, "downloads")
        return {
            **{name: value for name, value in wanted.items() if value},
            "sort": sort,
            "limit": PAGE,
            "expand": list(EXPAND),
        }


class Search:
    """A running search: finds the models on this machine at once, and the Hub's page by page as `more` is called.

    Args:
        query: What to search for.
        token: For the Hub.
        cache_dir: The cache; by default the Hub's.

    Attributes:
        query: What to search for.
        models: The models found so far: the zoo's, the cache's, then the Hub's in its order.
        problem: Why the Hub's models are missing or incomplete; None if they are not.
        is_done: Whether there are no more models to find.
        scanned: How many of the Hub's models have been checked.
        free: Bytes of free memory per device when the search began.
        room: Bytes of free memory on the device with the most; None if unknown.
        changed: Positions in `models` of cached models that the Hub has since completed. The reader clears it.

    Example:
        >>> import os
        >>> os.environ["HF_HUB_OFFLINE"] = "1"
        >>> search = Search(Query(task="text-classification", text="tiny"))
        >>> search.more(), search.models[0].id, search.problem.what
        ([], 'notebook-kit/tiny-sentiment', 'HF_HUB_OFFLINE forbids contacting the Hub.')
    """

    def __init__(self, query: Query, token: Token = None, cache_dir: str | os.PathLike[str] | None = None) -> None:
        self.query = query
        self.problem: NotebookKitError | None = None
        self.is_done = False
        self.scanned = 0
        self.free = free_memory()
        self.changed: set[int] = set()
        self._client = Client("", token)
        self._cache_dir = cache_dir
        self._listing: Iterator[Any] | None = None
        self._lock = threading.Lock()
        local = local_models(cache_dir)
        self._sizes = {model.id: model.cached_bytes for model in local}
        self.room = max(self.free.values(), default=None)
        self.models: list[FoundModel] = [model for model in local if query.accepts(model, self.room)]
        self._places = {model.id: place for place, model in enumerate(self.models)}

    def more(
        self, count: int = PAGE, check: Callable[[], None] = lambda: None, longest_scan: int = LONGEST_SCAN
    ) -> list[FoundModel]:
        """Ask the Hub for more models.

        Args:
            count: How many to find.
            check: Called regularly while waiting; may raise to cancel.
            longest_scan: How many of the Hub's models to check at most.

        Returns:
            The new models, which were also appended to `models`. There may be more even if this is fewer than `count`:
            see `is_done`. Errors are stored in `problem`.
        """
        with self._lock:
            new: list[FoundModel] = []
            scanned = 0
            while not self.is_done and len(new) < count and scanned < longest_scan:
                page = self._page(check)
                scanned += len(page)
                new += self._matching(page)
            return new

    def ordered(self, sort: str | None = None) -> list[int]:
        """Positions in `models` in sorted order.

        Args:
            sort: The order; by default the query's.
        """
        keys: dict[str, Callable[[int], Any]] = {
            "name": lambda place: self.models[place].id.rpartition("/")[2].lower(),
            "size": lambda place: self.models[place].size or float("inf"),
        }
        return sorted(range(len(self.models)), key=keys.get(sort or self.query.sort))

    def __iter__(self) -> Iterator[FoundModel]:
        """All models; the Hub is asked for the next page when needed. Ends early if the Hub fails: see `problem`."""
        place = 0
        while True:
            while place < len(self.models):
                yield self.models[place]
                place += 1
            if self.is_done:
                return
            self.more()

    def _page(self, check: Callable[[], None]) -> list[Any]:
        """The next models of the Hub's listing; empty at its end or after an error."""
        try:
            if self._listing is None:
                self._client.probe(PATIENCE)
                check()
                self._listing = self._client.models(self.query.parameters())
            listing = self._listing
            page = self._client.call(lambda: patiently(lambda: list(islice(listing, PAGE)), PAGE_PATIENCE, check))
            self.is_done = len(page) < PAGE
        except NotebookKitError as error:
            self.problem, self.is_done = error, True
            return []
        except BaseException:
            self.is_done = True  # cancelled in the middle of a page: the listing cannot be resumed
            raise
        self.scanned += len(page)
        return page

    def _matching(self, page: list[Any]) -> list[FoundModel]:
        new = []
        for info in page:
            model = from_hub(info)
            place = self._places.get(model.id)
            if place is not None and self.models[place].source == "cache":
                self.models[place] = with_counts(self.models[place], model)
                self.changed.add(place)
            if place is not None or not model.id:
                continue
            if model.id in self._sizes:  # cached, but its files alone did not match the query
                model = replace(model, source="cache", cached_bytes=self._sizes[model.id])
            if self.query.accepts(model, self.room, is_listed=True):
                self._places[model.id] = len(self.models)
                self.models.append(model)
                new.append(model)
        return new


def search_models(
    text: str = "",
    *,
    task: str | None = None,
    language: str = "",
    licence: str = "",
    max_bytes: int | None = None,
    runs_here: bool = False,
    sort: Literal["downloads", "likes", "date", "name", "size"] = "downloads",
    token: Token = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Search:
    """Search the zoo, the cache and the Hub at once.

    Args:
        text, task, language, licence, max_bytes, runs_here, sort: As for `Query`; `task` may be an alias.
        token: For the Hub; None for the saved one or `HF_TOKEN`, False for none.
        cache_dir: The cache; by default the Hub's.

    Returns:
        A `Search`. Iterating over it asks the Hub page by page. If the Hub cannot be reached, it yields the models on this
        machine, and `problem` is the reason.

    Raises:
        InputError: If there is no such order.

    Example:
        >>> import os
        >>> os.environ["HF_HUB_OFFLINE"] = "1"
        >>> [model.id for model in search_models("sentiment", task="sentiment-analysis")]
        ['notebook-kit/tiny-sentiment']
    """
    name = ALIASES.get(task or "", task or "")
    return Search(Query(text, name, language, licence, max_bytes, runs_here, sort), token, cache_dir)
