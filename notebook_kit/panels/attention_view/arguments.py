"""The arguments of AttentionView, as people pass them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from notebook_kit.errors import InputError, a_kind

__all__ = ["head_pairs", "placed"]


def placed(texts: Sequence[Any], text: Any, text_pair: str | None) -> tuple[Any, Any]:
    """The text and the second text, each passed by position or by name.

    Raises:
        InputError: If one was passed in both ways, or there are more than two.
    """
    named = {"text": text, "text_pair": text_pair}
    for name, value in zip(named, texts, strict=False):
        if named[name] is not None:
            raise InputError(
                f"AttentionView got two values for {name}: {a_kind(value)} by position, and {named[name]!r:.40}.",
                next_step="Pass the model or pipeline first, and all else by name: AttentionView(model, text=..., "
                "tokenizer=...).",
            )
        named[name] = value
    if len(texts) > len(named):
        raise InputError(
            f"AttentionView got {len(texts) + 1} arguments by position.",
            next_step="Pass a model, a text and a second text, and all else by name.",
        )
    return named["text"], named["text_pair"]


def head_pairs(heads: Any) -> list[tuple[int, int]]:
    """Pairs (layer, head).

    Raises:
        InputError: If these are not pairs of numbers.
    """
    try:
        return [(operator.index(layer), operator.index(head)) for layer, head in heads]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{heads!r} are not heads.", next_step="Pass pairs (layer, head), such as [(0, 2), (1, 5)]."
        ) from error
