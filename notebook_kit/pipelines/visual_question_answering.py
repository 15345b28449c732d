"""Visual question answering: answers to questions about an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from notebook_kit.errors import InputError, a_kind, near_matches
from notebook_kit.pipelines.base import Pipeline, Rows
from notebook_kit.pipelines.image_text import ImageTextPipeline, refuse_image
from notebook_kit.pipelines.inputs import iterate, kind_of, refuse_frame
from notebook_kit.pipelines.options import check_count

__all__ = ["VisualQuestionAnsweringPipeline"]


class VisualQuestionAnsweringPipeline(ImageTextPipeline):
    """Answers questions about images. Created by `pipeline("visual-question-answering")`, or `pipeline("vqa")`.

    Call it as `pipe(image, question)` or `pipe(image=..., question=...)`; with `{"image": ..., "question": ...}`, a list of such
    dicts, or a stream of them. One image may have a list of questions, and one question a list or a stream of images; of lists of
    both, every question is asked about every image: the first about all images, then the second.

    Options:
        top_k: The number of answers to return, best first; by default 5.
        timeout: Seconds to wait for an image from the web.
        max_new_tokens: For a model that writes its answers, such as BLIP, the maximum length of an answer in tokens.
        generate_kwargs: For such a model, further settings of `generate`, as a dictionary.
        padding, truncation: As in the tokenizer's call; `truncation=True` reads only the start of a long question.
        pad: At construction, as for `ImagePipeline`.

    Images may have any form that `ImagePipeline` lists. An image with several questions is loaded, processed and
    embedded once.

    Returns:
        Per question, `[{"score": float, "answer": str}, ...]`. Each score is the probability that this answer is
        right; they do not add up to 1, since several answers may be. A model that writes its answers returns `[{"answer": str}]`.

    Raises:
        InputError: for an image or a question that is missing, empty or of the wrong type.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from notebook_kit import AutoTokenizer, ViltConfig, ViltForQuestionAnswering, ViltImageProcessor
        >>> from notebook_kit import VisualQuestionAnsweringPipeline
        >>> file = pathlib.Path(tempfile.mkdtemp(), "vocab.txt")
        >>> _ = file.write_text("\\n".join("[PAD] [UNK] [CLS] [SEP] [MASK] how many ducks is there a duck ?".split()))
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> config = ViltConfig(**size, vocab_size=13, image_size=64, patch_size=32, id2label={0: "no", 1: "yes", 2: "two"})
        >>> processor = ViltImageProcessor(size=64)
        >>> answer_to = VisualQuestionAnsweringPipeline(
        ...     ViltForQuestionAnswering(config), AutoTokenizer.from_pretrained(file), image_processor=processor)
        >>> answers = answer_to(Image.new("RGB", (80, 60)), ["How many ducks?", "Is there a duck?"], top_k=2)
        >>> [[sorted(answer) for answer in best] for best in answers]
        [[['answer', 'score'], ['answer', 'score']], [['answer', 'score'], ['answer', 'score']]]
    """

    task = "visual-question-answering"
    auto_model = "AutoModelForVisualQuestionAnswering"
    budgets = (8 * 384 * 640, 64 * 384 * 640)

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        for name in ("top_k", "max_new_tokens"):
            check_count(name, options.get(name))
        return options

    def __call__(self, *args: Any, image: Any = None, question: Any = None, **options: Any) -> Any:
        return super().__call__(self.inputs_of_call(*args, image=image, question=question, **options), **options)

    def inputs_of_call(self, *args: Any, image: Any = None, question: Any = None, **options: Any) -> Any:
        if len(args) > 2:
            raise InputError(
                f"There are {len(args)} inputs.",
                next_step="Pass an image and a question, or a list of dicts with both.",
            )
        first, second = [*args, None, None][:2]
        image, question = (first if image is None else image), (second if question is None else question)
        refuse_frame(image, ("image", "question"))
        return image if question is None and image is not None else self._pairs(image, question)

    def _pairs(self, image: Any, question: Any) -> Any:
        """The inputs for one or several images with one or several questions."""
        for name, value in (("image", image), ("question", question)):
            if value is None:
                raise InputError(f"The {name} is missing.", next_step="Call pipe(image=..., question=...).")
        refuse_image(question)
        one_image, one_question = self.is_single(image), kind_of(question) == "one"
        if one_image and one_question:
            return {"image": image, "question": question}
        images, questions = [image] if one_image else image, [question] if one_question else question
        if "stream" not in (kind_of(images), kind_of(questions)):
            return [{"image": one, "question": text} for text in questions for one in iterate(images)]
        if not one_question and not one_image:
            raise InputError(
                "Several questions were passed with a stream, or a stream of questions with several images.",
                next_step="Pass a stream of dicts, each with an image and a question, or lists of both.",
            )
        if one_question:
            return _each(images, lambda one: {"image": one, "question": question})
        return _each(questions, lambda text: {"image": image, "question": text})

    def show(self, *args: Any, **options: Any) -> Any:
        """Run the pipeline and show what it answers beside the image; see `Pipeline.show`."""
        return Pipeline.show(self, *args, **options)

    # The steps -----------------------------------------------------------------------------------------------------

    def preprocess(
        self,
        item: Any,
        *,
        timeout: float | None = None,
        padding: bool | str = False,
        truncation: bool | str | None = None,
    ) -> Any:
        return super().preprocess(item, timeout=timeout, padding=padding, truncation=truncation)

    def read(self, item: Any) -> tuple[Any, str]:
        step = 'Pass {"image": ..., "question": ...}, or call pipe(image=..., question=...).'
        if not isinstance(item, Mapping):
            raise InputError(f"The input is {a_kind(item)} without a question.", next_step=step)
        for name in ("image", "question"):
            if item.get(name) is None:
                near = near_matches(name, map(str, item))
                raise InputError(f"The {name} is missing. {near}".rstrip(), next_step=step)
        image, question = item["image"], item["question"]
        if not isinstance(question, str) or not question.strip():
            what = "is empty" if isinstance(question, str) else f"is {a_kind(question)}"
            raise InputError(f"The question {what}.", next_step="Pass a text, such as 'How many cats are there?'.")
        return image, question

    @property
    def encodes_images(self) -> bool:
        return hasattr(self.model, "encode_images") and not self.pad

    def encode_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model.encode_images(pixel_values)

    def forward(
        self,
        batch: dict[str, torch.Tensor],
        *,
        max_new_tokens: int | None = None,
        generate_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        if "image_states" in batch:
            batch["image_embeds"] = batch.pop("image_states")
        if not self._writes:
            return super().forward(batch)
        settings = dict(generate_kwargs or {})
        if max_new_tokens is not None:
            settings["max_new_tokens"] = max_new_tokens
        tokens = self.model.generate(**batch, **settings)
        rows = len(batch["input_ids"])
        return {"tokens": tokens.view(rows, len(tokens) // rows, -1)}

    @property
    def _writes(self) -> bool:
        """Whether the model writes answers, rather than choosing among those that it knows."""
        return bool(getattr(self.model, "can_generate", lambda: False)())

    def postprocess(self, item: Any, features: Rows, outputs: Rows, *, top_k: int = 5) -> list[dict[str, Any]]:
        if self._writes:
            texts = self.tokenizer.batch_decode(outputs[0]["tokens"].tolist(), skip_special_tokens=True)
            return [{"answer": text.strip()} for text in texts]
        scores = 1.0 / (1.0 + np.exp(-outputs[0]["logits"]))
        labels = self.model.config.id2label
        best = np.argsort(-scores, kind="stable")[:top_k].tolist()
        return [{"score": float(scores[i]), "answer": labels[i]} for i in best]


class _Mapped:
    """What a function makes of each element of a sequence, computed when it is asked for."""

    def __init__(self, elements: Any, function: Callable[[Any], Any]) -> None:
        self.elements, self.function = elements, function

    def __len__(self) -> int:
        return len(self.elements)

    def __getitem__(self, place: int) -> Any:
        return self.function(self.elements[place])


def _each(stream: Any, function: Callable[[Any], Any]) -> Any:
    """The function's result for each element of a stream, as a stream that has a length if this one has."""
    is_sized = hasattr(stream, "__len__") and hasattr(stream, "__getitem__")
    return _Mapped(stream, function) if is_sized else map(function, iterate(stream))
