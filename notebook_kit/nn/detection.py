"""The losses of object detection and panoptic segmentation, which match each object of an image with one prediction.

Source: Carion et al., End-to-End Object Detection with Transformers, 2020, sections 3.1 and A.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from notebook_kit.errors import InputError, MissingDependencyError, a_kind

if TYPE_CHECKING:
    from notebook_kit.configuration import PretrainedConfig

__all__ = [
    "Matches",
    "Objects",
    "assigned",
    "box_corners",
    "box_losses",
    "cardinality_error",
    "class_loss",
    "detection_loss",
    "generalized_box_iou",
    "mask_losses",
    "match_objects",
]

# Boxes reach from 0 to 1, and a little further where an image was cropped; numbers beyond this are pixels.
_LARGEST = 2


def detection_loss(
    logits: Tensor,
    boxes: Tensor,
    labels: Sequence[Mapping[str, Any]],
    config: PretrainedConfig,
    *,
    masks: Tensor | None = None,
    earlier: Iterable[tuple[Tensor, Tensor]] = (),
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of predicted objects, and its parts.

    Args:
        logits: `(batch, queries, classes + 1)`; the last class is "no object".
        boxes: `(batch, queries, 4)`: center x, center y, width and height, in fractions of the image's size.
        labels: For each image, `"class_labels"` `(objects,)`, `"boxes"` `(objects, 4)` in the form of `boxes` and, if
            `masks` are passed, `"masks"` `(objects, height, width)` of 0 and 1.
        config: Provides the weights of the parts in the loss, and in the cost by which predictions are matched.
        masks: `(batch, queries, height, width)`, a logit per pixel.
        earlier: `logits` and `boxes` of each earlier layer, whose losses are added.

    Returns:
        The scalar loss, and its parts: `"loss_ce"`, `"loss_bbox"`, `"loss_giou"`, `"cardinality_error"` (not part of the
        loss) and, if `masks` are passed, `"loss_mask"` and `"loss_dice"`. The parts of earlier layers have suffixes
        `"_0"`, `"_1"`, ...

    Raises:
        InputError: If the labels do not have this form, a class does not exist, or a box is not in fractions.
        MissingDependencyError: If scipy is not installed.

    Example:
        >>> import torch
        >>> from notebook_kit import YolosConfig
        >>> from notebook_kit.nn.detection import detection_loss
        >>> labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.4]])}]
        >>> boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
        >>> loss, parts = detection_loss(torch.zeros(1, 2, 3), boxes, labels, YolosConfig(num_labels=2))
        >>> {name: round(part.item(), 4) for name, part in parts.items()}
        {'loss_ce': 1.0986, 'loss_bbox': 0.0, 'loss_giou': 0.0, 'cardinality_error': 1.0}
    """
    objects = Objects.of(labels, logits, with_masks=masks is not None)
    count = objects.mean_count(logits.device)
    loss, parts = _layer_loss(logits, boxes, masks, objects, count, config)
    for layer, (layer_logits, layer_boxes) in enumerate(earlier):
        more, layer_parts = _layer_loss(layer_logits, layer_boxes, None, objects, count, config)
        loss = loss + more
        parts |= {f"{name}_{layer}": part for name, part in layer_parts.items()}
    return loss, parts


