"""Checkpoints of sharded models in slices: each process writes and reads its own, and none needs memory for the whole.

They are in the format of `torch.distributed.checkpoint`, in the folders in which accelerate and `transformers` write them, so any
number of processes can read them; one alone reads whole weights. Unlike torch, nothing here runs code that a file contains.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from notebook_kit.checkpoints.weights import save_weights
from notebook_kit.errors import CheckpointError, InputError, UnsafeFileError, a_kind
from notebook_kit.files import as_path, damaged, read_json
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.training import run_folder
from notebook_kit.training.full_sharding import WEIGHT_SLICES, is_sharded

__all__ = ["gather_checkpoint"]

NAMES = "weight_names.json"  # name in the model -> name in its usual file
_METADATA = ".metadata"  # as torch names it
_INCOMPLETE = "The checkpoint is incomplete: use an earlier one of the run."
# What the description of the slices, a pickle, may contain.
_HARMLESS = {
    "torch.distributed.checkpoint.metadata": {
        *("Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "BytesStorageMetadata"),
        *("ChunkStorageMetadata", "TensorProperties", "_MEM_FORMAT_ENCODING"),
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch": {"Size"},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath", "WindowsPath", "Path"},
    "collections": {"OrderedDict", "defaultdict"},
}


# -------------------------------------------------------------------------------------------------------------- writing


def write_slices(folder: Path, part: str, values: Mapping[str, Any]) -> None:
    """Write the slices of nested tensors. Every process calls this, with the same names and its own slices.

    Args:
        folder: Where to write; all processes must see the same files there.
        part: "model" or "optimizer".
        values: The tensors by name, in dictionaries.
    """
    try:
        dcp.save({part: values}, storage_writer=dcp.FileSystemWriter(folder))
    except CheckpointException as error:  # not an Exception
        raise _first(error) from None


def describe_model(model: nn.Module, folder: Path) -> None:
    """Write what belongs to a model except its weights: its configuration, and the names that its weights have in files."""
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder, state_dict={})  # type: ignore[operator]
        for path in folder.glob("*.safetensors"):
            path.unlink()
    (folder / NAMES).write_text(json.dumps(_names_in_files(model), indent=1) + "\n", "utf-8")


def _names_in_files(model: nn.Module) -> dict[str, str]:
    """Name of a weight in the model -> its name in a file; of several names of one weight, only the first."""
    if isinstance(model, PreTrainedModel):
        return model.weight_rules.stored_names(model.state_dict(), model.config.tie_word_embeddings)
    first: dict[int, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        first.setdefault(id(tensor), name)
    return {name: name for name in first.values()}


def optimizer_values(model: nn.Module, optimizer: Any) -> dict[str, Any]:
    """The state of an optimizer by the names of the model's weights, of which each process has its slices."""
    names = _parameter_names(model)
    groups = [
        {**group, "params": [names[id(parameter)] for parameter in group["params"]]} for group in optimizer.param_groups
    ]
    return {
        "state": {names[id(parameter)]: dict(values) for parameter, values in optimizer.state.items()},
        "param_groups": groups,
    }


def _parameter_names(model: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in model.named_parameters()}


# -------------------------------------------------------------------------------------------------------------- reading


def read_model(model: nn.Module, folder: Path) -> None:
    """Read the weights that `write_slices` wrote into `model`, sharded or not; all must be present and fit.

    All processes with a sharded model call this.

    Raises:
        CheckpointError: if weights are missing, do not fit, or cannot be read.
    """
    metadata = _metadata(folder)
    stored = {
        name.removeprefix("model."): entry.size
        for name, entry in metadata.state_dict_metadata.items()
        if name.startswith("model.") and isinstance(entry, TensorStorageMetadata)
    }
    own = model.state_dict(keep_vars=True)
    present = {id(tensor) for name, tensor in own.items() if name in stored}
    if missing := [name for name, tensor in own.items() if id(tensor) not in present]:
        raise CheckpointError(f"it has no {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}")
    for name, tensor in own.items():
        if name in stored and stored[name] != tensor.shape:
            raise CheckpointError(f"{name} has the shape {tuple(stored[name])} there, and {tuple(tensor.shape)} here")
    values = {name: tensor.detach() for name, tensor in own.items() if name in stored}
    _read(folder, {"model": values}, metadata, together=is_sharded(model))


