"""The TF classes: every torch model as a Keras model on TensorFlow, an optional extra (`notebook_kit[tensorflow]`).

Nothing of it is loaded, and TensorFlow need not be installed, until one of its names is used.
"""

from __future__ import annotations

from notebook_kit.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__)
