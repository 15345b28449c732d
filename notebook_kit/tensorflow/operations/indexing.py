"""Reading and writing at indices, and summaries over axes."""

from __future__ import annotations

from typing import Any

from notebook_kit.tensorflow.operations.arithmetic import together
from notebook_kit.tensorflow.operations.table import OPERATIONS, dtype_of, operation
from notebook_kit.tensorflow.requirements import tf

__all__: list[str] = []


@operation("embedding")
def embedding(table: Any, ids: Any, padding: Any = -1, scale: bool = False, sparse: bool = False) -> Any:
    rows = tf.gather(_with_dense_gradient(table), ids)
    if isinstance(padding, int) and padding >= 0:  # its row is not trained
        rows = tf.where((ids == padding)[..., None], tf.stop_gradient(rows), rows)
    return rows


@tf.custom_gradient
def _with_dense_gradient(table: Any) -> Any:
    """The same values. Keras' optimizers square the gradients of a row that occurs twice before they add them; torch after."""
    return tf.identity(table), lambda gradient: tf.convert_to_tensor(gradient)


@operation("index_select")
def index_select(x: Any, axis: int, indices: Any) -> Any:
    return tf.gather(x, indices, axis=axis)


@operation("gather")
def gather(x: Any, axis: int, indices: Any, sparse_grad: bool = False) -> Any:
    return tf.experimental.numpy.take_along_axis(x, indices, axis)


@operation("index")
def index(x: Any, indices: Any) -> Any:
    axes = [axis for axis, each in enumerate(indices) if each is not None]
    given = [indices[axis] for axis in axes]
    if len(axes) == 1:
        if given[0].dtype == tf.bool:
            return tf.boolean_mask(x, given[0], axis=axes[0])
        return tf.gather(x, _from_start(given[0], x, axes[0]), axis=axes[0])
    if axes != list(range(len(axes))):
        if axes != list(range(axes[0], axes[0] + len(axes))):
            raise NotImplementedError("indices at axes that are not adjacent")
        rest = [axis for axis in range(len(x.shape)) if axis not in axes]
        moved = index(tf.transpose(x, [*axes, *rest]), given)
        rank = len(moved.shape) - len(rest)  # of the indices, whose axes go where the first of them was
        order = [*range(rank, rank + axes[0]), *range(rank), *range(rank + axes[0], len(moved.shape))]
        return tf.transpose(moved, order)
    given = [tf.cast(_from_start(each, x, axis), tf.int64) for axis, each in zip(axes, given, strict=True)]
    shape = given[0]
    for each in given[1:]:
        shape = shape + tf.zeros_like(each)
    return tf.gather_nd(x, tf.stack([each + tf.zeros_like(shape) for each in given], axis=-1))


def _from_start(indices: Any, x: Any, axis: int) -> Any:
    """Indices counted from the end, as -1, counted from the start."""
    size = tf.shape(x, out_type=indices.dtype)[axis]
    return tf.where(indices < 0, indices + size, indices)


@operation("where")
def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None:
        raise NotImplementedError("where with a condition alone")
    if tf.is_tensor(x):
        x, y = together(x, y)
    elif tf.is_tensor(y):
        y, x = together(y, x)
    return tf.where(tf.cast(condition, tf.bool), x, y)


@operation("masked_fill", "masked_fill_")
def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    return tf.where(mask, tf.cast(value, x.dtype), x)


@operation("scatter", "scatter_")
def scatter(x: Any, axis: int, indices: Any, source: Any) -> Any:
    if axis % len(x.shape) != len(x.shape) - 1 or tf.is_tensor(source):
        raise NotImplementedError("scatter of a tensor, or not along the last axis")
    hit = tf.reduce_any(tf.one_hot(indices, tf.shape(x)[-1], on_value=True, off_value=False), axis=-2)
    return tf.where(hit, tf.cast(source, x.dtype), x)


@operation("one_hot")
def one_hot(x: Any, classes: int = -1) -> Any:
    return tf.one_hot(x, classes, dtype=tf.int64)


