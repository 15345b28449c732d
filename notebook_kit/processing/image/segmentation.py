"""The image processors of segmenters: images with maps that name the class or the instance of each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from notebook_kit.errors import InputError
from notebook_kit.fields import Range
from notebook_kit.processing.features import BatchFeature
from notebook_kit.processing.image.classes import IMAGENET_MEAN, IMAGENET_STD
from notebook_kit.processing.image.loading import described, open_image, to_array
from notebook_kit.processing.image.processor import BaseImageProcessor, each, flattened, padded_size
from notebook_kit.processing.image.query_results import QueryResults
from notebook_kit.processing.image.sizes import divisible, size_dict
from notebook_kit.processing.image.steps import center_crop
from notebook_kit.processing.naming import is_array

__all__ = [
    "MaskFormerFeatureExtractor",
    "MaskFormerImageProcessor",
    "MaskFormerImageProcessorFast",
    "SegformerFeatureExtractor",
    "SegformerImageProcessor",
    "SegformerImageProcessorFast",
]


class SegformerImageProcessor(BaseImageProcessor):
    """The image processor of SegFormer: resizes to a square of 512, and maps of classes with it.

    Args:
        settings: As for `BaseImageProcessor`; and `do_reduce_labels`: whether class 0 of the maps means background, which
            becomes 255 (ignored by the loss), and all others move down by one.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from notebook_kit import SegformerImageProcessor
        >>> batch = SegformerImageProcessor(size=64)(
        ...     Image.new("RGB", (640, 480)), segmentation_maps=np.ones((480, 640), "uint8"), return_tensors="pt"
        ... )
        >>> batch.pixel_values.shape, batch.labels.shape, batch.labels.dtype
        (torch.Size([1, 3, 64, 64]), torch.Size([1, 64, 64]), torch.int64)
    """

    do_resize = True
    size = {"height": 512, "width": 512}
    resample = Resampling.BILINEAR
    do_rescale = True
    do_normalize = True
    image_mean = IMAGENET_MEAN
    image_std = IMAGENET_STD
    do_reduce_labels: bool = False

    def preprocess(
        self, images: Any, segmentation_maps: Any = None, *, return_tensors: str | None = None, **options: Any
    ) -> BatchFeature:
        """Prepare images, and their maps as labels.

        Args:
            images: As for `BaseImageProcessor.preprocess`.
            segmentation_maps: One per image: PIL images (of mode L, P or I), paths, or arrays (height, width) of classes.
            return_tensors, options: As for `BaseImageProcessor.preprocess`.

        Returns:
            `pixel_values`, (images, channels, height, width); with maps also `labels`, (images, height, width), int64.

        Raises:
            InputError: As for `BaseImageProcessor.preprocess`, or if a map cannot be read, or there are not as many as images.
        """
        chosen = self.options(return_tensors, options)
        arrays = self.arrays(images, chosen)
        pad_to = padded_size(arrays, chosen) if chosen.do_pad else None
        data: dict[str, Any] = {"pixel_values": self.pixel_values(arrays, chosen, pad_to)}
        if segmentation_maps is not None:
            data["labels"] = [self._labels(found, chosen) for found in maps_of(segmentation_maps, len(arrays))]
        return self.finish(data, chosen)

    def _labels(self, classes: np.ndarray, chosen: SimpleNamespace) -> np.ndarray:
        if chosen.do_reduce_labels:
            classes = np.where((classes == 0) | (classes == 255), 255, classes.astype(np.int64) - 1)
        if chosen.do_resize:
            classes = resized_map(classes, self.resized_to(classes.shape[0], classes.shape[1], chosen))
        for size in self.crops(chosen):
            classes = center_crop(classes[..., None], *size)[..., 0]
        return classes.astype(np.int64)

    def post_process_semantic_segmentation(
        self, outputs: Any, target_sizes: Any = None, return_segmentation_scores: bool = False
    ) -> list[Any]:
        """The class of each pixel.

        Args:
            outputs: What the model returned: `logits` (images, classes, height, width).
            target_sizes: One (height, width) per image, such as `image.size[::-1]`; None keeps the logits' size.
            return_segmentation_scores: Return `segmentation` and `segmentation_scores` (classes, height, width) for each image.

        Returns:
            One tensor (height, width), int64, per image.

        Raises:
            InputError: If the outputs have no logits, or `target_sizes` does not fit them.

        Example:
            >>> import torch
            >>> from types import SimpleNamespace
            >>> from notebook_kit import SegformerImageProcessor
            >>> outputs = SimpleNamespace(logits=torch.rand(1, 3, 8, 8))
            >>> SegformerImageProcessor().post_process_semantic_segmentation(outputs, target_sizes=[(30, 40)])[0].shape
            torch.Size([30, 40])
        """
        from notebook_kit.processing.image.results import class_maps, field  # loads torch

        return class_maps(field(outputs, "logits"), target_sizes, return_segmentation_scores)


class MaskFormerImageProcessor(QueryResults, BaseImageProcessor):
    """The image processor of MaskFormer: scales to edges that are multiples of 32, pads, and turns maps into masks.

    Args:
        settings: As for `BaseImageProcessor`; and `size_divisor`, of which edges are multiples after resizing; `ignore_index`,
            the value of pixels in maps that belong to no class; `do_reduce_labels`: whether class 0 of the maps means
            background, which becomes `ignore_index`, and all others move down by one.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from notebook_kit import MaskFormerImageProcessor
        >>> processor = MaskFormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
        >>> maps = np.arange(480)[:, None] // 160 * np.ones((1, 640), int)
        >>> batch = processor(Image.new("RGB", (640, 480)), segmentation_maps=maps, return_tensors="pt")
        >>> batch.pixel_values.shape, batch.mask_labels[0].shape, batch.class_labels[0]
        (torch.Size([1, 3, 64, 96]), torch.Size([3, 64, 96]), tensor([0, 1, 2]))
    """

    do_resize = True
    size = {"shortest_edge": 800, "longest_edge": 1333}
    default_to_square = False
    resample = Resampling.BILINEAR
    do_rescale = True
    do_normalize = True
    image_mean = IMAGENET_MEAN
    image_std = IMAGENET_STD
    size_divisor: Annotated[int, Range(0, 4096)] = 32
    ignore_index: int | None = None
    do_reduce_labels: bool = False
    num_labels: int | None = None

    model_input_names: ClassVar[list[str]] = ["pixel_values", "pixel_mask"]
    class_field: ClassVar[str] = "class_queries_logits"
    mask_field: ClassVar[str] = "masks_queries_logits"

    def __init__(self, **settings: Any) -> None:
        longest = settings.pop("max_size", None)  # of old files, beside a number
        if isinstance(settings.get("size"), int | float) and longest is not None:
            settings["size"] = size_dict(settings["size"], square=False, max_size=longest)
        super().__init__(**settings)

    def preprocess(
        self,
        images: Any,
        segmentation_maps: Any = None,
        instance_id_to_semantic_id: Any = None,
        *,
        return_tensors: str | None = None,
        **options: Any,
    ) -> BatchFeature:
        """Prepare images, and their maps as masks and classes.

        Args:
            images: As for `BaseImageProcessor.preprocess`.
            segmentation_maps: One per image: PIL images (of mode L, P or I), paths, or arrays (height, width) of classes, or of
                instances.
            instance_id_to_semantic_id: For maps of instances, a dictionary from instance to class, or one per image.
            return_tensors, options: As for `BaseImageProcessor.preprocess`.

        Returns:
            `pixel_values`, (images, channels, height, width), and `pixel_mask`, (images, height, width), 1 for pixels of the
            image. With maps also, one per image, `mask_labels`, (masks, height, width), float32, and `class_labels`, (masks),
            int64.

        Raises:
            InputError: As for `BaseImageProcessor.preprocess`, or if a map cannot be read, there are not as many as images, or an
                instance has no class.
        """
        chosen = self.options(return_tensors, options)
        if chosen.do_reduce_labels and chosen.ignore_index is None and segmentation_maps is not None:
            raise InputError(
                "do_reduce_labels is True, but ignore_index is not set.",
                next_step="Pass ignore_index=255, or another value.",
            )
        arrays = self.arrays(images, chosen)
        pad_to = padded_size(arrays, chosen)
        batch = self.finish(self.pixels(arrays, chosen, pad_to), chosen)
        if segmentation_maps is not None:
            maps = maps_of(segmentation_maps, len(arrays))
            classes = _one_per_image(instance_id_to_semantic_id, len(arrays))
            labels = [
                self.finish(self._labels(*pair, pad_to, chosen), chosen) for pair in zip(maps, classes, strict=True)
            ]
            batch["mask_labels"] = [label["mask_labels"] for label in labels]
            batch["class_labels"] = [label["class_labels"] for label in labels]
        return batch

    def resized_to(self, height: int, width: int, chosen: SimpleNamespace) -> tuple[int, int]:
        found = super().resized_to(height, width, chosen)
        return divisible(*found, chosen.size_divisor) if chosen.size_divisor else found

    def _labels(
        self,
        found: np.ndarray,
        classes: Mapping[int, int] | None,
        pad_to: tuple[int, int],
        chosen: SimpleNamespace,
    ) -> dict[str, np.ndarray]:
        """The masks and the classes of one map."""
        if chosen.do_resize:
            found = resized_map(found, self.resized_to(found.shape[0], found.shape[1], chosen))
        found = found.astype(np.int64)
        if chosen.do_reduce_labels:
            found = np.where(found == 0, chosen.ignore_index, found - 1)
        numbers = np.unique(found)
        if chosen.ignore_index is not None:
            numbers = numbers[numbers != chosen.ignore_index]
        masks = (found == numbers[:, None, None]).astype(np.float32)
        if classes is not None:
            moved = int(bool(chosen.do_reduce_labels))
            numbers = np.asarray([_class_of(int(number) + moved, classes) - moved for number in numbers], np.int64)
        fill = 0 if chosen.ignore_index is None else chosen.ignore_index
        bottom, right = pad_to[0] - masks.shape[1], pad_to[1] - masks.shape[2]
        if bottom < 0 or right < 0:
            raise InputError(
                f"A segmentation map of {masks.shape[1]} x {masks.shape[2]} is larger than its image.",
                next_step="Pass maps of the same size as their images.",
            )
        return {
            "mask_labels": np.pad(masks, ((0, 0), (0, bottom), (0, right)), constant_values=fill),
            "class_labels": numbers.astype(np.int64),
        }

    def post_process_instance_segmentation(
        self,
        outputs: Any,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.8,
        target_sizes: Any = None,
        return_coco_annotation: bool = False,
        return_binary_maps: bool = False,
    ) -> list[dict[str, Any]]:
        """The instances of each image: the best pairs of a query and a class, as many as queries.

        Args:
            outputs: What the model returned: `class_queries_logits` (images, queries, classes + 1), the last class for "no
                object", and `masks_queries_logits` (images, queries, height, width).
            threshold: The lowest score: that of the class times the mean probability of the mask's pixels.
            mask_threshold, overlap_mask_area_threshold: Not used, as in `transformers`: a mask is where its logits exceed 0.
            target_sizes: One (height, width) per image; None keeps the masks' size.
            return_coco_annotation: Return run lengths in place of a map.
            return_binary_maps: Return the masks (instances, height, width), which may overlap, in place of a map.

        Returns:
            Per image `segmentation`, (height, width), the id of each pixel's instance, -1 for none, and `segments_info`: `id`,
            `label_id`, `was_fused`, `score`.

        Raises:
            InputError: If the outputs have other fields, `target_sizes` does not fit them, or both other forms are requested.
        """
        from notebook_kit.processing.image.results import instances_by_class  # loads torch

        if return_coco_annotation and return_binary_maps:
            raise InputError(
                "return_coco_annotation and return_binary_maps are both True.", next_step="Choose one of the two forms."
            )
        return instances_by_class(
            *self._logits(outputs), threshold, target_sizes, return_coco_annotation, return_binary_maps
        )


def maps_of(segmentation_maps: Any, images: int) -> list[np.ndarray]:
    """Segmentation maps as arrays (height, width) of integers, one per image.

    Raises:
        InputError: If one cannot be read, or there are not as many as images.
    """
    maps = flattened(segmentation_maps, dimensions=2)
    if len(maps) != images:
        raise InputError(
            f"There are {images} images and {len(maps)} segmentation maps.",
            next_step="Pass one map (height, width) per image.",
        )
    return each(maps, _map)


def _map(value: Any) -> np.ndarray:
    opened = open_image(value)
    array = to_array(opened) if is_array(opened) else np.asarray(opened)
    whole = array.dtype.kind in "biu" or (array.dtype.kind == "f" and np.array_equal(array, np.rint(array)))
    if array.ndim != 2 or not array.size or not whole:
        raise InputError(
            f"A segmentation map cannot be read from {described(value)}: expected whole numbers, one per pixel.",
            next_step="Pass an array (height, width), or a PIL image of mode L, P or I.",
        )
    return array


def resized_map(classes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The map resized to (height, width), each pixel taking the class of the nearest one."""
    image = Image.fromarray(classes if classes.dtype == np.uint8 else classes.astype(np.int32))
    return np.asarray(image.resize(size[::-1], Resampling.NEAREST))


def _one_per_image(classes: Any, images: int) -> Sequence[Mapping[int, int] | None]:
    """The dictionary from instance to class for each image."""
    if classes is None or isinstance(classes, Mapping):
        return [classes] * images
    if (
        not isinstance(classes, list | tuple)
        or len(classes) != images
        or not all(isinstance(c, Mapping) for c in classes)
    ):
        raise InputError(
            f"instance_id_to_semantic_id is {type(classes).__name__}; expected a dictionary, or one per image ({images}).",
            next_step="Pass for example {1: 17, 2: 17, 3: 0}, from instance to class.",
        )
    return classes


def _class_of(instance: int, classes: Mapping[int, int]) -> int:
    if instance not in classes:
        raise InputError(
            f"The instance {instance} of a segmentation map has no class in instance_id_to_semantic_id.",
            next_step="Add it, or set ignore_index to its number.",
        )
    return int(classes[instance])


SegformerFeatureExtractor = SegformerImageProcessorFast = SegformerImageProcessor
MaskFormerFeatureExtractor = MaskFormerImageProcessorFast = MaskFormerImageProcessor
