"""The TF class of each torch model class, created when it is first used: `TFBertModel` for `BertModel`."""

from __future__ import annotations

import importlib
from typing import Any

from notebook_kit.lazy import exports
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.tensorflow.modeling import TFPreTrainedModel
from notebook_kit.tensorflow.requirements import keras

__all__ = ["tf_class"]

_classes: dict[type[PreTrainedModel], type[TFPreTrainedModel]] = {}


def tf_class(kind: type[PreTrainedModel]) -> type[TFPreTrainedModel]:
    """The Keras model that computes the same as a torch model.

    Args:
        kind: The torch class; one of your own works too, if `torch.export` can trace it.

    Example:
        >>> from notebook_kit import BertModel
        >>> from notebook_kit.tensorflow.classes import tf_class
        >>> tf_class(BertModel).__name__
        'TFBertModel'
    """
    if kind not in _classes:
        name = f"TF{kind.__name__}"
        summary = (kind.__doc__ or "").partition("\n")[0]
        members = {
            "torch_class": kind,
            "__doc__": f"The Keras model of `{kind.__name__}`. {summary}",
            "__module__": __name__ if kind.__module__.startswith("notebook_kit.") else kind.__module__,
        }
        created = type(name, (TFPreTrainedModel,), members)
        _classes[kind] = keras.saving.register_keras_serializable("notebook_kit")(created)
    return _classes[kind]


def __getattr__(name: str) -> Any:
    public, of_torch = exports("notebook_kit"), name.removeprefix("TF")
    if name.startswith("TF") and of_torch in public:
        kind = getattr(importlib.import_module(public[of_torch], "notebook_kit"), of_torch)
        if isinstance(kind, type) and issubclass(kind, PreTrainedModel):
            return tf_class(kind)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}.")
