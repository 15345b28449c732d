"""The state of a run in its checkpoints: saving it, and resuming from it."""

from __future__ import annotations

import dataclasses
import pickle
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from notebook_kit.checkpoints.weights import unsafe_pickle
from notebook_kit.errors import CheckpointError, UnsafeFileError, a_kind, notice, warn
from notebook_kit.files import damaged, read_json
from notebook_kit.training import run_folder
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.background_saving import Saving
from notebook_kit.training.data import batches_after
from notebook_kit.training.distributed import Distributed
from notebook_kit.training.full_sharding import OPTIMIZER_SLICES, WEIGHT_SLICES, is_sharded
from notebook_kit.training.losses import LossMeter
from notebook_kit.training.model_files import load_model_files, save_model_files
from notebook_kit.training.resumed_settings import (
    OF_OPTIMIZER,
    OF_SCHEDULE,
    check_optimizer,
    check_resumed,
    differing,
    follow_schedule,
    listed,
    options_of,
    use_settings,
)
from notebook_kit.training.run_folder import STATE, Manifest
from notebook_kit.training.seeding import restore_rng_states, rng_states
from notebook_kit.training.state import Position, TrainerLike, TrainerState
from notebook_kit.training.streams import restore_stream, stream_state

OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
SCALER = "scaler.pt"
STREAM = "stream.pt"
ARGUMENTS = "training_args.json"
# The arguments that decide which examples a batch has.
_BATCH_SIZES = ("per_device_train_batch_size", "gradient_accumulation_steps")
DATA_SETTINGS = (*_BATCH_SIZES, "seed", "data_seed", "train_sampling_strategy")
_INCOMPLETE = "The checkpoint is incomplete: resume from an earlier one of the run."


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
        with torch.serialization.safe_globals(harmless), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about files that are rejected below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and (unsafe := unsafe_pickle(path, error)):
            raise unsafe from None  # torch's own message explains how to disable the check
        raise damaged(path, str(error).partition("\n")[0], _INCOMPLETE) from error


def progress_files(
    distributed: Distributed, optimizer: Any, scheduler: Any, position: Position, loader: Any
) -> dict[str, Any]:
    """The states of the optimizer (unless it is None), the schedule, the loss scaler, the stream of examples (if it has one), and
    each process's random number generators, by the names of their files. Every process calls this.
    """
    generators = distributed.gather_objects({**rng_states(), "epoch_start": position.rng})
    states: dict[str, Any] = {} if optimizer is None else {OPTIMIZER: distributed.optimizer_state(optimizer)}
    for name, part in ((SCHEDULER, scheduler), (SCALER, distributed.accelerator.scaler)):
        if part is not None:
            states[name] = part.state_dict()
    if (stream := stream_state(loader)) is not None:
        states[STREAM] = stream
    return states | {rng_file(rank, len(generators)): state for rank, state in enumerate(generators)}


def load_progress(folder: Path, trainer: TrainerLike, scheduler: Any) -> None:
    """Restore the optimizer, the schedule and the loss scaler from what `save_progress` wrote.

    Raises:
        CheckpointError: if a file is missing or does not fit.
    """
    distributed, optimizer = trainer.distributed, trainer.optimizer
    scaler, slices = distributed.accelerator.scaler, folder / OPTIMIZER_SLICES
    for name, part in ((OPTIMIZER, optimizer), (SCHEDULER, scheduler), (SCALER, scaler)):
        if part is None or (name == SCALER and not (folder / name).exists()):
            continue
        in_slices = name == OPTIMIZER and slices.is_dir()
        if not in_slices and not (folder / name).exists():
            raise CheckpointError(
                f"{folder} has no {name}: it holds a model, but not the state of its run.",
                next_step="Resume from a checkpoint written without save_only_model=True, or load the model with"
                " from_pretrained and start a new run.",
            )
        state = {} if in_slices else load_tensors(folder / name)
        try:
            if in_slices:
                from notebook_kit.training import sharded_files  # it imports torch's distributed checkpoints

                part.load_state_dict(sharded_files.read_optimizer(trainer.model, part, slices))
            elif name == OPTIMIZER:
                distributed.load_optimizer_state(part, state)
            else:
                part.load_state_dict(state)
        except (ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{folder / name} does not fit this run: {error}.",
                next_step="Use the optimizer and the model of the run that wrote the checkpoint.",
            ) from error


