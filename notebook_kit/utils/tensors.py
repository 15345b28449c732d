"""Small functions on models and nested tensors that Trainers of users' own call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch

from notebook_kit.errors import InputError, a_kind

__all__ = [
    "LabelSmoother",
    "find_batch_size",
    "get_parameter_names",
    "has_length",
    "is_main_process",
    "nested_concat",
    "nested_detach",
    "nested_numpify",
    "nested_truncate",
    "number_of_arguments",
]


@dataclass
class LabelSmoother:
    """Cross-entropy with a part of the target spread evenly over all classes (Szegedy et al., arXiv:1512.00567).

    Args:
        epsilon: The part that is spread.
        ignore_index: The label of positions that do not count.

    Example:
        >>> smooth = LabelSmoother(epsilon=0.1)
        >>> round(smooth({"logits": torch.tensor([[2.0, 0.0], [0.0, 0.0]])}, torch.tensor([0, -100])).item(), 4)
        0.2269
    """

    epsilon: float = 0.1
    ignore_index: int = -100

    def __call__(
        self,
        model_output: Any,
        labels: torch.Tensor,
        shift_labels: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The loss.

        Args:
            model_output: The output of a model, with `logits` of shape (..., classes).
            labels: Class indices of shape (...).
            shift_labels: Compare each position with the next label, as causal language models do.
            num_items_in_batch: What the sum is divided by; None: the number of labels that count.
        """
        logits = model_output["logits"] if isinstance(model_output, Mapping) else model_output[0]
        if shift_labels:
            logits, labels = logits[..., :-1, :], labels[..., 1:]
        total = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(),
            labels.reshape(-1),
            ignore_index=self.ignore_index,
            label_smoothing=self.epsilon,
            reduction="sum",
        )
        count = (labels != self.ignore_index).sum() if num_items_in_batch is None else num_items_in_batch
        return total / torch.as_tensor(count, device=total.device)


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """`function` of each tensor or array of a nested list, tuple or mapping."""
    if isinstance(value, list | tuple):
        return type(value)(_map(function, item) for item in value)
    if isinstance(value, Mapping):
        return type(value)({name: _map(function, item) for name, item in value.items()})  # type: ignore[call-arg]
    return function(value)


def nested_detach(tensors: Any) -> Any:
    """The tensors of a nested list, tuple or mapping, detached from the graph.

    Example:
        >>> nested_detach((torch.ones(2, requires_grad=True), [torch.zeros(1)]))
        (tensor([1., 1.]), [tensor([0.])])
    """
    return _map(lambda tensor: tensor.detach() if isinstance(tensor, torch.Tensor) else tensor, tensors)


def nested_numpify(tensors: Any) -> Any:
    """The tensors as NumPy arrays on the CPU; bfloat16, which NumPy lacks, as float32."""

    def numpify(tensor: Any) -> Any:
        if not isinstance(tensor, torch.Tensor):
            return tensor
        tensor = tensor.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()

    return _map(numpify, tensors)


def nested_truncate(tensors: Any, limit: int) -> Any:
    """The first `limit` rows of each tensor."""
    return _map(lambda tensor: tensor[:limit], tensors)


def nested_concat(tensors: Any, new_tensors: Any, padding_index: int = -100) -> Any:
    """Concatenate along the rows; where the second axes differ in length, the shorter is padded.

    Args:
        tensors, new_tensors: Tensors or arrays of shape (rows, ...), or nested lists, tuples or mappings of the same structure.
        padding_index: The padding value.

    Raises:
        InputError: if the two differ in their structure.

    Example:
        >>> nested_concat(torch.ones(1, 2), torch.zeros(1, 3), padding_index=-1)
        tensor([[ 1.,  1., -1.],
                [ 0.,  0.,  0.]])
    """
    if type(tensors) is not type(new_tensors):
        raise InputError(
            f"{a_kind(tensors, starts=True)} cannot be joined with {a_kind(new_tensors)}.",
            next_step="Pass two results of the same structure.",
        )
    if isinstance(tensors, list | tuple):
        pairs = zip(tensors, new_tensors, strict=True)
        return type(tensors)(nested_concat(first, second, padding_index) for first, second in pairs)
    if isinstance(tensors, Mapping):
        joined = {name: nested_concat(value, new_tensors[name], padding_index) for name, value in tensors.items()}
        return type(tensors)(joined)  # type: ignore[call-arg]
    pair = [torch.as_tensor(tensor) for tensor in (tensors, new_tensors)]
    if pair[0].ndim > 1 and pair[0].shape[1] != pair[1].shape[1]:
        width = max(tensor.shape[1] for tensor in pair)
        padded = [tensor.new_full((len(tensor), width, *tensor.shape[2:]), padding_index) for tensor in pair]
        for whole, tensor in zip(padded, pair, strict=True):
            whole[:, : tensor.shape[1]] = tensor
        pair = padded
    result = torch.cat([torch.atleast_1d(tensor) for tensor in pair])
    return result if isinstance(tensors, torch.Tensor) else result.numpy()


def find_batch_size(tensors: Any) -> int | None:
    """The number of rows of the first tensor or array found, or None.

    Example:
        >>> find_batch_size({"input_ids": torch.ones(4, 7)})
        4
    """
    if isinstance(tensors, Mapping):
        tensors = list(tensors.values())
    if isinstance(tensors, list | tuple):
        return next((size for item in tensors if (size := find_batch_size(item)) is not None), None)
    is_rows = isinstance(tensors, torch.Tensor | np.ndarray) and tensors.ndim
    return len(tensors) if is_rows else None


def get_parameter_names(
    model: torch.nn.Module, forbidden_layer_types: Iterable[type], forbidden_layer_names: Iterable[str] | None = None
) -> list[str]:
    """The names of a model's parameters outside layers of some types, as for weight decay.

    Args:
        model: The model.
        forbidden_layer_types: Classes of layers to leave out, such as `torch.nn.LayerNorm`.
        forbidden_layer_names: Regular expressions; parameters whose name matches one, in lower case, are left out.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
        >>> get_parameter_names(model, [torch.nn.LayerNorm])
        ['0.weight', '0.bias']
    """
    import re

    forbidden = tuple(forbidden_layer_types)
    patterns = [re.compile(pattern) for pattern in forbidden_layer_names or ()]
    names = []
    for prefix, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            whole = f"{prefix}.{name}" if prefix else name
            if not isinstance(module, forbidden) and not any(pattern.search(whole.lower()) for pattern in patterns):
                names.append(whole)
    return names


def has_length(dataset: Any) -> bool:
    """Whether `len(dataset)` works."""
    try:
        return isinstance(dataset, Sized) and len(dataset) is not None
    except TypeError:  # a data loader of a stream
        return False


def number_of_arguments(function: Callable[..., Any]) -> int:
    """The number of arguments that a function takes.

    Example:
        >>> number_of_arguments(lambda model, inputs: None)
        2
    """
    return len(signature(function).parameters)


def is_main_process(local_rank: int) -> bool:
    """Whether this process is the first of its machine."""
    return local_rank in (-1, 0)
