"""Optimizers and learning rate schedules, by their names in TrainingArguments."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from notebook_kit.errors import ConfigurationError, MissingDependencyError
from notebook_kit.utils.greedy import GreedyLR
from notebook_kit.utils.optimizers import Adafactor
from notebook_kit.utils.schedules import get_scheduler

if TYPE_CHECKING:
    from notebook_kit.training.arguments import TrainingArguments

__all__ = ["decayed_names", "make_scheduler", "optimizer_class_and_options", "parameter_groups"]

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
    "adafactor": (Adafactor, {"scale_parameter": False, "relative_step": False}, False),
    "sgd": (torch.optim.SGD, {}, False),
    "adagrad": (torch.optim.Adagrad, {}, False),
    "rmsprop": (torch.optim.RMSprop, {}, False),
}
# Those of packages that need not be installed: name -> package, class, and options.
OF_PACKAGES: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{
        f"{prefix}{kind}_{bits}bit": ("bitsandbytes", name, {"optim_bits": bits, "is_paged": bool(prefix)})
        for kind, name in (("adamw", "AdamW"), ("lion", "Lion"), ("ademamix", "AdEMAMix"))
        for prefix in ("", "paged_")
        for bits in (8, 32)
        if prefix or (kind, bits) not in (("adamw", 32), ("ademamix", 32))
    },
    "ademamix": ("bitsandbytes", "AdEMAMix", {"optim_bits": 32, "is_paged": False}),
    "adamw_bnb_8bit": ("bitsandbytes", "AdamW", {"optim_bits": 8, "is_paged": False}),
    "rmsprop_bnb": ("bitsandbytes", "RMSprop", {"optim_bits": 32}),
    "rmsprop_bnb_8bit": ("bitsandbytes", "RMSprop", {"optim_bits": 8}),
    "rmsprop_bnb_32bit": ("bitsandbytes", "RMSprop", {"optim_bits": 32}),
    "adamw_torch_8bit": ("torchao", "AdamW8bit", {"block_size": 256, "bf16_stochastic_round": False}),
    "adamw_torch_4bit": ("torchao", "AdamW4bit", {"block_size": 256, "bf16_stochastic_round": False}),
}


def _number(text: str) -> Any:
    try:
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
    except ValueError:
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def optimizer_class_and_options(args: TrainingArguments) -> tuple[type[Optimizer], dict[str, Any]]:
    """The optimizer class that `args.optim` names, and its keyword arguments.

    Raises:
        MissingDependencyError: for an optimizer of a package that is not installed.
    """
    kind, own, is_adam = OPTIMIZERS.get(args.optim) or _of_package(args.optim)
    options = {**own, "lr": args.learning_rate}
    if is_adam:
        options |= {"betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}
    if args.optim_args:
        pairs = (pair.split("=", 1) for pair in args.optim_args.replace(" ", "").split(","))
        options.update({name: _number(value) for name, value in pairs})
    if kind.__name__ == "Lion":
        del options["eps"]  # it divides by no estimate
    if kind.__name__ == "AdEMAMix":
        beta1, beta2 = options.pop("beta1", args.adam_beta1), options.pop("beta2", args.adam_beta2)
        options["betas"] = (beta1, beta2, options.pop("beta3", 0.9999))
        options.setdefault("alpha", 5.0)
    return kind, options


def _of_package(name: str) -> tuple[type[Optimizer], dict[str, Any], bool]:
    """An optimizer of a package that need not be installed.

    Raises:
        MissingDependencyError: if it is not.
    """
    package, kind, options = OF_PACKAGES[name]
    try:
        module = importlib.import_module(f"{package}.optim")
    except ImportError as error:
        raise MissingDependencyError(
            f"optim={name!r} is an optimizer of {package}, which is not installed: {error}",
            next_step=f"Run `pip install {package}`, or use optim='adamw_torch'.",
        ) from None
    return getattr(module, kind), options, kind != "RMSprop"


# ----------------------------------------------------------------------------------------------------- schedules


def follows_metric(scheduler: Any) -> bool:
    """Whether a schedule steps after each evaluation, by its metric, instead of after each update."""
    return isinstance(scheduler, ReduceLROnPlateau | GreedyLR)


def current_learning_rate(optimizer: Any, scheduler: Any) -> float:
    """The learning rate of the first parameter group, as the schedule has set it for the next update."""
    if follows_metric(scheduler):
        return float(optimizer.param_groups[0]["lr"])
    return float(scheduler.get_last_lr()[0])


def make_scheduler(args: TrainingArguments, optimizer: Optimizer, num_training_steps: int) -> LRScheduler:
    """The schedule that the arguments name, for a run of `num_training_steps` updates."""
    options = dict(args.lr_scheduler_kwargs or {})
    if args.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy"):
        options.setdefault("mode", "max" if args.greater_is_better else "min")
    warmup = args.get_warmup_steps(num_training_steps)
    return get_scheduler(args.lr_scheduler_type, optimizer, warmup, num_training_steps, options)
