"""Optimizers that torch lacks or has with other rules: Adafactor as T5 was trained with, and AdamW with its former defaults."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from notebook_kit.errors import ConfigurationError, InputError

__all__ = ["Adafactor", "AdafactorSchedule", "AdamW", "get_adafactor_schedule"]


class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay, with the defaults of `transformers.AdamW`, which notebooks before 2025 import.

    Without weight decay, as by default, it computes the same as that one.

    Args:
        params: Parameters or groups of them.
        lr, betas, eps, weight_decay: As for `torch.optim.AdamW`.
        correct_bias: Only True.
        no_deprecation_warning: Accepted; there is no such warning.

    Raises:
        ConfigurationError: for `correct_bias=False`.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = AdamW([weight], lr=0.1)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> round(weight.item(), 4)
        0.9
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
        no_deprecation_warning: bool = False,
    ) -> None:
        if not correct_bias:
            raise ConfigurationError(
                "AdamW(correct_bias=False), the Adam of the first BERT code, is not supported.",
                next_step="Leave correct_bias out.",
            )
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


class Adafactor(Optimizer):
    """Adam with a running mean of squared gradients per row and per column of a matrix instead of per entry.

    See Shazeer and Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, 2018. Unlike `torch.optim.Adafactor`, it
    can work without a learning rate: with `relative_step` the rate follows from the number of steps. For a schedule of your own,
    pass `lr` with `relative_step=False` and `scale_parameter=False`.

    Args:
        params: Parameters or groups of them.
        lr: The learning rate; None with `relative_step`.
        eps: Added to squared gradients; the smallest scale of a parameter.
        clip_threshold: An update with a larger root mean square is scaled down to this one.
        decay_rate: The running means at step t keep 1 - t ** decay_rate of their values.
        beta1: The part of a running mean of updates that is kept; None: no such mean.
        weight_decay: Times the learning rate, the part of a weight that is subtracted from it.
        scale_parameter: Multiply the learning rate by the root mean square of the parameter.
        relative_step: Use 1 / sqrt(step) as the learning rate, at most 0.01.
        warmup_init: Use at most 1e-6 times the step instead of 0.01.

    Raises:
        ConfigurationError: for `lr` together with `relative_step`, or `warmup_init` without it.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2, 2))
        >>> optimizer = Adafactor([weight], lr=0.1, relative_step=False, scale_parameter=False)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> round(weight[0, 0].item(), 4)
        0.9
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | None = None,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta1: float | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ) -> None:
        if lr is not None and relative_step:
            raise ConfigurationError(
                f"Adafactor got lr={lr}, but relative_step=True computes the learning rate.",
                next_step="Pass relative_step=False, or leave lr out.",
            )
        if warmup_init and not relative_step:
            raise ConfigurationError(
                "Adafactor's warmup_init=True has no effect without relative_step=True.",
                next_step="Leave one of them out.",
            )
        defaults = {
            "lr": lr,
            "eps": eps,
            "clip_threshold": clip_threshold,
            "decay_rate": decay_rate,
            "beta1": beta1,
            "weight_decay": weight_decay,
            "scale_parameter": scale_parameter,
            "relative_step": relative_step,
            "warmup_init": warmup_init,
        }
        super().__init__(params, defaults)

    @staticmethod
    def rate(group: dict[str, Any], state: dict[str, Any]) -> Any:
        """The learning rate of a parameter with this state."""
        rate = group["lr"]
        if group["relative_step"]:
            highest = 1e-6 * state["step"] if group["warmup_init"] else 1e-2
            rate = min(highest, 1.0 / math.sqrt(state["step"]))
        return max(group["eps"][1], state["RMS"]) * rate if group["scale_parameter"] else rate

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients.

        Args:
            closure: Computes the loss, and gradients, again.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group, self.state[parameter])
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        gradient, weight = parameter.grad, parameter
        assert gradient is not None
        if gradient.is_sparse:
            raise InputError("Adafactor cannot use sparse gradients.", next_step="Use torch.optim.SparseAdam for them.")
        # Half precision is too coarse for squares; the state is in single precision.
        gradient, weight = (t.float() if t.dtype.itemsize < 4 else t for t in (gradient, weight))
        if not state:
            state["step"] = 0
            if group["beta1"] is not None:
                state["exp_avg"] = torch.zeros_like(gradient)
            if gradient.ndim >= 2:
                state["exp_avg_sq_row"] = gradient.new_zeros(gradient.shape[:-1])
                state["exp_avg_sq_col"] = gradient.new_zeros(gradient.shape[:-2] + gradient.shape[-1:])
            else:
                state["exp_avg_sq"] = torch.zeros_like(gradient)
        for name, value in state.items():
            if name.startswith("exp_avg"):  # a loaded state has the parameter's type
                state[name] = value.to(gradient)
        state["step"] += 1
        state["RMS"] = _root_mean_square(weight)
        rate = self.rate(group, state)
        change = state["step"] ** group["decay_rate"]
        squared = gradient**2 + group["eps"][0]
        if gradient.ndim >= 2:
            row = state["exp_avg_sq_row"].mul_(1.0 - change).add_(squared.mean(dim=-1), alpha=change)
            column = state["exp_avg_sq_col"].mul_(1.0 - change).add_(squared.mean(dim=-2), alpha=change)
            scale = (row / row.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1) * column.unsqueeze(-2).rsqrt()
        else:
            scale = state["exp_avg_sq"].mul_(1.0 - change).add_(squared, alpha=change).rsqrt()
        update = scale * gradient
        update.div_((_root_mean_square(update) / group["clip_threshold"]).clamp_(min=1.0)).mul_(rate)
        if group["beta1"] is not None:
            update = state["exp_avg"].mul_(group["beta1"]).add_(update, alpha=1 - group["beta1"])
        if group["weight_decay"]:
            weight.add_(weight, alpha=-group["weight_decay"] * float(rate))
        weight.sub_(update)
        if weight is not parameter:
            parameter.copy_(weight)


def _root_mean_square(tensor: Tensor) -> Tensor:
    return tensor.norm(2) / tensor.numel() ** 0.5


class AdafactorSchedule(LambdaLR):
    """Shows the learning rates that an `Adafactor` with `relative_step` computes, for loops that need a schedule.

    Args:
        optimizer: An `Adafactor`.
        initial_lr: The learning rate to show before the first step.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2, 2))
        >>> optimizer = Adafactor([weight])
        >>> schedule = AdafactorSchedule(optimizer, initial_lr=0.5)
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, initial_lr: float = 0.0) -> None:
        for group in optimizer.param_groups:
            group["initial_lr"] = initial_lr
        super().__init__(optimizer, lambda _: initial_lr)
        for group in optimizer.param_groups:
            del group["initial_lr"]

    def get_lr(self) -> list[Any]:
        """The learning rate of the first parameter of each group that has a gradient."""
        first = [(group, group["params"][0]) for group in self.optimizer.param_groups]
        rates = [Adafactor.rate(group, self.optimizer.state[p]) for group, p in first if self.optimizer.state.get(p)]
        return rates or self.base_lrs


def get_adafactor_schedule(optimizer: Optimizer, initial_lr: float = 0.0) -> AdafactorSchedule:
    """An `AdafactorSchedule` of an optimizer.

    Example:
        >>> get_adafactor_schedule(Adafactor([torch.nn.Parameter(torch.ones(1))]), 0.1).get_last_lr()
        [0.1]
    """
    return AdafactorSchedule(optimizer, initial_lr)
