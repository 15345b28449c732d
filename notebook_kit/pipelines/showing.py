"""Which view shows an answer: that of a package installed under an entry point, since pipelines know no widgets."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from notebook_kit.errors import warn

__all__ = ["VIEW_GROUP", "view_of"]

VIEW_GROUP = "notebook_kit.views"
"""Entry points of this group are functions from an answer, its input and `pipeline=` to a view."""


def view_of(pipeline: Any, result: Any, inputs: Any) -> Any:
    """A view of what a pipeline answered; the answer itself, with a warning, where there is none.

    Args:
        pipeline: The pipeline that answered.
        result: Its answer.
        inputs: What it was given.
    """
    problem = "no package that shows answers is installed; reinstall notebook_kit"
    for point in entry_points(group=VIEW_GROUP):
        try:
            return point.load()(result, inputs, pipeline=pipeline)
        except Exception as error:
            problem = f"{point.name}: {type(error).__name__}: {error}"
    warn(f"The answer could not be shown ({problem}). It is returned as it is.")
    return result
