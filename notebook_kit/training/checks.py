"""What a Trainer finds out before it runs: whether its parts can be used, what its model takes, how long the run is."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

from torch import nn

from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.inputs import inputs_of, unwrap
from notebook_kit.training.arguments import TrainingArguments


def checked_args(args: Any) -> TrainingArguments:
    """The arguments, or the default ones.

    Raises:
        ConfigurationError: for something else.
    """
    if args is None:
        return TrainingArguments()
    if isinstance(args, TrainingArguments):
        return args
    raise ConfigurationError(
        f"Trainer got args of the type {type(args).__module__}.{type(args).__name__}; expected TrainingArguments.",
        next_step="Make them with notebook_kit.TrainingArguments(...).",
    )


def checked_model(model: Any, model_init: Callable[..., nn.Module] | None) -> nn.Module:
    """The model that was given or that `model_init` makes.

    Raises:
        InputError: if there is none, there are two, or it is no torch module.
    """
    if (model is None) == (model_init is None):
        raise InputError(
            "Trainer needs a model or model_init" + (", not both." if model is not None else "; neither was given."),
            next_step="Pass model=AutoModelForSequenceClassification.from_pretrained(name, num_labels=...).",
        )
    if isinstance(model, str):
        raise InputError(
            f"Trainer got the name {model!r} as its model.",
            next_step=f"Load it first: AutoModelForSequenceClassification.from_pretrained({model!r}).",
        )
    if model is None and model_init is not None:
        model = call_model_init(model_init)
    if not isinstance(model, nn.Module):
        raise InputError(
            f"Trainer got a {type(model).__name__} as its model; expected a torch.nn.Module.",
            next_step="Pass a model; a pipeline has one as pipeline.model.",
        )
    return model


def call_model_init(model_init: Callable[..., nn.Module]) -> nn.Module:
    """The model that `model_init` makes; it may take a trial, which is None here."""
    return model_init(None) if takes_positional(model_init) else model_init()


def takes_positional(function: Callable[..., Any]) -> bool:
    """Whether a function must be given one positional argument."""
    required = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) == 1


@dataclass(frozen=True)
class Plan:
    """How long a run is.

    Attributes:
        batches_per_epoch, updates_per_epoch: For this process.
        epochs: Passes over the data, the last one perhaps in part.
        max_steps: Updates in all.
        samples: Examples in all, over all processes.
    """

    batches_per_epoch: int
    updates_per_epoch: int
    epochs: int
    max_steps: int
    samples: float

    @classmethod
    def of(cls, loader: Any, examples: int | None, args: TrainingArguments, world_size: int) -> Plan:
        """The plan for a loader that may not know how many batches it has (`examples` is None then).

        Raises:
            ConfigurationError: if there is neither a length nor `max_steps`.
        """
        accumulation = args.gradient_accumulation_steps
        per_update = args.train_batch_size * accumulation * world_size
        if examples is None:
            if args.max_steps <= 0:
                raise ConfigurationError(
                    "The training data has no length (it is a stream), so epochs cannot be counted.",
                    next_step="Set max_steps to the number of updates to do.",
                )
            batches = args.max_steps * accumulation
            return cls(batches, args.max_steps, sys.maxsize, args.max_steps, args.max_steps * per_update)
        batches = len(loader)
        if not batches:
            raise InputError(
                f"The training data has {examples} examples, which make no batch of {args.train_batch_size}.",
                next_step="Set a smaller per_device_train_batch_size, or dataloader_drop_last=False.",
            )
        updates = max(1, math.ceil(batches / accumulation))
        if args.max_steps > 0:
            epochs = math.ceil(args.max_steps / updates)
            return cls(batches, updates, epochs, args.max_steps, args.max_steps * per_update)
        steps = math.ceil(args.num_train_epochs * updates)
        return cls(batches, updates, math.ceil(args.num_train_epochs), steps, examples * args.num_train_epochs)


def length_of(loader: Any) -> int | None:
    """The length of a loader, or None if it is a stream."""
    try:
        return len(loader) if isinstance(loader, Sized) else None
    except TypeError:
        return None


def check_head(model: nn.Module) -> None:
    """Raise an InputError if `model` is one of ours without a head: it takes no labels, so it has no loss."""
    if isinstance(unwrap(model), PreTrainedModel) and not inputs_of(model).labels:
        raise InputError(
            f"{type(model).__name__} gives hidden states and takes no labels, so there is nothing to train it by.",
            next_step="Load the checkpoint with a head, such as AutoModelForSequenceClassification, or pass"
            " compute_loss_func.",
        )


def enable_gradient_checkpointing(model: nn.Module, options: dict[str, Any] | None) -> None:
    """Let the model compute activations anew in the backward pass instead of keeping them.

    Raises:
        ConfigurationError: if the model cannot.
    """
    if not hasattr(model, "gradient_checkpointing_enable"):
        raise ConfigurationError(
            f"gradient_checkpointing=True, but {type(model).__name__} has no gradient_checkpointing_enable.",
            next_step="Leave it out, or use a model of this library.",
        )
    enable: Any = model.gradient_checkpointing_enable
    enable(**({"gradient_checkpointing_kwargs": options} if options else {}))
