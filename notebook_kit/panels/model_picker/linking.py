"""How a picked model flows on into other panels."""

from __future__ import annotations

import logging
from typing import Any

from notebook_kit.errors import InputError
from notebook_kit.panels.panel import Panel, described

__all__ = ["check_takes_models", "hand_on"]

logger = logging.getLogger("notebook_kit")


def check_takes_models(panel: Any) -> None:
    """Raise unless a panel can be given another model.

    Raises:
        InputError: It has no `use`.
    """
    if not callable(getattr(panel, "use", None)):
        raise InputError(
            f"A {type(panel).__name__} does not take models.",
            next_step="Link a TokenInspector, an AttentionView, or anything with a method use(pipeline).",
        )


def hand_on(pipeline: Any, panel: Any) -> None:
    """Give a pipeline to a panel. An error is shown in that panel, which stays as it was."""
    problem: dict[str, str] = {}
    try:
        panel.use(pipeline)
    except Exception as error:  # whoever picks a model must not be stopped by what another panel makes of it
        logger.debug("a linked panel could not take the model", exc_info=True)
        problem = described(error)
    if isinstance(panel, Panel):
        panel.show_notice(problem)
