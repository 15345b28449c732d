"""Training data in other forms: packed into blocks or rows without padding, permuted for XLNet, or read from text files."""

from __future__ import annotations

from notebook_kit.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__)
