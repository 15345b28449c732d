"""Operations on grids, such as pictures and spectrograms, and on waves: convolutions, pooling, batch norms, other sizes.

Torch has the channels before the grid, `(batch, channels, rows, columns)`; TensorFlow computes on processors with the channels
last. So each operation moves them to the end and back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from notebook_kit.tensorflow.operations.table import operation, reshape, size_of
from notebook_kit.tensorflow.requirements import tf

__all__: list[str] = []


def _pair(value: Any) -> list[Any]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values


def _channels_last(x: Any) -> Any:
    return tf.transpose(x, [0, 2, 3, 1])


def _channels_first(x: Any) -> Any:
    return tf.transpose(x, [0, 3, 1, 2])


# Convolutions --------------------------------------------------------------------------------------------------------------


@operation("conv2d")
def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> Any:
    if isinstance(padding, str):
        raise NotImplementedError(f"a convolution with padding {padding!r}")
    (rows, columns), stride, dilation = _pair(padding), _pair(stride), _pair(dilation)
    grid = _channels_last(x)
    if rows or columns:
        grid = tf.pad(grid, [[0, 0], [rows, rows], [columns, columns], [0, 0]])
    kernel = tf.transpose(weight, [2, 3, 1, 0])  # rows, columns, inputs per group, outputs
    if groups == x.shape[1] and weight.shape[1] == 1 and stride[0] == stride[1]:
        per_channel = tf.reshape(kernel, [*kernel.shape[:2], groups, weight.shape[0] // groups])
        y = tf.nn.depthwise_conv2d(grid, per_channel, [1, *stride, 1], "VALID", dilations=dilation)
    else:
        parts = zip(tf.split(grid, groups, -1), tf.split(kernel, groups, -1), strict=True)
        y = tf.concat([tf.nn.conv2d(part, each, stride, "VALID", dilations=dilation) for part, each in parts], -1)
    y = y if bias is None else tf.nn.bias_add(y, bias)
    return _channels_first(y)


@operation("conv1d")
def conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = (1,),
    padding: Any = (0,),
    dilation: Any = (1,),
    groups: int = 1,
) -> Any:
    if isinstance(padding, str):
        raise NotImplementedError(f"a convolution with padding {padding!r}")
    step, gap, edge = (each if isinstance(each, int) else each[0] for each in (stride, dilation, padding))
    row = x[:, :, None]  # a grid of one row
    # Over the columns only; a depthwise convolution takes one stride for both axes, and the row has one place.
    y = conv2d(row, weight[:, :, None], bias, [step, step], [0, edge], [1, gap], groups)
    return tf.squeeze(y, 2)


@operation("pixel_shuffle")
def pixel_shuffle(x: Any, factor: int) -> Any:
    rows, columns = size_of(x, 2), size_of(x, 3)
    parts = reshape(x, [size_of(x, 0), x.shape[1] // factor**2, factor, factor, rows, columns])
    parts = tf.transpose(parts, [0, 1, 4, 2, 5, 3])
    return reshape(parts, [size_of(x, 0), x.shape[1] // factor**2, rows * factor, columns * factor])


# Pooling -------------------------------------------------------------------------------------------------------------------


@operation("max_pool2d")
def max_pool2d(
    x: Any, size: Any, stride: Any = (), padding: Any = (0, 0), dilation: Any = (1, 1), ceil_mode: bool = False
) -> Any:
    if ceil_mode or _pair(dilation) != [1, 1]:
        raise NotImplementedError("a pooling with gaps, or with ceil_mode")
    rows, columns = _pair(padding)
    edges = [[0, 0], [rows, rows], [columns, columns], [0, 0]]
    grid = tf.pad(_channels_last(x), edges, constant_values=x.dtype.min)
    return _channels_first(tf.nn.max_pool2d(grid, _pair(size), _pair(stride or size), "VALID"))


@operation("adaptive_avg_pool2d")
def adaptive_avg_pool2d(x: Any, size: Any) -> Any:
    if _pair(size) != [1, 1]:
        raise NotImplementedError("an adaptive pooling to more than one place")
    return tf.reduce_mean(x, [2, 3], keepdims=True)


@operation("adaptive_avg_pool1d")
def adaptive_avg_pool1d(x: Any, size: Any) -> Any:
    if list(size) != [1]:
        raise NotImplementedError("an adaptive pooling to more than one place")
    return tf.reduce_mean(x, 2, keepdims=True)


# Norms ---------------------------------------------------------------------------------------------------------------------


@operation("batch_norm", trained=True, updates=True)
def batch_norm(
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    train: bool,
    momentum: float,
    eps: float,
    fast: bool = True,
    *,
    training: bool,
    update: Callable[[int, Any], None],
) -> Any:
    axes = [axis for axis in range(len(x.shape)) if axis != 1]
    shape = [1, -1, *[1] * (len(x.shape) - 2)]
    if training and train:
        mean, variance = tf.nn.moments(x, axes)
        count = tf.cast(tf.size(x) / tf.size(mean), x.dtype)
        update(3, running_mean + momentum * (mean - running_mean))
        update(4, running_var + momentum * (variance * count / (count - 1) - running_var))
    else:
        mean, variance = running_mean, running_var
    scale = tf.math.rsqrt(variance + eps)
    scale = scale if weight is None else scale * weight
    y = (x - tf.reshape(mean, shape)) * tf.reshape(scale, shape)
    return y if bias is None else y + tf.reshape(bias, shape)


# Other sizes ---------------------------------------------------------------------------------------------------------------


@operation("upsample_nearest2d")
def upsample_nearest2d(x: Any, size: Any = None, *scales: Any) -> Any:
    for axis, new in zip((2, 3), _new_size(x, size, scales), strict=True):
        old = size_of(x, axis)
        places = tf.range(new, dtype=tf.int64) * tf.cast(old, tf.int64) // tf.cast(new, tf.int64)
        x = tf.gather(x, places, axis=axis)
    return x


@operation("upsample_bilinear2d")
def upsample_bilinear2d(x: Any, size: Any, align_corners: bool, *scales: Any) -> Any:
    return _resized(x, _new_size(x, size, scales), lambda old, new: _hat(_sources(old, new, align_corners), old))


@operation("upsample_bicubic2d")
def upsample_bicubic2d(x: Any, size: Any, align_corners: bool, *scales: Any) -> Any:
    return _resized(x, _new_size(x, size, scales), lambda old, new: _cubic(_sources(old, new, align_corners), old))


@operation("_upsample_bicubic2d_aa")
def upsample_bicubic2d_smoothly(x: Any, size: Any, align_corners: bool, *scales: Any) -> Any:
    if align_corners:
        raise NotImplementedError("a smooth resizing with align_corners")
    return _resized(x, _new_size(x, size, scales), _wide_cubic)


def _new_size(x: Any, size: Any, scales: Any) -> list[Any]:
    """The new rows and columns: given, or as factors of the old ones."""
    if size is not None:
        return list(size)
    [factors] = [each for each in scales if each is not None]
    if not all(float(each).is_integer() for each in factors):
        raise NotImplementedError("a resizing by a factor that is not whole")
    return [size_of(x, axis) * int(factor) for axis, factor in zip((2, 3), factors, strict=True)]


def _resized(x: Any, sizes: list[Any], weights: Callable[[Any, Any], Any]) -> Any:
    """A grid of other sizes: each new row is a weighted sum of the old rows, and likewise the columns."""
    rows, columns = (weights(size_of(x, axis), new) for axis, new in zip((2, 3), sizes, strict=True))
    y = tf.matmul(tf.cast(rows, x.dtype), tf.matmul(x, tf.cast(columns, x.dtype), transpose_b=True))
    y.set_shape([*x.shape[:2], *(size if isinstance(size, int) else None for size in sizes)])
    return y


def _sources(old: Any, new: Any, align_corners: bool) -> Any:
    """The place among `old` places that each of `new` places is read from, `(new,)`."""
    places, old, new = tf.range(tf.cast(new, tf.float32)), tf.cast(old, tf.float32), tf.cast(new, tf.float32)
    if align_corners:
        return places * tf.math.divide_no_nan(old - 1, new - 1)
    return (places + 0.5) * (old / new) - 0.5


def _hat(sources: Any, old: Any) -> Any:
    """Weights of the two nearest places, `(new, old)`."""
    last = tf.cast(old, tf.float32) - 1
    distance = tf.abs(tf.clip_by_value(sources, 0.0, last)[:, None] - tf.range(last + 1)[None, :])
    return tf.maximum(1 - distance, 0)


def _keys(distance: Any, a: float) -> Any:
    """The cubic convolution of Keys (1981) with the parameter `a`."""
    d = tf.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return tf.where(d <= 1, near, tf.where(d < 2, far, tf.zeros_like(d)))


def _cubic(sources: Any, old: Any) -> Any:
    """Weights of the four nearest places, `(new, old)`; those beyond an edge count for the place at the edge."""
    first, old = tf.floor(sources), tf.cast(old, tf.int32)
    total = 0.0
    for offset in (-1.0, 0.0, 1.0, 2.0):
        place = tf.clip_by_value(tf.cast(first + offset, tf.int32), 0, old - 1)
        total = total + tf.one_hot(place, old) * _keys(sources - first - offset, -0.75)[:, None]
    return total


def _wide_cubic(old: Any, new: Any) -> Any:
    """Weights of all places within the kernel, which is as wide as the new places are apart, `(new, old)`."""
    sources = _sources(old, new, False)
    width = tf.maximum(tf.cast(old, tf.float32) / tf.cast(new, tf.float32), 1.0)
    distance = (sources[:, None] - tf.range(tf.cast(old, tf.float32))[None, :]) / width
    weights = _keys(distance, -0.5)
    return weights / tf.reduce_sum(weights, 1, keepdims=True)
