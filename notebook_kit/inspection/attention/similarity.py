"""Where the similarity of a text and a picture comes from, in a model of two towers such as CLIP.

Neither tower looks at the other: their vectors are compared once, at the end. So there are no weights between words and patches, and
the table here is made by covering: of a word (left out) and of a place on the picture (covered by its mean colour).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import PatchGrid, TokenAxis
from notebook_kit.inspection.attention.reading import Reading
from notebook_kit.inspection.attention.samples import Sample

__all__ = ["SIMILARITY", "Places", "Words", "compares", "is_quick_to_compare", "read_similarity"]

SIMILARITY = "similarity"
"""The kind of attention that a view names this table by."""

MOST_PLACES = 64
"""The maximum number of places that are covered, one run of the tower of pictures each."""

WINDOW = 3 / 8
"""The side of a covered place, as a part of the picture's: smaller ones leave the thing recognizable."""

AT_A_TIME = 16
"""The number of pictures per batch."""

QUICK_WEIGHTS = 200_000_000
"""Models with at most so many weights are compared without being asked to."""

LONGEST = 64
"""The number of tokens to which SigLIP pads every text."""


@dataclass(frozen=True, eq=False)
class Words(TokenAxis):
    """The words of a text, after one position that stands for the whole text."""

    @property
    def first(self) -> int:
        """The whole text."""
        return 0


@dataclass(frozen=True, eq=False)
class Places(PatchGrid):
    """The patches of a picture, after one position that stands for the whole picture."""

    kind: ClassVar[str] = SIMILARITY


def compares(model: Any, sample: Sample | None) -> bool:
    """Whether a model has two towers, one for texts and one for pictures, and a sample has an input for each."""
    has_towers = hasattr(model, "get_text_features") and hasattr(model, "get_image_features")
    return has_towers and sample is not None and {"text", "patches"} <= set(sample.axes)


def is_quick_to_compare(model: nn.Module) -> bool:
    """Whether the pictures that `read_similarity` covers take seconds rather than minutes on a CPU."""
    return sum(weight.numel() for weight in model.parameters()) <= QUICK_WEIGHTS


def read_similarity(model: nn.Module, sample: Sample, inputs: dict[str, Tensor]) -> Reading:
    """Compare a text with a picture, whole, without each word, and with each place covered.

    With s the cosine of the two vectors, the table holds

    - s for the whole text and the whole picture;
    - s - s(without the word) for a word and the whole picture;
    - s - s(place covered) for the whole text and a place;
    - s - s(without the word) - s(place covered) + s(both) for a word and a place: how much of what the place contributes depends
      on the word. Positive values speak for the text.

    Covering a part of the input is the oldest test of what a model's answer depends on: Zeiler & Fergus, Visualizing and
    Understanding Convolutional Networks, 2014. Pictures with more than 64 patches are covered at every second, third, ... patch.

    Args:
        model: A model of two towers, of this library or of `transformers`.
        sample: A text and a picture.
        inputs: The features of the sample, as the model takes them.

    Returns:
        A reading of kind "similarity", with one layer of one head: `(1, 1 + words, 1 + patches)`.

    Raises:
        InputError: If the text has no words.
    """
    text, grid = sample.axis("text"), sample.axis("patches")
    assert isinstance(text, TokenAxis) and isinstance(grid, PatchGrid)
    texts, words = _texts(model, text, inputs)
    pixels = inputs["pixel_values"]
    windows, owners = _windows(grid, pixels.shape[-2:])
    pictures = torch.cat([pixels, *(_covered(pixels, window) for window in windows)])
    cosines = _cosines(model, texts, pictures)  # (1 + words, 1 + windows)
    table = cosines[:1, :1] - cosines  # what is lost without a word, or with a window covered
    table[1:, 1:] = cosines[0, 0] - cosines[1:, :1] - cosines[:1, 1:] + cosines[1:, 1:]
    table[0, 0] = cosines[0, 0]
    columns = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.tensor(owners)])
    places = Places(grid.rows, grid.columns, grid.picture, ("[IMAGE]",), pixels=grid.pixels, patch=grid.patch)
    weights = table[:, columns].float().cpu()[None]
    return Reading((weights,), (0,), words, places, sample.notices, inputs, SIMILARITY, SIMILARITY)


