"""`pipeline()`: creates a pipeline from the name of a task, a checkpoint, or a loaded model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import (
    CheckpointError,
    ConfigurationError,
    HubError,
    InputError,
    MissingVocabularyError,
    NotebookKitError,
    UnknownArchitectureError,
    notice,
)
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.models import auto
from notebook_kit.pipelines.defaults import build_default, embedded_checkpoints
from notebook_kit.pipelines.options import checked
from notebook_kit.pipelines.registry import PIPELINE_REGISTRY
from notebook_kit.registry.families import FAMILIES
from notebook_kit.registry.tasks import task_of, task_of_another_head
from notebook_kit.zoo import loading_options

if TYPE_CHECKING:
    import torch

    from notebook_kit.pipelines.base import Pipeline

__all__ = ["get_task", "pipeline"]

LOADERS = {
    "tokenizer": ("notebook_kit.processing.text.auto", "AutoTokenizer"),
    "feature_extractor": ("notebook_kit.processing.audio.auto", "AutoFeatureExtractor"),
    "image_processor": ("notebook_kit.processing.image.auto", "AutoImageProcessor"),
}
"""Kind of processor -> the module and the name of the class that loads it."""


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
    """Create a pipeline.

    With a task alone, the task's default checkpoint is loaded from the Hub's cache or the Hub; if neither has it, a small
    embedded one. A notice names the checkpoint. `model="zoo"` selects the embedded one.

    Args:
        task: For example `"sentiment-analysis"`; see `get_supported_tasks()`. Optional with a `model`, whose checkpoint or
            class then identifies the task.
        model: A folder, a zoo name, a Hub name, a `Source`, or a loaded model. Of a TF model, the weights at the time of the
            call are used.
        config: A configuration, or the name of one, instead of the checkpoint's.
        tokenizer: A tokenizer, the name of one, or a pair of a name and arguments of its `from_pretrained`; by default that
            of the model's checkpoint.
        image_processor: As `tokenizer`, for images. `feature_extractor` is its older name.
        feature_extractor: As `tokenizer`, for sound.
        processor: A loaded object with a tokenizer and a feature extractor, or for other kinds of input of a custom pipeline.
        framework: `"pt"`, `"tf"` or `None`; accepted because quick-tour code passes it. Pipelines compute with PyTorch.
        revision: Branch, tag or commit of `model`.
        use_fast: Accepted and ignored, since all tokenizers here are fast ones.
        token: A token of the Hub.
        device: `"cpu"`, `"cuda:0"`, `"mps"`, a `torch.device`, or a number (-1 for the CPU); by default the accelerator
            if there is one.
        device_map: Passed to the model's `from_pretrained`, instead of `device`.
        dtype: The dtype of the weights: `"bfloat16"`, `torch.float16`, or `"auto"` for the stored one; by default float32.
        torch_dtype: The older spelling of `dtype`.
        trust_remote_code: Accepted and ignored: code from a repository is never run.
        model_kwargs: Further arguments of the model's `from_pretrained`.
        pipeline_class: A subclass of `Pipeline` to use instead of the task's.
        **kwargs: Options of the Hub (`cache_dir`, `local_files_only`, ...), of `Pipeline` (`batch_size`, `quantize`, ...),
            and of the task (`top_k`, ...).

    Raises:
        InputError: for an unknown task (with near matches), and arguments that do not go together.
        HubError: if the checkpoint cannot be found or downloaded; subclasses tell the reasons apart.

    Example:
        >>> classify = pipeline("sentiment-analysis", model="zoo")
        >>> classify("We are very happy to show you the 🤗 Transformers library.")[0]["label"]
        'POSITIVE'
    """
    processors = {
        "tokenizer": tokenizer,
        "feature_extractor": feature_extractor,
        "image_processor": image_processor,
        "processor": processor,
    }
    if task is None and model is None:
        raise InputError(
            "pipeline() needs a task or a model.",
            next_step=f'Call pipeline("sentiment-analysis"); the tasks are {_all_tasks()}.',
        )
    name = None if task is None else PIPELINE_REGISTRY.check_task(task)[0]
    if model is None and any(part is not None for part in processors.values()):
        raise InputError(
            "A tokenizer (or another processor) was passed without its model.", next_step="Pass model=... as well."
        )
    if checked("framework", framework, str | None) not in (None, "pt", "tf"):
        raise InputError(f"framework is {framework!r}.", next_step='Leave framework out, or pass "pt".')
    if framework == "tf":
        notice(
            'Pipelines compute with PyTorch, also with framework="tf" and for a TF model; their answers are the same.'
        )
    if pipeline_class is not None and not hasattr(pipeline_class, "auto_model"):
        raise InputError(
            f"pipeline_class is {pipeline_class!r:.80}, of the type {type(pipeline_class).__name__}.",
            next_step="Pass a subclass of notebook_kit.Pipeline.",
        )
    if device is not None and device_map is not None:
        raise InputError("Both device and device_map were passed.", next_step="Pass one of them.")
    loading = dict(checked("model_kwargs", model_kwargs, Mapping[str, Any] | None) or {})
    dtypes = (dtype, torch_dtype, loading.pop("dtype", None), loading.pop("torch_dtype", None))
    chosen = {"dtype": next((value for value in dtypes if value is not None), None), "device_map": device_map}
    loading |= {name: value for name, value in chosen.items() if value is not None}
    hub = {**take_hub_options(kwargs), "revision": revision, "token": token}
    builder = _Builder(task, config, processors, loading, pipeline_class, device, kwargs)
    if name is not None and model is None:
        return build_default(builder.build, name, hub)
    if isinstance(model, str) and model == "zoo":
        zoo = embedded_checkpoints()
        if name not in zoo:
            what = 'model="zoo" needs a task.' if name is None else f"The zoo has no checkpoint for {name}."
            raise InputError(what, next_step=f"Its tasks are {', '.join(zoo)}.")
        return builder.build(zoo[name], {})
    return builder.build(model, hub)


@dataclass
class _Builder:
    """The arguments of `pipeline` other than the model and the options of the Hub."""

    task: str | None
    config: Any
    processors: dict[str, Any]
    loading: dict[str, Any]
    pipeline_class: type[Pipeline] | None
    device: Any
    options: dict[str, Any]

    def build(self, model: Any, hub: dict[str, Any]) -> Pipeline:
        """Create a pipeline from a checkpoint or a loaded model; `hub` holds the options of the Hub for the checkpoint."""
        from notebook_kit.nn.inputs import torch_twin  # loads torch

        model = torch_twin(model)
        source = locate(model, **hub) if isinstance(model, str | os.PathLike | Source) else None
        config = None if source is None else self._config(source, hub)
        name, entry, _ = PIPELINE_REGISTRY.check_task(self.task or _task_of(source, config, model))
        pipeline_class = self.pipeline_class or entry["impl"]
        options, device = self.options, self.device
        recorded = "" if self.pipeline_class is not None else PIPELINE_REGISTRY.recorded(config, self.task)
        if recorded.rpartition(".")[2] not in ("", pipeline_class.__name__):
            notice(
                f"{getattr(source, 'name', 'The model')} was saved from a pipeline of the class {recorded}, and is loaded "
                f"as {pipeline_class.__name__}. To load it as before, pass pipeline_class=, or register the class: "
                "PIPELINE_REGISTRY.register_pipeline(task, pipeline_class=...)."
            )
        other = task_of_another_head(name, next(iter(getattr(config, "architectures", None) or []), ""))
        held: list[warnings.WarningMessage] | None = None  # "starts fresh" is no help before an error about the task
        if source is None:
            _check_model(model, name, pipeline_class)
            options = {key: self.loading[key] for key in ("dtype",) if key in self.loading} | options
        else:
            embedded = loading_options(source.name, name) if source.kind == "zoo" else {}
            with nullcontext() if other is None else warnings.catch_warnings(record=True) as held:
                model = _load(name, pipeline_class, entry, source, config, {**embedded, **self.loading})
            device = model.device if "device_map" in self.loading else device  # the device chosen by device_map
        pipeline_class = pipeline_class.for_model(model)
        home: Any = source or getattr(model, "name_or_path", "") or getattr(model.config, "name_or_path", "")
        needed = pipeline_class.processors
        is_required = needed is not None
        needed = (_usual_processor(model),) if needed is None else needed
        parts = dict(self.processors)
        for kind in ("tokenizer", "feature_extractor", "image_processor"):  # those in a joint processor
            if parts[kind] is None:
                parts[kind] = getattr(parts["processor"], kind, None)
        if "image_processor" in needed and parts["image_processor"] is None:
            parts |= {"image_processor": parts["feature_extractor"], "feature_extractor": None}
        try:
            processors = {
                kind: _processor(kind, part, home, hub, kind in needed, is_required) for kind, part in parts.items()
            }
        except CheckpointError as error:
            if isinstance(error, MissingVocabularyError) and parts["tokenizer"] is None and other is None:
                step = f"{name} needs the tokenizer: pass tokenizer=, an object or the name of a checkpoint, or copy its files "
                step += "into the model's folder."
                raise MissingVocabularyError(error.what, next_step=step) from None
            if source is None or other is None:
                raise
            raise _for_another_task(source, other, error) from None
        for one in held or ():
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno, source=one.source)
        options = pipeline_class.completed(options, source, {**processors, "processor": parts["processor"]})
        return pipeline_class(model, **processors, task=self.task or name, device=device, **options)

    def _config(self, source: Source, hub: dict[str, Any]) -> PretrainedConfig:
        if self.config is None:
            return auto.AutoConfig.from_pretrained(source)
        if isinstance(self.config, str | os.PathLike):
            return auto.AutoConfig.from_pretrained(self.config, token=hub.get("token"))
        if isinstance(self.config, PretrainedConfig):
            return self.config
        raise InputError(
            f"config is of the type {type(self.config).__name__}.",
            next_step="Pass a configuration of notebook_kit, or the name of one.",
        )


def _load(
    task: str, pipeline_class: Any, entry: dict[str, Any], source: Source, config: Any, loading: dict[str, Any]
) -> Any:
    """Load the model with the first of the task's classes that supports its family."""
    chosen = pipeline_class.auto_model
    *others, last = (getattr(auto, chosen),) if chosen is not None else entry["pt"] or (auto.AutoModel,)
    for loader in others:
        with suppress(UnknownArchitectureError):
            return loader.from_pretrained(source, config=config, **loading)
    try:
        return last.from_pretrained(source, config=config, **loading)
    except (UnknownArchitectureError, ConfigurationError) as error:
        other = task_of_another_head(task, next(iter(config.architectures or []), ""))
        if other is None:
            raise
        raise _for_another_task(source, other, error) from None


