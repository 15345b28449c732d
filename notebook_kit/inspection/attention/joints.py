"""A picture with words as an input from which attention is read: a question about it, a caption, the words of a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import Axis, PageBoxes, TokenAxis
from notebook_kit.inspection.attention.encoding import encode, tokens_of
from notebook_kit.inspection.attention.joint_axis import WordsAndPatches
from notebook_kit.inspection.attention.pictures import patches_of, seen
from notebook_kit.inspection.attention.samples import Sample, one_of
from notebook_kit.inspection.attention.written import written_axis
from notebook_kit.inspection.drawing.pages import sheet_of
from notebook_kit.nn.inputs import inputs_of
from notebook_kit.processing.image.loading import load_image

__all__ = ["joint_sample", "page_sample", "reads_both", "reads_pages"]

FARTHEST = 1000
"""The coordinate of the right and bottom edges of a page, for the boxes that LayoutLM reads."""


def reads_both(model: Any) -> bool:
    """Whether a model, of this library or of `transformers`, reads a picture together with a text."""
    return isinstance(model, nn.Module) and {"pixel_values", "input_ids"} <= set(inputs_of(model).names)


def reads_pages(model: Any) -> bool:
    """Whether a model reads the words of a page with their boxes."""
    return isinstance(model, nn.Module) and {"bbox", "input_ids"} <= set(inputs_of(model).names)


def joint_sample(model: nn.Module, content: Any, image_processor: Any = None, tokenizer: Any = None) -> Sample:
    """Make a sample from a picture and a text.

    Args:
        model: The model that will read them.
        content: `{"image": image, "question": text}` (or "text"), with an image in any form that `load_image` takes; or what the
            model's processor returns for one picture with a text.
        image_processor: The model's; by default that of the checkpoint that the model was loaded from.
        tokenizer: Likewise.

    Raises:
        InputError: If the picture or the text is missing or cannot be read.
    """
    if not isinstance(content, Mapping):
        raise _incomplete(model)
    if "pixel_values" in content and "input_ids" in content:
        features = one_of(content, 0, dimensions=3)
        has_names = hasattr(_needed(model, tokenizer), "convert_ids_to_tokens")
        text = (
            tokens_of(content, tokenizer) if has_names else written_axis(tokenizer, features["input_ids"][0].tolist())
        )
        _, picture, notices = seen(model, {"pixel_values": features["pixel_values"]}, image_processor)
    else:
        question = content.get("question", content.get("text"))
        if content.get("image") is None or not isinstance(question, str) or not question.strip():
            raise _incomplete(model)
        inputs, text, _ = encode(_needed(model, tokenizer), question)
        features, picture, notices = seen(model, content["image"], image_processor)
        features |= {name: torch.tensor([ids]) for name, ids in inputs.items()}
    patches = patches_of(model, features["pixel_values"], picture)
    axes: dict[str, Axis] = {"text and patches": WordsAndPatches(text, patches), "text": text, "patches": patches}
    return Sample(features, axes, notices)


def _needed(model: nn.Module, tokenizer: Any) -> Any:
    if tokenizer is None:
        raise InputError(
            f"{type(model).__name__} reads a text, and its tokenizer is unknown.",
            next_step="Pass processor=..., or a pipeline, which has one.",
        )
    return tokenizer


def _incomplete(model: nn.Module) -> InputError:
    return InputError(
        f"{type(model).__name__} reads a picture and a text.",
        next_step='Pass both: AttentionView(model, image, "a question"), or what its processor returns.',
    )


# Pages ---------------------------------------------------------------------------------------------------------------


def page_sample(model: nn.Module, content: Any, pipeline: Any) -> Sample:
    """Make a sample from a question about a page.

    Args:
        model: The model that will read them.
        content: `{"image": ..., "question": ..., "word_boxes": ...}`, as the pipeline takes it.
        pipeline: A document-question-answering pipeline, which reads the words of the page.

    Raises:
        InputError: If there is no pipeline, or as in its call.
    """
    if pipeline is None or not hasattr(pipeline, "read_page"):
        raise InputError(
            f"{type(model).__name__} reads the words of a page, and needs a pipeline to find them.",
            next_step='Pass pipeline("document-question-answering", model=name) as the first argument.',
        )
    windows = pipeline.preprocess(dict(content) if isinstance(content, Mapping) else content)
    first = windows[0]
    names = [name for name in (*pipeline.input_names, "bbox") if name in first and name in inputs_of(model).names]
    features = {name: torch.as_tensor(np.asarray(first[name]))[None] for name in names}
    on_page, words = first["candidates"], first["word_ids"]
    tokens = _tokens(pipeline.tokenizer, first["input_ids"], on_page, words, first["page"].words)
    boxes = [box if inside else None for box, inside in zip(features["bbox"][0].tolist(), on_page, strict=True)]
    image = content.get("image")
    page = first["page"]
    sheet = sheet_of(page.words, page.boxes) if image is None else load_image(image)
    notices = (("notice_window", {"count": len(windows)}),) if len(windows) > 1 else ()
    return Sample(features, {"text": PageBoxes.of(tokens, boxes, sheet, FARTHEST)}, notices)


def _tokens(tokenizer: Any, ids: Any, on_page: np.ndarray, words: np.ndarray, page: list[str]) -> TokenAxis:
    """The tokens of a question and of a page, as first and second segment."""
    labels = tuple(tokenizer.convert_ids_to_tokens(list(ids)))
    known = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    special = tuple(int(one) in known for one in ids)
    numbers: list[int] = []
    names: list[str] = []
    before: Any = None
    for i, label in enumerate(labels):
        this = None if special[i] else (bool(on_page[i]), int(words[i]))
        if this is None or this != before:
            names.append(page[int(words[i])] if this is not None and on_page[i] else label)
        elif not on_page[i]:
            names[-1] += label.removeprefix("##")
        numbers.append(len(names) - 1)
        before = this
    segments = tuple(None if one else int(inside) for one, inside in zip(special, on_page.tolist(), strict=True))
    return TokenAxis(labels, special, tuple(numbers), tuple(names), segments, tuple(int(one) for one in ids))
