"""From logits to scores."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["scores_from_logits", "softmax"]


def softmax(logits: np.ndarray, axis: int = -1) -> np.ndarray:
    """Probabilities that sum to 1 along `axis`.

    Example:
        >>> softmax(np.log([1.0, 3.0])).round(3).tolist()
        [0.25, 0.75]
    """
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def scores_from_logits(logits: np.ndarray, config: Any, function: str | None = None) -> np.ndarray:
    """Apply `"softmax"`, `"sigmoid"` or `"none"` to logits of shape `(labels,)`.

    By default, the config's `problem_type` and the number of labels decide.
    """
    if function is None:
        problem = getattr(config, "problem_type", None)
        if problem == "regression":
            function = "none"
        elif problem == "multi_label_classification" or logits.shape[-1] == 1:
            function = "sigmoid"
        else:
            function = "softmax"
    if function == "softmax":
        return softmax(logits)
    if function == "sigmoid":
        return 1.0 / (1.0 + np.exp(-logits))
    return logits
