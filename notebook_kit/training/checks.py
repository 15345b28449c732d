"""Checks of a Trainer's arguments, with errors that name the next step."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from torch import nn

from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.inputs import inputs_of, unwrap
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.state import TrainerLike

logger = logging.getLogger(__name__)


def checked_args(args: Any) -> TrainingArguments:
    """`args`, or the default arguments for None.

    Raises:
        ConfigurationError: if `args` has another type.
    """
    if args is None:
        return TrainingArguments()
    if isinstance(args, TrainingArguments):
        return args
    raise ConfigurationError(
        f"Trainer got args of type {type(args).__module__}.{type(args).__name__}; expected TrainingArguments.",
        next_step="Create them with notebook_kit.TrainingArguments(...).",
    )


def check_functions(trainer: TrainerLike) -> None:
    """Raise an InputError if an argument that is a function is something else."""
    functions = ("model_init", "data_collator", "compute_metrics", "compute_loss_func", "preprocess_logits_for_metrics")
    for name in functions:
        value = getattr(trainer, name)
        if value is not None and not callable(value):
            raise InputError(
                f"{name} is {value!r}, of type {type(value).__name__}; expected a function.",
                next_step=f"Pass the function itself: {name}=function, without parentheses.",
            )


def checked_model(model: Any, model_init: Callable[..., nn.Module] | None) -> nn.Module:
    """`model`, or the model that `model_init` returns.

    Raises:
        InputError: if neither or both are given, or the model is not a torch module.
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
    if model_init is not None:
        model = call_model_init(model_init)
    if not isinstance(model, nn.Module):
        raise InputError(
            f"Trainer got a {type(model).__name__} as its model; expected a torch.nn.Module.",
            next_step="Pass a model; a pipeline has one as pipeline.model.",
        )
    return model


def call_model_init(model_init: Callable[..., nn.Module], trial: Any = None) -> nn.Module:
    """The model that `model_init` returns. It may take a trial of a search."""
    parameters = inspect.signature(model_init).parameters.values()
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return model_init(trial) if len(required) == 1 else model_init()


def check_head(model: nn.Module) -> None:
    """Raise an InputError if `model` is a notebook_kit model without a head: it takes no labels, so it has no loss."""
    if isinstance(unwrap(model), PreTrainedModel) and not inputs_of(model).labels:
        raise InputError(
            f"{type(model).__name__} returns hidden states and takes no labels, so it has no loss to train on.",
            next_step="Load the checkpoint with a head, such as AutoModelForSequenceClassification, or pass"
            " compute_loss_func.",
        )


def align_special_tokens(model: nn.Module, processor: Any) -> None:
    """Set the special tokens of the model's configurations to those of its tokenizer, where the tokenizer has them.

    A token that was added for fine-tuning, such as one for padding, is then known to the model that is saved. The generation
    configuration keeps its other end tokens.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    config = getattr(model, "config", None)
    config = getattr(config, "text_config", None) or config
    changed: dict[str, int] = {}
    for name in ("eos_token_id", "bos_token_id", "pad_token_id"):
        token = getattr(tokenizer, name, None)
        for part in (config, getattr(model, "generation_config", None)):
            former = getattr(part, name, None)
            several = former if isinstance(former, list) else [] if former is None else [former]
            if part is None or token is None or token in several:
                continue
            keeps = name == "eos_token_id" and (part is not config or isinstance(former, list))
            setattr(part, name, [token, *several] if keeps and several else token)
            changed[name] = token
    if changed:
        logger.warning("The model's configuration now has the special tokens of the tokenizer: %s.", changed)


def enable_gradient_checkpointing(model: nn.Module, options: dict[str, Any] | None) -> None:
    """Make the model recompute activations in the backward pass instead of keeping them.

    Raises:
        ConfigurationError: if the model does not support this.
    """
    if not hasattr(model, "gradient_checkpointing_enable"):
        raise ConfigurationError(
            f"gradient_checkpointing=True, but {type(model).__name__} has no gradient_checkpointing_enable.",
            next_step="Leave it out, or use a notebook_kit model.",
        )
    enable: Any = model.gradient_checkpointing_enable
    enable(**({"gradient_checkpointing_kwargs": options} if options else {}))
