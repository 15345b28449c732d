"""The steps of a run, noted in a few microseconds each and worked out by the dozen on a thread of their own.

Between two steps of a model the processor's caches are full of weights, so that each line of Python costs ten times what it
costs in a loop. So the training thread only puts aside what it has, and another works it out ten times a second.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from notebook_kit.training.measuring import DeviceNumbers, count_samples, count_tokens, memory

PERIOD = 0.1  # seconds
MEMORY_EVERY = 1.0


class Steps:
    """Notes steps and logs, a moment later, what can be said of each.

    Args:
        log: Called with a step, name -> number, and seconds since 1970, on the thread that works steps out.
        processes: How many train together, each with batches of its own.
        tokens: Count tokens.

    Example:
        >>> import torch
        >>> seen = {}
        >>> steps = Steps(lambda step, numbers, moment: seen.update(numbers))
        >>> steps.note(1, 0.5, time.perf_counter(), 0.1, torch.tensor(0.25), 1.0, 1e-3, [{"x": torch.ones(4, 2)}])
        >>> steps.stop()
        >>> seen["loss"], seen["samples_per_second"]
        (0.25, 8.0)
    """

    def __init__(
        self, log: Callable[[int, dict[str, float], float], None], processes: int = 1, tokens: bool = True
    ) -> None:
        self._log, self._processes, self._tokens = log, processes, tokens
        self._noted: deque[tuple[Any, ...]] = deque()
        self._late = DeviceNumbers()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._offset = time.time() - time.perf_counter()
        self._memory_at = 0.0

    def note(
        self,
        step: int,
        seconds: float,
        moment: float,
        epoch: float,
        loss: Any,
        grad_norm: Any,
        learning_rate: float | None,
        batches: Iterable[Any],
    ) -> None:
        """Put a step aside.

        Args:
            step: Optimizer updates done.
            seconds: How long it took.
            moment: When it ended, as `time.perf_counter` says it.
            epoch: Epochs done.
            loss, grad_norm: Floats, or tensors without dimensions; None: not known.
            learning_rate: What it was made with; None: not known.
            batches: Its batches. Of each only the mask is held until the step is worked out.
        """
        parts = []
        for batch in batches:
            mask = batch.get("attention_mask") if hasattr(batch, "get") else None
            if mask is not None and mask.ndim == 2 and mask.device.type == "cpu":
                parts.append(mask)
            else:
                parts.append((count_samples(batch), count_tokens([batch]) if self._tokens else None))
        ready = None
        device = getattr(loss, "device", None)
        if device is not None and device.type == "cuda":
            # The other thread waits for the numbers; this one goes on giving the device work.
            ready = sys.modules["torch"].cuda.Event()
            ready.record()
        elif device is not None and device.type != "cpu":
            self._late.add(step, moment, {"loss": loss} | ({"grad_norm": grad_norm} if grad_norm is not None else {}))
            loss = grad_norm = None
            self._noted.extend(self._late.take())
        self._noted.append((step, seconds, moment, epoch, loss, grad_norm, learning_rate, parts, ready))
        if self._thread is None:
            self._start()

    def work_out(self) -> None:
        """Log all steps noted until now. Waits for a device that is still working on their losses."""
        with self._lock:
            step = None
            while self._noted:
                step, *rest = self._noted.popleft()
                if len(rest) == 2:
                    moment, numbers = rest
                else:
                    moment = rest[1]
                    numbers = self._numbers(rest[0], *rest[2:])
                self._log(step, numbers, moment + self._offset)
            now = time.perf_counter()
            if step is not None and now - self._memory_at >= MEMORY_EVERY:
                self._memory_at = now
                self._log(step, memory(), now + self._offset)

    def _numbers(
        self,
        seconds: float,
        epoch: float,
        loss: Any,
        grad_norm: Any,
        learning_rate: float | None,
        parts: list[Any],
        ready: Any,
    ) -> dict[str, float]:
        numbers: dict[str, float] = {"epoch": float(epoch), "step_time": seconds}
        samples = 0
        tokens: int | None = 0
        try:
            if ready is not None:
                ready.synchronize()
            for name, value in (("loss", loss), ("grad_norm", grad_norm), ("learning_rate", learning_rate)):
                if value is not None:
                    numbers[name] = float(value)
            for part in parts:
                own = part if isinstance(part, tuple) else (len(part), part.sum() if self._tokens else None)
                samples += own[0]
                tokens = None if tokens is None or own[1] is None else tokens + int(own[1])
        except RuntimeError:  # a device that has failed: the run itself meets the same error and tells it
            return numbers
        if samples and seconds > 0:
            numbers["samples_per_second"] = samples * self._processes / seconds
        if tokens is not None and parts and seconds > 0:
            numbers["tokens_per_second"] = tokens * self._processes / seconds
        return numbers

    def _start(self) -> None:
        # Weak: the thread must not keep a forgotten run alive.
        arguments = (weakref.ref(self), self._end)
        self._thread = threading.Thread(target=_work, args=arguments, name="notebook_kit-steps", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Log what is left, and end the thread."""
        self._end.set()
        with suppress(RuntimeError):  # as above
            self._noted.extend(self._late.take(wait=True))
        self.work_out()


def _work(reference: weakref.ref[Steps], end: threading.Event) -> None:
    while not end.wait(PERIOD):
        steps = reference()
        if steps is None:
            return
        steps.work_out()
        del steps
