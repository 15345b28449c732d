"""Optimizers and learning rate schedules, by their names in TrainingArguments."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from notebook_kit.errors import ConfigurationError, near_matches

if TYPE_CHECKING:
    from notebook_kit.training.arguments import TrainingArguments

__all__ = [
    "get_constant_schedule",
    "get_constant_schedule_with_warmup",
    "get_cosine_schedule_with_warmup",
    "get_cosine_with_hard_restarts_schedule_with_warmup",
    "get_inverse_sqrt_schedule",
    "get_linear_schedule_with_warmup",
    "get_polynomial_decay_schedule_with_warmup",
    "get_scheduler",
]

# ---------------------------------------------------------------------------------------------------- optimizers

_NO_DECAY_NAME = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def decayed_names(model: nn.Module) -> set[str]:
    """Names of the parameters that weight decay applies to: all but biases and the weights of normalizations."""
    in_norms = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    # Names are compared in lower case: checkpoints on the Hub have both LayerNorm and layernorm.
    return {
        name for name, _ in model.named_parameters() if name not in in_norms and not _NO_DECAY_NAME.search(name.lower())
    }


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters in two groups: with weight decay and without.

    Raises:
        ConfigurationError: if no parameter is trainable.
    """
    decayed = decayed_names(model)
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trainable:
        raise ConfigurationError(
            "The model has no trainable parameters: all have requires_grad=False.",
            next_step="Unfreeze some, for example model.classifier.requires_grad_(True).",
        )
    return [
        {"params": [parameter for name, parameter in trainable if name in decayed], "weight_decay": weight_decay},
        {"params": [parameter for name, parameter in trainable if name not in decayed], "weight_decay": 0.0},
    ]


# name -> class, options, and whether it takes Adam's betas and epsilon
OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any], bool]] = {
    "adamw_torch_fused": (torch.optim.AdamW, {"fused": True}, True),
    "adamw_torch": (torch.optim.AdamW, {}, True),
    "adamw_hf": (torch.optim.AdamW, {}, True),
    "nadamw_torch": (torch.optim.NAdam, {"decoupled_weight_decay": True}, True),
    "adafactor": (torch.optim.Adafactor, {}, False),
    "sgd": (torch.optim.SGD, {}, False),
    "adagrad": (torch.optim.Adagrad, {}, False),
    "rmsprop": (torch.optim.RMSprop, {}, False),
}


