"""Values of training arguments, checked against the types and ranges of their fields."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import Enum
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any

from notebook_kit.errors import ConfigurationError
from notebook_kit.fields import Range, expected, shown

__all__ = ["as_list", "typed"]

# The smallest and the largest value. torch's generators take seeds of 64 bits.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size"), (1, math.inf)),
    **dict.fromkeys(("gradient_accumulation_steps", "dataloader_prefetch_factor"), (1, math.inf)),
    **dict.fromkeys(("generation_max_length", "generation_num_beams"), (1, math.inf)),
    **dict.fromkeys(("learning_rate", "weight_decay", "max_grad_norm", "adam_epsilon"), (0, math.inf)),
    **dict.fromkeys(("warmup_steps", "num_train_epochs", "eval_delay", "dataloader_num_workers"), (0, math.inf)),
    "ddp_timeout": (1, math.inf),
    **dict.fromkeys(("seed", "data_seed"), (0, 2**63 - 1)),
    **dict.fromkeys(("label_smoothing_factor", "adam_beta1", "adam_beta2"), (0, 1)),
}
_KINDS = {"bool": bool, "int": int, "float": float, "str": str, "dict": dict, "list": list[str]}


def as_list(value: Any) -> list[Any]:
    """A value that stands for a list: one text or object is a list of one, None an empty list.

    Example:
        >>> as_list("labels"), as_list(("loss", "inputs")), as_list(None)
        (['labels'], ['loss', 'inputs'], [])
    """
    if value is None:
        return []
    single = isinstance(value, (str, bytes, type)) or getattr(value, "ndim", 1) == 0
    return list(value) if isinstance(value, Iterable) and not single else [value]


def typed(name: str, value: Any, annotation: str) -> Any:
    """`value` as the type of the field `name`; NumPy's numbers become Python's.

    Args:
        name: The name of the argument.
        value: The value.
        annotation: The annotation of the field, such as "int | None".

    Raises:
        ConfigurationError: if it has another type or is out of its range.

    Example:
        >>> typed("max_steps", 100.0, "int"), typed("label_names", "labels", "list[str] | None")
        (100, ['labels'])
    """
    kind = annotation.partition("[")[0].partition(" ")[0]
    if kind not in _KINDS or (value is None and "None" in annotation):
        return value
    result: Any = _converted(value, kind)
    meant: Any = _KINDS[kind]
    if annotation.startswith("list[dict"):
        meant, result = list, value if isinstance(value, list) else None
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    if result is None or (kind in ("int", "float") and not low <= result <= high):
        example = _converted(_number(value), kind)
        hint = f": {name}={example!r}" if example is not None and result is None else ""
        raise ConfigurationError(
            f"{name} is {shown(value)}; expected {expected(Annotated[meant, Range(low, high)])}.",
            next_step=f"Correct {name}{hint}.",
        )
    return result


def _converted(value: Any, kind: str) -> Any:
    """`value` as a kind of value; None if it is another kind."""
    if isinstance(value, Enum):
        value = value.value
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if kind == "bool" and (value is None or type(value).__name__ in ("bool", "bool_")):
        return bool(value)
    if kind in ("bool", "int", "float") and is_number and (kind == "float" or value == int(value)):
        whole = kind == "int" or isinstance(value, Integral)
        return (int(value) if whole else float(value)) if kind != "bool" else {0: False, 1: True}.get(value)
    if kind == "dict":
        if isinstance(value, (str, os.PathLike)):
            with suppress(ValueError, OSError):
                is_file = os.path.isfile(value)
                value = json.loads(Path(value).read_text(encoding="utf-8") if is_file else str(value))
        value = value.to_dict() if hasattr(value, "to_dict") else value
        return dict(value) if isinstance(value, Mapping) else None
    if kind == "list":
        items = as_list(value)
        return items if all(isinstance(item, str) for item in items) and not isinstance(value, Mapping) else None
    return os.fspath(value) if kind == "str" and isinstance(value, (str, os.PathLike)) else None


def _number(text: Any) -> Any:
    """The number that a text spells, if it does."""
    if isinstance(text, str):
        with suppress(ValueError):
            return float(text)
    return text
