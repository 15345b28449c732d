"""Image classification: the best labels of an image."""

from __future__ import annotations

from typing import Any

from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.image import ImagePipeline
from notebook_kit.pipelines.options import check_choice, check_count
from notebook_kit.pipelines.scores import FUNCTIONS, best_labels, scores_from_logits

__all__ = ["ImageClassificationPipeline"]


class ImageClassificationPipeline(ImagePipeline):
    """Labels images. Created by `pipeline("image-classification")`.

    Options:
        top_k: The number of labels to return, best first; by default 5.
        function_to_apply: The function from logits to scores: `"softmax"`, `"sigmoid"` or `"none"`. By default softmax;
            sigmoid for one label or `problem_type="multi_label_classification"`; none for `"regression"`.
        timeout: Seconds to wait for an image from the web.

    Inputs are images in any form that `ImagePipeline` lists, or lists of them.

    Returns:
        `[{"label": str, "score": float}, ...]` for one image; for a list of images, a list of such lists.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import ViTConfig, ViTForImageClassification, ViTImageProcessor
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        ...     intermediate_size=64, id2label={0: "cat", 1: "dog", 2: "horse"})
        >>> processor = ViTImageProcessor(size={"height": 32, "width": 32})
        >>> classify = ImageClassificationPipeline(ViTForImageClassification(config), image_processor=processor)
        >>> [len(labels) for labels in classify([Image.new("RGB", (80, 60)), Image.new("L", (50, 90))], top_k=2)]
        [2, 2]
    """

    task = "image-classification"
    auto_model = "AutoModelForImageClassification"

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("function_to_apply") is not None:
            options["function_to_apply"] = check_choice("function_to_apply", options["function_to_apply"], FUNCTIONS)
        check_count("top_k", options.get("top_k"))
        return options

    def postprocess(
        self, item: Any, features: Rows, outputs: Rows, *, top_k: int = 5, function_to_apply: str | None = None
    ) -> list[dict[str, Any]]:
        scores = scores_from_logits(outputs[0]["logits"], self.model.config, function_to_apply)
        return best_labels(scores, self.model.config.id2label, top_k)
