"""Views of an attention matrix: special tokens hidden, word pieces merged, or only from one text to the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import Axis

__all__ = ["Lens", "Shown", "look"]


@dataclass(frozen=True)
class Lens:
    """The changes to a matrix before it is shown, in this order.

    Args:
        hide_special: Drop the rows and columns of special tokens.
        renormalise: With `hide_special`, scale each row to its former sum.
        direction: "all", "a_to_b" (rows of the first text, columns of the second) or "b_to_a".
        merge_words: Merge each group of positions, such as the pieces of a word: sum over "to", mean over "from".
    """

    hide_special: bool = False
    renormalise: bool = False
    direction: str = "all"
    merge_words: bool = False

    @property
    def is_plain(self) -> bool:
        return not self.hide_special and not self.merge_words and self.direction == "all"


@dataclass(frozen=True, eq=False)
class Shown:
    """A matrix to show, `(..., rows, columns)`, and the positions of the tokens in each row and column."""

    weights: Tensor
    rows: list[list[int]]
    columns: list[list[int]]


def look(weights: Tensor, rows: Axis, columns: Axis, lens: Lens) -> Shown:
    """Apply a lens to attention.

    Args:
        weights: `(..., from, to)`.
        rows: The positions that attend.
        columns: The positions attended to.
        lens: The lens.

    Raises:
        InputError: If no rows or no columns remain.

    Example:
        >>> from notebook_kit.inspection.attention.axes import named_tokens
        >>> tokens = named_tokens(["play", "##ing", "chess"])
        >>> shown = look(torch.tensor([[.2, .3, .5], [.4, .2, .4], [0., 0., 1.]]), tokens, tokens, Lens(merge_words=True))
        >>> shown.weights
        tensor([[0.5500, 0.4500],
                [0.0000, 1.0000]])
    """
    if lens.is_plain:
        return Shown(weights, [[i] for i in range(len(rows))], [[i] for i in range(len(columns))])
    a, b = {"all": (None, None), "a_to_b": (0, 1), "b_to_a": (1, 0)}[lens.direction]
    kept_rows = rows.kept(lens.hide_special, a)
    kept_columns = columns.kept(lens.hide_special, b)
    if not kept_rows or not kept_columns:
        if lens.direction != "all":
            raise InputError("There is no second text here.", next_step="Pass text_pair, or show all tokens.")
        raise InputError("All tokens here are special.", next_step="Show special tokens, or write a text.")
    if lens.hide_special and lens.renormalise:
        # Scaled before the direction is applied, so that a weight is the same in every direction.
        ordinary = columns.kept(hide_special=True)
        rest = weights[..., ordinary].sum(-1, keepdim=True)
        whole = weights.sum(-1, keepdim=True)
        weights = torch.where(rest > 0, weights * (whole / rest.clamp_min(torch.finfo(weights.dtype).tiny)), 0.0)
    if kept_rows != list(range(len(rows))):
        weights = weights[..., kept_rows, :]
    if kept_columns != list(range(len(columns))):
        weights = weights[..., kept_columns]
    if not lens.merge_words:
        return Shown(weights, [[i] for i in kept_rows], [[i] for i in kept_columns])
    row_groups, column_groups = rows.merged(kept_rows), columns.merged(kept_columns)
    sizes = torch.tensor([len(group) for group in row_groups], dtype=weights.dtype)[:, None]
    merged = _membership(row_groups, weights.dtype) @ weights / sizes @ _membership(column_groups, weights.dtype).T
    return Shown(merged, row_groups, column_groups)


def _membership(groups: list[list[int]], dtype: torch.dtype) -> Tensor:
    """`(groups, tokens)`: 1 if a token is in a group. Tokens are numbered in the order of the groups."""
    owner = torch.tensor([number for number, group in enumerate(groups) for _ in group])
    member = torch.zeros(len(groups), len(owner), dtype=dtype)
    member[owner, torch.arange(len(owner))] = 1
    return member
