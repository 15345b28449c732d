"""Torch's operations, computed with TensorFlow; importing this package fills the table."""

from __future__ import annotations

from notebook_kit.tensorflow.operations import arithmetic, grids, indexing, layers, objects, shaping
from notebook_kit.tensorflow.operations.table import (
    ARITHMETIC,
    OPERATIONS,
    SHAPED,
    TRAINED,
    UPDATING,
    shape_of,
    size_of,
    target,
)

__all__ = [
    "ARITHMETIC",
    "OPERATIONS",
    "SHAPED",
    "TRAINED",
    "UPDATING",
    "arithmetic",
    "grids",
    "indexing",
    "layers",
    "objects",
    "shape_of",
    "shaping",
    "size_of",
    "target",
]
