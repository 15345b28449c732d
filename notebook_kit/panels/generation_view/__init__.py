"""GenerationView: the panel, its page and its static face."""

from notebook_kit.panels.generation_view.generation_view import GenerationView

__all__ = ["GenerationView"]
