"""One model on its way from the Hub into memory: how far it is, and how it is stopped."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from notebook_kit.hub import Source, is_offline, locate
from notebook_kit.hub.cache import CachedRepo
from notebook_kit.hub.catalog import planned_files
from notebook_kit.hub.client import Client, DownloadStopped, Token, metered
from notebook_kit.registry.weight_files import WEIGHTS

__all__ = ["Load"]

TELLS_A_SECOND = 8

_ways: dict[str, threading.Lock] = {}
"""One load of a model at a time: one that was given up may still wait for its connection, and then tidies the cache."""


class Load:
    """Loads one model, once.

    Args:
        model_id: Its name.
        task: The pipeline's task; None for the checkpoint's own.
        token: For the Hub.
        cache_dir: The cache; by default the Hub's own.
        options: More arguments of `pipeline`, such as `dtype`.
        tell: Called with the progress: `{"id", "stage", "done", "total"}`, where stage is "fetch" or "load", and done and
            total are bytes. At most eight times a second, but for the first of each stage.

    Attributes:
        is_stopped: Whether it was given up.
    """

    def __init__(
        self,
        model_id: str,
        task: str | None = None,
        token: Token = None,
        cache_dir: str | os.PathLike[str] | None = None,
        options: dict[str, Any] | None = None,
        tell: Callable[[dict[str, Any]], None] = lambda progress: None,
    ) -> None:
        self.model_id, self.task = model_id, task
        self._token, self._cache_dir, self._options, self._tell = token, cache_dir, dict(options or {}), tell
        self._stop = threading.Event()
        self._told = -1.0
        self._done = self._total = 0

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Give it up. Downloads end with the next bytes that arrive."""
        self._stop.set()
        # A transfer in chunks runs outside Python, where no exception reaches it.
        chunks = sys.modules.get("huggingface_hub.utils._xet")
        with suppress(Exception):
            getattr(chunks, "abort_xet_session", lambda: None)()

    def run(self) -> Any:
        """Fetch what is missing, and load it.

        Returns:
            The pipeline.

        Raises:
            DownloadStopped: It was given up; what it had brought of a model that was not in the cache before is gone again.
            NotebookKitError: As `notebook_kit.pipeline` does.
        """
        repo = CachedRepo(self.model_id, self._cache_dir)
        way = _ways.setdefault(str(repo.folder), threading.Lock())
        while not way.acquire(timeout=0.1):
            self._check()
        try:
            was_here, started = bool(repo.commits()), time.time()
            try:
                return self._run()
            except BaseException as error:
                if not self.is_stopped:
                    raise
                _tidy(repo, was_here, started)
                if isinstance(error, DownloadStopped):
                    raise
                raise _stopped(self.model_id) from error
        finally:
            way.release()

    def _run(self) -> Any:
        from notebook_kit.pipelines import pipeline

        source = locate(self.model_id, token=self._token, cache_dir=self._cache_dir)
        missing = self._missing(source)
        if missing:
            self._total = sum(missing.values())
            self._say("fetch", always=True)
            with metered(self._on_bytes):
                # The weights are last: what is wrong with the rest shows before they come.
                for name in missing:
                    self._check()
                    source.find(name)
        self._check()
        self._say("load", always=True)
        with metered(self._on_bytes):
            made = pipeline(self.task, model=source, token=self._token, **self._options)
        self._check()
        return made

    def _missing(self, source: Source) -> dict[str, int]:
        """The files that are still to come, and their bytes. Of a cached model that has weights, whatever else it lacks."""
        if source.kind not in ("hub", "cache") or is_offline():
            return {}
        here = set(source.filenames()) if source.kind == "cache" else set()
        if not here.isdisjoint(WEIGHTS):
            return {}
        info = Client(self.model_id, self._token).info(source.revision)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        return {name: sizes[name] for name in planned_files(sizes) if name not in here}

    def _check(self) -> None:
        if self.is_stopped:
            raise _stopped(self.model_id)

    def _on_bytes(self, count: int) -> None:
        self._check()
        self._done += count
        self._say("fetch")

    def _say(self, stage: str, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._told >= 1 / TELLS_A_SECOND:
            self._told = now
            total = max(self._total, self._done)
            self._tell({"id": self.model_id, "stage": stage, "done": self._done, "total": total})


def _stopped(model_id: str) -> DownloadStopped:
    return DownloadStopped(f"The loading of {model_id!r} was cancelled.", next_step="Load it again when you want it.")


def _tidy(repo: CachedRepo, was_here: bool, started: float) -> None:
    """Leave the cache as it was: no half files, and nothing of a model that was not there before."""
    if not was_here:
        shutil.rmtree(repo.folder, ignore_errors=True)
        return
    for half in (repo.folder / "blobs").glob("*.incomplete"):  # older clients keep them, to go on with
        with suppress(OSError):
            if half.stat().st_mtime >= started - 1:
                half.unlink()
