"""Passing a picked model on to other panels."""

from __future__ import annotations

import logging
from typing import Any

from notebook_kit.errors import InputError, a_kind
from notebook_kit.panels.panel import Panel, described

__all__ = ["check_takes_models", "hand_on"]

logger = logging.getLogger("notebook_kit")


def check_takes_models(panel: Any) -> None:
    """Raise unless a panel accepts models.

    Raises:
        InputError: The panel has no method `use`.
    """
    if not callable(getattr(panel, "use", None)):
        raise InputError(
            f"{a_kind(panel, starts=True)} does not accept models.",
            next_step="Link a TokenInspector, an AttentionView, or any object with a method use(pipeline).",
        )


def hand_on(pipeline: Any, panel: Any) -> None:
    """Pass a pipeline to a panel. If it fails, the panel shows the error and keeps its current model."""
    problem: dict[str, str] = {}
    try:
        panel.use(pipeline)
    except Exception as error:  # a failure in a linked panel must not interrupt the picker
        logger.debug("a linked panel could not use the model", exc_info=True)
        problem = described(error)
    if isinstance(panel, Panel):
        panel.show_notice(problem)
