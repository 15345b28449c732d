"""Image feature extraction: the hidden states of an image."""

from __future__ import annotations

from typing import Any

import torch

from notebook_kit.errors import InputError
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.image import ImagePipeline
from notebook_kit.processing.image.loading import load_image

__all__ = ["ImageFeatureExtractionPipeline"]


class ImageFeatureExtractionPipeline(ImagePipeline):
    """Returns the hidden states of the last layer, or their pooled vector. Created by `pipeline("image-feature-extraction")`.

    Options:
        pool: `True` for the output of the model's pooler, one vector per image, instead of all hidden states.
        return_tensors: `True` for a tensor instead of nested lists.
        image_processor_kwargs: Further arguments of the image processor's call, such as `{"do_center_crop": False}`.
        timeout: Seconds to wait for an image from the web.

    Returns:
        Per image, nested lists (or a float32 tensor) of shape (1, tokens, hidden size) for a transformer, (1, channels,
        height, width) for a convolutional network, and (1, hidden size) with `pool` (what the model's pooler returns).

    Raises:
        InputError: with `pool`, if the model has no pooler.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import ViTConfig, ViTImageProcessor, ViTModel
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        ...     intermediate_size=64)
        >>> processor = ViTImageProcessor(size={"height": 32, "width": 32})
        >>> extract = ImageFeatureExtractionPipeline(ViTModel(config), image_processor=processor)
        >>> extract(Image.new("RGB", (80, 60)), return_tensors=True).shape  # [CLS] and 4 x 4 patches
        torch.Size([1, 17, 32])
    """

    task = "image-feature-extraction"
    auto_model = "AutoModel"
    can_pad = False

    def preprocess(
        self, item: Any, *, timeout: float | None = None, image_processor_kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.process(load_image(item, timeout=timeout), **(image_processor_kwargs or {}))

    def forward(self, batch: dict[str, torch.Tensor], *, pool: bool = False) -> dict[str, Any]:
        outputs = self.model(**batch)
        if not pool:
            return {"vectors": outputs[0]}
        pooled = getattr(outputs, "pooler_output", None)
        if pooled is None:
            raise InputError(
                f"{type(self.model).__name__} returns no pooled output.",
                next_step="Leave pool out, or load a model with a pooler.",
            )
        return {"vectors": pooled}

    def postprocess(
        self, item: Any, features: Rows, outputs: Rows, *, return_tensors: bool | str | None = False
    ) -> Any:
        array = outputs[0]["vectors"]
        # A copy, since a row of a batch would keep the whole batch in memory.
        return torch.tensor(array)[None] if return_tensors else [array.tolist()]
