"""The Hub's cache on disk, read without importing `huggingface_hub`.

That import takes about half a second, and checkpoints that are already on this machine do not need it. The layout is the
one that `huggingface_hub` documents: `models--{owner}--{name}/refs/{revision}` contains a commit, `snapshots/{commit}/`
the files as links into `blobs/`, and `.no_exist/{commit}/` an empty marker for each file known to be absent.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from notebook_kit.files import write_text

__all__ = ["CachedRepo", "cache_folder", "cached_models", "is_offline"]

_COMMIT = re.compile(r"[0-9a-f]{40}")


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the Hub's cache: `cache_dir`, or the one that `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME` set.

    Example:
        >>> cache_folder("/data/hub").as_posix()
        '/data/hub'
    """
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(cache)))


def is_offline() -> bool:
    """Whether `HF_HUB_OFFLINE` (or `TRANSFORMERS_OFFLINE`) is set now."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in {"1", "ON", "YES", "TRUE"}


def cached_models(cache_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """The model repositories with at least one file in the cache, sorted by name.

    Reads folder names only and needs neither the network nor `huggingface_hub`.

    Example:
        >>> import tempfile
        >>> cached_models(tempfile.mkdtemp())
        []
    """
    try:
        entries = sorted(entry.name for entry in os.scandir(cache_folder(cache_dir)) if entry.is_dir())
    except OSError:
        return []
    names = (entry.removeprefix("models--").replace("--", "/") for entry in entries if entry.startswith("models--"))
    return [name for name in names if CachedRepo(name, cache_dir).commits()]


class CachedRepo:
    """One model repository in the cache.

    Args:
        repo_id: The name on the Hub, such as `"distilbert/distilbert-base-uncased"`.
        cache_dir: The cache; by default `cache_folder()`.
    """

    def __init__(self, repo_id: str, cache_dir: str | os.PathLike[str] | None = None) -> None:
        self.cache_dir = cache_folder(cache_dir)
        self.folder = self.cache_dir / ("models--" + repo_id.replace("/", "--"))

    def commits(self) -> list[str]:
        """The commits with at least one file in the cache."""
        try:
            found = [entry.name for entry in os.scandir(self.folder / "snapshots") if entry.is_dir()]
            return sorted(commit for commit in found if any(os.scandir(self.snapshot(commit))))
        except OSError:
            return []

    def snapshot(self, commit: str) -> Path:
        """The folder with the files of a commit."""
        return self.folder / "snapshots" / commit

    def newest_snapshot(self) -> Path | None:
        """The folder with the files of the cached "main", otherwise the one that changed last; None if there is none."""
        if (commit := self.commit("main")) is not None:
            return self.snapshot(commit)
        return max(map(self.snapshot, self.commits()), key=lambda folder: folder.stat().st_mtime, default=None)

    def revisions(self) -> dict[str, str]:
        """Branch or tag -> the commit it pointed to when it was last downloaded."""
        refs = self.folder / "refs"
        files = sorted(path for path in refs.rglob("*") if path.is_file() and ".tmp-" not in path.name)
        return {path.relative_to(refs).as_posix(): path.read_text().strip() for path in files}

    def commit(self, revision: str) -> str | None:
        """The commit that `revision` pointed to when it was last downloaded; None if none of its files is cached."""
        commit = revision
        if not _COMMIT.fullmatch(revision):
            try:
                commit = (self.folder / "refs" / revision).read_text().strip()
            except OSError:
                return None
        return commit if commit in self.commits() else None

    def remember_revision(self, revision: str, commit: str) -> None:
        """Record that `revision` points to `commit` now, so that the next look-up does not need the network."""
        if revision == commit:
            return
        path = self.folder / "refs" / revision
        with suppress(OSError):  # a read-only cache remains usable
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, commit)

    def files(self, commit: str) -> list[str]:
        """The names of the cached files of a commit; links whose blob was deleted do not count."""
        snapshot = self.snapshot(commit)
        return sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())

    def is_absent(self, commit: str, filename: str) -> bool:
        """Whether the Hub once answered that this commit has no such file."""
        return (self.folder / ".no_exist" / commit / filename).is_file()

    def remember_absence(self, commit: str, filename: str) -> None:
        """Record that the commit has no such file, so that the Hub is not asked again."""
        path = self.folder / ".no_exist" / commit / filename
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
