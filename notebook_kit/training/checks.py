"""Checks of a Trainer's arguments, with errors that name the next step."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable
from typing import Any

from torch import nn

from notebook_kit.errors import ConfigurationError, InputError, a_kind, near_matches, notice
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.inputs import inputs_of, takes_name, unwrap
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.state import TrainerLike

logger = logging.getLogger(__name__)


def checked_args(args: Any) -> TrainingArguments:
    """`args`, or the default arguments for None.

    Raises:
        ConfigurationError: if `args` has another type, or values that cannot be used.
    """
    if args is None:
        return TrainingArguments()
    if isinstance(args, TrainingArguments):
        args.check()  # values may have been set since they were created
        return args
    raise ConfigurationError(
        f"Trainer got args of type {type(args).__module__}.{type(args).__name__}; expected TrainingArguments.",
        next_step="Create them with notebook_kit.TrainingArguments(...).",
    )


def check_trainer(what: str, trainer: Any) -> None:
    """Raise an InputError if `what`, a class or function that takes a Trainer, got something else."""
    if not hasattr(trainer, "get_train_dataloader"):
        raise InputError(
            f"{what} got {a_kind(trainer)}; expected a Trainer.",
            next_step=f"Create one first: {what}(Trainer(model, args, train_dataset=dataset)).",
        )


def check_names(unknown: dict[str, Any], kind: type) -> None:
    """Raise a ConfigurationError for keyword arguments that the constructor of `kind` does not have."""
    if unknown:
        name, known = next(iter(unknown)), [n for n in inspect.signature(kind).parameters if n != "unknown"]
        settings = [field.name for field in dataclasses.fields(TrainingArguments)]
        raise ConfigurationError(
            f"{kind.__name__} has no argument {name!r}. {near_matches(name, known)}".strip(),
            next_step=f"Set it in TrainingArguments({name}=...), and pass these as args."
            if name in settings
            else f"Correct the name; help({kind.__name__}) lists them all.",
        )


def checked_processor(processing_class: Any, tokenizer: Any) -> Any:
    """The tokenizer or other processor, given under its current or its older name."""
    if tokenizer is not None and processing_class is not None and processing_class is not tokenizer:
        raise ConfigurationError(
            "Trainer got both processing_class and its older name tokenizer.", next_step="Keep processing_class."
        )
    return processing_class if processing_class is not None else tokenizer


def checked_optimizers(optimizers: Any) -> tuple[Any, Any]:
    """The optimizer and the schedule, each of which may be None."""
    if isinstance(optimizers, tuple | list) and len(optimizers) == 2:
        return optimizers[0], optimizers[1]
    raise InputError(
        f"optimizers is {optimizers!r:.80}; expected an optimizer and a schedule.",
        next_step="Pass optimizers=(optimizer, schedule), where each may be None.",
    )


# What the Trainer calls each function with. `call_model_init` calls model_init.
_FUNCTIONS: dict[str, tuple[str, ...] | None] = {
    "model_init": None,
    "data_collator": ("examples",),
    "compute_metrics": ("prediction",),
    "compute_loss_func": ("outputs", "labels"),
    "preprocess_logits_for_metrics": ("logits", "labels"),
}


def check_functions(trainer: TrainerLike) -> None:
    """Raise an InputError if an argument that is a function is something else, or takes other arguments."""
    for name, given in _FUNCTIONS.items():
        value = getattr(trainer, name)
        if isinstance(value, nn.Module) and name == "model_init":
            raise InputError(
                f"model_init is {a_kind(value)}; expected a function that returns a new model.",
                next_step="Pass the model as model, or a function: model_init=lambda: AutoModel....from_pretrained(name).",
            )
        if value is not None and not callable(value):
            raise InputError(
                f"{name} is {value!r}, of type {type(value).__name__}; expected a function.",
                next_step=f"Pass the function itself: {name}=function, without parentheses.",
            )
        if value is not None and given is not None:
            _check_takes(name, value, given)


def _check_takes(name: str, function: Callable[..., Any], given: tuple[str, ...]) -> None:
    counted = name == "compute_loss_func" and takes_name(function, "num_items_in_batch")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # compiled code has none
        return
    options: dict[str, Any] = {"num_items_in_batch": None} if counted else {}
    if name == "compute_metrics" and "compute_result" in signature.parameters:
        options["compute_result"] = True
    try:
        signature.bind(*given, **options)
    except TypeError as error:
        unpacked = ", and unpack it: `logits, labels = prediction`" if name == "compute_metrics" else ""
        raise InputError(
            f"{name} takes the arguments {signature}, but is called as {name}({', '.join(given)}): {error}.",
            next_step=f"Define it as `def {name}({', '.join(given)})`{unpacked}.",
        ) from error


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
        return call_model_init(model_init)
    _check_model(model, f"Trainer got {a_kind(model)} as its model")
    return model


def _check_model(model: Any, given: str) -> None:
    """Raise an InputError that begins with `given` if a model is not one of PyTorch."""
    if callable(getattr(type(model), "to_torch", None)):
        raise InputError(
            f"{a_kind(model, starts=True)} is a model of Keras, and the Trainer trains models of PyTorch.",
            next_step="Call model.compile(optimizer=...) and model.fit(...), or pass model.to_torch().",
        )
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{given}; expected a torch.nn.Module.",
            next_step="Pass a model; a pipeline has one as pipeline.model."
            if model is not None
            else "End the function with `return model`.",
        )


def call_model_init(model_init: Callable[..., nn.Module], trial: Any = None) -> nn.Module:
    """The model that `model_init` returns. It may take a trial of a search.

    Raises:
        InputError: if it takes other arguments, or returns something else.
    """
    try:
        parameters = inspect.signature(model_init).parameters.values()
    except (TypeError, ValueError):  # compiled code has none
        parameters = {}.values()
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(required) > 1 or any(p.kind is p.KEYWORD_ONLY for p in required):
        raise InputError(
            f"model_init needs the arguments {', '.join(p.name for p in required)}, but is called as model_init() or"
            " model_init(trial).",
            next_step="Define it as `def model_init():`; with functools.partial it can be given more.",
        )
    model = model_init(trial) if required else model_init()
    _check_model(model, f"model_init returned {'None' if model is None else f'{a_kind(model)}'}")
    return model


def check_head(model: nn.Module) -> None:
    """Raise an InputError if `model` is a notebook_kit model without a head: it takes no labels, so it has no loss.

    A model that compares texts with images takes none, either: its batches have `return_loss=True`.
    """
    inputs = inputs_of(model)
    if isinstance(unwrap(model), PreTrainedModel) and not inputs.labels and "return_loss" not in inputs.names:
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
    if options and isinstance(unwrap(model), PreTrainedModel) and options != {"use_reentrant": False}:
        notice(
            f"gradient_checkpointing_kwargs={options!r} has no effect: models of notebook_kit always recompute without"
            " re-entering autograd, as use_reentrant=False does."
        )
    enable: Any = model.gradient_checkpointing_enable
    enable(**({"gradient_checkpointing_kwargs": options} if options else {}))
