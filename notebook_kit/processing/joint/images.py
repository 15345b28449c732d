"""The processors of models that read texts and images: an image processor and a tokenizer, as one object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from notebook_kit.errors import InputError
from notebook_kit.hub import Source
from notebook_kit.keywords import refuse_slips
from notebook_kit.processing.image.auto import AutoImageProcessor
from notebook_kit.processing.joint.base import JointProcessor
from notebook_kit.processing.joint.fields import nested_fields

__all__ = [
    "BY_MODEL_TYPE",
    "PROCESSORS",
    "BlipProcessor",
    "CLIPProcessor",
    "DonutProcessor",
    "ImageTextProcessor",
    "SiglipProcessor",
    "TrOCRProcessor",
    "ViltProcessor",
]

_OF_BOTH = ("return_tensors", "device")


class ImageTextProcessor(JointProcessor):
    """An image processor and a tokenizer. The processors of the families derive from it.

    Args:
        image_processor: For images.
        tokenizer: For texts.

    Raises:
        InputError: If one is missing.
    """

    part = "image_processor"
    text_defaults: ClassVar[Mapping[str, Any]] = {}
    """Options of the tokenizer's call that differ from its own defaults."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None) -> None:
        super().__init__(image_processor, tokenizer)

    @classmethod
    def load_part(cls, source: Source) -> Any:
        return AutoImageProcessor.from_pretrained(source)

    @property
    def model_input_names(self) -> list[str]:
        """What the model reads."""
        texts = [name for name in self.tokenizer.model_input_names if self._returns(name)]
        return [*texts, *self.image_processor.model_input_names]

    def _returns(self, name: str) -> bool:
        return bool(self.text_defaults.get(f"return_{name}", True))

    @property
    def feature_extractor(self) -> Any:
        """The older name of `image_processor`."""
        return self.image_processor

    def __call__(self, images: Any = None, text: Any = None, **options: Any) -> Any:
        """Prepare images, texts, or both.

        Args:
            images: One image or several, as for the image processor.
            text: One text or several, as for the tokenizer. (The two may also be passed in this order: texts, then images.)
            options: Those of the tokenizer, such as `padding` and `truncation`, and of the image processor, such as
                `do_resize`; `return_tensors` is for both. `text_kwargs` and `images_kwargs` are dictionaries of options for
                one of them alone.

        Returns:
            The inputs of the model by name: those of texts, then those of images.

        Raises:
            InputError: If both are None, and as for the image processor and the tokenizer.

        Example:
            >>> from PIL import Image
            >>> from tokenizers import Tokenizer, models
            >>> from notebook_kit import BertTokenizer, ViltImageProcessor, ViltProcessor
            >>> backend = Tokenizer(models.WordLevel({"[UNK]": 0, "why": 1}, unk_token="[UNK]"))
            >>> processor = ViltProcessor(ViltImageProcessor(size=64), BertTokenizer(tokenizer_object=backend))
            >>> list(processor(Image.new("RGB", (64, 64)), "why", return_tensors="pt"))
            ['input_ids', 'token_type_ids', 'attention_mask', 'pixel_values', 'pixel_mask']
        """
        refuse_slips(f"A call of {type(self).__name__}", options, ("images", "text"))
        if _is_text(images) and text is not None and not _is_text(text):
            images, text = text, images
        if images is None and text is None:
            raise InputError(
                "Neither images nor text was passed.", next_step="Pass processor(images, text, return_tensors='pt')."
            )
        for_images, for_texts = self._split(options)
        if text is None:
            return self.image_processor(images, **for_images)
        batch = self.tokenizer(text, **for_texts)
        if images is not None:
            batch.update(self.image_processor(images, **for_images))
        return batch

    def _split(self, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The options of the image processor, and those of the tokenizer."""
        texts, images = (options.pop(f"{kind}_kwargs", None) or {} for kind in ("text", "images"))
        options |= options.pop("common_kwargs", None) or {}
        settings = {*self.image_processor.types(), *_OF_BOTH}
        for_images = {name: value for name, value in options.items() if name in settings}
        for_texts = {name: value for name, value in options.items() if name not in settings or name == "return_tensors"}
        return for_images | images, {**self.text_defaults, **for_texts, **texts}


def _is_text(value: Any) -> bool:
    """Whether a value is a text or a list that begins with one, which may also name images."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, str)


class ViltProcessor(ImageTextProcessor):
    """The processor of ViLT.

    Args:
        image_processor: A `ViltImageProcessor`.
        tokenizer: A `BertTokenizer`.

    Example:
        >>> from notebook_kit import ViltProcessor
        >>> processor = ViltProcessor.from_pretrained("dandelin/vilt-b32-finetuned-vqa")  # doctest: +SKIP
        >>> processor(image, "How many cats are there?", return_tensors="pt").pixel_values.shape  # doctest: +SKIP
        torch.Size([1, 3, 384, 512])
    """


class BlipProcessor(ImageTextProcessor):
    """The processor of BLIP.

    Args:
        image_processor: A `BlipImageProcessor`.
        tokenizer: A `BertTokenizer`.

    Example:
        >>> from notebook_kit import BlipProcessor
        >>> processor = BlipProcessor.from_pretrained("Salesforce/blip-image-captioning-base")  # doctest: +SKIP
        >>> processor(image, return_tensors="pt").pixel_values.shape  # doctest: +SKIP
        torch.Size([1, 3, 384, 384])
    """

    text_defaults = {"return_token_type_ids": False}


class CLIPProcessor(ImageTextProcessor):
    """The processor of CLIP.

    Args:
        image_processor: A `CLIPImageProcessor`.
        tokenizer: A `CLIPTokenizer`.

    Example:
        >>> from notebook_kit import CLIPProcessor
        >>> processor = CLIPProcessor.from_pretrained("openai/clip-vit-base-patch32")  # doctest: +SKIP
        >>> list(processor(text=["a cat", "a dog"], images=image, padding=True, return_tensors="pt"))  # doctest: +SKIP
        ['input_ids', 'attention_mask', 'pixel_values']
    """


class SiglipProcessor(ImageTextProcessor):
    """The processor of SigLIP.

    Args:
        image_processor: A `SiglipImageProcessor`.
        tokenizer: A `SiglipTokenizer`.

    Example:
        >>> from notebook_kit import SiglipProcessor
        >>> processor = SiglipProcessor.from_pretrained("google/siglip-base-patch16-224")  # doctest: +SKIP
        >>> list(processor(text=["a cat"], images=image, padding="max_length", return_tensors="pt"))  # doctest: +SKIP
        ['input_ids', 'pixel_values']
    """


class TrOCRProcessor(ImageTextProcessor):
    """The processor of TrOCR, which reads a line of text.

    Called with images and texts, it returns `pixel_values`, and the ids of the texts as `labels`.

    Args:
        image_processor: A `ViTImageProcessor`, or a `DeiTImageProcessor`.
        tokenizer: A `RobertaTokenizer`, or an `XLMRobertaTokenizer`.

    Example:
        >>> from notebook_kit import TrOCRProcessor
        >>> processor = TrOCRProcessor.from_pretrained("microsoft/trocr-base-printed")  # doctest: +SKIP
        >>> batch = processor(lines, texts, padding=True, return_tensors="pt")  # doctest: +SKIP
        >>> model(batch.pixel_values, labels=batch.labels).loss  # doctest: +SKIP
    """

    @property
    def model_input_names(self) -> list[str]:
        return [*self.image_processor.model_input_names, "labels"]

    def __call__(self, images: Any = None, text: Any = None, **options: Any) -> Any:
        """As for `ImageTextProcessor`; of images with texts, the pixels and the labels."""
        batch = super().__call__(images, text, **options)
        if images is None or text is None:
            return batch
        labels = batch["input_ids"]
        for name in self.tokenizer.model_input_names:
            batch.pop(name, None)
        batch["labels"] = labels
        return batch


class DonutProcessor(ImageTextProcessor):
    """The processor of Donut, which reads documents and writes their contents as nested tokens.

    Called with images and texts, it also returns the ids of the texts as `labels`; by default without special tokens around
    them, since a text has its own: `"<s_docvqa><s_question>What is the total?</s_question><s_answer>12</s_answer></s>"`.

    Args:
        image_processor: A `DonutImageProcessor`.
        tokenizer: An `XLMRobertaTokenizer`.

    Example:
        >>> from notebook_kit import DonutProcessor
        >>> processor = DonutProcessor.from_pretrained("naver-clova-ix/donut-base-finetuned-cord-v2")  # doctest: +SKIP
        >>> ids = model.generate(processor(page, return_tensors="pt").pixel_values)  # doctest: +SKIP
        >>> processor.token2json(processor.decode(ids[0], skip_special_tokens=False))  # doctest: +SKIP
        {'menu': [{'nm': 'TEA', 'price': '2.00'}, {'nm': 'CAKE', 'price': '3.50'}]}
    """

    @property
    def model_input_names(self) -> list[str]:
        return [*super().model_input_names, "labels"]

    def __call__(self, images: Any = None, text: Any = None, **options: Any) -> Any:
        """As for `ImageTextProcessor`; of images with texts, also the labels."""
        if images is None or text is None:
            return super().__call__(images, text, **options)
        batch = super().__call__(images, text, **{"add_special_tokens": False, **options})
        batch["labels"] = batch["input_ids"]
        return batch

    def token2json(
        self, tokens: str, is_inner_value: bool = False, added_vocab: Mapping[str, int] | None = None
    ) -> Any:
        """What a generated text says, as nested dictionaries and lists.

        `<s_total>12</s_total>` becomes `{"total": "12"}`, and what `<sep/>` separates a list.

        Args:
            tokens: The text, with its special tokens.
            is_inner_value: Return a list, in which a nested value is.
            added_vocab: The added tokens by their ids; by default those of the tokenizer. One such as `<yes/>` becomes "yes".

        Returns:
            The dictionary; `{"text_sequence": tokens}` for a text without a field.
        """
        categories = self.tokenizer.get_added_vocab() if added_vocab is None else added_vocab
        parts, is_separated, rest = nested_fields(tokens, categories)
        if is_inner_value or is_separated:
            return parts
        return parts[0] if parts else {"text_sequence": rest}


PROCESSORS: dict[str, type[JointProcessor]] = {
    kind.__name__: kind
    for kind in (BlipProcessor, CLIPProcessor, DonutProcessor, SiglipProcessor, TrOCRProcessor, ViltProcessor)
}
"""The name of a checkpoint's processor class -> the class."""

BY_MODEL_TYPE = {
    "blip": "BlipProcessor",
    "clip": "CLIPProcessor",
    "donut-swin": "DonutProcessor",
    "siglip": "SiglipProcessor",
    "trocr": "TrOCRProcessor",
    "vilt": "ViltProcessor",
}
"""`model_type` in config.json -> the processor, for checkpoints whose files name none."""
