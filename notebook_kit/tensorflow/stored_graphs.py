"""Graphs kept on disk, so that a model is traced once and not in every process."""

from __future__ import annotations

import hashlib
import importlib
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from huggingface_hub.constants import HF_HOME

from notebook_kit import __version__
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.tensorflow.graphs import Graph, Signature, read_graph, write_graph

__all__ = ["graph_for", "graphs_folder"]


def graphs_folder() -> Path:
    """Where graphs are kept."""
    return Path(HF_HOME) / "notebook_kit" / "graphs"


def graph_for(kind: type[PreTrainedModel], config: PretrainedConfig, signature: Signature) -> Graph:
    """The graph of a model for one kind of call, from disk if another process has traced it before.

    Args:
        kind: The class of the model. Graphs of classes from outside notebook_kit are not kept, since their code may change.
        config: Its configuration.
        signature: The kind of call.

    Raises:
        InputError: If the model cannot be called this way, or a step of it depends on the values of tensors.
    """
    path = graphs_folder() / f"{kind.__name__}-{_key(kind, config, signature)}.json.gz"
    is_ours = kind.__module__.startswith("notebook_kit.")
    if is_ours and (graph := read_graph(path)) is not None:
        return graph
    tracing = importlib.import_module("notebook_kit.tensorflow.tracing")  # which loads torch's compiler
    graph = tracing.trace(tracing.meta_model(kind, config, signature.dtype), signature)
    if is_ours:
        with suppress(OSError):  # a home folder that cannot be written to only costs time
            write_graph(graph, path)
    return graph


def _key(kind: type[PreTrainedModel], config: PretrainedConfig, signature: Signature) -> str:
    values = {**config.to_dict(), "name_or_path": None, "_name_or_path": None, "id2label": config.num_labels}
    values.pop("label2id", None)
    text = repr((_code(), kind.__qualname__, sorted(values.items()), signature))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@cache
def _code() -> str:
    """What graphs depend on beside the configuration: versions, and the code of the models."""
    root = Path(__file__).parents[1]
    files = [path for folder in ("models", "nn", "tensorflow") for path in sorted((root / folder).glob("*.py"))]
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return repr((__version__, torch.__version__, stamps))