def processes_of(checkpoint: Path) -> int:
    """How many processes wrote a checkpoint."""
    return (
        Manifest.of(checkpoint).processes
        if (checkpoint / run_folder.MANIFEST).exists()
        else max(1, len(list(checkpoint.glob("rng_state_*.pth"))))
    )


def rng_file(rank: int, processes: int) -> str:
    """The name of the file with the states of a process's random number generators."""
    return "rng_state.pth" if processes <= 1 else f"rng_state_{rank}.pth"


def save_checkpoint(trainer: TrainerLike, run: str, meter: LossMeter, position: Position, saving: Saving) -> bool:
    """Write `checkpoint-N` under a temporary name and rename it, so that a kill never leaves an incomplete one.

    Every process calls this, and the first one writes. If the disk is full or fails, a warning says so.

    Args:
        trainer: The Trainer.
        run: The id of its run.
        meter, position: Its losses since the last log, and its position in the data.
        saving: Writes in the background, if the arguments ask for it. Its last save has been taken.

    Returns:
        Whether the checkpoint was written; in the background: False, and `saving` has it once it is.
    """
    args, state, distributed = trainer.args, trainer.state, trainer.distributed
    output_dir = Path(args.output_dir or "")
    target = output_dir / f"{run_folder.PREFIX}-{state.global_step}"
    if state.best_global_step is not None:
        best = output_dir / f"{run_folder.PREFIX}-{state.best_global_step}"
        if best == target or Manifest.of(best).run == run:
            state.best_model_checkpoint = str(best)
    trainer.control.should_save = False
    in_slices = saves_slices(trainer)
    parts = (None if in_slices else trainer.optimizer, trainer.lr_scheduler, position, trainer.train_dataloader)
    progress = {} if args.save_only_model else progress_files(distributed, *parts)
    finite = distributed.is_finite(trainer.model)
    failure: Exception | None = None
    if distributed.is_main:
        state.stateful_callbacks = {
            **trainer.callback_handler.states(),
            "LossMeter": meter.state(),
            "Position": position.state(),
            "TrainerControl": trainer.control.state(),
        }
    best_folder = state.best_model_checkpoint
    if in_slices:
        failure = _save_slices(trainer, run, target, progress, finite)
    elif distributed.is_main:
        try:
            with ExitStack() as parts_written:
                folder = parts_written.enter_context(run_folder.whole_folder(target))
                state.save_to_json(folder / STATE)
                copies = (
                    saving.copies.of(trainer.model, progress) if args.save_in_background and can_copy(trainer) else None
                )
                if copies is None:
                    trainer.save_model(str(folder), _internal_call=True)
                else:
                    trainer.save_processor(folder)
                model, progress = copies or (trainer.model, progress)
                rest = parts_written.pop_all()

            def finish() -> None:
                with rest:
                    if copies is not None:
                        save_model_files(model, folder)
                    for name, value in progress.items():
                        torch.save(value, folder / name)
                    written = run_folder.later_than_all(output_dir)
                    Manifest(run, written, distributed.world_size, finite).write(folder)
                run_folder.rotate(output_dir, run, args.save_total_limit, best_folder)

            if copies is not None:
                saving.begin(finish, dataclasses.replace(state))
                return False
            finish()
        except Exception as error:
            if not is_failure_of_disk(error):
                raise
            failure = error
    else:
        trainer.save_model(str(target), _internal_call=True)
    if failure is not None and distributed.is_main:
        warn_of_failed_save(target, failure, trainer.loop.saved)
    return not distributed.any(failure is not None)


