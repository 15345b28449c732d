"""The panels: widgets that show what happens inside.

Each panel is a folder with a Python class (`x/x.py`) and its page (`x/x.js` and what it imports), and has a line in `_HOMES`.
What all share is in `panel.py` and `shared/`; the words of the interface are in `notebook_kit/strings/`.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "AttentionView": "notebook_kit.panels.attention_view.attention_view",
    "GenerationView": "notebook_kit.panels.generation_view.generation_view",
    "ModelPicker": "notebook_kit.panels.model_picker.model_picker",
    "Panel": "notebook_kit.panels.panel",
    "TokenInspector": "notebook_kit.panels.token_inspector.token_inspector",
    "TrainingDashboard": "notebook_kit.panels.training_dashboard.training_dashboard",
    "set_language": "notebook_kit.language",
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
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    from notebook_kit.errors import near_matches

    raise AttributeError(f"notebook_kit.panels has no {name!r}. {near_matches(name, _HOMES)}".rstrip())


def __dir__() -> list[str]:
    return sorted(__all__)
