"""Which rows of the dataset each step was computed from: one file of numbers per epoch, written at its beginning."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["RowOrder"]

logger = logging.getLogger(__name__)

FOLDER = "rows"


class RowOrder:
    """The order of the rows in the epochs of a run.

    Within an epoch, each step takes the next `accumulation` batches. Therefore it is enough to know the rows of its batches
    in their order, and where in it the run began or resumed: an event "epoch" of the record says that.

    Args:
        folder: The folder of the run; None: the latest epochs are kept in memory.
    """

    KEPT = 3
    """Epochs kept in memory if there is no folder."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def begin_epoch(self, epoch: int, batches: list[list[int]]) -> None:
        """Note the rows of each batch of an epoch.

        Raises:
            OSError: if they cannot be written.
        """
        rows = np.concatenate([np.asarray(batch, np.int32) for batch in batches])
        sizes = np.asarray([len(batch) for batch in batches], np.int32)
        if self.folder is None:
            self._kept[epoch] = (rows, sizes)
            self._kept = dict(list(self._kept.items())[-self.KEPT :])
            return
        path = self._path(epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            np.save(file, sizes)
            np.save(file, rows)

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

    def _path(self, epoch: int) -> Path:
        return (self.folder or Path()) / FOLDER / f"epoch-{epoch}.npy"

    def _read(self, epoch: int) -> tuple[np.ndarray, np.ndarray] | None:
        if epoch in self._kept:
            return self._kept[epoch]
        if self.folder is None:
            return None
        try:
            with open(self._path(epoch), "rb") as file:
                sizes = np.load(file, allow_pickle=False)
                return np.load(file, allow_pickle=False), sizes
        except (OSError, ValueError, EOFError):
            logger.debug("The order of epoch %s cannot be read", epoch, exc_info=True)
            return None