def saves_slices(trainer: TrainerLike) -> bool:
    """Whether a checkpoint is written in slices: if the arguments ask for it, by the Trainer's own `save_model`. Adapters, which
    are small, are written whole.
    """
    sharding = trainer.distributed.full_sharding
    asked = sharding is not None and sharding.saves_slices and is_sharded(trainer.model)
    return asked and not trainer.overrides_save and not hasattr(trainer.model, "peft_config")


def _save_slices(
    trainer: TrainerLike, run: str, target: Path, progress: dict[str, Any], finite: bool
) -> Exception | None:
    """Write `checkpoint-N` in slices; every process calls this. Returns why it was not written, or None."""
    from notebook_kit.training import sharded_files  # it imports torch's distributed checkpoints

    distributed, args, folder = trainer.distributed, trainer.args, run_folder.partial(target)
    try:
        with ExitStack() as written:
            with distributed.all_or_none():
                if distributed.is_main:
                    written.enter_context(run_folder.whole_folder(target))
                    trainer.state.save_to_json(folder / STATE)
                    sharded_files.describe_model(distributed.shell(trainer.model), folder)
                    trainer.save_processor(folder)
            with distributed.all_or_none():
                sharded_files.write_slices(folder / WEIGHT_SLICES, "model", trainer.model.state_dict())
                if not args.save_only_model:
                    values = sharded_files.optimizer_values(trainer.model, trainer.optimizer)
                    sharded_files.write_slices(folder / OPTIMIZER_SLICES, "optimizer", values)
            if distributed.is_main:
                for name, value in progress.items():
                    torch.save(value, folder / name)
                Manifest(run, run_folder.later_than_all(target.parent), distributed.world_size, finite).write(folder)
        if distributed.is_main:
            run_folder.rotate(target.parent, run, args.save_total_limit, trainer.state.best_model_checkpoint)
    except Exception as error:
        if not is_failure_of_disk(error):
            raise
        return error
    return None


def can_copy(trainer: TrainerLike) -> bool:
    """Whether a checkpoint can be written from a copy of the model: in one process, of plain weights, by the Trainer's own
    `save_model`.
    """
    plain = all(type(parameter) is nn.Parameter for parameter in trainer.model.parameters())
    return trainer.distributed.world_size == 1 and plain and not trainer.overrides_save


def warn_of_failed_save(target: Path, failure: Exception, saved: Path | None) -> None:
    """Warn that a checkpoint could not be written."""
    problem = failure.what if isinstance(failure, CheckpointError) else str(failure)
    warn(
        f"{target} could not be written: {problem.rstrip('.')}. The run goes on, and the next save tries again. Until"
        f" then, the steps since {saved or 'the start of the run'} are not safe."
    )


def is_failure_of_disk(error: Exception) -> bool:
    """Whether an error is that of a full, read-only or failing disk."""
    writers = ("PytorchStreamWriter", "inline_container", "I/O error")  # those of torch and safetensors
    return isinstance(error, OSError) or (
        isinstance(error, RuntimeError | SafetensorError) and any(name in str(error) for name in writers)
    )


# ------------------------------------------------------------------------------------------------------------ resuming


@dataclasses.dataclass(frozen=True)
class BranchPoint:
    """Where a branch begins, and what it changes.

    Attributes:
        checkpoint: The folder of the checkpoint.
        given: The settings that were given to `Trainer.branch`: name -> value.
        has_other_data, has_other_evaluation: Whether it trains, or is evaluated, on another dataset than its parent.
        parent: The folder with the record of its parent, or the name of a record in memory.
    """

    checkpoint: Path
    given: dict[str, Any]
    has_other_data: bool = False
    has_other_evaluation: bool = False
    parent: str = ""


