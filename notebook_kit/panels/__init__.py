"""The panels: widgets that show what happens inside.

Each panel is a Python class (`x.py`), a hand-written ES module beside it (`x.js`) and a line in `_HOMES`. What all share
is in `panel.py`, `common.js`, `common.css`; the words of the interface are in `notebook_kit/strings/`.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "AttentionView": "panels.attention_view.attention_view",
    "GenerationView": "panels.generation_view.generation_view",
    "ModelPicker": "panels.model_picker.model_picker",
    "Panel": "panels.panel",
    "TokenInspector": "panels.token_inspector.token_inspector",
    "TrainingDashboard": "panels.training_dashboard.training_dashboard",
    "set_language": "language",
}

__all__ = [
    "AttentionView",
    "GenerationView",
    "ModelPicker",
    "Panel",
    "TokenInspector",
    "TrainingDashboard",
    "set_language",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"notebook_kit.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    from notebook_kit.errors import near_matches

    raise AttributeError(f"notebook_kit.panels has no {name!r}. {near_matches(name, _HOMES)}".rstrip())


def __dir__() -> list[str]:
    return sorted(__all__)
