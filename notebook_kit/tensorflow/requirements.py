"""TensorFlow and Keras for the other modules of this package, or an error that says what to do without them."""

from __future__ import annotations

import os
from typing import Any

from notebook_kit.errors import MissingDependencyError

__all__ = ["keras", "tf"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # otherwise TensorFlow reports the processor's features at import

try:
    import keras
    import tensorflow as tf
except ImportError as error:
    raise MissingDependencyError(
        f"The TF classes need TensorFlow and Keras 3, and {error.name or 'one of them'} cannot be imported.",
        next_step="Run `pip install 'notebook_kit[tensorflow]'`, or use the class of the same name without TF, which runs on PyTorch.",
    ) from error


def check_backend(library: Any) -> None:
    """Refuse Keras on PyTorch or JAX: one process has one backend, fixed when Keras is first imported.

    Raises:
        MissingDependencyError: If Keras is too old, or does not run on TensorFlow.
    """
    if not library.__version__.startswith("3."):
        raise MissingDependencyError(
            f"The TF classes need Keras 3, and Keras {library.__version__} is installed.",
            next_step="Run `pip install 'keras>=3.12'`.",
        )
    if library.backend.backend() != "tensorflow":
        raise MissingDependencyError(
            f"The TF classes need Keras on TensorFlow, and in this process Keras runs on {library.backend.backend()}.",
            next_step='Restart Python and set os.environ["KERAS_BACKEND"] = "tensorflow" before anything imports Keras.',
        )


check_backend(keras)
