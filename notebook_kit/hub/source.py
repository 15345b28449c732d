"""Where a checkpoint's files come from: a folder, the zoo, the Hub's cache, or the Hub, in that order."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
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
from notebook_kit.hub.cache import CachedRepo, cached_models
from notebook_kit.hub.client import Client, Token
from notebook_kit.keywords import ignore
from notebook_kit.registry.tasks import TASKS

__all__ = ["HUB_OPTIONS", "Source", "locate", "take_hub_options"]

HUB_OPTIONS = frozenset({"revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder"})
"""The keyword arguments of `locate`."""

OBSOLETE = frozenset({"resume_download", "proxies", "mirror", "local_dir_use_symlinks", "etag_timeout"})

Kind = Literal["folder", "zoo", "cache", "hub"]

_REPO_ID = re.compile(r"[A-Za-z0-9_][\w.\-]*(/[\w.\-]+)?", re.ASCII)
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.\-]+(?:/[\w.\-]+)?)")
_NEVER_IN_REPO_ID = re.compile(r"--|\.\.|(\.git|-|\.)$")


def take_hub_options(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the keyword arguments of `locate` from `options`, and return them.

    `use_auth_token` is the older name of `token`; options that newer versions of the Hub's library ignore are dropped.

    Example:
        >>> options = {"revision": "main", "num_labels": 3}
        >>> take_hub_options(options), options
        ({'revision': 'main'}, {'num_labels': 3})
    """
    unmet = {name: options[name] for name in ("mirror", "proxies") if options.get(name)}
    ignore("The Hub's client", unmet, "Set the environment variables HF_ENDPOINT and HTTPS_PROXY instead.")
    for name in OBSOLETE & options.keys():
        del options[name]
    if "use_auth_token" in options:
        options.setdefault("token", options.pop("use_auth_token"))
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
    """Find a checkpoint: a folder, an embedded checkpoint, a cached one, or one on the Hub, in that order.

    No file is downloaded yet. Folders and embedded checkpoints never need the network, and a cached checkpoint only for
    files that are not in the cache; those come from the same commit as the cached ones.

    Args:
        name_or_path: A folder, a name in the zoo, or a repository such as "distilbert/distilbert-base-uncased". A
            `Source` is returned unchanged.
        revision: Branch, tag or commit; "main" if None. Ignored for folders and the zoo.
        token: A Hub token; None for the saved one or `HF_TOKEN`, False for none.
        cache_dir: The cache; by default the Hub's (`HF_HUB_CACHE`, `HF_HOME`).
        local_files_only: Never contact the Hub for this checkpoint, as `HF_HUB_OFFLINE=1` does for all.
        force_download: Ask the Hub for the newest commit and download its files again, even if they are cached.
        subfolder: The folder with the files, within the repository or folder.

    Raises:
        RepoNotFoundError: If nothing has this name. Near matches are listed.
        RevisionNotFoundError: If the repository has no such revision.
        HubUnreachableError: If it is not on this machine and the Hub does not answer or may not be contacted.
        InputError: If the name can be neither a path nor the name of a repository.

    Example:
        >>> locate("notebook-kit/tiny-sentiment").kind
        'zoo'
    """
    if isinstance(name_or_path, Source):
        return name_or_path
    if not isinstance(name_or_path, str | os.PathLike) or not os.fspath(name_or_path).strip():
        passed = "an empty string" if isinstance(name_or_path, str) else type(name_or_path).__name__
        raise InputError(
            f"The name of a checkpoint is a non-empty string or a path, not {passed}.",
            next_step="Pass a folder, or a name such as 'notebook-kit/tiny-sentiment'.",
        )
    name = os.fspath(name_or_path)
    subfolder = checked_inside(subfolder, "subfolder") if subfolder else ""
    if revision is not None:
        checked_inside(revision, "revision")
    path = Path(name).expanduser()
    if path.is_dir():
        return Source(name, "folder", path, subfolder)
    if path.is_file():
        raise InputError(
            f"{name} is a file; a checkpoint is a folder with a config.json beside its weights.",
            next_step=f"Pass the folder: {str(path.parent)!r}.",
        )
    if (embedded := zoo.folder(name)) is not None:
        return Source(name, "zoo", embedded, subfolder)
    address = _ADDRESS.match(name)
    if not address and (isinstance(name_or_path, os.PathLike) or _looks_like_path(name)):
        raise _no_such_folder(name, path)
    if address or not _REPO_ID.fullmatch(name) or len(name) > 96 or _NEVER_IN_REPO_ID.search(name):
        raise InputError(
            f"{name!r} is neither a folder nor a possible name of a repository.",
            next_step=f"Pass the name alone: {address[1]!r}."
            if address
            else near_matches(name, _names(None))
            or "Names look like 'owner/name', with letters, digits, '-', '_' and '.'.",
        )
    return HubSource(name, subfolder, revision or "main", token, cache_dir, local_files_only, force_download)


