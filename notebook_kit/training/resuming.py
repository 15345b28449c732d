"""Going on from a checkpoint as if the run had never stopped."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from notebook_kit.errors import CheckpointError, NotebookKitWarning
from notebook_kit.training import checkpointing
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.data import batches_after
from notebook_kit.training.losses import LossMeter
from notebook_kit.training.seeding import restore_rng_states
from notebook_kit.training.state import ExportableState, TrainerState

if TYPE_CHECKING:
    from notebook_kit.training.trainer import Trainer


@dataclass
class Position(ExportableState):
    """Where in the data a run stands.

    Attributes:
        epoch: The epoch in progress, from 0.
        updates, batches: How many of it are done.
        ended: Its end has been dealt with (logs, evaluation), only the next one is to come.
        rng: The random number generators as they stood when it began: with them a loader gives the same order again.
    """

    epoch: int = 0
    updates: int = 0
    batches: int = 0
    ended: bool = False
    rng: dict[str, Any] | None = None

    def next_epoch(self) -> None:
        """Go on to the next epoch."""
        self.epoch, self.updates, self.batches, self.ended, self.rng = self.epoch + 1, 0, 0, False, None

    def state(self) -> dict[str, Any]:
        place = {"epoch": self.epoch, "updates": self.updates, "batches": self.batches, "ended": self.ended}
        return {"args": place, "attributes": {}}


class Resumption:
    """A checkpoint of a run, to go on from."""

    def __init__(self, folder: Path, state: TrainerState) -> None:
        self.folder, self.state = folder, state
        self.rng: dict[str, Any] | None = None

    @classmethod
    def find(cls, resume_from_checkpoint: str | bool, args: TrainingArguments) -> Resumption:
        """The checkpoint that was named, or the last one of the run.

        Raises:
            CheckpointError: if there is none.
        """
        folder = resume_from_checkpoint
        if folder is True:
            folder = checkpointing.get_last_checkpoint(args.output_dir or "") or ""
            if not folder:
                raise CheckpointError(
                    f"resume_from_checkpoint=True, but {args.output_dir} has no checkpoint yet.",
                    next_step="Call train() without it for the first run, or set output_dir to the folder of that run.",
                )
        path = Path(str(folder))
        if not path.is_dir():
            raise CheckpointError(
                f"There is no checkpoint folder {path}.",
                next_step=f"Checkpoints of this run: {', '.join(map(str, checkpointing.checkpoints(args.output_dir or ''))) or 'none'}.",
            )
        found = cls(path, checkpointing.read_state(path))
        found._compare(args)
        return found

    def _compare(self, args: TrainingArguments) -> None:
        path = self.folder / checkpointing.ARGUMENTS
        if not path.is_file():
            return
        former = TrainingArguments.load(path)
        names = (
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "seed",
            "data_seed",
            "train_sampling_strategy",
        )
        changed = [
            f"{name} was {getattr(former, name)!r}, is {getattr(args, name)!r}"
            for name in names
            if getattr(former, name) != getattr(args, name)
        ]
        if changed:
            warnings.warn(
                f"The run that wrote {self.folder} was told otherwise ({'; '.join(changed)}), so it does not go on exactly"
                " where it stood: some examples of this epoch may be seen twice or not at all.",
                NotebookKitWarning,
                stacklevel=4,
            )

    def restore_model(self, model: nn.Module) -> None:
        """Put the checkpoint's weights into the model."""
        checkpointing.load_model_files(model, self.folder)

    def restore_progress(self, trainer: Trainer, updates_per_epoch: int) -> tuple[LossMeter, Position]:
        """Give the optimizer, the schedule, the callbacks and the meter what they remembered."""
        checkpointing.load_progress(self.folder, trainer.optimizer, trainer.lr_scheduler, trainer.accelerator.scaler)
        states = self.state.stateful_callbacks
        trainer.callback_handler.restore(states)
        step = self.state.global_step
        meter = LossMeter.from_state(states["LossMeter"]) if "LossMeter" in states else LossMeter(logged_step=step)
        meter.first_step = step
        meter.total = -meter.pending
        if "Position" in states:
            position = Position.from_state(states["Position"])
        else:
            epoch, updates = divmod(step, updates_per_epoch)
            position = Position(epoch, updates, updates * trainer.args.gradient_accumulation_steps)
        path = checkpointing.rng_file(self.folder, trainer.accelerator.process_index, trainer.accelerator.num_processes)
        if path.is_file():
            self.rng = checkpointing.load_tensors(path)
            position.rng = self.rng.pop("epoch_start", None)
        return meter, position

    def restore_generators(self) -> None:
        """Put the random number generators where they stood at the checkpoint."""
        if self.rng is not None:
            restore_rng_states(self.rng)

    def remaining_batches(self, loader: Any, position: Position, ignore_data_skip: bool) -> Iterator[Any]:
        """The batches of the epoch in progress that are still to come, with all generators as they stood."""
        if position.rng is not None:
            restore_rng_states(position.rng)
        batches = batches_after(loader, 0 if ignore_data_skip else position.batches)
        self.restore_generators()
        return batches
