"""The base class of pipelines that read an image together with a text: each distinct image is processed once for its texts."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, ClassVar

import torch

from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.image import ImagePipeline, attempt
from notebook_kit.pipelines.text import TOKENIZER_OPTIONS, TextPipeline
from notebook_kit.processing.image.loading import load_image

__all__ = ["ImageTextPipeline"]

OF_IMAGES = ("pixel_values", "pixel_mask")


class ImageTextPipeline(ImagePipeline, TextPipeline):
    """A pipeline whose features are pixels and token ids.

    An input is a dict with an image, in any form that `ImagePipeline` lists, and a text. Within a window, an image that several
    inputs share is loaded and processed once. Features whose images have one size share a batch, and their texts are padded.

    Example:
        >>> from notebook_kit import VisualQuestionAnsweringPipeline
        >>> issubclass(VisualQuestionAnsweringPipeline, ImageTextPipeline)
        True
    """

    processors = ("tokenizer", "image_processor")
    further_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "preprocess": {**TOKENIZER_OPTIONS, "timeout": float | None}
    }

    def read(self, item: Any) -> tuple[Any, str]:
        """The image and the text of an input.

        Raises:
            InputError: If one is missing or has the wrong type.
        """
        raise NotImplementedError

    def feature(self, pixels: Mapping[str, Any], text: str, **options: Any) -> dict[str, Any]:
        """The features of an input: pixels that the image processor returned, and the tokens of a text.

        Args:
            pixels: What `pixels_of` returned.
            text: The text.
            options: Those of `preprocess`, without `timeout`.
        """
        return {**pixels, **self.tokenize(text, **options)}

    def preprocess(self, item: Any, *args: Any, **options: Any) -> Any:
        image, text = self.read(item)
        return self.feature(self.pixels_of(image, options.pop("timeout", None)), text, **options)

    def pixels_of(self, image: Any, timeout: float | None = None) -> dict[str, torch.Tensor]:
        """What the model reads of an image, without a batch axis."""
        return self.process(load_image(image, timeout=timeout))

    def features_of_each(self, items: list[Any], options: dict[str, Any]) -> Iterator[Rows | Exception]:
        read = [attempt(self.read, item) for item in items]
        images = {_key(pair[0]): pair[0] for pair in read if not isinstance(pair, Exception)}
        timeout, rest = options.get("timeout"), {name: options[name] for name in options if name != "timeout"}
        found = dict(
            zip(images, self.in_threads(list(images.values()), lambda one: self.pixels_of(one, timeout)), strict=True)
        )
        for pair in read:
            pixels = pair if isinstance(pair, Exception) else found[_key(pair[0])]
            yield pixels if isinstance(pixels, Exception) else attempt(self._checked, pixels, pair[1], rest)

    def _checked(self, pixels: Mapping[str, Any], text: str, options: Mapping[str, Any]) -> Rows:
        """The features of an input, checked against the limits of the model."""
        feature = self.feature(pixels, text, **options)
        self.check_tokens(feature["input_ids"])
        return [feature]

    # What the base asks of a modality ----------------------------------------------------------------------------------

    def group(self, feature: Mapping[str, Any]) -> Hashable:
        pixels = {name: feature[name] for name in OF_IMAGES if name in feature}
        return ImagePipeline.group(self, pixels), TextPipeline.group(self, feature)

    def collate(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        pixels = [{name: feature[name] for name in OF_IMAGES if name in feature} for feature in features]
        texts = [{name: feature[name] for name in feature if name not in OF_IMAGES} for feature in features]
        return {**TextPipeline.collate(self, texts), **ImagePipeline.collate(self, pixels)}


def _key(image: Any) -> Hashable:
    """Equal for the same path or address, and for the same object."""
    return image if isinstance(image, str) else id(image)
