"""Muon for the matrices of a model and AdamW for its other parameters, as one optimizer for the Trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["MuonWithAdamW"]


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024) for matrices that map hidden states
    to hidden states, AdamW for embeddings, norms and biases.

    On the small datasets of the zoo it needs about half as many tokens as AdamW alone. Muon's steps are scaled to the size of AdamW's
    (Liu et al., Muon is Scalable for LLM Training, 2025), so that both use the same learning rate.

    Args:
        model: The model. The weights of its `nn.Embedding` modules count as embeddings, tied or not.
        lr: The learning rate of both optimizers.
        weight_decay: Weight decay of matrices and embeddings; norms and biases have none.
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
        """Share the groups of the two optimizers, so that a scheduler that sets a learning rate here sets it there too."""
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters; returns the loss of `closure`, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.muon.step()
        self.adamw.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state dicts of both optimizers, under "muon" and "adamw"."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a `state_dict`."""
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self._share()
