"""From the names in TrainingArguments to a torch optimizer with its parameter groups."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from notebook_kit.errors import ConfigurationError, near_matches

if TYPE_CHECKING:
    from notebook_kit.training.arguments import TrainingArguments

_NO_DECAY_NAME = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def decayed_names(model: nn.Module) -> set[str]:
    """Names of the parameters that weight decay pulls: all but biases and the weights of normalizations."""
    in_norms = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    # Names are looked at in lower case: the Hub's checkpoints write both LayerNorm and layernorm.
    return {
        name for name, _ in model.named_parameters() if name not in in_norms and not _NO_DECAY_NAME.search(name.lower())
    }


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters in two groups: with weight decay and without."""
    decayed = decayed_names(model)
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trainable:
        raise ConfigurationError(
            "The model has no parameter to train: each has requires_grad=False.",
            next_step="Unfreeze some, for example model.classifier.requires_grad_(True).",
        )
    return [
        {"params": [parameter for name, parameter in trainable if name in decayed], "weight_decay": weight_decay},
        {"params": [parameter for name, parameter in trainable if name not in decayed], "weight_decay": 0.0},
    ]


def _adam(args: TrainingArguments) -> dict[str, Any]:
    return {"betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}


OPTIMIZERS: dict[str, Any] = {
    "adamw_torch_fused": lambda args: (torch.optim.AdamW, {**_adam(args), "fused": True}),
    "adamw_torch": lambda args: (torch.optim.AdamW, _adam(args)),
    "adamw_hf": lambda args: (torch.optim.AdamW, _adam(args)),
    "nadamw_torch": lambda args: (torch.optim.NAdam, {**_adam(args), "decoupled_weight_decay": True}),
    "adafactor": lambda args: (torch.optim.Adafactor, {}),
    "sgd": lambda args: (torch.optim.SGD, {}),
    "adagrad": lambda args: (torch.optim.Adagrad, {}),
    "rmsprop": lambda args: (torch.optim.RMSprop, {}),
}


def _number(text: str) -> Any:
    try:
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
    except ValueError:
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def optimizer_class_and_options(args: TrainingArguments) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The class that `args.optim` names and the keyword arguments for it.

    Raises:
        ConfigurationError: for an optimizer that is not among ours.
    """
    if args.optim not in OPTIMIZERS:
        raise ConfigurationError(
            f"There is no optimizer named {args.optim!r} here. {near_matches(args.optim, OPTIMIZERS)}".strip(),
            next_step=f"Use one of {', '.join(OPTIMIZERS)}, or pass Trainer(optimizers=(your_optimizer, None)).",
        )
    kind, options = OPTIMIZERS[args.optim](args)
    options["lr"] = args.learning_rate
    if args.optim_args:
        pairs = (pair.split("=", 1) for pair in args.optim_args.replace(" ", "").split(","))
        options.update({name: _number(value) for name, value in pairs})
    return kind, options
