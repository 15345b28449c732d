"""What the queries of a detector or a segmenter predict: labels and boxes for the axis of an attention matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from notebook_kit.inspection.attention.axes import Objects

__all__ = ["THRESHOLD", "found", "label_of", "objects_of"]

THRESHOLD = 0.5
"""The probability from which a query counts as having found something."""
FEWEST = 3
"""Queries whose boxes are shown if none reaches the threshold."""


def objects_of(config: Any, outputs: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> Objects | None:
    """The objects that a model predicts for the first image of a batch.

    Args:
        config: The model's configuration, for the names of its labels.
        outputs: The model's output: "logits" and "pred_boxes" of a detector, or "class_queries_logits" of a segmenter.
        inputs: What the model read. With a "pixel_mask", boxes are fractions of the part that is not padding.

    Returns:
        None for a model without queries.

    Example:
        >>> import torch
        >>> from notebook_kit import DetrConfig
        >>> outputs = {"logits": torch.tensor([[[9.0, 0.0, 0.0], [0.0, 0.0, 9.0]]]), "pred_boxes": torch.full((1, 2, 4), 0.5)}
        >>> found = objects_of(DetrConfig(id2label={0: "cat", 1: "dog"}), outputs, {})
        >>> found.labels, found.boxes
        (('cat 100%', 'query 1'), ((0.25, 0.25, 0.75, 0.75), None))
    """
    boxes = outputs.get("pred_boxes")
    logits = outputs.get("class_queries_logits") if boxes is None else outputs.get("logits")
    if logits is None or logits.dim() != 3:
        return None
    scores, classes = found(logits[0])
    shown = (scores >= THRESHOLD).nonzero()[:, 0].tolist() or scores.topk(min(FEWEST, len(scores))).indices.tolist()
    labels = [f"query {i}" for i in range(len(scores))]
    corners: list[Any] = [None] * len(scores)
    high, wide = _filled(inputs)
    for i in shown:
        labels[i] = f"{label_of(config, int(classes[i]))} {float(scores[i]):.0%}"
        if boxes is not None:
            x, y, w, h = boxes[0, i].float().tolist()
            sides = ((x - w / 2) * wide, (y - h / 2) * high, (x + w / 2) * wide, (y + h / 2) * high)
            corners[i] = tuple(round(min(1.0, max(0.0, side)), 5) for side in sides)
    return Objects(tuple(labels), tuple(corners), int(scores.argmax()))


def found(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The probability and the number of the likeliest label of each query, apart from "no object", the last label.

    Args:
        logits: `(queries, labels + 1)`.
    """
    scores, classes = logits.float().softmax(-1)[:, :-1].max(-1)
    return scores.cpu(), classes.cpu()


def label_of(config: Any, number: int) -> str:
    """The name of a label in a model's configuration."""
    return str((getattr(config, "id2label", None) or {}).get(number, f"LABEL_{number}"))


def _filled(inputs: Mapping[str, Tensor]) -> tuple[float, float]:
    """The parts of the height and of the width that are not padding."""
    mask = inputs.get("pixel_mask")
    if mask is None:
        return 1.0, 1.0
    filled = mask[0] > 0
    return float(filled.any(1).sum() / len(filled)), float(filled.any(0).sum() / filled.shape[1])
