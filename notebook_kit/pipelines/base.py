"""The base of all pipelines: from raw inputs to answers in three steps."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import nn

from notebook_kit.errors import InputError, near_matches
from notebook_kit.nn.inputs import inputs_of
from notebook_kit.nn.placement import choose_device, choose_dtype
from notebook_kit.pipelines.batching import length_alike_batches, pad_features
from notebook_kit.pipelines.inputs import KeyDataset, KeyPairDataset, kind_of
from notebook_kit.pipelines.running import Plan, ResultStream, run_list

__all__ = ["KeyDataset", "KeyPairDataset", "Pipeline", "notice"]

# What a tokenizer's call takes and a pipeline hands on to it.
TOKENIZER_OPTIONS = (
    "add_special_tokens",
    "max_length",
    "pad_to_multiple_of",
    "padding",
    "padding_side",
    "return_attention_mask",
    "return_token_type_ids",
    "truncation",
)

RUN_OPTIONS = ("batch_size", "batch_tokens", "on_error", "progress", "window")

# Measured: below about 1,000 tokens a CPU does not fill its vector units, above it caches run over.
CPU_BATCH_TOKENS = 1024
ACCELERATOR_BATCH_TOKENS = 16384
CPU_WINDOW = 256
ACCELERATOR_WINDOW = 2048


def notice(message: str) -> None:
    """Say one line to the user through the logger "notebook_kit", which is seen unless its level is raised.

    Example:
        >>> import logging
        >>> logging.getLogger("notebook_kit").setLevel(logging.ERROR)  # to see no notices
        >>> notice("This is not seen.")
        >>> logging.getLogger("notebook_kit").setLevel(logging.NOTSET)
    """
    logging.getLogger("notebook_kit").warning(message)


class Pipeline:
    """Raw inputs in, answers out. A task is a subclass that says three things.

    - `preprocess(item, **options)`: from one input to its features, a dict or a list of dicts. What the model's
      `forward` takes is given to it, padded into batches; everything else is kept for the last step.
    - `forward(batch, **options)`: from one batch to a dict of tensors (or lists) with one row a feature.
    - `postprocess(item, features, outputs, **options)`: from one input, its features and their rows to the answer.

    Keyword-only arguments of the three are the options of the pipeline. They can be given at construction, and for a
    single call. `**options` in `preprocess` stands for those of the tokenizer.

    Args:
        model: A model of notebook_kit (or a module with the same inputs and outputs).
        tokenizer: Its tokenizer.
        feature_extractor: For sound.
        image_processor: For images.
        processor: For more than one kind of input.
        task: The name to go by; the class's own unless given.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`, a `torch.device`, or a number (-1 for the CPU); by default the
            accelerator if there is one.
        dtype: Of the weights, as `torch.bfloat16` or `"bfloat16"`; as the model is, unless given.
        quantize: `"int8"` computes the linear layers of a model on the CPU with 8-bit weights; see
            `notebook_kit.pipelines.quantization`.
        batch_size: The most sequences in a batch; `None` leaves it to `batch_tokens` alone.
        batch_tokens: The most tokens in a batch, padding counted. By default 1,024 on the CPU; elsewhere 16,384, or
            no such limit if a `batch_size` is given.
        window: The most inputs that are sorted by length together, and read ahead from a stream. By default 256 on the
            CPU and 2,048 elsewhere, four times the `batch_size` if that is more, and 1 if the `batch_size` is 1.
        progress: `True` and `False` for a bar always and never; `None` for one on lists that take more than 2 seconds.
        on_error: What an input that fails does. `"raise"`: all others are computed, then one `PipelineInputError` names
            the positions of those that failed and holds the results of the rest. `"return"`: such an error stands in
            the place of the result.
        **options: Those of the three steps.

    Raises:
        InputError: for an option that the task does not have, with near matches.

    Example:
        >>> from notebook_kit import BertConfig, BertModel, Pipeline
        >>> class FirstVectorNorm(Pipeline):  # how long the first token's vector is
        ...     task, processors = "first-vector-norm", ()  # its inputs are ids, so it needs no tokenizer
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
    auto_model: ClassVar[str] = "AutoModel"
    processors: ClassVar[tuple[str, ...]] = ("tokenizer",)
    per_token: ClassVar[frozenset[str]] = frozenset()
    """Names of outputs of shape `(batch, tokens, ...)`, from which padding is cut off."""

    _takers: ClassVar[dict[str, tuple[int, ...]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Signatures are read once here, so that a call costs no more than a look into a dict.
        takers: dict[str, tuple[int, ...]] = {}
        for number, step in enumerate((cls.preprocess, cls.forward, cls.postprocess)):
            for parameter in inspect.signature(step).parameters.values():
                names: Iterable[str] = ()
                if parameter.kind is parameter.KEYWORD_ONLY:
                    names = (parameter.name,)
                elif parameter.kind is parameter.VAR_KEYWORD and number == 0:
                    names = TOKENIZER_OPTIONS
                for name in names:
                    takers[name] = (*takers.get(name, ()), number)
        cls._takers = takers

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
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        window: int | None = None,
        progress: bool | None = None,
        on_error: str = "raise",
        **options: Any,
    ) -> None:
        self.task = task or type(self).task
        self.tokenizer = tokenizer
        self.feature_extractor = feature_extractor
        self.image_processor = image_processor
        self.processor = processor
        for name in self.processors:
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
        self._run_options = {
            "batch_size": batch_size,
            "batch_tokens": batch_tokens,
            "window": window,
            "progress": progress,
            "on_error": on_error,
        }
        inputs = inputs_of(self.model)
        self.input_names = tuple(name for name in inputs.names if name not in inputs.labels)
        self.options: dict[str, Any] = {}
        self.options = self._checked(options)
        self._plan = self._planned({}, {})

    # To be given by a task -----------------------------------------------------------------------------------------

    def preprocess(self, item: Any, *args: Any, **options: Any) -> Any:
        """From one input to its features."""
        raise NotImplementedError

    def forward(self, batch: dict[str, torch.Tensor], *args: Any, **options: Any) -> dict[str, Any]:
        """From one batch to its outputs, one row a feature: the logits, which is what most tasks want."""
        return {"logits": self.model(**batch).logits}

    def postprocess(
        self, item: Any, features: list[dict[str, Any]], outputs: list[dict[str, Any]], *args: Any, **options: Any
    ) -> Any:
        """From the outputs of one input to its answer."""
        raise NotImplementedError

    def settle(self, options: dict[str, Any]) -> dict[str, Any]:
        """Translate old spellings of options and check their values; a task may override it."""
        return options

    def kind_of(self, inputs: Any) -> str:
        """`"one"`, `"list"` or `"stream"`; a task whose single input is a list or an array overrides it."""
        return kind_of(inputs)

    # Running -------------------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Run the pipeline.

        Args:
            inputs: One input, a list of them, or a stream of them: a generator, an iterable dataset, a `KeyDataset`.
            **options: Those of the task, and `batch_size`, `batch_tokens`, `window`, `progress`, `on_error`, for this
                call alone.

        Returns:
            The answer; for a list, a list of answers in the same order; for a stream, a `ResultStream`, which is a
            generator that reads ahead at most one window.

        Raises:
            InputError: for an option that does not exist, or one input that cannot be used.
            PipelineInputError: for inputs of a list or a stream that cannot be used; it names their positions.
        """
        plan = self.plan(options) if options else self._plan
        kind = self.kind_of(inputs)
        if kind == "one":
            return self._run_one(inputs, plan)
        if kind == "list":
            return run_list(self, inputs, plan)
        return ResultStream(self, inputs, plan)

    def _run_one(self, item: Any, plan: Plan) -> Any:
        features = self.features_of(item, plan.preprocess)
        if len(features) == 1:
            outputs = self.run_batch(features, plan.forward)
            return self.postprocess(item, features, outputs, **plan.postprocess)
        rows: list[dict[str, Any]] = [{}] * len(features)
        lengths = [self.length_of(feature) for feature in features]
        for batch in length_alike_batches(
            lengths, most=plan.batch_size, budget=plan.batch_tokens, padding=self.can_pad
        ):
            for i, row in zip(batch, self.run_batch([features[i] for i in batch], plan.forward), strict=True):
                rows[i] = row
        return self.postprocess(item, features, rows, **plan.postprocess)

    def features_of(self, item: Any, options: dict[str, Any]) -> list[dict[str, Any]]:
        """The features of one input, checked against what the model can read."""
        made = self.preprocess(item, **options)
        features = made if isinstance(made, list) else [made]
        for feature in features:
            self._check(feature)
        return features

    def length_of(self, feature: Mapping[str, Any]) -> int:
        """What features are sorted by: the number of tokens."""
        ids = feature.get("input_ids")
        return 1 if ids is None else len(ids)

    def run_batch(self, features: list[dict[str, Any]], options: dict[str, Any]) -> list[dict[str, Any]]:
        """Compute one batch of features: a dict of numpy arrays (float32) for each, without padding."""
        batch = pad_features(features, self.input_names, fill=self._fill, side=self._padding_side)
        if self.device.type != "cpu":
            batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        if self.model.training:
            self.model.eval()
        with torch.inference_mode():
            outputs = self.forward(batch, **options)
            rows: list[dict[str, Any]] = [{} for _ in features]
            for name, values in outputs.items():
                for row, value in zip(rows, _to_numpy(values), strict=True):
                    row[name] = value
        for name in self.per_token.intersection(outputs):
            for row, feature in zip(rows, features, strict=True):
                n = len(feature["input_ids"])
                row[name] = row[name][:n] if self._padding_side == "right" else row[name][len(row[name]) - n :]
        return rows

    # Options -------------------------------------------------------------------------------------------------------

    def plan(self, options: dict[str, Any]) -> Plan:
        """How a call with these options is to be run."""
        run = {name: options.pop(name) for name in RUN_OPTIONS if name in options}
        return self._planned(self._checked(options), run)

    def _checked(self, options: dict[str, Any]) -> dict[str, Any]:
        options.pop("num_workers", None)  # the tokenizers' threads do what worker processes would do
        options = self.settle(options)
        for name in options:
            if name not in self._takers:
                known = sorted((*self._takers, *RUN_OPTIONS))
                raise InputError(
                    f"The pipeline {self.task} has no option {name!r}. {near_matches(name, known)}".rstrip(),
                    next_step=f"Its options are {', '.join(known)}.",
                )
        return options

    def _planned(self, options: dict[str, Any], run: dict[str, Any]) -> Plan:
        steps: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = ({}, {}, {})
        for name, value in {**self.options, **options}.items():
            for number in self._takers[name]:
                steps[number][name] = value
        run = {**self._run_options, **run}
        batch_size, budget, window = run["batch_size"], run["batch_tokens"], run["window"]
        for name in ("batch_size", "batch_tokens", "window"):
            if run[name] is not None and (not isinstance(run[name], int) or run[name] < 1):
                raise InputError(f"{name} is {run[name]!r}.", next_step=f"Pass {name} as a number from 1, or None.")
        if run["on_error"] not in ("raise", "return"):
            raise InputError(f"on_error is {run['on_error']!r}.", next_step='Pass on_error="raise" or "return".')
        on_cpu = self.device.type == "cpu"
        if budget is None and on_cpu:
            budget = CPU_BATCH_TOKENS
        elif budget is None and batch_size is None:
            budget = ACCELERATOR_BATCH_TOKENS
        if window is None:
            window = CPU_WINDOW if on_cpu else ACCELERATOR_WINDOW
            window = 1 if batch_size == 1 else max(window, 4 * (batch_size or 0))
        return Plan(steps[0], steps[1], steps[2], batch_size, budget, window, run["progress"], run["on_error"])

    # Texts ---------------------------------------------------------------------------------------------------------

    def tokenize(self, text: Any, pair: Any = None, **options: Any) -> Any:
        """Call the tokenizer; truncation knows the model's own limit even where the tokenizer does not."""
        if options.get("truncation") and options.get("max_length") is None:
            limit = self.max_tokens
            if limit is not None and limit < self.tokenizer.model_max_length:
                options["max_length"] = limit
        # Not verbose: a text that is too long for the model gets an error from here, not a warning from there.
        options["verbose"] = False
        return self.tokenizer(text, pair, **options) if pair is not None else self.tokenizer(text, **options)

    @property
    def max_tokens(self) -> int | None:
        """The longest sequence that the model has positions for; `None` if it has no such limit."""
        return self._limits[0]

    @property
    def can_pad(self) -> bool:
        """Whether sequences of different lengths can share a batch: there is a token to pad with."""
        return self.tokenizer is None or self.tokenizer.pad_token_id is not None

    @property
    def _limits(self) -> tuple[int | None, int | None]:
        found = self.__dict__.get("_found_limits")
        if found is None:
            found = self.__dict__["_found_limits"] = _limits_of(self.model)
        return found

    @property
    def _padding_side(self) -> str:
        return getattr(self.tokenizer, "padding_side", "right")

    @property
    def _fill(self) -> dict[str, int | float]:
        tokenizer = self.tokenizer
        if tokenizer is None:
            return {}
        segment = getattr(tokenizer, "pad_token_type_id", 0)
        return {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": segment or 0}

    def _check(self, feature: Mapping[str, Any]) -> None:
        ids = feature.get("input_ids")
        if not isinstance(ids, list):
            return
        longest, vocabulary = self._limits
        if longest is not None and len(ids) > longest:
            raise InputError(
                f"The input is {len(ids)} tokens long, and the model reads at most {longest}.",
                next_step="Pass truncation=True to read only its start, or split it."
                if "truncation" in self._takers
                else "Split it into shorter ones.",
            )
        if not ids:
            raise InputError("The input gave no tokens.", next_step="Leave empty inputs out.")
        if vocabulary is not None and max(ids) >= vocabulary:
            raise InputError(
                f"The tokenizer gave the token id {max(ids)}, and the model knows {vocabulary} tokens: they do not "
                "belong together.",
                next_step="Load both from the same checkpoint, or call model.resize_token_embeddings(len(tokenizer)).",
            )

    # The rest ------------------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)

    @property
    def framework(self) -> str:
        """Always `"pt"`."""
        return "pt"

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save the model and its tokenizer (or other processors) into one folder, from which `pipeline` loads them.

        Args:
            save_directory: The folder; it is made if need be.
            **kwargs: Handed on to `model.save_pretrained`.

        Raises:
            InputError: if the pipeline was quantized, since checkpoints hold the weights as they were trained.
        """
        if self.quantize is not None:
            raise InputError(
                f"This pipeline computes with quantize={self.quantize!r}; its weights cannot be saved as a checkpoint.",
                next_step="Save the pipeline that was made without quantize=, and quantize when loading.",
            )
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder, **kwargs)
        for name in ("tokenizer", "feature_extractor", "image_processor", "processor"):
            part = getattr(self, name)
            if part is not None:
                part.save_pretrained(folder)

    def __repr__(self) -> str:
        name = getattr(self.model, "name_or_path", "") or getattr(self.model.config, "name_or_path", "")
        tensors = [*self.model.parameters(), *(b for b in self.model.buffers() if b.dtype == torch.int8)]
        size = sum(tensor.numel() for tensor in tensors)
        unit, word = (1e6, " M") if size >= 1e6 else (1e3, " K")
        parts = [
            repr(self.task),
            f"model={type(self.model).__name__}"
            + (f" from {name!r}" if name else "")
            + f" ({size / unit:.1f}{word} parameters)",
            f"device={str(self.device)!r}",
            f"dtype={str(self.dtype).removeprefix('torch.')!r}",
        ]
        if self.quantize:
            parts.append(f"quantize={self.quantize!r}")
        given = {**self.options, **{k: v for k, v in self._run_options.items() if v not in (None, "raise")}}
        parts += [f"{key}={value!r}" for key, value in given.items()]
        return f"{type(self).__name__}({', '.join(parts)})"


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


def _limits_of(model: nn.Module) -> tuple[int | None, int | None]:
    """The most tokens that the model has learned positions for, and the size of its vocabulary."""
    longest = vocabulary = None
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            if name.endswith("position_embeddings"):
                # RoBERTa and its kin count positions from after the padding's.
                config = cast(Any, model.config)
                shift = module.padding_idx
                if shift is None and getattr(config, "model_type", "") in _COUNT_FROM_PADDING:
                    shift = getattr(config, "pad_token_id", None)
                most = module.num_embeddings - (0 if shift is None else shift + 1)
                longest = most if longest is None else min(longest, most)
            elif name.endswith("embed_positions"):  # BART's; its first rows are never used
                most = module.num_embeddings - getattr(module, "unused", 0)
                longest = most if longest is None else min(longest, most)
            elif name.endswith(("word_embeddings", "shared", "embed_tokens")) and vocabulary is None:
                vocabulary = module.num_embeddings
    return longest, vocabulary


_COUNT_FROM_PADDING = frozenset({"camembert", "longformer", "mpnet", "roberta", "xlm-roberta"})


def _to_numpy(values: Any) -> Any:
    """A tensor as a float32 array, or an integer one; a list entry by entry, each of which may be a tensor."""
    if not isinstance(values, torch.Tensor):
        return [_to_numpy(value) if isinstance(value, torch.Tensor | list) else value for value in values]
    values = values.detach()
    return (values.float() if values.is_floating_point() else values).cpu().numpy()
