"""The image processors of detectors: images of any size, padded to one, with their annotations as labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np
from PIL.Image import Resampling

from notebook_kit.errors import InputError
from notebook_kit.processing.features import BatchFeature
from notebook_kit.processing.image import annotations as coco
from notebook_kit.processing.image.classes import IMAGENET_MEAN, IMAGENET_STD
from notebook_kit.processing.image.processor import BaseImageProcessor, each, flattened, padded_size
from notebook_kit.processing.image.query_results import QueryResults
from notebook_kit.processing.image.sizes import aspect_ratio_size, size_dict
from notebook_kit.processing.image.steps import masks_of_pixels
from notebook_kit.processing.naming import is_array

__all__ = [
    "DetrFeatureExtractor",
    "DetrImageProcessor",
    "DetrImageProcessorFast",
    "YolosFeatureExtractor",
    "YolosImageProcessor",
    "YolosImageProcessorFast",
]


class DetrImageProcessor(QueryResults, BaseImageProcessor):
    """The image processor of DETR and Table Transformer: scales to a shorter edge of 800, to at most 1,333, and pads.

    Args:
        settings: As for `BaseImageProcessor`; and `format`, "coco_detection" or "coco_panoptic", that of the annotations;
            `do_convert_annotations`, whether boxes become fractions of the image (by default if it is normalized).

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import DetrImageProcessor
        >>> batch = DetrImageProcessor(size={"shortest_edge": 80, "longest_edge": 133})(
        ...     [Image.new("RGB", (640, 480)), Image.new("RGB", (480, 640))],
        ...     annotations=[{"image_id": 0, "annotations": [{"category_id": 3, "bbox": [0, 0, 320, 240], "area": 76_800}]},
        ...                  {"image_id": 1, "annotations": []}],
        ...     return_tensors="pt",
        ... )
        >>> batch.pixel_values.shape, batch.pixel_mask.shape, batch.labels[0].class_labels
        (torch.Size([2, 3, 106, 106]), torch.Size([2, 106, 106]), tensor([3]))
    """

    do_resize = True
    size = {"shortest_edge": 800, "longest_edge": 1333}
    default_to_square = False
    resample = Resampling.BILINEAR
    do_rescale = True
    do_normalize = True
    image_mean = IMAGENET_MEAN
    image_std = IMAGENET_STD
    do_pad = True
    format: Literal["coco_detection", "coco_panoptic"] = "coco_detection"
    do_convert_annotations: bool | None = None

    model_input_names: ClassVar[list[str]] = ["pixel_values", "pixel_mask"]
    class_field: ClassVar[str] = "logits"
    mask_field: ClassVar[str] = "pred_masks"

    def __init__(self, **settings: Any) -> None:
        longest = settings.pop("max_size", None)  # of old files, beside a number
        if isinstance(settings.get("size"), int | float):
            settings["size"] = size_dict(settings["size"], square=False, max_size=1333 if longest is None else longest)
        super().__init__(**settings)
        if self.do_convert_annotations is None:
            self.do_convert_annotations = self.do_normalize

    def preprocess(
        self,
        images: Any,
        annotations: Any = None,
        return_segmentation_masks: bool | None = None,
        masks_path: str | os.PathLike[str] | None = None,
        *,
        return_tensors: str | None = None,
        **options: Any,
    ) -> BatchFeature:
        """Prepare images, and their annotations as labels.

        Args:
            images: As for `BaseImageProcessor.preprocess`.
            annotations: COCO's annotation of each image: `{"image_id": ..., "annotations": [...]}`, or with
                `format="coco_panoptic"` `{"image_id": ..., "file_name": ..., "segments_info": [...]}`.
            return_segmentation_masks: Whether the labels have `masks`; by default for panoptic annotations only.
            masks_path: The folder with the pictures that panoptic annotations name.
            return_tensors, options: As for `BaseImageProcessor.preprocess`.

        Returns:
            `pixel_values`, (images, channels, height, width). If they are padded also `pixel_mask`, (images, height, width), 1
            for pixels of the image. With annotations `labels`, for each image: `class_labels`; `boxes` as centre, width and
            height, as fractions of the padded image; `area`, `iscrowd`, `image_id`, `orig_size`, `size`, and perhaps `masks`.

        Raises:
            InputError: As for `BaseImageProcessor.preprocess`, or if an annotation is not of its format.
        """
        chosen = self.options(return_tensors, options)
        pictures = flattened(images)
        if annotations is not None:
            annotations = coco.check_annotations(annotations, chosen.format, len(pictures))
        arrays = self.arrays(pictures, chosen)
        sizes = [array.shape[:2] for array in arrays]
        pad_to = padded_size(arrays, chosen) if chosen.do_pad else None
        batch = self.finish(self.pixels(arrays, chosen, pad_to), chosen)
        if annotations is not None:
            with_masks = (
                chosen.format == "coco_panoptic" if return_segmentation_masks is None else return_segmentation_masks
            )
            originals = each(pictures, size_of)

            def label(position: int) -> BatchFeature:
                found = coco.target(annotations[position], chosen.format, originals[position], with_masks, masks_path)
                return self._label(found, originals[position], sizes[position], pad_to, chosen)

            batch["labels"] = [label(position) for position in range(len(pictures))]
        return batch

    def _label(
        self,
        found: dict[str, Any],
        original: tuple[int, int],
        size: tuple[int, int],
        pad_to: tuple[int, int] | None,
        chosen: SimpleNamespace,
    ) -> BatchFeature:
        """The labels of one image after all that was done to it."""
        labels = (
            coco.resized(found, original, size) if size != original else {**found, "size": np.asarray(size, np.int64)}
        )
        if chosen.do_convert_annotations:
            labels = coco.centred(labels, size)
        if pad_to is not None:
            labels = coco.padded(labels, size, pad_to, bool(chosen.do_convert_annotations))
        return self.finish(labels, chosen)

    def post_process_object_detection(
        self, outputs: Any, threshold: float = 0.5, target_sizes: Any = None
    ) -> list[dict[str, Any]]:
        """The objects of each image.

        Args:
            outputs: What the model returned: `logits` (images, queries, classes + 1), the last class for "no object", and
                `pred_boxes` (images, queries, 4).
            threshold: The lowest score.
            target_sizes: One (height, width) per image, such as `image.size[::-1]`; None gives boxes as fractions.

        Returns:
            Per image `scores`, `labels`, and `boxes` as (x0, y0, x1, y1).

        Raises:
            InputError: If the outputs have other fields, or `target_sizes` does not fit them.

        Example:
            >>> import torch
            >>> from types import SimpleNamespace
            >>> from notebook_kit import DetrImageProcessor
            >>> outputs = SimpleNamespace(
            ...     logits=torch.tensor([[[4.0, 0.0, 0.0]]]), pred_boxes=torch.tensor([[[0.5, 0.5, 0.5, 1.0]]])
            ... )
            >>> [found] = DetrImageProcessor().post_process_object_detection(outputs, target_sizes=[(100, 200)])
            >>> found["labels"], found["boxes"]
            (tensor([0]), tensor([[ 50.,   0., 150., 100.]]))
        """
        from notebook_kit.processing.image.results import detected, field  # loads torch

        return detected(field(outputs, "logits"), field(outputs, "pred_boxes"), threshold, target_sizes)

    def pad(
        self,
        images: Sequence[Any],
        return_tensors: str | None = None,
        return_pixel_mask: bool = True,
        **options: Any,
    ) -> BatchFeature:
        """Pad images that are prepared already, arrays or tensors (channels, height, width), to one size: for collators.

        Args:
            images: The images.
            return_tensors: "pt" or "np" for one tensor.
            return_pixel_mask: Whether to return `pixel_mask` too.
            options: `pad_size`.

        Returns:
            `pixel_values` and `pixel_mask`, as `preprocess`.

        Raises:
            InputError: If an image is not an array of three dimensions, or does not fit into `pad_size`.
        """
        stripped = {"do_rescale": False, "do_normalize": False, "do_pad": True, **options}
        chosen = self.options(return_tensors, stripped)
        if (
            not isinstance(images, list | tuple)
            or not images
            or not all(is_array(item) and item.ndim == 3 for item in images)
        ):
            raise InputError(
                "pad takes a list of arrays or tensors (channels, height, width).",
                next_step="Pass the pixel_values that the processor returned.",
            )
        arrays = [np.asarray(image).transpose(1, 2, 0) for image in images]
        pad_to = padded_size(arrays, chosen)
        data: dict[str, Any] = {"pixel_values": self.pixel_values(arrays, chosen, pad_to)}
        if return_pixel_mask:
            data["pixel_mask"] = masks_of_pixels([array.shape[:2] for array in arrays], pad_to)
        return self.finish(data, chosen)


def size_of(image: Any) -> tuple[int, int]:
    """The (height, width) of an image in any form."""
    from notebook_kit.processing.image.loading import channels_last, open_image, to_array

    opened = open_image(image)
    return channels_last(to_array(opened)).shape[:2] if is_array(opened) else opened.size[::-1]


class YolosImageProcessor(DetrImageProcessor):
    """The image processor of YOLOS: as DETR's, with edges that are multiples of 16.

    Args:
        settings: As for `DetrImageProcessor`.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import YolosImageProcessor
        >>> YolosImageProcessor()(Image.new("RGB", (640, 480)), return_tensors="pt").pixel_values.shape
        torch.Size([1, 3, 800, 1056])
    """

    def resized_to(self, height: int, width: int, chosen: SimpleNamespace) -> tuple[int, int]:
        size: Mapping[str, int] = chosen.size
        if "shortest_edge" not in size:
            return super().resized_to(height, width, chosen)
        found = aspect_ratio_size(height, width, size["shortest_edge"], size.get("longest_edge"))
        return max(found[0] // 16 * 16, 16), max(found[1] // 16 * 16, 16)


DetrFeatureExtractor = DetrImageProcessorFast = DetrImageProcessor
YolosFeatureExtractor = YolosImageProcessorFast = YolosImageProcessor
