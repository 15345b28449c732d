"""The base class of pipelines that read an image together with a text: each distinct image is processed once for its texts."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from notebook_kit.errors import InputError
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.image import ImagePipeline, attempt, is_image
from notebook_kit.pipelines.text import TOKENIZER_OPTIONS, TextPipeline
from notebook_kit.processing.image.loading import load_image

__all__ = ["ImageTextPipeline", "refuse_image"]

OF_IMAGES = ("pixel_values", "pixel_mask")


class ImageTextPipeline(ImagePipeline, TextPipeline):
    """A pipeline whose features are pixels and token ids.

    An input is a dict with an image, in any form that `ImagePipeline` lists, and a text. Within a window, an image that several
    inputs share is loaded and processed once; by a model that reads images without their texts (`encodes_images`), it is
    also encoded once. Features whose images have one size share a batch, and their texts are
    padded.

    Example:
        >>> from notebook_kit import VisualQuestionAnsweringPipeline
        >>> issubclass(VisualQuestionAnsweringPipeline, ImageTextPipeline)
        True
    """

    processors = ("tokenizer", "image_processor")
    text_input: ClassVar[str] = "input_ids"
    """The name of the token ids of the text among the inputs of the model."""
    further_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "preprocess": {**TOKENIZER_OPTIONS, "timeout": float | None}
    }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._states = WeakTensorKeyDictionary()  # pixels of an image -> its states, while a feature has the pixels

    @property
    def encodes_images(self) -> bool:
        """Whether the model encodes images without their texts; then `forward` gets `image_states` in place of the pixels."""
        return False

    def encode_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """The states of images, `(images, positions, width)`, if `encodes_images`."""
        raise NotImplementedError

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
        self.check_tokens(feature[self.text_input])
        return [feature]

    # What the base asks of a modality ----------------------------------------------------------------------------------

    def group(self, feature: Mapping[str, Any]) -> Hashable:
        pixels = {name: feature[name] for name in OF_IMAGES if name in feature}
        return ImagePipeline.group(self, pixels), TextPipeline.group(self, feature)

    def collate(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        pixels = [{name: feature[name] for name in OF_IMAGES if name in feature} for feature in features]
        texts = [{name: feature[name] for name in feature if name not in OF_IMAGES} for feature in features]
        joined = TextPipeline.collate(self, texts)
        if not self.encodes_images:
            return {**joined, **ImagePipeline.collate(self, pixels)}
        return {**joined, "image_states": self._states_of([feature["pixel_values"] for feature in features])}

    @torch.inference_mode()
    def _states_of(self, images: list[torch.Tensor]) -> torch.Tensor:
        """The states of images, one per feature; each image is encoded in the first batch that needs it.

        Args:
            images: The pixels of each feature's image, one object per image.
        """
        new = list({id(one): one for one in images if one not in self._states}.values())
        if new:
            for one, states in zip(new, self.encode_images(self._input(torch.stack(new))), strict=True):
                self._states[one] = states
        return torch.stack([self._states[one] for one in images])


def _key(image: Any) -> Hashable:
    """Equal for the same path or address, and for the same object."""
    return image if isinstance(image, str) else id(image)


def refuse_image(question: Any) -> None:
    """Raise an error for an image, or the path of one, in the place of a question.

    Raises:
        InputError: If it is an image or a path.

    Example:
        >>> from PIL import Image
        >>> refuse_image(Image.new("RGB", (2, 2)))
        Traceback (most recent call last):
        notebook_kit.errors.InputError: The question is an image (Image).
        → Pass the image first, and then the question: pipe(image, question).
    """
    if is_image(question) or isinstance(question, os.PathLike):
        what = "a path" if isinstance(question, os.PathLike) else "an image"
        raise InputError(
            f"The question is {what} ({type(question).__name__}).",
            next_step="Pass the image first, and then the question: pipe(image, question).",
        )
