"""What the hooks of a Trainer return, checked with errors that name the hook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from notebook_kit.errors import InputError, a_kind
from notebook_kit.nn.inputs import takes_name
from notebook_kit.training.state import TrainerLike


def checked_loss(hook: str, loss: Any) -> torch.Tensor:
    """The loss that `hook` returned.

    Raises:
        InputError: if it is not a tensor.
    """
    if isinstance(loss, torch.Tensor):
        return loss
    next_step = "Return the loss as a tensor, without .item()."
    if loss is None:
        next_step = "End it with `return loss`."
    elif isinstance(loss, tuple | list):
        next_step = "Return (loss, outputs) only if return_outputs is true, otherwise just the loss."
    raise InputError(f"{hook} returned {_kind(loss)}; expected the loss.", next_step=next_step)


def loss_with_gradient(trainer: TrainerLike, loss: Any) -> torch.Tensor:
    """The loss that `compute_loss` returned, as a scalar that can be differentiated."""
    hook = name_of(trainer, "compute_loss")
    loss = checked_loss(hook, loss)
    if not loss.requires_grad:
        raise InputError(
            f"{hook} returned a loss that does not depend on any trainable parameter.",
            next_step="Compute it from the model's outputs, without .detach(), .item() or torch.no_grad().",
        )
    return loss.mean() if loss.ndim else loss


def loss_and_outputs(
    trainer: TrainerLike, model: torch.nn.Module, inputs: dict[str, Any], items: dict[str, Any]
) -> tuple[torch.Tensor, Any]:
    """The loss and the outputs that `compute_loss` returns in an evaluation."""
    hook, next_step = (
        name_of(trainer, "compute_loss"),
        "End it with `return (loss, outputs) if return_outputs else loss`.",
    )
    if not takes_name(trainer.compute_loss, "return_outputs"):
        raise InputError(
            f"{hook} does not take return_outputs, which evaluations pass.",
            next_step=f"Add the parameter return_outputs=False. {next_step}",
        )
    result = trainer.compute_loss(model, inputs, return_outputs=True, **items)
    if not isinstance(result, tuple | list) or len(result) != 2:
        problem = f"{hook} returned {_kind(result)} for return_outputs=True; expected the loss and the outputs."
        raise InputError(problem, next_step=next_step)
    return checked_loss(hook, result[0]), result[1]


def prediction(trainer: TrainerLike, result: Any) -> tuple[torch.Tensor | None, Any, Any]:
    """The loss, logits and labels that `prediction_step` returned."""
    if isinstance(result, tuple | list) and len(result) == 3:
        return result[0], result[1], result[2]
    raise InputError(
        f"{name_of(trainer, 'prediction_step')} returned {_kind(result)}; expected the loss, the logits and the labels.",
        next_step="End it with `return loss, logits, labels`, where each may be None.",
    )


def checked_metrics(metrics: Any) -> dict[str, Any]:
    """What `compute_metrics` returned."""
    if isinstance(metrics, Mapping):
        return dict(metrics)
    raise InputError(
        f"compute_metrics returned {_kind(metrics)}; expected a dictionary of numbers.",
        next_step='End it with `return {"accuracy": accuracy}`, with a name for each number.',
    )


def checked_logits(logits: Any) -> Any:
    """What `preprocess_logits_for_metrics` returned."""
    if logits is None:
        raise InputError(
            "preprocess_logits_for_metrics returned None; expected the logits for compute_metrics.",
            next_step="End it with `return logits`.",
        )
    return logits


def name_of(trainer: TrainerLike, hook: str) -> str:
    """The name of a method for messages, with its class."""
    return f"{type(trainer).__name__}.{hook}"


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"{a_kind(value)} of {len(value)}"
    return a_kind(value)
