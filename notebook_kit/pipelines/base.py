"""The base class of all pipelines: from raw inputs to results in three steps, for any modality."""

from __future__ import annotations

import inspect
import os
import types
import typing
from collections.abc import Hashable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from notebook_kit.errors import InputError, ListsNearMatches, a_kind, near_matches
from notebook_kit.hub.saving import PushToHub, folder_to_save
from notebook_kit.nn.inputs import inputs_of
from notebook_kit.nn.placement import choose_device, choose_dtype
from notebook_kit.nn.quantized_weights import rounded_parameters
from notebook_kit.pipelines.custom import TransformersForm
from notebook_kit.pipelines.inputs import iterate, kind_of
from notebook_kit.pipelines.options import annotations_of, check_choice, check_count, checked
from notebook_kit.pipelines.quantization import Int8Linear, quantized
from notebook_kit.pipelines.registry import PIPELINE_REGISTRY
from notebook_kit.pipelines.running import ResultStream, RunOptions, run_list, run_one
from notebook_kit.pipelines.showing import view_of

__all__ = ["Pipeline", "Rows"]

PROCESSORS = ("tokenizer", "feature_extractor", "image_processor", "processor")
RUN_OPTIONS = ("batch_size", "on_error", "progress", "window")
# Arguments of transformers' pipelines that change nothing here: the tokenizers' threads do what workers would do.
UNUSED_OPTIONS = ("num_workers", "framework", "modelcard", "binary_output", "args_parser")
STEPS = ("preprocess", "forward", "postprocess")
_PURPOSES = {
    "preprocess": "turns an input into the model's",
    "_forward": "calls the model",
    "postprocess": "turns the model's outputs into a result",
}

Rows = list[dict[str, Any]]
"""One dict per feature: the features of an input, or their outputs."""


def _check_form(cls: type[Pipeline]) -> None:
    """Check that a subclass overrides steps in the form in which its base has them: an override in the form of `transformers`
    would be ignored, or called with other arguments.

    Raises:
        InputError: If it does not.
    """
    if issubclass(cls, TransformersForm):
        return
    base = next((base for base in cls.__mro__[1:] if set(STEPS) & set(vars(base))), Pipeline)
    is_written_here = base is not Pipeline
    foreign = [name for name in ("_sanitize_parameters", "_forward") if name in vars(cls)]
    if "postprocess" in vars(cls) and not foreign and not hasattr(cls, "_sanitize_parameters"):
        try:
            inspect.signature(vars(cls)["postprocess"]).bind(None, None, None, None)
        except TypeError:
            foreign = ["postprocess"]
    if foreign and (is_written_here or foreign == ["postprocess"]):
        raise InputError(
            f"{cls.__name__}.{foreign[0]} has the form of transformers, and the steps of {base.__name__} have another:"
            " preprocess(item, *, option=...), forward(batch), postprocess(item, features, outputs, *, option=...).",
            next_step="Override these, or derive from Pipeline and write all four methods of transformers' form.",
        )


