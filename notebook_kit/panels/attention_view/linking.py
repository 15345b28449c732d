"""A shared selection of tokens in an AttentionView and a TokenInspector."""

from __future__ import annotations

from typing import Any

import traitlets

__all__ = ["has_text", "share_selection"]


def share_selection(view: Any, inspector: Any) -> None:
    """Keep the trait `selected` of both in step.

    If the inspector shows several tokenizers side by side (its trait `row` says to which one `selected` belongs), the first
    is assumed to be the model's.
    """
    has_rows = inspector.has_trait("row")

    def from_inspector(_: Any = None) -> None:
        view.selected = list(inspector.selected) if not has_rows or inspector.row == 0 else []

    def to_inspector(change: Any) -> None:
        another_row = has_rows and inspector.row != 0
        if another_row and not change.new:  # an empty selection here does not affect another tokenizer's
            return
        if another_row:
            inspector.row = 0
        inspector.selected = change.new

    from_inspector()
    inspector.observe(from_inspector, ["selected", "row"] if has_rows else "selected")
    view.observe(to_inspector, "selected")


def has_text(panel: Any) -> bool:
    """Whether this is a panel with a text and selected tokens, such as a `TokenInspector`."""
    return isinstance(panel, traitlets.HasTraits) and panel.has_trait("text") and panel.has_trait("selected")
