"""The tasks that `pipeline()` knows, to which users can add their own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from notebook_kit.models import auto
from notebook_kit.registry.tasks import TASKS, get_supported_tasks, task_name

__all__ = ["PIPELINE_REGISTRY", "PipelineRegistry", "default_checkpoint"]


class PipelineRegistry:
    """The tasks of `pipeline()`: the built-in ones, and those that are registered in this process.

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
        self.registered: dict[str, dict[str, Any]] = {}

    def register_pipeline(
        self,
        task: str,
        pipeline_class: Any,
        pt_model: Any = None,
        tf_model: Any = None,
        default: Any = None,
        type: str | None = None,
    ) -> None:
        """Make a task known to `pipeline()`; a task of the same name is replaced.

        Args:
            task: Its name.
            pipeline_class: A subclass of `Pipeline`.
            pt_model: The class that loads the model, such as `AutoModelForSequenceClassification`, or a tuple of them,
                of which the first that fits the checkpoint is used. Unless given, the pipeline's `auto_model`.
            tf_model: Accepted, and not used.
            default: The checkpoint to use where `pipeline()` is given none: a name, a pair of name and revision, or
                `{"pt": (name, revision)}`.
            type: `"text"`, `"image"`, `"audio"` or `"multimodal"`; kept for those who ask.
        """
        loaders = () if pt_model is None else pt_model if isinstance(pt_model, tuple) else (pt_model,)
        entry: dict[str, Any] = {"impl": pipeline_class, "pt": loaders}
        if default is not None:
            entry["default"] = default if isinstance(default, Mapping) and "model" in default else {"model": default}
        if type is not None:
            entry["type"] = type
        self.registered[task] = entry

    def get_supported_tasks(self) -> list[str]:
        """The names that `pipeline` accepts, aliases included, sorted."""
        return sorted({*get_supported_tasks(), *self.registered})

    def check_task(self, task: str) -> tuple[str, dict[str, Any], None]:
        """The task that a name or an alias means, with `{"impl": class, "pt": loaders, "default": ..., "type": ...}`.

        Raises:
            InputError: If there is no such task. Near matches are listed.
        """
        if task in self.registered:
            return task, self.registered[task], None
        name = task_name(task)
        line = TASKS[name]
        pipeline_class = getattr(import_module(f".{line.module}", __package__), line.pipeline)
        loader = getattr(auto, pipeline_class.auto_model)
        return name, {"impl": pipeline_class, "pt": (loader,), "default": {"model": line.model}, "type": "text"}, None

    def described(self, pipeline_class: Any) -> dict[str, dict[str, Any]]:
        """The registered tasks that a class does, as `config.json` keeps them under `custom_pipelines`."""
        module = pipeline_class.__module__.rpartition(".")[2]
        return {
            task: {
                **entry,
                "impl": f"{module}.{pipeline_class.__name__}",
                "pt": [loader.__name__ for loader in entry["pt"]],
            }
            for task, entry in self.registered.items()
            if entry["impl"] is pipeline_class
        }


PIPELINE_REGISTRY = PipelineRegistry()


def default_checkpoint(entry: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The name and the revision of the checkpoint that a task starts with, as far as its entry gives them.

    Example:
        >>> default_checkpoint({"default": {"model": {"pt": ("user/awesome-model", "v1")}}})
        ('user/awesome-model', 'v1')
    """
    model = entry.get("default", {}).get("model")
    if isinstance(model, Mapping):
        model = model.get("pt")
    return (model, None) if model is None or isinstance(model, str) else (model[0], model[1])
