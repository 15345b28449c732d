"""Several processes from the cell of a notebook."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from notebook_kit.errors import ConfigurationError

__all__ = ["notebook_launcher"]


def notebook_launcher(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    num_processes: int | None = None,
    mixed_precision: str = "no",
    use_port: int | str | None = None,
) -> Any:
    """Run a function in several processes of this machine that train together, and return what the first one returns.

    The processes are copies (forks) of the notebook's kernel, so the function may use all that the notebook has defined. A
    Trainer inside it trains with all of them, and shows its dashboard below the cell. On a GPU, nothing in the notebook may have
    used the GPU before. `accelerate.notebook_launcher` works too, as long as the notebook has not created a Trainer.

    Args:
        function: Called in each process.
        args: Its arguments.
        num_processes: By default one for each GPU.
        mixed_precision: "no", "bf16" or "fp16", for Trainers whose arguments do not choose one.
        use_port: The port on which the processes find each other; by default a free one.

    Returns:
        What `function` returned in the first process; it must be possible to pickle it.

    Raises:
        ConfigurationError: if the kernel cannot be copied, or is itself one of several processes.
        torch.distributed.elastic.multiprocessing.errors.ChildFailedError: if a process failed; the others are ended.
        KeyboardInterrupt: if the cell was interrupted; runs that save have then written a checkpoint.

    Example:
        >>> notebook_launcher(lambda x: x + 1, (1,), num_processes=1)
        2
    """
    processes = max(1, torch.cuda.device_count()) if num_processes is None else num_processes
    if not isinstance(processes, int) or processes < 1:
        raise ConfigurationError(
            f"num_processes={num_processes!r}; expected a whole number from 1.", next_step="Pass how many to start."
        )
    if processes == 1:
        return function(*args)
    _check_can_fork()
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    port = int(use_port or _free_port())
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="notebook",
        rdzv_backend="static",
        rdzv_endpoint=f"127.0.0.1:{port}",
        rdzv_configs={"rank": 0},
        max_restarts=0,
        monitor_interval=0.1,
        start_method="fork",
    )
    # One thread each, as torchrun sets it: OpenMP's threads do not survive a fork.
    set_for_all = {"ACCELERATE_MIXED_PRECISION": mixed_precision, "OMP_NUM_THREADS": "1"}
    with _environment(set_for_all), _without_accelerator():
        try:
            return elastic_launch(config, _Worker(function))(*args)[0]
        except SignalException as stopped:
            if stopped.sigval == signal.SIGINT:
                raise KeyboardInterrupt("The processes were stopped.") from None
            raise


class _Worker:
    """The function, as each process calls it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = self.__qualname__ = getattr(function, "__name__", "function")

    def __call__(self, *args: Any) -> Any:
        torch.set_num_threads(1)
        result = self.function(*args)
        return result if os.environ.get("RANK") == "0" else None


def _check_can_fork() -> None:
    if not hasattr(os, "fork"):
        raise ConfigurationError(
            "This operating system cannot copy the process of a notebook.",
            next_step="Write the function to a file and start that with torchrun --nproc_per_node=2 file.py.",
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigurationError(
            "This is already one of several processes.", next_step="Call notebook_launcher in the notebook itself."
        )
    if torch.cuda.is_initialized():
        raise ConfigurationError(
            "This notebook has used the GPU, and a process that has cannot be copied.",
            next_step="Restart the kernel, and create the model and the Trainer inside the function.",
        )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    former = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_accelerator() -> Iterator[None]:
    """Hide the state that accelerate keeps of this process, alone, from its copies; Trainers of the notebook get it back."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    kept = [(kind._shared_state, dict(kind._shared_state)) for kind in (AcceleratorState, PartialState, GradientState)]
    for state, _ in kept:
        state.clear()
    try:
        yield
    finally:
        for state, former in kept:
            state.update(former)