def read_state(folder: str | Path) -> TrainerState:
    """The state of the run in a checkpoint.

    Raises:
        CheckpointError: if the folder is not a checkpoint of a run.
    """
    path = Path(folder) / STATE
    if not path.is_file():
        last = run_folder.get_last_checkpoint(folder)
        hint = f"Resume from its last checkpoint, {last}." if last else "Name a folder checkpoint-N of a run."
        raise CheckpointError(f"{folder} is not a checkpoint of a run: it has no {STATE}.", next_step=hint)
    return TrainerState.load_from_json(path)


class Resumption:
    """A checkpoint from which a run resumes, or at which a branch begins.

    Attributes:
        folder: The checkpoint.
        state: The state of the run that wrote it.
        run: The id of the resumed run: that of the run that wrote the checkpoint or, if that run has a later one, a new id,
            since the later one is not a part of the resumed run. A branch has a new id.
        branch: Where a branch begins; None for a run that resumes.
    """

    def __init__(self, folder: Path, output_dir: str | Path, branch: BranchPoint | None = None) -> None:
        self.folder, self.state, self.branch = folder, read_state(folder), branch
        self._max_steps = self.state.max_steps
        former = Manifest.of(folder).run
        of_run = [path for path in run_folder.in_order_written(output_dir) if Manifest.of(path).run == former]
        is_last = bool(former and of_run) and of_run[-1].resolve() == folder.resolve()
        self.run = former if is_last and branch is None else run_folder.new_run_id()
        self._processes = processes_of(folder)
        self._rng: dict[str, Any] | None = None
        self._is_exact = True  # whether this run can continue after the same example
        self._former = read_json(folder / ARGUMENTS, _INCOMPLETE) if (folder / ARGUMENTS).is_file() else {}
        self._changed: set[str] = set()  # settings that this run uses in place of those in the checkpoint

    @classmethod
    def find(
        cls, resume_from_checkpoint: str | bool | None, args: TrainingArguments, branch: BranchPoint | None = None
    ) -> Resumption:
        """The checkpoint in a folder or, with True, the last one in `args.output_dir` that is not damaged; with None, the one
        at which `branch` begins.

        Raises:
            CheckpointError: if it does not exist, is damaged, or has the state of another optimizer.
            UnsafeFileError: if it is not as it was written, and reading it could run code.
        """
        output_dir = args.output_dir or ""
        if not resume_from_checkpoint and branch is not None:
            found = cls(checked_folder(branch.checkpoint, output_dir), output_dir, branch)
            found._use_changes(args, branch)
            return found
        if resume_from_checkpoint is True:
            path = last_undamaged(output_dir)
        else:
            path = checked_folder(Path(str(resume_from_checkpoint)), output_dir)
        found = cls(path, output_dir)
        found._warn_if_data_differs(args)
        check_resumed(found._former, args, found.folder)
        found._changed = {*differing(found._former, args, OF_SCHEDULE)}
        return found

    def _use_changes(self, args: TrainingArguments, branch: BranchPoint) -> None:
        check_optimizer(self._former, args, self.folder)
        names = (*OF_OPTIMIZER, *OF_SCHEDULE)
        self._changed = {*differing(self._former, args, names), *(name for name in branch.given if name in names)}
        if branch.has_other_evaluation:
            self.state.best_metric = self.state.best_global_step = self.state.best_model_checkpoint = None

    def _warn_if_data_differs(self, args: TrainingArguments) -> None:
        changed = differing(self._former, args, DATA_SETTINGS)
        if self._examples_per_round(args) == args.train_batch_size * args.world_size:  # by other processes, perhaps
            changed.pop("per_device_train_batch_size", None)
        if changed:
            warn(
                f"The run that wrote {self.folder} used other settings ({listed(changed)}); resuming is not exact: some"
                " examples of this epoch may be seen twice or not at all."
            )

    def _examples_per_round(self, args: TrainingArguments) -> int:
        """How many examples all processes together took per batch."""
        return self._former.get("per_device_train_batch_size", args.train_batch_size) * self._processes

    def restore_model(self, model: nn.Module) -> None:
        """Load the checkpoint's weights into the model."""
        load_model_files(model, self.folder)

    def position(self, trainer: TrainerLike, updates_per_epoch: int) -> Position:
        """Where the run goes on in its data: at the start, for a branch with other data."""
        if self.branch is not None and self.branch.has_other_data:
            return Position()
        epoch, updates = divmod(self.state.global_step, updates_per_epoch)
        position = Position(epoch, updates, updates * trainer.args.gradient_accumulation_steps)
        try:
            if (stored := self.state.stateful_callbacks.get("Position")) is not None:
                position = Position.from_state(_whole(stored))
        except (KeyError, TypeError, AttributeError) as error:
            raise self._unfit(error) from error
        return self._place(position, trainer)

    def _unfit(self, error: Exception) -> CheckpointError:
        return damaged(self.folder / STATE, f"stateful_callbacks do not fit ({error})", _INCOMPLETE)

    def restore_progress(self, trainer: TrainerLike, position: Position) -> LossMeter:
        """Restore the optimizer, the schedule and the callbacks, then the random number generators.

        Args:
            trainer: The Trainer, with the optimizer and the schedule of this run.
            position: The position of the run; it moves to the next epoch if its own has ended.

        Returns:
            The meter of the run at the checkpoint.
        """
        optimizer, scheduler = trainer.optimizer, trainer.lr_scheduler
        options, other_schedule = options_of(optimizer), "lr_scheduler_type" in self._changed
        load_progress(self.folder, trainer, None if other_schedule else scheduler)
        if other_schedule:
            scheduler.last_epoch = self.state.global_step
        use_settings(optimizer, scheduler, options, self._changed)
        if trainer.state.max_steps != self._max_steps or self._changed.intersection((*OF_SCHEDULE, "learning_rate")):
            follow_schedule(optimizer, scheduler)
        states, step = self.state.stateful_callbacks, self.state.global_step
        meter = LossMeter(logged_step=step)
        try:
            trainer.callback_handler.restore(states, trainer.args.restore_callback_states_from_checkpoint)
            meter = LossMeter.from_state(_whole(states["LossMeter"])) if "LossMeter" in states else meter
            control = states.get("TrainerControl", {}).get("args", {})
            # What was due at that step, but not done.
            trainer.control.should_log = bool(control.get("should_log"))
            trainer.control.should_evaluate = bool(control.get("should_evaluate"))
        except (KeyError, TypeError, AttributeError) as error:
            raise self._unfit(error) from error
        meter.first_step = step
        meter.total, meter.total_bad = -meter.pending, -meter.pending_bad
        rank = trainer.distributed.rank
        path = self.folder / rng_file(rank if rank < self._processes else 0, self._processes)
        if path.is_file():
            self._rng = load_tensors(path)
            if not isinstance(self._rng, dict):
                raise damaged(path, f"it holds {a_kind(self._rng)}", _INCOMPLETE)
            epoch_start = self._rng.pop("epoch_start", None)
            position.rng = epoch_start if position.batches or position.ended else None
        if position.ended:
            position.next_epoch()
        self._restore_rng()
        return meter

    def _place(self, position: Position, trainer: TrainerLike) -> Position:
        """The position after the same examples, for another number of processes or another batch size."""
        args, processes = trainer.args, trainer.distributed.world_size
        examples = position.batches * self._examples_per_round(args)
        batches, rest = divmod(examples, args.train_batch_size * processes)
        self._is_exact = not rest
        if processes != self._processes:
            exact = not rest and not args.group_by_length
            warn(
                f"{self.folder} was written by {self._processes} process{'es' * (self._processes > 1)}, and {processes} resume"
                f" it after the same {examples} examples of the epoch. Random numbers differ from those of the former run"
                + ("." if exact else ", and some examples of this epoch may be seen twice or not at all.")
            )
        if batches == position.batches:
            return position
        updates = batches // args.gradient_accumulation_steps
        return dataclasses.replace(position, batches=batches, updates=updates, per_epoch=None)

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
        path = self.folder / STREAM
        has_state = path.is_file() and self._is_exact and not ignore_data_skip
        if has_state and restore_stream(loader, load_tensors(path)):
            batches = iter(loader)
        else:
            batches = batches_after(loader, 0 if ignore_data_skip else position.batches)
        self._restore_rng()
        return batches


