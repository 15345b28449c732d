"""All requests to the Hub: they go through `huggingface_hub`, and its errors become notebook_kit's."""

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
from urllib.parse import urljoin, urlsplit

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
from notebook_kit.progress import lenient_bar

__all__ = ["Client", "DownloadStopped", "Token", "metered", "patiently"]

Token = str | bool | None
Answer = TypeVar("Answer")

# `huggingface_hub` does not catch the errors of its HTTP library; which library it uses depends on its version.
_HTTP_LIBRARIES = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}
_report: ContextVar[Callable[[int], None] | None] = ContextVar("report", default=None)
_TRY_LATER = "Try again in a few minutes (https://status.huggingface.co lists outages), or use a local folder."


class DownloadStopped(HubError):
    """A download was cancelled; the partial file was removed."""


class Client:
    """Requests about one repository on the Hub, or about the list of models. Every failure is a `NotebookKitError`.

    `HF_ENDPOINT` is read when the client is created rather than when `huggingface_hub` is imported, so a notebook may
    set it in any cell.

    Args:
        repo_id: The name of the repository; "" for the list of models.
        token: As in `huggingface_hub`: None for the saved token or `HF_TOKEN`, False for none, or the token itself.
        near_names: Returns a sentence with existing names that resemble a misspelled `repo_id`, or "".
        local_names: Returns a sentence with names that can be used without the Hub, or "".
        local_files_only: Whether every request is an error, as it is while `HF_HUB_OFFLINE` is set.
    """

    def __init__(
        self,
        repo_id: str,
        token: Token = None,
        near_names: Callable[[], str] = str,
        local_names: Callable[[], str] = str,
        local_files_only: bool = False,
    ) -> None:
        if isinstance(token, str) and not (token.isascii() and token.isprintable() and " " not in token):
            # The HTTP library would show the token in its error.
            raise InputError(
                "The token contains a space, a line break or another character that tokens do not have.",
                next_step="Copy it again from the settings page of your Hub account.",
            )
        self.repo_id = repo_id
        self.token = None if token == "" else token
        self._near_names, self._local_names = near_names, local_names
        self._local_files_only = local_files_only
        self.endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None

    @property
    def address(self) -> str:
        """The address of the Hub."""
        from huggingface_hub import constants

        return self.endpoint or constants.ENDPOINT

    @property
    def forbidden(self) -> str:
        """Why the Hub may not be contacted now, as a clause; "" if it may."""
        if self._local_files_only:
            return "local_files_only=True forbids contacting the Hub"
        return "HF_HUB_OFFLINE forbids contacting the Hub" if is_offline() else ""

    @property
    def has_token(self) -> bool:
        """Whether requests carry a token: the one passed, the saved one or `HF_TOKEN`."""
        from huggingface_hub import get_token

        return bool(self.token or (self.token is None and get_token()))

    @property
    def _identification(self) -> dict[str, Any]:
        from notebook_kit import __version__

        return {"token": self.token, "library_name": "notebook_kit", "library_version": __version__}

    def api(self) -> Any:
        """A `huggingface_hub.HfApi` for this endpoint and token."""
        from huggingface_hub import HfApi

        return HfApi(self.endpoint, **self._identification)

    def models(self, query: Mapping[str, Any]) -> Iterator[Any]:
        """The Hub's models as `ModelInfo`s; each page is requested when the one before it is used up.

        Args:
            query: Parameters of the Hub's `/api/models`. `limit` is the size of a page; in `HfApi.list_models` it
                is the number of all results.
        """
        from huggingface_hub import ModelInfo
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

        headers = build_hf_headers(**self._identification)
        url, params = f"{self.address}/api/models", dict(query) or None
        while True:
            response = http_backoff("GET", url, headers=headers, params=params)
            hf_raise_for_status(response)
            for item in response.json():
                yield ModelInfo(**{"siblings": None, **item})
            link = response.links.get("next", {}).get("url")
            if not link:
                return
            url, params = urljoin(url, link), None
            if urlsplit(url)[:2] != urlsplit(self.address)[:2]:
                raise HubError(
                    f"The Hub at {self.address} continues its list of models at {urlsplit(url).netloc}, another server.",
                    next_step="Nothing was requested there, since the request would carry your token. Check HF_ENDPOINT.",
                )

    def probe(self, patience: float) -> None:
        """Check quickly that the Hub answers; `huggingface_hub` itself would retry for half a minute.

        Args:
            patience: Seconds to wait for the answer.

        Raises:
            HubError: The Hub does not answer, the answer is not a Hub's, or `HF_HUB_OFFLINE` is set.
        """

        def ask() -> None:
            from huggingface_hub import get_session
            from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

            headers = build_hf_headers(**self._identification)
            url = f"{self.address}/api/models"
            response = get_session().get(url, params={"limit": 1}, headers=headers, timeout=patience)
            hf_raise_for_status(response)
            if not isinstance(response.json(), list):
                raise TypeError("not a list of models")

        # `timeout` does not limit name resolution, which may hang.
        self.call(lambda: patiently(ask, patience))

    def info(self, revision: str | None = None) -> Any:
        """The Hub's description of the repository with the sizes of its files, as a `ModelInfo`: one request."""
        from huggingface_hub import constants

        options = {"timeout": constants.HF_HUB_ETAG_TIMEOUT, "files_metadata": True}
        return self.call(lambda: self.api().model_info(self.repo_id, revision=revision, **options), revision)

    def listing(self, revision: str) -> tuple[str, dict[str, str]]:
        """The commit that `revision` means now, and its files with their checksums ("" if unknown): one request."""

        def ask() -> tuple[str, dict[str, str]]:
            info = self.info(revision)
            if not re.fullmatch(r"[0-9a-f]{40,64}", info.sha or ""):  # it becomes the name of a folder
                raise TypeError("not a commit")
            files = info.siblings or ()
            return info.sha, {file.rfilename: (file.lfs.sha256 if file.lfs else file.blob_id) or "" for file in files}

        return self.call(ask, revision)

    def download(self, filename: str, commit: str, cache_dir: Path, checksum: str = "", force: bool = False) -> Path:
        """Download one file into the cache; up to three times if the connection is lost or the checksum is wrong."""

        def fetch() -> Path:
            from huggingface_hub.utils import tqdm

            report = _report.get()
            bar = lenient_bar(tqdm) if report is None else _meter(report)
            options = {"cache_dir": cache_dir, "force_download": force, "tqdm_class": bar}
            return Path(self.api().hf_hub_download(self.repo_id, filename, revision=commit, **options))

        for tries_left in (2, 1, 0):
            try:
                path = self.call(fetch, commit, filename)
            except HubUnreachableError as error:
                # Newer versions of `huggingface_hub` resume within one call, older ones when called again.
                if tries_left and _connection_lost(error):
                    continue
                raise
            if _has_checksum(path, checksum):
                return path
            # `huggingface_hub` compares lengths only, so content that a proxy changed gets this far.
            Path(os.path.realpath(path)).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{filename} of {self.repo_id!r} arrived damaged three times: its checksum differs from the Hub's. It was "
            "removed from the cache.",
            next_step="Try again later or over another network; proxies that rewrite downloads cause this.",
        )

    def call(self, ask: Callable[[], Answer], revision: str | None = None, filename: str = "") -> Answer:
        """Run `ask` unless contacting the Hub is forbidden, and raise its errors as `NotebookKitError`s.

        The original error is kept as `__context__`, and not shown: it is long and may contain signed addresses.
        """
        if self.forbidden:
            raise HubUnreachableError(
                f"{self.forbidden}.",
                next_step="Allow access to the Hub, or use a model that is complete on this machine.",
            )
        try:
            return ask()
        except NotebookKitError:
            raise
        except Exception as error:
            raise self._translated(error, revision or "main", filename) from None

    def _translated(self, error: Exception, revision: str, filename: str) -> NotebookKitError:
        from huggingface_hub import errors as theirs

        chain = _chain(error)
        status = next((found for cause in chain if (found := _status(cause))), None)
        repo, page = repr(self.repo_id), f"{self.address}/{self.repo_id}"
        what = f"{filename} of {repo}" if filename else repo if self.repo_id else "the list of models"
        identity = "the token in use is not of such an account" if self.has_token else "no token is in use"

        def is_a(kind: type[BaseException]) -> bool:
            return any(isinstance(cause, kind) for cause in chain)

        # From the specific to the general: `theirs.GatedRepoError` derives from `theirs.RepositoryNotFoundError`.
        if is_a(theirs.GatedRepoError):
            return GatedRepoError(
                f"The repository {repo} is gated: only accounts that accepted its terms get its files, and {identity}.",
                next_step=f"Accept the terms on {page}, then pass token=... or set HF_TOKEN.",
            )
        if is_a(theirs.RevisionNotFoundError):
            return RevisionNotFoundError(
                f"The repository {repo} has no branch, tag or commit {revision!r}.",
                next_step=self._near_revisions(revision) or f"See {page}/commits/main for its commits.",
            )
        if is_a(theirs.DisabledRepoError):
            return HubError(
                f"The Hub has disabled the repository {repo}.",
                next_step=f"See {page} for the reason, or choose another checkpoint.",
            )
        if status == 401 and self.has_token and "credentials" in str(error).lower():
            return HubError(
                f"The Hub at {self.address} does not accept the token in use: it is mistyped, revoked or expired.",
                next_step="Log in again with `hf auth login`, correct HF_TOKEN, or pass token=False to use none.",
            )
        if is_a(theirs.RepositoryNotFoundError) or status == 401:
            return RepoNotFoundError(
                f"There is no folder, embedded checkpoint, cached checkpoint or public repository {repo} "
                f"(on the Hub at {self.address}).",
                next_step=f"{self._near_names()} Check the spelling; for a private repository pass token=....".lstrip(),
            )
        if is_a(theirs.OfflineModeIsEnabled):
            return HubUnreachableError(
                f"{what} is not on this machine, and HF_HUB_OFFLINE was set when huggingface_hub was imported, which "
                "left it in offline mode.",
                next_step="Unset HF_HUB_OFFLINE and restart the kernel, or pass the path of a local folder.",
            )
        if is_a(theirs.HFValidationError):
            return InputError(
                f"{repo} cannot be the name of a repository.",
                next_step="Names look like 'owner/name', with letters, digits, '-', '_' and '.'.",
            )
        if status == 404 and self.repo_id:
            return CheckpointError(
                f"The Hub has no {what} at revision {revision}.",
                next_step=f"See {page}/tree/{revision} for the files of the repository.",
            )
        if status == 403:
            return HubError(
                f"The Hub forbids access to {what} (403), and {identity}.",
                next_step="Pass token= with a token that has access, or ask the repository's owner for it.",
            )
        if status not in (None, 404):
            return HubUnreachableError(
                f"The Hub at {self.address} answered {status} when asked for {what}.",
                next_step="Wait a few minutes; with token=... the limit is higher." if status == 429 else _TRY_LATER,
            )
        is_garbled = isinstance(error, KeyError | TypeError) or type(error).__name__ == "JSONDecodeError"
        if is_garbled or status == 404 or is_a(theirs.FileMetadataError):
            return HubUnreachableError(
                f"The server at {self.address} is not a Hub: its answer about {what} is not what a Hub sends.",
                next_step="Check HF_ENDPOINT, and whether a proxy or a sign-in page answers instead.",
            )
        if _connection_lost(error):
            return HubUnreachableError(
                f"The download of {what} was interrupted several times. Nothing of it was kept.",
                next_step="Run the same line again; if it is interrupted again, try another network.",
            )
        if any(_is_network_fault(cause) for cause in chain):
            return HubUnreachableError(
                f"{what} could not be fetched: the Hub at {self.address} cannot be reached.",
                next_step=f"{self._local_names()} Check the network, or pass the path of a local folder.".lstrip(),
            )
        if isinstance(error, OSError):
            return CheckpointError(
                f"{what} could not be written into the cache: {error.strerror or type(error).__name__}.",
                next_step="Free some space, or choose another place with cache_dir= or HF_HOME.",
            )
        return HubError(f"huggingface_hub failed on {what} with {type(error).__name__}.", next_step=_TRY_LATER)

    def _near_revisions(self, revision: str) -> str:
        try:
            refs = self.api().list_repo_refs(self.repo_id)
        except Exception:  # the error is raised without them
            return ""
        names = [ref.name for ref in [*refs.branches, *refs.tags]]
        return near_matches(revision, names) or (f"It has {', '.join(names[:10])}." if names else "")


