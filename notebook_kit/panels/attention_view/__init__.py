"""AttentionView: the panel, its page and its static face."""

from notebook_kit.panels.attention_view.attention_view import AttentionView

__all__ = ["AttentionView"]