def read_optimizer(model: nn.Module, optimizer: Any, folder: Path) -> dict[str, Any]:
    """The state of an optimizer that `write_slices` wrote, for its `load_state_dict`, in slices if the model is sharded.

    All processes with a sharded model call this.

    Raises:
        CheckpointError: if it is of other weights, or cannot be read.
    """
    metadata, names = _metadata(folder), _parameter_names(model)
    groups = [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]
    own = {names[id(parameter)]: parameter for group in optimizer.param_groups for parameter in group["params"]}
    nested: dict[str, Any] = {"state": {}, "param_groups": [{} for _ in groups]}
    for key, path in (metadata.planner_data or {}).items():
        if path[:2] == ("optimizer", "state"):
            if path[2] not in own:
                raise CheckpointError(f"{folder} has the state of {path[2]}, which this optimizer does not train.")
            entry = metadata.state_dict_metadata[key]
            nested["state"].setdefault(path[2], {})[path[3]] = _room_for(entry, own[path[2]])
        elif path[:2] == ("optimizer", "param_groups") and path[2] < len(groups):
            nested["param_groups"][path[2]][path[3]] = _room_for(metadata.state_dict_metadata[key], torch.empty(0))
    _read(folder, {"optimizer": nested}, metadata, together=is_sharded(model))
    if [sorted(group.get("params") or ()) for group in nested["param_groups"]] != [sorted(group) for group in groups]:
        raise CheckpointError(f"{folder} has the state of an optimizer with other groups of weights.")
    number = {name: index for index, name in enumerate(name for group in groups for name in group)}
    options = [
        {**group, "params": [number[name] for name in trained]}
        for group, trained in zip(nested["param_groups"], groups, strict=True)
    ]
    return {"state": {number[name]: values for name, values in nested["state"].items()}, "param_groups": options}


def _room_for(entry: Any, parameter: torch.Tensor) -> Any:
    """A tensor to read into, sliced as the parameter is if it has the same shape."""
    if not isinstance(entry, TensorStorageMetadata):
        return None
    if entry.size == parameter.shape:
        return torch.empty_like(parameter, dtype=entry.properties.dtype, requires_grad=False)
    return torch.empty(entry.size, dtype=entry.properties.dtype)


def _read(folder: Path, values: dict[str, Any], metadata: Metadata, together: bool) -> None:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is (disabled|not)")  # one process is enough
            dcp.load(values, storage_reader=_Reader(folder, metadata), planner=_Planner(), no_dist=not together)
    except CheckpointException as error:  # not an Exception
        raise _unreadable(folder, _first(error)) from None
    except (OSError, RuntimeError, ValueError, KeyError, AssertionError, EOFError, pickle.UnpicklingError) as error:
        raise _unreadable(folder, error) from error


class _Reader(dcp.FileSystemReader):
    """Reads slices with a description that was read without running code."""

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        super().__init__(folder)
        self._known = metadata

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return self._known


class _Planner(DefaultLoadPlanner):
    """Reads values that are not tensors without running code."""

    def load_bytes(self, read_item: Any, value: io.BytesIO) -> None:
        *path, last = self.mappings[read_item.dest_index.fqn]
        place: Any = self.original_state_dict
        for key in path:
            place = place[key]
        place[last] = torch.load(value, weights_only=True)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or name in _HARMLESS.get(module, ()):
            return super().find_class(module, name)
        raise UnsafeFileError(
            f"The description of a sharded checkpoint imports {module}.{name}, which it does not need and which could run"
            " code. It was not read and nothing of it was run.",
            next_step="Use a checkpoint from a source that you trust.",
        )


def _metadata(folder: Path) -> Metadata:
    try:
        with open(folder / _METADATA, "rb") as file:
            found = _Unpickler(file).load()
    except UnsafeFileError:
        raise
    except Exception as error:  # pickles raise anything for damaged bytes
        raise _unreadable(folder, error) from error
    if not isinstance(found, Metadata):
        raise _unreadable(folder, TypeError(f"{_METADATA} holds {a_kind(found)}"))
    _check_whole(found, folder)
    return found


def _check_whole(metadata: Metadata, folder: Path) -> None:
    """The slices of each tensor must be all of it, since torch leaves the rest as it finds the memory.

    Raises:
        CheckpointError: if something is missing.
        UnsafeFileError: if a slice would be read from another folder.
    """
    for name, entry in metadata.state_dict_metadata.items():
        if isinstance(entry, TensorStorageMetadata):
            held = sum(chunk.sizes.numel() for chunk in entry.chunks)
            inside = all(
                len(chunk.sizes) == len(entry.size)
                and all(
                    at >= 0 and at + n <= of for at, n, of in zip(chunk.offsets, chunk.sizes, entry.size, strict=True)
                )
                for chunk in entry.chunks
            )
            if held < entry.size.numel() or not inside:
                raise _unreadable(folder, ValueError(f"the slices of {name} are not all of it"))
    for place in (metadata.storage_data or {}).values():
        if Path(path := str(getattr(place, "relative_path", ""))).name != path:
            raise UnsafeFileError(
                f"The description of a sharded checkpoint names a file outside its folder: {path}. It was not read.",
                next_step="Use a checkpoint from a source that you trust.",
            )


