"""What is wrong with a model's call: inputs that it does not have; and after an error, so that calls that work cost nothing,
the input of a wrong type, dtype or shape."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError, UnknownAttributeError, a_kind
from notebook_kit.keywords import FOREIGN_INPUTS, ignore, refuse_slips

__all__ = ["as_tensors", "explain_unknown_attributes", "known_inputs", "names_of_inputs", "wrong_input"]

_PACKAGE = __name__.partition(".")[0]
_SWITCHES = ("use_cache", "output_attentions", "output_hidden_states", "return_dict")
_INDICES = ("input_ids", "token_type_ids", "position_ids", "decoder_input_ids", "start_positions", "end_positions")
_PER_TOKEN = ("token_type_ids", "position_ids")
_TENSORS = ("inputs_embeds", "labels", "next_sentence_label", "sentence_order_label", "encoder_hidden_states")
_OTHERS = ("logits_to_keep", "encoder_outputs", "past_key_values")
_KNOWN = {*_SWITCHES, *_INDICES, *_TENSORS, *_OTHERS, "decoder_inputs_embeds"} | {
    f"{of}attention_mask" for of in ("", "decoder_", "encoder_")
}


def explain_unknown_attributes(module: nn.Module) -> None:
    """Give this package's classes among a model's modules a `__getattr__` whose error lists near matches.

    Example:
        >>> from notebook_kit import BertConfig, BertModel
        >>> model = BertModel(BertConfig(hidden_size=24, num_hidden_layers=1, intermediate_size=48, vocab_size=50))
        >>> model.encoder.laeyr
        Traceback (most recent call last):
        notebook_kit.errors.UnknownAttributeError: 'BertEncoder' object has no attribute 'laeyr'. Did you mean 'layer'?
    """
    for kind in {type(part) for part in module.modules()}:
        if kind.__getattr__ is nn.Module.__getattr__ and kind.__module__.partition(".")[0] == _PACKAGE:
            kind.__getattr__ = _member  # type: ignore[method-assign]


def _member(module: nn.Module, name: str) -> Any:
    """The submodule, parameter or buffer of this name, as `nn.Module.__getattr__` finds them."""
    state = module.__dict__
    for kind in ("_modules", "_parameters", "_buffers"):
        if name in (members := state.get(kind, ())):
            return members[name]
    what = f"{type(module).__name__!r} object has no attribute {name!r}."
    raise UnknownAttributeError(what, name, [] if name.startswith("_") else dir(module))


def names_of_inputs(forward: Callable[..., Any]) -> frozenset[str] | None:
    """The keywords that a `forward` of this package takes; None for one of a user, which may do with any as it likes.

    Example:
        >>> from notebook_kit import BertForSequenceClassification
        >>> names = names_of_inputs(BertForSequenceClassification.forward)
        >>> "labels" in names, "output_attentions" in names, "use_cache" in names
        (True, True, False)
    """
    if forward.__module__.partition(".")[0] != _PACKAGE:
        return None
    parameters = inspect.signature(forward).parameters
    switches = [p.annotation for p in parameters.values() if p.kind is p.VAR_KEYWORD]
    names = set(parameters) - {"self"}
    if switches:
        names |= {"output_attentions", "output_hidden_states"}
    if "Unpack[DecoderOptions]" in switches:
        names.add("use_cache")
    return frozenset(names)


def known_inputs(model: str, names: Collection[str], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a call without those that the model does not have, after a notice about these.

    Args:
        model: The name of the model's class.
        names: The inputs that it has.
        inputs: Those of the call.

    Raises:
        InputError: If a name looks like a slip.
    """
    unknown = {name: value for name, value in inputs.items() if name not in names}
    refuse_slips(model, unknown.keys() - FOREIGN_INPUTS, names)
    ignore(model, unknown)
    return {name: value for name, value in inputs.items() if name in names}


