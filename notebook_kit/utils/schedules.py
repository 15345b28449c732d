"""Learning rate schedules, and each by its name in `SchedulerType`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from notebook_kit.errors import ConfigurationError, near_matches
from notebook_kit.utils.greedy import get_greedy_schedule

__all__ = [
    "get_constant_schedule",
    "get_constant_schedule_with_warmup",
    "get_cosine_schedule_with_warmup",
    "get_cosine_with_hard_restarts_schedule_with_warmup",
    "get_cosine_with_min_lr_schedule_with_warmup",
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
    "get_inverse_sqrt_schedule",
    "get_linear_schedule_with_warmup",
    "get_polynomial_decay_schedule_with_warmup",
    "get_reduce_on_plateau_schedule",
    "get_scheduler",
    "get_wsd_schedule",
]


def _schedule(optimizer: Optimizer, num_warmup_steps: int, last_epoch: int, after: Callable[[int], float]) -> LambdaLR:
    """A linear rise from 0 to the optimizer's learning rate, which is then multiplied by `after(step)`."""

    def factor(step: int) -> float:
        return step / max(1, num_warmup_steps) if step < num_warmup_steps else after(step)

    return LambdaLR(optimizer, factor, last_epoch)


def _progress(step: float, num_warmup_steps: int, num_training_steps: int) -> float:
    """The fraction of the steps after the warmup that are done."""
    return (step - num_warmup_steps) / max(1, num_training_steps - num_warmup_steps)


def _cosine(progress: float, num_cycles: float = 0.5, lowest: float = 0.0) -> float:
    """A cosine that begins at 1, raised so that its minimum is `lowest`."""
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * num_cycles * 2.0 * progress)) * (1 - lowest) + lowest)


def get_constant_schedule(optimizer: Optimizer, last_epoch: int = -1) -> LambdaLR:
    """The optimizer's learning rate throughout.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> get_constant_schedule(optimizer).get_last_lr()
        [0.1]
    """
    return _schedule(optimizer, 0, last_epoch, lambda step: 1.0)


def get_constant_schedule_with_warmup(optimizer: Optimizer, num_warmup_steps: int, last_epoch: int = -1) -> LambdaLR:
    """A linear rise over `num_warmup_steps`, then the optimizer's learning rate.

    Example:
        >>> import torch
        >>> schedule = get_constant_schedule_with_warmup(torch.optim.SGD([torch.zeros(1)], lr=1.0), num_warmup_steps=2)
        >>> [schedule.lr_lambdas[0](step) for step in range(4)]
        [0.0, 0.5, 1.0, 1.0]
    """
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
    """A linear rise, then a cosine of `num_cycles` cycles: half a cycle falls from 1 to 0.

    Example:
        >>> import torch
        >>> schedule = get_cosine_schedule_with_warmup(torch.optim.SGD([torch.zeros(1)], lr=1.0), 0, 4)
        >>> [round(schedule.lr_lambdas[0](step), 2) for step in range(5)]
        [1.0, 0.85, 0.5, 0.15, 0.0]
    """
    return _schedule(
        optimizer,
        num_warmup_steps,
        last_epoch,
        lambda step: _cosine(_progress(step, num_warmup_steps, num_training_steps), num_cycles),
    )


