"""What went wrong in a run, and where: the examples of a batch whose loss is not finite, or that could not be read."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch

from notebook_kit.errors import NonFiniteLossError
from notebook_kit.training.data import batch_rows
from notebook_kit.training.losses import count_items
from notebook_kit.training.state import Position, TrainerLike

__all__ = ["explain_data_error", "is_finite_number", "nonfinite_loss", "without_labels"]

_MOST = 32  # examples that a message names


def is_finite_number(value: Any) -> bool:
    """Whether a number or a scalar tensor is finite. Waits for the device."""
    return math.isfinite(float(value))  # one operation of a tensor; torch.isfinite is four


def without_labels(trainer: TrainerLike, batches: list[Any]) -> bool:
    """Whether the batches of an update have no label at all, so that their mean loss is not a number."""
    counts = [count_items(trainer, batch) for batch in batches]
    return all(count is not None and not count for count in counts)


def nonfinite_loss(
    trainer: TrainerLike, loss: Any, grad_norm: Any, batches: list[Any], position: Position
) -> NonFiniteLossError:
    """The error about an update whose loss or gradient is NaN or infinite."""
    rows = _rows(trainer, position, len(batches))
    what = f"loss is {float(loss):g}" if not is_finite_number(loss) else f"gradient has the norm {float(grad_norm):g}"
    inputs = sorted({name for batch in batches for name in _nonfinite_inputs(batch)})
    cause = f" Its input {', '.join(map(repr, inputs))} is not finite." if inputs else ""
    return NonFiniteLossError(
        f"The {what} in step {trainer.state.global_step + 1}, with {_named(rows)}.{cause} The weights are as after step"
        f" {trainer.state.global_step}.",
        next_step="Look at these examples. If they are fine, lower learning_rate, or use bf16 instead of fp16."
        " nan_policy='skip' leaves such updates out.",
        rows=[row for batch in rows or [] for row in batch],
        step=trainer.state.global_step + 1,
    )


def _nonfinite_inputs(batch: Any) -> list[str]:
    items = batch.items() if hasattr(batch, "items") else ()
    tensors = [(name, value) for name, value in items if isinstance(value, torch.Tensor) and value.is_floating_point()]
    return [name for name, value in tensors if not bool(torch.isfinite(value).all())]


def _rows(trainer: TrainerLike, position: Position, batches: int) -> list[list[int]] | None:
    return batch_rows(trainer.train_dataloader, position.epoch, position.batches, batches)


def _named(rows: list[list[int]] | None) -> str:
    found = [row for batch in rows or [] for row in batch]
    if not found:
        return "examples of unknown position (the order of the data is not this library's)"
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return f"the examples {', '.join(map(str, found[:_MOST]))}{more} of train_dataset"


def explain_data_error(error: BaseException, trainer: TrainerLike, position: Position) -> None:
    """Add to an error raised while batches were read which example or which collator raised it."""
    loader = trainer.train_dataloader
    rows = _rows(trainer, position, trainer.args.gradient_accumulation_steps)
    dataset, collate = getattr(loader, "dataset", None), getattr(loader, "collate_fn", None)
    for row in itertools.chain.from_iterable(rows or []):
        try:
            example = dataset[row]  # type: ignore[index]
        except Exception:
            error.add_note(f"→ Reading example {row} of train_dataset raised this error: see train_dataset[{row}].")
            return
        try:
            collate([example])  # type: ignore[misc]
        except Exception:
            error.add_note(f"→ Collating example {row} of train_dataset raised this error: see train_dataset[{row}].")
            return
    if rows:
        name = getattr(trainer.data_collator, "__name__", type(trainer.data_collator).__name__)
        error.add_note(f"→ {name} raised this error for a batch among {_named(rows)}.")