class Pipeline(PushToHub, ListsNearMatches):
    """Turns raw inputs into results. A task is a subclass with three methods, the steps:

    - `preprocess(item, **options)`: from one input to its features, a dict or a list of dicts. Entries that the model's
      `forward` accepts are batched; the others are kept for `postprocess`.
    - `forward(batch, **options)`: from one batch to a dict of tensors (or lists) with one row per feature.
    - `postprocess(item, features, outputs, **options)`: from one input, its features and their rows to the result.

    Keyword-only arguments of the steps are the options of the pipeline. They can be passed at construction and per call.
    `**options` in a step stands for the names that `further_options` lists for it.

    A modality overrides three further methods. Their defaults make no assumption about the inputs.

    - `cost(feature)`: the size of a feature in tokens, pixels or samples. It limits batches, and features of similar cost
      share a batch. By default, every feature costs 1.
    - `collate(features)`: from features to one batch. By default it stacks them, which `group(feature)` makes possible:
      features share a batch only if their groups are equal, by default the shapes of their inputs.
    - `is_single(inputs)`: whether `inputs` is one input, such as a text, an image or an array of samples.

    A class with `_sanitize_parameters`, as `transformers` documents custom pipelines, works as well; see
    `notebook_kit.pipelines.custom`.

    Args:
        model: A model of notebook_kit (or a module with the same inputs and outputs).
        tokenizer: The model's tokenizer.
        feature_extractor: For audio.
        image_processor: For images.
        processor: For several kinds of input at once.
        task: The name of the task; by default that of the class.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`, a `torch.device`, or a number (-1 for the CPU); by default the
            accelerator if there is one.
        dtype: The dtype of the weights and of floating-point inputs, as `torch.bfloat16` or `"bfloat16"`; by default that
            of the model. `torch_dtype` is the older spelling.
        quantize: `"int8"` computes the linear layers of a model on the CPU with 8-bit weights; see
            `notebook_kit.pipelines.quantization`.
        **options: Options of the steps, and run options:

            - `batch_size`: The maximum number of features per batch; `None` sets no limit beside the budget.
            - `batch_budget` (`batch_tokens` for texts): The maximum cost of a batch, padding included. By default the
              class's `budgets`; on an accelerator, no limit if there is a `batch_size`.
            - `window`: The maximum number of inputs that are sorted by cost together, and read ahead from a stream. By
              default the class's `windows` (for texts 256 on the CPU and 2,048 elsewhere), four times the `batch_size`
              if that is more, and 1 if the `batch_size` is 1.
            - `progress`: `True` always shows a progress bar, `False` never; `None` shows one for lists that take more than
              2 seconds.
            - `on_error`: What happens if an input fails. `"raise"` computes all others, then raises one
              `PipelineInputError` with the failed positions and the results of the rest. `"return"` puts such an error in
              the place of each missing result.

    Raises:
        InputError: for an unknown option, with near matches, and for a subclass with an option named like a run option.

    Example:
        >>> from notebook_kit import BertConfig, BertModel, Pipeline
        >>> class FirstVectorNorm(Pipeline):  # the length of the first token's vector
        ...     task = "first-vector-norm"
        ...     def preprocess(self, item):
        ...         return {"input_ids": list(item)}
        ...     def forward(self, batch):
        ...         return {"norm": self.model(**batch).last_hidden_state[:, 0].norm(dim=-1)}
        ...     def postprocess(self, item, features, outputs, *, digits=3):
        ...         return round(float(outputs[0]["norm"]), digits)
        >>> model = BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=50))
        >>> FirstVectorNorm(model)([(2, 17, 8, 3), (2, 9, 3)], digits=1)  # a fresh layer norm leaves the root of 32
        [5.7, 5.7]
    """

    framework = "pt"
    task: str = ""
    auto_model: ClassVar[str | None] = None
    """The class in `notebook_kit.models.auto` that loads the model; `None` uses the one of the task."""
    auto_models: ClassVar[tuple[str, ...]] = ()
    """For a task with several kinds of models: their classes, of which the first that has the family loads it."""
    processors: ClassVar[tuple[str, ...] | None] = None
    """The processors that the pipeline requires, such as `("tokenizer",)`; `None` uses a tokenizer if there is one."""
    reads_ahead: ClassVar[bool] = False
    """Whether `features_of_each` begins with its work at once, so that it can prepare inputs while others are computed."""
    budget_option: ClassVar[str] = "batch_budget"
    """The name of the option that sets the budget of a batch."""
    budgets: ClassVar[tuple[int | None, int | None]] = (8, 64)
    """The default budgets of a batch on the CPU and on an accelerator, in the unit of `cost`; `None` for no limit."""
    windows: ClassVar[tuple[int, int]] = (256, 2048)
    """The default `window` on the CPU and on an accelerator."""
    run_defaults: ClassVar[Mapping[str, Any]] = {}
    """Defaults of run options that differ from the usual ones, such as `{"batch_size": 1}`."""
    further_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Name of a step -> the names that its `**options` accepts, each with its type."""
    option_steps: ClassVar[dict[str, tuple[int, ...]]] = {}
    """Name of an option -> the indices of the steps that accept it; read from the signatures."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_form(cls)
        if hasattr(cls, "_sanitize_parameters") and not issubclass(cls, TransformersForm):
            cls.__bases__ = (TransformersForm, *cls.__bases__)
        cls.option_steps = {}
        for i, step in enumerate(STEPS):
            parameters = inspect.signature(getattr(cls, step)).parameters.values()
            names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
            if any(p.kind is p.VAR_KEYWORD for p in parameters):
                names += cls.further_options.get(step, ())
            for name in names:
                cls.option_steps[name] = (*cls.option_steps.get(name, ()), i)
        for name in (*RUN_OPTIONS, *UNUSED_OPTIONS, cls.budget_option):
            if name in cls.option_steps:
                raise InputError(
                    f"{cls.__name__} has an option {name!r}, but every pipeline has a run option of that name.",
                    next_step="Rename the keyword argument of the step.",
                )

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        feature_extractor: Any = None,
        image_processor: Any = None,
        processor: Any = None,
        task: str | None = None,
        device: int | str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        quantize: str | None = None,
        **options: Any,
    ) -> None:
        self.task = task or type(self).task
        self.tokenizer = tokenizer
        self.feature_extractor = feature_extractor
        self.image_processor = image_processor
        self.processor = processor
        for name in self.processors or ():
            if getattr(self, name) is None:
                article = "an" if name.startswith("image") else "a"
                raise InputError(f"The pipeline {self.task} requires {article} {name}.", next_step=f"Pass {name}=...")
        self.model: Any
        self.model, self.device = _placed(model, device, torch_dtype if dtype is None else dtype)
        if quantize is not None:
            if isinstance(quantize, bool):
                step = 'Pass quantize="int8" for 8-bit weights, or leave it out for none.'
                raise InputError(f"quantize is {quantize}, and the kind of weights has to be named.", next_step=step)
            self.model = quantized(self.model, checked("quantize", quantize, str))
        self.quantize = quantize
        inputs = inputs_of(self.model)
        self.input_names = tuple(name for name in inputs.names if name not in inputs.labels)
        self.options: dict[str, Any] = {}
        self._run_options = self._take_run_options(options)
        self.options = self.check_options(options)
        self._defaults = self.resolve_options({})

    @classmethod
    def for_model(cls, model: Any) -> type[Pipeline]:
        """The class of a pipeline with this model; a task that differs between kinds of models overrides it."""
        return cls

    # The steps, implemented by a task ----------------------------------------------------------------------------------

    def preprocess(self, item: Any, *args: Any, **options: Any) -> Any:
        """Turn one input into its features."""
        raise self._missing("preprocess")

    def forward(self, batch: dict[str, torch.Tensor], *args: Any, **options: Any) -> dict[str, Any]:
        """Compute the outputs of one batch, one row per feature; by default the logits."""
        return {"logits": self.model(**batch).logits}

    def postprocess(self, item: Any, features: Rows, outputs: Rows, *args: Any, **options: Any) -> Any:
        """Turn the outputs for one input into its result."""
        raise self._missing("postprocess")

    def _missing(self, step: str) -> InputError:
        return InputError(
            f"{type(self).__name__} has no method {step}, which {_PURPOSES[step]}.",
            next_step=f"Write {type(self).__name__}.{step}; see help(notebook_kit.Pipeline) for the steps.",
        )

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Translate older spellings of options and check their values; a task may override it."""
        return options

    # Overridden by a modality ------------------------------------------------------------------------------------------

    @classmethod
    def completed(cls, options: dict[str, Any], source: Any, processors: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the pipeline, with those added that only `pipeline()` can know, as it knows the checkpoint.

        Args:
            options: The further arguments passed to `pipeline()`.
            source: The `Source` of the checkpoint; None for a loaded model.
            processors: The loaded processors by kind, with the joint one passed as "processor".
        """
        return options

    def is_single(self, inputs: Any) -> bool:
        """Whether `inputs` is one input, rather than a list or a stream of inputs."""
        return kind_of(inputs) == "one"

    def cost(self, feature: Mapping[str, Any]) -> int:
        """The cost of a feature, which counts towards the budget of a batch and by which features are sorted."""
        return 1

    def group(self, feature: Mapping[str, Any]) -> Hashable:
        """A value that is equal for features that can share a batch; by default the shapes of their inputs."""
        return tuple((name, np.shape(feature[name])) for name in self.input_names if name in feature)

    def collate(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Combine features into one batch; by default, stack their inputs."""
        names = [name for name in self.input_names if name in features[0]]
        return {name: _stacked([feature[name] for feature in features]) for name in names}

    # Running -----------------------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Run the pipeline.

        Args:
            inputs: One input, a list of them, or a stream of them: a generator, an iterable dataset, a `KeyDataset`.
            **options: Task and run options for this call alone.

        Returns:
            The result; for a list, a list of results in the same order; for a stream, a `ResultStream`, a generator that
            reads ahead at most one window.

        Raises:
            InputError: for an unknown option, or a single input that cannot be used.
            PipelineInputError: for inputs of a list or a stream that cannot be used, with their positions.
        """
        run = self.resolve_options(options) if options else self._defaults
        if self.is_single(inputs):
            return run_one(self, inputs, run)
        if kind_of(inputs) == "stream":
            return ResultStream(self, inputs, run)
        return run_list(self, inputs, run)

    def show(self, *args: Any, **options: Any) -> Any:
        """Run the pipeline and show what it answers: boxes over the image, entities in the text, scores as bars, ...

        Args:
            args, options: As for a call, with one input or a list of them. A pipeline for sound needs none: its view has
                a microphone.

        Returns:
            A `notebook_kit.panels.ResultView`, which a notebook displays. Its attribute `result` is what a call returns. If no
            view can be created, a warning says why, and the result is returned.

        Raises:
            InputError: for a stream, and as for a call.

        Example:
            >>> from notebook_kit import pipeline
            >>> classify = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")
            >>> view = classify.show("A warm and funny film.")
            >>> view.result[0]["label"]
            'POSITIVE'
        """
        inputs = self.inputs_of_call(*args, **options)
        if inputs is None and self.feature_extractor is not None:
            return view_of(self, None, None)
        is_one = inputs is None or self.is_single(inputs)
        if not is_one and kind_of(inputs) == "stream":
            raise InputError(
                f"{a_kind(inputs, starts=True)} is a stream, and only what is at hand can be shown.",
                next_step="Pass a list of some inputs, such as list(itertools.islice(stream, 20)).",
            )
        return view_of(self, self(*args, **options), inputs if is_one else list(iterate(inputs)))

    def inputs_of_call(self, *args: Any, **options: Any) -> Any:
        """The inputs among the arguments of a call, for `show`."""
        return args[0] if args else options.get("inputs")

    def features_of(self, item: Any, options: dict[str, Any]) -> Rows:
        """The features of one input."""
        features = self.preprocess(item, **options)
        return features if isinstance(features, list) else [features]

    def features_of_each(self, items: list[Any], options: dict[str, Any]) -> Iterator[Rows | Exception]:
        """The features of each input in order, with an error in the place of those that it prevented."""
        for item in items:
            try:
                yield self.features_of(item, options)
            except Exception as error:
                yield error

    def run_batch(self, features: Rows, options: dict[str, Any]) -> Rows:
        """Compute one batch: per feature, a dict of numpy arrays (float32 or integers)."""
        if self.model.training:
            self.model.eval()
        batch = {name: self._input(tensor) for name, tensor in self.collate(features).items()}
        rows: Rows = [{} for _ in features]
        with torch.inference_mode():
            for name, values in self.forward(batch, **options).items():
                for row, value in zip(rows, _to_numpy(values), strict=True):
                    row[name] = value
        return rows

    def _input(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on the model's device, in its dtype if it is a floating-point tensor."""
        if tensor.is_floating_point():
            tensor = tensor.to(self.dtype)
        return tensor if self.device.type == "cpu" else tensor.to(self.device, non_blocking=True)

    def answer(self, item: Any, features: list[Any], outputs: list[Any], options: dict[str, Any]) -> Any:
        """The result of one input."""
        return self.postprocess(item, features, outputs, **options)

    # Options -----------------------------------------------------------------------------------------------------------

    def resolve_options(self, options: dict[str, Any]) -> RunOptions:
        """Check the options of a call, and merge them with those passed at construction."""
        run = {**self.run_defaults, **self._run_options, **self._take_run_options(options)}
        steps = self.split_options(self.check_options(options))
        counts = ("batch_size", self.budget_option, "window")
        for name in counts:
            check_count(name, run.get(name), otherwise=", or None")
        batch_size, budget, window = map(run.get, counts)
        on_error = check_choice("on_error", run.get("on_error", "raise"), ("raise", "return"))
        progress = checked("progress", run.get("progress"), bool | None)
        on_cpu = self.device.type == "cpu"
        if budget is None and (on_cpu or batch_size is None):
            budget = self.budgets[0 if on_cpu else 1]
        if window is None:
            window = self.windows[0 if on_cpu else 1]
            window = 1 if batch_size == 1 else max(window, 4 * (batch_size or 0))
        return RunOptions(*steps, batch_size, budget, window, progress, on_error)

    def split_options(self, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The options of each step, those passed at construction included."""
        steps: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = ({}, {}, {})
        for name, value in {**self.options, **options}.items():
            for i in self.option_steps[name]:
                steps[i][name] = value
        return steps

    def _take_run_options(self, options: dict[str, Any]) -> dict[str, Any]:
        for name in UNUSED_OPTIONS:
            options.pop(name, None)
        names = (*RUN_OPTIONS, self.budget_option)
        return {name: options.pop(name) for name in names if name in options}

    def check_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Normalize the options; raise an `InputError` for an unknown one."""
        options = self.typed(self.normalize_options(self.typed(options)))
        for name in options:
            if name not in self.option_steps:
                known = sorted((*self.option_steps, *RUN_OPTIONS, self.budget_option))
                raise InputError(
                    f"The pipeline {self.task} has no option {name!r}. {near_matches(name, known)}".rstrip(),
                    next_step=f"Its options are {', '.join(known)}.",
                )
        return options

    def typed(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options with the types that the steps' annotations name; `None` where it is not allowed means the default."""
        typed = {}
        for name, value in options.items():
            hint = self._option_types.get(name, Any)
            if value is not None or hint is Any or types.NoneType in typing.get_args(hint):
                typed[name] = checked(name, value, hint)
        return typed

    @cached_property
    def _option_types(self) -> dict[str, Any]:
        """Name of an option -> its annotation, for those that the steps name."""
        hints: dict[str, Any] = {}
        for step in STEPS:
            annotations = {name: hint for name, hint in annotations_of(getattr(self, step)).items() if hint is not Any}
            hints |= {**self.further_options.get(step, {}), **annotations}
        return hints

    # Other -------------------------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Any:
        """Call the pipeline, under the name that scikit-learn uses."""
        return self(X)

    predict = transform

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype of the weights; None without a model."""
        if self.model is None:
            return None
        return next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **options: Any
    ) -> None:
        """Save the model and its tokenizer (or other processors) into one folder, from which `pipeline` loads them.

        The code of a custom class is not saved: `pipeline` loads it again if the class is registered, or passed as
        `pipeline_class`.

        Args:
            save_directory: The folder, created if necessary.
            push_to_hub: Also upload the folder.
            **options: `max_shard_size` and `safe_serialization` go to `model.save_pretrained`, all others to
                `notebook_kit.hub.push_folder`.

        Raises:
            InputError: if the pipeline is quantized, since checkpoints hold unquantized weights.
        """
        checked("save_directory", save_directory, str | os.PathLike)
        if self.quantize is not None:
            raise InputError(
                f"The weights of this pipeline are quantized ({self.quantize}), so they cannot be saved as a checkpoint.",
                next_step="Save a pipeline created without quantize=, and quantize it after loading; or save "
                "dequantized(pipe.model), with the rounded weights in float32.",
            )
        PIPELINE_REGISTRY.describe(self.model.config, type(self))
        weights = {name: options.pop(name) for name in ("max_shard_size", "safe_serialization") if name in options}
        with folder_to_save(save_directory, push_to_hub, options) as folder:
            self.model.save_pretrained(folder, **weights)
            for part in (getattr(self, name) for name in PROCESSORS):
                if part is not None:
                    part.save_pretrained(folder)

    def __repr__(self) -> str:
        config = getattr(self.model, "config", None)
        name = getattr(self.model, "name_or_path", "") or getattr(config, "name_or_path", "")
        rounded = [module for module in self.model.modules() if isinstance(module, Int8Linear)]
        size = sum(tensor.numel() for tensor in self.model.parameters()) + rounded_parameters(self.model)
        count = f"{size / 1e6:.1f} M" if size >= 1e6 else f"{size / 1e3:.1f} K"
        origin = f" from {name!r}" if name else ""
        settings = {
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "quantize": self.quantize,
        }
        shown = {name: value for name, value in (settings | self._run_options).items() if value not in (None, "raise")}
        shown |= self.options
        layers = f", {len(rounded)} layers in 8 bits" if rounded else ""
        parts = [repr(self.task), f"model={type(self.model).__name__}{origin} ({count} parameters{layers})"]
        return f"{type(self).__name__}({', '.join([*parts, *(f'{name}={value!r}' for name, value in shown.items())])})"


def _placed(model: Any, device: Any, dtype: torch.dtype | str | None) -> tuple[nn.Module, torch.device]:
    """The model in evaluation mode, on the device and in the dtype requested, and that device."""
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model is of the type {type(model).__name__}.",
            next_step="Pass a loaded model, or create the pipeline with pipeline().",
        )
    model.eval()
    if dtype is not None and not (isinstance(dtype, str) and dtype == "auto"):
        model.to(choose_dtype(dtype))
    if getattr(model, "hf_device_map", None):
        if device is not None:
            raise InputError(
                "The model was placed by device_map, so the pipeline cannot move it.", next_step="Leave device out."
            )
        return model, next(model.parameters()).device
    chosen = choose_device(device)
    if next(model.parameters()).device != chosen:
        model.to(chosen)
    return model, chosen


def _stacked(values: list[Any]) -> torch.Tensor:
    if isinstance(values[0], torch.Tensor):
        return torch.stack(values)
    return torch.from_numpy(np.array(values))  # reads nested lists several times faster than torch does


def _to_numpy(values: Any) -> Any:
    """A tensor as a float32 or integer array; for a list, each of its tensors likewise."""
    if not isinstance(values, torch.Tensor):
        return [_to_numpy(value) if isinstance(value, torch.Tensor | list) else value for value in values]
    values = values.detach()
    return (values.float() if values.is_floating_point() else values).cpu().numpy()
