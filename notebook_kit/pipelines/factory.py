"""`pipeline()`: from the name of a task, a checkpoint, or a loaded model to a pipeline."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import HubError, InputError, NotebookKitError, UnknownArchitectureError
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.hub.card import read_card
from notebook_kit.hub.client import Client
from notebook_kit.models import auto
from notebook_kit.pipelines.registry import PIPELINE_REGISTRY, default_checkpoint
from notebook_kit.registry.tasks import TASKS, task_of

if TYPE_CHECKING:
    import torch

    from notebook_kit.pipelines.base import Pipeline

__all__ = ["pipeline"]

# Seconds to wait for a first sign of the Hub when a task's usual checkpoint is not cached.
PATIENCE = 3.0

_PROCESSORS = {
    "tokenizer": ("notebook_kit.processing.text.auto", "AutoTokenizer"),
    "feature_extractor": ("notebook_kit.processing.audio", "AutoFeatureExtractor"),
    "image_processor": ("notebook_kit.processing.image", "AutoImageProcessor"),
    "processor": ("notebook_kit.processing.joint", "AutoProcessor"),
}


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
    given = {
        "tokenizer": tokenizer,
        "feature_extractor": feature_extractor,
        "image_processor": image_processor,
        "processor": processor,
    }
    if task is None and model is None:
        raise InputError(
            "pipeline() needs a task or a model.",
            next_step=f'Call pipeline("sentiment-analysis"); the tasks are {_listed()}.',
        )
    if model is None and any(part is not None for part in given.values()):
        raise InputError(
            "A tokenizer (or another processor) was given without the model that it belongs to.",
            next_step="Pass model=... as well.",
        )
    if task is not None:
        PIPELINE_REGISTRY.check_task(task)
    if framework not in (None, "pt"):
        raise InputError(
            f"framework is {framework!r}, and pipelines run on PyTorch.", next_step='Leave framework out, or pass "pt".'
        )
    if device is not None and device_map is not None:
        raise InputError("Both device and device_map were given.", next_step="Pass one of them.")
    loading = dict(model_kwargs or {})
    older = loading.pop("torch_dtype", None)
    chosen = next((value for value in (dtype, torch_dtype, loading.get("dtype"), older) if value is not None), None)
    loading |= {name: value for name, value in {"dtype": chosen, "device_map": device_map}.items() if value is not None}
    hub = {**take_hub_options(kwargs), "revision": revision, "token": token}
    builder = _Builder(task, config, given, loading, pipeline_class, device, kwargs)
    if model is None:
        return _default(builder, hub)
    if isinstance(model, str) and model == "zoo":
        if task is None:
            raise InputError('model="zoo" needs a task.', next_step=f"Name one of {', '.join(_zoo_tasks())}.")
        return builder.build(_zoo_checkpoint(PIPELINE_REGISTRY.check_task(task)[0]), {})
    return builder.build(model, hub)


@dataclass
class _Builder:
    """What `pipeline` was given beside the model, sorted by who takes it."""

    task: str | None
    config: Any
    processors: dict[str, Any]
    loading: dict[str, Any]
    pipeline_class: type[Pipeline] | None
    device: Any
    options: dict[str, Any]

    def build(self, model: Any, hub: dict[str, Any]) -> Pipeline:
        """A pipeline over a checkpoint or a loaded model; `hub` holds the options of the Hub for this checkpoint."""
        source = locate(model, **hub) if isinstance(model, str | os.PathLike | Source) else None
        config, options, device = self.config, self.options, self.device
        if source is not None:
            if config is None:
                config = auto.AutoConfig.from_pretrained(source)
            elif isinstance(config, str | os.PathLike):
                config = auto.AutoConfig.from_pretrained(config, token=hub.get("token"))
            elif not isinstance(config, PretrainedConfig):
                raise InputError(
                    f"config is of the type {type(config).__name__}.",
                    next_step="Pass the name of a configuration, or one that AutoConfig made.",
                )
        name, entry, _ = PIPELINE_REGISTRY.check_task(self.task or _task_of(source, config, model))
        pipeline_class = self.pipeline_class or entry["impl"]
        if source is not None:
            chosen = pipeline_class.auto_model
            loaders = entry["pt"] if chosen is None else (getattr(auto, chosen),)
            model = _load(loaders or (auto.AutoModel,), source, config, self.loading)
            device = model.device if "device_map" in self.loading else device  # where it was put
        else:
            _check_head(model, name)
            options = {name: self.loading[name] for name in ("dtype",) if name in self.loading} | options
        home: Any = source or getattr(model, "name_or_path", "") or getattr(model.config, "name_or_path", "")
        processors = {
            kind: _processor(kind, part, home, hub, pipeline_class.processors) for kind, part in self.processors.items()
        }
        return pipeline_class(model, **processors, task=self.task or name, device=device, **options)


def _load(loaders: tuple[Any, ...], source: Source, config: Any, loading: dict[str, Any]) -> Any:
    """The model, by the first of the classes that knows its family."""
    for loader in loaders[:-1]:
        with suppress(UnknownArchitectureError):
            return loader.from_pretrained(source, config=config, **loading)
    return loaders[-1].from_pretrained(source, config=config, **loading)


def _processor(kind: str, part: Any, home: Any, hub: dict[str, Any], needed: tuple[str, ...] | None) -> Any:
    """The processor that was given, named, or belongs to the model's checkpoint; None if the pipeline needs none."""
    if part is not None and not isinstance(part, str | os.PathLike):
        return part
    if part is None and kind not in (("tokenizer",) if needed is None else needed):
        return None
    module, name = _PROCESSORS[kind]
    loader = getattr(import_module(module), name)
    if part is not None:
        # The revision that was named is the model's.
        return loader.from_pretrained(part, **{key: value for key, value in hub.items() if key != "revision"})
    try:
        if not home:
            raise InputError(
                f"The model was not loaded from a checkpoint, so there is no {kind} that belongs to it.",
                next_step=f"Pass {kind}=..., an object or the name of a checkpoint.",
            )
        return loader.from_pretrained(home, **(hub if isinstance(home, str) else {}))
    except NotebookKitError:
        if needed is None:
            return None  # a custom pipeline may do without
        raise


