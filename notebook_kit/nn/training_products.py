"""Fast products of many rows with a matrix on the CPU, in models that are trained.

As at inference (`many_rows`), oneDNN multiplies float32 where it is faster than MKL, which leaves the AVX-512 instructions of some
processors unused. In training there are three products per layer: of the forward pass, and of the gradients of the
input and of the weight. The results differ in rounding (by about 1e-6 of the largest value), and are the same in each call.

All else is left to torch: small products, mixed precision, and calls that are compiled, exported, traced or transformed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from notebook_kit.errors import InputError, a_kind
from notebook_kit.nn.few_rows import available, best_time, is_direct_call, is_ordinary_call, is_plain, product, suits
from notebook_kit.nn.many_rows import LEAST_WORK, rows_of_call, work_per_row
from notebook_kit.nn.row_counts import rounded_up

__all__ = ["TrainingProducts", "fast_training", "gain", "is_faster", "products_for"]

LEAST_GAIN = 1.25  # much more than the noise of the measurement, so that runs on one machine do not differ
LEAST_PRODUCT = 1 << 23  # multiplications of one product
LEAST_ROWS = 16


class TrainingProducts(TorchFunctionMode):
    """In a `with` block, and only on its thread, linear layers multiply by oneDNN, with gradients.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.training_products import TrainingProducts
        >>> layer, x = torch.nn.Linear(512, 512), torch.randn(64, 512)
        >>> with TrainingProducts():
        ...     layer(x).square().mean().backward()
        >>> fast = layer.weight.grad.clone()
        >>> layer.zero_grad()
        >>> layer(x).square().mean().backward()
        >>> torch.allclose(layer.weight.grad, fast, atol=1e-5)
        True
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear and not kwargs and len(args) == 3:
            x, weight, bias = args
            if _pays(x, weight, bias):
                return _multiplied(x, weight.t(), bias)
        elif func is torch.addmm and not kwargs and len(args) == 3:
            bias, x, weight = args
            # (in, out), as in GPT-2
            if type(weight) is nn.Parameter and x.dim() == weight.dim() == 2 and _pays(x, weight.t(), bias):
                return _multiplied(x, weight, bias)
        elif func in _BACKWARD and is_direct_call() and (edges := _edges(func, args, kwargs or {})) is not None:
            # Calls of functions leave the mode, but checkpointed layers are computed again in the backward pass.
            with self:
                return edges()
        return func(*args, **(kwargs or {}))


_BACKWARD = (Tensor.backward, torch.autograd.backward, torch.autograd.grad)


def _edges(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any] | None:
    """The same call with the edges of the graph in place of tensors, which does not leave the mode; None if there is none."""
    given = dict(kwargs)
    if func is Tensor.backward:
        func, given["grad_tensors"] = torch.autograd.backward, given.pop("gradient", None)
    outputs = _edges_of(args[0])
    of = args[1] if len(args) > 1 else given.pop("inputs", None)
    if func is torch.autograd.grad:
        inputs = _edges_of(of)
        can = outputs and inputs and not given.get("materialize_grads")
        return partial(func, outputs, inputs, **given) if can else None
    # The gradients of inputs that are no parameters are kept in tensors.
    return partial(func, outputs, **given) if outputs and of is None else None


def _edges_of(tensors: Any) -> list[GradientEdge] | None:
    """The edges at which tensors are in the graph; None if one is not."""
    found = []
    for tensor in tensors if isinstance(tensors, tuple | list) else [tensors]:
        if isinstance(tensor, GradientEdge):
            found.append(tensor)
        elif type(tensor) in (Tensor, nn.Parameter) and tensor.requires_grad:
            found.append(get_gradient_edge(tensor))
        else:
            return None
    return found


