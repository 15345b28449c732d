"""The panels: widgets that show what happens inside.

Each panel is a folder with a Python class (`x/x.py`) and its page (`x/x.js` and what it imports); `__init__.pyi` lists its
class. What all share is in `panel.py` and `shared/`; the words of the interface are in `notebook_kit/strings/`.
"""

from __future__ import annotations

from notebook_kit.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__)
