"""From a `datasets.Dataset` to the `tf.data.Dataset` that Keras' `fit` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

import numpy as np

from notebook_kit.errors import InputError, a_kind
from notebook_kit.nn.inputs import ModelInputs
from notebook_kit.tensorflow.objects import flat_labels, nested
from notebook_kit.tensorflow.requirements import tf
from notebook_kit.tensorflow.seeding import drawn_seed, torch_seeded
from notebook_kit.training.collators import DataCollatorWithPadding, DefaultDataCollator

__all__ = ["tf_dataset"]

_LABELS = ("label", "label_ids")
"""Columns that become `labels`."""


def tf_dataset(
    dataset: Any,
    inputs: ModelInputs,
    batch_size: int = 8,
    shuffle: bool = True,
    *,
    tokenizer: Any = None,
    collate_fn: Callable[..., Any] | None = None,
    collate_fn_args: Mapping[str, Any] | None = None,
    drop_remainder: bool | None = None,
    prefetch: bool = True,
) -> Any:
    """Batches `(inputs, labels)`, or of inputs alone if the dataset has no labels.

    Args:
        dataset: A `datasets.Dataset`. Columns that the model does not take are left out; `label` becomes `labels`.
        inputs: What the model takes.
        batch_size: Examples per batch.
        shuffle: Whether each epoch has a new order.
        tokenizer: Pads each batch to its longest example; without it, all rows must have one length.
        collate_fn: Makes a batch of a list of examples, in place of that; it may return arrays or tensors.
        collate_fn_args: Further arguments of `collate_fn`.
        drop_remainder: Whether to leave out a last batch that is smaller; by default if `shuffle`.
        prefetch: Whether the next batch is prepared while the model computes.

    Returns:
        A `tf.data.Dataset` with a known number of batches. Inputs are dictionaries of tensors of shape `(batch, ...)`. After
        `keras.utils.set_random_seed`, the order of its examples is repeatable, and so is what `collate_fn` draws with torch.

    Raises:
        InputError: If the dataset is not one of `datasets`, is empty, or has no column that the model takes.
    """
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list) or not hasattr(dataset, "with_format") or not hasattr(dataset, "__len__"):
        raise InputError(
            f"prepare_tf_dataset takes a datasets.Dataset, and got {a_kind(dataset)}.",
            next_step='Pass one split, such as dataset["train"]; for arrays, use tf.data.Dataset.from_tensor_slices.',
        )
    kept = [name for name in names if inputs.takes(name) or name in _LABELS]
    if not set(kept) - {*inputs.labels, *_LABELS} or not len(dataset):
        raise InputError(
            f"The dataset has {len(dataset)} rows with the columns {', '.join(names)}; the model takes {', '.join(inputs.names)}.",
            next_step="Tokenize it first: dataset.map(lambda rows: tokenizer(rows['text'], truncation=True), batched=True).",
        )
    if isinstance(batch_size, bool) or not isinstance(batch_size, Integral) or batch_size < 1:
        raise InputError(
            f"batch_size is {batch_size!r}.", next_step="Pass the number of examples per batch, such as 16."
        )
    rows = dataset.select_columns(kept).with_format(None)
    collate = collate_fn or (DataCollatorWithPadding(tokenizer) if tokenizer is not None else DefaultDataCollator())
    given = collate_fn_args or ({} if collate_fn else {"return_tensors": "np"})

    def batch(indices: Any, seed: int) -> Any:
        columns = rows[[int(index) for index in indices]]
        examples = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        with torch_seeded(int(seed)):  # such as the choice of masked tokens
            collated = collate(examples, **given)
        arrays = {name: _array(value) for name, value in flat_labels(collated, inputs.labels).items()}
        return _pair(nested(arrays), inputs.labels)

    try:
        sample = batch(range(min(len(rows), 2)), 0)
    except InputError as error:
        if tokenizer is not None or collate_fn is not None:
            raise
        raise InputError(
            error.what,
            next_step="Pass tokenizer=tokenizer, which pads each batch; or collate_fn=, which makes a batch of examples.",
        ) from error
    flat = tf.nest.flatten(sample)

    # Of a batch of images, the size is known: a graph is traced for one size.
    images = [
        id(value) for value in (sample[0] if isinstance(sample, tuple) else sample).values() if np.ndim(value) == 4
    ]
    shapes = [[None, *each.shape[1:]] if id(each) in images else [None] * each.ndim for each in flat]

    def arrays_of(indices: Any, seed: int) -> list[Any]:
        found = tf.nest.flatten(batch(indices, seed))
        for array, shape in zip(found, shapes, strict=True):
            if len(shape) == 4 and None not in shape[1:] and list(array.shape[1:]) != shape[1:]:
                raise InputError(
                    f"A batch has images of the shape {array.shape[1:]}, and the first one of {tuple(shape[1:])}.",
                    next_step="Resize all images to one size, such as with the image processor's size=.",
                )
        return found

    def load(indices: Any, seed: Any) -> Any:
        arrays = tf.numpy_function(arrays_of, [indices, seed], [each.dtype for each in flat], stateful=False)
        for array, shape in zip(arrays, shapes, strict=True):
            array.set_shape(shape)
        return tf.nest.pack_sequence_as(sample, arrays)

    drops = (shuffle if drop_remainder is None else drop_remainder) and len(rows) >= batch_size
    order = tf.data.Dataset.range(len(rows))
    order = order.shuffle(len(rows), reshuffle_each_iteration=True) if shuffle else order
    # Of the place in the dataset alone: how many batches are prepared in advance is a matter of timing.
    seeds = tf.data.Dataset.random(drawn_seed() % 2**31, rerandomize_each_iteration=True)
    result = tf.data.Dataset.zip(order.batch(batch_size, drop_remainder=drops), seeds).map(load)
    return result.prefetch(tf.data.AUTOTUNE) if prefetch else result


def _array(value: Any) -> np.ndarray:
    array = value.numpy() if hasattr(value, "numpy") else np.asarray(value)
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def _pair(batch: dict[str, np.ndarray], label_names: tuple[str, ...]) -> Any:
    labels = {name: batch.pop(name) for name in label_names if name in batch}
    if not labels:
        return batch
    return batch, next(iter(labels.values())) if len(labels) == 1 else labels
