"""Losses of batches: reading them from a model's outputs, label smoothing, and summing without waiting for the device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from notebook_kit.errors import InputError
from notebook_kit.training.recording.steps import count_samples
from notebook_kit.training.state import ExportableState, TrainerLike


def loss_of(outputs: Any, inputs: Mapping[str, Any], model: torch.nn.Module) -> torch.Tensor:
    """The loss in a model's outputs: the field `loss`, or the first element of a tuple.

    Raises:
        InputError: if the outputs have no loss, for example because the dataset has no labels.
    """
    if isinstance(outputs, torch.Tensor):
        loss = outputs if outputs.ndim == 0 else None
    elif isinstance(outputs, Mapping):
        loss = outputs.get("loss")
    else:
        loss = getattr(outputs, "loss", None) if hasattr(outputs, "loss") else outputs[0]
    if loss is None:
        has_labels = any("label" in name or name.endswith("_positions") for name in inputs)
        raise InputError(
            f"{type(model).__name__} returned no loss for the inputs {', '.join(inputs)}.",
            next_step="Use a model with a head, such as AutoModelForSequenceClassification, or pass compute_loss_func."
            if has_labels
            else "Add a column 'label' or 'labels' to the dataset, or override compute_loss.",
        )
    return loss


def count_items(trainer: TrainerLike, inputs: Any) -> torch.Tensor | None:
    """The number of items over which the loss of a batch is a mean, as a scalar tensor: its labels that are not -100, or
    its examples if it has no labels. None if unknown.

    A causal language model compares each position with the next label, so the first label of a row does not count.
    """
    for name in trainer.label_names:
        labels = inputs.get(name) if hasattr(inputs, "get") else None
        if isinstance(labels, torch.Tensor):
            shifts = trainer.traits.shifts_labels and labels.dim() > 1  # one label per text is not shifted
            return (labels[:, 1:] if shifts else labels).ne(-100).sum()
    examples = count_samples(inputs)
    return torch.tensor(examples) if examples else None


def items_for_loss(trainer: TrainerLike, items: torch.Tensor | None) -> dict[str, Any]:
    """`num_items_in_batch` as a keyword argument of `compute_loss`, if it takes one."""
    return {"num_items_in_batch": items} if "compute_loss" in trainer.item_takers else {}


def smoothed_loss(logits: torch.Tensor, labels: torch.Tensor, smoothing: float, shifted: bool) -> torch.Tensor:
    """Cross-entropy with a part of the target spread evenly over all classes (Szegedy et al., arXiv:1512.00567).

    Args:
        logits: Float tensor of shape (..., classes).
        labels: Integer tensor of shape (...); -100 is ignored.
        smoothing: The part that is spread, 0 to 1.
        shifted: Compare each position with the next label (causal language models).
    """
    if shifted:
        logits, labels = logits[..., :-1, :], labels[..., 1:]
    flat, targets = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    return F.cross_entropy(flat, targets, ignore_index=-100, label_smoothing=smoothing)


@dataclass
class LossMeter(ExportableState):
    """Sums losses on their device, so that nothing waits for the device until a log is due.

    A NaN or infinite loss is left out of the means (unless `keep_all` is set), so that one bad update does not hide the
    others. The number of such losses is reported; the mean of nothing else is NaN.

    Attributes:
        total, total_bad: Sum of the losses of the updates that were logged in this call of `train`, and how many were left out.
        logged_step: The step of the last log.
        first_step: The step at which this call began.
        pending, pending_bad: The same since the last log, as stored in a checkpoint.
        keep_all: Add NaN and infinite losses too.
    """

    total: float = 0.0
    total_bad: int = 0
    logged_step: int = 0
    first_step: int = 0
    pending: float = 0.0
    pending_bad: int = 0
    keep_all: bool = False

    def __post_init__(self) -> None:
        self._sum: torch.Tensor | None = None
        self._bad: torch.Tensor | None = None

    def add(self, loss: torch.Tensor, value: float | None = None) -> None:
        """Add the loss of one update.

        Args:
            loss: The loss, on its device.
            value: The same as a number, if it was read already.
        """
        if value is not None and self._sum is None:
            is_bad = not math.isfinite(value)
            self.pending_bad += is_bad
            if self.keep_all or not is_bad:
                self.pending += value
            return
        if self._sum is None or self._bad is None:
            self._sum = torch.full((), self.pending, dtype=torch.float32, device=loss.device)
            self._bad = torch.full((), float(self.pending_bad), device=loss.device)
        finite = torch.isfinite(loss)
        self._bad += ~finite
        self._sum += loss if self.keep_all else torch.where(finite, loss, 0.0)

    def read(self) -> tuple[float, int]:
        """The sum since the last log and how many losses were NaN or infinite. Waits for the device."""
        if self._sum is None or self._bad is None:
            return self.pending, self.pending_bad
        total, bad = torch.stack([self._sum, self._bad]).tolist()
        return total, int(bad)

    def take(self, step: int) -> tuple[float, int]:
        """The mean loss of the updates since the last log, and how many losses were NaN or infinite."""
        total, bad = self.read()
        mean = self._mean(total, bad, step - self.logged_step)
        self.total, self.total_bad = self.total + total, self.total_bad + bad
        self.logged_step, self.pending, self.pending_bad = step, 0.0, 0
        self._sum = self._bad = None
        return mean, bad

    def _mean(self, total: float, bad: int, updates: int) -> float:
        counted = updates if self.keep_all else updates - bad
        return total / counted if counted else math.nan if updates else 0.0

    def mean(self, step: int) -> float:
        """The mean loss of all updates of this call."""
        total, bad = self.read()
        return self._mean(self.total + total, self.total_bad + bad, step - self.first_step)

    def state(self) -> dict[str, Any]:
        pending, bad = self.read()
        return {"args": {"logged_step": self.logged_step, "pending": pending, "pending_bad": bad}, "attributes": {}}