def _layer_loss(
    logits: Tensor, boxes: Tensor, masks: Tensor | None, objects: Objects, count: float, config: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    matches = match_objects(logits, boxes, objects, config)
    parts = {
        "loss_ce": class_loss(logits, objects, matches, config.eos_coefficient),
        **box_losses(boxes, objects, matches, count),
        "cardinality_error": cardinality_error(logits, objects),
    }
    loss = (
        parts["loss_ce"]
        + config.bbox_loss_coefficient * parts["loss_bbox"]
        + config.giou_loss_coefficient * parts["loss_giou"]
    )
    if masks is not None:
        parts |= mask_losses(masks, objects, matches, count)
        loss = (
            loss + config.mask_loss_coefficient * parts["loss_mask"] + config.dice_loss_coefficient * parts["loss_dice"]
        )
    return loss, parts


# What is to be found ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Objects:
    """The objects of a batch of images, one image after the other.

    Attributes:
        classes: `(objects,)`.
        counts: The number of objects in each image.
        boxes: `(objects, 4)`: center x, center y, width and height, in fractions of the image's size; None without boxes.
        masks: For each image, `(objects, height, width)`; None without masks.
    """

    classes: Tensor
    counts: list[int]
    boxes: Tensor | None = None
    masks: list[Tensor] | None = None

    @classmethod
    def of(cls, labels: Sequence[Mapping[str, Any]], logits: Tensor, with_masks: bool = False) -> Objects:
        """The objects that `labels` describes, on the device of `logits`; see `detection_loss`.

        Raises:
            InputError: If the labels do not have the form that `detection_loss` describes.
        """
        names = ("class_labels", "boxes", "masks")[: 3 if with_masks else 2]
        _check_labels(labels, logits.shape[0], names)
        # A list without objects becomes a tensor of floats, of shape (0,).
        classes = [image["class_labels"].to(logits.device).long().reshape(-1) for image in labels]
        boxes = [image["boxes"].to(logits.device, torch.float32).reshape(-1, 4) for image in labels]
        found = cls(
            classes=torch.cat(classes),
            boxes=torch.cat(boxes),
            counts=[len(image) for image in classes],
            masks=[image["masks"].to(logits.device) for image in labels] if with_masks else None,
        )
        found.check_values(logits.shape[-1] - 1)
        return found

    def check_values(self, classes: int) -> None:
        """Raise an InputError if a class does not exist, or a box is not in fractions of the image's size."""
        if not len(self.classes):
            return
        low, high = int(self.classes.min()), int(self.classes.max())
        if low < 0 or high >= classes:
            raise InputError(
                f"class_labels go from {low} to {high}, and this model has classes 0 to {classes - 1}.",
                next_step="Load the model with num_labels set to your number of classes, and count classes from 0.",
            )
        if self.boxes is not None and not bool((self.boxes[:, 2:] >= 0).all() and (self.boxes.abs() <= _LARGEST).all()):
            row = next(i for i, box in enumerate(self.boxes.tolist()) if not _is_box(box))
            raise InputError(
                f"The box {[round(value, 2) for value in self.boxes[row].tolist()]} is not in fractions of the image's size.",
                next_step="Pass boxes as (center x, center y, width, height), each divided by the image's width or height; "
                "an image processor converts annotations in COCO's format.",
            )

    def mean_count(self, device: torch.device) -> float:
        """The number of objects per process of a distributed run; at least 1."""
        count = torch.tensor(float(len(self.classes)), device=device)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(count)
            count /= torch.distributed.get_world_size()
        return max(count.item(), 1.0)


def _is_box(box: list[float]) -> bool:
    return all(abs(value) <= _LARGEST for value in box) and min(box[2:]) >= 0


def _check_labels(labels: Any, images: int, names: Sequence[str]) -> None:
    expected = f"a list with a dictionary of {', '.join(names)} for each image"
    step = "Let the data collator return the annotations of a batch as a list, which is not padded or stacked."
    if not isinstance(labels, list | tuple) or not all(isinstance(image, Mapping) for image in labels):
        raise InputError(f"labels is {a_kind(labels)}; expected {expected}.", next_step=step)
    if len(labels) != images:
        raise InputError(f"There are labels for {len(labels)} images, and the batch has {images}.", next_step=step)
    for index, image in enumerate(labels):
        for name in names:
            if not isinstance(image.get(name), Tensor):
                kind = type(image[name]).__name__ if name in image else "missing"
                raise InputError(
                    f"labels[{index}][{name!r}] is {'missing' if name not in image else f'a {kind}'}; expected a tensor.",
                    next_step=f"Pass {expected}.",
                )
        count, boxes = image["class_labels"].numel(), image["boxes"]
        if boxes.numel() != 4 * count or (count and boxes.shape[-1] != 4):
            raise InputError(
                f"labels[{index}] has {count} class_labels and boxes of shape {tuple(boxes.shape)}.",
                next_step=f"Pass boxes of shape ({count}, 4): one for each object.",
            )
        if "masks" in names and (image["masks"].dim() != 3 or len(image["masks"]) != count):
            raise InputError(
                f"labels[{index}] has {count} class_labels and masks of shape {tuple(image['masks'].shape)}.",
                next_step=f"Pass masks of shape ({count}, height, width): one for each object.",
            )


# Matching --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Matches:
    """Pairs of a prediction and an object, all `(pairs,)`.

    Attributes:
        images: Index of the image.
        queries: Index of the prediction among those of its image.
        objects: Index of the object among those of the batch.
    """

    images: Tensor
    queries: Tensor
    objects: Tensor


@torch.no_grad()
def match_objects(logits: Tensor, boxes: Tensor, objects: Objects, config: Any) -> Matches:
    """Match each object with one prediction of its image, at the lowest total cost.

    Args:
        logits: `(batch, queries, classes + 1)`.
        boxes: `(batch, queries, 4)`, as center and size.
        objects: What is to be found.
        config: Provides `class_cost`, `bbox_cost` and `giou_cost`.

    Raises:
        MissingDependencyError: If scipy is not installed.

    Source: Carion et al., 2020, equations 1 and 2; the assignment is that of Kuhn's Hungarian method.
    """
    assert objects.boxes is not None
    B, Q, _ = logits.shape
    predicted = boxes.flatten(0, 1).float()  # (batch * queries, 4)
    probabilities = logits.flatten(0, 1).float().softmax(-1)
    cost = (
        config.bbox_cost * torch.cdist(predicted, objects.boxes, p=1)
        - config.class_cost * probabilities[:, objects.classes]
        - config.giou_cost * generalized_box_iou(box_corners(predicted), box_corners(objects.boxes))
    )
    costs = cost.view(B, Q, -1).cpu().split(objects.counts, dim=-1)  # one transfer for all images
    return assigned([of_image[image] for image, of_image in enumerate(costs)], logits.device)


def assigned(costs: Sequence[Tensor], device: torch.device) -> Matches:
    """The pairs with the lowest sum of costs, where each object gets one prediction.

    Args:
        costs: For each image, `(queries, objects)`. Costs that are not finite are paired last.
        device: The device of the result.

    Raises:
        MissingDependencyError: If scipy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingDependencyError(
            "The loss of objects needs scipy, which is not installed.",
            next_step="pip install 'notebook_kit[vision]'",
        ) from error
    images, queries, indices, first = [], [], [], 0
    for image, cost in enumerate(costs):
        highest = torch.finfo(cost.dtype).max
        finite = torch.nan_to_num(cost, nan=highest, posinf=highest, neginf=highest).cpu()
        rows, columns = map(torch.from_numpy, linear_sum_assignment(finite))
        images.append(torch.full_like(rows, image))
        queries.append(rows)
        indices.append(columns + first)
        first += cost.shape[1]
    return Matches(*(torch.cat(part).to(device) for part in (images, queries, indices)))


# The parts of the loss -------------------------------------------------------------------------------------------------


def class_loss(logits: Tensor, objects: Objects, matches: Matches, eos_coefficient: float) -> Tensor:
    """Cross-entropy of the classes; the class of predictions without an object counts `eos_coefficient` times."""
    last = logits.shape[-1] - 1
    targets = torch.full(logits.shape[:2], last, device=logits.device)
    targets[matches.images, matches.queries] = objects.classes[matches.objects]
    weights = torch.ones(last + 1, dtype=logits.dtype, device=logits.device)
    weights[last] = eos_coefficient
    return F.cross_entropy(logits.transpose(1, 2), targets, weights)


@torch.no_grad()
def cardinality_error(logits: Tensor, objects: Objects) -> Tensor:
    """How far the number of predicted objects is off, on average. For logs only: it has no gradient."""
    predicted = (logits.argmax(-1) != logits.shape[-1] - 1).sum(1)
    return F.l1_loss(predicted.float(), torch.tensor(objects.counts, device=logits.device).float())


def box_losses(boxes: Tensor, objects: Objects, matches: Matches, count: float) -> dict[str, Tensor]:
    """Per object, the L1 distance of the boxes and one minus their generalized overlap."""
    assert objects.boxes is not None
    predicted, expected = boxes[matches.images, matches.queries], objects.boxes[matches.objects].to(boxes.dtype)
    overlap = generalized_box_iou(box_corners(predicted)[:, None], box_corners(expected)[:, None]).flatten()
    return {
        "loss_bbox": (predicted - expected).abs().sum() / count,
        "loss_giou": (1 - overlap).sum() / count,
    }


def mask_losses(masks: Tensor, objects: Objects, matches: Matches, count: float) -> dict[str, Tensor]:
    """Per object, the focal loss and the Dice loss of the masks, which are scaled to the size of the labels.

    Source: Lin et al., Focal Loss for Dense Object Detection, 2017; Milletari et al., V-Net, 2016.
    """
    assert objects.masks is not None
    height, width = (max(image.shape[side] for image in objects.masks) for side in (1, 2))
    padded = [F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in objects.masks]
    expected = torch.cat(padded)[matches.objects].to(masks.dtype).flatten(1)  # (pairs, height * width)
    predicted = masks[matches.images, matches.queries][:, None]
    predicted = F.interpolate(predicted, (height, width), mode="bilinear").flatten(1)
    return {
        "loss_mask": _focal_loss(predicted, expected).sum() / count,
        "loss_dice": _dice_loss(predicted, expected).sum() / count,
    }


def _focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Cross-entropy that counts pixels already predicted well less: `(masks,)`, from `(masks, pixels)`."""
    probability = logits.sigmoid()
    wrong = probability * (1 - targets) + (1 - probability) * targets
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (weight * wrong**gamma * loss).mean(1)


def _dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus the overlap of two masks as a share of their mean area: `(masks,)`, from `(masks, pixels)`."""
    probability = logits.sigmoid()
    both = 2 * (probability * targets).sum(1)
    return 1 - (both + 1) / (probability.sum(1) + targets.sum(1) + 1)


# Boxes -----------------------------------------------------------------------------------------------------------------


def box_corners(boxes: Tensor) -> Tensor:
    """Boxes `(..., 4)` as left, top, right and bottom, from center x, center y, width and height.

    Example:
        >>> import torch
        >>> box_corners(torch.tensor([0.5, 0.5, 0.2, 0.4]))
        tensor([0.4000, 0.3000, 0.6000, 0.7000])
    """
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


def generalized_box_iou(one: Tensor, other: Tensor) -> Tensor:
    """The generalized overlap of each box with each other one, from -1 (far apart) to 1 (equal): `(..., n, m)`.

    Args:
        one: `(..., n, 4)`: left, top, right and bottom.
        other: `(..., m, 4)`.

    Source: Rezatofighi et al., Generalized Intersection over Union, 2019.

    Example:
        >>> import torch
        >>> boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0], [3.0, 0.0, 4.0, 1.0]])
        >>> generalized_box_iou(boxes[:1], boxes)
        tensor([[ 1.0000,  0.0000, -0.5000]])
    """
    one, other = one[..., :, None, :], other[..., None, :, :]
    both = _area(torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:]))
    around = _area(torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:]))
    union = _area(one[..., :2], one[..., 2:]) + _area(other[..., :2], other[..., 2:]) - both
    return both / union - (around - union) / around


def _area(low: Tensor, high: Tensor) -> Tensor:
    """The area between two corners, `(..., 2)` each; 0 if they are not in order."""
    size = (high - low).clamp(min=0)
    return size[..., 0] * size[..., 1]