def _texts(model: nn.Module, text: TokenAxis, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], Words]:
    """The ids of the text and of the text without each word, `(1 + words, tokens)`, and the words."""
    ids = inputs["input_ids"][0].tolist()
    groups: dict[int, list[int]] = {}
    for i, (word, special) in enumerate(zip(text.words, text.special, strict=True)):
        if not special:
            groups.setdefault(word, []).append(i)
    if not groups:
        raise InputError("This text has no words to compare a picture with.", next_step="Pass a text with words.")
    rows = [ids, *([one for i, one in enumerate(ids) if i not in group] for group in groups.values())]
    config: Any = getattr(model.config, "text_config", None)
    padding = getattr(config, "pad_token_id", None) or 0
    length = len(ids)
    is_padded = hasattr(model, "logit_bias")  # SigLIP: its padding is a part of the text
    if is_padded:
        limit = getattr(config, "max_position_embeddings", LONGEST)
        length = max(length, min(LONGEST, limit))
    padded = [row + [padding] * (length - len(row)) for row in rows]
    device = inputs["input_ids"].device
    found = {"input_ids": torch.tensor(padded, device=device)}
    if not is_padded:
        seen = [[1] * len(row) + [0] * (length - len(row)) for row in rows]
        found["attention_mask"] = torch.tensor(seen, device=device)
    names = tuple(text.word_labels[word] for word in groups)
    labels = ("[TEXT]", *names)
    specials = (True, *(False for _ in names))
    segments = (None, *(0 for _ in names))
    return found, Words(labels, specials, tuple(range(len(labels))), labels, segments)


def _windows(grid: PatchGrid, size: Sequence[int]) -> tuple[list[tuple[int, int, int, int]], list[int]]:
    """The places to cover on a picture of this height and width, as pixels `(top, left, bottom, right)`, and for each patch the
    number of the nearest place."""
    step = 1
    while -(-grid.rows // step) * -(-grid.columns // step) > MOST_PLACES:
        step += 1
    high, wide = grid.patch or (size[0] / grid.rows, size[1] / grid.columns)
    sides = [(max(3, round(count * WINDOW)) - 1) / 2 for count in (grid.rows, grid.columns)]
    centres = [
        [min(start + step // 2, count - 1) for start in range(0, count, step)] for count in (grid.rows, grid.columns)
    ]
    windows = [
        (
            max(0, round((row - sides[0]) * high)),
            max(0, round((column - sides[1]) * wide)),
            round((row + sides[0] + 1) * high),
            round((column + sides[1] + 1) * wide),
        )
        for row in centres[0]
        for column in centres[1]
    ]
    owners = [
        row // step * len(centres[1]) + column // step for row in range(grid.rows) for column in range(grid.columns)
    ]
    return windows, owners


def _covered(pixels: Tensor, window: tuple[int, int, int, int]) -> Tensor:
    """A picture with a window of its mean colour."""
    top, left, bottom, right = window
    covered = pixels.clone()
    covered[:, :, top:bottom, left:right] = pixels.mean((2, 3), keepdim=True)
    return covered


def _cosines(model: nn.Module, texts: dict[str, Tensor], pictures: Tensor) -> Tensor:
    """The cosines of the vectors of all texts with those of all pictures: `(texts, pictures)`."""
    parts = []
    for some in pictures.split(AT_A_TIME):
        outputs = model(**texts, pixel_values=some)
        vectors = [
            one.float() / one.float().norm(dim=-1, keepdim=True) for one in (outputs.text_embeds, outputs.image_embeds)
        ]
        parts.append(vectors[0] @ vectors[1].T)
    return torch.cat(parts, dim=1)
