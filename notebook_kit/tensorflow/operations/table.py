"""The table of operations: the name of an operation in torch -> a function that computes the same with TensorFlow.

A function takes the arguments of torch's operation, in the same order and under the same names. Sizes are numbers, or scalars of
int64 where they are known only when the graph runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from notebook_kit.tensorflow.requirements import tf

__all__ = [
    "ARITHMETIC",
    "OPERATIONS",
    "SHAPED",
    "TRAINED",
    "UPDATING",
    "dtype_of",
    "operation",
    "reshape",
    "shape_of",
    "size_of",
    "target",
]

OPERATIONS: dict[str, Callable[..., Any]] = {}
"""Name -> function."""
ARITHMETIC: set[str] = set()
"""Names of functions whose tensors and numbers all have the dtype of the result: torch converts them, TensorFlow does not."""
TRAINED: set[str] = set()
"""Names of functions that take `training=`, since they differ between training and evaluation."""
SHAPED: set[str] = set()
"""Names of functions that take `shape=`, that of the result as `target` returns it, or None: many nodes of a graph have one shape,
and computing it for each of them takes most of the time in which TensorFlow builds its graph.
"""
UPDATING: set[str] = set()
"""Names of functions that take `update=`, with which they set the buffer that is one of their arguments: `update(index, value)`."""


def operation(
    *names: str, arithmetic: bool = False, trained: bool = False, shaped: bool = False, updates: bool = False
) -> Callable[[Any], Any]:
    """Enter a function into the table.

    Args:
        *names: Names of operations, without the prefix `aten.`.
        arithmetic: Whether it belongs in `ARITHMETIC`.
        trained: Whether it belongs in `TRAINED`.
        shaped: Whether it belongs in `SHAPED`.
        updates: Whether it belongs in `UPDATING`.
    """

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            OPERATIONS[f"aten.{name}"] = function
            ARITHMETIC.update([f"aten.{name}"] if arithmetic else [])
            TRAINED.update([f"aten.{name}"] if trained else [])
            SHAPED.update([f"aten.{name}"] if shaped else [])
            UPDATING.update([f"aten.{name}"] if updates else [])
        return function

    return enter


def dtype_of(dtype: Any, default: str = "float32") -> Any:
    """TensorFlow's dtype of that name."""
    return tf.as_dtype(default if dtype is None else dtype)


def size_of(x: Any, axis: int) -> Any:
    """The size of an axis: a number if it is known."""
    size = x.shape[axis]
    return tf.shape(x, out_type=tf.int64)[axis] if size is None else size


def shape_of(x: Any) -> list[Any]:
    """All sizes."""
    return [size_of(x, axis) for axis in range(len(x.shape))]


def target(sizes: Any) -> Any:
    """Sizes as `tf.reshape` takes them; one unknown size is left to TensorFlow, so that the others stay known to it."""
    unknown = [index for index, size in enumerate(sizes) if not isinstance(size, int) or size == -1]
    if len(unknown) == 1 and 0 not in [size for size in sizes if isinstance(size, int)]:
        return [-1 if index == unknown[0] else size for index, size in enumerate(sizes)]
    return tf.stack([tf.cast(size, tf.int64) for size in sizes]) if unknown else list(sizes)


def reshape(x: Any, sizes: Any) -> Any:
    """`x` in another shape."""
    return tf.reshape(x, target(sizes))
