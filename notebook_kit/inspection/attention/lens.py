"""How a matrix of attention is looked at: special tokens hidden, word pieces merged, one text to the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import Axis

__all__ = ["Lens", "Shown", "look"]


@dataclass(frozen=True)
class Lens:
    """What is done to a matrix before it is shown, in this order.

    Args:
        hide_special: Leave special tokens out, as rows and as columns.
        renormalise: Then scale each row to the sum it had, so that the rest shares what went to special tokens.
        direction: "all", "a_to_b" (rows of the first text, columns of the second) or "b_to_a".
        merge_words: Merge what belongs together, such as the pieces of a word: sum over "to", mean over "from".
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
    """A matrix as it is shown, `(..., rows, columns)`, and of which tokens each row and column is made."""

    weights: Tensor
    rows: list[list[int]]
    columns: list[list[int]]


def look(weights: Tensor, rows: Axis, columns: Axis, lens: Lens) -> Shown:
    """Look at attention through a lens.

    Args:
        weights: `(..., from, to)`.
        rows: The positions that attend.
        columns: Those attended to.
        lens: How.

    Raises:
        InputError: If nothing would be left.

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
            raise InputError("There is no second text here.", next_step="Give text_pair, or show all tokens.")
        raise InputError("All tokens here are special.", next_step="Show special tokens, or write a text.")
    if lens.hide_special and lens.renormalise:
        # Shared out among all that is not special, before one text is picked: a row then says the same in any direction.
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
    """1 where a token is part of a group: `(groups, tokens)`, tokens counted within the groups."""
    owner = torch.tensor([number for number, group in enumerate(groups) for _ in group])
    member = torch.zeros(len(groups), len(owner), dtype=dtype)
    member[owner, torch.arange(len(owner))] = 1
    return member
