"""From which part of a picture each word of its caption came: the cross-attention of the decoder to the patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import PatchGrid, named_tokens
from notebook_kit.inspection.attention.pictures import picture_sample, seen_box
from notebook_kit.inspection.attention.running import has_sites, parts_of, read
from notebook_kit.inspection.attention.samples import Sample
from notebook_kit.inspection.attention.written import MOST_TOKENS, decoder_input, first_token
from notebook_kit.inspection.drawing.pictures import Box
from notebook_kit.nn.inputs import position_limit
from notebook_kit.processing.image.loading import load_image

__all__ = ["WordOrigins", "has_origins", "word_origins"]


@dataclass(frozen=True, eq=False)
class WordOrigins:
    """Where the decoder looked as it wrote each word.

    Args:
        text: The caption.
        spans: Where each word begins and ends in it.
        maps: `(words, rows, columns)`, float32: the weight on each patch, a mean over layers, heads and the tokens of a word.
            Weight on a class token is left out, so a map may sum to less than 1.
        box: The part of the picture that the patches cover. It may reach beyond an edge, where a model reads padding.

    Example:
        >>> maps = np.array([[[0.2, 0.2], [0.2, 0.2]], [[0.0, 0.9], [0.0, 0.0]]], dtype=np.float32)
        >>> origins = WordOrigins("a cat", ((0, 1), (2, 5)), maps, (0.0, 0.0, 1.0, 1.0))
        >>> origins.words[origins.sharpest], origins.cells[1]
        ('cat', (0.5, 0.0, 1.0, 0.5))
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    maps: np.ndarray
    box: Box

    @property
    def words(self) -> list[str]:
        """The words."""
        return [self.text[start:end] for start, end in self.spans]

    @property
    def sharpest(self) -> int:
        """The word whose map is spread over the fewest patches: that of the least entropy."""
        parts = self.maps.reshape(len(self.maps), -1).astype(np.float64)
        parts = parts / np.maximum(parts.sum(1, keepdims=True), 1e-12)
        entropy = -(parts * np.log(np.maximum(parts, 1e-12))).sum(1)
        return int(entropy.argmin())

    @property
    def cells(self) -> list[Box]:
        """The rectangle of each patch on the picture, row by row."""
        _, rows, columns = self.maps.shape
        left, upper, right, lower = self.box
        wide, high = (right - left) / columns, (lower - upper) / rows
        return [
            (left + column * wide, upper + row * high, left + (column + 1) * wide, upper + (row + 1) * high)
            for row in range(rows)
            for column in range(columns)
        ]


def has_origins(pipeline: Any) -> bool:
    """Whether this is a pipeline whose model writes with cross-attention to the patches of a picture."""
    model = getattr(pipeline, "model", None)
    parts = (getattr(pipeline, name, None) for name in ("image_processor", "tokenizer"))
    if not isinstance(model, nn.Module) or not has_sites(model) or any(part is None for part in parts):
        return False
    return _cross_attention(model) is not None


def word_origins(pipeline: Any, image: Any, text: str) -> WordOrigins:
    """Run the model of a captioning pipeline on a picture and its caption, and read where each word looked.

    The position of a decoder that reads a token writes the next one, so a token's map is that of the position before it. Writing is
    not repeated: the model reads the caption as it is.

    Args:
        pipeline: An image-to-text pipeline.
        image: The picture, in any form that `load_image` takes.
        text: The caption.

    Raises:
        InputError: If the model has no cross-attention to patches, or the caption has no words.
    """
    if not has_origins(pipeline):
        raise InputError(
            f"{type(pipeline).__name__} has no attention from words to a picture.",
            next_step='Pass pipeline("image-to-text") with a model that has a decoder.',
        )
    model, picture = pipeline.model, load_image(image)
    ids, spans = _words_of(pipeline.tokenizer, text, (position_limit(model) or MOST_TOKENS) - 1)
    sample = picture_sample(model, picture, pipeline.image_processor)
    tokens = [first_token(model), *ids[:-1]]
    features = {**sample.features, decoder_input(model): torch.tensor([tokens])}
    axis = named_tokens(list(map(str, ids)))
    words = Sample(features, {**sample.axes, "text": axis, "decoder text": axis})
    reading = read(model, words, kind=_cross_attention(model))
    weights = torch.stack([layer.float().mean(0) for layer in reading.layers]).mean(0).numpy()  # (tokens, positions)
    grid = reading.columns
    assert isinstance(grid, PatchGrid)
    patches = [j for j, box in enumerate(grid.boxes) if box is not None]
    maps = weights[:, patches].reshape(-1, grid.rows, grid.columns)
    merged = np.stack([maps[positions].mean(0) for _, positions in spans])
    left, upper, right, lower = seen_box(pipeline.image_processor, picture, sample.features["pixel_values"])
    wide, high = (
        max(box[side] for box in grid.boxes if box is not None) for side in (2, 3)
    )  # patches may omit an edge
    box = (left, upper, left + wide * (right - left), upper + high * (lower - upper))
    return WordOrigins(text, tuple(span for span, _ in spans), merged.astype(np.float32), box)


def _cross_attention(model: nn.Module) -> str | None:
    """The part of a model whose words attend to patches; None if it has none."""
    for name, sites in parts_of(model).items():
        if sites[0].kind == "cross" and sites[0].columns.startswith("patches") and sites[0].rows.endswith("text"):
            return name
    return None


def _words_of(tokenizer: Any, text: str, most: int) -> tuple[list[int], list[tuple[tuple[int, int], list[int]]]]:
    """The tokens of a text, and its words: where each begins and ends, and the places of its tokens."""
    cut = {"truncation": True, "max_length": max(1, most)}
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, **cut)
    offsets, numbers = encoded["offset_mapping"], encoded.word_ids()
    words: dict[int, tuple[int, int]] = {}
    places: dict[int, list[int]] = {}
    for i, (number, (start, end)) in enumerate(zip(numbers, offsets, strict=True)):
        if number is None or not text[start:end].strip():
            continue
        before = words.get(number, (start, end))
        words[number] = _stripped(text, min(start, before[0]), max(end, before[1]))
        places.setdefault(number, []).append(i)
    spans = [(span, places[number]) for number, span in words.items() if any(map(str.isalnum, text[span[0] : span[1]]))]
    if not spans:
        raise InputError("The caption has no words.", next_step="Pass what the pipeline wrote.")
    return list(encoded["input_ids"]), spans


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without the spaces at its ends."""
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
