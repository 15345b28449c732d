"""Runs a `Graph` with TensorFlow operations.

Each result is compared with what torch found while tracing: dtype, number of axes, and fixed sizes. An operation that differs
is an error, never a wrong number.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.tensorflow.graphs import Graph, Node, evaluate
from notebook_kit.tensorflow.operations import (
    ARITHMETIC,
    OPERATIONS,
    SHAPED,
    TRAINED,
    UPDATING,
    shape_of,
    size_of,
    target,
)
from notebook_kit.tensorflow.requirements import tf

__all__ = ["check_conditions", "fits", "output_classes", "run"]


def run(
    graph: Graph,
    inputs: Mapping[str, Any],
    weight: Callable[[str], Any],
    training: Any,
    update: Callable[[str, Any], None] | None = None,
) -> Any:
    """Compute a graph.

    Args:
        graph: What to compute.
        inputs: Name -> tensor, with the dtypes of the graph's inputs.
        weight: Returns the value of a parameter or buffer by its name.
        training: Whether to apply dropout.
        update: Sets the value of a buffer by its name, such as the running mean of a batch norm in training.

    Returns:
        The output: an object of the class that the torch model returns, with TensorFlow's tensors.

    Raises:
        InputError: If the graph has an operation that is not in the table, or one whose result is not the one expected.
    """
    values: dict[str, Any] = {each.ref: inputs[each.name] for each in graph.inputs}
    values |= {ref: weight(name) for ref, name in graph.weights.items()}
    for ref, constant in graph.constants.items():
        values[ref] = tf.constant(constant["data"], constant["dtype"])
    last_use, shapes = _last_uses(graph), _Shapes(graph, inputs)
    for index, node in enumerate(graph.nodes):
        more = _context(node, graph, training, update)
        if node.operation in SHAPED and node.shape is not None:
            more["shape"] = shapes.of(node.shape)
        values[node.name] = _result(node, values, more)
        for ref in last_use.get(index, ()):
            del values[ref]
    return _output(graph.output, values)


class _Shapes:
    """The shapes of results as `tf.reshape` takes them, each computed once."""

    def __init__(self, graph: Graph, inputs: Mapping[str, Any]) -> None:
        self._sizes: dict[str, Any] = {}
        for each in graph.inputs:
            for axis, size in enumerate(each.shape):
                if isinstance(size, str) and size not in self._sizes:
                    self._sizes[size] = size_of(inputs[each.name], axis)
        self._known: dict[str, Any] = {}

    def of(self, shape: list[Any]) -> Any:
        """A shape; None if it has a size that the sizes of the inputs do not determine."""
        key = repr(shape)
        if key not in self._known:
            try:
                self._known[key] = target([evaluate(size, self._sizes) for size in shape])
            except (KeyError, TypeError):  # of a size that the graph finds out, or a function that TensorFlow lacks
                self._known[key] = None
        return self._known[key]


def _last_uses(graph: Graph) -> dict[int, list[str]]:
    """Index of a node -> the values that no later node needs, so that eager runs do not keep all of them."""
    last: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        last |= dict.fromkeys(_references([node.args, list(node.kwargs.values())]), index)
    for ref in _references(graph.output):
        last.pop(ref, None)
    uses: dict[int, list[str]] = {}
    for ref, index in last.items():
        uses.setdefault(index, []).append(ref)
    return uses


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [value["ref"]] if "ref" in value else [ref for each in value.values() for ref in _references(each)]
    return [ref for each in value for ref in _references(each)] if isinstance(value, list) else []


def _context(node: Node, graph: Graph, training: Any, update: Callable[[str, Any], None] | None) -> dict[str, Any]:
    """What an operation is passed beside its arguments in torch."""
    more: dict[str, Any] = {}
    if node.operation in TRAINED:
        more["training"] = training
    if node.operation in UPDATING:

        def set_argument(index: int, value: Any) -> None:
            if update is not None:
                update(graph.weights[node.args[index]["ref"]], value)

        more["update"] = set_argument
    return more


def _result(node: Node, values: dict[str, Any], more: Mapping[str, Any]) -> Any:
    function = OPERATIONS.get(node.operation)
    if function is None:
        raise _unsupported(node, "notebook_kit's table has no such operation")
    args = _arguments(node.args, values)
    kwargs = {**_arguments(node.kwargs, values), **more}
    if node.operation in ARITHMETIC and node.dtype is not None:
        args = [_as_number(each, node.dtype) for each in args]
    try:
        result = function(*args, **kwargs)
    except NotImplementedError as error:
        raise _unsupported(node, f"there it is {error}") from error
    except (TypeError, ValueError) as error:
        if isinstance(error, NotebookKitError):
            raise
        raise _unsupported(node, str(error).partition("\n")[0]) from error
    return _checked(node, result)


def _as_number(value: Any, dtype: str) -> Any:
    is_number = tf.is_tensor(value) or (isinstance(value, int | float) and not isinstance(value, bool))
    return tf.cast(value, dtype) if is_number else value


def _arguments(value: Any, values: dict[str, Any]) -> Any:
    """Arguments with values in place of references."""
    if isinstance(value, list):
        return [_arguments(each, values) for each in value]
    if isinstance(value, dict):
        if "ref" in value:
            return values[value["ref"]]
        if "dtype" in value and isinstance(value["dtype"], str):
            return tf.as_dtype(value["dtype"])
        return {name: _arguments(each, values) for name, each in value.items()}
    return value


def _checked(node: Node, result: Any) -> Any:
    if node.dtype is None or node.shape is None:
        return result
    if result.dtype.name != node.dtype:
        raise _unsupported(node, f"its result has the dtype {result.dtype.name} in place of {node.dtype}")
    expected = [size if isinstance(size, int) else None for size in node.shape]
    found = result.shape.as_list() if result.shape.rank is not None else expected
    if len(found) != len(expected) or any(None not in (a, b) and a != b for a, b in zip(found, expected, strict=True)):
        raise _unsupported(node, f"its result has the shape {found} in place of {expected}")
    return tf.ensure_shape(result, expected) if found != expected and None in found else result


def _unsupported(node: Node, why: str) -> InputError:
    return InputError(
        f"The operation {node.operation} ({node.name}) cannot be computed with TensorFlow: {why}.",
        next_step="Use the torch class of this model, and report this, please.",
    )


def _output(structure: Any, values: dict[str, Any]) -> Any:
    if isinstance(structure, list):
        return tuple(_output(each, values) for each in structure)
    if isinstance(structure, dict):
        if "ref" in structure:
            return values[structure["ref"]]
        return _class(structure)({name: _output(each, values) for name, each in structure["fields"].items()})
    return None


def _class(structure: dict[str, Any]) -> type:
    module, _, name = structure["class"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def output_classes(graph: Graph) -> list[type]:
    """The classes of the objects in a graph's output."""
    found, rest = [], [graph.output]
    while rest:
        value = rest.pop()
        if isinstance(value, dict) and "class" in value:
            found.append(_class(value))
            rest += value["fields"].values()
        elif isinstance(value, list):
            rest += value
    return found


