"""Loading one model from the Hub into memory, with progress reports and cancellation."""

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

REPORTS_PER_SECOND = 8

_locks: dict[str, threading.Lock] = {}
"""One lock per model: a cancelled load may still be waiting for its connection, and cleans up the cache when it ends."""


class Load:
    """Loads one model, once.

    Args:
        model_id: The model's name.
        task: The pipeline's task; None for that of the checkpoint.
        token: Access token for the Hub.
        cache_dir: The cache folder; by default the Hub's own.
        options: Further arguments of `pipeline`, such as `dtype`.
        report: Called with the progress `{"id", "stage", "done", "total"}`, where `stage` is "fetch" or "load", and `done`
            and `total` are bytes: at the start of each stage, and otherwise at most eight times per second.

    Attributes:
        is_stopped: Whether the load was cancelled.
    """

    def __init__(
        self,
        model_id: str,
        task: str | None = None,
        token: Token = None,
        cache_dir: str | os.PathLike[str] | None = None,
        options: dict[str, Any] | None = None,
        report: Callable[[dict[str, Any]], None] = lambda progress: None,
    ) -> None:
        self.model_id, self.task = model_id, task
        self._token, self._cache_dir, self._options, self._report = token, cache_dir, dict(options or {}), report
        self._stop = threading.Event()
        self._reported_at = -1.0
        self._done = self._total = 0

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Cancel the load. Downloads end when the next bytes arrive."""
        self._stop.set()
        # Chunked (Xet) transfers run outside Python, where no exception reaches them.
        chunks = sys.modules.get("huggingface_hub.utils._xet")
        with suppress(Exception):
            getattr(chunks, "abort_xet_session", lambda: None)()

    def run(self) -> Any:
        """Fetch the missing files, and load the model.

        Returns:
            The pipeline.

        Raises:
            DownloadStopped: The load was cancelled. The cache is as it was before.
            NotebookKitError: As raised by `notebook_kit.pipeline`.
        """
        repo = CachedRepo(self.model_id, self._cache_dir)
        lock = _locks.setdefault(str(repo.folder), threading.Lock())
        while not lock.acquire(timeout=0.1):
            self._check()
        try:
            was_cached, started = bool(repo.commits()), time.time()
            try:
                return self._run()
            except BaseException as error:
                if not self.is_stopped:
                    raise
                _clean_up(repo, was_cached, started)
                if isinstance(error, DownloadStopped):
                    raise
                raise _stopped(self.model_id) from error
        finally:
            lock.release()

    def _run(self) -> Any:
        from notebook_kit.pipelines import pipeline

        source = locate(self.model_id, token=self._token, cache_dir=self._cache_dir)
        missing = self._missing(source)
        if missing:
            self._total = sum(missing.values())
            self._progress("fetch", always=True)
            with metered(self._on_bytes):
                # The weights are last, so that problems with the other files appear before the long download.
                for name in missing:
                    self._check()
                    source.find(name)
        self._check()
        self._progress("load", always=True)
        with metered(self._on_bytes):
            loaded = pipeline(self.task, model=source, token=self._token, **self._options)
        self._check()
        return loaded

    def _missing(self, source: Source) -> dict[str, int]:
        """Missing file -> its size in bytes; {} for a cached model that has weights, even if other files are missing."""
        if source.kind not in ("hub", "cache") or is_offline():
            return {}
        cached = set(source.filenames()) if source.kind == "cache" else set()
        if not cached.isdisjoint(WEIGHTS):
            return {}
        info = Client(self.model_id, self._token).info(source.revision)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        return {name: sizes[name] for name in planned_files(sizes) if name not in cached}

    def _check(self) -> None:
        if self.is_stopped:
            raise _stopped(self.model_id)

    def _on_bytes(self, count: int) -> None:
        self._check()
        self._done += count
        self._progress("fetch")

    def _progress(self, stage: str, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._reported_at >= 1 / REPORTS_PER_SECOND:
            self._reported_at = now
            total = max(self._total, self._done)
            self._report({"id": self.model_id, "stage": stage, "done": self._done, "total": total})


def _stopped(model_id: str) -> DownloadStopped:
    return DownloadStopped(f"Loading {model_id!r} was cancelled.", next_step="Load it again when you need it.")


def _clean_up(repo: CachedRepo, was_cached: bool, started: float) -> None:
    """Restore the cache: delete partial files, and the whole model if it was not cached before."""
    if not was_cached:
        shutil.rmtree(repo.folder, ignore_errors=True)
        return
    for partial in (repo.folder / "blobs").glob("*.incomplete"):  # older clients keep them in order to resume
        with suppress(OSError):
            if partial.stat().st_mtime >= started - 1:
                partial.unlink()
