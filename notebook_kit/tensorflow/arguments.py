"""What a TF model is called with, as tensors; and sizes to trace it with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError, a_kind
from notebook_kit.tensorflow.requirements import keras, tf

__all__ = ["as_tensors", "example_sizes", "keras_data", "torch_dtype", "usual_sizes"]

_FEW, _SEVERAL = 2, 7
"""Sizes of a batch and of other axes to trace a model with, where they are not known: any sizes but 0 and 1."""
_SAMPLES = 16_000
"""The same for recordings."""


def as_tensors(given: Mapping[str, Any], compute_dtype: str) -> dict[str, Any]:
    """Tensors of the inputs, with the dtypes that the torch model takes: whole numbers as int64.

    Args:
        given: Name -> tensor, array, list or number.
        compute_dtype: The dtype of the computation.

    Raises:
        InputError: If a value is not numeric, has no tokens, or is a torch tensor.
    """
    return {name: _as_tensor(name, value, compute_dtype) for name, value in given.items()}


def _as_tensor(name: str, value: Any, compute_dtype: str) -> Any:
    if isinstance(value, torch.Tensor):
        raise InputError(
            f"{name} is a tensor of PyTorch; expected one of TensorFlow.",
            next_step='Call the tokenizer with return_tensors="tf".',
        )
    if isinstance(value, keras.KerasTensor):
        return value
    try:
        tensor = tf.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} is {a_kind(value)} that does not become a tensor.",
            next_step='Call the tokenizer with return_tensors="tf", and padding=True for several texts.',
        ) from error
    if tensor.dtype == tf.string:
        raise InputError(
            f"{name} holds text; expected numbers.",
            next_step='Tokenize the text first: model(tokenizer(text, return_tensors="tf")).',
        )
    if name.endswith(("input_ids", "inputs_embeds")) and tensor.shape.rank and 0 in tensor.shape.as_list()[1:]:
        raise InputError(
            f"{name} contains no tokens: its shape is {tuple(tensor.shape)}.", next_step="Leave empty inputs out."
        )
    if tensor.dtype.is_floating:
        return tf.cast(tensor, tf.float32 if "." in name else compute_dtype)  # boxes of labels stay exact
    return tensor if tensor.dtype == tf.bool else tf.cast(tensor, tf.int64)


def keras_data(args: tuple, kwargs: Mapping[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The arguments of `fit`, `evaluate` and `predict`, with what a tokenizer returned as dictionaries, which Keras knows.

    Args:
        args, kwargs: The arguments: `x`, `y`, ...

    Raises:
        InputError: If the labels `y` are text.

    Example:
        >>> from notebook_kit import AutoTokenizer
        >>> tokens = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")(["Fine.", "Dull."], return_tensors="np")
        >>> (inputs,), _ = keras_data((tokens,), {})
        >>> type(inputs)
        <class 'dict'>
    """

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(plain, value))
        return dict(value) if isinstance(value, Mapping) else value

    labels = kwargs.get("y", args[1] if len(args) > 1 else None)
    if isinstance(labels, list | tuple | np.ndarray) and np.asarray(labels, dtype=object).size:
        first = np.asarray(labels, dtype=object).flat[0]
        if isinstance(first, str | bytes):
            raise InputError(
                f"The labels y are text, such as {first!r}; expected whole numbers from 0.",
                next_step="Number the classes first: [model.config.label2id[label] for label in labels].",
            )
    found = {name: plain(value) if name in ("x", "validation_data") else value for name, value in kwargs.items()}
    return (plain(args[0]), *args[1:]) if args else args, found


def torch_dtype(name: str) -> str:
    """The name in torch of one of TensorFlow's dtypes.

    Example:
        >>> torch_dtype("half")
        'float16'
    """
    return {"half": "float16", "double": "float64"}.get(name, name)


def example_sizes(shapes: Mapping[str, list[int | None]], config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    """Sizes to trace a model with: the known ones, except 0 and 1, which a trace takes for constants.

    Args:
        shapes: Name of each input -> its sizes, None where they are not known.
        config: Provides the sizes of images and spectrograms.
    """
    batches = [shape[0] for shape in shapes.values() if shape]
    batch = max([size for size in batches if size is not None and size > 1], default=_FEW)
    # The mask of a recording is as long as the recording.
    source = {"attention_mask": "input_values"} if "input_values" in shapes else {}
    return {name: _example(source.get(name, name), shape, batch, config) for name, shape in shapes.items()}


def usual_sizes(name: str, config: PretrainedConfig) -> list[int] | None:
    """The sizes of an input beside the batch, where they follow from the configuration: of images, sound and spectrograms."""
    if name == "pixel_values":
        config = getattr(config, "vision_config", None) or getattr(config, "encoder", None) or config
        side = getattr(config, "image_size", None) or 224
        rows, columns = (side, side) if isinstance(side, int) else side
        return [getattr(config, "num_channels", 3), rows, columns]
    bands = getattr(config, "num_mel_bins", None)
    if name == "input_features" and bands:
        return [bands, 2 * config.max_source_positions]
    if name == "input_values":
        return [config.max_length, bands] if bands else [_SAMPLES]
    return None


def _example(name: str, shape: list[int | None], batch: int, config: PretrainedConfig) -> tuple[int, ...]:
    defaults = [batch, *(usual_sizes(name, config) or [_SEVERAL] * (len(shape) - 1))]
    usable = [size if size is not None and size > 1 else None for size in shape]
    if name == "pixel_values" and len(shape) == 4:
        usable[1] = shape[1]  # grey images have one channel
    return tuple(default if size is None else size for size, default in zip(usable, defaults, strict=False))