@operation("topk")
def topk(x: Any, k: Any, axis: int = -1, largest: bool = True, ordered: bool = True) -> Any:
    if axis not in (-1, len(x.shape) - 1) or not largest:
        raise NotImplementedError("topk of another axis, or of the smallest")
    values, indices = tf.math.top_k(x, k)
    return values, tf.cast(indices, tf.int64)


@operation("argsort")
def argsort(x: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
    return tf.cast(tf.argsort(x, dim, "DESCENDING" if descending else "ASCENDING", stable), tf.int64)


@operation("isin")
def isin(x: Any, known: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    found = tf.reduce_any(tf.equal(x[..., None], tf.cast(tf.reshape(known, [-1]), x.dtype)), -1)
    return tf.logical_not(found) if invert else found


# Summaries -----------------------------------------------------------------------------------------------------------------


def _summary(function: Any) -> Any:
    def summarize(x: Any, axis: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        if dtype is not None:
            x = tf.cast(x, dtype_of(dtype))
        elif function is tf.reduce_sum and not x.dtype.is_floating:
            x = tf.cast(x, tf.int64)
        axis = None if isinstance(axis, list) and not axis else axis
        return function(x, axis=axis, keepdims=keepdim)

    return summarize


OPERATIONS |= {f"aten.{name}": _summary(function) for name, function in {
    "all": lambda x, **given: tf.reduce_all(tf.cast(x, tf.bool), **given),
    "amax": tf.reduce_max,
    "amin": tf.reduce_min,
    "any": lambda x, **given: tf.reduce_any(tf.cast(x, tf.bool), **given),
    "mean": tf.reduce_mean,
    "prod": tf.reduce_prod,
    "sum": tf.reduce_sum,
}.items()}  # fmt: skip


def _with_places(best: Any, place: Any) -> Any:
    def summarize(x: Any, axis: Any = None, keepdim: bool = False) -> Any:
        if axis is None:
            return best(x)
        if tf.is_tensor(axis):
            return tf.maximum(x, axis) if best is tf.reduce_max else tf.minimum(x, axis)
        places = place(x, axis=axis, output_type=tf.int64)
        return best(x, axis=axis, keepdims=keepdim), tf.expand_dims(places, axis) if keepdim else places

    return summarize


OPERATIONS["aten.max"] = _with_places(tf.reduce_max, tf.argmax)
OPERATIONS["aten.min"] = _with_places(tf.reduce_min, tf.argmin)


@operation("argmax")
def argmax(x: Any, axis: int | None = None, keepdim: bool = False) -> Any:
    places = tf.argmax(tf.reshape(x, [-1]) if axis is None else x, axis=axis or 0, output_type=tf.int64)
    return tf.expand_dims(places, axis) if keepdim else places


@operation("var")
def variance(x: Any, axis: Any = None, correction: Any = 1, keepdim: bool = False, unbiased: bool = True) -> Any:
    if isinstance(correction, bool):  # the older overload: var(x, axis, unbiased, keepdim)
        correction = int(correction)
    mean = tf.reduce_mean(x, axis=axis, keepdims=True)
    squares = tf.math.squared_difference(x, mean)
    count = tf.cast(tf.size(x) / tf.size(mean), x.dtype)
    return tf.reduce_sum(squares, axis=axis, keepdims=keepdim) / (count - tf.cast(correction, x.dtype))


@operation("cumsum")
def cumsum(x: Any, axis: int, dtype: Any = None) -> Any:
    kind = dtype_of(dtype) if dtype is not None else x.dtype if x.dtype.is_floating else tf.int64
    return tf.cumsum(tf.cast(x, kind), axis=axis)


@operation("linalg_vector_norm")
def vector_norm(x: Any, order: float = 2, axis: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    if order != 2:
        raise NotImplementedError(f"a norm of order {order}")
    # (TensorFlow's own norm takes two axes for those of a matrix.)
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=axis, keepdims=keepdim))
