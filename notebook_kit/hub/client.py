"""The only door to `huggingface_hub`: what is asked of the Hub, and its answers and faults in our words."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from notebook_kit.errors import (
    CheckpointError,
    GatedRepoError,
    HubError,
    HubUnreachableError,
    InputError,
    NotebookKitError,
    RepoNotFoundError,
    RevisionNotFoundError,
    near_matches,
)

__all__ = ["Client"]

Token = str | bool | None
Answer = TypeVar("Answer")

# `huggingface_hub` lets the errors of its HTTP library through; which library that is depends on its version.
_HTTP_LIBRARIES = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}


class Client:
    """One repository on the Hub, asked through `huggingface_hub`, with every fault as an error of ours.

    `HF_ENDPOINT` is read now rather than when `huggingface_hub` was imported, so that a notebook may set it
    in any cell.

    Args:
        repo_id: The name of the repository.
        token: As `huggingface_hub` takes it: None for the saved one or `HF_TOKEN`, False for none, or the token.
        known: The names that a misspelt one may have meant.
    """

    def __init__(self, repo_id: str, token: Token = None, known: Callable[[], Iterable[str]] = list) -> None:
        if isinstance(token, str) and not (token.isascii() and token.isprintable() and " " not in token):
            # The HTTP library would show the token in its own complaint.
            raise InputError(
                "The token holds a space, a line break or a character that no token has.",
                next_step="Copy it anew from the settings page of your Hub account.",
            )
        self.repo_id = repo_id
        self.token = token or None if not isinstance(token, bool) else token
        self.known = known
        self.endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None

    @property
    def address(self) -> str:
        """The Hub that is asked, for messages."""
        if self.endpoint:
            return self.endpoint
        from huggingface_hub import constants

        return constants.ENDPOINT

    def api(self) -> Any:
        """A `huggingface_hub.HfApi` for this endpoint and token."""
        from huggingface_hub import HfApi

        from notebook_kit import __version__

        return HfApi(self.endpoint, token=self.token, library_name="notebook_kit", library_version=__version__)

    def listing(self, revision: str) -> tuple[str, frozenset[str]]:
        """The commit that `revision` means now, and the names of its files: one request."""

        def ask() -> tuple[str, frozenset[str]]:
            from huggingface_hub import constants

            info = self.api().model_info(self.repo_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            if not re.fullmatch(r"[0-9a-f]{40,64}", info.sha or ""):  # it becomes the name of a folder
                raise self._no_hub(repr(self.repo_id))
            return info.sha, frozenset(sibling.rfilename for sibling in info.siblings or ())

        return self.call(ask, revision=revision)

    def download(self, filename: str, commit: str, cache_dir: Path, force: bool = False) -> Path:
        """Fetch one file into the cache and compare it with the checksum by which the Hub named it."""

        def fetch() -> Path:
            api = self.api()
            return Path(
                api.hf_hub_download(self.repo_id, filename, revision=commit, cache_dir=cache_dir, force_download=force)
            )

        for _ in range(2):
            path = self.call(fetch, revision=commit, filename=filename)
            if _agrees_with_checksum(path):
                return path
            # Something between the Hub and us damaged it without changing its length.
            Path(os.path.realpath(path)).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{filename} of {self.repo_id!r} arrived damaged twice: it does not have the checksum that the Hub gives "
            "for it. It was removed from the cache.",
            next_step="Try again later or over another network; a proxy that rewrites downloads does this.",
        )

    def call(self, ask: Callable[[], Answer], revision: str | None = None, filename: str = "") -> Answer:
        """Run `ask` and raise what goes wrong in it as one of our errors."""
        try:
            return ask()
        except NotebookKitError:
            raise
        except Exception as error:
            self._explain(error, revision, filename)

    def _explain(self, error: Exception, revision: str | None, filename: str) -> NoReturn:
        from huggingface_hub import errors as theirs

        chain: list[BaseException] = [error]
        while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
            chain.append(cause)
        what = f"{filename} of {self.repo_id!r}" if filename else repr(self.repo_id)
        status = next((s for e in chain if (s := _status(e))), None)
        # Their text can hold addresses with signatures in them; ours says what is needed, theirs stays as the cause.
        for cause in chain:
            match cause:
                case theirs.GatedRepoError():
                    raise GatedRepoError(
                        f"The repository {self.repo_id!r} is gated: the Hub gives its files only to accounts that "
                        f"accepted its terms, {self.identity()}.",
                        next_step=f"Accept the terms on {self.address}/{self.repo_id}, then pass token=... "
                        "or set HF_TOKEN.",
                    ) from error
                case theirs.RevisionNotFoundError():
                    raise self._unknown_revision(str(revision)) from error
                case theirs.DisabledRepoError():
                    raise HubError(
                        f"The Hub has disabled the repository {self.repo_id!r}.",
                        next_step=f"See {self.address}/{self.repo_id} for the reason, or choose another checkpoint.",
                    ) from error
                case theirs.RepositoryNotFoundError():
                    raise self._unknown_repo() from error
                case theirs.EntryNotFoundError() if status == 404:
                    raise CheckpointError(
                        f"The Hub has no {what} at revision {revision}.",
                        next_step=f"See {self.address}/{self.repo_id}/tree/{revision} for the files there are.",
                    ) from error
                case theirs.OfflineModeIsEnabled():
                    raise HubUnreachableError(
                        f"{what} is not on this machine, and huggingface_hub is in offline mode (HF_HUB_OFFLINE was "
                        "set when it was imported).",
                        next_step="Unset HF_HUB_OFFLINE and restart the kernel, or pass the path of a local folder.",
                    ) from error
                case theirs.HFValidationError():
                    raise InputError(
                        f"{self.repo_id!r} cannot be the name of a repository.",
                        next_step="Names look like 'owner/name', with letters, digits, '-', '_' and '.'.",
                    ) from error
        if status == 401 and "credentials" in str(error).lower():
            raise HubError(
                f"The Hub at {self.address} does not accept the token in use: it is mistyped, revoked or expired.",
                next_step="Log in anew with `hf auth login`, correct HF_TOKEN, or pass token=False to use none.",
            ) from error
        if status == 401:
            raise self._unknown_repo() from error
        if status == 403:
            raise HubError(
                f"The Hub forbids access to {what} (403), {self.identity()}.",
                next_step="Pass token= with a token that has access, or ask the repository's owner for it.",
            ) from error
        if status == 429:
            raise HubUnreachableError(
                f"The Hub at {self.address} answered 429 (too many requests) when asked for {what}.",
                next_step="Wait a few minutes; with token=... the limit is higher.",
            ) from error
        if status is not None:
            raise HubUnreachableError(
                f"The Hub at {self.address} answered {status} when asked for {what}.",
                next_step=self._try_later,
            ) from error
        if isinstance(error, OSError) and "onsistency check" in str(error):
            raise HubUnreachableError(
                f"The download of {what} broke off before its end, several times. Nothing of it was kept.",
                next_step="Run the same line again; if it breaks off again, try another network.",
            ) from error
        if type(error).__name__ == "JSONDecodeError":
            raise self._no_hub(what) from error
        if any(_is_network_fault(cause) for cause in chain):
            raise HubUnreachableError(
                f"{what} could not be fetched: the Hub at {self.address} cannot be reached "
                f"({type(chain[-1]).__name__}).",
                next_step="Check the network, or pass the path of a local folder. " + self._on_this_machine(),
            ) from error
        if isinstance(error, theirs.FileMetadataError | theirs.LocalEntryNotFoundError | KeyError | TypeError):
            raise self._no_hub(what) from error
        if isinstance(error, OSError):
            raise CheckpointError(
                f"{what} could not be written into the cache: {error.strerror or type(error).__name__}.",
                next_step="Free some space or choose another place with cache_dir= or HF_HOME.",
            ) from error
        raise HubError(
            f"{what} could not be fetched from the Hub at {self.address}: {type(error).__name__}.",
            next_step=self._try_later,
        ) from error

    _try_later = "Try again in a few minutes (https://status.huggingface.co tells of outages), or use a local folder."

    def identity(self) -> str:
        from huggingface_hub import get_token

        has_token = self.token or (self.token is None and get_token())
        return "and the token in use is not of such an account" if has_token else "and no token is in use"

    def _on_this_machine(self) -> str:
        names = list(self.known())
        return near_matches(self.repo_id, names) or (f"On this machine: {', '.join(names[:8])}." if names else "")

    def _no_hub(self, what: str) -> HubUnreachableError:
        return HubUnreachableError(
            f"What answers at {self.address} is not a Hub: its answer about {what} lacks what a Hub's has.",
            next_step="Check HF_ENDPOINT, and whether a proxy or a sign-in page stands between.",
        )

    def _unknown_repo(self) -> RepoNotFoundError:
        close = near_matches(self.repo_id, self.known())
        return RepoNotFoundError(
            f"There is no folder, embedded checkpoint, cached checkpoint or public repository {self.repo_id!r} "
            f"(asked at {self.address}).",
            next_step=close + (" " if close else "") + "Check the spelling; for a private repository pass token=....",
        )

    def _unknown_revision(self, revision: str) -> RevisionNotFoundError:
        try:
            refs = self.api().list_repo_refs(self.repo_id)
            names = [ref.name for ref in [*refs.branches, *refs.tags]]
        except Exception:  # only the message is poorer without them
            names = []
        close = near_matches(revision, names) or (f"It has {', '.join(names[:10])}." if names else "")
        return RevisionNotFoundError(
            f"The repository {self.repo_id!r} has no branch, tag or commit {revision!r}.",
            next_step=close or f"See {self.address}/{self.repo_id}/commits/main for its commits.",
        )


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _is_network_fault(error: BaseException) -> bool:
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(modules & _HTTP_LIBRARIES)


def _agrees_with_checksum(path: Path) -> bool:
    """Whether a file that was just downloaded has the checksum that names its blob in the cache.

    The Hub names a large file by its SHA-256 and a small one by git's SHA-1. Reading a file that was just written
    costs 1 to 2 seconds per GB. Where the cache has no links (some Windows machines) there is no name to compare with.
    """
    blob = os.path.realpath(path)
    expected = os.path.basename(blob)
    if not path.is_symlink() or not set(expected) <= set("0123456789abcdef") or len(expected) not in (40, 64):
        return True
    digest = hashlib.sha256() if len(expected) == 64 else hashlib.sha1(b"blob %d\0" % os.path.getsize(blob))
    with open(blob, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest() == expected
