"""One search over what comes with notebook_kit, what is in the cache, and the Hub."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from notebook_kit.errors import InputError, NotebookKitError, near_matches
from notebook_kit.hub.catalog import EXPAND, FoundModel, free_memory, from_hub, local_models
from notebook_kit.hub.client import Client, Token, patiently
from notebook_kit.registry.tasks import ALIASES

__all__ = ["SORTS", "Query", "Search", "search_models"]

SORTS = ("downloads", "likes", "date", "name", "size")
"""Orders: the first three from the highest, "name" from A, "size" from the smallest."""

PAGE = 60
"""Models that the Hub is asked for at a time."""
LONGEST_SCAN = 8 * PAGE
"""How many of the Hub's models are looked through, for those that pass, before an answer is given."""
PATIENCE, PAGE_PATIENCE = 4.0, 20.0  # seconds for a first sign of the Hub, and for a page


@dataclass(frozen=True)
class Query:
    """What is searched for.

    Args:
        text: Words, all of which stand in the name.
        task: Such as "fill-mask"; "" for all.
        language: A code such as "te"; "" for all.
        licence: Such as "apache-2.0"; "" for all.
        max_bytes: The largest size of the files; None for any. Models of unknown size pass.
        runs_here: Only what notebook_kit can load and what fits into the free memory, as float32. Models whose memory is
            not known pass.
        sort: One of `SORTS`. The Hub itself knows no order by name or size: these order what has been found so far,
            starting from what is downloaded most.

    Raises:
        InputError: There is no such order.
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
        """Whether a model passes.

        Args:
            model: The model.
            free: Bytes of memory that are free; None if unknown.
            is_listed: Whether the Hub has looked at text, task, language and licence already.
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

    def asked(self) -> dict[str, Any]:
        """The same as parameters of the Hub's `/api/models`."""
        sort = {"likes": "likes", "date": "lastModified"}.get(self.sort, "downloads")
        query: dict[str, Any] = {"sort": sort, "limit": PAGE, "expand": list(EXPAND)}
        if self.text.strip():
            query["search"] = self.text.strip()
        if self.task:
            query["pipeline_tag"] = self.task
        tags = [*([self.language] if self.language else []), *([f"license:{self.licence}"] if self.licence else [])]
        return {**query, "filter": tags} if tags else query


class Search:
    """A search under way: what is on this machine at once, the Hub's models page by page as `more` is called.

    Args:
        query: What is searched for.
        token: For the Hub.
        cache_dir: The cache; by default the Hub's own.

    Attributes:
        query: What is searched for.
        models: What has been found so far: the zoo's, the cache's, then the Hub's in its order.
        problem: Why the Hub has no part in it (any more); None if all is well.
        is_done: Whether there is nothing more to come.
        scanned: How many of the Hub's models have been looked at.
        free: Bytes of free memory by device, as they were when the search began.
        room: Bytes that are free where most are free; None if unknown.
        changed: Places in `models` of which the Hub has told more since; who has read them empties it.

    Example:
        >>> import os
        >>> os.environ["HF_HUB_OFFLINE"] = "1"
        >>> search = Search(Query(task="text-classification", text="tiny"))
        >>> search.more(), search.models[0].id, search.problem.what
        ([], 'notebook-kit/tiny-sentiment', 'HF_HUB_OFFLINE forbids asking the Hub.')
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
        """Ask the Hub for further models.

        Args:
            count: How many are wanted.
            check: Called now and then while waiting; may raise to give up.
            longest_scan: How many to look through at most for those that pass.

        Returns:
            The new ones, which now also end `models`. Fewer than asked for, or none, do not mean that there are no more:
            see `is_done`. What goes wrong is in `problem`.
        """
        with self._lock:
            new: list[FoundModel] = []
            scanned = 0
            while not self.is_done and len(new) < count and scanned < longest_scan:
                page = self._page(check)
                scanned += len(page)
                new += self._taken(page)
            return new

    def ordered(self, sort: str | None = None) -> list[int]:
        """Places in `models` in the order that was asked for.

        Args:
            sort: Another order than the query's.
        """
        places = list(range(len(self.models)))
        sort = sort or self.query.sort
        if sort == "name":
            places.sort(key=lambda place: self.models[place].id.rpartition("/")[2].lower())
        elif sort == "size":
            places.sort(key=lambda place: self.models[place].size or float("inf"))
        return places

    def __iter__(self) -> Iterator[FoundModel]:
        """All that is found; the Hub is asked as far as one goes. Ends early if the Hub fails: see `problem`."""
        place = 0
        while True:
            while place < len(self.models):
                yield self.models[place]
                place += 1
            if self.is_done:
                return
            self.more()

    def _page(self, check: Callable[[], None]) -> list[Any]:
        """The next models of the Hub's listing; empty at its end, or if something goes wrong."""
        try:
            if self._listing is None:
                self._client.probe(PATIENCE)
                check()
                self._listing = self._client.models(self.query.asked())
            listing = self._listing
            page = self._client.call(lambda: patiently(lambda: list(islice(listing, PAGE)), PAGE_PATIENCE, check))
            self.is_done = len(page) < PAGE
        except NotebookKitError as error:
            self.problem, self.is_done = error, True
            return []
        except BaseException:
            self.is_done = True  # given up in the middle of a page: the listing cannot go on from there
            raise
        self.scanned += len(page)
        return page

    def _taken(self, page: list[Any]) -> list[FoundModel]:
        new = []
        for info in page:
            model = from_hub(info)
            place = self._places.get(model.id)
            if place is not None and self.models[place].source == "cache":
                self.models[place] = with_counts(self.models[place], model)
                self.changed.add(place)
            if place is not None or not model.id:
                continue
            if model.id in self._sizes:  # cached, yet it did not pass by what its files say
                model = replace(model, source="cache", cached_bytes=self._sizes[model.id])
            if self.query.accepts(model, self.room, is_listed=True):
                self._places[model.id] = len(self.models)
                self.models.append(model)
                new.append(model)
        return new


def with_counts(local: FoundModel, listed: FoundModel) -> FoundModel:
    """A model of the cache, with what only the Hub knows of it."""
    return replace(
        local,
        task=listed.task or local.task,
        parameters=local.parameters or listed.parameters,
        licence=local.licence or listed.licence,
        languages=local.languages or listed.languages,
        downloads=listed.downloads,
        likes=listed.likes,
        date=listed.date or local.date,
        gated=listed.gated,
        obstacle=listed.obstacle,
    )


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
        cache_dir: The cache; by default the Hub's own.

    Returns:
        A `Search`. Going through it asks the Hub page by page; with no Hub it gives what is on this machine, and `problem`
        says why.

    Raises:
        InputError: There is no such order or task.

    Example:
        >>> import os
        >>> os.environ["HF_HUB_OFFLINE"] = "1"
        >>> [model.id for model in search_models("sentiment", task="sentiment-analysis")]
        ['notebook-kit/tiny-sentiment']
    """
    name = ALIASES.get(task or "", task or "")
    return Search(Query(text, name, language, licence, max_bytes, runs_here, sort), token, cache_dir)