def checked_folder(path: Path, output_dir: str | Path = "") -> Path:
    """The folder of a checkpoint.

    Args:
        path: The folder.
        output_dir: Where other checkpoints of the run are, for the message.

    Raises:
        CheckpointError: if it does not exist or is damaged.
        UnsafeFileError: if it is not as it was written, and reading it could run code.
    """
    if not path.is_dir():
        known = ", ".join(map(str, run_folder.checkpoints(output_dir))) or "none"
        raise CheckpointError(f"There is no checkpoint folder {path}.", next_step=f"Checkpoints of this run: {known}.")
    if (path / STATE).exists() and (why := run_folder.damage(path)):
        _refuse_code(path)
        raise CheckpointError(
            f"{path} is damaged: {why}.",
            next_step="Resume from an earlier checkpoint of the run. If you changed the file on purpose, delete"
            f" {path / run_folder.MANIFEST}.",
        )
    return path


def last_undamaged(output_dir: str | Path) -> Path:
    """The last checkpoint written to a folder; an earlier one, with a warning, if it is damaged."""
    run_folder.recover(output_dir)
    damaged: dict[Path, str] = {}
    for path in reversed(run_folder.in_order_written(output_dir)):
        if why := run_folder.damage(path):
            _refuse_code(path)
            damaged[path] = why
            continue
        if damaged:
            warn(f"Resuming from {path}, since later checkpoints are damaged: {_listed(damaged)}.")
        return path
    if damaged:
        raise CheckpointError(
            f"All checkpoints in {output_dir} are damaged: {_listed(damaged)}.",
            next_step="Restore one from a copy, or start a new run with train().",
        )
    raise CheckpointError(
        f"resume_from_checkpoint=True, but {output_dir} has no checkpoint yet.",
        next_step="Call train() without it for the first run, or set output_dir to the folder of that run.",
    )