def _for_another_task(source: Source, other: str, error: NotebookKitError) -> NotebookKitError:
    """An error of loading for a task, as one that says which task the checkpoint is for."""
    return type(error)(
        f"{source.name} is a checkpoint for {other}: {error.what}",
        next_step=f"Use pipeline({other!r}, model=...), or pass a model for the task.",
    )


def _usual_processor(model: Any) -> str:
    """The kind of processor that a model usually has."""
    family = FAMILIES.get(getattr(model.config, "model_type", ""))
    usual = {"image": "image_processor", "audio": "feature_extractor"}
    return "tokenizer" if family is None else usual.get(family.modality, "tokenizer")


def _processor(kind: str, part: Any, home: Any, hub: dict[str, Any], is_needed: bool, is_required: bool) -> Any:
    """The processor passed, that of the name passed, or that of the model's checkpoint; None if it is not needed."""
    part, further = part if isinstance(part, tuple) and len(part) == 2 else (part, {})
    if callable(part):
        return part
    by_name = isinstance(part, str | os.PathLike) and kind in LOADERS
    if part is not None and not by_name:
        raise InputError(
            f"{kind} is {part!r:.80}, of the type {type(part).__name__}.",
            next_step=f"Pass a loaded {kind}" + (", or the name of one." if kind in LOADERS else "."),
        )
    if by_name:  # the revision belongs to the model
        return _loader(kind).from_pretrained(part, **{**hub, "revision": None, **further})
    if not is_needed or (not is_required and not home):
        return None
    if not home or kind not in LOADERS:
        raise InputError(
            f"The {kind} of the model is unknown.", next_step=f"Pass {kind}=..., an object or the name of a checkpoint."
        )
    try:
        return _loader(kind).from_pretrained(home, **(hub if isinstance(home, str) else {}))
    except NotebookKitError as error:
        if is_required:
            raise
        notice(f"The pipeline has no {kind}, because that of the checkpoint could not be loaded: {error.what}")
        return None


