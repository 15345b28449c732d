"""A file of JSON lines that is appended to during a run, flushed within a fraction of a second, readable after a kill."""

from __future__ import annotations

import atexit
import json
import math
import os
import threading
import weakref
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from notebook_kit.errors import CheckpointError, warn

DELAY = 0.3  # maximum seconds until a line reaches the operating system
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Journal:
    """Appends dictionaries as JSON lines to a file.

    A background thread encodes and writes the lines within 0.3 seconds, so that callers of `write` wait for neither JSON
    nor the disk.

    Args:
        path: The file; it and its folder are created if missing. An incomplete last line (of a killed process) is removed.
        header: The first line of a new file.

    Raises:
        CheckpointError: if the file cannot be written.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self._pending: list[dict[str, Any]] = []
        self._lock = threading.Lock()  # one writer to the file at a time
        self._wake = threading.Event()
        self._closed = self._failed = False
        self._process = os.getpid()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _mend(path)
            # It stays open for the whole run. A lone surrogate becomes its escape in JSON.
            self._file = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        except OSError as error:
            raise CheckpointError(
                f"The record of the run cannot be written to {path}: {error}.",
                next_step="Choose a writable folder, or keep the record in memory only (run_dir=None).",
            ) from error
        if not path.stat().st_size:
            self.write(header, at_once=True)
        # The thread must not keep a forgotten journal alive.
        self._thread = threading.Thread(target=_write_on, args=(weakref.ref(self), self._wake), daemon=True)
        self._thread.name = "notebook_kit-journal"
        self._thread.start()
        _open_journals.add(self)

    def write(self, line: dict[str, Any], at_once: bool = False, later: bool = False) -> None:
        """Append a line. It reaches the operating system within 0.3 seconds, immediately if `at_once`, or if `later` with the
        next line or `flush`.
        """
        self._pending.append(line)
        if at_once:
            self.flush()
        elif not later and not self._wake.is_set():
            self._wake.set()

    def flush(self) -> None:
        """Write pending lines to the operating system."""
        if os.getpid() != self._process:
            return  # a forked process (a data loader's worker) has a copy; the parent process writes the lines
        with self._lock:
            count = len(self._pending)
            lines = self._pending[:count]
            del self._pending[:count]  # in place: another thread may be appending to the list
            if not lines or self._file.closed:
                return
            try:
                self._file.write("".join(f"{encode(line)}\n" for line in lines))
                self._file.flush()
            except OSError as error:
                if not self._failed:
                    self._failed = True
                    warn(
                        f"The record of the run cannot be written to {self.path}: {error}. The run continues; its"
                        " logs stay in memory."
                    )

    def close(self) -> None:
        """Write pending lines and close the file."""
        if os.getpid() == self._process:
            self.flush()
            with self._lock:  # another thread may be writing
                self._file.close()
        self._closed = True
        self._wake.set()
        _open_journals.discard(self)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()


_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for journal in list(_open_journals):
        journal.close()


def _write_on(reference: weakref.ref[Journal], wake: threading.Event) -> None:
    """The loop of a journal's thread; ends when the journal is closed or deleted."""
    pause = threading.Event()
    while True:
        while not wake.wait(5.0):
            if reference() is None:
                return
        pause.wait(DELAY)
        wake.clear()
        journal = reference()
        if journal is None or journal._closed:
            return
        journal.flush()
        del journal


def _mend(path: Path) -> None:
    """Remove an incomplete last line that a kill left, or add the missing newline to a complete one."""
    if not path.is_file():
        return
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return
        start = max(0, size - 1_000_000)
        file.seek(start)
        tail = file.read()
        if tail.endswith(b"\n"):
            return
        last = tail.rfind(b"\n") + 1
        if decode(tail[last:].decode("utf-8", "replace")) is None:
            file.truncate(start + last)
        else:
            file.write(b"\n")


def encode(line: dict[str, Any]) -> str:
    """A line of JSON. Numbers that JSON does not support become the strings "NaN", "Infinity" and "-Infinity". Outside "log",
    which has only numbers, a list "words" holds their paths, so that real strings with such content stay strings.

    Example:
        >>> encode({"log": {"loss": float("nan")}, "step": 3})
        '{"log": {"loss": "NaN"}, "step": 3}'
        >>> encode({"event": {"name": "NaN", "value": float("inf")}})
        '{"event": {"name": "NaN", "value": "Infinity"}, "words": [["event", "value"]]}'
    """
    numbers = line.get("log")
    if numbers is not None and len(line) == 3 and all(type(value) is float for value in numbers.values()):
        step, time = line.get("step"), line.get("time")
        if type(step) is int and type(time) is float and math.isfinite(sum(numbers.values(), time)):
            return _form(tuple(numbers)) % (*numbers.values(), step, time)
    try:
        return json.dumps(line, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError):
        words: list[list[Any]] = []
        worded = _worded(plain(line), (), words)
        if words := [path for path in words if path[0] != "log"]:
            worded["words"] = words
        return json.dumps(worded, allow_nan=False, ensure_ascii=False)


@lru_cache(64)
def _form(names: tuple[str, ...]) -> str:
    """The line of a step as a format for its numbers, its number and its time: half the time of `json.dumps`, which writes the
    repr of a float too.
    """
    numbers = ", ".join(f"{json.dumps(str(name), ensure_ascii=False).replace('%', '%%')}: %r" for name in names)
    return f'{{"log": {{{numbers}}}, "step": %d, "time": %r}}'


def plain(value: Any) -> Any:
    """`value` as JSON types. Non-finite floats are kept; values of unknown types become strings."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float)):
        return value if type(value) in (int, float) else float(value) if isinstance(value, float) else int(value)
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(part) for part in value]
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def _worded(value: Any, path: tuple[Any, ...], words: list[list[Any]]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        words.append(list(path))
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _worded(part, (*path, name), words) for name, part in value.items()}
    if isinstance(value, list):
        return [_worded(part, (*path, at), words) for at, part in enumerate(value)]
    return value


def decode(text: str) -> dict[str, Any] | None:
    """The dictionary that `encode` wrote; None if the line is invalid.

    Example:
        >>> decode('{"log": {"loss": "Infinity"}, "step": 3}')
        {'log': {'loss': inf}, 'step': 3}
    """
    try:
        line = json.loads(text)
        if not isinstance(line, dict):
            return None
        for *path, last in line.pop("words", ()):
            part = line
            for name in path:
                part = part[name]
            part[last] = from_json(part[last])
    except (ValueError, TypeError, LookupError):
        return None
    if isinstance(line.get("log"), dict):
        line["log"] = {name: from_json(value) for name, value in line["log"].items()}
    return line


def from_json(value: Any) -> Any:
    """The number that a string such as "NaN" represents; other values unchanged."""
    return _WORDS.get(value, value) if isinstance(value, str) else value


def read_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """The lines of a file; None for an invalid line. An incomplete last line is left out.

    Raises:
        CheckpointError: if the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for text in file:
                if text.strip():
                    line = decode(text)
                    if line is not None or text.endswith("\n"):
                        yield line
    except OSError as error:
        raise CheckpointError(
            f"The record of the run in {path} cannot be read: {error}.", next_step="Check that the file is readable."
        ) from error