class Source:
    """A checkpoint in a folder. For a checkpoint of the Hub, `HubSource` downloads its files when they are requested.

    Attributes:
        name: The name or path that was passed to `locate`.
        kind: "folder", "zoo", "cache" or "hub".
        subfolder: The folder with the files, within the repository or folder; "" for the whole.
        revision: The commit, for "cache" and "hub"; otherwise None.
    """

    revision: str | None = None

    def __init__(self, name: str, kind: Kind, folder: Path, subfolder: str = "") -> None:
        self.name = name
        self.kind: Kind = kind
        self.subfolder = subfolder
        self._folder = folder

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, kind={self.kind!r}, revision={self.revision!r})"

    def find(self, filename: str) -> Path | None:
        """The path of a file on this machine, downloaded first if necessary; None if the checkpoint has no such file.

        If the checkpoint is cached and the Hub cannot be asked, a file that is not in the cache counts as missing.

        Raises:
            UnsafeFileError: If the name leads out of the checkpoint's folder.
            HubError: If the file is on the Hub but cannot be downloaded; the subclass tells why.
        """
        # A link may lead anywhere: the Hub's cache consists of links, and a folder belongs to its user.
        path = self._folder / self._inside(filename)
        return path if path.is_file() else None

    def find_first(self, *filenames: str) -> Path | None:
        """The first of these files that exists. A cached file is preferred over one that has to be downloaded."""
        return next((path for filename in filenames if (path := self.find(filename)) is not None), None)

    def require(self, filename: str, why: str = "") -> Path:
        """As `find`, but a missing file is an error.

        Args:
            filename: The file, relative to the checkpoint.
            why: What the file is needed for, for the message ("the tokenizer's vocabulary").

        Raises:
            CheckpointError: If the checkpoint has no such file. Its files are listed.
            HubUnreachableError: If the file is not on this machine and the Hub cannot be asked.
        """
        path = self.find(filename)
        if path is None:
            raise self.missing(filename, why=why)
        return path

    def missing(self, *filenames: str, why: str = "") -> NotebookKitError:
        """The error to raise when none of these files was found. It states if the Hub could not be asked."""
        names = self.filenames()
        listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") or "no file at all"
        where = f"The folder {self.name}" if self.kind == "folder" else f"The checkpoint {self.name!r}"
        where += f" (subfolder {self.subfolder})" if self.subfolder else ""
        return CheckpointError(
            f"{where} has no {_wanted(filenames, why)}. It has {listed}.",
            next_step=self._elsewhere(filenames) or self._remedy(),
        )

    def filenames(self) -> list[str]:
        """The files of the checkpoint, sorted: those in the folder or the cached snapshot, or as the Hub lists them."""
        prefix = f"{self.subfolder}/" if self.subfolder else ""
        return sorted(name.removeprefix(prefix) for name in self._all_files() if name.startswith(prefix))

    def _all_files(self) -> Iterable[str]:
        return _files_within(self._folder)

    def _inside(self, filename: str) -> str:
        checked = checked_inside(filename, f"a file of {self.name!r}")
        return f"{self.subfolder}/{checked}" if self.subfolder else checked

    def _elsewhere(self, filenames: tuple[str, ...]) -> str:
        """A hint if one of these files is in a folder within the checkpoint, as in the output folder of a training run."""
        folders = sorted({n.rpartition("/")[0] for n in self.filenames() if n.rpartition("/")[2] in filenames} - {""})
        if not folders:
            return ""
        if self.kind == "folder":
            root = Path(self.name, self.subfolder)
            return f"Did you mean {' or '.join(repr(str(root / folder)) for folder in folders[:5])}?"
        return f"Pass subfolder={' or subfolder='.join(repr(folder) for folder in folders[:5])}."

    def _remedy(self) -> str:
        if self.kind == "zoo":
            return "Reinstall notebook_kit: this checkpoint is part of it, and one of its files was lost."
        if _REPO_ID.fullmatch(self.name):
            return "If the Hub has a repository of this name, this folder hides it: rename or complete the folder."
        return "Pass the folder that save_pretrained wrote, or copy the missing file into this one."


