"""`pipeline()`: from the name of a task, a checkpoint, or a loaded model to a pipeline."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import HubError, InputError, NotebookKitError
from notebook_kit.hub import take_hub_options
from notebook_kit.hub.card import Card, read_card
from notebook_kit.hub.client import Client
from notebook_kit.registry.tasks import TASKS, get_supported_tasks, task_name, task_of

if TYPE_CHECKING:
    import torch

    from notebook_kit.hub import Source
    from notebook_kit.pipelines.base import Pipeline

__all__ = ["get_supported_tasks", "pipeline"]


# Seconds that a task's usual checkpoint may keep us waiting for a first sign of the Hub.
PATIENCE = 3.0


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | Source | Any | None = None,
    config: Any | None = None,
    tokenizer: str | os.PathLike[str] | Any | None = None,
    feature_extractor: Any | None = None,
    image_processor: Any | None = None,
    processor: Any | None = None,
    *,
    framework: str | None = None,
    revision: str | None = None,
    use_fast: bool = True,
    token: str | bool | None = None,
    device: int | str | torch.device | None = None,
    device_map: Any | None = None,
    dtype: torch.dtype | str | None = None,
    torch_dtype: torch.dtype | str | None = None,
    trust_remote_code: bool | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    pipeline_class: type[Pipeline] | None = None,
    **kwargs: Any,
) -> Pipeline:
    """Make a pipeline.

    With a task alone, the task's usual checkpoint is taken from the Hub's cache or the Hub; if neither has it, the
    small one that notebook_kit brings. One line says which. `model="zoo"` asks for the latter.

    Args:
        task: Such as `"sentiment-analysis"`; see `get_supported_tasks()`. May be left out with a `model`, whose
            checkpoint or class then says it.
        model: A folder, a zoo name, a Hub name, a `Source`, or a loaded model.
        config: A configuration, or the name of one, in place of the checkpoint's own.
        tokenizer: A tokenizer, or the name of one; by default that of the model's checkpoint.
        feature_extractor: As `tokenizer`, for sound.
        image_processor: As `tokenizer`, for images.
        processor: As `tokenizer`, for several kinds of input at once.
        framework: `"pt"`, which is all there is; accepted because quick-tour code gives it.
        revision: Branch, tag or commit of `model`.
        use_fast: Accepted; all tokenizers here are fast ones.
        token: For the Hub.
        device: `"cpu"`, `"cuda:0"`, `"mps"`, a `torch.device`, or a number (-1 for the CPU); by default the accelerator
            if there is one.
        device_map: Handed on to the loading of the model, in place of `device`.
        dtype: Of the weights: `"bfloat16"`, `torch.float16`, `"auto"` for the stored one; float32 unless given.
        torch_dtype: The older spelling of `dtype`.
        trust_remote_code: Accepted; no code from a repository is ever run.
        model_kwargs: More arguments for the model's `from_pretrained`.
        pipeline_class: A subclass of `Pipeline` to use in place of the task's own.
        **kwargs: Options of the Hub (`cache_dir`, `local_files_only`, ...), of `Pipeline` (`batch_size`, `quantize`, ...),
            and of the task (`top_k`, ...).

    Raises:
        InputError: for an unknown task (with near matches), and arguments that do not go together.
        HubError: if the checkpoint cannot be found or fetched; its kinds say why.

    Example:
        >>> classify = pipeline("sentiment-analysis", model="zoo")
        >>> classify("We are very happy to show you the 🤗 Transformers library.")[0]["label"]
        'POSITIVE'
    """
    _check_arguments(
        task, model, framework, device, device_map, tokenizer, feature_extractor, image_processor, processor
    )
    name = None if task is None else task_name(task)
    if dtype is None:
        dtype = torch_dtype
    options = {**take_hub_options(kwargs), "revision": revision, "token": token}
    loading = dict(model_kwargs or {})
    if "torch_dtype" in loading:
        loading.setdefault("dtype", loading.pop("torch_dtype"))
    if dtype is not None:
        loading["dtype"] = dtype
    if device_map is not None:
        loading["device_map"] = device_map
    parts = {
        "tokenizer": tokenizer,
        "feature_extractor": feature_extractor,
        "image_processor": image_processor,
        "processor": processor,
    }

    def make(checkpoint: Any, name: str | None, options: dict[str, Any]) -> Pipeline:
        return _make(checkpoint, name, task, config, parts, options, loading, pipeline_class, device, kwargs)

    if model is None:
        assert name is not None
        return _make_default(name, make, options)
    if isinstance(model, str) and model == "zoo":
        if name is None:
            raise InputError('model="zoo" needs a task.', next_step=f"Name one of {', '.join(_zoo_tasks())}.")
        return make(_zoo_checkpoint(name), name, {})
    return make(model, name, options)


def _make(
    model: Any,
    name: str | None,
    task: str | None,
    config: Any,
    parts: dict[str, Any],
    options: dict[str, Any],
    loading: dict[str, Any],
    pipeline_class: type[Pipeline] | None,
    device: Any,
    kwargs: dict[str, Any],
) -> Pipeline:
    from notebook_kit.configuration import PretrainedConfig
    from notebook_kit.hub import Source, locate

    source = None
    if isinstance(model, str | os.PathLike | Source):
        source = locate(model, **options)
        if isinstance(config, str | os.PathLike):
            config = _auto("AutoConfig").from_pretrained(config, token=options.get("token"))
        if config is None:
            config = _auto("AutoConfig").from_pretrained(source)
        if name is None:
            name = _task_of(source, list(getattr(config, "architectures", None) or []))
    elif name is None:
        name = _task_of(None, [type(model).__name__])
    if pipeline_class is None:
        line = TASKS[name]
        pipeline_class = getattr(importlib.import_module(f"notebook_kit.pipelines.{line.module}"), line.pipeline)
    if source is not None:
        if config is not None and not isinstance(config, PretrainedConfig):
            raise InputError(
                f"config is of the type {type(config).__name__}.",
                next_step="Pass the name of a configuration, or one that AutoConfig made.",
            )
        model = _auto(pipeline_class.auto_model).from_pretrained(source, config=config, **loading)
    else:
        _check_head(model, name)
        if "dtype" in loading:
            kwargs = {"dtype": loading["dtype"], **kwargs}
    if "device_map" in loading and source is not None:
        device = model.device  # where it was put
    home: Any = source or getattr(model, "name_or_path", "") or getattr(model.config, "name_or_path", "")
    processors: dict[str, Any] = {
        kind: _processor(kind, part, home, options, loading)
        if part is not None or kind in (pipeline_class.processors or ("tokenizer",))
        else None
        for kind, part in parts.items()
    }
    return pipeline_class(model, **processors, task=task or name, device=device, **kwargs)


_PROCESSOR_CLASSES = {
    "tokenizer": ("notebook_kit.processing.text.auto", "AutoTokenizer"),
    "feature_extractor": ("notebook_kit.processing.audio", "AutoFeatureExtractor"),
    "image_processor": ("notebook_kit.processing.image", "AutoImageProcessor"),
    "processor": ("notebook_kit.processing.joint", "AutoProcessor"),
}


def _processor(kind: str, part: Any, home: Any, options: dict[str, Any], loading: dict[str, Any]) -> Any:
    """The processor that was given, named, or belongs to the model's checkpoint."""
    if part is not None and not isinstance(part, str | os.PathLike):
        return part
    module, name = _PROCESSOR_CLASSES[kind]
    auto = getattr(importlib.import_module(module), name)
    if part is not None:
        # The revision that was named is the model's.
        return auto.from_pretrained(part, **{key: value for key, value in options.items() if key != "revision"})
    if not home:
        raise InputError(
            f"The model was not loaded from a checkpoint, so there is no {kind} that belongs to it.",
            next_step=f"Pass {kind}=..., an object or the name of a checkpoint.",
        )
    return auto.from_pretrained(home) if not isinstance(home, str) else auto.from_pretrained(home, **options)


