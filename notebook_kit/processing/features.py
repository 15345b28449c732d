"""The result of a processor's call: model inputs by name, as a dictionary whose entries are attributes too."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import InputError, UnknownAttributeError
from notebook_kit.processing.tensors import to_tensor

if TYPE_CHECKING:
    import torch

__all__ = ["BatchFeature"]


class BatchFeature(UserDict):
    """Model inputs by name: `model(**batch)`, `batch["pixel_values"]` and `batch.pixel_values` all work.

    Args:
        data: The model inputs by name: nested lists of numbers, arrays or tensors.
        tensor_type: "pt" or "np" converts every entry to a tensor; None leaves them unchanged.

    Raises:
        InputError: If the entries cannot become tensors.

    Example:
        >>> batch = BatchFeature({"pixel_values": [[0.5, 1.0]]}, tensor_type="np")
        >>> batch.pixel_values.shape, "pixel_values" in batch, dict(**batch).keys()
        ((1, 2), True, dict_keys(['pixel_values']))
    """

    def __init__(self, data: Mapping[str, Any] | None = None, tensor_type: str | None = None) -> None:
        # Not UserDict.__init__, which copies item by item through __setitem__: every call of a processor runs this.
        self.data = dict(data) if data is not None else {}
        if tensor_type is not None:
            self.convert_to_tensors(tensor_type)

    def __getattr__(self, name: str) -> Any:
        # Called only for names that are not attributes, and while unpickling, before `data` exists.
        if name.startswith("__") or "data" not in self.__dict__:
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            raise UnknownAttributeError(
                f"This {self._noun} has no {name!r}: it holds {', '.join(self.data) or 'nothing'}.", name, self.data
            ) from None

    _noun = "batch"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.data]

    def convert_to_tensors(self, tensor_type: str | None = None) -> BatchFeature:
        """Convert every entry to a tensor ("pt") or an array ("np"), in place, and return self.

        Raises:
            InputError: If the rows of an entry differ in length, or the kind of tensor is not supported.

        Example:
            >>> BatchFeature({"pixel_mask": [[1, 0]]}).convert_to_tensors("np")["pixel_mask"]
            array([[1, 0]])
        """
        if tensor_type is not None:
            for key, value in self.data.items():
                self.data[key] = to_tensor(value, tensor_type, key)
        return self

    def to(self, *args: Any, **kwargs: Any) -> BatchFeature:
        """Move every tensor, in place, and return self. Nested batches move too; other entries stay unchanged.

        Args:
            args, kwargs: A device, a dtype, or both, and `non_blocking`, as for `torch.Tensor.to`. Tensors of integers (masks,
                labels) keep their dtype.

        Raises:
            InputError: If an argument is neither a device nor a dtype, or the device does not exist.

        Example:
            >>> import torch
            >>> batch = BatchFeature({"pixel_values": [[0.5]], "labels": [1]}, tensor_type="pt").to(torch.bfloat16)
            >>> batch.pixel_values.dtype, batch.labels.dtype
            (torch.bfloat16, torch.int64)
        """
        import torch

        device, dtype, non_blocking = _placement(args, kwargs)
        _check_device(torch.empty(0), device)

        def moved(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return value.to(device, dtype if value.is_floating_point() else None, non_blocking)
            if isinstance(value, list):
                return [moved(item) for item in value]
            return value.to(*args, **kwargs) if isinstance(value, BatchFeature) else value

        for key, value in self.data.items():
            self.data[key] = moved(value)
        return self


def _placement(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, torch.dtype | None, bool]:
    """The device, the dtype and `non_blocking` among the arguments of `to`."""
    import torch

    device, dtype, non_blocking = kwargs.get("device"), kwargs.get("dtype"), bool(kwargs.get("non_blocking", False))
    unknown = [name for name in kwargs if name not in ("device", "dtype", "non_blocking")]
    for value in args:
        if isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, str | int | torch.device) and device is None:
            device = value
        else:
            unknown.append(repr(value))
    if unknown or not isinstance(dtype, torch.dtype | None) or not isinstance(device, str | int | torch.device | None):
        shown = ", ".join(unknown) or f"device={device!r}, dtype={dtype!r}"
        raise InputError(
            f"`to` received {shown}, which is neither a device nor a dtype.",
            next_step='Pass a device such as "cpu" or "cuda", a dtype such as torch.bfloat16, or both.',
        )
    return device, dtype, non_blocking


def _check_device(probe: torch.Tensor, device: Any) -> None:
    try:
        probe.to(device=device)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise InputError(
            f"There is no device {device!r} on this machine: {str(error).partition(chr(10))[0]}",
            next_step='Pass "cpu", or the name of an accelerator that torch finds.',
        ) from error
