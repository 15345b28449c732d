"""Where a checkpoint's files come from: a folder, the zoo, the Hub's cache, or the Hub, in that order."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from notebook_kit import zoo
from notebook_kit.errors import (
    CheckpointError,
    HubError,
    HubUnreachableError,
    InputError,
    NotebookKitError,
    RepoNotFoundError,
    UnsafeFileError,
    near_matches,
)
from notebook_kit.hub.cache import CachedRepo, cached_models, is_offline
from notebook_kit.hub.client import Client, Token

__all__ = ["HUB_OPTIONS", "Source", "locate", "take_hub_options"]

HUB_OPTIONS = frozenset({"revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder"})
"""The keyword arguments of `locate`."""

Kind = Literal["folder", "zoo", "cache", "hub"]

_REPO_ID = re.compile(r"[A-Za-z0-9_][\w.\-]*(/[\w.\-]+)?", re.ASCII)
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.\-]+(?:/[\w.\-]+)?)")
_NEVER_IN_REPO_ID = re.compile(r"--|\.\.|(\.git|-|\.)$")


def take_hub_options(options: dict[str, Any]) -> dict[str, Any]:
    """Move the keyword arguments of `locate` out of those that a `from_pretrained` was called with.

    Example:
        >>> given = {"revision": "main", "num_labels": 3}
        >>> take_hub_options(given), given
        ({'revision': 'main'}, {'num_labels': 3})
    """
    return {name: options.pop(name) for name in HUB_OPTIONS & options.keys()}


def locate(
    name_or_path: str | os.PathLike[str] | Source,
    revision: str | None = None,
    token: Token = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    subfolder: str = "",
) -> Source:
    """Find the checkpoint of that name: a folder, an embedded one, a cached one, or one on the Hub, in that order.

    No file is fetched yet. A folder or an embedded checkpoint never needs the network, and a cached one only for files
    that are not in the cache yet; those come from the same commit as the rest.

    Args:
        name_or_path: A folder, a name of the zoo, or a repository such as "distilbert/distilbert-base-uncased". A
            `Source` is returned as it is.
        revision: Branch, tag or commit; "main" if None. Meaningless, and not looked at, for folders and the zoo.
        token: A Hub token; None for the saved one or `HF_TOKEN`, False for none.
        cache_dir: The cache; by default the Hub's own (`HF_HUB_CACHE`, `HF_HOME`).
        local_files_only: Never ask the Hub, as `HF_HUB_OFFLINE=1` does for everything.
        force_download: Ask the Hub for the newest commit and fetch its files anew, even if they are cached.
        subfolder: The folder within the repository (or folder) where the files lie.

    Raises:
        RepoNotFoundError: There is nothing of that name. Near matches are listed.
        RevisionNotFoundError: The repository has no such revision.
        HubUnreachableError: It is not on this machine, and the Hub cannot or may not be asked.
        InputError: The name can be neither a path nor a repository's name.

    Example:
        >>> locate("notebook-kit/tiny-sentiment").kind
        'zoo'
    """
    if isinstance(name_or_path, Source):
        return name_or_path
    if not isinstance(name_or_path, str | os.PathLike):
        raise InputError(
            f"A checkpoint is named by a string or a path, not by {type(name_or_path).__name__}.",
            next_step="Pass a folder, or a name such as 'notebook-kit/tiny-sentiment'.",
        )
    name = os.fspath(name_or_path)
    if not name.strip():
        raise InputError(
            "The name of the checkpoint is empty.",
            next_step="Pass a folder, or a name such as 'notebook-kit/tiny-sentiment'.",
        )
    subfolder = checked_inside(subfolder, "subfolder") if subfolder else ""
    if revision is not None:
        checked_inside(revision, "revision")
    path = Path(name).expanduser()
    if path.is_dir():
        return Source(name, "folder", folder=path, subfolder=subfolder)
    if path.is_file():
        raise InputError(
            f"{name} is a file; a checkpoint is a folder with a config.json beside its weights.",
            next_step=f"Pass the folder: {str(path.parent)!r}.",
        )
    embedded = zoo.folder(name)
    if embedded is not None:
        return Source(name, "zoo", folder=embedded, subfolder=subfolder)
    if _ADDRESS.match(name):
        raise _not_a_name(name)
    if isinstance(name_or_path, os.PathLike) or _looks_like_path(name):
        raise _no_such_folder(name, path)
    if not _REPO_ID.fullmatch(name) or len(name) > 96 or _NEVER_IN_REPO_ID.search(name):
        raise _not_a_name(name)
    repo = Repo(name, revision or "main", token, cache_dir, local_files_only, force_download)
    return Source(name, repo.settle(), repo=repo, subfolder=subfolder)


class Source:
    """A checkpoint whose place is known; its files are fetched when they are asked for.

    Attributes:
        name: The name or path as it was given.
        kind: "folder", "zoo", "cache" or "hub".
        revision: The commit, for "cache" and "hub"; else None.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        folder: Path | None = None,
        repo: Repo | None = None,
        subfolder: str = "",
    ) -> None:
        self.name = name
        self.kind: Kind = kind
        self.subfolder = subfolder
        self._folder = folder
        self._repo = repo

    def __repr__(self) -> str:
        return f"Source({self.name!r}, kind={self.kind!r}, revision={self.revision!r})"

    @property
    def revision(self) -> str | None:
        """The commit that the files come from, if there is one."""
        return self._repo.commit if self._repo else None

    def find(self, filename: str) -> Path | None:
        """The path of a file on this machine, after fetching it if need be; None if the checkpoint has no such file.

        With a cached checkpoint and no Hub to ask, a file that is not in the cache counts as absent.

        Raises:
            UnsafeFileError: The name climbs out of the checkpoint's folder.
            HubError: The file exists on the Hub but cannot be fetched; its kinds say why.
        """
        inside = self._inside(filename)
        if self._repo is not None:
            return self._repo.find(inside)
        assert self._folder is not None
        # A link may lead anywhere: the Hub's own cache is made of links, and a folder belongs to its user.
        path = self._folder / inside
        return path if path.is_file() else None

    def find_first(self, *filenames: str) -> Path | None:
        """The first of these files that there is. One that is in the cache wins over one that is not."""
        if self._repo is not None:
            for filename in filenames:
                if (path := self._repo.find_cached(self._inside(filename))) is not None:
                    return path
        return next((path for filename in filenames if (path := self.find(filename)) is not None), None)

    def require(self, filename: str, why: str = "") -> Path:
        """As `find`, but a missing file is an error.

        Args:
            filename: The file, relative to the checkpoint.
            why: What needs it, for the message ("the tokenizer's vocabulary").

        Raises:
            CheckpointError: The checkpoint has no such file. What it has is listed.
            HubUnreachableError: The file is not on this machine and the Hub cannot be asked.
        """
        path = self.find(filename)
        if path is None:
            raise self.missing(filename, why=why)
        return path

    def missing(self, *filenames: str, why: str = "") -> NotebookKitError:
        """The error to raise when none of these files could be found: it knows whether the Hub could be asked."""
        wanted = " or ".join(filenames) + (f" ({why.rstrip('.')})" if why else "")
        if self._repo is not None and (silence := self._repo.silence) is not None and not self._are_absent(filenames):
            return type(silence)(
                f"{wanted} of {self.name!r} is not in the cache at {self._repo.cached.cache_dir}. {silence.what}",
                next_step=silence.next_step,
            )
        names = self.filenames()
        there = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") if names else "no file at all"
        where = f"The folder {self.name}" if self.kind == "folder" else f"The checkpoint {self.name!r}"
        where += f" (subfolder {self.subfolder})" if self.subfolder else ""
        return CheckpointError(
            f"{where} has no {wanted}. It has {there}.", next_step=self._elsewhere(filenames) or self._what_to_do()
        )

    def _are_absent(self, filenames: tuple[str, ...]) -> bool:
        """Whether the Hub once said that it has none of these files."""
        repo = self._repo
        return repo is not None and all(repo.cached.is_absent(repo.commit, self._inside(name)) for name in filenames)

    def filenames(self) -> list[str]:
        """The files of the checkpoint, sorted: of the folder, of the cached snapshot, or as the Hub lists them."""
        if self._repo is not None:
            names = self._repo.filenames()
        else:
            assert self._folder is not None
            names = _files_within(self._folder)
        prefix = f"{self.subfolder}/" if self.subfolder else ""
        return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))

    def _inside(self, filename: str) -> str:
        checked = checked_inside(filename, f"a file of {self.name!r}")
        return f"{self.subfolder}/{checked}" if self.subfolder else checked

    def _elsewhere(self, filenames: tuple[str, ...]) -> str:
        """Say so if what was asked for lies one folder deeper, as the checkpoints of a training run do."""
        folders = sorted({n.rpartition("/")[0] for n in self.filenames() if n.rpartition("/")[2] in filenames} - {""})
        if not folders:
            return ""
        if self.kind == "folder":
            root = Path(self.name, self.subfolder)
            return f"Did you mean {' or '.join(repr(str(root / folder)) for folder in folders[:5])}?"
        return f"Pass subfolder={' or subfolder='.join(repr(folder) for folder in folders[:5])}."

    def _what_to_do(self) -> str:
        if self.kind == "zoo":
            return "Reinstall notebook_kit: this checkpoint comes with it, and a file of it was lost."
        if self.kind == "folder" and _REPO_ID.fullmatch(self.name):
            return "This folder hides a repository of the same name, if there is one on the Hub: rename or complete it."
        if self.kind == "folder":
            return "Pass the folder that save_pretrained wrote, or copy the missing file into this one."
        return "Choose another checkpoint or revision; force_download=True looks for a newer commit."