def sizes_of(graph: Graph, shapes: Mapping[str, list[Any]]) -> dict[str, Any] | None:
    """The value of each variable size of a graph for inputs of these shapes; None if they contradict the graph.

    A size that is not known yet is None in `shapes`, and missing in the result.
    """
    sizes: dict[str, Any] = {}
    for each in graph.inputs:
        if len(shapes[each.name]) != len(each.shape):
            return None
        for expected, size in zip(each.shape, shapes[each.name], strict=True):
            if size is None:
                continue
            if isinstance(expected, str):
                if sizes.setdefault(expected, size) != size:
                    return None
            elif isinstance(expected, int) and expected != size:
                return None
    return sizes


def fits(graph: Graph, shapes: Mapping[str, list[int | None]]) -> bool:
    """Whether a graph may be used for inputs of these shapes: no size that is known contradicts it."""
    sizes = sizes_of(graph, shapes)
    return sizes is not None and all(_holds(condition, sizes) for condition in graph.conditions)


def _holds(condition: Any, sizes: Mapping[str, int]) -> bool:
    try:
        return bool(evaluate(condition, sizes))
    except KeyError:  # of a size that is not known yet
        return True


def check_conditions(graph: Graph, inputs: Mapping[str, Any], name: str) -> list[Any]:
    """Checks, to be run with the graph, of what could not be decided since sizes are not known yet.

    Args:
        graph: The graph.
        inputs: Name -> tensor.
        name: The model's name, for the message.
    """
    known = sizes_of(graph, {each.name: inputs[each.name].shape.as_list() for each in graph.inputs}) or {}
    found: dict[str, Any] = {}
    checks = []
    for each in graph.inputs:
        sizes = shape_of(inputs[each.name])
        for expected, size in zip(each.shape, sizes, strict=True):
            if isinstance(expected, str):
                other = found.setdefault(expected, size)
                expected = known.get(expected, other)
            if isinstance(expected, list) or (isinstance(expected, int) and isinstance(size, int)) or expected is size:
                continue
            message = (
                f"{name}: the size of {each.name} does not fit the other inputs, or is not the one that the model has."
            )
            checks.append(tf.debugging.assert_equal(tf.cast(size, tf.int64), tf.cast(expected, tf.int64), message))
    for condition in graph.conditions:
        if isinstance(holds := evaluate(condition, {**found, **known}), bool):
            continue
        message = f"{name} was prepared for inputs of other sizes: {condition} does not hold."
        checks.append(tf.debugging.Assert(holds, [message, *found.values()]))
    return checks
