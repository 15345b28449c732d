"""The checkpoints of a run: written so that a kill at any instant leaves only whole ones, and read back to go on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from notebook_kit.errors import CheckpointError
from notebook_kit.files import flush_file, flush_folder
from notebook_kit.training.seeding import rng_states
from notebook_kit.training.state import TrainerState

__all__ = ["get_last_checkpoint"]

PREFIX = "checkpoint"
STATE = "trainer_state.json"
OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
SCALER = "scaler.pt"
ARGUMENTS = "training_args.json"
WEIGHTS = "model.safetensors"
# A folder that is being written, one that was just replaced, one that is being deleted.
_PARTIAL, _REPLACED, _DELETED = ".partial", ".replaced", ".deleted"


def checkpoints(output_dir: str | Path) -> list[Path]:
    """The whole checkpoints of a run, by step."""
    folder = Path(output_dir)
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = re.fullmatch(rf"{PREFIX}-(\d+)", path.name)
        if match and path.is_dir():
            found.append((int(match[1]), path))
    return [path for _, path in sorted(found)]


def get_last_checkpoint(folder: str | Path) -> str | None:
    """The checkpoint of the most steps in a run's `output_dir`, or None.

    Example:
        >>> import tempfile
        >>> print(get_last_checkpoint(tempfile.mkdtemp()))
        None
    """
    recover(folder)
    found = checkpoints(folder)
    return str(found[-1]) if found else None


def recover(output_dir: str | Path) -> None:
    """Put right what a killed run left: a checkpoint that was set aside comes back, unfinished and doomed ones go."""
    folder = Path(output_dir)
    for path in list(folder.glob(f".{PREFIX}-*")) if folder.is_dir() else []:
        whole = folder / path.name[1:].rpartition(".")[0]
        if path.name.endswith(_REPLACED) and not whole.exists():
            path.rename(whole)
        elif path.name.endswith((_PARTIAL, _REPLACED, _DELETED)):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def whole_folder(target: Path, main: bool = True, wait_for_all: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A folder to write into that becomes `target` at the end, flushed to the disk, or never.

    Args:
        target: What it becomes; one of that name is replaced.
        main: Whether this process makes and renames it; the others only write into it.
        wait_for_all: Returns when all processes have come to it.
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
    for path in partial.rglob("*"):
        (flush_folder if path.is_dir() else flush_file)(path)
    flush_folder(partial)
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
    partial.rename(target)
    flush_folder(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint so that no half of it is ever seen."""
    doomed = checkpoint.with_name(f".{checkpoint.name}{_DELETED}")
    shutil.rmtree(doomed, ignore_errors=True)
    checkpoint.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def rotate(output_dir: str | Path, keep: int | None, best: str | None) -> None:
    """Delete the oldest checkpoints beyond `keep`, never the best one, nor the last."""
    if not keep or keep < 1:
        return
    found = checkpoints(output_dir)
    kept = [path for path in found if best and path.resolve() == Path(best).resolve()]
    # The last one is what a killed run goes on from, so it stays even if only one is to be kept and that is the best.
    for path in reversed(found):
        if path not in kept and (len(kept) < keep or path == found[-1]):
            kept.append(path)
    for path in found:
        if path not in kept:
            delete(path)


def save_model_files(model: nn.Module, folder: str | Path) -> None:
    """Write a model: with its own `save_pretrained`, or the weights of a plain module as safetensors."""
    if hasattr(model, "save_pretrained"):
        save: Any = model.save_pretrained
        save(folder)
    else:
        from safetensors.torch import save_model

        Path(folder).mkdir(parents=True, exist_ok=True)
        partial = Path(folder) / f".{WEIGHTS}{_PARTIAL}"
        save_model(model, str(partial))
        flush_file(partial)
        partial.rename(Path(folder) / WEIGHTS)


def load_model_files(model: nn.Module, folder: str | Path) -> None:
    """Put the weights that `save_model_files` wrote into `model`, strictly: each must be there and fit.

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
            next_step="Make the model with the same configuration as the run that wrote the checkpoint; if a file is damaged,"
            " take an earlier checkpoint.",
        ) from error


def load_tensors(path: Path) -> Any:
    """Read a file that `torch.save` wrote, running no code from it.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    import numpy as np

    # NumPy keeps the state of its generator in an array; these are the types that pickling one names.
    harmless = [np.ndarray, np.dtype, type(np.dtype(np.uint32)), np._core.multiarray._reconstruct]  # type: ignore[attr-defined]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}.",
            next_step="The checkpoint is not whole: resume from an earlier one of the run.",
        ) from error


def save_progress(folder: Path, optimizer: Any, scheduler: Any, scaler: Any) -> None:
    """Write what the optimizer, the schedule and the loss scaler remember."""
    torch.save(optimizer.state_dict(), folder / OPTIMIZER)
    if scheduler is not None:
        torch.save(scheduler.state_dict(), folder / SCHEDULER)
    if scaler is not None:
        torch.save(scaler.state_dict(), folder / SCALER)


def load_progress(folder: Path, optimizer: Any, scheduler: Any, scaler: Any) -> None:
    """Give the optimizer, the schedule and the loss scaler back what `save_progress` wrote."""
    for name, part in ((OPTIMIZER, optimizer), (SCHEDULER, scheduler), (SCALER, scaler)):
        if part is None or (name == SCALER and not (folder / name).exists()):
            continue
        if not (folder / name).exists():
            raise CheckpointError(
                f"{folder} has no {name}: it holds a model but not where its run stood.",
                next_step="Resume from a checkpoint written without save_only_model=True, or load the model with"
                " from_pretrained and train anew.",
            )
        try:
            part.load_state_dict(load_tensors(folder / name))
        except (ValueError, KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"{folder / name} does not fit this run: {error}.",
                next_step="Use the optimizer and the model of the run that wrote the checkpoint.",
            ) from error


def rng_file(folder: Path, process_index: int, world_size: int) -> Path:
    """Where a process keeps the states of its random number generators."""
    return folder / ("rng_state.pth" if world_size <= 1 else f"rng_state_{process_index}.pth")


def save_rng(folder: Path, process_index: int, world_size: int, epoch_start: dict[str, Any] | None) -> None:
    """Write the states of this process's random number generators, now and as they were when the epoch began."""
    torch.save({**rng_states(), "epoch_start": epoch_start}, rng_file(folder, process_index, world_size))


def read_state(folder: str | Path) -> TrainerState:
    """The state of the run in a checkpoint.

    Raises:
        CheckpointError: if the folder is no checkpoint of a run.
    """
    path = Path(folder) / STATE
    if not path.is_file():
        last = get_last_checkpoint(folder)
        hint = f"Its last checkpoint is {last}: resume from that." if last else "Name a folder checkpoint-N of a run."
        raise CheckpointError(f"{folder} is no checkpoint of a run: it has no {STATE}.", next_step=hint)
    return TrainerState.load_from_json(path)
