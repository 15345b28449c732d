"""The work of a run: floating point operations and tokens."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from notebook_kit.training.state import TrainerLike

# The number of values in the parameters of a model that are not embeddings; counting takes as long as a small step.
_dense: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()


def floating_point_ops(trainer: TrainerLike, inputs: Mapping[str, Any]) -> int:
    """The floating point operations of a forward and a backward pass: 6 per token and parameter that is not an embedding
    (Kaplan et al., arXiv:2001.08361); 0 if the batch has no tokens or the model is a plain module.
    """
    model = trainer.model
    tokens = _main_input(model, inputs)
    if tokens is None or not hasattr(model, "num_parameters"):
        return 0
    if model not in _dense:
        tables = {p for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
        _dense[model] = sum(p.numel() for p in model.parameters() if p not in tables)
    return 6 * tokens.numel() * _dense[model]


def count_work(trainer: TrainerLike, batches: list[Any]) -> None:
    """Add the floating point operations and, if wanted, the tokens of an update to the Trainer's state."""
    state, kind, processes, total = (
        trainer.state,
        trainer.args.include_num_input_tokens_seen,
        trainer.distributed.world_size,
        0,
    )
    padding = getattr(trainer.processing_class, "pad_token_id", None)
    for batch in batches:
        state.total_flos += trainer.floating_point_ops(batch) * processes
        tokens = _main_input(trainer.model, batch)
        if kind != "no" and tokens is not None:
            kept = batch.get("attention_mask", None if padding is None else tokens != padding)
            total += int(tokens.numel() if kind == "all" or kept is None else kept.sum())
    if kind != "no":
        here = torch.tensor([total], device=trainer.distributed.device)
        state.num_input_tokens_seen += int(trainer.distributed.gather(here).sum())


def _main_input(model: nn.Module, inputs: Any) -> torch.Tensor | None:
    found = inputs.get(getattr(model, "main_input_name", "input_ids")) if hasattr(inputs, "get") else None
    return found if isinstance(found, torch.Tensor) else None
