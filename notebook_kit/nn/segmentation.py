"""The loss of mask classification, which matches each object of an image with one predicted mask.

Source: Cheng et al., Per-Pixel Classification is Not All You Need for Semantic Segmentation, 2021, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from notebook_kit.errors import InputError, a_kind
from notebook_kit.nn.detection import Matches, Objects, assigned, class_loss, mask_losses

__all__ = ["mask_classification_loss", "match_masks"]


def mask_classification_loss(
    class_logits: Tensor,
    mask_logits: Tensor,
    class_labels: Sequence[Tensor],
    mask_labels: Sequence[Tensor],
    config: Any,
    *,
    earlier: Iterable[tuple[Tensor, Tensor]] = (),
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of predicted masks, and its parts.

    Args:
        class_logits: `(batch, queries, classes + 1)`; the last class is "no object".
        mask_logits: `(batch, queries, height, width)`, a logit per pixel.
        class_labels: For each image, `(objects,)`.
        mask_labels: For each image, `(objects, height, width)` of 0 and 1; of any size. Larger numbers count as 0.
        config: Provides the weights of the parts: `cross_entropy_weight`, `mask_weight` and `dice_weight`, of which the last
            two also weigh the cost by which predictions are matched; and `no_object_weight`.
        earlier: The two kinds of logits of each earlier layer, whose losses are added.

    Returns:
        The scalar loss, and its weighed parts: `"loss_mask"`, `"loss_dice"` and `"loss_cross_entropy"`. The parts of earlier
        layers have suffixes `"_0"`, `"_1"`, ...

    Raises:
        InputError: If the labels do not have this form, or a class does not exist.
        MissingDependencyError: If scipy is not installed.

    Example:
        >>> import torch
        >>> from notebook_kit import MaskFormerConfig
        >>> from notebook_kit.nn.segmentation import mask_classification_loss
        >>> classes, masks = [torch.tensor([1])], [torch.ones(1, 8, 8)]
        >>> loss, parts = mask_classification_loss(torch.zeros(1, 5, 3), torch.zeros(1, 5, 4, 4), classes, masks, MaskFormerConfig())
        >>> {name: round(part.item(), 4) for name, part in parts.items()}
        {'loss_mask': 0.8664, 'loss_dice': 0.3299, 'loss_cross_entropy': 1.0986}
    """
    objects = _objects(class_labels, mask_labels, class_logits)
    count = objects.mean_count(class_logits.device)
    parts = _layer_losses(class_logits, mask_logits, objects, count, config)
    for layer, logits in enumerate(earlier):
        parts |= {f"{name}_{layer}": part for name, part in _layer_losses(*logits, objects, count, config).items()}
    return torch.stack(list(parts.values())).sum(), parts


def _layer_losses(
    class_logits: Tensor, mask_logits: Tensor, objects: Objects, count: float, config: Any
) -> dict[str, Tensor]:
    matches = match_masks(class_logits, mask_logits, objects, config)
    parts = mask_losses(mask_logits, objects, matches, count)
    return {
        "loss_mask": config.mask_weight * parts["loss_mask"],
        "loss_dice": config.dice_weight * parts["loss_dice"],
        "loss_cross_entropy": config.cross_entropy_weight
        * class_loss(class_logits, objects, matches, config.no_object_weight),
    }


def _objects(class_labels: Any, mask_labels: Any, logits: Tensor) -> Objects:
    """The objects that labels describe, on the device of `logits`.

    Raises:
        InputError: If the labels do not have the form that `mask_classification_loss` describes.
    """
    images = len(logits)
    step = "Pass the class_labels and the mask_labels that the image processor returns for segmentation maps, as lists."
    for name, labels in (("class_labels", class_labels), ("mask_labels", mask_labels)):
        if not isinstance(labels, list | tuple | Tensor) or not all(isinstance(one, Tensor) for one in labels):
            raise InputError(f"{name} is {a_kind(labels)}; expected a tensor per image.", next_step=step)
        if len(labels) != images:
            raise InputError(f"{name} is for {len(labels)} images, and the batch has {images}.", next_step=step)
    for index, (classes, masks) in enumerate(zip(class_labels, mask_labels, strict=True)):
        if classes.dim() != 1 or masks.dim() != 3 or len(classes) != len(masks):
            raise InputError(
                f"class_labels[{index}] has shape {tuple(classes.shape)}, and mask_labels[{index}] {tuple(masks.shape)}; "
                "expected (objects,) and (objects, height, width).",
                next_step=step,
            )
    objects = Objects(
        classes=torch.cat([one.to(logits.device).long() for one in class_labels]),
        counts=[len(one) for one in class_labels],
        # Where it pads, MaskFormer's image processor fills masks with its ignore_index, such as 255.
        masks=[one.to(logits.device, logits.dtype).masked_fill(one.to(logits.device) > 1, 0) for one in mask_labels],
    )
    objects.check_values(logits.shape[-1] - 1)
    return objects


@torch.no_grad()
def match_masks(class_logits: Tensor, mask_logits: Tensor, objects: Objects, config: Any) -> Matches:
    """Match each object with one prediction of its image, at the lowest total cost.

    Args:
        class_logits: `(batch, queries, classes + 1)`.
        mask_logits: `(batch, queries, height, width)`.
        objects: What is to be found, with masks.
        config: Provides `mask_weight` and `dice_weight`.

    Raises:
        MissingDependencyError: If scipy is not installed.
    """
    assert objects.masks is not None
    probabilities = class_logits.float().softmax(-1)
    costs = []
    for image, classes in enumerate(objects.classes.split(objects.counts)):
        masks = F.interpolate(objects.masks[image][:, None].float(), mask_logits.shape[-2:], mode="nearest")
        masks, logits = masks.flatten(1), mask_logits[image].flatten(1).float()
        costs.append(
            config.mask_weight * _focal_costs(logits, masks)
            - probabilities[image][:, classes]
            + config.dice_weight * _dice_costs(logits, masks)
        )
    return assigned(costs, class_logits.device)


def _focal_costs(logits: Tensor, masks: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The focal loss of each prediction `(queries, pixels)` for each mask `(objects, pixels)`: `(queries, objects)`."""
    probability = logits.sigmoid()
    inside = alpha * (1 - probability) ** gamma * F.softplus(-logits)  # what a pixel of the mask would cost
    outside = (1 - alpha) * probability**gamma * F.softplus(logits)
    return (inside @ masks.T + outside @ (1 - masks).T) / logits.shape[1]


def _dice_costs(logits: Tensor, masks: Tensor) -> Tensor:
    """The Dice loss of each prediction for each mask, as in `_focal_costs`."""
    probability = logits.sigmoid()
    area = probability.sum(1)[:, None] + masks.sum(1)
    return 1 - (2 * probability @ masks.T + 1) / (area + 1)
