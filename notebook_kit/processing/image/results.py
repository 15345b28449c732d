"""From a model's outputs to boxes and segments: what the `post_process_...` methods of image processors compute."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.nn import functional as F

from notebook_kit.errors import InputError
from notebook_kit.processing.features import BatchFeature
from notebook_kit.processing.image.coco import run_lengths

__all__ = ["class_maps", "detected", "field", "instances_by_class", "panoptic_segments", "sizes_of", "weighed_masks"]


def field(outputs: Any, *names: str) -> torch.Tensor:
    """The first of these fields that a model's outputs have.

    Raises:
        InputError: If they have none.
    """
    for name in names:
        value = getattr(outputs, name, None)
        if isinstance(value, torch.Tensor):
            return value
    raise InputError(
        f"The outputs ({type(outputs).__name__}) have no tensor {' or '.join(names)}.",
        next_step="Pass what the model returned, of a head that fits: ...ForObjectDetection, ...ForSegmentation, ...",
    )


def sizes_of(target_sizes: Any, batch: int) -> list[tuple[int, int]] | None:
    """The (height, width) for each image, or None.

    Raises:
        InputError: If there are not as many as images, or one is not two whole numbers above 0.
    """
    if target_sizes is None:
        return None
    listed = target_sizes.tolist() if hasattr(target_sizes, "tolist") else target_sizes
    if not isinstance(listed, list | tuple) or len(listed) != batch:
        count = len(listed) if isinstance(listed, list | tuple) else type(listed).__name__
        raise InputError(
            f"target_sizes has {count} entries, and the outputs are for {batch} images.",
            next_step="Pass one (height, width) per image.",
        )
    sizes = []
    for size in listed:
        size = size.tolist() if hasattr(size, "tolist") else size
        numbers = isinstance(size, list | tuple) and all(isinstance(edge, int | float) for edge in size)
        if not numbers or len(size) != 2 or not all(edge == int(edge) and edge >= 1 for edge in size):
            raise InputError(
                f"target_sizes holds {size!r}; expected a (height, width) in pixels.",
                next_step="For a PIL image: image.size[::-1].",
            )
        sizes.append((int(size[0]), int(size[1])))
    return sizes


def detected(
    logits: torch.Tensor, boxes: torch.Tensor, threshold: float, target_sizes: Any = None
) -> list[dict[str, torch.Tensor]]:
    """The objects of each image whose score exceeds the threshold: `scores`, `labels`, `boxes` as corners (x0, y0, x1, y1).

    Args:
        logits: (images, queries, classes + 1); the last class is "no object".
        boxes: (images, queries, 4): centre, width and height as fractions of the image.
        threshold: The lowest score.
        target_sizes: One (height, width) per image, to scale the boxes to; None leaves them as fractions.
    """
    sizes = sizes_of(target_sizes, len(logits))
    scores, labels = logits.softmax(-1)[..., :-1].max(-1)
    x, y, width, height = boxes.unbind(-1)
    corners = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=-1)
    if sizes is not None:
        edges = torch.tensor([[w, h, w, h] for h, w in sizes], dtype=corners.dtype, device=corners.device)
        corners = corners * edges[:, None]
    keep = scores > threshold
    return [
        {"scores": scores[i][keep[i]], "labels": labels[i][keep[i]], "boxes": corners[i][keep[i]]}
        for i in range(len(logits))
    ]


def weighed_masks(class_logits: torch.Tensor, mask_logits: torch.Tensor) -> torch.Tensor:
    """Scores (images, classes, height, width) of queries: the sum of their masks, each weighed by its classes."""
    classes = class_logits.softmax(-1)[..., :-1]
    return torch.einsum("bqc,bqhw->bchw", classes, mask_logits.sigmoid())


def class_maps(scores: torch.Tensor, target_sizes: Any = None, with_scores: bool = False) -> list[Any]:
    """The class with the highest score at each pixel.

    Args:
        scores: (images, classes, height, width).
        target_sizes: One (height, width) per image, to which the scores are enlarged first.
        with_scores: Return a `BatchFeature` of `segmentation` and `segmentation_scores` for each image.

    Returns:
        One map (height, width), int64, per image.
    """
    sizes = sizes_of(target_sizes, len(scores))
    results: list[Any] = []
    for position, image in enumerate(scores):
        if sizes is not None:
            image = _enlarged(image, sizes[position])
        classes = image.argmax(dim=0)
        results.append(
            BatchFeature({"segmentation": classes, "segmentation_scores": image}) if with_scores else classes
        )
    return results


def _enlarged(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]


def panoptic_segments(
    class_logits: torch.Tensor,
    mask_logits: torch.Tensor,
    threshold: float,
    mask_threshold: float,
    overlap_mask_area_threshold: float,
    fused: Iterable[int] = (),
    target_sizes: Any = None,
    as_run_lengths: bool = False,
) -> list[dict[str, Any]]:
    """The segments of each image, each pixel in at most one of them.

    Args:
        class_logits: (images, queries, classes + 1); the last class is "no object".
        mask_logits: (images, queries, height, width).
        threshold: The lowest score of a query.
        mask_threshold: Where a mask's probability counts as inside.
        overlap_mask_area_threshold: The part of a mask that must be left beside the others, or else it is dropped.
        fused: Classes of which there is one segment only, such as sky.
        target_sizes: One (height, width) per image, to which the masks are enlarged first.
        as_run_lengths: Return run lengths in place of maps.

    Returns:
        Per image `segmentation`, (height, width), the id of each pixel's segment, 0 for none (-1 everywhere if there is no
        segment at all); and `segments_info`, with `id`, `label_id`, `was_fused` and `score`. Only queries that were fused have
        the same id. (`transformers` may also repeat the id that follows a fused one.)
    """
    sizes = sizes_of(target_sizes, len(class_logits))
    fused = set(fused)
    scores, labels = class_logits.softmax(-1).max(-1)
    results = []
    for i in range(len(class_logits)):
        keep = (labels[i] != class_logits.shape[-1] - 1) & (scores[i] > threshold)
        size = sizes[i] if sizes is not None else (mask_logits.shape[-2], mask_logits.shape[-1])
        if not keep.any():
            results.append({"segmentation": torch.zeros(size) - 1, "segments_info": []})
            continue
        masks = mask_logits[i][keep].sigmoid()
        if sizes is not None:
            masks = _enlarged(masks, size)
        segmentation, segments = _segments(
            masks, scores[i][keep], labels[i][keep], mask_threshold, overlap_mask_area_threshold, fused
        )
        shown = _as_run_lengths(segmentation) if as_run_lengths else segmentation
        results.append({"segmentation": shown, "segments_info": segments})
    return results


def _segments(
    masks: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    mask_threshold: float,
    overlap: float,
    fused: set[int],
) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """Give each pixel to the query with the highest weighed probability, and number the queries that keep enough pixels."""
    masks = masks * scores[:, None, None]
    owner = masks.argmax(0)
    segmentation = torch.zeros(owner.shape, dtype=torch.int32, device=masks.device)
    segments: list[dict[str, Any]] = []
    ids: dict[int, int] = {}  # of classes that are fused
    latest = 0
    for query, (score, label) in enumerate(zip(scores.tolist(), labels.tolist(), strict=True)):
        owned = owner == query
        area, whole = owned.sum(), (masks[query] >= mask_threshold).sum()
        if not area or not whole or not (area / whole).item() > overlap:
            continue
        number = ids.get(label)
        if number is None:
            number = latest = latest + 1
        segmentation[owned] = number
        segments.append({"id": number, "label_id": label, "was_fused": label in fused, "score": round(score, 6)})
        if label in fused:
            ids[label] = number
    return segmentation, segments


def _as_run_lengths(segmentation: torch.Tensor) -> list[list[int]]:
    return [run_lengths((segmentation == number).int().cpu().numpy()) for number in torch.unique(segmentation)]


def instances_by_class(
    class_logits: torch.Tensor,
    mask_logits: torch.Tensor,
    threshold: float,
    target_sizes: Any = None,
    as_run_lengths: bool = False,
    as_masks: bool = False,
) -> list[dict[str, Any]]:
    """The instances of each image as MaskFormer counts them: the best pairs of a query and a class, as many as queries.

    Args:
        class_logits, mask_logits, target_sizes, as_run_lengths: As for `panoptic_segments`.
        threshold: The lowest score: that of the class times the mean probability of the mask's pixels.
        as_masks: Return the masks (instances, height, width), which may overlap, in place of a map.

    Returns:
        As `panoptic_segments`, with ids from 0 and -1 for no instance.
    """
    sizes = sizes_of(target_sizes, len(class_logits))
    queries, classes = class_logits.shape[1], class_logits.shape[2] - 1
    results = []
    for i in range(len(class_logits)):
        scores, pairs = class_logits[i].softmax(-1)[:, :-1].flatten().topk(queries, sorted=False)
        labels, logits = pairs % classes, mask_logits[i][pairs // classes]
        masks = (logits > 0).float()
        inside = (logits.sigmoid() * masks).flatten(1).sum(1) / (masks.flatten(1).sum(1) + 1e-6)
        if sizes is not None:
            masks = F.interpolate(masks[None], size=sizes[i], mode="nearest")[0]
        segmentation = torch.zeros(masks.shape[-2:], device=masks.device) - 1
        kept: list[torch.Tensor] = []
        segments: list[dict[str, Any]] = []
        for mask, score, label in zip(masks, (scores * inside).tolist(), labels.tolist(), strict=True):
            if score >= threshold and bool(mask.any()):
                segmentation[mask == 1] = len(segments)
                segments.append({"id": len(segments), "label_id": label, "was_fused": False, "score": round(score, 6)})
                kept.append(mask)
        shown: Any = _as_run_lengths(segmentation) if as_run_lengths else segmentation
        results.append({"segmentation": torch.stack(kept) if as_masks and kept else shown, "segments_info": segments})
    return results
