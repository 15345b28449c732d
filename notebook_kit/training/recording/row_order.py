"""Which rows of the dataset each step was computed from: one file of numbers, to which each epoch adds its order."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

__all__ = ["RowOrder"]

logger = logging.getLogger(__name__)

FILE = "rows.bin"
"""For each epoch three int32 numbers, its number, batches and rows, then the size of each batch, then the rows."""
DELAY = 1.0  # seconds for which short epochs wait to be written together


class RowOrder:
    """The order of the rows in the epochs of a run.

    Within an epoch, each step takes the next `accumulation` batches. Therefore it is enough to know the rows of its batches
    in their order, and where in it the run began or resumed: an event "epoch" of the record says that.

    Args:
        folder: The folder of the run; None: only the latest epochs are kept, in memory.
    """

    KEPT = 3
    """Epochs kept in memory."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._pending: list[int] = []
        self._written_at = 0.0

    def begin_epoch(self, epoch: int, batches: list[list[int]]) -> None:
        """Note the rows of each batch of an epoch.

        Raises:
            OSError: if they cannot be written.
        """
        rows = np.fromiter(chain.from_iterable(batches), np.int32)
        self._kept[epoch] = rows, np.fromiter(map(len, batches), np.int32, len(batches))
        if self.folder is None:
            self._forget()
            return
        self._pending.append(epoch)
        if time.monotonic() - self._written_at >= DELAY:
            self.flush()

    def flush(self) -> None:
        """Write the epochs that have not been written yet.

        Raises:
            OSError: if they cannot be written.
        """
        if self.folder is None or not self._pending:
            return
        numbers: list[Any] = []
        for epoch in self._pending:
            rows, sizes = self._kept[epoch]
            numbers += [np.asarray([epoch, len(sizes), len(rows)], np.int32), sizes, rows]
        self._pending.clear()
        self._forget()
        if not self._written_at:
            self._mend(self.folder / FILE)
        self._written_at = 0.0  # a full disk may leave an incomplete epoch
        with open(self.folder / FILE, "ab") as file:
            file.write(np.concatenate(numbers).tobytes())
        self._written_at = time.monotonic()

    def _forget(self) -> None:
        for epoch in list(self._kept)[: -self.KEPT]:
            del self._kept[epoch]

    @staticmethod
    def _mend(path: Path) -> None:
        """Create the folder, or remove an incomplete epoch that a kill left."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            with open(path, "rb+") as file:
                file.truncate(max((end for *_, end in _epochs(file)), default=0))

    def rows(self, events: list[dict[str, Any]], step: int) -> list[int]:
        """The rows of a step, in the order of its batches; none if they are unknown.

        Args:
            events: Those of the record.
            step: The step, from 1.
        """
        begun = [event for event in events if event["kind"] == "epoch" and event["step"] < step]
        if not begun:
            return []
        last = begun[-1]
        found = self._read(int(last["epoch"]))
        if found is None:
            return []
        rows, sizes = found
        first = int(last["batch"]) + (step - 1 - last["step"]) * int(last["accumulation"])
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        end = min(first + int(last["accumulation"]), len(sizes))
        return rows[bounds[min(first, end)] : bounds[end]].tolist()

    def _read(self, epoch: int) -> tuple[np.ndarray, np.ndarray] | None:
        if epoch in self._kept:
            return self._kept[epoch]
        if self.folder is None:
            return None
        try:
            with open(self.folder / FILE, "rb") as file:
                # The latest, if a resumed run has begun it again.
                found = [(start, sizes, rows) for number, sizes, rows, start, _ in _epochs(file) if number == epoch]
                if not found:
                    return None
                start, sizes, rows = found[-1]
                file.seek(start)
                numbers = np.frombuffer(file.read(4 * (sizes + rows)), np.int32)
                return numbers[sizes:], numbers[:sizes]
        except OSError:
            logger.debug("The order of epoch %s cannot be read", epoch, exc_info=True)
            return None


def _epochs(file: BinaryIO) -> Iterator[tuple[int, int, int, int, int]]:
    """Each complete epoch in a file: its number, the numbers of its batches and of its rows, where they start and where they end."""
    size, at = file.seek(0, 2), 0
    while at + 12 <= size:
        file.seek(at)
        epoch, sizes, rows = np.frombuffer(file.read(12), np.int32).tolist()
        start, at = at + 12, at + 12 + 4 * (sizes + rows)
        if sizes < 0 or rows < 0 or at > size:
            return
        yield epoch, sizes, rows, start, at
