"""What can be measured of a step without slowing it down: samples, tokens, losses on a device, memory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

READ_EVERY = 0.1  # seconds between two reads of numbers from a device that has to be waited for


def count_samples(batch: Any) -> int:
    """Examples of a batch: the length of its first tensor."""
    parts = batch.values() if isinstance(batch, Mapping) or hasattr(batch, "values") else batch
    for part in parts:
        shape = getattr(part, "shape", None)
        if shape:
            return int(shape[0])
    return 0


def count_tokens(batches: Iterable[Any]) -> int | None:
    """Tokens of some batches, without padding where there is a mask; None for batches of something else. Waits for a device.

    Example:
        >>> import torch
        >>> count_tokens([{"input_ids": torch.ones(2, 3), "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}])
        5
    """
    total = None
    for batch in batches:
        get = getattr(batch, "get", None)
        if get is None:
            return None
        mask, ids = get("attention_mask"), get("input_ids")
        if getattr(mask, "ndim", 0) == 2:
            count = int(mask.sum())
        elif hasattr(ids, "numel"):
            count = ids.numel()
        else:
            return None
        total = count if total is None else total + count
    return total


class DeviceNumbers:
    """Numbers that a device is still working on, read in one go ten times a second at most: each time it is waited for."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, float, list[str], Any]] = []
        self._read_at = 0.0

    def add(self, step: int, moment: float, tensors: Mapping[str, Any]) -> None:
        """Take tensors without dimensions, measured at `step` and the time `moment`."""
        import torch

        together = torch.stack([torch.as_tensor(tensor).detach().to(torch.float32) for tensor in tensors.values()])
        self._waiting.append((step, moment, list(tensors), together))

    def take(self, wait: bool = False) -> list[tuple[int, float, dict[str, float]]]:
        """Those that were taken in, if it is time to read them: (step, moment, name -> number).

        Args:
            wait: Read them now.
        """
        now = time.perf_counter()
        if not self._waiting or not (wait or now - self._read_at >= READ_EVERY):
            return []
        import torch

        self._read_at = now
        entries, self._waiting = self._waiting, []
        numbers = torch.cat([together for _, _, _, together in entries]).tolist()
        ready = []
        for step, moment, names, together in entries:
            own, numbers = numbers[: len(together)], numbers[len(together) :]
            ready.append((step, moment, dict(zip(names, own, strict=True))))
        return ready


class ModelHook:
    """Listens at a model's forward pass in training, for a Trainer that does not tell its callbacks losses and batches."""

    def __init__(self, model: Any) -> None:
        self._losses: list[Any] = []
        self._batches: list[Mapping[str, Any]] = []
        self._summed = False
        self._handle = model.register_forward_hook(self._see, with_kwargs=True)

    def _see(self, model: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if not model.training:
            return
        loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        if loss is not None and getattr(loss, "ndim", None) == 0:
            self._losses.append(loss.detach())
        self._summed = kwargs.get("num_items_in_batch") is not None
        self._batches.append(kwargs if kwargs else {"input_ids": args[0] if args else None})

    def take(self) -> tuple[Any, list[Mapping[str, Any]]]:
        """The loss (None if it is not known) and the batches of the update since the last call."""
        losses, batches, self._losses, self._batches = self._losses, self._batches, [], []
        if not losses or len(losses) != len(batches):
            return None, batches
        loss = losses[0] if len(losses) == 1 else sum(losses[1:], losses[0])
        return loss if self._summed or len(losses) == 1 else loss / len(losses), batches

    def remove(self) -> None:
        """Stop listening."""
        self._handle.remove()


def memory() -> dict[str, float]:
    """Bytes of memory that this process has: `memory` resident, and `gpu_memory` allocated by torch on the current GPU."""
    found: dict[str, float] = {}
    resident = _resident()
    if resident is not None:
        found["memory"] = float(resident)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        found["gpu_memory"] = float(torch.cuda.memory_allocated())
    return found


def _resident() -> int | None:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    try:
        import psutil
    except ImportError:
        return _peak()
    return int(psutil.Process().memory_info().rss)


def _peak() -> int | None:
    """The most that the process has had, where the present amount cannot be had."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
