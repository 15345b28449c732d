"""The inputs of a model's `forward`, for pipelines, the Trainer, generation and the panels.

Wrappers are looked through: PEFT's adapters, distributed training, `torch.compile`, `functools.partial` and decorators.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from notebook_kit.nn.base import PreTrainedModel

__all__ = [
    "ModelInputs",
    "ModelTraits",
    "inputs_of",
    "position_limit",
    "takes_name",
    "torch_twin",
    "unwrap",
    "vocabulary_size",
]

# The common names of a model's required input: text, images, audio samples, spectrograms.
_MAIN_NAMES = ("input_ids", "pixel_values", "input_values", "input_features")


@dataclass(frozen=True)
class ModelInputs:
    """The inputs of a model.

    Attributes:
        names: The parameters of `forward`, in order, including labels and switches.
        takes_any: Whether it accepts any other keyword as an input.
        main: The required input: `"input_ids"`, `"pixel_values"`, ...
        labels: Those of `names` that hold labels.
    """

    names: tuple[str, ...]
    takes_any: bool
    main: str
    labels: tuple[str, ...]

    def takes(self, name: str) -> bool:
        """Whether the model accepts a keyword argument of this name."""
        return self.takes_any or name in self.names


def inputs_of(model: Any) -> ModelInputs:
    """The inputs of `model`, or of the model inside a wrapper.

    Args:
        model: A `torch.nn.Module`, or any object with a `forward`.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=50)
        >>> inputs = inputs_of(torch.nn.DataParallel(BertForSequenceClassification(tiny)))
        >>> inputs.main, inputs.labels, inputs.takes("token_type_ids"), inputs.takes("pixel_values")
        ('input_ids', ('labels',), True, False)
    """
    model = unwrap(model)
    names, takes_any = _keywords(model.forward)
    # notebook_kit's own models take **kwargs for output switches only, never for inputs.
    takes_any = takes_any and not isinstance(model, PreTrainedModel)
    labels = tuple(name for name in names if "label" in name or name in ("start_positions", "end_positions"))
    main = getattr(model, "main_input_name", None)
    if not isinstance(main, str):
        candidates = [name for name in _MAIN_NAMES if name in names] or [name for name in names if name not in labels]
        main = candidates[0] if candidates else _MAIN_NAMES[0]
    return ModelInputs(names, takes_any, main, labels)


def unwrap(model: Any) -> Any:
    """The model inside `torch.compile`, PEFT, `DataParallel`, DDP, FSDP or DeepSpeed; `model` itself if it is not wrapped."""
    while True:
        inner = getattr(model, "_orig_mod", None)  # torch.compile
        if inner is None and callable(getattr(model, "get_base_model", None)):  # PEFT
            inner = model.get_base_model()
        if inner is None and isinstance(getattr(model, "module", None), nn.Module):
            # A model may have a submodule called `module`; but the forward of a wrapper names no inputs.
            inner = None if _keywords(model.forward)[0] else model.module
        if inner is None or inner is model:
            return model
        model = inner


def torch_twin(model: Any) -> Any:
    """The torch model with the weights that a TF model has now; anything else unchanged.

    Pipelines, panels and `generate` compute with PyTorch, and take a TF model all the same.
    """
    return model.to_torch() if callable(getattr(type(model), "to_torch", None)) else model


def _inner(wrapper: nn.Module) -> nn.Module | None:
    """The model that a wrapper passes its inputs on to: its attribute `model`, or its only submodule."""
    named, children = getattr(wrapper, "model", None), list(wrapper.children())
    return named if isinstance(named, nn.Module) else children[0] if len(children) == 1 else None


def _models_in(module: nn.Module) -> list[nn.Module]:
    """The module itself if it is a model, else the outermost models in it."""
    module = unwrap(module)
    if hasattr(module, "get_input_embeddings"):
        return [module]
    return [model for child in module.children() for model in _models_in(child)]


def position_limit(model: Any) -> int | None:
    """The maximum sequence length of `model` in tokens; None if it has no limit.

    For a model of another library this is the length in its config, if the model has a position table of that size:
    rotary and relative positions are not limited to the config's length.
    """
    model = unwrap(model)
    if isinstance(model, PreTrainedModel):
        return model.position_limit
    longest = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if not isinstance(longest, int):
        return None
    words = _token_table(model)
    for table in model.modules():
        # The tables of BART and related models have two extra rows.
        if not isinstance(table, nn.Embedding) or (words is not None and table.weight is words.weight):
            continue
        if 0 <= table.num_embeddings - longest <= 2:
            padded = table.num_embeddings == longest and table.padding_idx is not None
            return longest - table.padding_idx - 1 if padded else longest  # type: ignore[operator]  # RoBERTa's first position
    return None


def vocabulary_size(model: Any) -> int | None:
    """The number of token ids that `model` knows; None if it does not read tokens."""
    table = _token_table(unwrap(model))
    return None if table is None else table.num_embeddings


def _token_table(model: Any) -> nn.Embedding | None:
    """The token embeddings; None if the model has none or does not expose them."""
    try:
        table = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    return table if isinstance(table, nn.Embedding) else None


def takes_name(function: Callable[..., Any], name: str) -> bool:
    """Whether a function accepts a keyword argument of this name."""
    names, takes_any = _keywords(function)
    return takes_any or name in names


def _keywords(function: Callable[..., Any]) -> tuple[tuple[str, ...], bool]:
    """The names of a function's parameters, and whether it takes `**kwargs`."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled code, such as TorchScript, has no signature
        return (), True
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    # A decorator that copies the `__signature__` of a bound method (functools.wraps) copies `self` with it.
    names = tuple(p.name for p in parameters if p.kind in kinds and p.name != "self")
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters)


@dataclass(frozen=True)
class ModelTraits:
    """The properties of a model that matter for training.

    Attributes:
        label_names: The inputs that hold labels.
        shifts_labels: Whether the loss compares each position with the next label.
        returns_loss: Whether the model can return a loss without labels.
    """

    label_names: list[str]
    shifts_labels: bool
    returns_loss: bool

    @classmethod
    def of(cls, model: nn.Module, label_names: list[str] | None) -> ModelTraits:
        """Inspect `model`; `label_names` overrides the names from its signature."""
        model = unwrap(model)
        # A wrapper with `forward(self, **kwargs)` may take inputs that the model inside does not, but labels are the same.
        while not _keywords(model.forward)[0] and (inner := _inner(model)) is not None:
            model = unwrap(inner)
        inputs, models = inputs_of(model), _models_in(model)
        head = models[0] if len(models) == 1 else model
        is_causal = any(part in type(head).__name__ for part in ("CausalLM", "LMHeadModel"))
        switch = inspect.signature(model.forward).parameters.get("return_loss") if inputs.names else None
        return cls(
            label_names=list(label_names) if label_names is not None else list(inputs.labels) or ["labels"],
            shifts_labels=is_causal and not getattr(getattr(head, "config", None), "is_encoder_decoder", False),
            returns_loss=switch is not None and switch.default is True,
        )
