"""The settings of the run that wrote a checkpoint and of the run that goes on from it.

A resumed run keeps those that are part of the optimizer's state, such as the learning rate, and says so if the arguments have
others. A branch (`Trainer.branch`) uses its own. All other settings are those of the arguments in both cases.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch.optim.lr_scheduler import LambdaLR

from notebook_kit.errors import CheckpointError, notice, warn
from notebook_kit.training.arguments import TrainingArguments

__all__ = ["check_resumed", "differing", "listed", "options_of", "use_settings"]

# Settings in the optimizer's state -> the option of its parameter groups.
OF_OPTIMIZER = {
    "learning_rate": "initial_lr",
    "weight_decay": "weight_decay",
    "adam_beta1": "betas",
    "adam_beta2": "betas",
    "adam_epsilon": "eps",
}
OF_SCHEDULE = ("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps")
_OTHERS = ("max_grad_norm", "label_smoothing_factor", "neftune_noise_alpha", "bf16", "fp16")
_ONE_KIND = {"adamw_torch", "adamw_torch_fused", "adamw_hf"}  # these have the same state


def differing(former: Mapping[str, Any], args: TrainingArguments, names: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """The settings whose values differ: name -> (former value, value). One that `former` lacks does not differ.

    Args:
        former: The settings in a checkpoint, which come from JSON.
        args: The training arguments.
        names: Those to compare.
    """
    present = {name: json.loads(json.dumps(getattr(args, name), default=str)) for name in names if name in former}
    return {name: (former[name], value) for name, value in present.items() if value != former[name]}


def listed(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """Changed settings in words.

    Example:
        >>> listed({"learning_rate": (0.001, 0.01)})
        'learning_rate was 0.001, is 0.01'
    """
    return "; ".join(f"{name} was {before!r}, is {now!r}" for name, (before, now) in changes.items())


def check_resumed(former: Mapping[str, Any], args: TrainingArguments, folder: Any) -> None:
    """Say which settings of a resumed run differ from those in its checkpoint, and which of the two are used.

    Raises:
        CheckpointError: if the optimizer is of another kind.
    """
    check_optimizer(former, args, folder)
    if kept := differing(former, args, OF_OPTIMIZER):
        warn(
            f"Resuming keeps the optimizer of {folder} with its settings, not those of the arguments ({listed(kept)})."
            f" To go on with the new values: trainer.branch({str(folder)!r}).train()."
        )
    if used := differing(former, args, (*OF_SCHEDULE, *_OTHERS)):
        notice(f"Since {folder}, settings have changed, and the run goes on with the new ones: {listed(used)}.")


def check_optimizer(former: Mapping[str, Any], args: TrainingArguments, folder: Any) -> None:
    """Raise a CheckpointError if `args.optim` names an optimizer that cannot use the state in the checkpoint."""
    before = former.get("optim", args.optim)
    if before != args.optim and not {before, args.optim} <= _ONE_KIND:
        raise CheckpointError(
            f"{folder} has the state of the optimizer {before}, which optim={args.optim!r} cannot use.",
            next_step=f"Set optim={before!r}, or load the model with from_pretrained and start a new run.",
        )


def options_of(optimizer: Any) -> list[dict[str, Any]]:
    """The options of an optimizer's parameter groups, without the parameters."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def use_settings(optimizer: Any, scheduler: Any, options: list[dict[str, Any]], changed: Collection[str]) -> None:
    """Use changed settings in an optimizer and a schedule whose states were loaded from a checkpoint.

    A new learning rate is the peak of the schedule, whose progress stays.

    Args:
        optimizer, scheduler: As loaded.
        options: Those of the optimizer before, as the new settings determined them: from `options_of`.
        changed: The names of the changed settings.
    """
    names = {option for name, option in OF_OPTIMIZER.items() if name in changed}
    for group, new in zip(optimizer.param_groups, options, strict=True):
        peak = new.get("initial_lr", new["lr"])
        if "initial_lr" in names:
            former = group.get("initial_lr") or group["lr"]
            group["lr"] = group["lr"] * (peak / former) if former and group["lr"] else new["lr"]
            group["initial_lr"] = peak
        group.update({name: new[name] for name in names - {"initial_lr"} if name in new})
    if "initial_lr" in names and hasattr(scheduler, "base_lrs"):
        scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]


def follow_schedule(optimizer: Any, scheduler: Any) -> None:
    """Set the learning rates of the next step as the schedule computes them: its end or its shape has changed, and the loaded
    rates are those of the former one. For a finished run they are usually zero.
    """
    if isinstance(scheduler, LambdaLR):
        factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
        rates = [base * factor for base, factor in zip(scheduler.base_lrs, factors, strict=True)]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        scheduler._last_lr = rates