# Which task --------------------------------------------------------------------------------------------------------


def _listed() -> str:
    return ", ".join(PIPELINE_REGISTRY.get_supported_tasks())


def _task_of(source: Source | None, config: Any, model: Any) -> str:
    """The task that a checkpoint is for, by its configuration, its model card, or the classes of its model."""
    if source is None:
        what, tag, architectures = "The model", "", [type(model).__name__]
    else:
        what, tag, architectures = f"The checkpoint {source.name!r}", "", list(config.architectures or [])
        for name in getattr(config, "custom_pipelines", None) or {}:
            if name in PIPELINE_REGISTRY.registered:
                return name
        with suppress(HubError):
            tag = str(read_card(source.find("README.md")).values.get("pipeline_tag", ""))
    task = task_of(tag, architectures)
    if task is not None:
        return task
    classes = f" (its class is {', '.join(architectures)})" if architectures else ""
    raise InputError(
        f"{what} does not say which task it is for{classes}.",
        next_step=f"Name it: pipeline(task, model=...), where task is one of {_listed()}.",
    )


def _check_head(model: Any, name: str) -> None:
    """Refuse a loaded model whose class says that it is for something else."""
    if not hasattr(model, "config"):
        raise InputError(
            f"model is of the type {type(model).__name__}.",
            next_step="Pass a loaded model, a folder, or the name of a checkpoint.",
        )
    if name not in TASKS or name in ("zero-shot-classification", "feature-extraction"):
        return
    kind, own = type(model).__name__, TASKS[name].heads
    others: dict[str, str] = {}  # the first task of several with one head is the most general
    for task, line in TASKS.items():
        for head in line.heads:
            if head not in own and head.startswith("For"):
                others.setdefault(head, task)
    wrong = next((head for head in others if kind.endswith(head)), None)
    if wrong is not None:
        raise InputError(
            f"A {kind} cannot do {name}.",
            next_step=f"Load the checkpoint with AutoModel{own[0]}, or use pipeline({others[wrong]!r}, ...).",
        )


# Which checkpoint --------------------------------------------------------------------------------------------------


def _default(builder: _Builder, hub: dict[str, Any]) -> Pipeline:
    """A pipeline over the task's usual checkpoint if it can be had, else over the zoo's; a line says which."""
    from notebook_kit.pipelines.base import notice

    name, entry, _ = PIPELINE_REGISTRY.check_task(builder.task or "")
    usual, revision = default_checkpoint(entry)
    if usual is None:
        raise InputError(
            f"The task {name} was registered without a default checkpoint.", next_step="Pass model=... as well."
        )
    if revision is not None:
        hub = {**hub, "revision": hub["revision"] or revision}
    try:
        source = _usual_source(usual, hub)
        made = builder.build(source, hub)
    except HubError as error:
        if name not in _zoo_tasks():
            raise type(error)(
                f"No model was given for {name}. Its usual one could not be had: {error.what}",
                next_step=f"Pass model= with a folder or a cached checkpoint. Without a network there are embedded ones "
                f"for {', '.join(_zoo_tasks())}.",
            ) from error
        embedded = _zoo_checkpoint(name)
        made = builder.build(embedded, {})
        notice(
            f"No model was given for {name}, and its usual one ({usual}) is neither cached nor to be fetched: using the "
            f"small {embedded} that comes with notebook_kit."
        )
        return made
    notice(f"No model was given for {name}: using {usual} ({source.revision or 'main'}).")
    return made


def _usual_source(name: str, hub: dict[str, Any]) -> Source:
    """Locate a checkpoint without a long wait for a Hub that does not answer."""
    if not hub.get("force_download"):
        try:
            return locate(name, **{**hub, "local_files_only": True})
        except HubError:
            if hub.get("local_files_only"):
                raise
    Client("", hub.get("token")).probe(PATIENCE)
    return locate(name, **hub)


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