class Repo:
    """A repository of which some files are in the cache and the rest, if the Hub may be asked, one request away."""

    def __init__(
        self,
        repo_id: str,
        revision: str,
        token: Token,
        cache_dir: str | os.PathLike[str] | None,
        local_files_only: bool,
        force_download: bool,
    ) -> None:
        self.cached = CachedRepo(repo_id, cache_dir)
        self.client = Client(
            repo_id, token, close=lambda: _close_names(repo_id, cache_dir), here=lambda: _names_here(repo_id, cache_dir)
        )
        self.wanted = revision
        self.commit: str = ""
        self.local_files_only = local_files_only
        self.force_download = force_download
        self.silence: HubError | None = None  # why the Hub was not asked or did not answer
        self._listing: dict[str, str] | None = None  # file -> checksum, as the Hub lists them
        self._fetched: set[str] = set()

    def settle(self) -> Kind:
        """Decide on a commit: the cached one, else the one that the Hub names."""
        if not self.force_download:
            commit = self.cached.commit(self.wanted)
            if commit is not None:
                self.commit = commit
                return "cache"
        if (reason := self._forbidden()) is not None:
            raise self._not_cached(reason)
        self.commit, self._listing = self.client.listing(self.wanted)
        return "hub"

    def find_cached(self, filename: str) -> Path | None:
        if self.force_download and filename not in self._fetched:
            return None
        return self.cached.file(self.commit, filename)

    def find(self, filename: str) -> Path | None:
        if (path := self.find_cached(filename)) is not None:
            return path
        if not self.force_download and self.cached.is_absent(self.commit, filename):
            return None
        listing = self._ask()
        if listing is None:
            return None
        if filename not in listing:
            self.cached.remember_absence(self.commit, filename)
            return None
        path = self.client.download(
            filename, self.commit, self.cached.cache_dir, listing[filename], self.force_download
        )
        self._fetched.add(filename)
        # Only now: a revision that points at a commit of which nothing is here would hide an older, complete one.
        self.cached.remember_revision(self.wanted, self.commit)
        return path

    def filenames(self) -> list[str]:
        return sorted(self._listing) if self._listing is not None else self.cached.files(self.commit)

    def _ask(self) -> dict[str, str] | None:
        """The Hub's listing of the commit; None, with the reason in `silence`, if it cannot be had."""
        if self._listing is None and self.silence is None:
            if (reason := self._forbidden()) is not None:
                self.silence = HubUnreachableError(
                    f"{reason}.",
                    next_step="Allow the Hub once and load it again, or pass the path of a complete local folder.",
                )
                return None
            try:
                self._listing = self.client.listing(self.commit)[1]
            except HubError as error:
                # What is cached must go on working when its repository is gone, gated or unreachable.
                self.silence = error
        return self._listing

    def _forbidden(self) -> str | None:
        if self.local_files_only:
            return "local_files_only=True forbids asking the Hub"
        return "HF_HUB_OFFLINE forbids asking the Hub" if is_offline() else None

    def _not_cached(self, reason: str) -> NotebookKitError:
        repo_id, commits = self.client.repo_id, self.cached.commits()
        if self.force_download:
            return InputError(
                f"force_download=True was asked for {repo_id!r}, but {reason}.",
                next_step="Leave force_download out, or allow the Hub.",
            )
        if commits:
            refs = {commit: name for name, commit in self.cached.revisions().items()}
            here = ", ".join(repr(refs.get(commit, commit)) for commit in commits)
            return HubUnreachableError(
                f"Revision {self.wanted!r} of {repo_id!r} is not in the cache at {self.cached.cache_dir}, "
                f"and {reason}.",
                next_step=f"Pass revision= with one that is cached: {here}.",
            )
        return HubUnreachableError(
            f"{repo_id!r} is no folder, is not embedded, is not in the cache at {self.cached.cache_dir}, and {reason}.",
            next_step=f"Allow the Hub, or choose what is here. {_names_here(repo_id, self.cached.cache_dir)}",
        )


