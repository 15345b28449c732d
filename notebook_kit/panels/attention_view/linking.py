"""How an AttentionView and a TokenInspector light the same tokens."""

from __future__ import annotations

from typing import Any

__all__ = ["share_selection"]


def share_selection(view: Any, inspector: Any) -> None:
    """Let the trait `selected` of both speak of the same tokens.

    Of several tokenizers side by side in the inspector (its trait `row` says which one `selected` speaks of), the first is
    taken to be the model's own.
    """
    has_rows = inspector.has_trait("row")

    def from_inspector(_: Any = None) -> None:
        view.selected = list(inspector.selected) if not has_rows or inspector.row == 0 else []

    def to_inspector(change: Any) -> None:
        another_row = has_rows and inspector.row != 0
        if another_row and not change.new:  # nothing lit here says nothing about another tokenizer's tokens
            return
        if another_row:
            inspector.row = 0
        inspector.selected = change.new

    from_inspector()
    inspector.observe(from_inspector, ["selected", "row"] if has_rows else "selected")
    view.observe(to_inspector, "selected")
