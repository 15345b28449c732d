"""The computation of a model as plain data: what `torch.export` found, free of torch and TensorFlow.

A `Graph` holds no weights. It is written as JSON, so a second process that needs the same graph reads it instead of tracing
the model again.
"""

from __future__ import annotations

import gzip
import json
import math
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from notebook_kit.files import temporary_name

__all__ = ["Graph", "Input", "Node", "Signature", "evaluate", "read_graph", "write_graph"]


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: The name of its result, by which later nodes refer to it, as `{"ref": name}`.
        operation: The name of the operation in torch, such as `"aten.linear"`, or of a function on sizes, such as `"mul"`.
        args, kwargs: Numbers, strings, lists, `{"ref": name}` and `{"dtype": name}`.
        dtype: That of the result; None for a size or several results.
        shape: The sizes of the result, each a number or an expression such as `"s0"`; None for a size or several results.
    """

    name: str
    operation: str
    args: list[Any]
    kwargs: dict[str, Any]
    dtype: str | None = None
    shape: list[Any] | None = None


@dataclass(frozen=True)
class Input:
    """One input of a graph.

    Attributes:
        name: Its name among the model's inputs.
        ref: The name by which nodes refer to it.
        dtype: Its dtype.
        shape: Its sizes: a number, or an expression such as `"s0"` or `["Mul", 2, "s0"]`.
    """

    name: str
    ref: str
    dtype: str
    shape: list[Any]


@dataclass(frozen=True)
class Graph:
    """The computation of a model for one kind of call.

    Attributes:
        inputs: The inputs.
        weights: Reference -> name of the parameter or buffer in the model.
        constants: Reference -> `{"dtype": ..., "data": nested list}`.
        nodes: The operations, in order.
        output: The model's output, with references in place of tensors, as `{"class": name, "fields": {...}}`.
        conditions: Expressions of sizes that must be true, such as `["Le", "s0", 512]`: the graph is only valid if they hold.
    """

    inputs: list[Input]
    weights: dict[str, str]
    constants: dict[str, dict[str, Any]]
    nodes: list[Node]
    output: Any
    conditions: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Signature:
    """A kind of call.

    Attributes:
        inputs: Name of each tensor -> its dtype in torch and its sizes. Sizes are examples: where the model allows it, the graph
            takes others.
        options: Name -> value of all other arguments, such as `output_attentions`.
        dtype: The dtype of the computation.
    """

    inputs: Mapping[str, tuple[str, tuple[int, ...]]]
    options: Mapping[str, Any]
    dtype: str = "float32"


def _product(*values: Any) -> Any:
    return reduce(operator.mul, values)


def _sum(*values: Any) -> Any:
    return reduce(operator.add, values)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": _sum,
    "Mul": _product,
    "Pow": operator.pow,
    "Mod": operator.mod,
    "PythonMod": operator.mod,
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "Max": max,
    "Min": min,
    "floor": math.floor,
    "CeilToInt": math.ceil,
    "FloorToInt": math.floor,
    "IntTrueDiv": operator.truediv,
    "Eq": operator.eq,
    "Ne": operator.ne,
    "Lt": operator.lt,
    "Le": operator.le,
    "Gt": operator.gt,
    "Ge": operator.ge,
    "And": lambda *values: reduce(operator.and_, values),
    "Or": lambda *values: reduce(operator.or_, values),
    "Not": lambda value: operator.ne(value, True),
}
"""What may occur in an expression of sizes, which are numbers or, where they are not known yet, TensorFlow's scalars."""


def evaluate(expression: Any, sizes: Mapping[str, int]) -> Any:
    """The value of an expression of sizes.

    Args:
        expression: A number, the name of a size, or `[function, *arguments]`.
        sizes: Name -> size.

    Raises:
        KeyError: If a size is not known.

    Example:
        >>> from notebook_kit.tensorflow.graphs import evaluate
        >>> evaluate(["Le", ["Mul", 2, "s0"], 512], {"s0": 300})
        False
    """
    if isinstance(expression, str):
        return sizes[expression]
    if isinstance(expression, list):
        function, *arguments = expression
        return _FUNCTIONS[function](*(evaluate(argument, sizes) for argument in arguments))
    return expression


def write_graph(graph: Graph, path: Path) -> None:
    """Write a graph, under a temporary name until it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with gzip.open(temporary, "wt", encoding="utf-8", compresslevel=3) as file:
            json.dump(asdict(graph), file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_graph(path: Path) -> Graph | None:
    """The graph that was written to `path`; None if there is none, or it is damaged."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            values = json.load(file)
        values["inputs"] = [Input(**each) for each in values["inputs"]]
        values["nodes"] = [Node(**each) for each in values["nodes"]]
        return Graph(**values)
    except (OSError, EOFError, ValueError, TypeError, KeyError):
        return None
