"""Muon for the matrices of a model and AdamW for its other parameters, as one optimizer for the Trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "MuonWithAdamW", "orthogonalized"]


def orthogonalized(matrix: Tensor, steps: int = 5) -> Tensor:
    """A matrix with the same singular vectors and singular values near 1, by Newton-Schulz iterations in float32.

    `torch.optim.Muon` iterates in bfloat16, which takes twenty times as long on CPUs without instructions for it.

    Args:
        matrix: Of any shape, not all 0.
        steps: Number of iterations.

    Returns:
        A float32 matrix of the same shape.
    """
    x = matrix.float()
    if is_tall := x.shape[0] > x.shape[1]:
        x = x.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        # These coefficients (Jordan et al., 2024) raise small singular values fast, and leave them between 0.5 and 1.5.
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.775, alpha=2.0315), x, beta=3.4445)
    return x.T if is_tall else x


class Muon(torch.optim.Optimizer):
    """Muon for matrices, as `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`, but computed in float32.

    Args:
        params: Matrices.
        lr: The learning rate; the steps have the size that AdamW's steps have at this rate.
        weight_decay: Weight decay.
        momentum: Weight of the earlier gradients.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.1, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the matrices; returns the loss of `closure`, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                average = state["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonalized(weight.grad.lerp(average, group["momentum"]))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * 0.2 * max(weight.shape) ** 0.5)
        return loss


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
        self.muon = Muon(matrices, lr=lr, weight_decay=weight_decay)
        groups: list[dict[str, Any]] = [{"params": embeddings}, {"params": vectors, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
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
