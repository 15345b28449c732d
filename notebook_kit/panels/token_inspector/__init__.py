"""TokenInspector: the panel, its page and its static face."""

from notebook_kit.panels.token_inspector.token_inspector import TokenInspector

__all__ = ["TokenInspector"]
