"""Operations that arrange numbers without computing with them."""

from __future__ import annotations

from typing import Any

from notebook_kit.tensorflow.operations.table import OPERATIONS, dtype_of, operation, reshape, shape_of, size_of
from notebook_kit.tensorflow.requirements import tf

__all__: list[str] = []

LARGEST = 2**62
"""Ends of slices from this one on stand for the end of the axis."""


@operation("sym_size")
def sym_size(x: Any, axis: int) -> Any:
    return size_of(x, axis)


@operation("sym_numel")
def sym_numel(x: Any) -> Any:
    return tf.size(x, out_type=tf.int64)


@operation("view", "reshape", "_unsafe_view", shaped=True)
def view(x: Any, sizes: Any, *, shape: Any = None) -> Any:
    if isinstance(sizes, tf.DType):
        raise NotImplementedError("a view of another dtype")
    return reshape(x, sizes) if shape is None else tf.reshape(x, shape)


@operation("view_as", "reshape_as")
def view_as(x: Any, other: Any) -> Any:
    return reshape(x, shape_of(other))


@operation("flatten")
def flatten(x: Any, start: int = 0, end: int = -1) -> Any:
    sizes, end = shape_of(x), end % max(len(x.shape), 1)
    return reshape(x, [*sizes[:start], -1, *sizes[end + 1 :]])


@operation("unflatten")
def unflatten(x: Any, axis: int, sizes: Any) -> Any:
    all_sizes, axis = shape_of(x), axis % len(x.shape)
    return reshape(x, [*all_sizes[:axis], *sizes, *all_sizes[axis + 1 :]])


@operation("expand")
def expand(x: Any, sizes: Any, implicit: bool = False) -> Any:
    missing = len(sizes) - len(x.shape)
    own = [*[1] * missing, *shape_of(x)]
    sizes = [own[index] if isinstance(size, int) and size == -1 else size for index, size in enumerate(sizes)]
    if all(isinstance(size, int) for size in sizes):
        return tf.broadcast_to(x, sizes)
    return tf.broadcast_to(x, tf.stack([tf.cast(size, tf.int64) for size in sizes]))


@operation("broadcast_tensors")
def broadcast_tensors(tensors: Any) -> Any:
    rank = max(len(each.shape) for each in tensors)
    sizes: list[Any] = [1] * rank
    for each in tensors:
        for axis, size in enumerate(shape_of(each), rank - len(each.shape)):
            sizes[axis] = size if not isinstance(size, int) or size != 1 else sizes[axis]
    return [expand(each, sizes) for each in tensors]


@operation("expand_as")
def expand_as(x: Any, other: Any) -> Any:
    return expand(x, shape_of(other))


@operation("transpose", "swapaxes")
def transpose(x: Any, first: int, second: int) -> Any:
    axes = list(range(len(x.shape)))
    axes[first], axes[second] = axes[second], axes[first]
    return tf.transpose(x, axes)


@operation("t", "numpy_T")
def transpose_matrix(x: Any) -> Any:
    return tf.transpose(x)


@operation("permute")
def permute(x: Any, axes: Any) -> Any:
    return tf.transpose(x, [axis % len(axes) for axis in axes])


@operation("movedim")
def move_axes(x: Any, source: Any, destination: Any) -> Any:
    sources, destinations = ([each] if isinstance(each, int) else each for each in (source, destination))
    rank = len(x.shape)
    placed = {to % rank: axis % rank for axis, to in zip(sources, destinations, strict=True)}
    rest = iter(axis for axis in range(rank) if axis not in placed.values())
    return tf.transpose(x, [placed[axis] if axis in placed else next(rest) for axis in range(rank)])


@operation("unsqueeze")
def unsqueeze(x: Any, axis: int) -> Any:
    return tf.expand_dims(x, axis)


@operation("squeeze")
def squeeze(x: Any, axis: Any = None) -> Any:
    axes = range(len(x.shape)) if axis is None else [axis] if isinstance(axis, int) else axis
    return tf.squeeze(x, [each for each in axes if x.shape[each] == 1])


