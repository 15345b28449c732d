"""Zero-shot image classification: labels that the model was not trained on, by how well their texts fit an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from notebook_kit.errors import InputError
from notebook_kit.nn.inputs import position_limit
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.image import ImagePipeline
from notebook_kit.pipelines.scores import best_labels, softmax
from notebook_kit.pipelines.zero_shot_classification import candidate_list, filled_template

__all__ = ["ZeroShotImageClassificationPipeline"]

Key = tuple[Any, ...]


class ZeroShotImageClassificationPipeline(ImagePipeline):
    """Labels images by labels passed in the call. Created by `pipeline("zero-shot-image-classification")`.

    Each label becomes a text, and a model such as CLIP or SigLIP computes how well it fits the image. The texts are encoded once
    per call, however many images there are.

    Options:
        candidate_labels: A list of labels, or a string of labels separated by commas. Can be the second argument.
        hypothesis_template: A text with `{}` (or `{label}`) for the label; `"This is a photo of {}."` by default. Pass `"{}"`
            if the labels are whole texts.
        tokenizer_kwargs: Options of the tokenizer's call, such as `{"truncation": True}`.
        timeout: Seconds to wait for an image from the web.

    Inputs are images in any form that `ImagePipeline` lists, or lists of them.

    Returns:
        `[{"score": float, "label": str}, ...]` for one image, best label first; for a list of images, a list of such lists. The
        scores of CLIP sum to 1; those of SigLIP are probabilities, each by itself, and all of them may be low.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from notebook_kit import AutoTokenizer, CLIPConfig, CLIPImageProcessor, CLIPModel
        >>> from notebook_kit import ZeroShotImageClassificationPipeline
        >>> file = pathlib.Path(tempfile.mkdtemp(), "vocab.txt")
        >>> _ = file.write_text("\\n".join("[PAD] [UNK] [CLS] [SEP] [MASK] this is a photo of duck cat .".split()))
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> text, vision = {**size, "vocab_size": 13, "eos_token_id": 3}, {**size, "image_size": 32, "patch_size": 8}
        >>> model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        >>> label = ZeroShotImageClassificationPipeline(
        ...     model, AutoTokenizer.from_pretrained(file), image_processor=CLIPImageProcessor(size=32, crop_size=32))
        >>> answers = label(Image.new("RGB", (80, 60)), ["a duck", "a cat"])
        >>> sorted(answer["label"] for answer in answers), round(sum(answer["score"] for answer in answers), 3)
        (['a cat', 'a duck'], 1.0)
    """

    task = "zero-shot-image-classification"
    auto_model = "AutoModelForZeroShotImageClassification"
    processors = ("tokenizer", "image_processor")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._encoded: dict[Key, torch.Tensor] = {}

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        if "candidate_labels" in options:
            options["candidate_labels"] = candidate_list(options["candidate_labels"])
            if not options["candidate_labels"]:
                raise InputError(
                    "There are no labels to choose from.", next_step="Pass candidate_labels=['...', '...']."
                )
        if "hypothesis_template" in options:
            filled_template(options["hypothesis_template"], ["a label"])
        return options

    def __call__(self, inputs: Any = None, candidate_labels: str | Sequence[str] | None = None, **options: Any) -> Any:
        if candidate_labels is not None:
            options["candidate_labels"] = candidate_labels
        inputs = options.pop("image") if inputs is None and "image" in options else inputs
        self._encoded = {}  # the model may have been trained since the last call
        return super().__call__(inputs, **options)

    def inputs_of_call(self, *args: Any, **options: Any) -> Any:
        named = (options[name] for name in ("image", "images") if name in options)
        return args[0] if args else next(named, options.get("inputs"))

    def show(self, inputs: Any = None, candidate_labels: str | Sequence[str] | None = None, **options: Any) -> Any:
        """Run the pipeline and show the labels beside the images; see `Pipeline.show`."""
        if candidate_labels is not None:
            options["candidate_labels"] = candidate_labels
        return super().show(options.pop("image", inputs), **options)

    # The steps -----------------------------------------------------------------------------------------------------

    def preprocess(
        self, item: Any, *, timeout: float | None = None, candidate_labels: str | Sequence[str] | None = None
    ) -> Any:
        if not candidate_labels:
            raise InputError("There are no labels to choose from.", next_step="Pass candidate_labels=['...', '...'].")
        return super().preprocess(item, timeout=timeout)

    def forward(
        self,
        batch: dict[str, torch.Tensor],
        *,
        candidate_labels: str | Sequence[str] | None = None,
        hypothesis_template: str = "This is a photo of {}.",
        tokenizer_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        texts = filled_template(hypothesis_template, list(candidate_labels or ()))
        key = (*texts, repr(tokenizer_kwargs))
        if key not in self._encoded:
            self._encoded[key] = self._encode(texts, tokenizer_kwargs or {})
        images = _of_length_1(self.model.get_image_features(**batch).pooler_output)
        return {"logits": self.model.compare(self._encoded[key], images).T}

    def _encode(self, texts: list[str], options: dict[str, Any]) -> torch.Tensor:
        """The vectors of the texts, `(texts, width)`, of length 1."""
        padded: dict[str, Any] = {"padding": True}
        if self.model.compares_one_by_one:  # SigLIP was trained with texts that are all padded to one length
            limit = position_limit(self.model)
            padded = {"padding": "max_length", "max_length": min(64, limit or 64), "truncation": True}
        tokens = self.tokenizer(texts, return_tensors="pt", verbose=False, **{**padded, **options})
        self._check_lengths(texts, tokens)
        names = [name for name in ("input_ids", "attention_mask") if name in tokens]
        features = self.model.get_text_features(**{name: tokens[name].to(self.device) for name in names})
        return _of_length_1(features.pooler_output)

    def _check_lengths(self, texts: list[str], tokens: Mapping[str, torch.Tensor]) -> None:
        """Raise an InputError about the first text with more tokens than the model has positions for."""
        limit, ids = position_limit(self.model), tokens["input_ids"]
        if limit is None or ids.shape[1] <= limit:
            return
        lengths = tokens["attention_mask"].sum(dim=1) if "attention_mask" in tokens else [ids.shape[1]] * len(texts)
        place = next((i for i, length in enumerate(lengths) if length > limit), 0)
        raise InputError(
            f"The text of label {place} (counted from 0) has {int(lengths[place])} tokens, and the model reads at most {limit}: "
            f"{texts[place]!r:.80}.",
            next_step=f'Shorten it, or pass tokenizer_kwargs={{"truncation": True, "max_length": {limit}}}.',
        )

    def postprocess(
        self, item: Any, features: Rows, outputs: Rows, *, candidate_labels: str | Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        logits = outputs[0]["logits"]
        scores = 1.0 / (1.0 + np.exp(-logits)) if self.model.compares_one_by_one else softmax(logits)
        labels = dict(enumerate(candidate_labels or ()))
        return [{"score": answer["score"], "label": answer["label"]} for answer in best_labels(scores, labels)]


def _of_length_1(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
