"""Samples from what people have: an image, a recording, an image with a question, or what a processor returns for one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.joints import joint_sample, page_sample, reads_both, reads_pages
from notebook_kit.inspection.attention.pictures import picture_sample, reads_pictures
from notebook_kit.inspection.attention.samples import Sample
from notebook_kit.inspection.attention.sounds import reads_sounds, sound_sample
from notebook_kit.inspection.attention.written import decoder_input, writes, written

__all__ = ["check_content", "is_content", "part_of", "reads_content", "sample_of"]


def reads_content(model: Any) -> bool:
    """Whether a model reads pictures or sound, perhaps with a text, rather than texts alone."""
    return reads_pictures(model) or reads_sounds(model) or reads_both(model)


def sample_of(model: nn.Module, content: Any, processor: Any = None, tokenizer: Any = None) -> Sample:
    """Make a sample from a picture or a recording.

    Args:
        model: The model that will read it.
        content: An image in any form that `load_image` takes, a recording in any form that `load_audio` takes, an image with a
            text (`{"image": ..., "question": ...}`), or what a processor returns for one.
        processor: The model's image processor, feature extractor, or a processor that has one; by default that of the
            checkpoint that the model was loaded from. For the words of a page, a document-question-answering pipeline.
        tokenizer: For a model that writes; by default that of `processor` or of the checkpoint.

    Raises:
        InputError: If the model reads texts, or the content cannot be read.
    """
    if tokenizer is None:
        tokenizer = getattr(processor, "tokenizer", None)
    if reads_pages(model):
        return page_sample(model, content, processor)
    image_processor = part_of(processor, "image_processor")
    has_text = isinstance(content, Mapping) and bool({"question", "text", "input_ids"} & content.keys())
    if reads_both(model) and (has_text or not reads_pictures(model)):
        sample = joint_sample(model, content, image_processor, tokenizer)
        answers = writes(model) and decoder_input(model) not in sample.features
        return _with_words(model, sample, tokenizer) if answers else sample
    if has_text and (reads_pictures(model) or reads_sounds(model)):
        only = "pictures" if reads_pictures(model) else "sound"
        raise InputError(
            f"{type(model).__name__} reads {only} alone, and got a text besides.",
            next_step="Leave the text out: AttentionView(model, input)."
            + (" It shows what the model itself writes." if writes(model) else ""),
        )
    if reads_pictures(model):
        sample = picture_sample(model, content, image_processor)
        return _with_words(model, sample, tokenizer) if writes(model) else sample
    if reads_sounds(model):
        return sound_sample(model, content, part_of(processor, "feature_extractor"), tokenizer)
    raise InputError(
        f"{type(model).__name__} does not read pictures or sound.",
        next_step='Pass a text, or a model that reads pictures, such as pipeline("image-classification").',
    )


def _with_words(model: nn.Module, sample: Sample, tokenizer: Any) -> Sample:
    """A sample with what the model writes about its picture."""
    if tokenizer is None:
        raise InputError(
            f"{type(model).__name__} writes, and its tokenizer is unknown.",
            next_step="Pass processor=..., or a pipeline, which has one.",
        )
    ids, axis = written(model, sample.features, tokenizer)
    features = {**sample.features, decoder_input(model): ids}
    return Sample(features, {**sample.axes, "decoder text": axis}, sample.notices)


def part_of(processor: Any, name: str) -> Any:
    """The image processor or the feature extractor of a processor that joins it with a tokenizer; others as they are."""
    return getattr(processor, name, None) or processor


def is_content(model: Any, value: Any) -> bool:
    """Whether a value can be a picture or a recording for a model that reads one, rather than a model or attention."""
    if not reads_content(model) and not reads_pages(model):
        return False
    if isinstance(value, Mapping):
        known = {
            "pixel_values",
            "bytes",
            "path",
            "input_values",
            "input_features",
            "array",
            "raw",
            "image",
            "word_boxes",
        }
        return bool(known & value.keys())
    if reads_sounds(model) and (
        hasattr(value, "get_all_samples") or (isinstance(value, np.ndarray) and value.ndim == 1)
    ):
        return True
    return isinstance(value, str | bytes | os.PathLike | Image.Image) or hasattr(value, "read")


def check_content(model: nn.Module) -> None:
    """Raise for a model that reads pictures or sound, and got none.

    Raises:
        InputError: If it does.
    """
    name = type(model).__name__
    if reads_both(model):
        raise InputError(
            f"{name} reads a picture and a text, and got none.",
            next_step='Pass both: AttentionView(model, image, "a question").',
        )
    if reads_pictures(model):
        raise InputError(
            f"{name} reads pictures, and got none.",
            next_step="Pass one, as an image, a path or an address: AttentionView(model, image).",
        )
    if reads_sounds(model):
        raise InputError(
            f"{name} reads sound, and got none.",
            next_step='Pass a path, an address, or {"array": samples, "sampling_rate": rate}: AttentionView(model, recording).',
        )
