"""The losses of objects in images for TF models: their matching depends on values, so torch computes them, with their gradients.

A graph has rectangular tensors only: the labels of a batch are padded to the image with the most objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.nn import detection, segmentation

__all__ = ["PADDING", "flat_labels", "losses", "nested", "part_names", "rectangular", "settings_of"]

PADDING = -100
"""Fills up class labels and masks; an object with this class is none."""

_FIELDS = ("class_labels", "boxes", "masks")
_SETTINGS = {
    "boxes": (
        *("eos_coefficient", "class_cost", "bbox_cost", "giou_cost", "bbox_loss_coefficient", "giou_loss_coefficient"),
        *("mask_loss_coefficient", "dice_loss_coefficient"),
    ),
    "masks": ("mask_weight", "dice_weight", "cross_entropy_weight", "no_object_weight"),
}


def rectangular(values: Sequence[Any]) -> np.ndarray:
    """One array of arrays of different sizes, filled up with `PADDING`.

    Args:
        values: For each image, an array of the same number of axes.

    Example:
        >>> rectangular([np.array([1, 2]), np.array([3])])
        array([[   1,    2],
               [   3, -100]])
    """
    arrays = [np.asarray(value) for value in values]
    rank = max(array.ndim for array in arrays)
    # A list without objects becomes an array of the shape (0,).
    arrays = [
        array.reshape(0, *[0] * (rank - 1)) if not array.size and array.ndim < rank else array for array in arrays
    ]
    if any(array.ndim != rank or array.dtype.kind not in "iufb" for array in arrays):
        raise InputError(
            f"The labels of the images have the shapes {', '.join(str(array.shape) for array in arrays)}.",
            next_step="Pass an array of numbers for each image, all with the same number of axes.",
        )
    sizes = [max(array.shape[axis] for array in arrays) for axis in range(rank)]
    is_float = any(array.dtype.kind == "f" and array.size for array in arrays)
    result = np.full([len(arrays), *sizes], PADDING, np.float32 if is_float else np.int64)
    for row, array in zip(result, arrays, strict=True):
        row[tuple(slice(size) for size in array.shape)] = array
    return result


def flat_labels(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The arguments of a call, with the labels of objects as rectangular arrays, under names such as `"labels.boxes"`.

    Args:
        given: Name -> value.
        names: The names of labels. Their values may be a list with a dictionary for each image, as the torch class takes it; a
            dictionary of arrays for all images, padded with -100; or a list with an array for each image.

    Raises:
        InputError: If a dictionary is not the labels of objects.
    """
    result: dict[str, Any] = {}
    for name, value in given.items():
        rows = list(value) if isinstance(value, list | tuple) else []
        if name not in names:
            result[name] = value
        elif isinstance(value, Mapping) or (rows and all(isinstance(row, Mapping) for row in rows)):
            columns = value if isinstance(value, Mapping) else _columns(name, rows)
            if not {"class_labels", "boxes"} <= columns.keys():
                keys = dict.fromkeys(key for row in rows or [value] for key in row)
                raise InputError(
                    f"{name} has the keys {', '.join(map(str, keys)) or '(none)'}; expected class_labels and boxes.",
                    next_step="Pass the labels of each image, as an image processor returns them for annotations.",
                )
            result |= {f"{name}.{field}": columns[field] for field in _FIELDS if field in columns}
        elif rows and all(hasattr(row, "shape") and len(row.shape) for row in rows):
            result[name] = rectangular(rows)
        else:
            result[name] = value
    return result


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flat_labels` on names.

    Example:
        >>> nested({"pixel_values": 1, "labels.class_labels": 2, "labels.boxes": 3})
        {'pixel_values': 1, 'labels': {'class_labels': 2, 'boxes': 3}}
    """
    result: dict[str, Any] = {}
    for name, value in values.items():
        outer, _, inner = name.partition(".")
        if inner:
            result.setdefault(outer, {})[inner] = value
        else:
            result[outer] = value
    return result


def _columns(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    found = {}
    for field in _FIELDS:
        with_it = [field in row for row in rows]
        if any(with_it) and not all(with_it):
            raise InputError(
                f"{name}[{with_it.index(False)}] has no {field!r}, and the labels of other images have.",
                next_step="Pass the same keys for each image; for one without objects, arrays of length 0.",
            )
        if all(with_it):
            found[field] = rectangular([row[field] for row in rows])
    return found


def part_names(kind: str, layers: int, with_masks: bool) -> list[str]:
    """The names of the parts of a loss, in order.

    Args:
        kind: `"boxes"` for `detection_loss`, or `"masks"` for `mask_classification_loss`.
        layers: The number of earlier layers with a loss.
        with_masks: Whether the loss of boxes has masks too.

    Example:
        >>> part_names("masks", 1, False)
        ['loss_mask', 'loss_dice', 'loss_cross_entropy', 'loss_mask_0', 'loss_dice_0', 'loss_cross_entropy_0']
    """
    if kind == "masks":
        own = each = ["loss_mask", "loss_dice", "loss_cross_entropy"]
    else:
        each = ["loss_ce", "loss_bbox", "loss_giou", "cardinality_error"]
        own = [*each, "loss_mask", "loss_dice"] if with_masks else each
    return [*own, *(f"{name}_{layer}" for layer in range(layers) for name in each)]


def settings_of(kind: str, config: Any) -> str:
    """What a loss takes from the configuration, as JSON."""
    return json.dumps({name: getattr(config, name) for name in _SETTINGS[kind] if hasattr(config, name)})


def losses(kind: str, settings: str, count: int, *arrays: np.ndarray) -> list[np.ndarray]:
    """The loss, its parts, and the gradient of the loss for each prediction.

    Args:
        kind: `"boxes"` or `"masks"`.
        settings: From `settings_of`.
        count: How many of the arrays are predictions: logits and boxes (or logits of masks) of the last layer, for `"boxes"` with
            masks these, then the two kinds of each earlier layer.
        *arrays: The predictions, and then the padded labels.

    Raises:
        InputError: If the labels do not fit the model.
        MissingDependencyError: If scipy is not installed.
    """
    predictions = [torch.from_numpy(np.array(array)).requires_grad_() for array in arrays[:count]]
    labels = [torch.from_numpy(np.array(array)) for array in arrays[count:]]
    config: Any = SimpleNamespace(**json.loads(settings))
    first, second, *rest = predictions
    with torch.enable_grad():
        masks = rest.pop(0) if len(labels) == 3 else None
        earlier = list(zip(rest[::2], rest[1::2], strict=True))
        if kind == "masks":
            images = _images(("class_labels", "masks"), labels)
            classes, covers = ([image[name] for image in images] for name in ("class_labels", "masks"))
            loss, parts = segmentation.mask_classification_loss(first, second, classes, covers, config, earlier=earlier)
        else:
            images = _images(_FIELDS[: len(labels)], labels)
            loss, parts = detection.detection_loss(first, second, images, config, masks=masks, earlier=earlier)
        gradients = torch.autograd.grad(loss, predictions, allow_unused=True)
    pairs = zip(predictions, gradients, strict=True)
    found = [
        loss,
        *parts.values(),
        *(torch.zeros_like(one) if gradient is None else gradient for one, gradient in pairs),
    ]
    return [value.detach().to(torch.float32).numpy() for value in found]


def _images(names: Sequence[str], labels: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """The labels of each image, without padding."""
    if len({tuple(each.shape[:2]) for each in labels}) > 1:
        raise InputError(
            f"The labels have the shapes {', '.join(f'{name} {tuple(each.shape)}' for name, each in zip(names, labels, strict=True))}.",
            next_step=f"Pass the same number of objects for all: fill class_labels up with {PADDING}.",
        )
    images = []
    for row in zip(*labels, strict=True):
        image = dict(zip(names, row, strict=True))
        real = image["class_labels"] != PADDING
        image = {name: value[real] for name, value in image.items()}
        if "masks" in image and len(image["masks"]):
            inside = image["masks"][0] != PADDING
            height, width = int(inside.any(1).sum()), int(inside.any(0).sum())
            image["masks"] = image["masks"][:, :height, :width]
        images.append(image)
    return images
