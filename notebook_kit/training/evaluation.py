"""Evaluation: one pass over a dataset without training, with the results in the dataset's order, and the result types."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from notebook_kit.errors import InputError, near_matches, warn
from notebook_kit.nn.inputs import takes_name
from notebook_kit.nn.many_rows import fast_products
from notebook_kit.nn.turns import using
from notebook_kit.training import hooks
from notebook_kit.training.checks import check_functions
from notebook_kit.training.data import sorted_order
from notebook_kit.training.distributed import explain_memory, map_tensors
from notebook_kit.training.losses import count_items, items_for_loss
from notebook_kit.training.recording.steps import count_samples
from notebook_kit.training.sharding import is_filler
from notebook_kit.training.values import as_list

if TYPE_CHECKING:
    from notebook_kit.training.state import TrainerLike

__all__ = ["EvalLoopOutput", "EvalPrediction", "PredictionOutput", "TrainOutput", "speed_metrics"]


class TrainOutput(NamedTuple):
    """The result of `Trainer.train`: updates done, mean loss of the updates of this call, metrics."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]


class PredictionOutput(NamedTuple):
    """The result of `Trainer.predict`: arrays in the dataset's order, and metrics if there are labels."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float]


class EvalLoopOutput(NamedTuple):
    """The result of `Trainer.evaluation_loop`."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float]
    num_samples: int


