"""Arithmetic, comparisons, and functions of single numbers."""

from __future__ import annotations

import operator
from typing import Any

from notebook_kit.tensorflow.operations.table import OPERATIONS, dtype_of, operation
from notebook_kit.tensorflow.requirements import tf

__all__: list[str] = []


# Sizes: Python's own functions, which also work on TensorFlow's scalars
for _name in ("mul", "add", "sub", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge", "and_", "or_"):
    OPERATIONS[_name] = getattr(operator, _name)
OPERATIONS["getitem"] = lambda values, index: values[index]
OPERATIONS["sym_max"] = lambda x, y: max(x, y) if isinstance(x, int) and isinstance(y, int) else tf.maximum(x, y)
OPERATIONS["sym_min"] = lambda x, y: min(x, y) if isinstance(x, int) and isinstance(y, int) else tf.minimum(x, y)
OPERATIONS["sym_not"] = lambda x: not x if isinstance(x, bool) else tf.logical_not(x)
OPERATIONS["truediv"] = lambda x, y: x / y if isinstance(x, int) and isinstance(y, int) else tf.truediv(x, y)


@operation("add", "add_", arithmetic=True)
def add(x: Any, y: Any, alpha: Any = 1) -> Any:
    return x + y if alpha == 1 else x + y * alpha


@operation("sub", "sub_", arithmetic=True)
def subtract(x: Any, y: Any, alpha: Any = 1) -> Any:
    return x - y if alpha == 1 else x - y * alpha


@operation("rsub", arithmetic=True)
def subtract_from(x: Any, y: Any, alpha: Any = 1) -> Any:
    return y - x if alpha == 1 else y - x * alpha


@operation("mul", "mul_", arithmetic=True)
def multiply(x: Any, y: Any) -> Any:
    return tf.logical_and(x, y) if x.dtype == tf.bool else x * y


@operation("div", "div_", "true_divide", arithmetic=True)
def divide(x: Any, y: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return tf.math.floordiv(x, y)
    if rounding_mode == "trunc":
        return tf.truncatediv(x, y)
    return x / y


@operation("pow", arithmetic=True)
def power(x: Any, exponent: Any) -> Any:
    return tf.pow(x, exponent)


OPERATIONS |= {f"aten.{name}": function for name, function in {
    "abs": tf.abs,
    "bitwise_and": lambda x, y: tf.logical_and(x, y) if x.dtype == tf.bool else tf.bitwise.bitwise_and(x, y),
    "bitwise_not": lambda x: tf.logical_not(x) if x.dtype == tf.bool else tf.bitwise.invert(x),
    "bitwise_or": lambda x, y: tf.logical_or(x, y) if x.dtype == tf.bool else tf.bitwise.bitwise_or(x, y),
    "ceil": tf.math.ceil,
    "cos": tf.cos,
    "elu": tf.nn.elu,
    "erf": tf.math.erf,
    "exp": tf.exp,
    "floor": tf.floor,
    "isinf": tf.math.is_inf,
    "isnan": tf.math.is_nan,
    "log": tf.math.log,
    "log1p": tf.math.log1p,
    "neg": tf.negative,
    "reciprocal": tf.math.reciprocal,
    "relu": tf.nn.relu,
    "relu_": tf.nn.relu,
    "round": tf.round,
    "rsqrt": tf.math.rsqrt,
    "sigmoid": tf.sigmoid,
    "sign": tf.sign,
    "silu": tf.nn.silu,
    "sin": tf.sin,
    "sqrt": tf.sqrt,
    "square": tf.square,
    "tanh": tf.tanh,
}.items()}  # fmt: skip


@operation("floor_divide", "__floordiv__", arithmetic=True)
def floor_divide(x: Any, y: Any) -> Any:
    return tf.math.floordiv(x, y)


@operation("remainder", arithmetic=True)
def remainder(x: Any, y: Any) -> Any:
    return tf.math.floormod(x, y)


@operation("maximum", arithmetic=True)
def maximum(x: Any, y: Any) -> Any:
    return tf.maximum(x, y)


@operation("minimum", arithmetic=True)
def minimum(x: Any, y: Any) -> Any:
    return tf.minimum(x, y)


@operation("xlogy", arithmetic=True)
def xlogy(x: Any, y: Any) -> Any:
    return tf.math.xlogy(x, y)


@operation("cosine_similarity")
def cosine_similarity(x: Any, y: Any, axis: int = 1, eps: float = 1e-8) -> Any:
    def direction(each: Any) -> Any:
        return each * tf.math.rsqrt(tf.maximum(tf.reduce_sum(each * each, axis=axis, keepdims=True), eps * eps))

    return tf.reduce_sum(direction(x) * direction(y), axis=axis)


@operation("gelu")
def gelu(x: Any, approximate: str = "none") -> Any:
    return tf.nn.gelu(x, approximate=approximate == "tanh")


@operation("softplus")
def softplus(x: Any, beta: Any = 1, threshold: Any = 20) -> Any:
    return tf.nn.softplus(x * beta) / beta


@operation("glu")
def glu(x: Any, axis: int = -1) -> Any:
    value, gate = tf.split(x, 2, axis)
    return value * tf.sigmoid(gate)


@operation("leaky_relu")
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    return tf.nn.leaky_relu(x, negative_slope)


@operation("hardtanh")
def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    return tf.clip_by_value(x, min_val, max_val)


@operation("clamp", "clamp_", arithmetic=True)
def clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    if min is not None:
        x = tf.maximum(x, min)
    return x if max is None else tf.minimum(x, max)


@operation("clamp_min", arithmetic=True)
def clamp_min(x: Any, low: Any) -> Any:
    return tf.maximum(x, low)


def together(x: Any, y: Any) -> tuple[Any, Any]:
    """Two tensors, or a tensor and a number, with the dtype in which torch compares them."""
    if not tf.is_tensor(y):
        if isinstance(y, float) and not x.dtype.is_floating:
            x = tf.cast(x, tf.float32)
        return x, tf.cast(y, x.dtype)
    if x.dtype == y.dtype:
        return x, y
    order = [tf.bool, tf.uint8, tf.int8, tf.int16, tf.int32, tf.int64, tf.bfloat16, tf.float16, tf.float32, tf.float64]
    widest = max(x.dtype, y.dtype, key=order.index)
    return tf.cast(x, widest), tf.cast(y, widest)


def _comparison(function: Any) -> Any:
    return lambda x, y: function(*together(x, y))


OPERATIONS |= {f"aten.{name}": _comparison(function) for name, function in {
    "eq": tf.equal, "ge": tf.greater_equal, "gt": tf.greater, "le": tf.less_equal, "lt": tf.less, "ne": tf.not_equal,
}.items()}  # fmt: skip


def _logical(function: Any) -> Any:
    return lambda *values: function(*(tf.cast(value, tf.bool) for value in values))


OPERATIONS |= {f"aten.{name}": _logical(function) for name, function in {
    "__and__": tf.logical_and, "__or__": tf.logical_or, "logical_and": tf.logical_and, "logical_not": tf.logical_not,
    "logical_or": tf.logical_or,
}.items()}  # fmt: skip


@operation("to", "_to_copy", "type_as")
def convert(x: Any, dtype: Any = None, *_: Any, **__: Any) -> Any:
    dtype = dtype.dtype if tf.is_tensor(dtype) else dtype
    return x if dtype is None or isinstance(dtype, bool) else tf.cast(x, dtype_of(dtype))


OPERATIONS |= {
    f"aten.{name}": lambda x, *_, **__: x
    for name in ("alias", "clone", "contiguous", "dropout_", "lift_fresh", "lift_fresh_copy")
}


@operation("detach", "detach_")
def detach(x: Any) -> Any:
    return tf.stop_gradient(x)