def _refuse_code(checkpoint: Path) -> None:
    """Look into the files of a damaged checkpoint: one that could run code was not damaged by chance.

    Raises:
        UnsafeFileError: if there is one.
    """
    for path in sorted(checkpoint.glob("*.pt*")):
        try:
            load_tensors(path)
        except UnsafeFileError:
            raise
        except CheckpointError:
            continue


def _listed(damaged: dict[Path, str]) -> str:
    return "; ".join(f"{path.name}: {why}" for path, why in damaged.items())


def note_used_folder(output_dir: str | Path) -> None:
    """Say that a new run begins in a folder with checkpoints, and how to continue the former run instead."""
    found = run_folder.in_order_written(output_dir)
    if not found:
        return
    last, replaced = found[-1], "checkpoints of the same step are replaced, the others stay"
    try:
        state = read_state(last)
    except CheckpointError:
        state = TrainerState()
    if run_folder.step_of(last) < state.max_steps:
        notice(
            f"{output_dir} has a run that was stopped at step {run_folder.step_of(last)} of {state.max_steps}. This run starts"
            f" again at step 0 ({replaced}). To go on instead: trainer.train(resume_from_checkpoint={str(last)!r})."
        )
    else:
        notice(
            f"{output_dir} has checkpoints of an earlier run, the last one {last.name}. This run starts at step 0:"
            f" {replaced}. To keep both, set another output_dir."
        )


def _whole(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a part of the Trainer, which, unlike a user's callback, always writes both."""
    return {"args": state["args"], "attributes": state["attributes"]}
