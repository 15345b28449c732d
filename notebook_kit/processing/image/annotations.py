"""The annotations of images as a detector's labels: COCO's objects and panoptic segments, following what is done to the image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from notebook_kit.errors import InputError
from notebook_kit.processing.image.coco import boxes_around, mask_of, segment_ids
from notebook_kit.processing.image.loading import open_image

__all__ = ["FORMATS", "centred", "check_annotations", "padded", "resized", "target"]

FORMATS = ("coco_detection", "coco_panoptic")
_PARTS = {"coco_detection": ("image_id", "annotations"), "coco_panoptic": ("image_id", "segments_info", "file_name")}


def check_annotations(annotations: Any, kind: str, images: int) -> list[Mapping[str, Any]]:
    """The annotations as a list with one entry per image.

    Raises:
        InputError: If they are not one dictionary per image, with the keys of their format.
    """
    if isinstance(annotations, Mapping):
        annotations = [annotations]
    if not isinstance(annotations, list | tuple) or len(annotations) != images:
        count = f"a list of {len(annotations)}" if isinstance(annotations, list | tuple) else type(annotations).__name__
        raise InputError(
            f"There are {images} images, and annotations is {count}.",
            next_step="Pass one dictionary per image, in a list.",
        )
    keys = _PARTS[kind]
    for position, annotation in enumerate(annotations):
        objects = annotation.get(keys[1]) if isinstance(annotation, Mapping) else None
        fits = isinstance(objects, list | tuple) and all(isinstance(item, Mapping) for item in objects)
        if not fits or any(key not in annotation for key in keys):
            raise InputError(
                f"The annotation of image {position} is not of the format {kind}: expected a dictionary with the keys "
                f"{', '.join(keys)}, of which {keys[1]} is a list of dictionaries.",
                next_step=f"Pass annotations of that form, or format={FORMATS[kind == FORMATS[0]]!r}.",
            )
    return list(annotations)


def target(
    annotation: Mapping[str, Any],
    kind: str,
    size: tuple[int, int],
    with_masks: bool,
    masks_path: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """The labels of one image: `class_labels`, `boxes` as corners in pixels, `area`, `iscrowd`, `orig_size`, `masks`, ...

    Args:
        annotation: COCO's annotation of the image.
        kind: One of `FORMATS`.
        size: The (height, width) of the image.
        with_masks: Whether to add the masks.
        masks_path: The folder with the pictures of panoptic segments.

    Raises:
        InputError: If a value is missing, or not of its type.
    """
    try:
        if kind == "coco_detection":
            return _detection(annotation, size, with_masks)
        return _panoptic(annotation, size, with_masks, masks_path)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"An annotation of the image {annotation.get('image_id')!r} cannot be read: {what}.",
            next_step="Expected category_id, bbox [x, y, width, height] and area for objects; id, category_id, iscrowd and "
            "area for segments.",
        ) from error


def _detection(annotation: Mapping[str, Any], size: tuple[int, int], with_masks: bool) -> dict[str, Any]:
    height, width = size
    objects = [item for item in annotation["annotations"] if item.get("iscrowd", 0) == 0]
    boxes = np.asarray([item["bbox"] for item in objects], np.float32).reshape(-1, 4)
    if len(boxes) != len(objects):
        raise ValueError("a bbox has four numbers")
    boxes[:, 2:] += boxes[:, :2]
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
    keep = (boxes[:, 3] > boxes[:, 1]) & (boxes[:, 2] > boxes[:, 0])
    labels = {
        "image_id": np.asarray([annotation["image_id"]], np.int64),
        "class_labels": np.asarray([item["category_id"] for item in objects], np.int64)[keep],
        "boxes": boxes[keep],
        "area": np.asarray([item["area"] for item in objects], np.float32)[keep],
        "iscrowd": np.asarray([item.get("iscrowd", 0) for item in objects], np.int64)[keep],
        "orig_size": np.asarray(size, np.int64),
    }
    if objects and "keypoints" in objects[0]:
        labels["keypoints"] = np.asarray([item["keypoints"] for item in objects], np.float32)[keep].reshape(-1, 3)
    if with_masks:
        masks = [mask_of(item["segmentation"], height, width) for item in objects]
        labels["masks"] = np.stack(masks)[keep] if masks else np.zeros((0, height, width), np.uint8)
    return labels


def _panoptic(
    annotation: Mapping[str, Any],
    size: tuple[int, int],
    with_masks: bool,
    masks_path: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    if not isinstance(masks_path, str | os.PathLike):
        raise InputError(
            f"masks_path is {masks_path!r}; panoptic annotations need the folder with their pictures.",
            next_step="Pass masks_path=folder, which holds the files that file_name names.",
        )
    picture = np.asarray(open_image(Path(masks_path) / annotation["file_name"]).convert("RGB"))
    if picture.shape[:2] != size:
        raise ValueError(f"its picture has the size {picture.shape[:2]} and the image {size}")
    segments = annotation["segments_info"]
    ids = np.asarray([segment["id"] for segment in segments], np.int64)
    masks = (segment_ids(picture) == ids[:, None, None]).astype(np.uint8)
    labels = {
        "image_id": np.asarray([annotation["image_id"]], np.int64),
        "orig_size": np.asarray(size, np.int64),
        "boxes": boxes_around(masks),
        "class_labels": np.asarray([segment["category_id"] for segment in segments], np.int64),
        "iscrowd": np.asarray([segment["iscrowd"] for segment in segments], np.int64),
        "area": np.asarray([segment["area"] for segment in segments], np.float32),
    }
    return {**labels, "masks": masks} if with_masks else labels


def resized(labels: dict[str, Any], size: tuple[int, int], new_size: tuple[int, int]) -> dict[str, Any]:
    """The labels after the image was resized from one (height, width) to another."""
    vertical, horizontal = new_size[0] / size[0], new_size[1] / size[1]
    changed = {**labels, "size": np.asarray(new_size, np.int64)}
    changed["boxes"] = labels["boxes"] * np.asarray([horizontal, vertical, horizontal, vertical], np.float32)
    changed["area"] = labels["area"] * np.float32(horizontal * vertical)
    if "masks" in labels:
        masks = [
            np.asarray(Image.fromarray(mask).resize(new_size[::-1], Image.Resampling.NEAREST))
            for mask in labels["masks"]
        ]
        changed["masks"] = np.stack(masks) > 0 if masks else np.zeros((0, *new_size), bool)
    return changed


def centred(labels: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """The labels with boxes as centre, width and height, as fractions of the image's size."""
    height, width = size
    x0, y0, x1, y1 = labels["boxes"].T
    boxes = np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], axis=-1)
    return {**labels, "boxes": boxes / np.asarray([width, height, width, height], np.float32)}


def padded(
    labels: dict[str, Any], size: tuple[int, int], new_size: tuple[int, int], are_fractions: bool
) -> dict[str, Any]:
    """The labels after the image was padded at the bottom and at the right."""
    changed = {**labels, "size": np.asarray(new_size, np.int64)}
    if size == new_size:
        return changed
    if are_fractions:
        vertical, horizontal = size[0] / new_size[0], size[1] / new_size[1]
        changed["boxes"] = labels["boxes"] * np.asarray([horizontal, vertical, horizontal, vertical], np.float32)
    if "masks" in labels:
        changed["masks"] = np.pad(labels["masks"], ((0, 0), (0, new_size[0] - size[0]), (0, new_size[1] - size[1])))
    return changed