def get_cosine_with_hard_restarts_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, num_cycles: int = 1, last_epoch: int = -1
) -> LambdaLR:
    """A linear rise, then `num_cycles` falls from 1 to 0 along a half cosine, each followed by a jump back to 1.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> schedule = get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, 0, 4, num_cycles=2)
        >>> [round(schedule.lr_lambdas[0](step), 2) for step in range(5)]
        [1.0, 0.5, 1.0, 0.5, 0.0]
    """

    def wave(step: int) -> float:
        progress = _progress(step, num_warmup_steps, num_training_steps)
        return 0.0 if progress >= 1.0 else _cosine((num_cycles * progress) % 1.0)

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

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> schedule = get_polynomial_decay_schedule_with_warmup(optimizer, 0, 4, lr_end=0.0, power=2.0)
        >>> [schedule.lr_lambdas[0](step) for step in range(5)]
        [1.0, 0.5625, 0.25, 0.0625, 0.0]
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

    Example:
        >>> import torch
        >>> schedule = get_inverse_sqrt_schedule(torch.optim.SGD([torch.zeros(1)], lr=1.0), num_warmup_steps=2)
        >>> [schedule.lr_lambdas[0](step) for step in (0, 2, 8)]
        [0.0, 1.0, 0.5]
    """
    scale = timescale or num_warmup_steps or 10_000
    return _schedule(
        optimizer, num_warmup_steps, last_epoch, lambda step: 1.0 / math.sqrt((step + scale - num_warmup_steps) / scale)
    )


def _lowest(optimizer: Optimizer, min_lr: float | None, min_lr_rate: float | None) -> float:
    if (min_lr is None) == (min_lr_rate is None):
        raise ConfigurationError(
            "A cosine schedule with a lowest learning rate needs exactly one of min_lr and min_lr_rate.",
            next_step="Set, for example, lr_scheduler_kwargs={'min_lr_rate': 0.1}.",
        )
    return min_lr_rate if min_lr is None else min_lr / optimizer.defaults["lr"]  # type: ignore[return-value]


def get_cosine_with_min_lr_schedule_with_warmup(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
) -> LambdaLR:
    """A linear rise, then a cosine to `min_lr`, or to the fraction `min_lr_rate` of the learning rate.

    Raises:
        ConfigurationError: unless exactly one of the two is given.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> schedule = get_cosine_with_min_lr_schedule_with_warmup(optimizer, 0, 4, min_lr_rate=0.5)
        >>> [round(schedule.lr_lambdas[0](step), 2) for step in (0, 2, 4)]
        [1.0, 0.75, 0.5]
    """
    lowest = _lowest(optimizer, min_lr, min_lr_rate)
    return _schedule(
        optimizer,
        num_warmup_steps,
        last_epoch,
        lambda step: _cosine(_progress(step, num_warmup_steps, num_training_steps), num_cycles, lowest),
    )


def get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
    warmup_lr_rate: float | None = None,
) -> LambdaLR:
    """As `get_cosine_with_min_lr_schedule_with_warmup`, but the first step does not have a learning rate of 0: it has the fraction
    `warmup_lr_rate` of the full one, by default 1 / `num_warmup_steps`.

    Raises:
        ConfigurationError: unless exactly one of `min_lr` and `min_lr_rate` is given.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> schedule = get_cosine_with_min_lr_schedule_with_warmup_lr_rate(optimizer, 2, 6, min_lr_rate=0.5)
        >>> [round(schedule.lr_lambdas[0](step), 2) for step in range(6)]
        [0.5, 1.0, 0.93, 0.75, 0.57, 0.5]
    """
    lowest = _lowest(optimizer, min_lr, min_lr_rate)

    def factor(step: int) -> float:
        if step >= num_warmup_steps:
            return _cosine(_progress(step + 1, num_warmup_steps, num_training_steps), num_cycles, lowest)
        if warmup_lr_rate is None:
            return (step + 1) / max(1, num_warmup_steps)
        return warmup_lr_rate + (1 - warmup_lr_rate) * step / max(1, num_warmup_steps - 1)

    return LambdaLR(optimizer, factor, last_epoch)


# shape -> the height of a fall from 1 to 0 when a fraction of it is done
_FALLS: dict[str, Callable[[float, float], float]] = {
    "linear": lambda progress, num_cycles: 1.0 - progress,
    "cosine": _cosine,
    "1-sqrt": lambda progress, num_cycles: 1.0 - math.sqrt(progress),
}


def get_wsd_schedule(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_decay_steps: int,
    num_training_steps: int | None = None,
    num_stable_steps: int | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: float = 0.0,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
) -> LambdaLR:
    """Warmup, stable, decay: a rise, the full learning rate, and a fall.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        num_warmup_steps, num_stable_steps, num_decay_steps: Updates of each part. Without `num_stable_steps`, the stable part
            takes what the other two leave of `num_training_steps`.
        num_training_steps: Updates of the whole run.
        warmup_type, decay_type: The shape of rise and fall: "linear", "cosine" or "1-sqrt".
        min_lr_ratio: The fraction of the learning rate at the beginning and the end.
        num_cycles: Cycles of a cosine fall.

    Raises:
        ConfigurationError: for an unknown shape, or if both `num_training_steps` and `num_stable_steps` are missing.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> schedule = get_wsd_schedule(optimizer, 2, 2, num_training_steps=6, decay_type="linear")
        >>> [schedule.lr_lambdas[0](step) for step in range(7)]
        [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0]
    """
    for name, shape in (("warmup_type", warmup_type), ("decay_type", decay_type)):
        if shape not in _FALLS:
            raise ConfigurationError(
                f"{name} has no option {shape!r}. {near_matches(str(shape), _FALLS)}".strip(),
                next_step=f"Use one of {', '.join(map(repr, _FALLS))}.",
            )
    if num_stable_steps is None:
        if num_training_steps is None:
            raise ConfigurationError(
                "A warmup-stable-decay schedule needs num_training_steps or num_stable_steps.",
                next_step="Pass one of them.",
            )
        num_stable_steps = num_training_steps - num_warmup_steps - num_decay_steps
    decay_start = num_warmup_steps + num_stable_steps

    def factor(step: int) -> float:
        if step < num_warmup_steps:
            height = _FALLS[warmup_type](1.0 - step / num_warmup_steps, 0.5)
        elif step < decay_start:
            return 1.0
        elif step < decay_start + num_decay_steps:
            height = _FALLS[decay_type]((step - decay_start) / num_decay_steps, num_cycles)
        else:
            return min_lr_ratio
        return max(0.0, height * (1.0 - min_lr_ratio) + min_lr_ratio)

    return LambdaLR(optimizer, factor, last_epoch)


def get_reduce_on_plateau_schedule(optimizer: Optimizer, **options: Any) -> ReduceLROnPlateau:
    """torch's `ReduceLROnPlateau`: a lower learning rate once a metric has stopped improving.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        options: `factor`, `patience` and others; see `torch.optim.lr_scheduler.ReduceLROnPlateau`.

    Example:
        >>> import torch
        >>> schedule = get_reduce_on_plateau_schedule(torch.optim.SGD([torch.zeros(1)], lr=1.0), patience=0, factor=0.5)
        >>> for loss in (2.0, 1.0, 1.0):
        ...     schedule.step(loss)
        >>> schedule.get_last_lr()
        [0.5]
    """
    return ReduceLROnPlateau(optimizer, **options)


SCHEDULES: dict[str, Callable[..., Any]] = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "cosine_with_restarts": get_cosine_with_hard_restarts_schedule_with_warmup,
    "cosine_with_min_lr": get_cosine_with_min_lr_schedule_with_warmup,
    "cosine_warmup_with_min_lr": get_cosine_with_min_lr_schedule_with_warmup_lr_rate,
    "polynomial": get_polynomial_decay_schedule_with_warmup,
    "constant": get_constant_schedule,
    "constant_with_warmup": get_constant_schedule_with_warmup,
    "inverse_sqrt": get_inverse_sqrt_schedule,
    "reduce_lr_on_plateau": get_reduce_on_plateau_schedule,
    "warmup_stable_decay": get_wsd_schedule,
    "greedy": get_greedy_schedule,
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
        name: A value of `SchedulerType`: linear, cosine, cosine_with_restarts, cosine_with_min_lr, cosine_warmup_with_min_lr,
            polynomial, constant, constant_with_warmup, inverse_sqrt, reduce_lr_on_plateau, warmup_stable_decay
            or greedy.
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
    if not isinstance(optimizer, Optimizer):
        raise ConfigurationError(
            f"The optimizer is {optimizer!r:.80}; expected one of torch.", next_step="Pass it second, after the name."
        )
    maker = SCHEDULES[name]
    takes = inspect.signature(maker).parameters
    counts = {"num_warmup_steps": num_warmup_steps, "num_training_steps": num_training_steps}
    counts = {key: value for key, value in counts.items() if key in takes}
    if missing := [
        key for key, value in counts.items() if value is None and takes[key].default is inspect.Parameter.empty
    ]:
        raise ConfigurationError(
            f"The schedule {name!r} needs {' and '.join(missing)}.", next_step="Pass them to get_scheduler."
        )
    try:
        return maker(optimizer, **{**counts, **(scheduler_specific_kwargs or {})})
    except TypeError as error:
        raise ConfigurationError(
            f"The schedule {name!r} rejects the options {sorted(scheduler_specific_kwargs or {})}: {error}.",
            next_step="Correct lr_scheduler_kwargs.",
        ) from error
