"""Where a run stands (`TrainerState`) and what should happen next (`TrainerControl`). Plain data, no torch."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notebook_kit.files import read_json

if TYPE_CHECKING:
    from notebook_kit.training.arguments import TrainingArguments

__all__ = ["ExportableState", "TrainerControl", "TrainerState"]


class ExportableState:
    """Something whose state is kept in a run's checkpoints: mix it into a callback and write `state`."""

    def state(self) -> dict[str, Any]:
        """`{"args": keyword arguments of the constructor, "attributes": what to set afterwards}`, JSON-like values."""
        raise NotImplementedError

    @classmethod
    def from_state(cls, state: dict[str, Any]):
        """The object that `state` describes."""
        instance = cls(**state["args"])
        for name, value in state["attributes"].items():
            setattr(instance, name, value)
        return instance


@dataclass
class TrainerControl(ExportableState):
    """Switches that callbacks set and the loop obeys.

    Attributes:
        should_training_stop: End the run after this step.
        should_epoch_stop: End the epoch after this step.
        should_save, should_evaluate, should_log: Do so after this step; reset at the next one.

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
    """Where a run stands; saved in each checkpoint as `trainer_state.json`. A step is one optimizer update.

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
        """Read what `save_to_json` (or `transformers`) wrote; fields of other versions are left out."""
        values = read_json(json_path, next_step="Resume from another checkpoint of the run, or start again.")
        known = {f.name for f in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def compute_steps(self, args: TrainingArguments, max_steps: int) -> None:
        """Take the intervals from `args`; one below 1 is a fraction of `max_steps`."""
        for kind in ("logging", "eval", "save"):
            steps = getattr(args, f"{kind}_steps")
            if steps is not None:
                setattr(self, f"{kind}_steps", math.ceil(max_steps * steps) if steps < 1 else int(steps))
