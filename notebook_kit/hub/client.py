"""The only door to `huggingface_hub`: what is asked of the Hub, and its answers and faults in our words."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
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
from notebook_kit.hub.cache import is_offline

__all__ = ["Client", "DownloadStopped", "Token", "metered", "patiently"]

Token = str | bool | None
Answer = TypeVar("Answer")

# `huggingface_hub` lets the errors of its HTTP library through; which library that is depends on its version.
_HTTP_LIBRARIES = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}
_report: ContextVar[Callable[[int], None] | None] = ContextVar("report", default=None)
_LIST = "the list of models"
_TRY_LATER = "Try again in a few minutes (https://status.huggingface.co tells of outages), or use a local folder."


class DownloadStopped(HubError):
    """Whoever wanted a download wants it no more; nothing of the file that was on its way is kept."""


class Client:
    """One repository on the Hub, or with no name their list, asked through `huggingface_hub`, with every fault as an error of ours.

    `HF_ENDPOINT` is read now rather than when `huggingface_hub` was imported, so that a notebook may set it in any cell.

    Args:
        repo_id: The name of the repository; "" for the list of all.
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

    def models(self, query: Mapping[str, Any]) -> Iterator[Any]:
        """The Hub's models as `ModelInfo`s; a page is asked for when the one before it is used up.

        Args:
            query: Parameters of the Hub's `/api/models`. `limit` is the size of a page: `HfApi.list_models` would take it
                for the number of all results, so its two halves are put together here.
        """
        from huggingface_hub import ModelInfo
        from huggingface_hub.utils import build_hf_headers, paginate

        from notebook_kit import __version__

        headers = build_hf_headers(token=self.token, library_name="notebook_kit", library_version=__version__)
        for item in paginate(f"{self.address}/api/models", params=dict(query), headers=headers):
            yield ModelInfo(**{"siblings": None, **item})

    def probe(self, patience: float) -> None:
        """Find out whether the Hub answers at all; the client itself would try for half a minute.

        Args:
            patience: Seconds to wait for the answer.

        Raises:
            HubError: It does not, or not as a Hub, or `HF_HUB_OFFLINE` forbids asking.
        """
        if is_offline():
            raise HubUnreachableError("HF_HUB_OFFLINE forbids asking the Hub.", next_step="Unset it to use the Hub.")

        def ask() -> None:
            from huggingface_hub import get_session
            from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

            response = get_session().get(
                f"{self.address}/api/models",
                params={"limit": 1},
                headers=build_hf_headers(token=self.token, library_name="notebook_kit"),
                timeout=patience,
            )
            hf_raise_for_status(response)
            if not isinstance(response.json(), list):
                raise TypeError("not a list of models")

        # Looking up a name may hang for longer than any timeout that can be set.
        self.call(lambda: patiently(ask, patience))

    def info(self, revision: str | None = None) -> Any:
        """All that the Hub says of a repository, the sizes of its files included: one request."""
        from huggingface_hub import constants

        return self.call(
            lambda: self.api().model_info(
                self.repo_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT, files_metadata=True
            ),
            revision=revision,
        )

    def listing(self, revision: str) -> tuple[str, dict[str, str]]:
        """The commit that `revision` means now, and its files with their checksums ("" if unknown): one request."""

        def ask() -> tuple[str, dict[str, str]]:
            info = self.info(revision)
            if not re.fullmatch(r"[0-9a-f]{40,64}", info.sha or ""):  # it becomes the name of a folder
                raise self._no_hub(repr(self.repo_id))
            files = info.siblings or ()
            return info.sha, {file.rfilename: (file.lfs.sha256 if file.lfs else file.blob_id) or "" for file in files}

        return self.call(ask, revision=revision)

    def download(self, filename: str, commit: str, cache_dir: Path, checksum: str = "", force: bool = False) -> Path:
        """Fetch one file into the cache; up to three times if it breaks off or does not have the checksum."""

        def fetch() -> Path:
            report = _report.get()
            bar = {"tqdm_class": _meter(report)} if report is not None else {}
            return Path(
                self.api().hf_hub_download(
                    self.repo_id, filename, revision=commit, cache_dir=cache_dir, force_download=force, **bar
                )
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
        what = f"{filename} of {self.repo_id!r}" if filename else repr(self.repo_id) if self.repo_id else _LIST
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
        if status == 404 and not self.repo_id:
            return self._no_hub(what)
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


@contextmanager
def metered(report: Callable[[int], None]) -> Iterator[None]:
    """Within it, `report(count)` is told of every `count` bytes that a download of this thread brings.

    It may raise `DownloadStopped`, which ends the download; the file that was on its way is removed.
    """
    before = _report.set(report)
    try:
        yield
    finally:
        _report.reset(before)


def _meter(report: Callable[[int], None]) -> type:
    """A progress bar for `huggingface_hub` that shows nothing and reports."""
    from tqdm import tqdm

    class Meter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # of huggingface_hub's own bars
            # Of the two bars of a transfer in chunks, that of the wire would count the bytes a second time.
            self._counts = "downloading bytes" not in str(kwargs.get("desc"))
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts:
                report(int(n or 0))
            return None

    return Meter


def patiently(ask: Callable[[], Answer], seconds: float, check: Callable[[], None] = lambda: None) -> Answer:
    """Run `ask` on a thread, and wait for it no longer than `seconds`.

    Args:
        ask: What may hang. It is left alone when it is given up.
        seconds: How long to wait.
        check: Called twenty times a second; may raise to give up earlier.

    Raises:
        TimeoutError: It took longer.

    Example:
        >>> patiently(lambda: 6 * 7, seconds=10)
        42
    """
    results: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(ask())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(0.05)
        check()
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return results[0]


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
