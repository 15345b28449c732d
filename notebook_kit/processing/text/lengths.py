"""Resolve the arguments `padding`, `truncation` and `max_length` of a call together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from notebook_kit.errors import InputError, near_matches, warn

__all__ = ["NO_LIMIT", "Lengths", "resolve_lengths"]

NO_LIMIT = 10**20  # model_max_length above this means that the checkpoint sets no limit

_PADDING = {True: "longest", False: None, None: None, "do_not_pad": None} | {
    name: name for name in ("longest", "max_length")
}
_TRUNCATION = {True: "longest_first", False: None, None: None, "do_not_truncate": None} | {
    name: name for name in ("longest_first", "only_first", "only_second")
}


class Lengths(NamedTuple):
    """The lengths of a call: `padding` is None, "longest" or "max_length"; `truncation` is None or a strategy."""

    padding: str | None
    truncation: str | None
    max_length: int | None


def resolve_lengths(
    padding: Any,
    truncation: Any,
    max_length: int | None,
    pad_to_multiple_of: int | None = None,
    *,
    limit: int,
    can_pad: bool,
    verbose: bool = True,
) -> Lengths:
    """Check the arguments against each other and against the tokenizer.

    `max_length` alone implies truncation. Without it the model's limit applies; if the checkpoint sets none, truncation
    and padding="max_length" have no effect.

    Args:
        padding, truncation, max_length, pad_to_multiple_of: As in a call of the tokenizer.
        limit: The tokenizer's `model_max_length`.
        can_pad: Whether the tokenizer has a padding token.
        verbose: Warn about a `max_length` that has no effect.

    Raises:
        InputError: If a strategy is unknown, the padding token is missing, or truncation to `max_length` and padding to
            `pad_to_multiple_of` contradict each other.
    """
    if max_length is not None and padding is False and truncation is None:
        truncation = "longest_first"
    pad = _choice("padding", padding, _PADDING)
    cut = _choice("truncation", truncation, _TRUNCATION)
    if verbose and padding is True and max_length is not None and cut is None:
        warn(
            "max_length has no effect with padding=True and no truncation. Pass truncation=True to cut at max_length, "
            "or padding='max_length' to pad up to it."
        )
    if max_length is None and (cut is not None or pad == "max_length"):
        if limit > NO_LIMIT:
            cut, pad = None, None if pad == "max_length" else pad
        else:
            max_length = limit
    if pad is not None and not can_pad:
        raise InputError(
            "Padding was requested, but this tokenizer has no padding token.",
            next_step="Use the end token: `tokenizer.pad_token = tokenizer.eos_token`; the attention mask marks which of them are "
            "padding. Or add a token: `tokenizer.add_special_tokens({'pad_token': '[PAD]'})`, and then "
            "`model.resize_token_embeddings(len(tokenizer))`.",
        )
    if cut and pad and pad_to_multiple_of and max_length is not None and max_length % pad_to_multiple_of:
        raise InputError(
            f"max_length={max_length} is not a multiple of pad_to_multiple_of={pad_to_multiple_of}.",
            next_step=f"Use max_length={-(-max_length // pad_to_multiple_of) * pad_to_multiple_of}.",
        )
    return Lengths(pad, cut, max_length)


def _choice(name: str, value: Any, choices: Mapping[Any, str | None]) -> str | None:
    try:
        return choices[getattr(value, "value", value)]
    except (KeyError, TypeError):
        names = [choice for choice in choices if isinstance(choice, str)]
        raise InputError(
            f"{name}={value!r} is not a strategy. {near_matches(str(value), names)}".rstrip(),
            next_step=f"Use True, False, or one of {', '.join(map(repr, names))}.",
        ) from None