def _loader(kind: str) -> Any:
    """The class that loads processors of a kind; imported here, since texts do not need a library for images."""
    module, name = LOADERS[kind]
    return getattr(import_module(module), name)


def get_task(model: str, token: Any = None, **where: Any) -> str:
    """The task that `pipeline` chooses for a checkpoint, by its configuration or its model card.

    Args:
        model: The name of the checkpoint, or a folder.
        token: The token for a private repository.
        where: `revision`, `cache_dir` and further options of the Hub.

    Raises:
        InputError: If the checkpoint does not say which task it is for.
        HubError: If it cannot be found.

    Example:
        >>> get_task("notebook-kit/tiny-sentiment")
        'text-classification'
    """
    source = locate(model, token=token, **where)
    return _task_of(source, auto.AutoConfig.from_pretrained(source), None)


# Tasks -------------------------------------------------------------------------------------------------------------


def _all_tasks() -> str:
    return ", ".join(PIPELINE_REGISTRY.get_supported_tasks())


def _task_of(source: Source | None, config: Any, model: Any) -> str:
    """The task of a checkpoint or a model, by its configuration, its model card, or its model classes."""
    if source is None:
        subject, tag, architectures = "The model", "", [type(model).__name__]
    else:
        subject, tag, architectures = f"The checkpoint {source.name!r}", "", list(config.architectures or [])
        for name in getattr(config, "custom_pipelines", None) or {}:
            if name in PIPELINE_REGISTRY.supported_tasks.maps[0]:  # not a built-in task
                return name
        from notebook_kit.hub.card import read_card

        with suppress(HubError):
            tag = str(read_card(source.find("README.md")).values.get("pipeline_tag", ""))
    task = task_of(tag, architectures)
    if task is not None:
        return task
    classes = f" (its class is {', '.join(architectures)})" if architectures else ""
    raise InputError(
        f"{subject} does not say which task it is for{classes}.",
        next_step=f"Name it: pipeline(task, model=...), where task is one of {_all_tasks()}.",
    )


def _check_model(model: Any, task: str, pipeline_class: Any) -> None:
    """Raise an error for a loaded model whose class identifies it as a model for another task."""
    kind = type(model).__name__
    if not hasattr(model, "config"):
        raise InputError(
            f"model is of the type {kind}.", next_step="Pass a loaded model, a folder, or the name of a checkpoint."
        )
    other = task_of_another_head(task, kind)
    if other is not None:
        loader = pipeline_class.auto_model or pipeline_class.auto_models[-1]
        raise InputError(
            f"A {kind} cannot do {task}.",
            next_step=f"Load the checkpoint with {loader}, or use pipeline({other!r}, ...).",
        )
