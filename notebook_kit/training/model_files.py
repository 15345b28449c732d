"""The files of a model in a checkpoint of a run: written by its `save_pretrained`, and read back into the same object."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from notebook_kit.checkpoints.names import plan_loading
from notebook_kit.checkpoints.weights import open_weights
from notebook_kit.errors import CheckpointError, UnsafeFileError
from notebook_kit.files import replacing
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.training.full_sharding import WEIGHT_SLICES, fill, is_sharded

__all__ = ["load_model_files", "save_model_files"]

WEIGHTS = "model.safetensors"
ADAPTER = "adapter_model.safetensors"  # written by PEFT


def save_model_files(model: nn.Module, folder: str | Path, weights: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write a model with its `save_pretrained`, or the weights of a plain module as safetensors; `weights` replace its own."""
    given = {} if weights is None else {"state_dict": weights}
    if hasattr(model, "save_pretrained"):
        with warnings.catch_warnings():
            # PEFT looks for the model's configuration on the Hub only, and warns about each that is not there or not reached.
            warnings.filterwarnings("ignore", "Could not find a config file in|Unable to fetch remote file")
            model.save_pretrained(folder, **given)  # type: ignore[operator]
    else:
        from safetensors.torch import save_file, save_model

        Path(folder).mkdir(parents=True, exist_ok=True)
        with replacing(Path(folder) / WEIGHTS) as temporary:
            save_model(model, str(temporary)) if weights is None else save_file(dict(weights), str(temporary))


def load_model_files(model: nn.Module, folder: str | Path) -> None:
    """Load the weights that `save_model_files` wrote into `model`; all must be present and fit.

    The model is not constructed again, so its class may take any arguments.

    Raises:
        CheckpointError: if weights are missing or do not fit.
    """
    try:
        if (slices := Path(folder) / WEIGHT_SLICES).is_dir():
            from notebook_kit.training import sharded_files  # it imports torch's distributed checkpoints

            sharded_files.read_model(model, slices)
        elif (Path(folder) / ADAPTER).exists() and hasattr(model, "load_adapter"):
            model.load_adapter(str(folder), _active_adapter(model), is_trainable=True)  # type: ignore[operator]
        elif isinstance(model, PreTrainedModel):
            _load_planned(model, folder)
        elif hasattr(model, "save_pretrained"):
            _load_by_name(model, folder)
        else:
            from safetensors.torch import load_file, load_model

            path = str(Path(folder) / WEIGHTS)
            fill(model, load_file(path)) if is_sharded(model) else load_model(model, path)
    except UnsafeFileError:
        raise
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        problem = error.what if isinstance(error, CheckpointError) else str(error)
        raise CheckpointError(
            f"The weights in {folder} cannot be loaded into this {type(model).__name__}: {problem}",
            next_step="Create the model with the configuration of the run that wrote the checkpoint; if a file is damaged,"
            " use an earlier checkpoint.",
        ) from error


def _load_planned(model: PreTrainedModel, folder: str | Path) -> None:
    """Load a model of this library, whose weights may have other names in files."""
    with open_weights(Path(folder)) as weights:
        plan = plan_loading(
            weights,
            {name: tensor.shape for name, tensor in model.state_dict().items()},
            model.weight_rules,
            prefix=model.base_model_prefix,
            tied=model.config.tie_word_embeddings,
            equal=lambda one, other: torch.equal(weights[one], weights[other]),
            checkpoint=str(folder),
            model=type(model).__name__,
        )
        plan.check()
        _refuse_missing(plan.fresh)
        fill(model, {name: weights[source] for name, source in plan.sources.items()})


def _load_by_name(model: nn.Module, folder: str | Path) -> None:
    """Load a model of another library: by the names of its weights or, if files have other names, with its own loader."""
    with open_weights(Path(folder)) as weights:
        stored = {name: weights[name] for name in weights.keys()}  # noqa: SIM118  # opening reads no tensor
    missing = _untied(model, stored)
    if missing and hasattr(model, "from_pretrained"):
        source: Any = type(model).from_pretrained(str(folder), config=model.config)  # type: ignore[attr-defined]
        stored, missing = source.state_dict(), []
    _refuse_missing(missing)
    fill(model, stored)


def _untied(model: nn.Module, stored: Mapping[str, torch.Tensor]) -> list[str]:
    """The names of a model's weights that are neither stored nor share memory with one that is."""
    state = model.state_dict(keep_vars=True)
    filled = {id(tensor) for name, tensor in state.items() if name in stored}
    return [name for name, tensor in state.items() if id(tensor) not in filled]


def _refuse_missing(names: list[str]) -> None:
    if names:
        raise CheckpointError(f"it has no {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}")


def _active_adapter(model: Any) -> str:
    name = model.active_adapter
    return name if isinstance(name, str) else name[0]
