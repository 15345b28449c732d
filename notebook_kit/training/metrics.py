"""What a run returns, and how the outputs of many batches become one array."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

__all__ = ["EvalLoopOutput", "EvalPrediction", "PredictionOutput", "TrainOutput", "speed_metrics"]


class TrainOutput(NamedTuple):
    """What `Trainer.train` returns: updates done, mean loss of the updates of this call, metrics."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]


class PredictionOutput(NamedTuple):
    """What `Trainer.predict` returns: arrays in the dataset's order, and metrics if there were labels."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float]


class EvalLoopOutput(NamedTuple):
    """What `Trainer.evaluation_loop` returns."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float]
    num_samples: int


@dataclass
class EvalPrediction:
    """What `compute_metrics` is given. It can be unpacked: `predictions, label_ids = prediction`.

    Attributes:
        predictions: The model's outputs without the loss, float array of shape (examples, ...); a tuple of them if the
            model gives several. Rows of unequal length are padded with -100.
        label_ids: The labels, array of shape (examples, ...), padded with -100.
        inputs: The main inputs, if `include_for_metrics` has "inputs".
        losses: The loss of each example's batch, float array of shape (examples,), if it has "loss".

    Example:
        >>> import numpy as np
        >>> logits, labels = EvalPrediction(np.zeros((2, 3)), np.array([0, 1]))
        >>> labels.tolist()
        [0, 1]
    """

    predictions: Any
    label_ids: Any
    inputs: Any = None
    losses: Any = None

    def _elements(self) -> tuple[Any, ...]:
        return tuple(
            item
            for position, item in enumerate((self.predictions, self.label_ids, self.inputs, self.losses))
            if position < 2 or item is not None
        )

    def __iter__(self) -> Iterator[Any]:
        return iter(self._elements())

    def __getitem__(self, index: int) -> Any:
        return self._elements()[index]


def speed_metrics(split: str, start_time: float, num_samples: float = 0, num_steps: float = 0) -> dict[str, float]:
    """Seconds since `start_time` (of `time.time`) and what was done a second.

    Example:
        >>> import time
        >>> sorted(speed_metrics("eval", time.time() - 1, num_samples=10))
        ['eval_runtime', 'eval_samples_per_second']
    """
    runtime = max(time.time() - start_time, 1e-9)
    result = {f"{split}_runtime": round(runtime, 4)}
    if num_samples:
        result[f"{split}_samples_per_second"] = round(num_samples / runtime, 3)
    if num_steps:
        result[f"{split}_steps_per_second"] = round(num_steps / runtime, 3)
    return result


def map_tensors(function: Callable[[torch.Tensor], Any], nested: Any) -> Any:
    """`nested` (tuples, lists, mappings) with each tensor replaced by `function(tensor)`; other things as they are."""
    if isinstance(nested, torch.Tensor):
        return function(nested)
    if isinstance(nested, tuple) and hasattr(nested, "_fields"):
        return type(nested)(*(map_tensors(function, item) for item in nested))
    if isinstance(nested, (list, tuple)):
        return type(nested)(map_tensors(function, item) for item in nested)
    if isinstance(nested, Mapping):
        return {key: map_tensors(function, item) for key, item in nested.items()}
    return nested


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as a NumPy array on the CPU; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def gather_batches(batches: list[Any], order: np.ndarray | None, fill: float = -100) -> Any:
    """The arrays of many batches as one array in the dataset's order.

    Args:
        batches: One nested structure of arrays of shape (batch, ...) per batch, all of one form.
        order: `order[i]` is the place in the dataset of the i-th row over all batches; None: already in order.
        fill: What rows shorter than the longest are padded with.

    Example:
        >>> import numpy as np
        >>> gather_batches([np.array([[1, 2]]), np.array([[3]])], np.array([1, 0])).tolist()
        [[3, -100], [1, 2]]
    """
    if not batches:
        return None
    first = batches[0]
    if first is None:
        return None
    if isinstance(first, (list, tuple)):
        return tuple(gather_batches([batch[i] for batch in batches], order, fill) for i in range(len(first)))
    if isinstance(first, Mapping):
        return {key: gather_batches([batch[key] for batch in batches], order, fill) for key in first}
    arrays = [np.atleast_1d(batch) for batch in batches]
    rows = sum(len(array) for array in arrays)
    inner = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))
    ragged = any(array.shape[1:] != inner for array in arrays)
    kind = np.result_type(*{array.dtype for array in arrays})
    result = np.full((rows, *inner), fill, dtype=kind) if ragged else np.empty((rows, *inner), dtype=kind)
    start = 0
    for array in arrays:
        where = slice(start, start + len(array)) if order is None else order[start : start + len(array)]
        region = tuple(slice(0, size) for size in array.shape[1:])
        result[(where, *region)] = array
        start += len(array)
    return result


def plain_numbers(metrics: Any) -> Any:
    """NumPy and torch scalars in `metrics` as Python numbers, so that they can be written as JSON."""
    if isinstance(metrics, Mapping):
        return {key: plain_numbers(value) for key, value in metrics.items()}
    if isinstance(metrics, (list, tuple)):
        return type(metrics)(plain_numbers(value) for value in metrics)
    if isinstance(metrics, np.generic) or (isinstance(metrics, np.ndarray) and metrics.size == 1):
        return metrics.item()
    if isinstance(metrics, torch.Tensor) and metrics.numel() == 1:
        return metrics.item()
    return metrics
