"""Training data: packed into blocks or rows without padding, permuted for XLNet, read from text files, and a set of digits."""

from __future__ import annotations

from notebook_kit.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__)
