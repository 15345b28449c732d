"""What is known about one model before it is loaded, in full; and removing it from the cache."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from notebook_kit import zoo
from notebook_kit.errors import HubError, InputError, near_matches
from notebook_kit.hub.cache import CachedRepo, cache_folder, cached_models
from notebook_kit.hub.card import read_card
from notebook_kit.hub.catalog import (
    FoundModel,
    cached,
    cached_bytes,
    files_in,
    from_folder,
    from_hub,
    planned_files,
    read_config,
    with_counts,
)
from notebook_kit.hub.client import Answer, Client, Token, patiently

__all__ = ["ModelDetails", "delete_cached", "model_details"]

PATIENCE = 30.0
"""Seconds to wait for each answer of the Hub."""
LARGEST_TEXT = 4_000_000
"""Largest size in bytes of a card or a configuration that is downloaded only to be shown."""


@dataclass(frozen=True)
class ModelDetails:
    """One model in full.

    Attributes:
        model: As a search finds it, with the exact size if known.
        summary: The first paragraphs of its card as plain text.
        config: Its config.json; empty if not available.
        labels: Names of the classes that it predicts, in the order of its outputs.
        files: Name and bytes of each file that loading reads.
        problem: Why part of this is missing, or None.
    """

    model: FoundModel
    summary: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    files: tuple[tuple[str, int], ...] = ()
    problem: HubError | None = None


def model_details(
    model_id: str,
    token: Token = None,
    cache_dir: str | os.PathLike[str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> ModelDetails:
    """Look up a model in the zoo, in the cache and on the Hub. The cache is not changed.

    Args:
        model_id: Its name.
        token: For the Hub.
        cache_dir: The cache; by default the Hub's.
        check: Called regularly while waiting; may raise to cancel.

    Raises:
        HubError: If it is not on this machine, and the Hub does not provide it; the subclass tells why.

    Example:
        >>> details = model_details("notebook-kit/tiny-sentiment")
        >>> details.labels, details.config["model_type"], details.model.fetch_bytes
        (('NEGATIVE', 'POSITIVE'), 'electra', 0)
    """
    if (folder := zoo.folder(model_id)) is not None:
        return _from_folder(replace(from_folder(model_id, folder), source="zoo", date=""), folder)
    repo = CachedRepo(model_id, cache_dir)
    local = cached(model_id, cache_dir)
    snapshot = repo.newest_snapshot()
    if local is None or snapshot is None:
        return _from_hub(Client(model_id, token), check, repo, None)
    details = _from_folder(local, snapshot)
    try:
        return _from_hub(Client(model_id, token), check, repo, details)
    except HubError as error:
        return replace(details, problem=error)


def _from_folder(model: FoundModel, folder: Path) -> ModelDetails:
    config, stored = read_config(folder), files_in(folder)
    files = tuple((name, stored[name].st_size) for name in planned_files(stored))
    return ModelDetails(model, read_card(folder / "README.md").summary, config, _labels(config), files)


def _from_hub(client: Client, check: Callable[[], None], repo: CachedRepo, local: ModelDetails | None) -> ModelDetails:
    def patient(ask: Callable[[], Answer]) -> Answer:
        return client.call(lambda: patiently(ask, PATIENCE, check))

    info = patient(client.info)
    check()
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    files = tuple((name, sizes[name]) for name in planned_files(sizes))
    model = replace(from_hub(info), cached_bytes=cached_bytes(repo))
    if model.is_exact:
        stored = repo.files(info.sha or "")
        model = replace(model, fetch_bytes=sum(size for name, size in files if name not in stored))
    if local is not None:
        merged = with_counts(replace(local.model, fetch_bytes=model.fetch_bytes, is_exact=model.is_exact), model)
        return replace(local, model=merged, files=files)
    problem: HubError | None = None
    with tempfile.TemporaryDirectory() as folder:  # these files are only shown, so they do not go into the cache
        try:
            for name in ("config.json", "README.md"):
                if 0 < sizes.get(name, 0) <= LARGEST_TEXT:
                    patient(partial(client.download, name, info.sha, Path(folder)))
        except HubError as error:
            problem = error
        details = _from_folder(model, CachedRepo(client.repo_id, folder).snapshot(info.sha))
    return replace(details, files=files, problem=problem)


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    labels = config.get("id2label")
    if not isinstance(labels, dict):
        return ()

    def place(key: str) -> tuple[bool, int, str]:
        return (not key.isdigit(), int(key) if key.isdigit() and len(key) < 10 else 0, key)

    return tuple(str(labels[key]) for key in sorted(labels, key=place))


def delete_cached(model_id: str, cache_dir: str | os.PathLike[str] | None = None) -> int:
    """Remove all revisions of a model from the cache.

    Args:
        model_id: Its name.
        cache_dir: The cache; by default the Hub's.

    Returns:
        The number of bytes freed.

    Raises:
        InputError: If the cache has no such model. Near matches are listed.
    """
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        scanned = scan_cache_dir(cache_folder(cache_dir))
        repos = [repo for repo in scanned.repos if repo.repo_type == "model" and repo.repo_id == model_id]
    except CacheNotFound:
        repos = []
    if not repos:
        close = near_matches(model_id, cached_models(cache_dir))
        raise InputError(
            f"The cache at {cache_folder(cache_dir)} has no model {model_id!r}. {close}".rstrip(),
            next_step="cached_models() lists its models.",
        )
    strategy = scanned.delete_revisions(*(revision.commit_hash for repo in repos for revision in repo.revisions))
    strategy.execute()
    return strategy.expected_freed_size
