"""What scripts ask a Trainer about its model, optimizer and batches. The Trainer has these functions as methods."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

from notebook_kit.errors import ConfigurationError
from notebook_kit.training import checks
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.optimization import decayed_names, optimizer_class_and_options
from notebook_kit.training.state import TrainerLike

__all__ = [
    "call_model_init",
    "get_decay_parameter_names",
    "get_learning_rates",
    "get_num_trainable_parameters",
    "get_optimizer_cls_and_kwargs",
    "get_optimizer_group",
    "get_total_train_batch_size",
]


def get_num_trainable_parameters(trainer: TrainerLike) -> int:
    """The number of values in the parameters that are trained."""
    return sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)


def get_decay_parameter_names(trainer: TrainerLike, model: nn.Module) -> list[str]:
    """The names of the parameters that weight decay applies to: all but biases and the weights of normalizations."""
    decayed = decayed_names(model)
    return [name for name, _ in model.named_parameters() if name in decayed]


def get_total_train_batch_size(trainer: TrainerLike, args: TrainingArguments | None = None) -> int:
    """The number of examples per update, over all processes."""
    args = args or trainer.args
    return args.train_batch_size * args.gradient_accumulation_steps * trainer.distributed.world_size


def get_learning_rates(trainer: TrainerLike) -> list[float]:
    """The learning rate of each group of parameters.

    Raises:
        ConfigurationError: if there is no optimizer yet.
    """
    return [float(group["lr"]) for group in _optimizer(trainer).param_groups]


def get_optimizer_group(trainer: TrainerLike, param: Any = None) -> Any:
    """The group of the optimizer that has a parameter (None if none has it); without `param`, all groups.

    Raises:
        ConfigurationError: if there is no optimizer yet.
    """
    groups = _optimizer(trainer).param_groups
    if param is None:
        return [group["params"] for group in groups]
    return next((group for group in groups if any(param is other for other in group["params"])), None)


def get_optimizer_cls_and_kwargs(args: TrainingArguments, model: Any = None) -> tuple[type[Optimizer], dict[str, Any]]:
    """The optimizer class that `args.optim` names, and its keyword arguments."""
    return optimizer_class_and_options(args)


def call_model_init(trainer: TrainerLike, trial: Any = None) -> nn.Module:
    """A new model from `model_init`, checked."""
    return checks.call_model_init(trainer.model_init, trial)


def _optimizer(trainer: TrainerLike) -> Optimizer:
    if trainer.optimizer is None:
        raise ConfigurationError(
            "The Trainer has no optimizer yet.", next_step="Call trainer.create_optimizer() or train() first."
        )
    return trainer.optimizer
