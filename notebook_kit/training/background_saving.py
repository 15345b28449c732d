"""Saving in the background: the state of a run is copied between two updates, and a thread writes the copy."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from notebook_kit.training.distributed import undo_mixed_precision

logger = logging.getLogger(__name__)

__all__ = ["Copies", "Save", "Saving", "plain_copy"]


@dataclass
class Save:
    """A save in progress.

    Attributes:
        about: Whatever the caller needs once it is done.
        error: Why it failed; None if it did not, or is not done.
    """

    about: Any
    error: Exception | None = None


class Saving:
    """Writes on a thread, one save at a time. The process does not exit before it is done.

    Attributes:
        copies: Copies of what is written.
    """

    def __init__(self) -> None:
        self.copies = Copies()
        self._thread: threading.Thread | None = None
        self._save: Save | None = None

    def begin(self, write: Callable[[], None], about: Any) -> None:
        """Call `write` on a thread. The last save must have been taken.

        Args:
            write: Writes the save.
            about: Kept as `Save.about`.
        """
        self._save = save = Save(about)

        def work() -> None:
            try:
                write()
            except Exception as error:
                save.error = error

        # Not a daemon: at its exit the process waits for it.
        self._thread = threading.Thread(target=work, name="notebook_kit-saving")
        self._thread.start()

    def take(self, wait: bool = False) -> Save | None:
        """The save that is done, once; None if there is none, or it is still being written.

        Args:
            wait: Wait until it is done.
        """
        if self._thread is None:
            return None
        if wait:
            self._thread.join()
        if self._thread.is_alive():
            return None
        self._thread, save, self._save = None, self._save, None
        return save


class Copies:
    """Copies of a model and of tensors in main memory, which the next copies use again: that is faster than new memory."""

    def __init__(self) -> None:
        self._model: nn.Module | None = None
        self._tensors: Any = None

    def of(self, model: nn.Module, nested: Any) -> tuple[nn.Module, Any] | None:
        """Copies of a model and of nested tensors, valid until the next call; None if the model cannot be copied."""
        try:
            copied = self._model_of(model)
        except Exception:  # a module that holds a file, a lock, or a function of a library
            logger.debug(
                "The model cannot be copied, so its checkpoints are not written in the background", exc_info=True
            )
            return None
        self._tensors = _copied(nested, self._tensors)
        return copied, self._tensors

    def _model_of(self, model: nn.Module) -> nn.Module:
        state = model.state_dict()
        former = self._model.state_dict() if self._model is not None else {}
        if self._model is None or type(self._model) is not type(model) or _layout(former) != _layout(state):
            self._model = plain_copy(model)
            return self._model
        for name, tensor in state.items():
            if isinstance(tensor, torch.Tensor):
                former[name].copy_(tensor)
        for name in ("config", "generation_config"):
            if hasattr(model, name):
                setattr(self._model, name, copy.deepcopy(getattr(model, name)))
        return self._model


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy of a model in main memory without gradients, as it was before accelerate prepared it: for mixed precision it
    replaces `forward`.
    """
    memo: dict[int, Any] = {}
    with torch.no_grad():
        for parameter in model.parameters():
            memo[id(parameter)] = nn.Parameter(_on_cpu(parameter), parameter.requires_grad)
        for buffer in model.buffers():
            memo[id(buffer)] = _on_cpu(buffer)
    copied = copy.deepcopy(model, memo)
    undo_mixed_precision(copied)
    return copied


def _on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True)


def _layout(state: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, getattr(value, "shape", None), getattr(value, "dtype", None)) for name, value in state.items()]


def _copied(value: Any, kept: Any) -> Any:
    if isinstance(value, torch.Tensor):
        if isinstance(kept, torch.Tensor) and (kept.shape, kept.dtype) == (value.shape, value.dtype):
            with suppress(RuntimeError):  # an inference tensor
                return kept.copy_(value.detach())
        return _on_cpu(value)
    if isinstance(value, dict):
        known = kept if isinstance(kept, dict) else {}
        return {name: _copied(part, known.get(name)) for name, part in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        former = kept if isinstance(kept, list | tuple) and len(kept) == len(value) else [None] * len(value)
        return type(value)(_copied(part, old) for part, old in zip(value, former, strict=True))
    return value
