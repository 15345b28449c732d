"""The only door to `huggingface_hub`: what is asked of the Hub, and its answers and faults in our words."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

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

__all__ = ["Client", "Token"]

Token = str | bool | None
Answer = TypeVar("Answer")

# `huggingface_hub` lets the errors of its HTTP library through; which library that is depends on its version.
_HTTP_LIBRARIES = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}
_TRY_LATER = "Try again in a few minutes (https://status.huggingface.co tells of outages), or use a local folder."


class Client:
    """One repository on the Hub, asked through `huggingface_hub`, with every fault as an error of ours.

    `HF_ENDPOINT` is read now rather than when `huggingface_hub` was imported, so that a notebook may set it in any cell.

    Args:
        repo_id: The name of the repository.
        token: As `huggingface_hub` takes it: None for the saved one or `HF_TOKEN`, False for none, or the token.
        close: Gives the sentence that names what a misspelt name may have meant, or "".
        here: Gives the sentence that names what can be had without the Hub, or "".
    """

    def __init__(
        self, repo_id: str, token: Token = None, close: Callable[[], str] = str, here: Callable[[], str] = str
    ) -> None:
        if isinstance(token, str) and not (token.isascii() and token.isprintable() and " " not in token):
            # The HTTP library would show the token in its own complaint.
            raise InputError(
                "The token holds a space, a line break or a character that no token has.",
                next_step="Copy it anew from the settings page of your Hub account.",
            )
        self.repo_id = repo_id
        self.token = None if token == "" else token
        self._close, self._here = close, here
        self.endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None

    @property
    def address(self) -> str:
        """The Hub that is asked, for messages."""
        if self.endpoint:
            return self.endpoint
        from huggingface_hub import constants

        return constants.ENDPOINT

    @property
    def has_token(self) -> bool:
        """Whether requests carry a token: a given one, or the saved one or `HF_TOKEN`."""
        from huggingface_hub import get_token

        return bool(self.token or (self.token is None and get_token()))

    def api(self) -> Any:
        """A `huggingface_hub.HfApi` for this endpoint and token."""
        from huggingface_hub import HfApi

        from notebook_kit import __version__

        return HfApi(self.endpoint, token=self.token, library_name="notebook_kit", library_version=__version__)

    def listing(self, revision: str) -> tuple[str, dict[str, str]]:
        """The commit that `revision` means now, and its files with their checksums ("" if unknown): one request."""

        def ask() -> tuple[str, dict[str, str]]:
            from huggingface_hub import constants

            info = self.api().model_info(
                self.repo_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT, files_metadata=True
            )
            if not re.fullmatch(r"[0-9a-f]{40,64}", info.sha or ""):  # it becomes the name of a folder
                raise self._no_hub(repr(self.repo_id))
            files = info.siblings or ()
            return info.sha, {file.rfilename: (file.lfs.sha256 if file.lfs else file.blob_id) or "" for file in files}

        return self.call(ask, revision=revision)

    def download(self, filename: str, commit: str, cache_dir: Path, checksum: str = "", force: bool = False) -> Path:
        """Fetch one file into the cache; up to three times if it breaks off or does not have the checksum."""

        def fetch() -> Path:
            api = self.api()
            return Path(
                api.hf_hub_download(self.repo_id, filename, revision=commit, cache_dir=cache_dir, force_download=force)
            )

        for tries_left in (2, 1, 0):
            try:
                path = self.call(fetch, revision=commit, filename=filename)
            except HubUnreachableError as error:
                # The client's newer versions resume by themselves, its older ones when they are called again.
                if tries_left and _broke_off(error):
                    continue
                raise
            if _has_checksum(path, checksum):
                return path
            # The client compares lengths; something between the Hub and us changed the content.
            Path(os.path.realpath(path)).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{filename} of {self.repo_id!r} arrived damaged: it does not have the checksum that the Hub gives for "
            "it, and no further try changed that. It was removed from the cache.",
            next_step="Try again later or over another network; a proxy that rewrites downloads does this.",
        )

    def call(self, ask: Callable[[], Answer], revision: str | None = None, filename: str = "") -> Answer:
        """Run `ask` and raise what goes wrong in it as one of our errors.

        Their text can hold signed addresses and is written for other readers; it stays as the cause.
        """
        try:
            return ask()
        except NotebookKitError:
            raise
        except Exception as error:
            raise self._explain(error, revision, filename) from error

    def _explain(self, error: Exception, revision: str | None, filename: str) -> NotebookKitError:
        from huggingface_hub import errors as theirs

        chain = _chain(error)
        status = next((found for cause in chain if (found := _status(cause))), None)
        what = f"{filename} of {self.repo_id!r}" if filename else repr(self.repo_id)
        page = f"{self.address}/{self.repo_id}"

        def is_a(kind: type[BaseException]) -> bool:
            return any(isinstance(cause, kind) for cause in chain)

        # From the particular to the general; a gated repository is also one "not found" in their hierarchy.
        if is_a(theirs.GatedRepoError):
            return GatedRepoError(
                f"The repository {self.repo_id!r} is gated: the Hub gives its files only to accounts that accepted its "
                f"terms, {self._identity()}.",
                next_step=f"Accept the terms on {page}, then pass token=... or set HF_TOKEN.",
            )
        if is_a(theirs.RevisionNotFoundError):
            return self._unknown_revision(str(revision))
        if is_a(theirs.DisabledRepoError):
            return HubError(
                f"The Hub has disabled the repository {self.repo_id!r}.",
                next_step=f"See {page} for the reason, or choose another checkpoint.",
            )
        if status == 401 and self.has_token and "credentials" in str(error).lower():
            return HubError(
                f"The Hub at {self.address} does not accept the token in use: it is mistyped, revoked or expired.",
                next_step="Log in anew with `hf auth login`, correct HF_TOKEN, or pass token=False to use none.",
            )
        if is_a(theirs.RepositoryNotFoundError) or status == 401:
            return self._unknown_repo()
        if is_a(theirs.OfflineModeIsEnabled):
            return HubUnreachableError(
                f"{what} is not on this machine, and huggingface_hub is in offline mode: HF_HUB_OFFLINE was set when it "
                "was imported.",
                next_step="Unset HF_HUB_OFFLINE and restart the kernel, or pass the path of a local folder.",
            )
        if is_a(theirs.HFValidationError):
            return InputError(
                f"{self.repo_id!r} cannot be the name of a repository.",
                next_step="Names look like 'owner/name', with letters, digits, '-', '_' and '.'.",
            )
        if status == 404:
            return CheckpointError(
                f"The Hub has no {what} at revision {revision}.",
                next_step=f"See {page}/tree/{revision or 'main'} for the files there are.",
            )
        if status == 403:
            return HubError(
                f"The Hub forbids access to {what} (403), {self._identity()}.",
                next_step="Pass token= with a token that has access, or ask the repository's owner for it.",
            )
        if status == 429:
            return HubUnreachableError(
                f"The Hub at {self.address} answered 429 (too many requests) when asked for {what}.",
                next_step="Wait a few minutes; with token=... the limit is higher.",
            )
        if status is not None:
            return HubUnreachableError(
                f"The Hub at {self.address} answered {status} when asked for {what}.", next_step=_TRY_LATER
            )
        if is_a(theirs.FileMetadataError) or type(error).__name__ == "JSONDecodeError":
            return self._no_hub(what)
        if _broke_off(error):
            return HubUnreachableError(
                f"The download of {what} broke off before its end, several times. Nothing of it was kept.",
                next_step="Run the same line again; if it breaks off again, try another network.",
            )
        if any(_is_network_fault(cause) for cause in chain):
            return HubUnreachableError(
                f"{what} could not be fetched: the Hub at {self.address} cannot be reached "
                f"({type(chain[-1]).__name__}).",
                next_step=f"Check the network, or pass the path of a local folder. {self._here()}".rstrip(),
            )
        if isinstance(error, KeyError | TypeError):
            return self._no_hub(what)
        if isinstance(error, OSError):
            return CheckpointError(
                f"{what} could not be written into the cache: {error.strerror or type(error).__name__}.",
                next_step="Free some space or choose another place with cache_dir= or HF_HOME.",
            )
        return HubError(f"The Hub's client failed on {what} with {type(error).__name__}.", next_step=_TRY_LATER)

    def _identity(self) -> str:
        return f"and {'the token in use is not of such an account' if self.has_token else 'no token is in use'}"

    def _no_hub(self, what: str) -> HubUnreachableError:
        return HubUnreachableError(
            f"What answers at {self.address} is not a Hub: its answer about {what} lacks what a Hub's has.",
            next_step="Check HF_ENDPOINT, and whether a proxy or a sign-in page stands between.",
        )

    def _unknown_repo(self) -> RepoNotFoundError:
        return RepoNotFoundError(
            f"There is no folder, embedded checkpoint, cached checkpoint or public repository {self.repo_id!r} "
            f"(asked at {self.address}).",
            next_step=f"{self._close()} Check the spelling; for a private repository pass token=....".lstrip(),
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


def _chain(error: BaseException) -> list[BaseException]:
    """The error, what caused it, what caused that, and so on."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _broke_off(error: BaseException) -> bool:
    """Whether the connection stood and was lost in the middle of a file."""
    lost = {"RemoteProtocolError", "ReadError", "ReadTimeout", "ChunkedEncodingError", "IncompleteRead"}
    return any(type(cause).__name__ in lost or "onsistency check" in str(cause) for cause in _chain(error))


def _is_network_fault(error: BaseException) -> bool:
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(modules & _HTTP_LIBRARIES)


def _has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file that was just downloaded is the one that the Hub lists; true if the Hub lists no checksum.

    Large files are listed with their SHA-256, small ones with git's SHA-1. Reading a file back that was just written
    takes 1 to 2 seconds per GB, a small part of what its download took; files in the cache are not read again.
    """
    import hashlib  # loads OpenSSL, which nothing else here needs

    if len(checksum) == 64:
        digest = hashlib.sha256()
    elif len(checksum) == 40:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    else:
        return True
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest() == checksum