def checked_inside(filename: str, what: str) -> str:
    """The file name with forward slashes, after making sure that it stays inside the folder it is joined to.

    Raises:
        UnsafeFileError: It is absolute, names a drive, or climbs with "..".

    Example:
        >>> checked_inside("onnx/config.json", "a file")
        'onnx/config.json'
        >>> checked_inside("../secret", "a file")
        Traceback (most recent call last):
        ...
        notebook_kit.errors.UnsafeFileError: '../secret' as a file would lead out of the folder. It was not read.
        → Do not use this checkpoint unless you know why it asks for that.
    """
    text = str(filename)
    # A backslash separates folders on Windows only, but a checkpoint is either safe everywhere or not at all.
    windows, posix = PureWindowsPath(text), PurePosixPath(text)
    climbs = ".." in windows.parts or windows.drive or windows.root or posix.is_absolute()
    if climbs or not posix.parts or "\0" in text:
        raise UnsafeFileError(
            f"{text!r} as {what} would lead out of the folder. It was not read.",
            next_step="Do not use this checkpoint unless you know why it asks for that.",
        )
    return posix.as_posix()


def _files_within(folder: Path, depth: int = 3) -> list[str]:
    """Files up to three folders deep: enough for any checkpoint, and quick when someone passes their home folder."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        relative = Path(parent).relative_to(folder)
        found += [(relative / file).as_posix() for file in files]
        folders[:] = [] if len(relative.parts) >= depth or len(found) > 2_000 else sorted(folders)
    return sorted(found)


def _names(cache_dir: str | os.PathLike[str] | None) -> list[str]:
    return [*zoo.names(), *cached_models(cache_dir)]


def _close_names(name: str, cache_dir: str | os.PathLike[str] | None) -> str:
    """What a name that was not found may have meant: an embedded or cached checkpoint, or a folder beside it."""
    parent = Path(name).parent
    return near_matches(name, [*_names(cache_dir), *((parent / folder).as_posix() for folder in _folders(parent))])


def _names_here(name: str, cache_dir: str | os.PathLike[str] | None) -> str:
    return _close_names(name, cache_dir) or f"On this machine: {', '.join(_names(cache_dir)[:8])}."


def _folders(parent: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(parent) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or bool(PureWindowsPath(name).drive)


def _no_such_folder(name: str, path: Path) -> NotebookKitError:
    close = near_matches(path.name, _folders(path.parent))
    missing = next((p for p in reversed(path.parents) if not p.exists()), None)
    because = f" ({missing} does not exist either)" if missing is not None else ""
    return RepoNotFoundError(
        f"There is no folder {name}{because}.",
        next_step=close or f"Check the path; the working folder is {Path.cwd()}.",
    )


def _not_a_name(name: str) -> NotebookKitError:
    address = _ADDRESS.match(name)
    close = near_matches(name, _names(None))
    return InputError(
        f"{name!r} is neither a folder nor a name that a repository can have.",
        next_step=f"Pass the name alone: {address[1]!r}."
        if address
        else close or "Names look like 'owner/name', with letters, digits, '-', '_' and '.'.",
    )