# Which task --------------------------------------------------------------------------------------------------------


def _task_of(source: Source | None, architectures: Sequence[str]) -> str:
    """The task that a checkpoint is for, by its model card or else by the classes of its model."""
    card = Card()
    if source is not None:
        with suppress(HubError):
            card = read_card(source.find("README.md"))
    task = task_of(str(card.values.get("pipeline_tag", "")), architectures)
    if task is not None:
        return task
    what = "The model" if source is None else f"The checkpoint {source.name!r}"
    classes = f" (its class is {', '.join(architectures)})" if architectures else ""
    raise InputError(
        f"{what} does not say which task it is for{classes}.",
        next_step=f"Name it: pipeline(task, model=...), where task is one of {', '.join(get_supported_tasks())}.",
    )


def _check_head(model: Any, name: str) -> None:
    """Refuse a loaded model whose class says that it is for something else."""
    if not hasattr(model, "config"):
        raise InputError(
            f"model is of the type {type(model).__name__}.",
            next_step="Pass a loaded model, a folder, or the name of a checkpoint.",
        )
    kind = type(model).__name__
    own = TASKS[name].heads
    others: dict[str, str] = {}  # the first task of several with one head is the most general
    for task, line in TASKS.items():
        for head in line.heads:
            if head not in own and head.startswith("For"):
                others.setdefault(head, task)
    wrong = next((head for head in others if kind.endswith(head)), None)
    if wrong is None or name in ("zero-shot-classification", "feature-extraction"):
        return
    raise InputError(
        f"A {kind} cannot do {name}.",
        next_step=f"Load the checkpoint with AutoModel{own[0]}, or use pipeline({others[wrong]!r}, ...).",
    )


