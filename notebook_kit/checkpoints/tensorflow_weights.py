"""Weights that TensorFlow models of `transformers` 4.x wrote, under torch's names and in torch's layout.

They are in `tf_model.h5`, in one file or several, read with h5py alone; or in a safetensors file with the format "tf". A name
such as `tf_bert_model/bert/encoder/layer_._0/output/dense/kernel:0` becomes `bert.encoder.layer.0.output.dense.weight`, and its
matrix is transposed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from notebook_kit.errors import CheckpointError, MissingDependencyError

__all__ = ["H5Weights", "TensorFlowWeights", "torch_name"]

_LEAVES = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}
_AXES = {2: (1, 0), 3: (2, 1, 0), 4: (3, 2, 0, 1)}
"""Number of axes of a kernel -> their order in torch, where outputs come first."""


class Stored(Protocol):
    """An open file: names, shapes, dtypes and tensors as TensorFlow has them."""

    metadata: dict[str, str]

    def keys(self) -> list[str]:
        """All names."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one tensor."""

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of one tensor."""

    def __getitem__(self, name: str) -> torch.Tensor:
        """One tensor."""

    def close(self) -> None:
        """Close the file."""


def torch_name(name: str) -> str:
    """The name in torch of a variable of TensorFlow, without the name of the model in front.

    Example:
        >>> from notebook_kit.checkpoints.tensorflow_weights import torch_name
        >>> torch_name("bert/encoder/layer_._0/attention/output/LayerNorm/gamma:0")
        'bert.encoder.layer.0.attention.output.LayerNorm.weight'
        >>> torch_name("mlm___cls/predictions/bias:0")
        'cls.predictions.bias'
    """
    name = re.sub(r"(^|/)[^/]*___([^/]*)(?=/)", r"\1\2", name.removesuffix(":0"))
    parts = [part for part in name.replace("_._", "/").split("/") if part]
    return ".".join([*parts[:-1], _LEAVES.get(parts[-1], parts[-1])])


class TensorFlowWeights(Mapping[str, torch.Tensor]):
    """An open file of TensorFlow weights with the interface of `Weights`: torch's names and layout.

    Args:
        stored: The file.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.metadata = stored.metadata
        self._names = {torch_name(name): name for name in stored.keys()}  # noqa: SIM118 (not a mapping)

    def keys(self) -> list[str]:  # type: ignore[override]
        """The names of all tensors."""
        return list(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        shape = self._stored.shape(self._names[name])
        if _is_row(name, shape):
            return shape[1:]
        return tuple(shape[axis] for axis in self._axes(name, shape))

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor, without reading it."""
        return self._stored.dtype(self._names[name])

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = self._stored[self._names[name]]
        if _is_row(name, tuple(tensor.shape)):
            return tensor[0]
        return tensor.permute(self._axes(name, tuple(tensor.shape))).contiguous()

    def _axes(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        is_kernel = self._names[name].removesuffix(":0").endswith("kernel")
        return _AXES.get(len(shape), ()) if is_kernel and len(shape) in _AXES else tuple(range(len(shape)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def close(self) -> None:
        """Close the file."""
        self._stored.close()

    def __enter__(self) -> TensorFlowWeights:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_row(name: str, shape: tuple[int, ...]) -> bool:
    """Whether it is a bias that TensorFlow stores as a matrix of one row, as in GPT-2."""
    return len(shape) == 2 and shape[0] == 1 and name.rpartition(".")[2] == "bias"


class H5Weights:
    """The tensors of `tf_model.h5`, or of its shards, without the name of the model in front.

    Args:
        paths: The files.

    Raises:
        CheckpointError: If a file is damaged.
        MissingDependencyError: If h5py is not installed.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.metadata: dict[str, str] = {"format": "tf"}
        self._files: list[Any] = []
        self._sets: dict[str, Any] = {}
        try:
            import h5py
        except ImportError as error:
            raise MissingDependencyError(
                f"{paths[0].name} holds weights from TensorFlow, which are read with h5py, and that is not installed.",
                next_step="Run `pip install h5py`.",
            ) from error
        for path in paths:
            try:
                file = h5py.File(path, "r")
                self._files.append(file)
                self._sets.update(_datasets(file))
            except (OSError, KeyError, ValueError, RuntimeError) as error:
                self.close()
                raise CheckpointError(
                    f"{path} is damaged or is not an HDF5 file of weights: {str(error).rstrip('.')}.",
                    next_step="Fetch or copy it again.",
                ) from error

    def keys(self) -> list[str]:
        """All names."""
        return list(self._sets)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one tensor."""
        return tuple(self._sets[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of one tensor."""
        return torch.from_numpy(np.empty(0, self._sets[name].dtype)).dtype

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self._sets[name][()])

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def _datasets(file: Any) -> dict[str, Any]:
    """Name -> dataset. One file lists its layers and their weights; shards hold the weights alone."""
    found: dict[str, Any] = {}
    root = file["model_weights"] if "model_weights" in file and "layer_names" not in file.attrs else file
    layers = [root[_text(name)] for name in root.attrs.get("layer_names", ())]
    if any("weight_names" in layer.attrs for layer in layers):
        for group in layers:
            for weight in group.attrs["weight_names"]:
                name = _text(weight)
                first, _, rest = name.partition("/")
                found[rest or first] = group[name]
        return found

    def collect(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            found[name] = item

    root.visititems(collect)
    return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
