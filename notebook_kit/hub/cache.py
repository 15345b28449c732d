"""The Hub's cache on disk, read without importing `huggingface_hub`.

That import takes about half a second, and a checkpoint that is already on this machine has no need of it. The layout
is the one that `huggingface_hub` documents: `models--{owner}--{name}/refs/{revision}` holds a commit,
`snapshots/{commit}/` the files as links into `blobs/`, and `.no_exist/{commit}/` an empty marker for each file known to
be absent there.
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
    """The folder of the Hub's cache: `cache_dir`, or what `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME` say now.

    Example:
        >>> cache_folder("/data/hub").as_posix()
        '/data/hub'
    """
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return _expanded(os.environ[variable])
    if os.environ.get("HF_HOME"):
        return _expanded(os.environ["HF_HOME"]) / "hub"
    return _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(path)))


def is_offline() -> bool:
    """Whether `HF_HUB_OFFLINE` (or `TRANSFORMERS_OFFLINE`) forbids the network now."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in {"1", "ON", "YES", "TRUE"}


def cached_models(cache_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """The model repositories of which the cache holds at least one file, sorted by name.

    Only folder names are read: no network, no `huggingface_hub`.

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
        """The commits of which at least one file is here."""
        try:
            found = [entry.name for entry in os.scandir(self.folder / "snapshots") if entry.is_dir()]
            return sorted(commit for commit in found if any(os.scandir(self.folder / "snapshots" / commit)))
        except OSError:
            return []

    def revisions(self) -> dict[str, str]:
        """Branch or tag -> commit, as they stood when they were last downloaded."""
        refs = self.folder / "refs"
        files = (
            [path for path in refs.rglob("*") if path.is_file() and ".tmp-" not in path.name] if refs.is_dir() else []
        )
        return {path.relative_to(refs).as_posix(): path.read_text().strip() for path in sorted(files)}

    def commit(self, revision: str) -> str | None:
        """The commit that `revision` meant when it was last downloaded; None if none of its files is here."""
        commit = revision
        if not _COMMIT.fullmatch(revision):
            try:
                commit = (self.folder / "refs" / revision).read_text().strip()
            except OSError:
                return None
        return commit if commit in self.commits() else None

    def remember_revision(self, revision: str, commit: str) -> None:
        """Note that `revision` now means `commit`, so that the next look-up needs no network."""
        if revision == commit:
            return
        path = self.folder / "refs" / revision
        with suppress(OSError):  # a cache that cannot be written goes on serving what it has
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, commit)

    def file(self, commit: str, filename: str) -> Path | None:
        """The file of that commit, if it is here (a link whose blob was deleted counts as absent)."""
        path = self.folder / "snapshots" / commit / filename
        return path if path.is_file() else None

    def files(self, commit: str) -> list[str]:
        """The names of the files of that commit that are here."""
        snapshot = self.folder / "snapshots" / commit
        return sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())

    def is_absent(self, commit: str, filename: str) -> bool:
        """Whether the Hub said that this commit has no such file."""
        return (self.folder / ".no_exist" / commit / filename).is_file()

    def remember_absence(self, commit: str, filename: str) -> None:
        """Note that the commit has no such file, so that nobody has to ask again."""
        path = self.folder / ".no_exist" / commit / filename
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
