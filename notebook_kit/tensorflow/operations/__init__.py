"""Torch's operations, computed with TensorFlow; importing this package fills the table."""

from __future__ import annotations

from notebook_kit.tensorflow.operations import arithmetic, indexing, layers, shaping
from notebook_kit.tensorflow.operations.table import ARITHMETIC, OPERATIONS, TRAINED, shape_of

__all__ = ["ARITHMETIC", "OPERATIONS", "TRAINED", "arithmetic", "indexing", "layers", "shape_of", "shaping"]
