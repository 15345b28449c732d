"""The models' outputs, made known to Keras, which takes what it does not know for a single value."""

from __future__ import annotations

from typing import Any

import optree

from notebook_kit.nn.outputs import ModelOutput

__all__ = ["register_output"]

_known: set[type] = set()


def register_output(kind: type[ModelOutput]) -> None:
    """Make a class of outputs known to Keras; again is harmless."""
    if kind in _known or not issubclass(kind, ModelOutput):  # a dictionary, which Keras knows
        return
    _known.add(kind)

    def flatten(output: Any) -> tuple[list[Any], tuple[str, ...], tuple[str, ...]]:
        return list(output.values()), tuple(output), tuple(output)

    optree.register_pytree_node(
        kind, flatten, lambda names, values: kind(zip(names, values, strict=True)), namespace="keras"
    )
