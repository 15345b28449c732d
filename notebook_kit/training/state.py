"""The state of a run as plain data, and the interface of the Trainer for the other modules. Does not import torch."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from notebook_kit.errors import ConfigurationError
from notebook_kit.files import damaged, read_json
from notebook_kit.training.values import typed

if TYPE_CHECKING:
    import torch
    from torch import nn

    from notebook_kit.nn.inputs import ModelTraits
    from notebook_kit.training.arguments import TrainingArguments
    from notebook_kit.training.distributed import Distributed
    from notebook_kit.training.interrupts import Interrupts

__all__ = ["ExportableState", "TrainerControl", "TrainerState"]

Items: TypeAlias = "torch.Tensor | int | None"  # a number of labels


class ExportableState:
    """A mixin for callbacks whose state is saved in a run's checkpoints: define `state`."""

    def state(self) -> dict[str, Any]:
        """`{"args": keyword arguments of the constructor, "attributes": attributes to set afterwards}`, of JSON types; each
        may be left out.
        """
        raise NotImplementedError

    @classmethod
    def from_state(cls, state: dict[str, Any]):
        """The object that `state` describes."""
        instance = cls(**state.get("args", {}))
        for name, value in state.get("attributes", {}).items():
            setattr(instance, name, value)
        return instance


@dataclass
class TrainerControl(ExportableState):
    """Switches that callbacks set and the loop obeys.

    Attributes:
        should_training_stop: End the run after this step.
        should_epoch_stop: End the epoch after this step.
        should_save, should_evaluate, should_log: Save, evaluate or log after this step; reset at the next one.

    Example:
        >>> TrainerControl(should_log=True).should_log
        True
    """

    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False

    def state(self) -> dict[str, Any]:
        return {"args": dataclasses.asdict(self), "attributes": {}}


