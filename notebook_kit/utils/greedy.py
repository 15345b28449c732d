"""A learning rate that rises while a metric improves and falls once it does not."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from torch.optim import Optimizer

from notebook_kit.errors import ConfigurationError

__all__ = ["GreedyLR", "get_greedy_schedule"]


@dataclass
class _Progress:
    """What changes from step to step."""

    best: float
    reset_start: int
    good: int = 0
    bad: int = 0
    pause: int = 0
    last_epoch: int = 0
    window: list[float] = field(default_factory=list)


class GreedyLR:
    """Divides the learning rate by `factor` after more than `patience` better values of a metric in a row, and multiplies it by
    `factor` after as many that are not better (GreedyLR, https://arxiv.org/abs/2512.14527).

    Args:
        optimizer: The optimizer whose learning rate it sets.
        mode: "min" if a lower metric is better, else "max".
        factor: Below 1.
        patience: In steps.
        threshold: A smaller change of the metric does not count; with `threshold_mode="rel"`, as a fraction of the best value.
        threshold_mode: "abs" or "rel".
        cooldown, warmup: Steps that do not count after the learning rate was lowered or raised.
        min_lr, max_lr: Bounds, for all parameter groups or one for each.
        eps: A smaller change of the learning rate is not made.
        verbose: Accepted; the learning rate is in the logs.
        smooth: Use the mean of the last `window_size` values.
        window_size: In steps.
        reset_start: Begin again with the first learning rate after this number of reductions at `min_lr`.

    Raises:
        ConfigurationError: for an unknown mode, a factor that is not below 1, or bounds of the wrong number.

    Example:
        >>> import torch
        >>> schedule = GreedyLR(torch.optim.SGD([torch.zeros(1)], lr=0.1), patience=1, factor=0.5)
        >>> for loss in (4.0, 3.0):
        ...     schedule.step(loss)
        >>> schedule.get_last_lr()
        [0.2]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.95,
        patience: int = 10,
        threshold: float = 1e-6,
        threshold_mode: str = "abs",
        cooldown: int = 0,
        warmup: int = 0,
        min_lr: float | list[float] = 1e-3,
        max_lr: float | list[float] = 1.0,
        eps: float = 1e-8,
        verbose: bool = False,
        smooth: bool = False,
        window_size: int = 50,
        reset_start: int = 500,
    ) -> None:
        for name, value, options in (
            ("mode", mode, ("min", "max")),
            ("threshold_mode", threshold_mode, ("abs", "rel")),
        ):
            if value not in options:
                raise ConfigurationError(f"GreedyLR's {name} is {value!r}.", next_step=f"Use {' or '.join(options)}.")
        if factor >= 1:
            raise ConfigurationError(f"GreedyLR's factor is {factor}.", next_step="Use one below 1, such as 0.95.")
        self.optimizer = optimizer
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode, self.eps = threshold, threshold_mode, eps
        self.cooldown, self.warmup, self.reset_start = cooldown, warmup, reset_start
        self.window_size = window_size if smooth else 1
        self.min_lrs, self.max_lrs = self._bounds("min_lr", min_lr), self._bounds("max_lr", max_lr)
        self.first_lrs = self.get_last_lr()
        self.progress = self._start()

    def _bounds(self, name: str, value: float | list[float]) -> list[float]:
        count = len(self.optimizer.param_groups)
        bounds = list(value) if isinstance(value, list | tuple) else [value] * count
        if len(bounds) != count:
            raise ConfigurationError(
                f"GreedyLR got {len(bounds)} values of {name} for {count} parameter groups.",
                next_step="Pass one number, or one for each group.",
            )
        return bounds

    def _start(self) -> _Progress:
        return _Progress(math.inf if self.mode == "min" else -math.inf, self.reset_start)

    def get_last_lr(self) -> list[float]:
        """The learning rate of each parameter group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def step(self, metrics: float, epoch: int | None = None) -> None:
        """Take a value of the metric into account.

        Args:
            metrics: The value.
            epoch: The number of this step; by default the next one.
        """
        progress = self.progress
        progress.last_epoch = progress.last_epoch + 1 if epoch is None else epoch
        progress.window = [*progress.window, float(metrics)][-self.window_size :]
        value = sum(progress.window) / len(progress.window)
        if progress.pause:
            progress.pause -= 1
            progress.good = progress.bad = 0
        elif self.is_better(value, progress.best):
            progress.best, progress.good, progress.bad = value, progress.good + 1, 0
        else:
            progress.good, progress.bad = 0, progress.bad + 1
        if progress.good > self.patience:
            self._scale(1 / self.factor)
            progress.good, progress.pause, progress.reset_start = 0, self.warmup, self.reset_start
        elif progress.bad > self.patience:
            progress.bad, progress.pause = 0, self.cooldown
            self._scale(self.factor)
            if all(rate <= lowest for rate, lowest in zip(self.get_last_lr(), self.min_lrs, strict=True)):
                progress.reset_start -= 1
                if progress.reset_start <= 0:
                    self._begin_again()

    def is_better(self, current: float, best: float) -> bool:
        """Whether a value is better than the best so far by more than the threshold."""
        sign = -1.0 if self.mode == "min" else 1.0
        bound = best * (1 + sign * self.threshold) if self.threshold_mode == "rel" else best + sign * self.threshold
        return current < bound if self.mode == "min" else current > bound

    def _scale(self, by: float) -> None:
        for group, lowest, highest in zip(self.optimizer.param_groups, self.min_lrs, self.max_lrs, strict=True):
            rate = float(group["lr"])
            wanted = max(rate * by, lowest) if by < 1 else min(rate * by, highest)
            if (wanted - rate) * (by - 1) > 0 and abs(wanted - rate) > self.eps:
                group["lr"] = wanted

    def _begin_again(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.first_lrs, strict=True):
            group["lr"] = rate
        last_epoch, self.progress = self.progress.last_epoch, self._start()
        self.progress.last_epoch = last_epoch

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here."""
        return {"progress": asdict(self.progress), "first_lrs": self.first_lrs, "lrs": self.get_last_lr()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.progress, self.first_lrs = _Progress(**state_dict["progress"]), state_dict["first_lrs"]
        for group, rate in zip(self.optimizer.param_groups, state_dict["lrs"], strict=True):
            group["lr"] = rate


def get_greedy_schedule(optimizer: Optimizer, **options: Any) -> GreedyLR:
    """A `GreedyLR`, with its options.

    Example:
        >>> import torch
        >>> get_greedy_schedule(torch.optim.SGD([torch.zeros(1)], lr=0.1), patience=3).get_last_lr()
        [0.1]
    """
    return GreedyLR(optimizer, **options)
