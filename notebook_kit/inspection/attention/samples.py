"""One input of a model as attention is read from it: the features of its forward, and what each axis is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import Axis, Frames, PatchGrid, encode, tokens_of

__all__ = ["Notice", "Sample"]

Notice = tuple[str, dict[str, Any]]
"""Something that a reader should know: the key of its text in the interface's strings, and the values in it."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One input: what a forward takes, and the axes that its attention can have.

    Args:
        features: The arguments of the model's forward, by name, each with a batch dimension of 1. What the forward does not
            take is left out when it is called.
        axes: The axes by the names that `AttentionSite` gives them: "text", "decoder text", "patches", "frames", "queries".
        notices: What a reader should know.

    Example:
        >>> from notebook_kit.inspection.attention.axes import PatchGrid
        >>> sample = Sample({"pixel_values": torch.zeros(1, 3, 32, 48)}, {"patches": PatchGrid(2, 3)})
        >>> sample.axis("patches", size=7).labels[:3]
        ('[CLS]', '0,0', '0,1')
    """

    features: dict[str, Tensor]
    axes: dict[str, Axis]
    notices: tuple[Notice, ...] = field(default=())

    def axis(self, name: str, size: int | None = None) -> Axis:
        """An axis by its name, fitted to `size` positions.

        "decoder text" is "text" where the sample has only that: a decoder is given the text itself, as in training.

        Raises:
            InputError: If the sample has no such axis.
        """
        found = self.axes.get(name) or (self.axes.get("text") if name == "decoder text" else None)
        if found is None:
            raise InputError(
                f"The model attends over {name!r}, and this sample describes {', '.join(map(repr, self.axes)) or 'no axis'}.",
                next_step=f"Pass Sample(features, axes={{{name!r}: ...}}) with an axis of notebook_kit.inspection.attention.axes.",
            )
        return found if size is None else found.fitted(size)

    @classmethod
    def of_text(cls, tokenizer: Any, text: str, text_pair: str | None = None) -> Sample:
        """A text or a pair of texts.

        Args:
            tokenizer: Of notebook_kit, of `transformers`, or a `tokenizers.Tokenizer`.
            text: The text.
            text_pair: The second text, or None.

        Raises:
            InputError: If the text has no tokens, or `tokenizer` is not a tokenizer.
        """
        features, tokens, cut = encode(tokenizer, text, text_pair)
        if not tokens:
            raise InputError("This text has no tokens.", next_step="Write a text.")
        notices: tuple[Notice, ...] = (("notice_cut", {"tokens": len(tokens)}),) if cut else ()
        return cls({name: torch.tensor([ids]) for name, ids in features.items()}, {"text": tokens}, notices)

    @classmethod
    def of_encoding(cls, encoding: Mapping[str, Any], tokenizer: Any = None, *, example: int = 0) -> Sample:
        """What a tokenizer returned.

        Args:
            encoding: The tokenizer's output: one example or a batch, as lists or tensors.
            tokenizer: The tokenizer, which names the tokens; not needed for the output of a fast tokenizer.
            example: Which example of a batch.

        Raises:
            InputError: If nothing names the tokens.
        """
        if tokenizer is None and not getattr(encoding, "encodings", None):
            raise InputError(
                "Nothing names the tokens of this encoding.",
                next_step="Pass the tokenizer too: of_encoding(encoding, tokenizer).",
            )
        features = _one_of(encoding, example, dimensions=1)
        return cls(features, {"text": tokens_of(encoding, tokenizer, example=example)})

    @classmethod
    def of_picture(
        cls,
        features: Mapping[str, Any],
        picture: Any,
        patch_size: int | tuple[int, int],
        *,
        before: tuple[str, ...] = (),
        example: int = 0,
    ) -> Sample:
        """What an image processor returned, with the picture.

        Args:
            features: The processor's output, with "pixel_values" `(batch, channels, height, width)`.
            picture: The picture as the model saw it: cropped as the processor cropped it, of any size.
            patch_size: Pixels per patch, or `(height, width)`; `model.config.patch_size`.
            before: Labels of the special tokens before the patches; found from the attention itself unless given.
            example: Which example of a batch.

        Example:
            >>> sample = Sample.of_picture({"pixel_values": torch.zeros(1, 3, 32, 48)}, None, patch_size=16)
            >>> sample.axes["patches"].rows, sample.axes["patches"].columns
            (2, 3)
        """
        tensors = _one_of(features, example, dimensions=3)
        *_, H, W = tensors["pixel_values"].shape
        high, wide = (patch_size, patch_size) if isinstance(patch_size, int) else patch_size
        return cls(tensors, {"patches": PatchGrid(H // high, W // wide, picture, before)})

    @classmethod
    def of_sound(cls, features: Mapping[str, Any], seconds: float, *, example: int = 0) -> Sample:
        """What a feature extractor returned, with the duration of the sound.

        Args:
            features: The extractor's output: "input_values" `(batch, samples)` or "input_features" `(batch, bins, frames)`.
            seconds: The duration that the features cover, padding included. The model divides it into frames of one length.
            example: Which example of a batch.
        """
        dimensions = 1 if "input_values" in features else 2
        return cls(_one_of(features, example, dimensions), {"frames": Frames(1, seconds)})


def _one_of(features: Mapping[str, Any], example: int, dimensions: int) -> dict[str, Tensor]:
    """One example of a processor's output as tensors `(1, ...)`; `dimensions` are those of an example's main feature."""
    values = dict(features)
    if any(_dimensions(value) > dimensions for value in values.values()):
        size = max(len(value) for value in values.values())
        if not 0 <= example < size:
            raise InputError(
                f"There is no example {example}: this batch has {size}.", next_step="Name one with example=."
            )
        values = {name: value[example] for name, value in values.items()}
    return {name: torch.as_tensor(value)[None] for name, value in values.items()}


def _dimensions(value: Any) -> int:
    """How many dimensions a tensor, an array or a list of lists (perhaps of different lengths) has."""
    if hasattr(value, "ndim"):
        return int(value.ndim)
    return 1 + _dimensions(value[0]) if isinstance(value, list | tuple) and value else 0