def _unreadable(folder: Path, error: BaseException) -> CheckpointError:
    if isinstance(error, CheckpointError):
        return error
    what = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in what:  # torch would advise to run the file's code
        what = "a file is damaged"
    return damaged(folder, what, _INCOMPLETE)


def _first(error: CheckpointException) -> Exception:
    """The error behind that of torch, of whichever process."""
    inner = next((found for found, *_ in error.failures.values() if isinstance(found, Exception)), None)
    return inner if inner is not None else RuntimeError(str(error))


# ------------------------------------------------------------------------------------------------------------ gathering


def gather_checkpoint(checkpoint: str | Path, output_dir: str | Path, max_shard_size: str | int = "5GB") -> Path:
    """Join the slices of a sharded checkpoint in one folder that `from_pretrained` loads. One process does it, with memory for
    the weights; no process group is needed.

    Checkpoints are written in slices by a sharded run with `fsdp_config={"state_dict_type": "SHARDED_STATE_DICT"}`. To write
    the whole model of such a run while it is in memory, call `trainer.save_model(folder)` on all processes instead.

    Args:
        checkpoint: A folder `checkpoint-N` of this library, or of accelerate or `transformers`, with the folder
            `pytorch_model_fsdp_0`.
        output_dir: The folder to write to. It gets the weights, the configuration and the tokenizer, without the state of the
            run.
        max_shard_size: Larger weights are split into several files.

    Returns:
        `output_dir`.

    Raises:
        InputError: if the checkpoint is not in slices, or `output_dir` is the checkpoint itself.
        CheckpointError: if it does not exist or is damaged.

    Example:
        >>> gather_checkpoint("out/checkpoint-100", "whole")
        Traceback (most recent call last):
        notebook_kit.errors.CheckpointError: There is no checkpoint folder out/checkpoint-100.
        → Pass the folder checkpoint-N of a sharded run.
    """
    source, target = as_path(checkpoint, "checkpoint"), as_path(output_dir, "output_dir")
    if not source.is_dir():
        raise CheckpointError(
            f"There is no checkpoint folder {source}.", next_step="Pass the folder checkpoint-N of a sharded run."
        )
    if not (source / WEIGHT_SLICES / _METADATA).is_file():
        raise InputError(
            f"{source} has no folder {WEIGHT_SLICES} with the slices of a sharded model.",
            next_step="If it has whole weights, load it with from_pretrained. Otherwise pass a folder checkpoint-N of a sharded run.",
        )
    if target.resolve() == source.resolve():
        raise InputError("output_dir is the checkpoint itself.", next_step="Pass another folder.")
    if target.exists() and not target.is_dir():
        raise InputError(f"output_dir {target} is a file.", next_step="Pass a folder.")
    if (source / run_folder.MANIFEST).exists() and (why := run_folder.damage(source)):
        raise CheckpointError(f"{source} is damaged: {why}.", next_step="Use an earlier checkpoint of the run.")
    metadata = _metadata(source / WEIGHT_SLICES)
    weights = {
        name.removeprefix("model."): torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in metadata.state_dict_metadata.items()
        if name.startswith("model.") and isinstance(entry, TensorStorageMetadata)
    }
    _read(source / WEIGHT_SLICES, {"model": weights}, metadata, together=False)
    names = read_json(source / NAMES, _INCOMPLETE) if (source / NAMES).is_file() else {name: name for name in weights}
    if lacking := [name for name in names if name not in weights]:
        raise CheckpointError(f"{source} has no slices of {', '.join(lacking[:4])}.", next_step=_INCOMPLETE)
    in_files = list(names.values())
    if not names or not all(isinstance(name, str) for name in in_files) or len({*in_files}) < len(in_files):
        raise damaged(source / NAMES, "it does not name each weight by a different string", _INCOMPLETE)
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and not _is_of_run(path):
            shutil.copy2(path, target / path.name)
    save_weights({stored: weights[name] for name, stored in names.items()}, target, max_shard_size=max_shard_size)
    return target


def _is_of_run(path: Path) -> bool:
    """Whether a file of a checkpoint belongs to its run, not to the model."""
    return path.suffix in (".pt", ".pth") or path.name in (run_folder.STATE, run_folder.MANIFEST, NAMES)
