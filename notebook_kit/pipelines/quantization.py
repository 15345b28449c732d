"""Linear layers with 8-bit weights, for faster answers on a CPU at a small loss of accuracy, in every family.

Weights are rounded once, with one scale per output; activations are rounded at run time, with one scale and one shift per
token. So the result for a token does not depend on the rest of the batch (except for an occasional value that rounds the
other way). Products are summed as integers, by the fastest way that this processor computes exactly: see `nn/int8.py`. All
other layers stay in float32.

Source: Dettmers et al., LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale, 2022, section 2.1
("vector-wise quantization", and "zeropoint quantization" for the shifts).

Measured on all-MiniLM-L6-v2, 275 sentences, on an AMD EPYC without VNNI instructions, where weights have 7 bits: the mean
cosine similarity to float32 sentence embeddings is 0.997 (minimum 0.991), and the nearest other sentence is the same for
92 %. Rounding weights to 8 bits, which processors with VNNI instructions do, halves the distance. Most of the rest comes from
the values of attention and the second half of the feed-forward blocks.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError, near_matches, notice
from notebook_kit.nn.int8 import best_product, float_seconds, seconds

__all__ = ["Int8Linear", "dequantized", "quantized"]

# Heads with few labels cost little time and affect results most.
FEWEST_OUTPUTS = 16
TINY = 1e-12


class Int8Linear(nn.Module):
    """A linear layer with weights and activations rounded to 8 bits (weights to 7 on processors without VNNI instructions).

    Args:
        linear: The layer whose weights are rounded, a `torch.nn.Linear` or GPT-2's projection. It is not modified.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> linear, x = torch.nn.Linear(64, 32), torch.randn(2, 5, 64)
        >>> bool((Int8Linear(linear)(x) - linear(x)).abs().max() < 0.03)
        True
    """

    scale: Tensor
    sums: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        weight, bias = _rows_of(linear), getattr(linear, "bias", None)
        if weight is None:
            raise InputError(f"A {type(linear).__name__} is not a linear layer.", next_step="Pass a torch.nn.Linear.")
        self.out_features, self.in_features = weight.shape
        self._like = (_without_values(linear),)  # in a tuple, so as not to be a submodule
        self.product = best_product()
        with torch.no_grad():
            rows = weight.detach().float()
            scale = rows.abs().amax(dim=1).clamp_min(TINY) / self.product.levels
            rounded = (rows / scale[:, None]).round().to(torch.int8)
            self.packed = self.product.pack(rounded, scale)
            self.register_buffer("scale", scale)
            self.register_buffer("sums", rounded.sum(dim=1).float() * scale)
            self.register_buffer("bias", None if bias is None else bias.detach().float().clone())

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, self.in_features)  # (tokens, in)
        lowest, highest = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)  # (tokens, 1)
        step = (highest - lowest).clamp_min_(TINY) / 255
        out = self.product.multiply((flat - lowest).mul_(step.reciprocal()), self.packed)  # (tokens, out)
        out = out.mul_(step) if self.bias is None else torch.addcmul(self.bias, out, step)
        # An activation is step * rounded + lowest, and the share of the latter in an output is lowest * (sum of its weights).
        out.addcmul_(lowest, self.sums)
        return out.view(*x.shape[:-1], self.out_features)

    def to_float(self) -> nn.Module:
        """A layer of the original kind in float32, with the rounded weights."""
        layer = copy.deepcopy(self._like[0]).to_empty(device="cpu")
        with torch.no_grad():
            weight, target = self.product.unpack(self.packed).float() * self.scale[:, None], _rows_of(layer)
            assert target is not None
            target.copy_(weight)
            if self.bias is not None:
                layer.bias.copy_(self.bias)  # type: ignore[union-attr, operator, arg-type]
        return layer

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the weights as an ordinary tensor, which any processor can pack."""
        state = self.__dict__ | {"packed": self.product.unpack(self.packed), "levels": self.product.levels}
        del state["product"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        levels = state.pop("levels")
        super().__setstate__(state)
        self.product = best_product()
        rounded = self.packed
        if levels > self.product.levels:  # written on a processor with more exact products
            ratio = levels / self.product.levels
            rounded = (rounded / ratio).round().to(torch.int8)
            self.scale *= ratio
            self.sums = rounded.sum(dim=1).float() * self.scale
        self.packed = self.product.pack(rounded, self.scale)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def _rows_of(layer: nn.Module) -> Tensor | None:
    """The weight of a linear layer as `(out, in)`; None for any other module."""
    if type(layer) is nn.Linear:
        return layer.weight
    # GPT-2's weights are `(in, out)`, here and in transformers, whose models work as well.
    return layer.weight.t() if type(layer).__name__ in ("GPT2Projection", "Conv1D") else None  # type: ignore[operator]


def _without_values(layer: nn.Module) -> nn.Module:
    """A copy without memory for its parameters."""
    empty = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in layer.parameters()}
    return copy.deepcopy(layer, empty)