def _number(text: str) -> Any:
    try:
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
    except ValueError:
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def optimizer_class_and_options(args: TrainingArguments) -> tuple[type[Optimizer], dict[str, Any]]:
    """The optimizer class that `args.optim` names, and its keyword arguments.

    Raises:
        ConfigurationError: for an unknown optimizer.
    """
    if args.optim not in OPTIMIZERS:
        raise ConfigurationError(
            f"There is no optimizer named {args.optim!r}. {near_matches(args.optim, OPTIMIZERS)}".strip(),
            next_step=f"Use one of {', '.join(OPTIMIZERS)}, or pass Trainer(optimizers=(your_optimizer, None)).",
        )
    kind, own, is_adam = OPTIMIZERS[args.optim]
    options = {**own, "lr": args.learning_rate}
    if is_adam:
        options |= {"betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}
    if args.optim_args:
        pairs = (pair.split("=", 1) for pair in args.optim_args.replace(" ", "").split(","))
        options.update({name: _number(value) for name, value in pairs})
    return kind, options


# ----------------------------------------------------------------------------------------------------- schedules


def _schedule(optimizer: Optimizer, num_warmup_steps: int, last_epoch: int, after: Callable[[int], float]) -> LambdaLR:
    """A linear rise from 0 to the optimizer's learning rate, which is then multiplied by `after(step)`."""

    def factor(step: int) -> float:
        return step / max(1, num_warmup_steps) if step < num_warmup_steps else after(step)

    return LambdaLR(optimizer, factor, last_epoch)


def _progress(step: int, num_warmup_steps: int, num_training_steps: int) -> float:
    """The fraction of the steps after the warmup that are done."""
    return (step - num_warmup_steps) / max(1, num_training_steps - num_warmup_steps)


def get_constant_schedule(optimizer: Optimizer, last_epoch: int = -1) -> LambdaLR:
    """The optimizer's learning rate throughout."""
    return _schedule(optimizer, 0, last_epoch, lambda step: 1.0)


def get_constant_schedule_with_warmup(optimizer: Optimizer, num_warmup_steps: int, last_epoch: int = -1) -> LambdaLR:
    """A linear rise over `num_warmup_steps`, then the optimizer's learning rate."""
    return _schedule(optimizer, num_warmup_steps, last_epoch, lambda step: 1.0)


def get_linear_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, last_epoch: int = -1
) -> LambdaLR:
    """A linear rise over `num_warmup_steps`, then a linear fall to zero at `num_training_steps`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> schedule = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=2, num_training_steps=4)
        >>> [schedule.lr_lambdas[0](step) for step in range(5)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    falling = max(1, num_training_steps - num_warmup_steps)
    return _schedule(
        optimizer, num_warmup_steps, last_epoch, lambda step: max(0.0, (num_training_steps - step) / falling)
    )


def get_cosine_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5, last_epoch: int = -1
) -> LambdaLR:
    """A linear rise, then a cosine of `num_cycles` cycles: half a cycle falls from 1 to 0."""
    return get_cosine_with_min_lr_schedule_with_warmup(
        optimizer, num_warmup_steps, num_training_steps, num_cycles, last_epoch, min_lr_rate=0.0
    )


def get_cosine_with_hard_restarts_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, num_cycles: int = 1, last_epoch: int = -1
) -> LambdaLR:
    """A linear rise, then `num_cycles` falls from 1 to 0 along a half cosine, each followed by a jump back to 1."""

    def wave(step: int) -> float:
        progress = _progress(step, num_warmup_steps, num_training_steps)
        return 0.0 if progress >= 1.0 else 0.5 * (1.0 + math.cos(math.pi * ((num_cycles * progress) % 1.0)))

    return _schedule(optimizer, num_warmup_steps, last_epoch, wave)


def get_polynomial_decay_schedule_with_warmup(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    lr_end: float = 1e-7,
    power: float = 1.0,
    last_epoch: int = -1,
) -> LambdaLR:
    """A linear rise, then a fall along a polynomial from the learning rate to `lr_end` at `num_training_steps`.

    Raises:
        ConfigurationError: if `lr_end` is not below the optimizer's learning rate.
    """
    top = optimizer.defaults["lr"]
    if lr_end >= top:
        raise ConfigurationError(
            f"A polynomial schedule falls from the learning rate to lr_end, but {top} is not above {lr_end}.",
            next_step="Raise learning_rate or lower lr_end (lr_scheduler_kwargs={'lr_end': 0.0}).",
        )

    def fall(step: int) -> float:
        if step > num_training_steps:
            return lr_end / top
        remaining = 1 - _progress(step, num_warmup_steps, num_training_steps)
        return ((top - lr_end) * remaining**power + lr_end) / top

    return _schedule(optimizer, num_warmup_steps, last_epoch, fall)


def get_inverse_sqrt_schedule(
    optimizer: Optimizer, num_warmup_steps: int, timescale: int | None = None, last_epoch: int = -1
) -> LambdaLR:
    """A linear rise, then a fall with the inverse square root of the step.

    The unit of that step is `timescale`, by default `num_warmup_steps`, or 10,000 without a warmup.
    """
    scale = timescale or num_warmup_steps or 10_000
    return _schedule(
        optimizer, num_warmup_steps, last_epoch, lambda step: 1.0 / math.sqrt((step + scale - num_warmup_steps) / scale)
    )


def get_cosine_with_min_lr_schedule_with_warmup(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
) -> LambdaLR:
    """A linear rise, then a cosine to `min_lr`, or to the fraction `min_lr_rate` of the learning rate."""
    if (min_lr is None) == (min_lr_rate is None):
        raise ConfigurationError(
            "The schedule cosine_with_min_lr needs exactly one of min_lr and min_lr_rate.",
            next_step="Set, for example, lr_scheduler_kwargs={'min_lr_rate': 0.1}.",
        )
    floor = min_lr_rate if min_lr_rate is not None else min_lr / optimizer.defaults["lr"]

    def wave(step: int) -> float:
        progress = _progress(step, num_warmup_steps, num_training_steps)
        height = 0.5 * (1.0 + math.cos(math.pi * num_cycles * 2.0 * progress))
        return max(0.0, height * (1 - floor) + floor)

    return _schedule(optimizer, num_warmup_steps, last_epoch, wave)


SCHEDULES: dict[str, Callable[..., Any]] = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "cosine_with_restarts": get_cosine_with_hard_restarts_schedule_with_warmup,
    "cosine_with_min_lr": get_cosine_with_min_lr_schedule_with_warmup,
    "polynomial": get_polynomial_decay_schedule_with_warmup,
    "constant": get_constant_schedule,
    "constant_with_warmup": get_constant_schedule_with_warmup,
    "inverse_sqrt": get_inverse_sqrt_schedule,
    "reduce_lr_on_plateau": ReduceLROnPlateau,
}


def get_scheduler(
    name: str,
    optimizer: Optimizer,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    scheduler_specific_kwargs: dict[str, Any] | None = None,
) -> LRScheduler:
    """A learning rate schedule by name.

    Args:
        name: One of linear, cosine, cosine_with_restarts, cosine_with_min_lr, polynomial, constant,
            constant_with_warmup, inverse_sqrt, reduce_lr_on_plateau.
        optimizer: The optimizer whose learning rate it sets.
        num_warmup_steps: Optimizer updates during which the learning rate rises linearly.
        num_training_steps: Optimizer updates of the whole run.
        scheduler_specific_kwargs: Further options of the schedule.

    Raises:
        ConfigurationError: for an unknown name, an unknown option, or if a count that the schedule needs is missing.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> get_scheduler("constant", optimizer).get_last_lr()
        [0.1]
    """
    name = str(getattr(name, "value", name))
    if name not in SCHEDULES:
        raise ConfigurationError(
            f"There is no learning rate schedule named {name!r}. {near_matches(name, SCHEDULES)}".strip(),
            next_step=f"Use one of {', '.join(SCHEDULES)}.",
        )
    maker = SCHEDULES[name]
    counts = {"num_warmup_steps": num_warmup_steps, "num_training_steps": num_training_steps}
    needed = {key: value for key, value in counts.items() if key in inspect.signature(maker).parameters}
    if missing := [key for key, value in needed.items() if value is None]:
        raise ConfigurationError(
            f"The schedule {name!r} needs {' and '.join(missing)}.", next_step="Pass them to get_scheduler."
        )
    try:
        return maker(optimizer, **needed, **(scheduler_specific_kwargs or {}))
    except TypeError as error:
        raise ConfigurationError(
            f"The schedule {name!r} rejects the options {sorted(scheduler_specific_kwargs or {})}: {error}.",
            next_step="Correct lr_scheduler_kwargs.",
        ) from error


def follows_metric(scheduler: Any) -> bool:
    """Whether a schedule steps after each evaluation, by its metric, instead of after each update."""
    return isinstance(scheduler, ReduceLROnPlateau)


def current_learning_rate(optimizer: Any, scheduler: Any) -> float:
    """The learning rate of the first parameter group, as the schedule has set it for the next update."""
    if follows_metric(scheduler):
        return float(optimizer.param_groups[0]["lr"])
    return float(scheduler.get_last_lr()[0])


def make_scheduler(args: TrainingArguments, optimizer: Optimizer, num_training_steps: int) -> LRScheduler:
    """The schedule that the arguments name, for a run of `num_training_steps` updates."""
    options = dict(args.lr_scheduler_kwargs or {})
    if args.lr_scheduler_type == "reduce_lr_on_plateau":
        options.setdefault("mode", "max" if args.greater_is_better else "min")
    warmup = args.get_warmup_steps(num_training_steps)
    return get_scheduler(args.lr_scheduler_type, optimizer, warmup, num_training_steps, options)
