"""Which rows of the last layer a head reads, so that the others are not computed.

A head on the class token reads the first row of the last layer. Keys and values are needed for all rows there, but queries,
the output of attention, norms and the feed-forward block for that row only: a seventh of the work of six layers is left out,
and the result is the same. A head names its rows, `Head.reads`; `run_layers` passes them to the last layer, if it takes `rows`.

All rows are computed when anything else may see them: returned hidden states, recorded or ablated attention, hooks, modules
from elsewhere, and graphs that are compiled or exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from notebook_kit.nn.attention import is_watched

__all__ = ["FIRST", "any_hook", "only_seen_here", "reading", "rows_for", "rows_of_scores", "select_rows"]

FIRST = slice(0, 1)
"""The row of the class token."""

_OURS = ("notebook_kit.", "torch.nn.")

# For the call of one backbone, and on its thread.
_READ: ContextVar[slice | None] = ContextVar("notebook_kit_rows", default=None)


def select_rows(x: Tensor, rows: slice | None) -> Tensor:
    """These rows of the states `(batch, tokens, width)`; all for None."""
    return x if rows is None else x[:, rows]


def rows_of_scores(x: Any, rows: slice) -> Any:
    """A mask or bias of attention, `(batch, heads, from, to)`, for the rows that attend; anything else unchanged."""
    return x[:, :, rows] if isinstance(x, Tensor) and x.dim() == 4 and x.shape[2] > 1 else x


@contextmanager
def reading(rows: slice) -> Iterator[None]:
    """In the block, of the last layer's result only these rows are read."""
    token = _READ.set(rows)
    try:
        yield
    finally:
        _READ.reset(token)


def rows_for(layer: Callable[..., Tensor]) -> slice | None:
    """The rows to compute in `layer`, the last of its stack; None for all, as for a layer that does not take `rows`."""
    if torch.compiler.is_compiling() or (rows := _READ.get()) is None:
        return None
    forward = getattr(layer, "forward", layer)
    code = getattr(getattr(forward, "__func__", forward), "__code__", None)
    takes_rows = code is not None and "rows" in code.co_varnames[: code.co_argcount]
    return rows if takes_rows and isinstance(layer, nn.Module) and not any_hook(layer.modules()) else None


def only_seen_here(head: nn.Module, backbone: nn.Module) -> bool:
    """Whether nobody but the head can see the rows of the backbone's states, apart from its layers."""
    if torch.compiler.is_compiling() or is_watched():
        return False
    parts = (backbone, *backbone.children(), *head.children())
    return all(type(part).__module__.startswith(_OURS) for part in parts) and not any_hook(parts)


def any_hook(modules: Iterable[nn.Module]) -> bool:
    """Whether a hook sees what one of these modules gets or returns.

    Example:
        >>> from torch import nn
        >>> from notebook_kit.nn.rows import any_hook
        >>> layer = nn.Linear(2, 2)
        >>> handle = layer.register_forward_hook(lambda *given: None)
        >>> any_hook([layer])
        True
    """
    return nn.modules.module._has_any_global_hook() or any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in modules
    )
