"""Object detection: the things in an image, each with its label and its box."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.image import ImagePipeline
from notebook_kit.pipelines.options import check_threshold

__all__ = ["ObjectDetectionPipeline"]


class ObjectDetectionPipeline(ImagePipeline):
    """Finds things in images. Created by `pipeline("object-detection")`.

    Options:
        threshold: The score above which a thing is returned; by default 0.5.
        timeout: Seconds to wait for an image from the web.
        pad: At construction, as for `ImagePipeline`.

    Inputs are images in any form that `ImagePipeline` lists, or lists of them.

    Returns:
        For one image, a list with one dict per thing, in the order of the model's queries: `{"score": float, "label": str,
        "box": {"xmin": int, "ymin": int, "xmax": int, "ymax": int}}`, in pixels of the input from its upper left corner.
        For a list of images, a list of such lists.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import DetrImageProcessor, YolosConfig, YolosForObjectDetection
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> config = YolosConfig(**size, image_size=[64, 64], patch_size=16, num_detection_tokens=5, num_labels=3)
        >>> processor = DetrImageProcessor(size={"height": 64, "width": 64})
        >>> detect = ObjectDetectionPipeline(YolosForObjectDetection(config), image_processor=processor)
        >>> answers = detect([Image.new("RGB", (64, 48))], threshold=0.0)
        >>> len(answers[0]), sorted(answers[0][0]["box"])  # one for each detection token
        (5, ['xmax', 'xmin', 'ymax', 'ymin'])
    """

    task = "object-detection"
    auto_model = "AutoModelForObjectDetection"
    budgets = (800 * 1333, 8 * 800 * 1333)
    windows = (16, 64)

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        check_threshold("threshold", options.get("threshold"))
        return options

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        outputs = self.model(**batch)
        return {"logits": outputs.logits, "pred_boxes": outputs.pred_boxes}

    def postprocess(self, item: Any, features: Rows, outputs: Rows, *, threshold: float = 0.5) -> list[dict[str, Any]]:
        tensors = {name: torch.from_numpy(array)[None] for name, array in outputs[0].items()}
        (found,) = self.image_processor.post_process_object_detection(
            SimpleNamespace(**tensors), threshold=threshold, target_sizes=[features[0]["original_size"]]
        )
        labels = self.model.config.id2label
        return [
            {"score": score, "label": labels[label], "box": dict(zip(_EDGES, box, strict=True))}
            for score, label, box in zip(
                found["scores"].tolist(), found["labels"].tolist(), found["boxes"].int().tolist(), strict=True
            )
        ]


_EDGES = ("xmin", "ymin", "xmax", "ymax")
