"""The `post_process_...` methods of processors whose models answer with queries, each with a class and a mask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from notebook_kit.processing.features import BatchFeature

__all__ = ["QueryResults"]


class QueryResults:
    """Adds `post_process_semantic_segmentation`, `..._instance_segmentation` and `..._panoptic_segmentation`."""

    class_field: ClassVar[str]
    """The field of the outputs with the classes' logits: (images, queries, classes + 1)."""
    mask_field: ClassVar[str]
    """That with the masks' logits: (images, queries, height, width)."""

    def post_process_semantic_segmentation(
        self, outputs: Any, target_sizes: Any = None, return_segmentation_scores: bool = False
    ) -> list[Any]:
        """The class of each pixel.

        Args:
            outputs: What the model returned.
            target_sizes: One (height, width) per image, such as `image.size[::-1]`; None keeps the masks' size.
            return_segmentation_scores: Return `segmentation` and `segmentation_scores` (classes, height, width) for each image.

        Returns:
            One tensor (height, width), int64, per image.

        Raises:
            InputError: If the outputs have other fields, or `target_sizes` does not fit them.
        """
        from notebook_kit.processing.image import results  # loads torch

        scores = results.weighed_masks(*self._logits(outputs))
        return results.class_maps(scores, target_sizes, return_segmentation_scores)

    def post_process_instance_segmentation(
        self,
        outputs: Any,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.8,
        target_sizes: Any = None,
        return_coco_annotation: bool = False,
    ) -> list[dict[str, Any]]:
        """The instances of each image, each pixel in at most one of them.

        Args:
            outputs: What the model returned.
            threshold: The lowest score.
            mask_threshold: The probability from which a pixel counts as inside a mask.
            overlap_mask_area_threshold: The part of a mask that must be left beside the others, or else it is dropped.
            target_sizes: One (height, width) per image; None keeps the masks' size.
            return_coco_annotation: Return run lengths in place of a map.

        Returns:
            Per image `segmentation`, (height, width), the id of each pixel's instance, and `segments_info`: `id`, `label_id`,
            `was_fused`, `score`.

        Raises:
            InputError: If the outputs have other fields, or `target_sizes` does not fit them.
        """
        from notebook_kit.processing.image import results

        return results.panoptic_segments(
            *self._logits(outputs),
            threshold,
            mask_threshold,
            overlap_mask_area_threshold,
            target_sizes=target_sizes,
            as_run_lengths=return_coco_annotation,
        )

    def post_process_panoptic_segmentation(
        self,
        outputs: Any,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.8,
        label_ids_to_fuse: Iterable[int] | None = None,
        target_sizes: Any = None,
    ) -> list[dict[str, Any]]:
        """The segments of each image: instances, and one segment for each class that is fused.

        Args:
            outputs, threshold, mask_threshold, overlap_mask_area_threshold, target_sizes: As for
                `post_process_instance_segmentation`.
            label_ids_to_fuse: Classes of which an image has one segment at most, such as sky or grass; None for no class.

        Returns:
            As `post_process_instance_segmentation`.
        """
        from notebook_kit.processing.image import results

        return results.panoptic_segments(
            *self._logits(outputs),
            threshold,
            mask_threshold,
            overlap_mask_area_threshold,
            label_ids_to_fuse or (),
            target_sizes,
        )

    def _logits(self, outputs: Any) -> tuple[Any, Any]:
        from notebook_kit.processing.image.results import field

        if isinstance(outputs, BatchFeature | dict):
            outputs = BatchFeature(outputs)
        return field(outputs, self.class_field), field(outputs, self.mask_field)
