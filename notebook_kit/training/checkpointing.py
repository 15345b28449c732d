"""Checkpoints of a run: writing them so that a kill leaves only complete ones, and resuming from one."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from notebook_kit.checkpoints.weights import unsafe_pickle
from notebook_kit.errors import CheckpointError, warn
from notebook_kit.files import damaged, flush_file, flush_folder, read_json, replacing
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.data import batches_after
from notebook_kit.training.distributed import Distributed
from notebook_kit.training.losses import LossMeter
from notebook_kit.training.seeding import restore_rng_states, rng_states
from notebook_kit.training.state import Position, TrainerLike, TrainerState

__all__ = ["get_last_checkpoint"]

PREFIX = "checkpoint"
STATE = "trainer_state.json"
OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
SCALER = "scaler.pt"
ARGUMENTS = "training_args.json"
WEIGHTS = "model.safetensors"
# The arguments that decide which examples a batch has.
_BATCH_SIZES = ("per_device_train_batch_size", "gradient_accumulation_steps")
DATA_SETTINGS = (*_BATCH_SIZES, "seed", "data_seed", "train_sampling_strategy")
_INCOMPLETE = "The checkpoint is incomplete: resume from an earlier one of the run."
# Suffixes of a folder that is being written, that was just replaced, and that is being deleted.
_PARTIAL, _REPLACED, _DELETED = ".partial", ".replaced", ".deleted"


def checkpoints(output_dir: str | Path) -> list[Path]:
    """The complete checkpoints of a run, in the order of their steps."""
    folder = Path(output_dir)
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = re.fullmatch(rf"{PREFIX}-(\d+)", path.name)
        if match and path.is_dir():
            found.append((int(match[1]), path))
    return [path for _, path in sorted(found)]


def get_last_checkpoint(folder: str | Path) -> str | None:
    """The checkpoint with the highest step in a run's `output_dir`, or None.

    Example:
        >>> import tempfile
        >>> print(get_last_checkpoint(tempfile.mkdtemp()))
        None
    """
    recover(folder)
    found = checkpoints(folder)
    return str(found[-1]) if found else None


def recover(output_dir: str | Path) -> None:
    """Clean up after a killed run: restore a checkpoint that was being replaced, delete partly written or deleted ones."""
    folder = Path(output_dir)
    for path in list(folder.glob(f".{PREFIX}-*")) if folder.is_dir() else []:
        ours = re.fullmatch(rf"\.({PREFIX}-\d+)({_PARTIAL}|{_REPLACED}|{_DELETED})", path.name)
        if ours is None:
            continue
        if ours[2] == _REPLACED and not (folder / ours[1]).exists():
            path.rename(folder / ours[1])
        else:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def whole_folder(target: Path, main: bool = True, wait_for_all: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A temporary folder to write into, renamed to `target` once all its files are on disk.

    Args:
        target: The final path; an existing folder is replaced.
        main: Whether this process creates and renames the folder; the others only write into it.
        wait_for_all: Returns when all processes have called it.
    """
    partial = target.with_name(f".{target.name}{_PARTIAL}")
    replaced = target.with_name(f".{target.name}{_REPLACED}")
    if main:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    wait_for_all()
    yield partial
    wait_for_all()
    if not main:
        return
    for path in [*partial.rglob("*"), partial]:
        flush_folder(path) if path.is_dir() else flush_file(path)
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
    partial.rename(target)
    flush_folder(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint. A kill never leaves a partial one under its name."""
    doomed = checkpoint.with_name(f".{checkpoint.name}{_DELETED}")
    shutil.rmtree(doomed, ignore_errors=True)
    checkpoint.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def rotate(output_dir: str | Path, keep: int | None, best: str | None) -> None:
    """Delete the oldest checkpoints until `keep` are left, but never the best one or the last one."""
    if not keep or keep < 1:
        return
    found = checkpoints(output_dir)
    kept = [path for path in found if best and path.resolve() == Path(best).resolve()]
    # A killed run resumes from the last checkpoint, so it is kept in addition to the best one even if `keep` is 1.
    for path in reversed(found):
        if path not in kept and (len(kept) < keep or path == found[-1]):
            kept.append(path)
    for path in found:
        if path not in kept:
            delete(path)


def save_model_files(model: nn.Module, folder: str | Path) -> None:
    """Write a model with its `save_pretrained`, or the weights of a plain module as safetensors."""
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder)  # type: ignore[operator]
    else:
        from safetensors.torch import save_model

        Path(folder).mkdir(parents=True, exist_ok=True)
        with replacing(Path(folder) / WEIGHTS) as temporary:
            save_model(model, str(temporary))


def load_model_files(model: nn.Module, folder: str | Path) -> None:
    """Load the weights that `save_model_files` wrote into `model`; all must be present and fit.

    Raises:
        CheckpointError: if weights are missing or do not fit.
    """
    try:
        if hasattr(model, "save_pretrained"):
            source = type(model).from_pretrained(str(folder))  # type: ignore[attr-defined]
            model.load_state_dict(source.state_dict())
        else:
            from safetensors.torch import load_model

            load_model(model, str(Path(folder) / WEIGHTS))
    except CheckpointError:
        raise
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"The weights in {folder} cannot be loaded into this {type(model).__name__}: {error}",
            next_step="Create the model with the configuration of the run that wrote the checkpoint; if a file is damaged,"
            " use an earlier checkpoint.",
        ) from error


def load_tensors(path: Path) -> Any:
    """Read a file that `torch.save` wrote, without running code from it.

    Raises:
        CheckpointError: if the file is missing or damaged.
        UnsafeFileError: if reading it could run code.
    """
    import numpy as np

    # The state of NumPy's generator is an array; these are the types in a pickled array.
    harmless = [np.ndarray, np.dtype, type(np.dtype(np.uint32)), np._core.multiarray._reconstruct]  # type: ignore[attr-defined]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and (unsafe := unsafe_pickle(path, error)):
            raise unsafe from None  # torch's own message explains how to disable the check
        raise damaged(path, str(error).partition("\n")[0], _INCOMPLETE) from error


def save_progress(folder: Path, distributed: Distributed, optimizer: Any, scheduler: Any, position: Position) -> None:
    """Write the states of the optimizer, the schedule, the loss scaler, and each process's random number generators."""
    torch.save({**rng_states(), "epoch_start": position.rng}, rng_file(folder, distributed))
    optimizer_state = distributed.optimizer_state(optimizer)
    if not distributed.is_main:
        return
    torch.save(optimizer_state, folder / OPTIMIZER)
    for name, part in ((SCHEDULER, scheduler), (SCALER, distributed.accelerator.scaler)):
        if part is not None:
            torch.save(part.state_dict(), folder / name)


def load_progress(folder: Path, distributed: Distributed, optimizer: Any, scheduler: Any) -> None:
    """Restore the optimizer, the schedule and the loss scaler from what `save_progress` wrote.

    Raises:
        CheckpointError: if a file is missing or does not fit.
    """
    scaler = distributed.accelerator.scaler
    for name, part in ((OPTIMIZER, optimizer), (SCHEDULER, scheduler), (SCALER, scaler)):
        if part is None or (name == SCALER and not (folder / name).exists()):
            continue
        if not (folder / name).exists():
            raise CheckpointError(
                f"{folder} has no {name}: it holds a model, but not the state of its run.",
                next_step="Resume from a checkpoint written without save_only_model=True, or load the model with"
                " from_pretrained and start a new run.",
            )
        state = load_tensors(folder / name)
        try:
            if name == OPTIMIZER:
                distributed.load_optimizer_state(part, state)
            else:
                part.load_state_dict(state)
        except (ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{folder / name} does not fit this run: {error}.",
                next_step="Use the optimizer and the model of the run that wrote the checkpoint.",
            ) from error


def rng_file(folder: Path, distributed: Distributed) -> Path:
    """The file with the states of this process's random number generators."""
    return folder / ("rng_state.pth" if distributed.world_size <= 1 else f"rng_state_{distributed.rank}.pth")


def save_checkpoint(trainer: TrainerLike, meter: LossMeter, position: Position) -> None:
    """Write `checkpoint-N` under a temporary name and rename it, so that a kill never leaves an incomplete one."""
    args, state, distributed = trainer.args, trainer.state, trainer.distributed
    output_dir = Path(args.output_dir or "")
    target = output_dir / f"{PREFIX}-{state.global_step}"
    if state.best_global_step is not None:
        best = output_dir / f"{PREFIX}-{state.best_global_step}"
        if best == target or best.is_dir():
            state.best_model_checkpoint = str(best)
    trainer.control.should_save = False
    with whole_folder(target, distributed.is_main, distributed.accelerator.wait_for_everyone) as folder:
        trainer.save_model(str(folder), _internal_call=True)
        if not args.save_only_model:
            save_progress(folder, distributed, trainer.optimizer, trainer.lr_scheduler, position)
        if distributed.is_main:
            state.stateful_callbacks = {
                **trainer.callback_handler.states(),
                "LossMeter": meter.state(),
                "Position": position.state(),
                "TrainerControl": trainer.control.state(),
            }
            state.save_to_json(folder / STATE)
    if distributed.is_main:
        rotate(output_dir, args.save_total_limit, state.best_model_checkpoint)
    trainer.emit("on_save")


# ------------------------------------------------------------------------------------------------------------ resuming


def read_state(folder: str | Path) -> TrainerState:
    """The state of the run in a checkpoint.

    Raises:
        CheckpointError: if the folder is not a checkpoint of a run.
    """
    path = Path(folder) / STATE
    if not path.is_file():
        last = get_last_checkpoint(folder)
        hint = f"Resume from its last checkpoint, {last}." if last else "Name a folder checkpoint-N of a run."
        raise CheckpointError(f"{folder} is not a checkpoint of a run: it has no {STATE}.", next_step=hint)
    return TrainerState.load_from_json(path)


class Resumption:
    """A checkpoint from which a run resumes.

    Attributes:
        folder: The checkpoint.
        state: The state of the run that wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, read_state(folder)
        self._rng: dict[str, Any] | None = None

    @classmethod
    def find(cls, resume_from_checkpoint: str | bool, args: TrainingArguments) -> Resumption:
        """The checkpoint in a folder, or with True the last one of the run.

        Raises:
            CheckpointError: if it does not exist.
        """
        folder = resume_from_checkpoint
        if folder is True:
            folder = get_last_checkpoint(args.output_dir or "") or ""
            if not folder:
                raise CheckpointError(
                    f"resume_from_checkpoint=True, but {args.output_dir} has no checkpoint yet.",
                    next_step="Call train() without it for the first run, or set output_dir to the folder of that run.",
                )
        path = Path(str(folder))
        if not path.is_dir():
            known = ", ".join(map(str, checkpoints(args.output_dir or ""))) or "none"
            raise CheckpointError(
                f"There is no checkpoint folder {path}.", next_step=f"Checkpoints of this run: {known}."
            )
        found = cls(path)
        found._warn_if_data_differs(args)
        return found

    def _warn_if_data_differs(self, args: TrainingArguments) -> None:
        path = self.folder / ARGUMENTS
        if not path.is_file():
            return
        former = read_json(path, _INCOMPLETE)
        settings = [(name, former.get(name, getattr(args, name)), getattr(args, name)) for name in DATA_SETTINGS]
        changed = [f"{name} was {before!r}, is {now!r}" for name, before, now in settings if before != now]
        if changed:
            warn(
                f"The run that wrote {self.folder} used other settings ({'; '.join(changed)}); resuming is not exact: some"
                " examples of this epoch may be seen twice or not at all."
            )

    def restore_model(self, model: nn.Module) -> None:
        """Load the checkpoint's weights into the model."""
        load_model_files(model, self.folder)

    def restore_progress(self, trainer: TrainerLike, updates_per_epoch: int) -> tuple[LossMeter, Position]:
        """Restore the optimizer, the schedule and the callbacks, then the random number generators.

        Returns:
            The meter and the position of the run at the checkpoint.
        """
        load_progress(self.folder, trainer.distributed, trainer.optimizer, trainer.lr_scheduler)
        states, step = self.state.stateful_callbacks, self.state.global_step
        epoch, updates = divmod(step, updates_per_epoch)
        meter = LossMeter(logged_step=step)
        position = Position(epoch, updates, updates * trainer.args.gradient_accumulation_steps)
        try:
            trainer.callback_handler.restore(states, trainer.args.restore_callback_states_from_checkpoint)
            meter = LossMeter.from_state(states["LossMeter"]) if "LossMeter" in states else meter
            position = Position.from_state(states["Position"]) if "Position" in states else position
        except (KeyError, TypeError, AttributeError) as error:
            raise damaged(self.folder / STATE, f"stateful_callbacks do not fit ({error})", _INCOMPLETE) from error
        meter.first_step = step
        meter.total = -meter.pending
        path = rng_file(self.folder, trainer.distributed)
        if path.is_file():
            self._rng = load_tensors(path)
            if not isinstance(self._rng, dict):
                raise damaged(path, f"it holds a {type(self._rng).__name__}", _INCOMPLETE)
            position.rng = self._rng.pop("epoch_start", None)
        if position.ended:
            position.next_epoch()
        self._restore_rng()
        return meter, position

    def _restore_rng(self) -> None:
        if self._rng is not None:
            self._restore(self._rng)

    def _restore(self, states: dict[str, Any]) -> None:
        try:
            restore_rng_states(states)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = f"the states of the random number generators do not fit ({error})"
            raise damaged(self.folder, why, _INCOMPLETE) from error

    def remaining_batches(self, loader: Any, position: Position, ignore_data_skip: bool) -> Iterator[Any]:
        """The remaining batches of the epoch in progress, with all generators restored."""
        if position.rng is not None:
            self._restore(position.rng)
        batches = batches_after(loader, 0 if ignore_data_skip else position.batches)
        self._restore_rng()
        return batches
