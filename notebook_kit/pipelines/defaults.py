"""The checkpoint of a task that is used if `pipeline()` is called without a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from notebook_kit.errors import HubError, InputError, notice
from notebook_kit.hub import Source, locate
from notebook_kit.hub.client import Client
from notebook_kit.pipelines.registry import PIPELINE_REGISTRY
from notebook_kit.registry.tasks import TASKS

__all__ = ["build_default", "default_checkpoint", "embedded_checkpoints"]

_SAME_BODIES = {"feature-extraction": "text-classification"}
"""Task without an embedded checkpoint -> the task whose embedded checkpoint also does it."""
# Seconds to wait for a first response of the Hub when a task's default checkpoint is not cached.
PATIENCE = 3.0


def default_checkpoint(entry: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The name and the revision of a task's default checkpoint; None for what its entry lacks.

    Example:
        >>> default_checkpoint({"default": {"model": {"pt": ("user/awesome-model", "v1")}}})
        ('user/awesome-model', 'v1')
    """
    model = entry.get("default", {}).get("model")
    if isinstance(model, Mapping):
        model = model.get("pt")
    return (model, None) if model is None or isinstance(model, str) else (model[0], model[1])


def embedded_checkpoints() -> dict[str, str]:
    """Task -> its embedded checkpoint.

    Example:
        >>> embedded_checkpoints()["text-generation"]
        'notebook-kit/tiny-gpt2'
    """
    from notebook_kit.zoo import default_for

    return {task: name for task in TASKS if (name := default_for(task)) is not None}


def build_default(build: Callable[[Any, dict[str, Any]], Any], task: str, hub: dict[str, Any]) -> Any:
    """A pipeline with the task's default checkpoint if it is available, else with the embedded one. A notice says which.

    Args:
        build: From a checkpoint and the options of the Hub for it to the pipeline.
        task: The canonical name of the task.
        hub: The options of the Hub.

    Raises:
        InputError: for a task without a default checkpoint.
        HubError: if the default one is not available, and none is embedded.
    """
    default, revision = default_checkpoint(PIPELINE_REGISTRY.check_task(task)[1])
    if default is None:
        raise InputError(
            f"The task {task} was registered without a default checkpoint.", next_step="Pass model=... as well."
        )
    hub = {**hub, "revision": hub["revision"] or revision}
    embedded = embedded_checkpoints()
    try:
        source = _locate_quickly(default, hub)
        built = build(source, hub)
    except HubError as error:
        if task not in embedded:
            usable = embedded.get(_SAME_BODIES.get(task, ""))
            raise type(error)(
                f"No model was given for {task}, and its default one ({default}) is neither cached nor available: "
                f"{error.what}",
                next_step=f"Pass model={usable!r}, which needs no network, or a folder or a cached checkpoint."
                if usable
                else "Pass model= with a folder or a cached checkpoint. The tasks with an embedded checkpoint, which "
                f"needs no network, are {', '.join(embedded)}.",
            ) from None
        built = build(embedded[task], {})
        notice(
            f"No model was given for {task}, and its default one ({default}) is neither cached nor reachable: using the "
            f"small {embedded[task]}, which is part of notebook_kit."
        )
    else:
        notice(f"No model was given for {task}: using {default} ({source.revision or 'main'}).")
    return built


def _locate_quickly(name: str, hub: dict[str, Any]) -> Source:
    """Locate a checkpoint, without a long wait if the Hub does not respond."""
    if not hub.get("force_download"):
        try:
            return locate(name, **{**hub, "local_files_only": True})
        except HubError:
            if hub.get("local_files_only"):
                raise
    Client("", hub.get("token")).probe(PATIENCE)
    return locate(name, **hub)