class HubSource(Source):
    """A repository on the Hub, of which some files may be in the cache.

    The commit is the cached one if there is one, otherwise the one that the Hub names.

    Args:
        name: The name of the repository.
        subfolder, revision, token, cache_dir, local_files_only, force_download: As for `locate`.
    """

    revision: str

    def __init__(
        self,
        name: str,
        subfolder: str,
        revision: str,
        token: Token,
        cache_dir: str | os.PathLike[str] | None,
        local_files_only: bool,
        force_download: bool,
    ) -> None:
        self._cached = CachedRepo(name, cache_dir)
        self._client = Client(
            name,
            token,
            near_names=lambda: _near_names(name, cache_dir),
            local_names=lambda: _local_names(name, cache_dir),
            local_files_only=local_files_only,
        )
        self._requested = revision
        self._force_download = force_download
        self._problem: HubError | None = None  # why the Hub was not asked or did not answer
        self._listing: dict[str, str] | None = None  # file -> checksum, as the Hub lists them
        self._downloaded: set[str] = set()
        commit = None if force_download else self._cached.commit(revision)
        kind: Kind = "hub" if commit is None else "cache"
        if commit is None:
            if self._client.forbidden:
                raise self._not_cached(self._client.forbidden)
            commit, self._listing = self._client.listing(revision)
        self.revision = commit
        super().__init__(name, kind, self._cached.snapshot(commit), subfolder)

    def find(self, filename: str) -> Path | None:
        if (path := self._find_cached(filename)) is not None:
            return path
        inside = self._inside(filename)
        if not self._force_download and self._cached.is_absent(self.revision, inside):
            return None
        listing = self._ask()
        if listing is None:
            return None
        if inside not in listing:
            self._cached.remember_absence(self.revision, inside)
            return None
        path = self._client.download(
            inside, self.revision, self._cached.cache_dir, listing[inside], self._force_download
        )
        self._downloaded.add(inside)
        # Not earlier: a revision that points to a commit without any cached file would hide an older, complete one.
        self._cached.remember_revision(self._requested, self.revision)
        return path

    def find_first(self, *filenames: str) -> Path | None:
        cached = (self._find_cached(filename) for filename in filenames)
        return next(filter(None, cached), None) or super().find_first(*filenames)

    def missing(self, *filenames: str, why: str = "") -> NotebookKitError:
        if self._problem is None or all(self._cached.is_absent(self.revision, self._inside(f)) for f in filenames):
            return super().missing(*filenames, why=why)
        return type(self._problem)(
            f"{_wanted(filenames, why)} of {self.name!r} is not in the cache at {self._cached.cache_dir}. "
            f"{self._problem.what}",
            next_step=self._problem.next_step,
        )

    def _find_cached(self, filename: str) -> Path | None:
        if self._force_download and self._inside(filename) not in self._downloaded:
            return None
        return super().find(filename)

    def _all_files(self) -> Iterable[str]:
        return self._cached.files(self.revision) if self._listing is None else self._listing

    def _remedy(self) -> str:
        return "Choose another checkpoint or revision; force_download=True looks for a newer commit."

    def _ask(self) -> dict[str, str] | None:
        """The Hub's listing of the commit; None, with the reason in `_problem`, if it is not available."""
        if self._listing is None and self._problem is None:
            try:
                self._listing = self._client.listing(self.revision)[1]
            except HubError as error:
                # Cached files must remain usable when their repository is gone, gated or unreachable.
                self._problem = error
        return self._listing

    def _not_cached(self, reason: str) -> NotebookKitError:
        repo_id, cache_dir, commits = self._client.repo_id, self._cached.cache_dir, self._cached.commits()
        if self._force_download:
            return InputError(
                f"force_download=True was passed for {repo_id!r}, but {reason}.",
                next_step="Leave force_download out, or allow access to the Hub.",
            )
        if commits:
            refs = {commit: name for name, commit in self._cached.revisions().items()}
            cached = ", ".join(repr(refs.get(commit, commit)) for commit in commits)
            return HubUnreachableError(
                f"Revision {self._requested!r} of {repo_id!r} is not in the cache at {cache_dir}, and {reason}.",
                next_step=f"Pass revision= with one that is cached: {cached}.",
            )
        return HubUnreachableError(
            f"{repo_id!r} is neither a folder, nor one of notebook_kit's own checkpoints, nor in the cache at {cache_dir}, and "
            f"{reason}.",
            next_step=f"Allow access to the Hub, or use a model on this machine. {_local_names(repo_id, cache_dir)}",
        )


