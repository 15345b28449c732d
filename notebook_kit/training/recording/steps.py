"""The steps of a run, queued in a few microseconds each and logged in batches on a background thread.

Between two steps of a model the processor's caches are full of weights, so each line of Python takes ten times as long as in
a tight loop. Therefore the training thread only queues its results, and another thread processes them five times per second:
for the same reason, waking up costs it as much as dozens of steps.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notebook_kit.training.state import LastStep

PERIOD = 0.2  # seconds
MEMORY_EVERY = 1.0
READ_EVERY = 0.1  # seconds between reads of numbers from a device, each of which waits for it


class Steps:
    """Queues steps and logs the numbers of each a moment later.

    Args:
        log: Called with a step, name -> number, and seconds since 1970, on the thread that processes steps.
        after: Called on the same thread after all steps that were queued.
        processes: The number of processes that train together, each on its own batches.
        tokens: Count tokens.

    Example:
        >>> import torch
        >>> from notebook_kit.training.state import LastStep
        >>> seen = {}
        >>> steps = Steps(lambda step, numbers, moment: seen.update(numbers))
        >>> last = LastStep(torch.tensor(0.25), grad_norm=1.0, learning_rate=1e-3, batches=[{"x": torch.ones(4, 2)}])
        >>> steps.note(1, 0.5, time.perf_counter(), 0.1, last)
        >>> steps.stop()
        >>> seen["loss"], seen["samples_per_second"]
        (0.25, 8.0)
    """

    def __init__(
        self,
        log: Callable[[int, dict[str, float], float], None],
        after: Callable[[], None] = lambda: None,
        processes: int = 1,
        tokens: bool = True,
    ) -> None:
        self._log, self._after, self._processes, self._tokens = log, after, processes, tokens
        self._noted: deque[tuple[Any, ...]] = deque()
        self._late = DeviceNumbers()
        self._lock = threading.Lock()
        self._device: str | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._offset = time.time() - time.perf_counter()
        self._memory_at = 0.0

    def note(self, step: int, seconds: float, moment: float, epoch: float, last: LastStep) -> None:
        """Queue a step.

        Args:
            step: Optimizer updates done.
            seconds: The duration of the step.
            moment: Its end, in seconds of `time.perf_counter`.
            epoch: Epochs done.
            last: Its results. Its batches are kept until it is processed, within 0.2 seconds.
        """
        ready = None
        if self._device is None and last.loss is not None:
            self._device = last.loss.device.type if hasattr(last.loss, "device") else "cpu"
        if self._device == "cuda":
            # The other thread waits for the numbers, while this one keeps the device busy.
            ready = sys.modules["torch"].cuda.Event()
            ready.record()
        elif self._device not in (None, "cpu"):
            last = self._defer(step, moment, last)
        self._noted.append((step, seconds, moment, epoch, last, ready))
        if self._thread is None:
            self._start()

    def add(self, step: int, moment: float, numbers: dict[str, float]) -> None:
        """Queue further numbers of a step that is queued; `moment` as for `note`."""
        self._noted.append((step, moment, numbers))

    def _defer(self, step: int, moment: float, last: LastStep) -> LastStep:
        """Defer numbers that the device is still computing, and occasionally read earlier ones on this thread."""
        tensors = {"loss": last.loss, "grad_norm": last.grad_norm}
        self._late.add(step, moment, {name: tensor for name, tensor in tensors.items() if tensor is not None})
        self._noted.extend(self._late.take())
        return replace(last, loss=None, grad_norm=None)

    def process(self) -> None:
        """Log all queued steps. Waits for a device that is still computing their losses."""
        with self._lock:
            step = None
            while self._noted:
                noted = self._noted.popleft()
                step = noted[0]
                if len(noted) == 3:
                    _, moment, numbers = noted
                else:
                    _, seconds, moment, epoch, last, ready = noted
                    numbers = self._numbers(seconds, epoch, last, ready)
                self._log(step, numbers, moment + self._offset)
            if step is None:
                return
            now = time.perf_counter()
            if now - self._memory_at >= MEMORY_EVERY:
                self._memory_at = now
                self._log(step, memory(), now + self._offset)
            self._after()

    def _numbers(self, seconds: float, epoch: float, last: LastStep, ready: Any) -> dict[str, float]:
        numbers: dict[str, float] = {"epoch": float(epoch), "step_time": seconds}
        try:
            if ready is not None:
                ready.synchronize()
            if last.loss is not None:
                numbers["loss"] = float(last.loss)
            if last.grad_norm is not None:
                numbers["grad_norm"] = float(last.grad_norm)
            if last.learning_rate is not None:
                numbers["learning_rate"] = float(last.learning_rate)
            if seconds > 0 and last.batches:
                samples = sum(map(count_samples, last.batches))
                tokens = count_tokens(last.batches) if self._tokens else None
                if samples:
                    numbers["samples_per_second"] = samples * self._processes / seconds
                if tokens is not None:
                    numbers["tokens_per_second"] = tokens * self._processes / seconds
        except RuntimeError:  # the device has failed; the run itself raises the same error
            pass
        return numbers

    def _start(self) -> None:
        # A weak reference: the thread must not keep an abandoned run alive.
        arguments = (weakref.ref(self), self._end)
        self._thread = threading.Thread(target=_work, args=arguments, name="notebook_kit-steps", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Log the remaining steps and end the thread."""
        self._end.set()
        with suppress(RuntimeError):  # as above
            self._noted.extend(self._late.take(wait=True))
        self.process()


def _work(reference: weakref.ref[Steps], end: threading.Event) -> None:
    while not end.wait(PERIOD):
        steps = reference()
        if steps is None:
            return
        steps.process()
        del steps


def count_samples(batch: Any) -> int:
    """The number of examples in a batch: the length of its first tensor or list; 0 if it has none."""
    parts = batch.values() if isinstance(batch, Mapping) or hasattr(batch, "values") else batch
    for part in parts:
        if shape := getattr(part, "shape", None):
            return int(shape[0])
        if isinstance(part, (list, tuple)):
            return len(part)
    return 0


def count_tokens(batches: Iterable[Any]) -> int | None:
    """The number of tokens in batches, without padding if there is a mask; None for batches without tokens. Waits for the device.

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
    """Numbers that a device is still computing, read together at most ten times per second, since each read waits for it."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, float, list[str], Any]] = []
        self._read_at = 0.0

    def add(self, step: int, moment: float, tensors: Mapping[str, Any]) -> None:
        """Add scalar tensors of `step`, measured at the time `moment`."""
        import torch

        together = torch.stack([torch.as_tensor(tensor).detach().to(torch.float32) for tensor in tensors.values()])
        self._waiting.append((step, moment, list(tensors), together))

    def take(self, wait: bool = False) -> list[tuple[int, float, dict[str, float]]]:
        """The numbers added so far, if it is time to read them: (step, moment, name -> number).

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
    """Observes a model's forward passes in training, for a Trainer that does not pass losses and batches to callbacks."""

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
        """The loss (None if unknown) and the batches of the update since the last call."""
        losses, batches, self._losses, self._batches = self._losses, self._batches, [], []
        if not losses or len(losses) != len(batches):
            return None, batches
        loss = losses[0] if len(losses) == 1 else sum(losses[1:], losses[0])
        return loss if self._summed or len(losses) == 1 else loss / len(losses), batches

    def remove(self) -> None:
        """Stop listening."""
        self._handle.remove()


def memory() -> dict[str, float]:
    """Memory of this process in bytes: `memory` resident, and `gpu_memory` allocated by torch on the current GPU."""
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
    """The peak memory of the process, used if the current amount is unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
