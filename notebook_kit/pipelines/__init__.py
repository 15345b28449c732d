"""Pipelines: from raw inputs to results.

Example:
    >>> from notebook_kit.pipelines import pipeline
    >>> classify = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")
    >>> [answer["label"] for answer in classify(["A warm and funny film.", "A dull, empty film."])]
    ['POSITIVE', 'NEGATIVE']
"""

from __future__ import annotations

from notebook_kit.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__)