def wrong_input(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> InputError | None:
    """The error about the first input that cannot be right; None if all of them could be.

    Args:
        forward: The model's `forward`.
        args, kwargs: The arguments of the call.

    Example:
        >>> from notebook_kit import BertConfig, BertModel
        >>> model = BertModel(BertConfig(hidden_size=24, num_hidden_layers=1, intermediate_size=48, vocab_size=50))
        >>> print(wrong_input(model.forward, ("a text",), {}))
        input_ids is a str; expected a tensor.
        → Tokenize the text first: model(**tokenizer(text, return_tensors='pt')).
    """
    signature = inspect.signature(forward)
    try:
        given = signature.bind_partial(*args, **kwargs).arguments
    except TypeError:  # a wrong name, which the original error names
        return None
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            given |= given.pop(name, {})
    # An argument of a user's own model may be of any type.
    named = {name: value for name, value in given.items() if value is not None and name in _KNOWN}
    tokens = next((named[n].shape[:2] for n in ("input_ids", "inputs_embeds") if _has_axes(named.get(n))), None)
    for name, value in named.items():
        if fault := _fault(name, value, tokens):
            return InputError(f"{name} {fault[0]}.", next_step=fault[1])
    return None


def _has_axes(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 1


def as_tensors(value: Any) -> str:
    """How to pass tensors in place of `value`."""
    if isinstance(value, Mapping):
        return "Pass its tensors by name: model(**batch)."
    first = value[0] if isinstance(value, list | tuple) and value else value
    if isinstance(first, str):
        return "Tokenize the text first: model(**tokenizer(text, return_tensors='pt'))."
    return "Call the tokenizer with return_tensors='pt', or wrap the numbers in torch.tensor(...)."


def _fault(name: str, value: Any, tokens: torch.Size | None) -> tuple[str, str] | None:
    """What is wrong with an input, and what to do about it."""
    kind = f"is {a_kind(value)}"
    if name in _SWITCHES:
        return None if isinstance(value, bool) else (f"{kind}; expected True or False", "Pass True, False or None.")
    if name == "encoder_outputs":
        is_output = hasattr(value, "keys") or isinstance(value, tuple)
        states = next(iter(value.values()) if hasattr(value, "values") else iter(value), None) if is_output else None
        fits = _has_axes(states)
        return None if fits else (f"{kind}; expected the output of the encoder", "Pass model.get_encoder()(input_ids).")
    if name == "logits_to_keep" and not isinstance(value, int | Tensor):
        return f"{kind}; expected a whole number or a tensor of indices", "Pass 0 for the logits of all tokens."
    if name in _OTHERS:
        indices = isinstance(value, Tensor) and (value.is_floating_point() or value.dim() > 1 or tokens is None)
        outside = (
            isinstance(value, Tensor) and not indices and tokens and not bool((value.abs() <= tokens[1] - 1).all())
        )
        return ("is not a tensor of indices of tokens", "Pass a number of last tokens.") if indices or outside else None
    if not isinstance(value, Tensor):
        return f"{kind}; expected a tensor", as_tensors(value)
    if value.numel() == 0:
        return f"is empty: its shape is {tuple(value.shape)}", "Leave empty inputs out."
    if value.dim() < 2 and (name in ("input_ids", "decoder_input_ids") or name.endswith("attention_mask")):
        return f"has shape {tuple(value.shape)}; expected (batch, tokens)", "Add the batch dimension with unsqueeze(0)."
    if name in _INDICES and (value.is_floating_point() or value.dtype == torch.bool):
        return f"has the dtype {value.dtype}; expected whole numbers", f"Pass {name}.long()."
    if name in _PER_TOKEN and tokens is not None and not (value.dim() == 2 and value.shape[1] == tokens[1]):
        return (
            f"has shape {tuple(value.shape)}; expected {tuple(tokens)}",
            f"Pass one number per token, or leave {name} out.",
        )
    if name in ("start_positions", "end_positions") and tokens is not None and value.numel() != tokens[0]:
        return f"has shape {tuple(value.shape)}; expected ({tokens[0]},)", "Pass one position per text."
    if name == "position_ids":
        low, high = int(value.min()), int(value.max())
        return (
            f"go from {low} to {high}, and the model has no such positions",
            "Leave position_ids out, or shorten the text.",
        )
    if name == "labels" and tokens is not None and value.shape[0] != tokens[0]:
        return f"has shape {tuple(value.shape)}, for a batch of {tokens[0]}", "Pass the labels of this batch."
    if name == "labels" and value.is_floating_point():
        return f"has the dtype {value.dtype}; expected class indices", "Pass labels.long()."
    if name == "inputs_embeds" and value.dim() == 3:
        return f"has the width {value.shape[2]}, which is not the model's", "Pass embeddings as wide as the model."
    return None