def checked_inside(filename: str, what: str) -> str:
    """The file name with forward slashes, after checking that it stays inside the folder it will be joined to.

    Raises:
        UnsafeFileError: If it is absolute, contains a drive, or climbs with "..".

    Example:
        >>> checked_inside("onnx/config.json", "a file")
        'onnx/config.json'
        >>> checked_inside("../secret", "a file")
        Traceback (most recent call last):
        ...
        notebook_kit.errors.UnsafeFileError: '../secret' as a file would lead out of the folder. It was not read.
        → Do not use this checkpoint unless you know why it refers to that file.
    """
    text = str(filename)
    # A backslash separates folders on Windows only, but a checkpoint is either safe everywhere or not at all.
    windows, posix = PureWindowsPath(text), PurePosixPath(text)
    climbs = ".." in windows.parts or windows.drive or windows.root or posix.is_absolute()
    if climbs or not posix.parts or "\0" in text:
        raise UnsafeFileError(
            f"{text!r} as {what} would lead out of the folder. It was not read.",
            next_step="Do not use this checkpoint unless you know why it refers to that file.",
        )
    return posix.as_posix()


def _wanted(filenames: tuple[str, ...], why: str) -> str:
    return " or ".join(filenames) + (f" ({why.rstrip('.')})" if why else "")


def _files_within(folder: Path, depth: int = 3) -> list[str]:
    """Files up to three folders deep: enough for any checkpoint, and fast if the folder is someone's home folder."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        relative = Path(parent).relative_to(folder)
        found += [(relative / file).as_posix() for file in files]
        folders[:] = [] if len(relative.parts) >= depth or len(found) > 2_000 else sorted(folders)
    return found


def _names(cache_dir: str | os.PathLike[str] | None) -> list[str]:
    return [*zoo.names(), *cached_models(cache_dir)]


def _near_names(name: str, cache_dir: str | os.PathLike[str] | None) -> str:
    """A sentence with the embedded and cached checkpoints, folders and defaults of tasks that resemble `name`, or ""."""
    return near_matches(name, [*_names(cache_dir), *_nearby_folders(name), *(task.model for task in TASKS.values())])


def _local_names(name: str, cache_dir: str | os.PathLike[str] | None) -> str:
    """A sentence with names that resemble `name`, otherwise with the checkpoints on this machine.

    A default of a task counts only if `name` is surely a slip for it: a correct name that is not here resembles many.
    """
    defaults = [task.model for task in TASKS.values() if task.model != name]
    slips = difflib.get_close_matches(name, defaults, cutoff=0.9)
    near = near_matches(name, [*_names(cache_dir), *_nearby_folders(name), *slips])
    return near or f"On this machine: {', '.join(_names(cache_dir)[:8])}."


def _nearby_folders(name: str) -> list[str]:
    parent = Path(name).parent
    return [(parent / folder).as_posix() for folder in _folders(parent)]


def _folders(parent: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(parent) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or bool(PureWindowsPath(name).drive)


def _no_such_folder(name: str, path: Path) -> NotebookKitError:
    missing = next((p for p in reversed(path.parents) if not p.exists()), None)
    because = f" ({missing} does not exist either)" if missing is not None else ""
    return RepoNotFoundError(
        f"There is no folder {name}{because}.",
        next_step=near_matches(path.name, _folders(path.parent))
        or f"Check the path; the working folder is {Path.cwd()}.",
    )
