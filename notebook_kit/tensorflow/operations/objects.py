"""The losses of objects in images, which torch computes from TensorFlow's predictions, with their gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

from notebook_kit.tensorflow.objects import losses, part_names
from notebook_kit.tensorflow.operations.table import OPERATIONS
from notebook_kit.tensorflow.requirements import tf

__all__: list[str] = []


def objects_loss(kind: str, predictions: Any, labels: Any, settings: str) -> Any:
    """The loss and its parts. The loss has gradients; its parts, for logs, do not."""
    predictions = [tf.cast(each, tf.float32) for each in predictions]
    with_masks = len(labels) == 3
    parts = part_names(kind, (len(predictions) - with_masks) // 2 - 1, with_masks)
    found = tf.numpy_function(
        partial(losses, kind, settings, len(predictions)),
        [*map(tf.stop_gradient, predictions), *labels],
        [tf.float32] * (1 + len(parts) + len(predictions)),
        stateful=False,
    )
    values, gradients = found[: 1 + len(parts)], found[1 + len(parts) :]
    for value in values:
        value.set_shape([])
    for gradient, prediction in zip(gradients, predictions, strict=True):
        gradient.set_shape(prediction.shape)

    @tf.custom_gradient
    def loss(*_: Any) -> Any:
        return tf.identity(values[0]), lambda upstream: [upstream * gradient for gradient in gradients]

    return [loss(*predictions), *map(tf.stop_gradient, values[1:])]


OPERATIONS["notebook_kit.objects_loss"] = objects_loss