@dataclass
class TrainerState:
    """The progress of a run; saved in each checkpoint as `trainer_state.json`. A step is one optimizer update.

    Attributes:
        epoch: Epochs done, with the fraction of the current one.
        global_step: Optimizer updates done.
        max_steps: Optimizer updates that the run will do.
        log_history: Every dictionary that was logged, each with its `step`.
        best_metric, best_global_step, best_model_checkpoint: The best evaluation so far.

    Example:
        >>> TrainerState(global_step=3).global_step
        3
    """

    epoch: float = 0
    global_step: int = 0
    max_steps: int = 0
    logging_steps: int = 500
    eval_steps: int = 500
    save_steps: int = 500
    train_batch_size: int | None = None
    num_train_epochs: int = 0
    num_input_tokens_seen: int = 0
    total_flos: float = 0
    log_history: list[dict[str, Any]] = field(default_factory=list)
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True
    is_hyper_param_search: bool = False
    trial_name: str | None = None
    trial_params: dict[str, Any] | None = None
    stateful_callbacks: dict[str, Any] = field(default_factory=dict)

    def save_to_json(self, json_path: str | Path) -> None:
        """Write the state as JSON."""
        Path(json_path).write_text(json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n", "utf-8")

    @classmethod
    def load_from_json(cls, json_path: str | Path) -> TrainerState:
        """Read a file that `save_to_json` or `transformers` wrote; unknown fields are ignored.

        Raises:
            CheckpointError: if it cannot be read, or a field has a value of another type.
        """
        next_step = "Resume from another checkpoint of the run, or start again."
        values = read_json(json_path, next_step)
        state = cls()
        for f in dataclasses.fields(cls):
            value = values.get(f.name, getattr(state, f.name))
            try:
                value = typed(f.name, value, str(f.type)) if value is not None else None
            except ConfigurationError as error:
                raise damaged(json_path, error.what, next_step) from None
            setattr(state, f.name, value)
        return state

    def compute_steps(self, args: TrainingArguments, max_steps: int) -> None:
        """Set the intervals from `args`; an interval below 1 is a fraction of `max_steps`."""
        for kind in ("logging", "eval", "save"):
            steps = getattr(args, f"{kind}_steps")
            if steps is not None:
                setattr(self, f"{kind}_steps", math.ceil(max_steps * steps) if steps < 1 else int(steps))


@dataclass
class Position(ExportableState):
    """The position of a run in its training data.

    Attributes:
        epoch: The epoch in progress, from 0.
        updates, batches: How many updates and batches of that epoch are done.
        ended: Whether the epoch's end has been handled (logs, evaluation), so that the next epoch follows.
        per_epoch: How many batches an epoch has, if they had to be counted: those of a stream, after its first epoch.
        rng: The states of the random number generators at the start of the epoch, with which a loader repeats its order.
        by_onednn: Whether oneDNN multiplies (`nn.training_products`), as measured when the run began: a resumed run must round alike.
    """

    epoch: int = 0
    updates: int = 0
    batches: int = 0
    ended: bool = False
    per_epoch: int | None = None
    rng: dict[str, Any] | None = None
    by_onednn: bool | None = None

    def next_epoch(self) -> None:
        """Move to the start of the next epoch."""
        self.epoch, self.updates, self.batches, self.ended, self.rng = self.epoch + 1, 0, 0, False, None

    def state(self) -> dict[str, Any]:
        names = ("epoch", "updates", "batches", "ended", "per_epoch", "by_onednn")
        return {"args": {name: getattr(self, name) for name in names}, "attributes": {}}


@dataclass(slots=True)
class LastStep:
    """The results of the latest optimizer update. Reading the tensors waits for the device.

    Attributes:
        loss: Its loss, a scalar tensor; None if unknown.
        grad_norm: The norm of the gradients before clipping, a scalar tensor or a float; None if unknown.
        learning_rate: The learning rate of the update; None if unknown.
        batches: Its batches, as the loader returned them.
    """

    loss: torch.Tensor | None
    grad_norm: Any
    learning_rate: float | None
    batches: list[Any]


class TrainerLike(Protocol):
    """The part of a `Trainer` that the loop, evaluations, checkpoints, callbacks and recordings use without importing it."""

    args: TrainingArguments
    model_init: Any
    distributed: Distributed
    interrupts: Interrupts
    model: nn.Module
    processing_class: Any
    data_collator: Any
    traits: ModelTraits
    item_takers: frozenset[str]
    label_names: list[str]
    compute_loss_func: Any
    compute_metrics: Any
    preprocess_logits_for_metrics: Any
    state: TrainerState
    control: TrainerControl
    callback_handler: Any
    optimizer: Any
    lr_scheduler: Any
    train_dataset: Any
    eval_dataset: Any
    train_dataloader: Any
    eval_dataloader: Any
    lengths: Any  # those of the datasets, `data.Lengths`
    is_in_train: bool
    current_gradient_accumulation_steps: int
    last_step: LastStep | None
    loop: Any  # the TrainingLoop in progress, or None
    run_thread: Any  # the thread of the run in progress, or None
    branch_point: Any  # the `checkpointing.BranchPoint` of a branch, or None

    @property
    def callbacks(self) -> list[Any]: ...
    def add_callback(self, callback: Any) -> None: ...
    def emit(self, event: str, **kwargs: Any) -> None: ...
    def log(self, logs: dict[str, Any]) -> None: ...

    def get_train_dataloader(self) -> Any: ...
    def num_examples(self, dataloader: Any) -> int: ...
    def prepared_model(self, training: bool) -> nn.Module: ...
    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None: ...
    def discard_optimizer(self) -> None: ...
    def set_model(self, model: nn.Module) -> None: ...
    def forget_run(self) -> None: ...

    # Any signature: overrides may lack `num_items_in_batch`.
    @property
    def training_step(self) -> Any: ...
    @property
    def compute_loss(self) -> Any: ...
    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any) -> Any: ...
    def train(self, *, trial: Any) -> Any: ...
    def evaluate(self, *, ignore_keys: Any = None) -> dict[str, float]: ...
    def floating_point_ops(self, inputs: Any) -> int: ...
    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None,
        ignore_keys: Any,
        metric_key_prefix: str,
    ) -> Any: ...
    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None: ...
    def save_checkpoint(self) -> None: ...
    def save_processor(self, folder: Path) -> None: ...
    @property
    def overrides_save(self) -> bool: ...
    def is_local_process_zero(self) -> bool: ...
    def is_world_process_zero(self) -> bool: ...
