"""ResultView: what a pipeline answered, over the picture, in the text or beside it; its page and its static face."""

from notebook_kit.panels.result_view.result_view import ResultView, show

__all__ = ["ResultView", "show"]
