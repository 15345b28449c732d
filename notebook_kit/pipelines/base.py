"""The base of all pipelines, of whatever modality: from raw inputs to answers in three steps."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from notebook_kit.errors import InputError, near_matches
from notebook_kit.hub.saving import PushToHub, folder_to_save
from notebook_kit.nn.inputs import inputs_of
from notebook_kit.nn.placement import choose_device, choose_dtype
from notebook_kit.pipelines.custom import TransformersForm
from notebook_kit.pipelines.inputs import kind_of
from notebook_kit.pipelines.registry import PIPELINE_REGISTRY
from notebook_kit.pipelines.running import ResultStream, RunOptions, run_list, run_one

__all__ = ["Pipeline", "check_choice", "check_count", "notice"]

PROCESSORS = ("tokenizer", "feature_extractor", "image_processor", "processor")
RUN_OPTIONS = ("batch_size", "on_error", "progress", "window")
CPU_WINDOW, ACCELERATOR_WINDOW = 256, 2048


def notice(message: str) -> None:
    """Say one line to the user through the logger "notebook_kit", which is seen unless its level is raised.

    Example:
        >>> import logging
        >>> logging.getLogger("notebook_kit").setLevel(logging.ERROR)  # to see no notices
        >>> notice("This is not seen.")
        >>> logging.getLogger("notebook_kit").setLevel(logging.NOTSET)
    """
    logging.getLogger("notebook_kit").warning(message)


class Pipeline(PushToHub):
    """Raw inputs in, answers out. A task is a subclass with three methods.

    - `preprocess(item, **options)`: from one input to its features, a dict or a list of dicts. The entries that the model's
      `forward` takes are put together into batches; all others are kept for the last step.
    - `forward(batch, **options)`: from one batch to a dict of tensors (or lists) with one row per feature.
    - `postprocess(item, features, outputs, **options)`: from one input, its features and their rows to the answer.

    Keyword-only arguments of the three are the options of the pipeline. They can be given at construction and for a
    single call. `**options` in a step stands for the names that `further_options` lists for it.

    A modality answers three questions. The defaults make no assumption about the inputs.

    - `cost(feature)`: what a feature adds to a batch: tokens, pixels, samples. Batches are limited by it, and features that
      cost about the same share one. By default every feature costs 1.
    - `collate(features)`: from features to one batch, by stacking or padding. By default it stacks; what may share a batch
      is what `group(feature)` says, by default features of equal shapes.
    - `is_single(inputs)`: whether this is one input: a text, a picture, an array of samples.

    A class with `_sanitize_parameters`, as `transformers` documents custom pipelines, works as well; see
    `notebook_kit.pipelines.custom`.

    Args:
        model: A model of notebook_kit (or a module with the same inputs and outputs).
        tokenizer: Its tokenizer.
        feature_extractor: For sound.
        image_processor: For images.
        processor: For more than one kind of input.
        task: The name to go by; the class's own unless given.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`, a `torch.device`, or a number (-1 for the CPU); by default the
            accelerator if there is one.
        dtype: Of the weights and of floating-point inputs, as `torch.bfloat16` or `"bfloat16"`; as the model is, unless
            given.
        quantize: `"int8"` computes the linear layers of a model on the CPU with 8-bit weights; see
            `notebook_kit.pipelines.quantization`.
        **options: Options of the three steps, and of how inputs are run:

            - `batch_size`: The maximum number of features in a batch; `None` leaves it to the budget alone.
            - `batch_budget` (`batch_tokens` for texts): The maximum cost of a batch, padding included. Unless given, the
              class's `budgets` hold; on an accelerator there is no such limit if a `batch_size` is given.
            - `window`: The maximum number of inputs that are sorted by cost together, and read ahead from a stream. By
              default 256 on the CPU and 2,048 elsewhere, four times the `batch_size` if that is more, and 1 if the
              `batch_size` is 1.
            - `progress`: `True` and `False` for a bar always and never; `None` for one on lists that take more than 2
              seconds.
            - `on_error`: What an input that fails does. `"raise"`: all others are computed, then one `PipelineInputError`
              names the positions of those that failed and holds the results of the rest. `"return"`: such an error takes
              the place of the result.

    Raises:
        InputError: for an option that the task does not have, with near matches.

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

    task: str = ""
    auto_model: ClassVar[str | None] = None
    """The class in `notebook_kit.models.auto` that loads the model; `None` for that of the task it is used for."""
    processors: ClassVar[tuple[str, ...] | None] = None
    """What the pipeline needs beside the model, such as `("tokenizer",)`; `None` for what the checkpoint has."""
    budget_option: ClassVar[str] = "batch_budget"
    """What users call the budget of a batch."""
    budgets: ClassVar[tuple[int | None, int | None]] = (8, 64)
    """The budget of a batch on the CPU and on an accelerator, in the unit of `cost`; `None` for no limit."""
    run_defaults: ClassVar[Mapping[str, Any]] = {}
    """What differs from the usual in how inputs are run, such as `{"batch_size": 1}`."""
    further_options: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Name of a step -> the options that its `**options` stands for."""

    option_steps: ClassVar[dict[str, tuple[int, ...]]] = {}
    """Name of an option -> the numbers of the steps that take it; read from the signatures."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "_sanitize_parameters") and not issubclass(cls, TransformersForm):
            cls.__bases__ = (TransformersForm, *cls.__bases__)
        # Signatures are read once here, so that a call costs no more than a look into a dict.
        steps: dict[str, tuple[int, ...]] = {}
        for number, step in enumerate(("preprocess", "forward", "postprocess")):
            for parameter in inspect.signature(getattr(cls, step)).parameters.values():
                names: Iterable[str] = ()
                if parameter.kind is parameter.KEYWORD_ONLY:
                    names = (parameter.name,)
                elif parameter.kind is parameter.VAR_KEYWORD:
                    names = cls.further_options.get(step, ())
                for name in names:
                    steps[name] = (*steps.get(name, ()), number)
        cls.option_steps = steps

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
                raise InputError(
                    f"The pipeline {self.task} needs a {name}, and none was given.", next_step=f"Pass {name}=..."
                )
        self.model: Any
        self.model, self.device = _placed(model, device, dtype)
        if quantize is not None:
            from notebook_kit.pipelines.quantization import quantized

            self.model = quantized(self.model, quantize)
        self.quantize = quantize
        inputs = inputs_of(self.model)
        self.input_names = tuple(name for name in inputs.names if name not in inputs.labels)
        self.options: dict[str, Any] = {}
        self._run_options = self._take_run_options(options)
        self.options = self.check_options(options)
        self._defaults = self.resolve_options({})

    # The three steps, given by a task ----------------------------------------------------------------------------------

    def preprocess(self, item: Any, *args: Any, **options: Any) -> Any:
        """From one input to its features."""
        raise NotImplementedError

    def forward(self, batch: dict[str, torch.Tensor], *args: Any, **options: Any) -> dict[str, Any]:
        """From one batch to its outputs, one row per feature: by default the logits."""
        return {"logits": self.model(**batch).logits}

    def postprocess(
        self, item: Any, features: list[dict[str, Any]], outputs: list[dict[str, Any]], *args: Any, **options: Any
    ) -> Any:
        """From the outputs of one input to its answer."""
        raise NotImplementedError

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Translate older spellings of options and check their values; a task may override it."""
        return options

    # The three questions, answered by a modality -----------------------------------------------------------------------

    def is_single(self, inputs: Any) -> bool:
        """Whether `inputs` is one input, rather than a list or a stream of inputs."""
        return kind_of(inputs) == "one"

    def cost(self, feature: Mapping[str, Any]) -> int:
        """What a feature adds to the budget of a batch, and what features are sorted by."""
        return 1

    def group(self, feature: Mapping[str, Any]) -> Hashable:
        """What features must have in common to share a batch: by default the shapes of their inputs."""
        return tuple((name, np.shape(feature[name])) for name in self.input_names if name in feature)

    def collate(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """From features to one batch: by default their inputs, stacked."""
        names = [name for name in self.input_names if name in features[0]]
        return {name: _stacked([feature[name] for feature in features]) for name in names}

    # Running -----------------------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Run the pipeline.

        Args:
            inputs: One input, a list of them, or a stream of them: a generator, an iterable dataset, a `KeyDataset`.
            **options: Those of the task, and of how inputs are run, for this call alone.

        Returns:
            The answer; for a list, a list of answers in the same order; for a stream, a `ResultStream`, which is a
            generator that reads ahead at most one window.

        Raises:
            InputError: for an option that does not exist, or one input that cannot be used.
            PipelineInputError: for inputs of a list or a stream that cannot be used; it names their positions.
        """
        run = self.resolve_options(options) if options else self._defaults
        if self.is_single(inputs):
            return run_one(self, inputs, run)
        if kind_of(inputs) == "stream":
            return ResultStream(self, inputs, run)
        return run_list(self, inputs, run)

    def features_of(self, item: Any, options: dict[str, Any]) -> list[dict[str, Any]]:
        """The features of one input."""
        features = self.preprocess(item, **options)
        return features if isinstance(features, list) else [features]

    def run_batch(self, features: list[dict[str, Any]], options: dict[str, Any]) -> list[dict[str, Any]]:
        """Compute one batch of features: a dict of numpy arrays (float32 or integers) for each."""
        batch = {name: self._input(tensor) for name, tensor in self.collate(features).items()}
        if self.model.training:
            self.model.eval()
        rows: list[dict[str, Any]] = [{} for _ in features]
        with torch.inference_mode():
            for name, values in self.forward(batch, **options).items():
                for row, value in zip(rows, _to_numpy(values), strict=True):
                    row[name] = value
        return rows

    def _input(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor where and as the model wants it: on its device, and in its dtype unless it holds integers."""
        if tensor.is_floating_point():
            tensor = tensor.to(self.dtype)
        return tensor if self.device.type == "cpu" else tensor.to(self.device, non_blocking=True)

    def answer(self, item: Any, features: list[Any], outputs: list[Any], options: dict[str, Any]) -> Any:
        """The answer to one input."""
        return self.postprocess(item, features, outputs, **options)

    # Options -----------------------------------------------------------------------------------------------------------

    def resolve_options(self, options: dict[str, Any]) -> RunOptions:
        """The options of a call, checked, over those given at construction."""
        run = {**self.run_defaults, **self._run_options, **self._take_run_options(options)}
        steps = self.split_options(self.check_options(options))
        batch_size, budget, window = (run.get(name) for name in ("batch_size", self.budget_option, "window"))
        for name in ("batch_size", self.budget_option, "window"):
            check_count(name, run.get(name), otherwise=", or None")
        on_error = run.get("on_error", "raise")
        if on_error not in ("raise", "return"):
            raise InputError(f"on_error is {on_error!r}.", next_step='Pass on_error="raise" or "return".')
        on_cpu = self.device.type == "cpu"
        if budget is None and (on_cpu or batch_size is None):
            budget = self.budgets[0 if on_cpu else 1]
        if window is None:
            window = CPU_WINDOW if on_cpu else ACCELERATOR_WINDOW
            window = 1 if batch_size == 1 else max(window, 4 * (batch_size or 0))
        return RunOptions(*steps, batch_size, budget, window, run.get("progress"), on_error)

    def split_options(self, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The options of each of the three steps."""
        steps: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = ({}, {}, {})
        for name, value in {**self.options, **options}.items():
            for number in self.option_steps[name]:
                steps[number][name] = value
        return steps

    def _take_run_options(self, options: dict[str, Any]) -> dict[str, Any]:
        options.pop("num_workers", None)  # the tokenizers' threads do what worker processes would do
        names = (*RUN_OPTIONS, self.budget_option)
        return {name: options.pop(name) for name in names if name in options}

    def check_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options, normalized; one that the task does not have is an error."""
        options = self.normalize_options(options)
        for name in options:
            if name not in self.option_steps:
                known = sorted((*self.option_steps, *RUN_OPTIONS, self.budget_option))
                raise InputError(
                    f"The pipeline {self.task} has no option {name!r}. {near_matches(name, known)}".rstrip(),
                    next_step=f"Its options are {', '.join(known)}.",
                )
        return options

    # As scikit-learn names them ----------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Any:
        """The same as calling the pipeline."""
        return self(X)

    def predict(self, X: Any) -> Any:
        """The same as calling the pipeline."""
        return self(X)

    # The rest ----------------------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)

    @property
    def framework(self) -> str:
        """Always `"pt"`."""
        return "pt"

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **options: Any
    ) -> None:
        """Save the model and its tokenizer (or other processors) into one folder, from which `pipeline` loads them.

        Args:
            save_directory: The folder; it is made if need be.
            push_to_hub: Also upload the folder.
            **options: `max_shard_size` and `safe_serialization` go to `model.save_pretrained`, all others to
                `notebook_kit.hub.push_folder`.

        Raises:
            InputError: if the pipeline is quantized, since checkpoints hold the weights as they were trained.
        """
        if self.quantize is not None:
            raise InputError(
                f"This pipeline computes with quantize={self.quantize!r}; its weights cannot be saved as a checkpoint.",
                next_step="Save the pipeline that was made without quantize=, and quantize when loading.",
            )
        if custom := PIPELINE_REGISTRY.described(type(self)):
            self.model.config.custom_pipelines = custom
        weights = {name: options.pop(name) for name in ("max_shard_size", "safe_serialization") if name in options}
        with folder_to_save(save_directory, push_to_hub, options) as folder:
            self.model.save_pretrained(folder, **weights)
            for part in (getattr(self, name) for name in PROCESSORS):
                if part is not None:
                    part.save_pretrained(folder)

    def __repr__(self) -> str:
        config = getattr(self.model, "config", None)
        name = getattr(self.model, "name_or_path", "") or getattr(config, "name_or_path", "")
        tensors = [*self.model.parameters(), *(b for b in self.model.buffers() if b.dtype == torch.int8)]
        size = sum(tensor.numel() for tensor in tensors)
        count = f"{size / 1e6:.1f} M" if size >= 1e6 else f"{size / 1e3:.1f} K"
        parts = [
            repr(self.task),
            f"model={type(self.model).__name__}{f' from {name!r}' if name else ''} ({count} parameters)",
            f"device={str(self.device)!r}",
            f"dtype={str(self.dtype).removeprefix('torch.')!r}",
        ]
        run = {name: value for name, value in self._run_options.items() if value not in (None, "raise")}
        given = {"quantize": self.quantize} if self.quantize else {}
        parts += [f"{name}={value!r}" for name, value in {**given, **self.options, **run}.items()]
        return f"{type(self).__name__}({', '.join(parts)})"


def check_count(name: str, value: Any, least: int = 1, *, unit: str = "", otherwise: str = "") -> None:
    """Refuse a value that is neither `None` nor a whole number from `least`.

    Raises:
        InputError: It names the option, the `unit` that it counts, and what `otherwise` says of other values.

    Example:
        >>> check_count("top_k", 0)
        Traceback (most recent call last):
        notebook_kit.errors.InputError: top_k is 0.
        → Pass top_k as a number from 1.
    """
    if value is not None and (not isinstance(value, int) or value < least):
        number = f"a number of {unit}" if unit else "a number"
        raise InputError(f"{name} is {value!r}.", next_step=f"Pass {name} as {number} from {least}{otherwise}.")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """One of `choices`, from a string in upper or lower case, or from a member of an enumeration.

    Raises:
        InputError: It lists near matches.

    Example:
        >>> check_choice("aggregation_strategy", "FIRST", ["none", "first"])
        'first'
    """
    choice = str(getattr(value, "value", value)).lower()
    if choice not in choices:
        raise InputError(
            f"{name} is {choice!r}. {near_matches(choice, choices)}".rstrip(),
            next_step=f"Pass one of {', '.join(choices)}.",
        )
    return choice


def _placed(model: Any, device: Any, dtype: torch.dtype | str | None) -> tuple[nn.Module, torch.device]:
    """The model in evaluation mode, on its device, in its dtype."""
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model is of the type {type(model).__name__}.",
            next_step="Pass a loaded model, or make it with pipeline().",
        )
    model.eval()
    if dtype not in (None, "auto"):
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
    """A tensor as a float32 array, or an integer one; a list entry by entry, each of which may be a tensor."""
    if not isinstance(values, torch.Tensor):
        return [_to_numpy(value) if isinstance(value, torch.Tensor | list) else value for value in values]
    values = values.detach()
    return (values.float() if values.is_floating_point() else values).cpu().numpy()
