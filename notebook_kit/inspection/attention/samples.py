"""An input of a model from which attention is read: the features for its forward, and descriptions of its axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import Axis, PatchGrid
from notebook_kit.inspection.attention.encoding import encode, tokens_of
from notebook_kit.inspection.attention.sound_axes import Frames

__all__ = ["Notice", "Sample", "one_of"]

Notice = tuple[str, dict[str, Any]]
"""A notice for the user: the key of its text in the interface's strings, and the values in that text."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One input: the arguments of a forward, and the axes that its attention can have.

    Args:
        features: The arguments of the model's forward, by name, each with a batch dimension of 1. Those that the forward does
            not accept are ignored.
        axes: The axes by their names in `AttentionSite`: "text", "decoder text", "patches", "frames", "queries".
        notices: Notices for the user.

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
        """An axis by its name, adapted to `size` positions if given.

        "decoder text" falls back to "text": without decoder input ids, the decoder reads the text itself, as in training.

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
        """Make a sample from a text or a pair of texts.

        Args:
            tokenizer: A tokenizer of notebook_kit or `transformers`, or a `tokenizers.Tokenizer`.
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
        """Make a sample from the output of a tokenizer.

        Args:
            encoding: The tokenizer's output: one example or a batch, as lists or tensors.
            tokenizer: The tokenizer, for the names of the tokens; not needed for the output of a fast tokenizer.
            example: Which example of a batch.

        Raises:
            InputError: If the tokenizer is needed but missing.
        """
        if tokenizer is None and not getattr(encoding, "encodings", None):
            raise InputError(
                "This encoding does not contain the names of its tokens.",
                next_step="Pass the tokenizer too: of_encoding(encoding, tokenizer).",
            )
        features = one_of(encoding, example, dimensions=1)
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
        """Make a sample from the output of an image processor, with the picture.

        Args:
            features: The processor's output, with "pixel_values" `(batch, channels, height, width)`.
            picture: The picture as the model saw it, cropped by the processor, at any size.
            patch_size: Pixels per patch, or `(height, width)`; `model.config.patch_size`.
            before: Labels of the special tokens before the patches; inferred from the attention by default.
            example: Which example of a batch.

        Example:
            >>> sample = Sample.of_picture({"pixel_values": torch.zeros(1, 3, 32, 48)}, None, patch_size=16)
            >>> sample.axes["patches"].rows, sample.axes["patches"].columns
            (2, 3)
        """
        tensors = one_of(features, example, dimensions=3)
        *_, H, W = tensors["pixel_values"].shape
        high, wide = (patch_size, patch_size) if isinstance(patch_size, int) else patch_size
        return cls(tensors, {"patches": PatchGrid(H // high, W // wide, picture, before)})

    @classmethod
    def of_sound(cls, features: Mapping[str, Any], seconds: float, *, example: int = 0) -> Sample:
        """Make a sample from the output of a feature extractor, with the duration of the sound.

        Args:
            features: The extractor's output: "input_values" `(batch, samples)` or "input_features" `(batch, bins, frames)`.
            seconds: The duration that the features cover, including padding. The model divides it into equal frames.
            example: Which example of a batch.
        """
        dimensions = 1 if "input_values" in features else 2
        return cls(one_of(features, example, dimensions), {"frames": Frames(1, seconds)})


def one_of(features: Mapping[str, Any], example: int, dimensions: int) -> dict[str, Tensor]:
    """One example of a processor's output as tensors `(1, ...)`; a single example's main feature has `dimensions` dimensions."""
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
    """The number of dimensions of a tensor, an array or a nested list, whose inner lists may differ in length."""
    if hasattr(value, "ndim"):
        return int(value.ndim)
    return 1 + _dimensions(value[0]) if isinstance(value, list | tuple) and value else 0
