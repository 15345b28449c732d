"""The parts of a Keras model: layers that mirror the modules of the torch model and own its weights.

They compute nothing. They are there for what Keras does with layers: `trainable = False` on a part, `summary()`, tracking.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from notebook_kit.tensorflow.requirements import keras, tf

__all__ = ["Part", "fill", "replace_resized"]


class Part(keras.layers.Layer):
    """A module of the torch model: its weights, and the modules in it, as attributes or by name or index.

    Example:
        >>> from notebook_kit import BertConfig, TFBertModel
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> model = TFBertModel(tiny)
        >>> model.encoder.layer[0].trainable = False
        >>> model.encoder.layer[1]["output"].count_params()
        2144
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.parts: dict[str, Part] = {}
        self.built = True

    def __getattr__(self, name: str) -> Any:
        parts = self.__dict__.get("parts") or {}
        if name in parts:
            return parts[name]
        raise AttributeError(f"{type(self).__name__} {self.__dict__.get('_name', '')!r} has no part {name!r}.")

    def __getitem__(self, key: str | int) -> Any:
        return self.parts[str(key)] if isinstance(key, str) or key >= 0 else list(self.parts.values())[key]

    def __len__(self) -> int:
        return len(self.parts)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self.parts.values()))

    def save_own_variables(self, store: Any) -> None:
        """Nothing: the model writes all weights, under their names."""

    def load_own_variables(self, store: Any) -> None:
        """Nothing: the model reads all weights."""

    def call(self, *_: Any, **__: Any) -> Any:
        """Parts are not called one by one: call the model."""
        raise NotImplementedError("A part of a TF model cannot be called alone; call the model.")


def fill(model: Any, source: nn.Module) -> tuple[dict[str, Any], dict[str, Part]]:
    """Create the weights of a Keras model, in parts that mirror the modules of a torch model.

    Args:
        model: The Keras model, which owns the weights that are in no part.
        source: The torch model, with the values.

    Returns:
        The variables by the names that the torch model has for them, shared ones under the first name only; and the parts.
    """
    variables: dict[str, Any] = {}
    parts = _fill(model, source, "", variables, set())
    return variables, parts


def _fill(owner: Any, module: nn.Module, prefix: str, variables: dict[str, Any], seen: set[int]) -> dict[str, Part]:
    for kind, pairs in (("parameter", module.named_parameters), ("buffer", module.named_buffers)):
        for name, tensor in pairs(recurse=False):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                trains = kind == "parameter" and tensor.requires_grad
                variables[prefix + name] = _variable(owner, name, tensor, trains)
    parts: dict[str, Part] = {}
    for name, child in module.named_children():
        if any(True for _ in child.parameters()) or any(True for _ in child.buffers()):
            part = Part(name)
            part.parts.update(_fill(part, child, f"{prefix}{name}.", variables, seen))
            parts[name] = part
    return parts


def replace_resized(model: Any, variables: dict[str, Any], source: nn.Module) -> None:
    """Replace the weights of a Keras model that have another size in a torch model, by those of the torch model.

    Args:
        model: The Keras model.
        variables: Name -> variable, from `fill`; updated.
        source: The torch model, with the values.
    """
    for name, tensor in [*source.named_parameters(), *source.named_buffers()]:
        old = variables.get(name)
        if old is None or tuple(old.shape) == tuple(tensor.shape):
            continue
        *path, leaf = name.split(".")
        owner = model
        for part in path:
            owner = owner.parts[part]
        owner._untrack_variable(old)
        owner._tracker.unlock()  # Keras locks what a layer owns once it is built
        try:
            variables[name] = _variable(owner, leaf, tensor, old.trainable)
        finally:
            owner._tracker.lock()


def _variable(owner: Any, name: str, tensor: Any, trains: bool) -> Any:
    values = tensor.detach().cpu()
    is_float = values.is_floating_point()
    array = (values.float() if is_float else values).numpy()

    def initial(shape: Any, dtype: Any = None) -> Any:
        return tf.cast(tf.constant(array), dtype)

    dtype = None if is_float else str(values.dtype).removeprefix("torch.")
    return owner.add_weight(name=name, shape=array.shape, dtype=dtype, initializer=initial, trainable=trains)
