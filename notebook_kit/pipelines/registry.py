"""The registry of `pipeline()`: the built-in tasks, and those that users register."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from notebook_kit.errors import notice
from notebook_kit.models import auto
from notebook_kit.registry.tasks import TASKS, get_supported_tasks, task_name

__all__ = ["PIPELINE_REGISTRY", "PipelineRegistry"]


class PipelineRegistry:
    """The tasks of `pipeline()`: the built-in ones, and those registered in this process.

    Attributes:
        supported_tasks: Task -> its entry, as `check_task` returns it. Setting an entry registers a task; deleting it removes
            the task, or brings the built-in one back.

    Example:
        >>> from notebook_kit import AutoModelForSequenceClassification, Pipeline
        >>> class Verdict(Pipeline):
        ...     def _sanitize_parameters(self, **kwargs):
        ...         return {}, {}, {}
        ...     def preprocess(self, text):
        ...         return self.tokenizer(text, return_tensors="pt")
        ...     def _forward(self, model_inputs):
        ...         return self.model(**model_inputs)
        ...     def postprocess(self, model_outputs):
        ...         return "good" if model_outputs.logits[0].argmax() else "bad"
        >>> registry = PipelineRegistry()
        >>> registry.register_pipeline("verdict", Verdict, pt_model=AutoModelForSequenceClassification, type="text")
        >>> registry.check_task("verdict")[1]["type"], "verdict" in registry.get_supported_tasks()
        ('text', True)
    """

    def __init__(self) -> None:
        self.supported_tasks: ChainMap[str, dict[str, Any]] = ChainMap({}, _BuiltIn())  # type: ignore[arg-type]  # is only read
        self._tasks_of: dict[Any, dict[str, dict[str, Any]]] = {}  # class -> the tasks that it was registered for

    def register_pipeline(
        self,
        task: str,
        pipeline_class: Any,
        pt_model: Any = None,
        tf_model: Any = None,
        default: Any = None,
        type: str | None = None,
    ) -> None:
        """Register a task for `pipeline()`; it replaces any task of the same name.

        Args:
            task: The name of the task.
            pipeline_class: A subclass of `Pipeline`.
            pt_model: The class that loads the model, such as `AutoModelForSequenceClassification`, or a tuple of classes,
                of which the first that fits the checkpoint is used. By default, the `auto_model` of the pipeline class.
            tf_model: Accepted and ignored.
            default: The checkpoint to use if `pipeline()` is called without a model: a name, a pair of name and revision,
                or `{"pt": (name, revision)}`.
            type: `"text"`, `"image"`, `"audio"` or `"multimodal"`, for information.
        """
        loaders = () if pt_model is None else pt_model if isinstance(pt_model, tuple) else (pt_model,)
        entry: dict[str, Any] = {"impl": pipeline_class, "pt": loaders}
        if default is not None:
            entry["default"] = default if isinstance(default, Mapping) and "model" in default else {"model": default}
        if type is not None:
            entry["type"] = type
        if task in self.supported_tasks:
            notice(f"The task {task!r} is already registered; {pipeline_class.__name__} replaces its pipeline.")
        self.supported_tasks[task] = entry
        self._tasks_of.setdefault(pipeline_class, {})[task] = entry

    def get_supported_tasks(self) -> list[str]:
        """The names that `pipeline` accepts, aliases included, sorted."""
        return sorted(self.supported_tasks)

    def check_task(self, task: str) -> tuple[str, dict[str, Any], None]:
        """The canonical name of a task, and its entry `{"impl": class, "pt": loaders, "default": ..., "type": ...}`.

        Raises:
            InputError: for an unknown task, with near matches.
        """
        name = task if isinstance(task, str) and task in self.supported_tasks.maps[0] else task_name(task)
        return name, self.supported_tasks[name], None

    def describe(self, config: Any, pipeline_class: Any) -> None:
        """Record in a configuration that its checkpoint is saved from a pipeline of a user's class.

        A registered class is recorded as `transformers` does: `custom_pipelines` names the tasks registered for it. Any
        other is recorded in `pipeline_class`, with its module.
        """
        name = f"{pipeline_class.__module__.rpartition('.')[2]}.{pipeline_class.__name__}"
        tasks = {
            task: {**entry, "impl": name, "pt": tuple(loader.__name__ for loader in entry["pt"])}
            for task, entry in self._tasks_of.get(pipeline_class, {}).items()
        }
        is_ours = pipeline_class.__module__.startswith(f"{__package__}.")
        for field, value in (("custom_pipelines", tasks), ("pipeline_class", "" if tasks or is_ours else name)):
            config.extra.pop(field, None)  # from an earlier save
            if value:
                setattr(config, field, value)

    def recorded(self, config: Any, task: str | None) -> str:
        """The class of a user's pipeline from which a checkpoint was saved, as `describe` recorded it; "" if there is none.

        Args:
            config: The checkpoint's configuration.
            task: The task that was requested, if any; a class recorded for other tasks does not count then.
        """
        tasks = getattr(config, "custom_pipelines", None) or {}
        names = [entry.get("impl") for name, entry in tasks.items() if task in (None, name)]
        return str(next(filter(None, (getattr(config, "pipeline_class", None), *names)), ""))


class _BuiltIn(Mapping[str, dict[str, Any]]):
    """The entries of the built-in tasks, aliases included, created when they are read."""

    def __getitem__(self, task: str) -> dict[str, Any]:
        if task not in get_supported_tasks():
            raise KeyError(task)
        line = TASKS[task_name(task)]
        pipeline_class = getattr(import_module(f".{line.module}", __package__), line.pipeline)
        loaders = pipeline_class.auto_models or (pipeline_class.auto_model,)
        return {
            "impl": pipeline_class,
            "pt": tuple(getattr(auto, loader) for loader in loaders),
            "default": {"model": line.model},
            "type": line.modality,
        }

    def __iter__(self) -> Iterator[str]:
        return iter(get_supported_tasks())

    def __len__(self) -> int:
        return len(get_supported_tasks())


PIPELINE_REGISTRY = PipelineRegistry()