@operation("slice")
def slice_(x: Any, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    if isinstance(end, int) and end >= LARGEST:
        end = None
    if start in (None, 0) and end is None and step == 1:
        return x
    return x[(*[slice(None)] * (axis % len(x.shape)), slice(start, end, step))]


@operation("narrow")
def narrow(x: Any, axis: int, start: Any, length: Any) -> Any:
    return slice_(x, axis, start, start + length)


@operation("select")
def select(x: Any, axis: int, index: Any) -> Any:
    return x[(*[slice(None)] * (axis % len(x.shape)), index)]


@operation("cat", "concat")
def concatenate(tensors: Any, axis: int = 0) -> Any:
    return tf.concat(tensors, axis)


@operation("stack")
def stack(tensors: Any, axis: int = 0) -> Any:
    return tf.stack(tensors, axis)


@operation("split", "split_with_sizes")
def split(x: Any, sizes: Any, axis: int = 0) -> Any:
    if isinstance(sizes, int):
        whole = x.shape[axis]
        sizes = [min(sizes, whole - start) for start in range(0, whole, sizes)]
    return tf.split(x, sizes, axis)


@operation("chunk")
def chunk(x: Any, chunks: int, axis: int = 0) -> Any:
    return split(x, -(-x.shape[axis] // chunks), axis)


@operation("unbind")
def unbind(x: Any, axis: int = 0) -> Any:
    return tf.unstack(x, axis=axis)


@operation("repeat")
def repeat(x: Any, times: Any) -> Any:
    x = (
        tf.reshape(x, tf.concat([[1] * (len(times) - len(x.shape)), tf.shape(x)], 0))
        if len(times) > len(x.shape)
        else x
    )
    return tf.tile(x, [tf.cast(each, tf.int32) for each in times])


@operation("repeat_interleave")
def repeat_interleave(x: Any, repeats: Any, dim: int | None = None, output_size: Any = None) -> Any:
    return tf.repeat(x, repeats, axis=dim)


@operation("roll")
def roll(x: Any, shifts: Any, axes: Any = ()) -> Any:
    return tf.roll(x, shifts, axes)


@operation("flip")
def flip(x: Any, axes: Any) -> Any:
    return tf.reverse(x, axes)


@operation("pad", "constant_pad_nd")
def pad(x: Any, amounts: Any, mode: str = "constant", value: float | None = None) -> Any:
    if not isinstance(mode, str):  # constant_pad_nd has no mode
        mode, value = "constant", mode
    pairs = [amounts[index : index + 2] for index in range(0, len(amounts), 2)]
    rows = [[0, 0]] * (len(x.shape) - len(pairs)) + pairs[::-1]
    for axis, (before, after) in enumerate(rows):  # a negative amount cuts off
        if isinstance(before, int) and isinstance(after, int) and (before < 0 or after < 0):
            x = slice_(x, axis, max(-before, 0), after if after < 0 else None)
    rows = [[max(each, 0) if isinstance(each, int) else each for each in row] for row in rows]
    names = {"constant": "CONSTANT", "reflect": "REFLECT"}
    return tf.pad(x, rows, names[mode], constant_values=tf.cast(value or 0, x.dtype))


@operation("tril")
def tril(x: Any, diagonal: int = 0) -> Any:
    return tf.where(_offsets(x) <= diagonal, x, tf.zeros_like(x))


@operation("triu", "triu_")
def triu(x: Any, diagonal: int = 0) -> Any:
    return tf.where(_offsets(x) >= diagonal, x, tf.zeros_like(x))


def _offsets(x: Any) -> Any:
    """Column minus row at each place of a matrix."""
    return tf.range(size_of(x, -1))[None, :] - tf.range(size_of(x, -2))[:, None]


# Creation ------------------------------------------------------------------------------------------------------------------


@operation("arange")
def arange(start: Any, end: Any = None, step: Any = 1, dtype: Any = None, **_: Any) -> Any:
    start, end = (0, start) if end is None else (start, end)
    whole = all(not isinstance(each, float) for each in (start, end, step))
    kind = dtype_of(dtype, "int64" if whole else "float32")
    start, end, step = (tf.cast(each, tf.int64 if whole else kind) for each in (start, end, step))
    return tf.cast(tf.range(start, end, step), kind)


@operation("full")
def full(sizes: Any, value: Any, dtype: Any = None, **_: Any) -> Any:
    default = "bool" if isinstance(value, bool) else "int64" if isinstance(value, int) else "float32"
    return _filled(sizes, value, dtype_of(dtype, default))


@operation("zeros", "empty")
def zeros(sizes: Any, dtype: Any = None, **_: Any) -> Any:
    return _filled(sizes, 0, dtype_of(dtype))


@operation("ones")
def ones(sizes: Any, dtype: Any = None, **_: Any) -> Any:
    return _filled(sizes, 1, dtype_of(dtype))


@operation("new_full")
def new_full(x: Any, sizes: Any, value: Any, dtype: Any = None, **_: Any) -> Any:
    return _filled(sizes, value, x.dtype if dtype is None else dtype_of(dtype))


@operation("new_zeros", "new_empty")
def new_zeros(x: Any, sizes: Any, dtype: Any = None, **_: Any) -> Any:
    return new_full(x, sizes, 0, dtype)


@operation("new_ones")
def new_ones(x: Any, sizes: Any, dtype: Any = None, **_: Any) -> Any:
    return new_full(x, sizes, 1, dtype)


@operation("full_like")
def full_like(x: Any, value: Any, dtype: Any = None, **_: Any) -> Any:
    return new_full(x, shape_of(x), value, dtype)


@operation("zeros_like", "empty_like")
def zeros_like(x: Any, dtype: Any = None, **_: Any) -> Any:
    return tf.zeros_like(x, dtype=None if dtype is None else dtype_of(dtype))


@operation("ones_like")
def ones_like(x: Any, dtype: Any = None, **_: Any) -> Any:
    return tf.ones_like(x, dtype=None if dtype is None else dtype_of(dtype))


@operation("scalar_tensor")
def scalar_tensor(value: Any, dtype: Any = None, **_: Any) -> Any:
    return tf.cast(value, dtype_of(dtype))


def _filled(sizes: Any, value: Any, dtype: Any) -> Any:
    sizes = sizes if all(isinstance(size, int) for size in sizes) else [tf.cast(size, tf.int64) for size in sizes]
    return tf.fill(sizes, tf.cast(value, dtype))


OPERATIONS["aten.numel"] = sym_numel
