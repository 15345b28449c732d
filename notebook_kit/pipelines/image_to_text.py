"""Image-to-text: captions of images, and the text in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from notebook_kit.errors import InputError
from notebook_kit.nn.inputs import inputs_of
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.generating import GeneratingMixin
from notebook_kit.pipelines.image import ImagePipeline
from notebook_kit.processing.image.loading import load_image

__all__ = ["ImageToTextPipeline"]


class ImageToTextPipeline(GeneratingMixin, ImagePipeline):
    """Writes a text about an image. Created by `pipeline("image-to-text")`.

    Options:
        max_new_tokens: The maximum number of tokens to write; 256 by default, unless the checkpoint sets a length.
        generate_kwargs: A dict of settings of `generate`; they can also be passed as options: `num_beams`, `do_sample`, ...
        prompt: The beginning of the text, which the model continues.
        timeout: As for `ImagePipeline`.

    Inputs are images in any form that `load_image` takes, lists or streams of them.

    Returns:
        `[{"generated_text": str}]` for an image, with one dict per sequence (`num_return_sequences`); for several images, a list
        of such lists.

    Raises:
        InputError: For a prompt that is empty or not a text, and images that cannot be read.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import AutoTokenizer, GPT2Config, ImageToTextPipeline, VisionEncoderDecoderConfig
        >>> from notebook_kit import VisionEncoderDecoderModel, ViTConfig, ViTImageProcessor
        >>> tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-gpt2")
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> reader = ViTConfig(**size, image_size=32, patch_size=8)
        >>> writer = GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=len(tokenizer), n_positions=32)
        >>> config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(reader, writer, decoder_start_token_id=0)
        >>> processor = ViTImageProcessor(size={"height": 32, "width": 32})
        >>> caption = ImageToTextPipeline(VisionEncoderDecoderModel(config), tokenizer, image_processor=processor)
        >>> [list(one) for one in caption(Image.new("RGB", (60, 40)), max_new_tokens=5)]
        [['generated_text']]
    """

    task = "image-to-text"
    auto_model = "AutoModelForImageTextToText"
    processors = ("image_processor", "tokenizer")
    further_options: ClassVar[Mapping[str, Mapping[str, Any]]] = GeneratingMixin.further_options
    defaults: ClassVar[dict[str, Any]] = {"max_new_tokens": 256}

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        """Run the pipeline on one image, a list or a stream of images."""
        if inputs is not None and not self.is_single(inputs):
            options.setdefault("on_interrupt", "raise")  # an interrupt is meant for the whole list, not for one image
        return super().__call__(inputs, **options)

    def preprocess(self, item: Any, *, prompt: str | None = None, timeout: float | None = None) -> Any:
        feature = {"pixel_values": self.process(load_image(item, timeout=timeout))["pixel_values"]}
        if prompt is None:
            return feature
        if not prompt:
            raise InputError("The prompt is empty.", next_step="Pass the beginning of the text, or leave prompt out.")
        if self._continues_decoder:
            ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            return {**feature, "decoder_input_ids": ids}
        encoded = self.tokenizer(prompt)
        return {**feature, **{name: encoded[name] for name in ("input_ids", "attention_mask")}}

    @property
    def _continues_decoder(self) -> bool:
        """Whether the text is the input of a decoder apart, rather than that of the model."""
        return "decoder_input_ids" in inputs_of(self.model).names

    def forward(self, batch: dict[str, torch.Tensor], **settings: Any) -> dict[str, Any]:
        """Generate for a batch: `{"tokens": ...}`, of shape `(batch, sequences per image, tokens)`, the prompt included."""
        rows = len(batch["pixel_values"])
        prompt = next((batch[name] for name in ("decoder_input_ids", "input_ids") if name in batch), None)
        length = 1 if prompt is None else prompt.shape[1] + self._continues_decoder
        tokens = self.model.generate(**batch, **self.settings(settings, prompt=length))
        return {"tokens": tokens.view(rows, len(tokens) // rows, -1)}

    def postprocess(self, item: Any, features: Rows, outputs: Rows) -> list[dict[str, str]]:
        return [
            {"generated_text": self.tokenizer.decode(tokens, skip_special_tokens=True)}
            for tokens in outputs[0]["tokens"].tolist()
        ]