@contextmanager
def metered(report: Callable[[int], None]) -> Iterator[None]:
    """Within the block, call `report(count)` for every `count` bytes that this thread downloads.

    `report` may raise `DownloadStopped`, which cancels the download; the partial file is removed.
    """
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def _meter(report: Callable[[int], None]) -> type:
    """A progress bar for `huggingface_hub` that shows nothing and reports the bytes."""
    from tqdm import tqdm

    class Meter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # an argument of huggingface_hub's own bars
            # A transfer in chunks has two bars; the one for the network would count the bytes a second time.
            self._counts = "downloading bytes" not in str(kwargs.get("desc"))
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts:
                report(int(n or 0))
            return None

    return Meter


def patiently(ask: Callable[[], Answer], seconds: float, check: Callable[[], None] = lambda: None) -> Answer:
    """Run `ask` on a thread and wait at most `seconds` for its result.

    Args:
        ask: A function that may hang. After the time limit its thread keeps running, and its result is ignored.
        seconds: The time limit.
        check: Called 20 times per second; may raise to stop waiting earlier.

    Raises:
        TimeoutError: After the time limit.

    Example:
        >>> patiently(lambda: 6 * 7, seconds=10)
        42
    """
    from concurrent.futures import Future, wait  # loads logging, which files on this machine do not need

    future: Future[Answer] = Future()

    def run() -> None:
        try:
            future.set_result(ask())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    deadline = time.monotonic() + seconds
    while not wait([future], 0.05).done:
        check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer within {seconds:g} s")
    return future.result()


def _chain(error: BaseException) -> list[BaseException]:
    """The error, its cause, the cause of that, and so on."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _connection_lost(error: BaseException) -> bool:
    """Whether a connection was lost in the middle of a file."""
    lost = {"RemoteProtocolError", "ReadError", "ReadTimeout", "ChunkedEncodingError", "IncompleteRead"}
    return any(type(cause).__name__ in lost or "onsistency check" in str(cause) for cause in _chain(error))


def _is_network_fault(error: BaseException) -> bool:
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(modules & _HTTP_LIBRARIES)


def _has_checksum(path: Path, checksum: str) -> bool:
    """Whether a downloaded file has the checksum that the Hub lists; true if it lists none.

    For large files the checksum is SHA-256, for small ones git's SHA-1. Reading a new file back takes 1 to 2 seconds
    per GB, far less than its download; files that were already in the cache are not checked.
    """
    import hashlib  # loads OpenSSL, which files on this machine do not need

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
