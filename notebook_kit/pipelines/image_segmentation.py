"""Image segmentation: which pixels of an image belong to which thing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from notebook_kit.errors import InputError
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.image import ImagePipeline
from notebook_kit.pipelines.options import check_choice, check_threshold

__all__ = ["ImageSegmentationPipeline"]

SUBTASKS = ("panoptic", "instance", "semantic")
# The outputs that image processors read: of DETR, of MaskFormer, of models with one score per class and pixel.
OUTPUTS = ("logits", "pred_boxes", "pred_masks", "class_queries_logits", "masks_queries_logits")


class ImageSegmentationPipeline(ImagePipeline):
    """Divides images into segments, each with a label and a mask. Created by `pipeline("image-segmentation")`.

    Options:
        subtask: `"semantic"` for one mask per class, `"instance"` for one per thing, `"panoptic"` for one per thing and one
            per class of background. By default, the first of panoptic, instance and semantic that the image processor
            offers.
        threshold: The score above which a segment is returned; by default 0.9. Not for semantic.
        mask_threshold: The probability from which a pixel belongs to a mask; by default 0.5. Not for semantic.
        overlap_mask_area_threshold: The share of a mask that must be left after those in front of it; by default 0.5. Not
            for semantic.
        timeout: Seconds to wait for an image from the web.

    Inputs are images in any form that `ImagePipeline` lists, or lists of them.

    Returns:
        For one image, a list with one dict per segment: `{"score": float, "label": str, "mask": PIL.Image.Image}`. The mask
        has the mode L and the size of the input, 255 inside the segment and 0 outside; the score is `None` for semantic.
        For a list of images, a list of such lists.

    Raises:
        InputError: for a subtask that the image processor does not offer.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import DetrConfig, DetrForSegmentation, DetrImageProcessor, ResNetConfig
        >>> stages = ["stage1", "stage2", "stage3", "stage4"]
        >>> resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=stages)
        >>> config = DetrConfig(backbone_config=resnet, d_model=32, encoder_layers=1, decoder_layers=1, num_queries=5)
        >>> processor = DetrImageProcessor(size={"height": 64, "width": 64})
        >>> segment = ImageSegmentationPipeline(DetrForSegmentation(config), image_processor=processor)
        >>> segment(Image.new("RGB", (64, 48)))  # a model that is not trained is sure of nothing
        []
    """

    task = "image-segmentation"
    auto_model = "AutoModelForImageSegmentation"
    budgets = (800 * 1333, 8 * 800 * 1333)
    windows = (16, 64)
    can_pad = False  # masks cover the whole canvas, padding included

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("subtask") is not None:
            options["subtask"] = self._subtask(options["subtask"])
        for name in ("threshold", "mask_threshold", "overlap_mask_area_threshold"):
            check_threshold(name, options.get(name))
        return options

    def _subtask(self, subtask: str | None) -> str:
        """The subtask, checked; by default the first that the image processor offers."""
        offered = [name for name in SUBTASKS if hasattr(self.image_processor, f"post_process_{name}_segmentation")]
        chosen = check_choice("subtask", subtask, SUBTASKS) if subtask is not None else next(iter(offered), None)
        if chosen not in offered:
            kind = type(self.image_processor).__name__
            raise InputError(
                f"A {kind} does not offer {chosen or 'any'} segmentation.",
                next_step=f"Pass a subtask that it offers: {', '.join(offered)}."
                if offered
                else "Pass the image processor of a segmentation model.",
            )
        return chosen

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        outputs = self.model(**batch)
        return {name: outputs[name] for name in OUTPUTS if name in outputs}

    def postprocess(
        self,
        item: Any,
        features: Rows,
        outputs: Rows,
        *,
        subtask: str | None = None,
        threshold: float = 0.9,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.5,
    ) -> list[dict[str, Any]]:
        subtask = self._subtask(subtask)
        tensors = SimpleNamespace(**{name: torch.from_numpy(array)[None] for name, array in outputs[0].items()})
        segment = getattr(self.image_processor, f"post_process_{subtask}_segmentation")
        sizes = [features[0]["original_size"]]
        labels = self.model.config.id2label
        if subtask == "semantic":
            classes = segment(tensors, target_sizes=sizes)[0].numpy()
            return [_segment(None, labels[label], classes == label) for label in np.unique(classes).tolist()]
        (found,) = segment(
            tensors,
            threshold=threshold,
            mask_threshold=mask_threshold,
            overlap_mask_area_threshold=overlap_mask_area_threshold,
            target_sizes=sizes,
        )
        ids = found["segmentation"].numpy()
        return [_segment(part["score"], labels[part["label_id"]], ids == part["id"]) for part in found["segments_info"]]


def _segment(score: float | None, label: str, inside: np.ndarray) -> dict[str, Any]:
    return {"score": score, "label": label, "mask": Image.fromarray(inside.astype(np.uint8) * 255)}
