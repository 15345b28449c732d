"""Convert between nested lists and tensors: the `return_tensors` of every processor."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import InputError, MissingDependencyError, near_matches

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["tensor_kind", "to_lists", "to_tensor"]


def to_tensor(value: Any, kind: str, name: str = "value") -> Any:
    """Convert a number, nested lists, arrays or tensors to one tensor.

    Integers in lists become int64. Floats in lists become PyTorch's default dtype ("pt") or float64 ("np"). Arrays and
    tensors keep their dtype.

    Args:
        value: The numbers. With "np", rows of unequal lengths become an array of arrays, as in `transformers`.
        kind: "pt" for a torch tensor, "np" for a NumPy array, "tf" for a TensorFlow tensor.
        name: The name of the entry, for error messages.

    Raises:
        InputError: If the rows differ in length, the entries are not numbers, or `kind` is unknown.
        MissingDependencyError: If `kind` is "pt" and PyTorch is not installed, or "tf" and TensorFlow is not.

    Example:
        >>> to_tensor([[1, 2], [3, 4]], "np")
        array([[1, 2],
               [3, 4]])
    """
    kind = str(getattr(kind, "value", kind))
    convert = _CONVERTERS.get(kind)
    if convert is None:
        raise _unknown_kind(kind)
    try:
        return convert(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise _not_rectangular(name, value) from error


def tensor_kind(value: Any) -> str | None:
    """The kind of tensor in nested lists: "pt", "np", "tf", or None for plain numbers.

    Example:
        >>> import numpy as np
        >>> tensor_kind([np.zeros(2), np.zeros(3)]), tensor_kind([[1, 2], [3]])
        ('np', None)
    """
    leaf = _first_leaf(value)
    if hasattr(leaf, "detach"):
        return "pt"
    if type(leaf).__module__.startswith("tensorflow."):
        return "tf"
    return "np" if hasattr(leaf, "dtype") and hasattr(leaf, "shape") else None


def to_lists(value: Any) -> Any:
    """Convert an array, a tensor, or a list of them to nested lists; return anything else unchanged."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if tensor_kind(value) == "tf":
        return [to_lists(item) for item in value] if isinstance(value, list | tuple) else value.numpy().tolist()
    if isinstance(value, list | tuple) and value and hasattr(value[0], "tolist"):
        return [item.tolist() for item in value]
    return value


def _to_numpy(value: Any) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, list | tuple) and value and hasattr(value[0], "detach"):
        value = [item.detach().cpu().numpy() for item in value]
    if isinstance(value, list):
        integers = _integers(value)
        if integers is not None:
            return integers
        if len({len(row) for row in value if isinstance(row, list | tuple)}) > 1:
            ragged = np.empty(len(value), dtype=object)
            ragged[:] = [np.asarray(row) for row in value]
            return ragged
    converted = np.asarray(value)
    if converted.dtype.kind not in "biuf":
        raise ValueError(f"entries of type {converted.dtype}")
    return converted.astype(np.int64) if converted.size == 0 else converted


def _integers(rows: list[Any]) -> np.ndarray | None:
    """Rows of int, all of one length, as int64, nearly twice as fast as `np.array`; None for anything else."""
    import numpy as np

    if not rows or not isinstance(rows[0], list) or not rows[0] or type(rows[0][0]) is not int:
        return None
    flat = array("q")
    try:
        if len(set(map(len, rows))) > 1:
            return None
        for row in rows:
            flat.fromlist(row)  # raises TypeError for any entry that is not an int
    except (TypeError, OverflowError):
        return None
    return np.frombuffer(flat, dtype=np.int64).reshape(len(rows), -1)


def _to_torch(value: Any) -> torch.Tensor:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            'return_tensors="pt" needs PyTorch, which is not installed.', next_step="Run `pip install torch`."
        ) from error
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, list | tuple) and value and isinstance(value[0], torch.Tensor):
        return torch.stack(list(value))
    converted = _to_numpy(value)
    kind = converted.dtype.kind
    if kind == "O":
        raise ValueError("rows of unequal lengths")
    # Python floats become PyTorch's default dtype, as with torch.tensor; arrays keep their dtype.
    if kind == "f" and not hasattr(_first_leaf(value), "dtype"):
        return torch.from_numpy(converted).to(torch.get_default_dtype())
    return torch.from_numpy(converted if converted.flags.writeable else converted.copy())


def _to_tensorflow(value: Any) -> Any:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingDependencyError(
            'return_tensors="tf" needs TensorFlow, which is not installed.',
            next_step="Run `pip install 'notebook_kit[tensorflow]'`.",
        ) from error
    if tf.is_tensor(value):
        return value
    if isinstance(value, list | tuple) and value and tf.is_tensor(value[0]):
        return tf.stack(list(value))
    converted = _to_numpy(value)
    if converted.dtype.kind == "O":
        raise ValueError("rows of unequal lengths")
    if converted.dtype.kind == "f" and not hasattr(_first_leaf(value), "dtype"):
        return tf.constant(converted, tf.float32)
    return tf.constant(converted)


_CONVERTERS = {"pt": _to_torch, "np": _to_numpy, "tf": _to_tensorflow}


def _first_leaf(value: Any) -> Any:
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return value


def _unknown_kind(kind: str) -> InputError:
    if kind in ("jax", "flax", "mlx"):
        return InputError(
            f"return_tensors={kind!r} is not supported: notebook_kit's models run on PyTorch and TensorFlow.",
            next_step='Pass return_tensors="pt" or "tf", or "np" and convert: jnp.asarray(array).',
        )
    return InputError(
        f"return_tensors={kind!r} is not a kind of tensor. {near_matches(kind, _CONVERTERS)}".rstrip(),
        next_step='Use "pt" for PyTorch, "tf" for TensorFlow, "np" for NumPy, or None for lists.',
    )


def _not_rectangular(name: str, value: Any) -> InputError:
    lengths = sorted({len(row) for row in value if hasattr(row, "__len__")}) if isinstance(value, list) else []
    if len(lengths) > 1:
        return InputError(
            f"`{name}` cannot become one tensor: its rows have from {lengths[0]} to {lengths[-1]} entries.",
            next_step="Pass padding=True (and truncation=True for long texts) so that all rows have the same length.",
        )
    return InputError(
        f"`{name}` cannot become a tensor: it holds {type(_first_leaf(value)).__name__} entries.",
        next_step="Only numbers in rows of equal length become tensors; drop this entry, or leave out return_tensors.",
    )
