"""From logits to scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["FUNCTIONS", "best_labels", "scores_from_logits", "softmax"]

FUNCTIONS = ("sigmoid", "softmax", "none")
"""The values of the option `function_to_apply`."""


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


def best_labels(scores: np.ndarray, labels: Mapping[int, str], top_k: int | None = None) -> list[dict[str, Any]]:
    """The labels with the highest scores, best first, all by default; of equal scores the first label comes first.

    Example:
        >>> best_labels(np.array([0.25, 0.75]), {0: "cat", 1: "dog"}, top_k=1)
        [{'label': 'dog', 'score': 0.75}]
    """
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [{"label": labels[i], "score": float(scores[i])} for i in order.tolist()]