# Which checkpoint --------------------------------------------------------------------------------------------------


def _make_default(name: str, make: Any, options: dict[str, Any]) -> Pipeline:
    """The task's usual checkpoint if it can be had, else the zoo's; a line says which."""
    from notebook_kit.pipelines.base import notice

    usual = TASKS[name].model
    try:
        source = _usual_source(usual, options)
        made = make(source, name, options)
    except HubError as error:
        from notebook_kit.zoo import default_for

        embedded = default_for(name)
        if embedded is None:
            raise type(error)(
                f"No model was given for {name}. Its usual one could not be had: {error.what}",
                next_step=f"Pass model= with a folder or a cached checkpoint. Without a network there are embedded ones "
                f"for {', '.join(_zoo_tasks())}.",
            ) from error
        made = make(_zoo_checkpoint(name), name, {})
        notice(
            f"No model was given for {name}, and its usual one ({usual}) is neither cached nor to be fetched: using the "
            f"small {embedded} that comes with notebook_kit."
        )
        return made
    notice(f"No model was given for {name}: using {usual} ({source.revision or 'main'}).")
    return made


def _usual_source(name: str, options: dict[str, Any]) -> Source:
    """Locate a checkpoint without a long wait for a Hub that does not answer."""
    from notebook_kit.hub import locate

    if not options.get("force_download"):
        try:
            return locate(name, **{**options, "local_files_only": True})
        except HubError:
            if options.get("local_files_only"):
                raise
    Client("", options.get("token")).probe(PATIENCE)
    return locate(name, **options)


def _zoo_checkpoint(name: str) -> str:
    from notebook_kit.zoo import default_for

    embedded = default_for(name)
    if embedded is None:
        raise InputError(
            f"The zoo has no checkpoint for {name} yet.", next_step=f"It has some for {', '.join(_zoo_tasks())}."
        )
    return embedded


def _zoo_tasks() -> list[str]:
    from notebook_kit.zoo import default_for

    return [name for name in TASKS if default_for(name)]


# Checks ------------------------------------------------------------------------------------------------------------


def _check_arguments(task: Any, model: Any, framework: Any, device: Any, device_map: Any, *processors: Any) -> None:
    if task is None and model is None:
        raise InputError(
            "pipeline() needs a task or a model.",
            next_step=f'Call pipeline("sentiment-analysis"); the tasks are {", ".join(get_supported_tasks())}.',
        )
    if model is None and any(processor is not None for processor in processors):
        raise InputError(
            "A tokenizer (or another processor) was given without the model that it belongs to.",
            next_step="Pass model=... as well.",
        )
    if framework not in (None, "pt"):
        raise InputError(
            f"framework is {framework!r}, and pipelines run on PyTorch.", next_step='Leave framework out, or pass "pt".'
        )
    if device is not None and device_map is not None:
        raise InputError("Both device and device_map were given.", next_step="Pass one of them.")


def _auto(name: str) -> Any:
    from notebook_kit.models import auto

    if not hasattr(auto, name):
        raise NotebookKitError(f"notebook_kit.models.auto has no {name}.")
    return getattr(auto, name)