@dataclass
class EvalPrediction:
    """The argument of `compute_metrics`. It can be unpacked: `predictions, label_ids = prediction`.

    Attributes:
        predictions: The model's outputs without the loss, float array of shape (examples, ...), or a tuple of arrays if the
            model has several outputs. Rows of unequal length are padded with -100.
        label_ids: The labels, array of shape (examples, ...), padded with -100.
        inputs: The main inputs, if `include_for_metrics` contains "inputs".
        losses: The loss of each example's batch, float array of shape (examples,), if it contains "loss".

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
        extra = (item for item in (self.inputs, self.losses) if item is not None)
        return (self.predictions, self.label_ids, *extra)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._elements())

    def __getitem__(self, index: int) -> Any:
        return self._elements()[index]


def timed_pass(
    trainer: TrainerLike, loader: Callable[[], Any], description: str, ignore_keys: Any, prefix: str
) -> EvalLoopOutput:
    """The pass of `Trainer.evaluate` or `Trainer.predict` over a loader, with its time among the metrics."""
    start = time.time()
    loss_only = True if description == "Evaluation" and trainer.compute_metrics is None else None
    try:
        output = trainer.evaluation_loop(loader(), description, loss_only, ignore_keys, prefix)
    except BaseException as error:
        if not trainer.is_in_train:
            explain_memory(error)
            trainer.emit("on_error", error=error)
        raise
    steps = math.ceil(output.num_samples / (trainer.args.eval_batch_size * trainer.distributed.world_size))
    output.metrics.update(speed_metrics(prefix, start, output.num_samples, steps))
    return output


def evaluation_pass(
    trainer: TrainerLike, loader: Any, description: str, prediction_loss_only: bool, ignore_keys: Any, prefix: str
) -> EvalLoopOutput:
    """See `Trainer.evaluation_loop`."""
    check_functions(trainer)  # they may have been set since the Trainer was created
    args, distributed = trainer.args, trainer.distributed
    model = trainer.prepared_model(training=False)
    if not trainer.is_in_train and (args.fp16_full_eval or args.bf16_full_eval):
        model.to(torch.float16 if args.fp16_full_eval else torch.bfloat16)
    _check_names(ignore_keys)
    with using(model):
        was_training = model.training
        model.eval()
    trainer.eval_dataloader = loader = distributed.wrap_loader(loader, training=False, seed=args.seed)
    # An item per batch of this process.
    losses, weights, predictions, labels, inputs, row_losses = (list[Any]() for _ in range(6))
    rows, batch_metrics = 0, BatchMetrics.of(trainer)
    main_input = getattr(trainer.model, "main_input_name", "input_ids")
    for batch, is_repeated, is_last in annotated_batches(loader):
        if trainer.is_in_train and distributed.world_size > 1 and distributed.any(trainer.interrupts.requested):
            raise KeyboardInterrupt  # on all processes at the same batch
        with using(model):
            result = trainer.prediction_step(model, batch, prediction_loss_only, ignore_keys)
        loss, logits, targets = hooks.prediction(trainer, result)
        found: list[list[Any]] = [[], [], [], []]  # predictions, labels, inputs and losses of this batch
        if not is_repeated:
            size = count_samples(batch) or 1
            rows += size
            if loss is not None:
                # The loss is a mean over labels, so its weight is the number of labels: the result does not depend on batching.
                count = count_items(trainer, batch)
                losses.append(loss.detach().reshape(1))
                weights.append(torch.full((1,), float(size)) if count is None else count.float().reshape(1))
                if "loss" in args.include_for_metrics:
                    found[3].append(to_array(loss.detach().repeat(size)))
            seen = batch[main_input] if "inputs" in args.include_for_metrics and main_input in batch else None
            if logits is not None and trainer.preprocess_logits_for_metrics is not None:
                logits = hooks.checked_logits(trainer.preprocess_logits_for_metrics(logits, targets))
            for kept, part in zip(found, (logits, targets, seen), strict=False):
                if part is not None:
                    kept.append(map_tensors(to_array, part))
        if batch_metrics is not None:
            batch_metrics.add(found, is_last)
        if batch_metrics is None or description == "Prediction":
            for kept, new in zip((predictions, labels, inputs, row_losses), found, strict=True):
                kept.extend(new)
        trainer.emit("on_prediction_step")
    with using(model):
        model.train(was_training)
    rows = sum(distributed.gather_objects(rows))
    if not rows:
        raise InputError("The dataset to evaluate on yielded no examples.", next_step="Check how it was created.")

    predictions, labels, inputs, row_losses = distributed.gather_rounds(predictions, labels, inputs, row_losses)
    gather = (
        partial(gather_batches, order=sorted_order(loader))
        if args.eval_do_concat_batches
        else lambda kept: kept or None
    )
    is_listed = bool(labels) and isinstance(labels[0], list)
    targets = (
        gather_lists(labels, sorted_order(loader)) if is_listed and args.eval_do_concat_batches else gather(labels)
    )
    results = EvalPrediction(gather(predictions), targets, gather(inputs), gather(row_losses))
    metrics: dict[str, Any] = batch_metrics.result if batch_metrics is not None else {}
    computes = trainer.compute_metrics is not None and batch_metrics is None
    if computes and results.predictions is not None and results.label_ids is not None:
        metrics = hooks.checked_metrics(trainer.compute_metrics(results))
    kept = [torch.cat(part).float().cpu() if part else torch.empty(0) for part in (losses, weights)]
    each, weight = (torch.cat(part) for part in zip(*distributed.gather_objects(kept), strict=True))
    if len(each):
        metrics["loss"] = weighted_mean(each, weight, keep_all=not args.logging_nan_inf_filter)
    if description == "Evaluation" and not metrics:
        _warn_of_absent_labels(trainer, batch)
    metrics = {
        name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": plain_numbers(value)
        for name, value in metrics.items()
    }
    dataset = getattr(loader, "dataset", None)
    examples = len(dataset) if isinstance(dataset, Sized) else rows
    return EvalLoopOutput(results.predictions, results.label_ids, metrics, examples)


def _check_names(ignore_keys: Any) -> None:
    if wrong := [name for name in as_list(ignore_keys) if not isinstance(name, str)]:
        raise InputError(
            f"ignore_keys has {wrong[0]!r}; expected names of the model's outputs.",
            next_step='Pass names, such as ignore_keys=["hidden_states"].',
        )


class BatchMetrics:
    """Metrics that `compute_metrics` gathers batch by batch, without keeping predictions: `batch_eval_metrics`.

    Attributes:
        result: What `compute_metrics` returned for the last batch.
    """

    def __init__(self, trainer: TrainerLike) -> None:
        self.trainer, self.result = trainer, dict[str, Any]()

    @classmethod
    def of(cls, trainer: TrainerLike) -> BatchMetrics | None:
        """Those of a pass; None if its metrics are computed at once."""
        return cls(trainer) if trainer.args.batch_eval_metrics and trainer.compute_metrics is not None else None

    def add(self, found: list[list[Any]], is_last: bool) -> None:
        """Pass on the predictions, labels, inputs and losses of a batch, those of all processes together.

        Raises:
            InputError: if `compute_metrics` does not take `compute_result`.
        """
        together = self.trainer.distributed.gather_rounds(*found)
        results = EvalPrediction(*(_as_tensors(gather_batches(part, order=None)) for part in together))
        if results.predictions is None or results.label_ids is None:
            return
        compute = self.trainer.compute_metrics
        if not takes_name(compute, "compute_result"):
            raise InputError(
                "With batch_eval_metrics=True, compute_metrics is called with each batch, and it does not take"
                " compute_result.",
                next_step="Add the parameter compute_result: if it is False, only note the batch; if it is True, also return"
                " the metrics of all batches.",
            )
        metrics = compute(results, compute_result=is_last)
        if is_last:
            self.result = hooks.checked_metrics(metrics)


def _as_tensors(arrays: Any) -> Any:
    """The same structure with tensors, as metrics of batches get it."""
    if isinstance(arrays, tuple):
        return tuple(map(_as_tensors, arrays))
    if isinstance(arrays, Mapping):
        return {name: _as_tensors(array) for name, array in arrays.items()}
    return torch.from_numpy(arrays) if isinstance(arrays, np.ndarray) else arrays


def annotated_batches(loader: Iterable[Any]) -> Iterator[tuple[Any, bool, bool]]:
    """Each batch, whether another process has it too, and whether it is the last one.

    Example:
        >>> list(annotated_batches(["a", "b"]))
        [('a', False, False), ('b', False, True)]
    """
    former: list[tuple[Any, bool]] = []
    for index, batch in enumerate(loader):
        for earlier, is_repeated in former:
            yield earlier, is_repeated, False
        former = [(batch, is_filler(loader, index))]
    for batch, is_repeated in former:
        yield batch, is_repeated, True


def _warn_of_absent_labels(trainer: TrainerLike, batch: Any) -> None:
    """Explain an evaluation without a loss and metrics by the labels that its batches lack."""
    absent = [name for name in trainer.label_names if name not in batch]
    if absent:
        near = near_matches(absent[0], batch)
        setting = "Correct label_names" if trainer.args.label_names else "Add labels, or set label_names"
        warn(
            f"The evaluation has neither a loss nor metrics: its batches have no {' and no '.join(map(repr, absent))}, only"
            f" {', '.join(map(repr, batch))}. {near} {setting}.".replace("  ", " ")
        )


def weighted_mean(losses: torch.Tensor, weights: torch.Tensor, keep_all: bool) -> float:
    """The weighted mean of the losses of batches. Those without weight are ignored, NaN and infinite ones unless all are."""
    counted = (weights > 0) if keep_all else (weights > 0) & torch.isfinite(losses)
    if bool(counted.any()):
        losses, weights = losses[counted], weights[counted]
    total = weights.sum().clamp(min=1e-12)
    return float((losses.double() * weights.double()).sum() / total)


def predict_batch(
    trainer: TrainerLike, model: torch.nn.Module, inputs: dict[str, Any], loss_only: bool, ignore_keys: list[str] | None
) -> tuple[torch.Tensor | None, Any, Any]:
    """See `Trainer.prediction_step`."""
    names = trainer.label_names
    labelled = bool(names) and all(inputs.get(name) is not None for name in names)
    returns_loss = labelled or (not names and bool(inputs.get("return_loss", trainer.traits.returns_loss)))
    config = getattr(trainer.model, "config", None)
    ignored = as_list(ignore_keys if ignore_keys is not None else getattr(config, "keys_to_ignore_at_inference", None))
    labels = tuple(map_tensors(torch.Tensor.detach, inputs[name]) for name in names) if labelled else None
    loss = None
    with torch.no_grad(), fast_products(model, (), inputs):
        if returns_loss:
            items = items_for_loss(trainer, count_items(trainer, inputs))
            loss, outputs = hooks.loss_and_outputs(trainer, model, inputs, items)
            loss = loss.detach().mean()
        else:
            outputs = model(**inputs)
    if loss_only:
        return loss, None, None
    if isinstance(outputs, Mapping):
        kept = tuple(value for name, value in outputs.items() if name not in ("loss", *ignored))
    elif isinstance(outputs, torch.Tensor):
        kept = (outputs,)
    else:
        kept = tuple(outputs[1:] if returns_loss and not trainer.args.label_smoothing_factor else outputs)
    kept = map_tensors(torch.Tensor.detach, kept)
    logits = kept[0] if len(kept) == 1 else (kept or None)
    return loss, logits, labels[0] if labels is not None and len(labels) == 1 else labels


def speed_metrics(split: str, start_time: float, num_samples: float = 0, num_steps: float = 0) -> dict[str, float]:
    """Seconds since `start_time` (of `time.time`), and samples and steps per second.

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


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as a NumPy array on the CPU; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def gather_batches(batches: list[Any], order: np.ndarray | None, fill: float = -100) -> Any:
    """The arrays of many batches as one array in the dataset's order.

    Args:
        batches: One array of shape (batch, ...) per batch, or one tuple or mapping of arrays per batch.
        order: `order[i]` is the index in the dataset of the i-th row of all batches; None: already in order.
        fill: The value that pads rows shorter than the longest.

    Example:
        >>> import numpy as np
        >>> gather_batches([np.array([[1, 2]]), np.array([[3]])], np.array([1, 0])).tolist()
        [[3, -100], [1, 2]]
    """
    first = batches[0] if batches else None
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


