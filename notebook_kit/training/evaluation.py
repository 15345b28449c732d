"""One pass over a dataset without learning: predictions, labels and the loss, put back in the dataset's order."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING, Any

import torch

from notebook_kit.errors import InputError
from notebook_kit.training.losses import count_labels
from notebook_kit.training.metrics import (
    EvalLoopOutput,
    EvalPrediction,
    gather_batches,
    map_tensors,
    plain_numbers,
    to_array,
)
from notebook_kit.training.sampling import sorted_order

if TYPE_CHECKING:
    from notebook_kit.training.trainer import Trainer


def batch_rows(inputs: Any) -> int:
    """How many examples a batch has."""
    for value in inputs.values():
        if isinstance(value, torch.Tensor) and value.ndim:
            return value.shape[0]
        if isinstance(value, (list, tuple)):
            return len(value)
    return 1


def evaluation_pass(
    trainer: Trainer, loader: Any, prediction_loss_only: bool, ignore_keys: list[str] | None, prefix: str
) -> EvalLoopOutput:
    """See `Trainer.evaluation_loop`."""
    args, accelerator = trainer.args, trainer.accelerator
    model = trainer.prepared_model(training=False)
    if not trainer.is_in_train and (args.fp16_full_eval or args.bf16_full_eval):
        model.to(torch.float16 if args.fp16_full_eval else torch.bfloat16)
    was_training = model.training
    model.eval()
    trainer.eval_dataloader = loader
    together = accelerator.num_processes > 1
    losses: list[torch.Tensor] = []
    weights: list[torch.Tensor] = []
    predictions, labels, inputs, per_row = (list[Any]() for _ in range(4))
    rows = 0
    main_input = getattr(trainer.model, "main_input_name", "input_ids")
    for batch in loader:
        size = batch_rows(batch)
        rows += size
        loss, logits, targets = trainer.prediction_step(model, batch, prediction_loss_only, ignore_keys)
        if loss is not None:
            # The loss is a mean over labels, so a batch weighs as many as it has: the result does not depend on how the
            # examples were batched.
            count = count_labels(batch)
            losses.append(loss.detach().reshape(1))
            if "loss" in args.include_for_metrics:
                each_row = loss.detach().repeat(size)
                per_row.append(to_array(accelerator.gather_for_metrics(each_row) if together else each_row))
            weights.append(torch.full((1,), float(size)) if count is None else count.float().reshape(1))
        seen = batch[main_input] if "inputs" in args.include_for_metrics and main_input in batch else None
        if together:
            logits, targets, seen = (
                accelerator.pad_across_processes(part, dim=1, pad_index=-100) for part in (logits, targets, seen)
            )
        if logits is not None and trainer.preprocess_logits_for_metrics is not None:
            logits = trainer.preprocess_logits_for_metrics(logits, targets)
        if together:
            logits, targets, seen = (
                part if part is None else accelerator.gather_for_metrics(part) for part in (logits, targets, seen)
            )
        for kept, part in ((predictions, logits), (labels, targets), (inputs, seen)):
            if part is not None:
                kept.append(map_tensors(to_array, part))
        trainer.emit("on_prediction_step")
    model.train(was_training)
    if not rows:
        raise InputError("The dataset to evaluate gave no example.", next_step="Look at how it was made.")

    order = sorted_order(loader)
    all_predictions = gather_batches(predictions, order)
    all_labels = gather_batches(labels, order)
    metrics: dict[str, Any] = {}
    if trainer.compute_metrics is not None and all_predictions is not None and all_labels is not None:
        extra: dict[str, Any] = {}
        if "inputs" in args.include_for_metrics:
            extra["inputs"] = gather_batches(inputs, order)
        if "loss" in args.include_for_metrics and losses:
            extra["losses"] = gather_batches(per_row, order)
        metrics = dict(trainer.compute_metrics(EvalPrediction(all_predictions, all_labels, **extra)))
    if losses:
        each, weight = torch.cat(losses).float(), torch.cat(weights).to(losses[0].device)
        if together:
            each, weight = accelerator.gather(each), accelerator.gather(weight)
        metrics["loss"] = weighted_mean(each, weight, keep_all=not args.logging_nan_inf_filter)
    metrics = {
        name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": plain_numbers(value)
        for name, value in metrics.items()
    }
    dataset = getattr(loader, "dataset", None)
    count_all = len(dataset) if isinstance(dataset, Sized) else rows * accelerator.num_processes
    return EvalLoopOutput(all_predictions, all_labels, metrics, count_all)


def weighted_mean(losses: torch.Tensor, weights: torch.Tensor, keep_all: bool) -> float:
    """The mean of the losses of batches, weighed; without those that are no finite numbers if there are others."""
    finite = torch.isfinite(losses)
    if not keep_all and bool(finite.any()):
        losses, weights = losses[finite], weights[finite]
    total = weights.sum().clamp(min=1e-12)
    return float((losses.double() * weights.double()).sum() / total)


def predict_batch(
    trainer: Trainer, model: torch.nn.Module, inputs: dict[str, Any], loss_only: bool, ignore_keys: list[str] | None
) -> tuple[torch.Tensor | None, Any, Any]:
    """See `Trainer.prediction_step`."""
    names = trainer.label_names
    labelled = bool(names) and all(inputs.get(name) is not None for name in names)
    returns_loss = labelled or (not names and bool(inputs.get("return_loss", trainer.traits.returns_loss)))
    config = getattr(trainer.model, "config", None)
    ignored = ignore_keys if ignore_keys is not None else getattr(config, "keys_to_ignore_at_inference", None)
    labels = tuple(inputs[name].detach() for name in names) if labelled else None
    loss = None
    with torch.no_grad():
        if returns_loss:
            loss, outputs = trainer.compute_loss(model, inputs, return_outputs=True)
            loss = loss.detach().mean()
        else:
            outputs = model(**inputs)
    if loss_only:
        return loss, None, None
    if isinstance(outputs, Mapping):
        kept = tuple(value for name, value in outputs.items() if name not in ("loss", *(ignored or ())))
    elif isinstance(outputs, torch.Tensor):
        kept = (outputs,)
    else:
        kept = tuple(outputs[1:] if returns_loss and not trainer.args.label_smoothing_factor else outputs)
    kept = map_tensors(torch.Tensor.detach, kept)
    logits = kept[0] if len(kept) == 1 else (kept or None)
    return loss, logits, labels[0] if labels is not None and len(labels) == 1 else labels
