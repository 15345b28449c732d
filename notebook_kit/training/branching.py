"""Branches of a run: from a checkpoint, with another learning rate, batch size or dataset."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from notebook_kit.errors import ConfigurationError, near_matches, notice
from notebook_kit.files import as_path
from notebook_kit.training import checkpointing, data, run_folder
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.background_saving import plain_copy
from notebook_kit.training.callbacks import CallbackList, DefaultFlowCallback
from notebook_kit.training.display import PrinterCallback, ProgressCallback
from notebook_kit.training.distributed import Distributed
from notebook_kit.training.full_sharding import is_sharded
from notebook_kit.training.publishing import PublishCallback
from notebook_kit.training.recording.controls import ControlsCallback
from notebook_kit.training.state import ExportableState
from notebook_kit.training.trackers import TrackersCallback

__all__ = ["branch"]

FOLDER = "branches"
_FRESH = (DefaultFlowCallback, PrinterCallback, ProgressCallback, TrackersCallback, PublishCallback)

T = TypeVar("T")


def branch(
    trainer: T,
    checkpoint: Any = None,
    *,
    train_dataset: Any = None,
    eval_dataset: Any = None,
    output_dir: str | Path | None = None,
    **changes: Any,
) -> T:
    """A Trainer whose run begins at a checkpoint, with other settings or other data. Its parent stays as it is.

    The branch has its own copy of the model, its own output folder, and a record that names its parent; dashboards draw it
    beside it. `train()` starts it, `train(background=True)` in the background. With nothing changed it computes
    the same weights as its parent, bit by bit. Of several processes that train together, each calls it.

    A new `learning_rate` is the peak of the schedule, which goes on at its place. After a change of the batch size the branch
    goes on after the same number of examples and does the remaining epochs. With another `train_dataset` it begins at its
    first example and does as many updates as were left of its parent, unless `num_train_epochs` or `max_steps` is given.

    Args:
        trainer: The Trainer.
        checkpoint: The folder of a checkpoint, or its step; by default the last one in `args.output_dir`.
        train_dataset, eval_dataset: Other data.
        output_dir: The folder of the branch; by default one in the folder `branches` of the checkpoint's run.
        **changes: Training arguments by name, such as `learning_rate=1e-5`. The others are those of the Trainer.

    Returns:
        The Trainer of the branch, of the same class. It has the callbacks of its parent: those of this library, and those with
        a `state()`, are new objects; others are shared.

    Raises:
        CheckpointError: if the checkpoint does not exist, is damaged, or has no optimizer.
        ConfigurationError: for an argument that does not exist, an optimizer that was passed to the parent as an object, or
            a model that is spread over several processes.

    Example:
        >>> import tempfile
        >>> from notebook_kit import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
        >>> tiny = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)
        >>> data = [{"input_ids": [5, 6, 7], "labels": 1}] * 8
        >>> options = {"max_steps": 4, "save_steps": 2, "logging_strategy": "no", "use_cpu": True}
        >>> trainer = Trainer(BertForSequenceClassification(tiny), TrainingArguments(tempfile.mkdtemp(), **options), train_dataset=data)
        >>> trainer.train().global_step
        4
        >>> slower = trainer.branch(2, learning_rate=1e-5)
        >>> slower.train().global_step, slower.args.learning_rate
        (4, 1e-05)
    """
    source: Any = trainer
    args = source.args
    _check(source, changes)
    folder = _checkpoint(checkpoint, args.output_dir)
    former = checkpointing.read_state(folder)
    for dataset, role in ((train_dataset, "train_dataset"), (eval_dataset, "eval_dataset")):
        if dataset is not None and not isinstance(dataset, Mapping):
            data.check_dataset(dataset, role)
    has_other_data = train_dataset is not None
    name = changes.pop("run_name", None) or _name(former.global_step, changes, has_other_data)
    settings = _settings(args, changes, former.max_steps if has_other_data else None)
    place = Path(output_dir) if output_dir is not None else _new_folder(folder.parent / FOLDER, name)
    place = source.distributed.gather_objects(place)[0]  # as the first process sees the folder
    child = copy.copy(source)
    child.args = dataclasses.replace(args, **{**settings, "output_dir": str(place), "run_name": name})
    child.distributed = Distributed(child.args)
    child.accelerator = child.distributed.accelerator
    child.optimizer = child.lr_scheduler = None
    child.set_model(plain_copy(source.model))
    child.train_dataset = train_dataset if has_other_data else source.train_dataset
    child.eval_dataset = eval_dataset if eval_dataset is not None else source.eval_dataset
    child.forget_run()
    child.branch_point = checkpointing.BranchPoint(
        folder, changes, has_other_data, eval_dataset is not None, _parent(source)
    )
    kept = [callback for callback in source.callbacks if not isinstance(callback, ControlsCallback)]
    child.callback_handler = CallbackList(child, [_branched(callback) for callback in kept])
    child.emit("on_init_end")
    return child


def _settings(args: TrainingArguments, changes: dict[str, Any], max_steps: int | None) -> dict[str, Any]:
    """The training arguments of a branch that differ from those of its parent.

    Args:
        args: Those of the parent.
        changes: Those that were given.
        max_steps: The updates of the parent, which a branch with other data does too; None: the same data.
    """
    settings = dict(changes)
    if "max_steps" not in changes:
        if "num_train_epochs" in changes:
            settings["max_steps"] = -1
        elif max_steps is not None:
            settings["max_steps"] = max_steps
    if args.push_to_hub and "push_to_hub" not in changes:
        notice("The branch is not uploaded to the Hub. To upload it, pass push_to_hub=True and a hub_model_id.")
        settings["push_to_hub"] = False
    return settings


def _check(trainer: Any, changes: dict[str, Any]) -> None:
    known = [field.name for field in dataclasses.fields(trainer.args)]
    for name in changes:
        if name not in known:
            raise ConfigurationError(
                f"branch got {name!r}, which is not a training argument. {near_matches(name, known)}".strip(),
                next_step="Pass names of TrainingArguments, train_dataset, eval_dataset or output_dir.",
            )
    if trainer.has_given_optimizer:
        raise ConfigurationError(
            "The Trainer was given an optimizer or a schedule as an object, which belongs to its own model.",
            next_step="Pass Trainer(optimizer_cls_and_kwargs=(kind, options)), or set optim and lr_scheduler_type.",
        )
    if is_sharded(trainer.model):
        raise ConfigurationError(
            "branch copies the model, which is spread over several processes.",
            next_step="Load the checkpoint with from_pretrained in a new script, and start a run there.",
        )


def _checkpoint(checkpoint: Any, output_dir: str | None) -> Path:
    """The folder that `checkpoint` means."""
    if checkpoint is None:
        return checkpointing.last_undamaged(output_dir or "")
    if isinstance(checkpoint, int) and not isinstance(checkpoint, bool):
        checkpoint = Path(output_dir or "") / f"{run_folder.PREFIX}-{checkpoint}"
    return checkpointing.checked_folder(as_path(checkpoint, "checkpoint"), output_dir or "")


def _name(step: int, changes: dict[str, Any], has_other_data: bool) -> str:
    """The name of a branch: its first step and what it changes."""
    what = [f"{name} {value}" for name, value in changes.items()] + ["other data"] * has_other_data
    return f"step {step}, {', '.join(what) or 'unchanged'}"[:100]


def _new_folder(parent: Path, name: str) -> Path:
    slug = re.sub(r"[^\w.=-]+", "_", name).strip("._") or "branch"
    folder, number = parent / slug, 1
    while folder.exists():
        number += 1
        folder = parent / f"{slug}-{number}"
    return folder


def _branched(callback: Any) -> Any:
    """The callback of a branch for one of its parent."""
    if callable(getattr(callback, "branched", None)):
        return callback.branched()
    if isinstance(callback, _FRESH):
        return type(callback)()
    return type(callback).from_state(callback.state()) if isinstance(callback, ExportableState) else callback


def _parent(trainer: Any) -> str:
    """The folder of the record of the parent run, or its name if it has none."""
    record = next((callback.record for callback in trainer.callbacks if hasattr(callback, "record")), None)
    folder = getattr(record, "run_dir", None)
    return str(Path(folder).resolve()) if folder else getattr(record, "name", "")