def gather_lists(batches: list[list[Any]], order: np.ndarray | None) -> list[Any]:
    """The items of many batches in the dataset's order, for labels that are a list with an item for each example.

    Args:
        batches: One list per batch.
        order: As for `gather_batches`.
    """
    items = [item for batch in batches for item in batch]
    return items if order is None else [items[row] for row in np.argsort(order)]


def plain_numbers(metrics: Any) -> Any:
    """`metrics` with NumPy and torch scalars converted to Python numbers, which JSON supports."""
    if isinstance(metrics, Mapping):
        return {key: plain_numbers(value) for key, value in metrics.items()}
    if isinstance(metrics, (list, tuple)):
        return type(metrics)(plain_numbers(value) for value in metrics)
    if isinstance(metrics, torch.Tensor):
        return metrics.item() if metrics.numel() == 1 else metrics
    return metrics.item() if isinstance(metrics, (np.generic, np.ndarray)) and metrics.size == 1 else metrics


def named_dataset(own: Any, wanted: Any) -> Any:
    """The dataset to evaluate on: the one that is wanted, or the Trainer's own, for None or for a name among them.

    Raises:
        InputError: If the Trainer has none of this name.
    """
    if isinstance(wanted, str) and isinstance(own, Mapping):
        if wanted not in own:
            raise InputError(
                f"The Trainer has no eval_dataset named {wanted!r}. {near_matches(wanted, own)}".strip(),
                next_step=f"Name one of {', '.join(map(repr, own))}.",
            )
        return own[wanted]
    return own if wanted is None else wanted
