"""Download a picture or a recording by its address, within limits of size and time."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urljoin, urlsplit

from notebook_kit import __version__
from notebook_kit.errors import InputError

__all__ = ["SIZE_LIMIT", "TIMEOUT", "fetch"]

SIZE_LIMIT = 64 * 1024 * 1024
"""Bytes of the largest file that is downloaded."""
TIMEOUT = 30.0
"""Seconds that a download may take."""
_SCHEMES = ("http", "https")
_REDIRECTS = 5
_CHUNK = 64 * 1024


def fetch(url: str, timeout: float | None = None, limit: int = SIZE_LIMIT) -> bytes:
    """Download a file over HTTP or HTTPS.

    Args:
        url: Its address.
        timeout: Seconds that the whole download may take; `TIMEOUT` if None.
        limit: Bytes of the largest file that is accepted.

    Raises:
        InputError: If the address is not one of HTTP or HTTPS or leads to one that is not; if the server cannot be reached,
            answers with an error, or takes too long; if the file is too large.

    Example:
        >>> fetch("ftp://example.org/cat.jpg")
        Traceback (most recent call last):
        notebook_kit.errors.InputError: ftp://example.org/cat.jpg was not downloaded: its address begins with 'ftp:'.
        → Pass an address that begins with https:// or http://, or download the file and pass its path.
    """
    _check_scheme(url, url)
    timeout = TIMEOUT if timeout is None else timeout
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise InputError(f"timeout is {timeout!r}; expected seconds above 0.", next_step="Pass for example timeout=30.")
    deadline = time.monotonic() + timeout
    request = urllib.request.Request(url, headers={"User-Agent": f"notebook_kit/{__version__}"})
    try:
        with _opener(url).open(request, timeout=timeout) as response:
            return _read(response, url, deadline, timeout, limit)
    except InputError:
        raise
    except urllib.error.HTTPError as error:
        raise _failed(url, f"the server answered {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise _too_slow(url, timeout) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _too_slow(url, timeout) from error
        raise _failed(url, str(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(url, str(error) or type(error).__name__) from error


def _read(response: Any, url: str, deadline: float, timeout: float, limit: int) -> bytes:
    """The body. A server that sends little by little never exceeds the socket's own timeout, so the clock is read too."""
    length = response.headers.get("Content-Length") or ""
    if length.isdecimal() and int(length) > limit:
        raise _too_large(url, limit)
    chunks, size = [], 0
    while chunk := response.read1(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise _too_large(url, limit)
        if time.monotonic() > deadline:
            raise _too_slow(url, timeout)
    if length.isdecimal() and size < int(length):
        raise _failed(url, f"the connection broke after {size:,} of {int(length):,} bytes")
    return b"".join(chunks)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, to HTTP and HTTPS only."""

    max_redirections = _REDIRECTS

    def __init__(self, url: str) -> None:
        self.url = url

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        if target := headers.get("location"):
            _check_scheme(urljoin(req.full_url, target), self.url)
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener(url: str) -> urllib.request.OpenerDirector:
    """An opener that knows HTTP and HTTPS alone; that of `build_opener` also reads local files."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(url),
    ):
        opener.add_handler(handler)
    return opener


def _check_scheme(target: str, url: str) -> None:
    try:
        scheme = urlsplit(target).scheme.lower()
    except ValueError as error:
        raise _failed(url, str(error)) from error
    if scheme not in _SCHEMES:
        where = "its address begins" if target == url else f"it leads to {target}, which begins"
        raise InputError(
            f"{url} was not downloaded: {where} with {scheme + ':'!r}.",
            next_step="Pass an address that begins with https:// or http://, or download the file and pass its path.",
        )


def _failed(url: str, why: str) -> InputError:
    return InputError(
        f"{url} was not downloaded: {why.rstrip('.')}.",
        next_step="Check the address and the connection, or download the file and pass its path.",
    )


def _too_slow(url: str, timeout: float) -> InputError:
    return InputError(
        f"{url} was not downloaded: it took longer than {timeout:g} seconds.",
        next_step="Pass a larger timeout, or download the file and pass its path.",
    )


def _too_large(url: str, limit: int) -> InputError:
    return InputError(
        f"{url} was not downloaded: it is larger than {limit / 2**20:,.0f} MiB.",
        next_step="Download the file and pass its path.",
    )