def quantized(model: nn.Module, kind: str = "int8") -> nn.Module:
    """A copy of `model` whose linear layers have 8-bit weights, except layers with fewer than 16 outputs.

    Args:
        model: A model on the CPU, in float32.
        kind: `"int8"`.

    Raises:
        InputError: for another `kind`, device or dtype, and for a model without such layers.
    """
    if kind != "int8":
        raise InputError(
            f"quantize is {kind!r}. {near_matches(str(kind), ['int8'])}".rstrip(), next_step='Pass quantize="int8".'
        )
    parameter = next(model.parameters())
    if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
        raise InputError(
            f'quantize="int8" requires a model on the CPU in float32; this one is on {parameter.device.type} in '
            f"{str(parameter.dtype).removeprefix('torch.')}.",
            next_step='Pass device="cpu" and no dtype; on an accelerator, use dtype="bfloat16" instead.',
        )
    slower = seconds(best_product()) / float_seconds()
    if slower > 1.2:
        notice(
            f"On this processor, products of 8 bits take {slower:.1f} times as long as those of float32. "
            'quantize="int8" saves memory here, but no time.'
        )
    model = copy.deepcopy(model)
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            rows = _rows_of(child)
            if rows is not None and len(rows) >= FEWEST_OUTPUTS:
                parent._modules[name] = Int8Linear(child)
                count += 1
    if not count:
        raise InputError(
            f'quantize="int8" has nothing to do: {type(model).__name__} has no linear layers with {FEWEST_OUTPUTS} outputs.',
            next_step="Leave quantize out.",
        )
    return model


def dequantized(model: nn.Module) -> nn.Module:
    """A copy of a model with 8-bit weights that computes in float32, so that it can be trained and saved.

    Weights keep their rounded values, except for an output layer that shares the exact weights of the token embeddings. Where
    the exact weights are at hand, load them again instead.

    Args:
        model: The model of a pipeline that was created with `quantize="int8"`.

    Returns:
        A model in evaluation mode; `model.train()` and the Trainer take it.

    Raises:
        InputError: If the model has no 8-bit layers.

    Example:
        >>> from notebook_kit import dequantized, pipeline
        >>> pipe = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment", device="cpu", quantize="int8")
        >>> model = dequantized(pipe.model)
        >>> model.num_parameters(only_trainable=True) > pipe.model.num_parameters()
        True
    """
    if not any(isinstance(module, Int8Linear) for module in model.modules()):
        raise InputError(
            f"{type(model).__name__} has no 8-bit layers.",
            next_step='Pass the model of a pipeline that was created with quantize="int8".',
        )
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Int8Linear):
                parent._modules[name] = child.to_float()
    if callable(tie := getattr(model, "tie_weights", None)):
        tie()
    return model.eval()