def _multiplied(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ matrix + bias`, for which the same is kept in the same order as torch does: checkpointed layers are computed twice, and
    possibly only once within the mode.
    """
    if x.dim() == 2:
        return _Product.apply(x, matrix, bias, bias is not None)
    # A bias is part of torch's product only if the rows are contiguous.
    found = _Product.apply(x.reshape(-1, x.shape[-1]), matrix, bias, bias is not None and x.is_contiguous())
    return found.view(*x.shape[:-1], matrix.shape[1])


class _Product(torch.autograd.Function):
    """`rows @ matrix + bias`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrix: Tensor, bias: Tensor | None, rows_first: bool) -> Tensor:
        needs_rows, needs_matrix = ctx.needs_input_grad[:2]
        # A frozen layer keeps none of its inputs.
        kept = rows if needs_matrix else None, matrix if needs_rows else None
        ctx.save_for_backward(*(kept if rows_first else kept[::-1]))
        ctx.rows_first = rows_first
        ctx.is_turned = matrix.stride(0) == 1  # of a weight that is stored as (out, in)
        # Not a view, which could not be changed in place outside of the function.
        return product(rounded_up(rows), matrix.t(), bias)[: len(rows)].data

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # in the mode, since checkpointed layers are computed here
        if not (is_ordinary_call() and is_plain(grad)):  # gradients of gradients, several at once, or of another kind
            return (*_gradients(ctx, saved, grad, F.linear, lambda rows: rows), None)
        with torch._C.DisableTorchFunction():  # the mode need not look at these
            return (*_gradients(ctx, saved, grad, product, rounded_up), None)


def _gradients(
    ctx: Any,
    saved: tuple[Tensor, Tensor],
    grad: Tensor,
    multiply: Callable[..., Tensor],
    prepared: Callable[[Tensor], Tensor],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Those of the rows, the matrix and the bias."""
    rows, matrix = saved if ctx.rows_first else saved[::-1]
    needs_rows, needs_matrix, needs_bias = ctx.needs_input_grad[:3]
    grad_rows = grad_matrix = None
    grad_bias = grad.sum(dim=0) if needs_bias else None
    right = prepared(grad)
    if needs_rows:
        grad_rows = multiply(right, matrix, None)[: len(grad)]
    if needs_matrix:
        left = prepared(rows)
        # In the memory layout of the weight.
        grad_matrix = multiply(right.t(), left.t(), None).t() if ctx.is_turned else multiply(left.t(), right.t(), None)
    return grad_rows, grad_matrix, grad_bias


def _pays(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return (
        is_direct_call()  # first, since a tracer reads the rest
        and suits(x, weight, bias)
        and (rows := x.shape[:-1].numel()) >= LEAST_ROWS
        and rows * weight.numel() >= LEAST_PRODUCT
    )


@functools.cache
def gain(threads: int) -> float:
    """How many times as fast as the default the three products of a layer by oneDNN are on this processor; 0 if torch has none.

    Args:
        threads: `torch.get_num_threads()`; another number is timed again.
    """
    if not available():
        return 0.0
    ones = partial(torch.ones, dtype=torch.float32, device="cpu")  # whatever the defaults are
    with torch.inference_mode():
        x, weight, grad = ones(128, 512), ones(512, 512), ones(128, 512)

        def all_three(multiply: Callable[..., Tensor]) -> None:
            multiply(x, weight, None), multiply(grad, weight.t(), None), multiply(grad.t(), x.t(), None)

        plain, other = (best_time(partial(all_three, multiply), times=6) for multiply in (F.linear, product))
        return plain / other


def is_faster(model: nn.Module) -> bool:
    """Whether `TrainingProducts` train a model faster on this processor: it has linear layers in float32 on the CPU, and oneDNN
    is faster, which is timed once per process, in some milliseconds.
    """
    first = next(model.parameters(), None)
    on_cpu = first is not None and first.device.type == "cpu"
    return on_cpu and work_per_row(model) > 0 and gain(torch.get_num_threads()) >= LEAST_GAIN


def products_for(model: nn.Module, batch: Any) -> AbstractContextManager[object]:
    """The context for a batch of a model that `is_faster`: one without effect, if it has so little work that looking at every
    operation would cost more than is gained.

    Args:
        model: The model.
        batch: Its inputs by name.
    """
    rows = rows_of_call((), batch) if isinstance(batch, Mapping) else 0
    # A run may be resumed on a machine that has no such kernels.
    return TrainingProducts() if rows * work_per_row(model) >= LEAST_WORK and available() else nullcontext()


def fast_training(model: nn.Module) -> AbstractContextManager[object]:
    """A context in which your own training loop multiplies as the Trainer does: by oneDNN where that is faster.

    torch multiplies float32 on the CPU by MKL, which leaves the AVX-512 instructions of AMD's processors unused. Where oneDNN is not
    faster, and for models on other devices, the context has no effect.

    Args:
        model: The model to train. Forward and backward pass belong into the context; the optimizer's step may be in it.

    Raises:
        InputError: if `model` is not a torch module.

    Example:
        >>> import torch
        >>> from notebook_kit import fast_training
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 1))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        >>> x = torch.randn(256, 256)
        >>> losses = []
        >>> with fast_training(model):
        ...     for _ in range(5):
        ...         loss = (model(x) - x[:, :1]).square().mean()
        ...         loss.backward()
        ...         optimizer.step()
        ...         optimizer.zero_grad()
        ...         losses.append(loss.item())
        >>> losses[-1] < losses[0]
        True
    """
    if not isinstance(model, nn.Module):
        raise InputError(
            f"fast_training expects the model to train, but got {a_kind(model)}.",
            next_step="Pass a torch.nn.Module: with fast_training(model): ...",
        )
    return TrainingProducts() if is_faster(model) else nullcontext()
