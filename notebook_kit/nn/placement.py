"""Device and dtype of weights: users' notations as a `torch.device` and a `torch.dtype`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from notebook_kit.errors import InputError, near_matches, warn

__all__ = ["choose_device", "choose_dtype", "device_of_map"]

_DTYPES = ["float32", "bfloat16", "float16", "float64"]


def choose_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """The dtype for `torch.bfloat16`, `"bfloat16"` or `"torch.bfloat16"`.

    Raises:
        InputError: If the name is unknown.

    Example:
        >>> choose_dtype("bfloat16")
        torch.bfloat16
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, str(dtype).removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise InputError(
            f"Unknown dtype {dtype!r}. {near_matches(str(dtype), _DTYPES)}".rstrip(),
            next_step=f"Use one of {', '.join(_DTYPES)}, or 'auto'.",
        )
    return found


def choose_device(device: int | str | torch.device | None) -> torch.device:
    """The device for a name, a number (-1 for the CPU), or None (the accelerator if there is one, else the CPU).

    Raises:
        InputError: If the name is unknown, or this machine does not have the device.

    Example:
        >>> choose_device(-1)
        device(type='cpu')
    """
    accelerator = _accelerator()
    if device is None:
        return torch.device(accelerator, 0) if accelerator == "cuda" else torch.device(accelerator or "cpu")
    if isinstance(device, int):
        if device < 0:
            return torch.device("cpu")
        if accelerator is None:
            warn(f"device={device} requests an accelerator, and this machine has none; using the CPU.")
            return torch.device("cpu")
        device = f"{accelerator}:{device}"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"Unknown device {device!r}.", next_step="Use 'cpu', 'cuda', 'cuda:1', 'mps' or a number."
        ) from error
    absent = chosen.type != "cpu" and (
        (chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count())
        or (chosen.type == "mps" and not torch.backends.mps.is_available())
    )
    if absent:
        raise InputError(
            f"The device {str(device)!r} is not available: this machine has {accelerator or 'only the CPU'}.",
            next_step="Leave it out, or pass 'cpu'.",
        )
    return chosen


def device_of_map(device_map: Any) -> torch.device:
    """The one device for `"auto"`, a device, or a map to a single device; torch's default for None.

    Raises:
        InputError: If there are several devices, or this machine does not have the device.

    Example:
        >>> device_of_map({"": "cpu"})
        device(type='cpu')
    """
    if isinstance(device_map, Mapping):
        targets = {str(value) for value in device_map.values()}
        if len(targets) != 1:
            raise InputError(
                f"device_map spreads the model over {len(targets)} devices: {sorted(targets)}.",
                next_step="Pass a single device; to train on several, run the Trainer under torchrun.",
            )
        device_map = targets.pop()
    if device_map is None:
        return torch.get_default_device()
    if device_map == "auto":
        return choose_device(None)
    return choose_device(int(device_map) if str(device_map).isdigit() else device_map)


def _accelerator() -> str | None:
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "xpu" if hasattr(torch, "xpu") and torch.xpu.is_available() else None
