"""All there is to know of one model before it is loaded, and the way back: removing it from the cache."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from notebook_kit import zoo
from notebook_kit.errors import HubError, HubUnreachableError, InputError, near_matches
from notebook_kit.hub.cache import CachedRepo, cache_folder, cached_models, is_offline
from notebook_kit.hub.card import Card, read_card
from notebook_kit.hub.catalog import FoundModel, cached, cached_bytes, from_folder, from_hub, planned_files, read_config
from notebook_kit.hub.client import Client, Token, patiently
from notebook_kit.hub.search import with_counts

__all__ = ["ModelDetails", "delete_cached", "model_details"]

PATIENCE = 30.0
LARGEST_TEXT = 4_000_000
"""Bytes up to which a card or a configuration is fetched only to be shown."""


@dataclass(frozen=True)
class ModelDetails:
    """One model in full.

    Attributes:
        model: As a search finds it, with the exact size where that could be had.
        summary: The first paragraphs of its card as plain text.
        config: Its config.json; empty if it could not be had.
        labels: Names of what it tells apart, in the order of its outputs.
        files: Name and bytes of what loading it reads.
        problem: Why some of this is missing, or None.
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
    """Look a model up: in the zoo, in the cache and on the Hub. Nothing is put into the cache.

    Args:
        model_id: Its name.
        token: For the Hub.
        cache_dir: The cache; by default the Hub's own.
        check: Called now and then while waiting; may raise to give up.

    Raises:
        HubError: It is not on this machine, and the Hub does not give it; its kinds say why.

    Example:
        >>> details = model_details("notebook-kit/tiny-sentiment")
        >>> details.labels, details.config["model_type"], details.model.fetch_bytes
        (('NEGATIVE', 'POSITIVE'), 'electra', 0)
    """
    if (folder := zoo.folder(model_id)) is not None:
        return _from_folder(replace(from_folder(model_id, folder), source="zoo", date=""), folder)
    here = cached(model_id, cache_dir)
    if here is not None:
        repo = CachedRepo(model_id, cache_dir)
        commit = repo.commit("main") or repo.commits()[-1]
        details = _from_folder(here, repo.folder / "snapshots" / commit)
        try:
            there = _from_hub(model_id, token, check, repo, details)
        except HubError as error:
            return replace(details, problem=error)
        return there
    return _from_hub(model_id, token, check, CachedRepo(model_id, cache_dir), None)


def _from_folder(model: FoundModel, folder: Path) -> ModelDetails:
    config = read_config(folder / "config.json")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    files = tuple((name, (folder / name).stat().st_size) for name in planned_files(names))
    return ModelDetails(model, read_card(folder / "README.md").summary, config, _labels(config), files)


def _from_hub(
    model_id: str, token: Token, check: Callable[[], None], repo: CachedRepo, here: ModelDetails | None
) -> ModelDetails:
    if is_offline():
        raise HubUnreachableError(
            f"{model_id!r} is not on this machine, and HF_HUB_OFFLINE forbids asking the Hub.",
            next_step="Unset it, or choose a model that is here.",
        )
    client = Client(model_id, token)
    info = client.call(lambda: patiently(client.info, PATIENCE, check))
    check()
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    files = planned_files(sizes)
    model = from_hub(info)
    kept = [name for name in files if info.sha and repo.file(info.sha, name) is not None]
    model = replace(model, cached_bytes=cached_bytes(repo), source="cache" if here else "hub")
    if model.is_exact:
        model = replace(model, fetch_bytes=sum(sizes[name] for name in files if name not in kept))
    listed = tuple((name, sizes[name]) for name in files)
    if here is not None:
        merged = with_counts(replace(here.model, fetch_bytes=model.fetch_bytes, is_exact=model.is_exact), model)
        return replace(here, model=merged, files=listed)
    problem: HubError | None = None
    card, config = Card(), {}
    with tempfile.TemporaryDirectory() as folder:  # looked at only, so the cache is not told

        def fetched(name: str) -> Path | None:
            if not 0 < sizes.get(name, 0) <= LARGEST_TEXT:
                return None
            return client.call(
                lambda: patiently(lambda: client.download(name, info.sha, Path(folder)), PATIENCE, check)
            )

        try:
            if (path := fetched("config.json")) is not None:
                config = read_config(path)
            card = read_card(fetched("README.md"))
        except HubError as error:
            problem = error
    return ModelDetails(model, card.summary, config, _labels(config), listed, problem)


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    labels = config.get("id2label")
    if not isinstance(labels, dict):
        return ()

    def place(key: str) -> tuple[bool, int, str]:
        return (not key.isdigit(), int(key) if key.isdigit() and len(key) < 10 else 0, key)

    return tuple(str(labels[key]) for key in sorted(labels, key=place))


def delete_cached(model_id: str, cache_dir: str | os.PathLike[str] | None = None) -> int:
    """Remove a model from the cache, all its revisions.

    Args:
        model_id: Its name.
        cache_dir: The cache; by default the Hub's own.

    Returns:
        The bytes that this freed.

    Raises:
        InputError: The cache has no such model. Near matches are listed.
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
            next_step="cached_models() lists what it has.",
        )
    strategy = scanned.delete_revisions(*(revision.commit_hash for repo in repos for revision in repo.revisions))
    strategy.execute()
    return strategy.expected_freed_size
