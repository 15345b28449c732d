"""The base class of image pipelines: loading, batches measured in pixels, and padding for models that read a mask."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from notebook_kit.errors import InputError
from notebook_kit.pipelines.base import Pipeline, Rows
from notebook_kit.pipelines.options import checked
from notebook_kit.processing.image.loading import load_image
from notebook_kit.processing.padding import pad_pictures

__all__ = ["ImagePipeline", "attempt", "is_image"]

MOST_THREADS = 8


class ImagePipeline(Pipeline):
    """A pipeline whose features are pixels, as returned by the image processor's call.

    An input is one image in any of these forms: a PIL image, a path, an http(s) address, base64 text or a data URL, `bytes`,
    a file object, an array or tensor of shape (H, W), (H, W, C) or (C, H, W), or a row of a `datasets.Image` column that is
    not decoded. The images of a window are loaded on several threads.

    The option `batch_pixels` is the maximum number of pixels in a batch, counted after resizing. Images that have one size
    then share a batch.

    Args:
        pad: Let images of similar sizes share a batch too, for a model that reads a `pixel_mask`. This is faster on an
            accelerator, but changes answers a little, since convolutions see the padding at the borders.
        model, image_processor, ...: As for `Pipeline`; `feature_extractor` is the older name of `image_processor`.

    Options:
        timeout: Seconds to wait for an image from the web.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from notebook_kit import ViTConfig, ViTForImageClassification, ViTImageProcessor
        >>> class BestLabel(ImagePipeline):
        ...     task = "best-label"
        ...     def postprocess(self, item, features, outputs):
        ...         return features[0]["original_size"], self.model.config.id2label[int(outputs[0]["logits"].argmax())]
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        ...     intermediate_size=64, id2label={0: "a picture"})
        >>> processor = ViTImageProcessor(size={"height": 32, "width": 32})
        >>> label = BestLabel(ViTForImageClassification(config), image_processor=processor)
        >>> label([Image.new("L", (80, 60)), np.zeros((50, 90, 3), np.uint8)])
        [((60, 80), 'a picture'), ((50, 90), 'a picture')]
    """

    processors: ClassVar[tuple[str, ...] | None] = ("image_processor",)
    budget_option: ClassVar[str] = "batch_pixels"
    budgets: ClassVar[tuple[int | None, int | None]] = (8 * 224 * 224, 128 * 224 * 224)
    windows: ClassVar[tuple[int, int]] = (32, 128)  # decoded images are large
    can_pad: ClassVar[bool] = True
    """Whether answers can be read off an image that is padded at the right and at the bottom, as with `pad=True`."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        feature_extractor: Any = None,
        image_processor: Any = None,
        pad: bool = False,
        **options: Any,
    ) -> None:
        processor = feature_extractor if image_processor is None else image_processor
        super().__init__(model, tokenizer, image_processor=processor, **options)
        self.pad = checked("pad", pad, bool)
        if self.pad and not (self.can_pad and "pixel_mask" in self.input_names):
            raise InputError(
                f"Padding would change the answers of {type(self.model).__name__} in the pipeline {self.task}.",
                next_step="Leave pad out.",
            )

    def __call__(self, inputs: Any = None, *, images: Any = None, **options: Any) -> Any:
        """Run the pipeline on one image, a list or a stream of images; see `Pipeline`. `images` is the older name of `inputs`."""
        inputs = images if inputs is None else inputs
        if inputs is None:
            raise InputError("No image was passed.", next_step="Pass an image, a path, an address, or a list of them.")
        return super().__call__(inputs, **options)

    def show(self, inputs: Any = None, *, images: Any = None, **options: Any) -> Any:
        """Run the pipeline and show what it answers over the images; see `Pipeline.show`."""
        inputs = images if inputs is None else inputs
        if isinstance(inputs, list | tuple):
            return super().show([_at_hand(one, options) for one in inputs], **options)
        return super().show(*([] if inputs is None else [_at_hand(inputs, options)]), **options)

    def preprocess(self, item: Any, *, timeout: float | None = None) -> Any:
        image = load_image(item, timeout=timeout)
        return {**self.process(image), "original_size": (image.height, image.width)}

    def process(self, image: Image.Image, **options: Any) -> dict[str, torch.Tensor]:
        """Call the image processor; the inputs of the model for one image, without a batch axis."""
        return {name: values[0] for name, values in self.image_processor(image, return_tensors="pt", **options).items()}

    def features_of_each(self, items: list[Any], options: dict[str, Any]) -> Iterator[Rows | Exception]:
        yield from self.in_threads(items, lambda item: self.features_of(item, options))

    def in_threads(self, items: list[Any], function: Callable[[Any], Any]) -> Iterator[Any]:
        """The function's result for each item in order, or its error, computed on several threads.

        An image that occurs several times is read once, since two threads must not read one open file.
        """
        from_web = any(isinstance(item, str) and item.startswith(("http://", "https://")) for item in items)
        threads = min(len(items), MOST_THREADS if from_web else min(MOST_THREADS, _cpus()))
        if threads <= 1:
            yield from (attempt(function, item) for item in items)
            return
        pool = ThreadPoolExecutor(threads, "notebook_kit-images")
        try:
            distinct = {id(item): item for item in items}
            futures = {key: pool.submit(function, item) for key, item in distinct.items()}
            for item in items:
                future = futures[id(item)]
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield future.result() if error is None else error
        finally:
            pool.shutdown(cancel_futures=True)

    # What the base asks of a modality ----------------------------------------------------------------------------------

    def is_single(self, inputs: Any) -> bool:
        return is_image(inputs) or super().is_single(inputs)

    def cost(self, feature: Mapping[str, Any]) -> int:
        return math.prod(feature["pixel_values"].shape[-2:])

    def group(self, feature: Mapping[str, Any]) -> Hashable:
        if not self.pad:
            return super().group(feature)
        # Wide and tall images together would pad each other to squares.
        *others, height, width = feature["pixel_values"].shape
        return (*others, width >= height)

    def collate(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        if not self.pad or len({feature["pixel_values"].shape for feature in features}) == 1:
            return super().collate(features)
        pixels, mask = pad_pictures(
            [feature["pixel_values"] for feature in features], [feature.get("pixel_mask") for feature in features]
        )
        return {"pixel_values": pixels, "pixel_mask": mask}


def is_image(inputs: Any) -> bool:
    """Whether an object that could also be iterated over is one image: a PIL image, an array or tensor of fewer than four
    axes, or an open file.

    Example:
        >>> is_image(np.zeros((30, 20, 3))), is_image(np.zeros((5, 30, 20, 3))), is_image(["cat.png"])
        (True, False, False)
    """
    if isinstance(inputs, torch.Tensor) or (isinstance(inputs, np.ndarray) and inputs.dtype.kind in "biuf"):
        return inputs.ndim < 4
    return isinstance(inputs, Image.Image) or hasattr(inputs, "read")


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """The function's result, or the error that it raises.

    Example:
        >>> attempt(int, "7"), type(attempt(int, "seven")).__name__
        (7, 'ValueError')
    """
    try:
        return function(*args)
    except Exception as error:
        return error


def _at_hand(image: Any, options: Mapping[str, Any]) -> Any:
    """An image that can be read again: one from the web or from an open file is loaded; all others are returned unchanged."""
    is_from_web = isinstance(image, str) and image.startswith(("http://", "https://"))
    if not (is_from_web or hasattr(image, "read")):
        return image
    try:
        return load_image(image, timeout=options.get("timeout"))
    except InputError:
        return image  # the pipeline raises the error, and knows which input it is


def _cpus() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
