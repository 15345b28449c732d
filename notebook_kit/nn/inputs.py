"""What a model's `forward` takes: one answer for pipelines, the Trainer, generation and the panels.

It looks through what others put around a model: PEFT's adapters, the wrappers of distributed training, `torch.compile`,
`functools.partial` and decorators.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from notebook_kit.nn.base import PreTrainedModel

__all__ = ["ModelInputs", "ModelTraits", "inputs_of", "position_limit", "takes_name", "unwrap", "vocabulary_size"]

# The field's names for the one input that a model cannot do without: text, images, samples, spectrograms.
_MAIN_NAMES = ("input_ids", "pixel_values", "input_values", "input_features")


@dataclass(frozen=True)
class ModelInputs:
    """The inputs of a model.

    Attributes:
        names: The names that `forward` lists, in its order, labels and switches included.
        takes_any: Whether it accepts any other keyword as an input.
        main: The input that the model cannot do without: `"input_ids"`, `"pixel_values"`, ...
        labels: Those of `names` that hold labels.
    """

    names: tuple[str, ...]
    takes_any: bool
    main: str
    labels: tuple[str, ...]

    def takes(self, name: str) -> bool:
        """Whether the model can be called with a keyword of this name."""
        return self.takes_any or name in self.names


def inputs_of(model: Any) -> ModelInputs:
    """The inputs of `model`, or of the model inside a wrapper.

    Args:
        model: A `torch.nn.Module`, or anything else with a `forward`.

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
    # The further keywords of this library's models are switches for their outputs, never inputs.
    takes_any = takes_any and not isinstance(model, PreTrainedModel)
    labels = tuple(name for name in names if "label" in name or name in ("start_positions", "end_positions"))
    main = getattr(model, "main_input_name", None)
    if not isinstance(main, str):
        candidates = [*(name for name in _MAIN_NAMES if name in names), *(n for n in names if n not in labels)]
        main = candidates[0] if candidates else _MAIN_NAMES[0]
    return ModelInputs(names, takes_any, main, labels)


def unwrap(model: Any) -> Any:
    """The model inside `torch.compile`, PEFT, `DataParallel`, DDP, FSDP or DeepSpeed; `model` itself if it is not wrapped."""
    while True:
        inner = getattr(model, "_orig_mod", None)  # torch.compile
        if inner is None and callable(getattr(model, "get_base_model", None)):  # PEFT
            inner = model.get_base_model()
        if inner is None and isinstance(getattr(model, "module", None), nn.Module):
            # A model may have a part called `module`; a wrapper's forward names no input.
            inner = None if _keywords(model.forward)[0] else model.module
        if inner is None or inner is model:
            return model
        model = inner


def position_limit(model: Any) -> int | None:
    """The longest sequence, in tokens, that `model` has positions for; None if there is no such limit.

    Of a model of another library this is what its config says, provided that the model holds a table of that many
    positions: rotary and relative positions go on beyond the length that a config names.
    """
    model = unwrap(model)
    if isinstance(model, PreTrainedModel):
        return model.position_limit
    longest = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if not isinstance(longest, int):
        return None
    words = _token_table(model)
    for table in model.modules():
        # BART and its kin have two rows more than positions.
        if not isinstance(table, nn.Embedding) or (words is not None and table.weight is words.weight):
            continue
        if 0 <= table.num_embeddings - longest <= 2:
            padded = table.num_embeddings == longest and table.padding_idx is not None
            return longest - table.padding_idx - 1 if padded else longest  # type: ignore[operator]  # as RoBERTa counts
    return None


def vocabulary_size(model: Any) -> int | None:
    """How many token ids `model` knows; None if it reads no tokens."""
    table = _token_table(unwrap(model))
    return None if table is None else table.num_embeddings


def _token_table(model: Any) -> nn.Embedding | None:
    """The embeddings of tokens; None for a model that has no such table or does not say which it is."""
    try:
        table = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    return table if isinstance(table, nn.Embedding) else None


def takes_name(function: Callable[..., Any], name: str) -> bool:
    """Whether a function accepts a keyword argument of that name."""
    names, takes_any = _keywords(function)
    return takes_any or name in names


def _keywords(function: Callable[..., Any]) -> tuple[tuple[str, ...], bool]:
    """The names of a function's parameters, and whether it has `**kwargs`."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled code, such as TorchScript, has no signature
        return (), True
    names = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters)


@dataclass(frozen=True)
class ModelTraits:
    """What matters about a model for its training.

    Attributes:
        label_names: The inputs that hold labels.
        takes_items: Its `forward` takes `num_items_in_batch` and divides its loss by it.
        shifts_labels: Its loss compares each position with the next label.
        returns_loss: It can return a loss without labels.
    """

    label_names: list[str]
    takes_items: bool
    shifts_labels: bool
    returns_loss: bool

    @classmethod
    def of(cls, model: nn.Module, label_names: list[str] | None) -> ModelTraits:
        """Look at `model`; `label_names` overrides the names that its signature suggests."""
        inputs, model = inputs_of(model), unwrap(model)
        kind = type(model).__name__
        causal = "CausalLM" in kind or "LMHeadModel" in kind
        return_loss = (
            "return_loss" in inputs.names and inspect.signature(model.forward).parameters["return_loss"].default
        )
        return cls(
            label_names=list(label_names) if label_names is not None else list(inputs.labels) or ["labels"],
            takes_items=bool(getattr(model, "accepts_loss_kwargs", inputs.takes_any)),
            shifts_labels=causal and not getattr(getattr(model, "config", None), "is_encoder_decoder", False),
            returns_loss=return_loss is True,
        )
