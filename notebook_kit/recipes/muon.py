"""Muon for the matrices of a model and AdamW for the rest of it, as one optimizer that the Trainer takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["MuonWithAdamW"]


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024) where a matrix maps hidden states to
    hidden states, AdamW for embeddings, norms and biases.

    On texts as few as the zoo's it needs about half as many tokens as AdamW alone. Muon's steps are scaled to the size of AdamW's (Liu et
    al., Muon is Scalable for LLM Training, 2025), so that both share a learning rate.

    Args:
        model: The model; its parameters whose module is an embedding count as embeddings, tied or not.
        lr: The learning rate of both.
        weight_decay: Of matrices and embeddings; norms and biases have none.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float = 0.1) -> None:
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        matrices = [each for each in model.parameters() if each.ndim == 2 and id(each) not in tables]
        embeddings = [each for each in model.parameters() if id(each) in tables]
        vectors = [each for each in model.parameters() if each.ndim != 2]
        self.muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        groups: list[dict[str, Any]] = [{"params": embeddings}, {"params": vectors, "weight_decay": 0.0}]
        self.adamw = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True)
        super().__init__([*self.muon.param_groups, *self.adamw.param_groups], {})
        self._share()

    def _share(self) -> None:
        """The groups here are the very ones of the two, so that a schedule that sets a rate here sets it there."""
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of everything."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.muon.step()
        self.adamw.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of the two, each as torch has it."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self._share()
