"""The rows behind a point of the loss curve: the examples of a step's batch, with their texts and losses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.nn.turns import looking
from notebook_kit.training import hooks
from notebook_kit.training.background import one_run
from notebook_kit.training.full_sharding import is_sharded
from notebook_kit.training.seeding import restore_rng_states, rng_states
from notebook_kit.training.state import TrainerLike

__all__ = ["Row", "StepRows", "measured_rows", "rows_at"]

MOST = 64  # rows that are measured per step
LONGEST = 300  # characters of a text


@dataclass(frozen=True)
class Row:
    """An example of a batch.

    Attributes:
        index: Its position in the training dataset.
        loss: Its loss, without dropout; NaN if it is not a number.
        text: Its text, shortened: its columns of text, or its tokens decoded.
        label: Its label, by name if the model knows one; "" if it has none.

    Example:
        >>> Row(7, 0.25, "A warm film.", "positive").loss
        0.25
    """

    index: int
    loss: float
    text: str
    label: str = ""


@dataclass(frozen=True)
class StepRows(Sequence[Row]):
    """The rows of a step, those with the highest loss first.

    Attributes:
        step: The step.
        measured_at: The number of updates that the weights had when the losses were measured.
        rows: The rows.

    Example:
        >>> StepRows(3, 3, (Row(7, 0.25, "A warm film.", "positive"),))
        step 3, losses after 3 updates
             row      loss  label       text
               7      0.25  positive    A warm film.
    """

    step: int
    measured_at: int
    rows: tuple[Row, ...]

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __repr__(self) -> str:
        lines = [f"{r.index:>8}  {r.loss:>8.4g}  {r.label[:10]:<10}  {r.text[:80]}".rstrip() for r in self.rows]
        head = f"{'row':>8}  {'loss':>8}  {'label':<10}  text"
        return "\n".join([f"step {self.step}, losses after {self.measured_at} updates", head, *lines])

    def as_lists(self) -> list[dict[str, Any]]:
        """The rows as plain values, for a record."""
        return [dataclasses.asdict(row) for row in self.rows]


def rows_at(trainer: TrainerLike, step: int) -> StepRows:
    """The rows from which a step of the last run was computed, with their present losses, the highest first. Of several
    processes, the first one has them: those of all processes.

    The order of the rows is recorded by a `RunMonitor` or a dashboard, which costs four bytes per row and epoch; a notebook's
    Trainer has one. The losses are measured when they are asked for, with the weights as they are now.

    Args:
        trainer: The Trainer.
        step: The step, from 1.

    Returns:
        The rows, at most 64 of them.

    Raises:
        InputError: if the rows are unknown: without a record, for a loader or sampler of your own, for a stream, or in another
            process than the first.
        ConfigurationError: while a run is in progress.

    Example:
        >>> import tempfile
        >>> from notebook_kit import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
        >>> from notebook_kit.training import RunMonitor
        >>> tiny = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)
        >>> data = [{"input_ids": [5, 6, n], "labels": n % 2} for n in range(24)]
        >>> args = TrainingArguments(tempfile.mkdtemp(), max_steps=2, logging_strategy="no", use_cpu=True, save_strategy="no")
        >>> trainer = Trainer(BertForSequenceClassification(tiny), args, train_dataset=data, callbacks=[RunMonitor()])
        >>> trainer.train().global_step
        2
        >>> rows = trainer.rows_at(1)
        >>> len(rows), rows[0].loss >= rows[-1].loss
        (8, True)
    """
    monitor = next((c for c in map(_monitor_of, trainer.callbacks) if c is not None), None)
    if monitor is None:
        raise InputError(
            "The rows of the steps were not recorded.", next_step="Create the Trainer with callbacks=[RunMonitor()]."
        )
    if not trainer.is_world_process_zero():
        raise InputError(
            "Only the first process of a run records it.",
            next_step="Call rows_at there: if trainer.is_world_process_zero().",
        )
    rows = monitor.order.rows(monitor.record.events, step)
    if not rows:
        raise InputError(
            f"The rows of step {step} are unknown: the run has not made it, or the order of its data is not this library's.",
            next_step="Ask for a step of the last run, whose train_dataset is not a stream.",
        )
    with one_run(trainer):
        return measured_rows(trainer, step, rows)


def _monitor_of(callback: Any) -> Any:
    monitor = getattr(callback, "monitor", callback)
    return monitor if hasattr(monitor, "order") and hasattr(monitor, "record") else None


def measured_rows(trainer: TrainerLike, step: int, indices: Sequence[int]) -> StepRows:
    """The rows of a step with their losses, the highest first. Changes neither the model nor the random number generators.

    Each row is passed as a batch of one, so its loss is what the Trainer computes, whichever loss that is.

    Args:
        trainer: The Trainer, between two updates.
        step: The step.
        indices: The positions of its rows in the dataset.

    Raises:
        ConfigurationError: if the model is spread over several processes, which must call it together.
    """
    if is_sharded(trainer.model):
        raise ConfigurationError(
            "The rows of a step cannot be measured in one of the processes over which the model is spread.",
            next_step="Load the checkpoint in a single process, and create a Trainer there.",
        )
    loader = trainer.train_dataloader if trainer.train_dataloader is not None else trainer.get_train_dataloader()
    # Of several processes, this one calls its own model, without the others.
    alone = trainer.distributed.world_size == 1
    model, found = trainer.prepared_model(training=True) if alone else trainer.model, []
    with looking(model), torch.no_grad():
        generators = rng_states()
        try:
            for index in indices[:MOST]:
                loss = _loss_of(trainer, model, loader.collate_fn([loader.dataset[index]]))
                found.append(Row(int(index), loss, _text(trainer, index), _label(trainer, index)))
        finally:
            restore_rng_states(generators)
    found.sort(key=lambda row: -row.loss if math.isfinite(row.loss) else -math.inf)
    return StepRows(step, trainer.state.global_step, tuple(found))


def _loss_of(trainer: TrainerLike, model: Any, batch: Any) -> float:
    items = {"num_items_in_batch": None} if "compute_loss" in trainer.item_takers else {}
    loss = trainer.compute_loss(model, trainer.distributed.to_device(batch), **items)
    return float(hooks.checked_loss(hooks.name_of(trainer, "compute_loss"), loss).mean())


def _text(trainer: TrainerLike, index: int) -> str:
    example = trainer.train_dataset[index]
    if not isinstance(example, Mapping):
        return _short(str(example))
    texts = [value for value in example.values() if isinstance(value, str)]
    decode = getattr(getattr(trainer.processing_class, "tokenizer", trainer.processing_class), "decode", None)
    if not texts and decode is not None and "input_ids" in example:
        texts = [decode(example["input_ids"], skip_special_tokens=True)]
    if not texts:
        texts = [f"{name}: {_short(str(value), 60)}" for name, value in example.items() if "label" not in name]
    return _short(" | ".join(texts))


def _label(trainer: TrainerLike, index: int) -> str:
    example = trainer.train_dataset[index]
    names = ("label", "labels", "label_ids")
    value = next((example[n] for n in names if n in example), None) if isinstance(example, Mapping) else None
    if isinstance(value, str) or value is None:
        return _short(value or "", 40)
    number = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    if not isinstance(number, int | float):
        return ""
    known = getattr(getattr(trainer.model, "config", None), "id2label", None) or {}
    return _short(str(known.get(number, number)), 40)


def _short(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
