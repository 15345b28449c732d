"""Layers: products of matrices, norms, attention, dropout, losses."""

from __future__ import annotations

from typing import Any

from notebook_kit.tensorflow.operations.table import OPERATIONS, dtype_of, operation, reshape, shape_of, size_of
from notebook_kit.tensorflow.requirements import tf

__all__: list[str] = []


@operation("linear", shaped=True)
def linear(x: Any, weight: Any, bias: Any = None, *, shape: Any = None) -> Any:
    rank = len(x.shape)
    rows = reshape(x, [-1, x.shape[-1]]) if rank != 2 else x  # one large product is faster than one for each text
    y = tf.matmul(rows, weight, transpose_b=True)
    y = y if bias is None else tf.nn.bias_add(y, bias)
    if rank == 2:
        return y
    return reshape(y, [*shape_of(x)[:-1], weight.shape[0]]) if shape is None else tf.reshape(y, shape)


@operation("matmul", "bmm", "mm")
def matmul(x: Any, y: Any) -> Any:
    if len(x.shape) == 1:
        return tf.squeeze(tf.matmul(x[None], y), -2)
    return tf.linalg.matvec(x, y) if len(y.shape) == 1 else tf.matmul(x, y)


@operation("addmm")
def addmm(bias: Any, x: Any, y: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    return beta * bias + alpha * tf.matmul(x, y)


@operation("baddbmm")
def baddbmm(bias: Any, x: Any, y: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    return beta * bias + alpha * tf.matmul(x, y)


@operation("einsum")
def einsum(equation: str, tensors: Any, path: Any = None) -> Any:
    return tf.einsum(equation, *tensors)


@operation("softmax", "_softmax")
def softmax(x: Any, axis: int, dtype: Any = None) -> Any:
    return tf.nn.softmax(_as(x, dtype), axis)


@operation("log_softmax", "_log_softmax")
def log_softmax(x: Any, axis: int, dtype: Any = None) -> Any:
    return tf.nn.log_softmax(_as(x, dtype), axis)


def _as(x: Any, dtype: Any) -> Any:
    return x if dtype is None or isinstance(dtype, bool) else tf.cast(x, dtype_of(dtype))


@operation("layer_norm")
def layer_norm(x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Any:
    axes = list(range(-len(shape), 0))
    mean, variance = tf.nn.moments(_wide(x), axes, keepdims=True)
    scale = tf.math.rsqrt(variance + eps)
    y = tf.cast((_wide(x) - mean) * scale, x.dtype)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@operation("rms_norm")
def rms_norm(x: Any, shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    axes = list(range(-len(shape), 0))
    eps = 2.0**-23 if eps is None else eps  # that of float32
    y = _wide(x) * tf.math.rsqrt(tf.reduce_mean(tf.square(_wide(x)), axes, keepdims=True) + eps)
    y = tf.cast(y, x.dtype)
    return y if weight is None else y * weight


def _wide(x: Any) -> Any:
    """At least single precision, in which torch computes norms and softmax."""
    return tf.cast(x, tf.float32) if x.dtype in (tf.bfloat16, tf.float16) else x


@operation("group_norm")
def group_norm(x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Any:
    sizes = shape_of(x)
    y = layer_norm(reshape(x, [sizes[0], groups, -1]), [1], eps=eps)
    y = reshape(y, sizes)
    channels = [1, x.shape[1], *[1] * (len(sizes) - 2)]
    y = y if weight is None else y * tf.reshape(weight, channels)
    return y if bias is None else y + tf.reshape(bias, channels)


@operation("dropout", "feature_dropout", "native_dropout", "dropout_", trained=True)
def dropout(x: Any, rate: float, train: bool = True, *, training: bool) -> Any:
    return tf.nn.dropout(x, rate) if training and train and rate else x


@operation("exponential_")
def exponential(x: Any, rate: float = 1.0, **_: Any) -> Any:
    uniform = tf.random.uniform(tf.shape(x), minval=1e-20, dtype=x.dtype)
    return tf.ensure_shape(-tf.math.log(uniform) / rate, x.shape)


@operation("scaled_dot_product_attention", trained=True)
def attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: Any = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    training: bool,
) -> Any:
    if query.shape[1] != key.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = tf.repeat(key, groups, axis=1), tf.repeat(value, groups, axis=1)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = tf.matmul(query * tf.cast(factor, query.dtype), key, transpose_b=True)
    if mask is not None:
        scores = tf.where(mask, scores, scores.dtype.min) if mask.dtype == tf.bool else scores + mask
    if is_causal is not False:
        later = tf.range(size_of(key, -2))[None, :] > tf.range(size_of(query, -2))[:, None]
        scores = tf.where(tf.logical_and(later, is_causal), scores.dtype.min, scores)
    weights = tf.cast(tf.nn.softmax(_wide(scores)), query.dtype)
    if training and dropout_p:
        weights = tf.nn.dropout(weights, dropout_p)
    return tf.matmul(weights, value)


# Losses ----------------------------------------------------------------------------------------------------------------------


@operation("cross_entropy_loss")
def cross_entropy(
    logits: Any, target: Any, weight: Any = None, reduction: int = 1, ignored: int = -100, smoothing: float = 0.0
) -> Any:
    if len(logits.shape) > 2:  # (batch, classes, ...)
        logits = tf.transpose(logits, [0, *range(2, len(logits.shape)), 1])
    if weight is not None or target.dtype.is_floating:
        raise NotImplementedError("a cross-entropy with weights or probabilities")
    counted = target != ignored
    target = tf.where(counted, target, tf.zeros_like(target))
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)
    if smoothing:
        even = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        losses = (1 - smoothing) * losses + smoothing * even
    losses = tf.where(counted, losses, tf.zeros_like(losses))
    if reduction == 0:
        return losses
    total = tf.reduce_sum(losses)
    return total if reduction == 2 else total / tf.reduce_sum(tf.cast(counted, losses.dtype))


def _reduced(losses: Any, reduction: int) -> Any:
    return losses if reduction == 0 else tf.reduce_mean(losses) if reduction == 1 else tf.reduce_sum(losses)


@operation("mse_loss")
def mse_loss(x: Any, target: Any, reduction: int = 1) -> Any:
    return _reduced(tf.math.squared_difference(x, target), reduction)


@operation("l1_loss")
def l1_loss(x: Any, target: Any, reduction: int = 1) -> Any:
    return _reduced(tf.abs(x - target), reduction)


@operation("binary_cross_entropy_with_logits")
def binary_cross_entropy(x: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: int = 1) -> Any:
    if weight is not None or pos_weight is not None:
        raise NotImplementedError("a binary cross-entropy with weights")
    return _reduced(tf.nn.sigmoid_cross_entropy_with_logits(target, x), reduction)


def ctc_loss(
    scores: Any, targets: Any, frames: Any, lengths: Any, blank: int, reduction: str, zero_infinity: bool
) -> Any:
    if len(targets.shape) != 2:
        raise NotImplementedError("a CTC loss of targets that follow each other in one row")
    frames, lengths = tf.cast(frames, tf.int32), tf.cast(lengths, tf.int32)
    labels = tf.where(tf.sequence_mask(lengths, tf.shape(targets)[1]), tf.cast(targets, tf.int32), 0)
    losses = tf.nn.ctc_loss(labels, scores, lengths, frames, logits_time_major=True, blank_index=blank)
    if zero_infinity:
        losses = tf.where(tf.math.is_finite(losses), losses, tf.zeros_like(losses))
    if reduction == "mean":  # each divided by its number of tokens
        return tf.reduce_mean(losses / tf.maximum(tf.cast(lengths, losses.dtype), 1))
    return tf.reduce_sum(losses) if reduction == "sum" else losses


OPERATIONS["notebook_kit.ctc_loss"] = ctc_loss
