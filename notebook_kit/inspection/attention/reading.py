"""From whatever a user has (a model and a text, a record, bare tensors) to one `Reading` of attention."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.inspection.attention.axes import Tokens, encode, named_tokens
from notebook_kit.nn.attention import AttentionRecord, record_attention, sites_of
from notebook_kit.nn.inputs import inputs_of

__all__ = ["KEPT_BYTES", "Reading", "asked_for", "evaluating", "has_sites", "read_model", "read_record", "read_tensors"]

KEPT_BYTES = 256 * 2**20
"""Up to here attention is kept as float32; beyond it layer by layer as float16, which takes half."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The attention of a model on one input.

    Args:
        layers: One `(heads, from, to)` tensor a layer, float32 or float16, on the CPU, finite.
        numbers: The number that the model gives to each of those layers.
        rows: The tokens that attend.
        columns: The tokens that are attended to.
        notices: What a reader should know: `(key of the interface's words, values)`.
        inputs: What the model was given, `(1, tokens)` each; empty for bare tensors.
        kind: Which attention it is: "self", "decoder" or "cross".
    """

    layers: tuple[Tensor, ...]
    numbers: tuple[int, ...]
    rows: Tokens
    columns: Tokens
    notices: tuple[tuple[str, dict[str, Any]], ...] = ()
    inputs: dict[str, Tensor] = field(default_factory=dict)
    kind: str = "self"

    @property
    def heads(self) -> tuple[int, ...]:
        """How many heads each layer has."""
        return tuple(layer.shape[0] for layer in self.layers)

    @property
    def is_square(self) -> bool:
        """Whether tokens attend to themselves, so that positions can be compared."""
        return self.rows is self.columns

    def layer(self, number: int) -> Tensor:
        """The attention of the layer with this number: `(heads, from, to)`.

        Raises:
            InputError: If there is none.
        """
        if number not in self.numbers:
            raise InputError(
                f"There is no layer {number} here.", next_step=f"Name one of {', '.join(map(str, self.numbers))}."
            )
        return self.layers[self.numbers.index(number)]

    def of(self, number: int, heads: Sequence[int], combine: str = "mean") -> Tensor:
        """Some heads of a layer as one matrix, `(from, to)`, float32.

        Args:
            number: The layer.
            heads: Which heads.
            combine: "mean" or "max", for several heads.

        Raises:
            InputError: If there is no such head.
        """
        layer = self.layer(number)
        unknown = [head for head in heads if not 0 <= head < layer.shape[0]]
        if unknown or not heads:
            raise InputError(
                f"Layer {number} has no head {', '.join(map(str, unknown)) or '(none was named)'}.",
                next_step=f"Its heads go from 0 to {layer.shape[0] - 1}.",
            )
        if len(heads) == 1:
            return layer[heads[0]].float()
        chosen = layer[list(heads)].float()
        return chosen.amax(0) if combine == "max" else chosen.mean(0)


def read_tensors(
    attentions: Any,
    tokens: Sequence[Any] | Tokens | None = None,
    to_tokens: Sequence[Any] | Tokens | None = None,
    *,
    numbers: Sequence[int] | None = None,
    example: int = 0,
    kind: str = "self",
    notices: tuple[tuple[str, dict[str, Any]], ...] = (),
    inputs: dict[str, Tensor] | None = None,
) -> Reading:
    """A reading from bare tensors.

    Args:
        attentions: `(layers, heads, from, to)`, or a list with one `(heads, from, to)` or `(batch, heads, from, to)` a layer.
        tokens: Labels of the tokens that attend; numbers unless given.
        to_tokens: Labels of those attended to, where they are others (cross-attention).
        numbers: The layers' numbers; 0, 1, 2, ... unless given.
        example: Which example of a batch.
        kind: Which attention it is.
        notices: Notices to pass on.
        inputs: What the model was given.

    Raises:
        InputError: For shapes that are no attention, labels that do not fit, or values of which none is finite.

    Example:
        >>> reading = read_tensors(torch.full((2, 3, 4, 4), 0.25), tokens="a b c d".split())
        >>> reading.heads, reading.rows.labels
        ((3, 3), ('a', 'b', 'c', 'd'))
    """
    layers = [_layer(layer, position, example) for position, layer in enumerate(_layers(attentions))]
    F, T = layers[0].shape[1:]
    for position, layer in enumerate(layers):
        if tuple(layer.shape[1:]) != (F, T):
            raise InputError(
                f"The layers differ: layer 0 is {F} x {T} tokens, layer {position} is "
                f"{layer.shape[1]} x {layer.shape[2]}.",
                next_step="Pass layers that attend over the same tokens.",
            )
    if F == 0 or T == 0 or any(layer.shape[0] == 0 for layer in layers):
        raise InputError("There is no token or no head in this attention.", next_step="Pass a text with tokens.")
    rows = tokens if isinstance(tokens, Tokens) else named_tokens(range(F) if tokens is None else tokens)
    if to_tokens is None and F == T:
        columns = rows
    else:
        columns = (
            to_tokens if isinstance(to_tokens, Tokens) else named_tokens(range(T) if to_tokens is None else to_tokens)
        )
    for side, known, size in (("tokens", rows, F), ("to_tokens", columns, T)):
        if len(known) != size:
            raise InputError(
                f"The attention is {F} x {T}, but {side} has {len(known)} labels.",
                next_step=f"Pass {size} labels, special tokens included, as the model saw them.",
            )
    names = tuple(numbers) if numbers is not None else tuple(range(len(layers)))
    kept, found = _finite(layers, names)
    notices = (*notices, *found)
    return Reading(tuple(kept), names, rows, columns, notices, inputs or {}, kind)


def read_record(
    record: AttentionRecord,
    tokens: Sequence[Any] | Tokens | None = None,
    to_tokens: Sequence[Any] | Tokens | None = None,
    *,
    kind: str | None = None,
    example: int = 0,
) -> Reading:
    """A reading from what `record_attention` kept; of several calls, the last.

    Raises:
        InputError: If nothing was recorded, or the model attends in several ways and `kind` does not say which.
    """
    kinds = {site.kind for site in record.sites}
    if kind is None and len(kinds) > 1:
        raise InputError(
            f"This record holds attention of {len(kinds)} kinds: {', '.join(sorted(kinds))}.",
            next_step='Say which, as in kind="cross".',
        )
    kind = kind or next(iter(kinds), "self")
    numbers = sorted({site.layer for site in record.sites if site.kind == kind})
    calls = {number: record.steps(number, kind) for number in numbers}
    if not numbers or not all(calls.values()):
        raise InputError(
            "Nothing has been recorded yet.",
            next_step="Call the model inside the `with record_attention(...)` block, then pass the record.",
        )
    return read_tensors(
        [calls[number][-1] for number in numbers], tokens, to_tokens, numbers=numbers, kind=kind, example=example
    )


def read_model(
    model: nn.Module, tokenizer: Any, text: str, text_pair: str | None = None, *, kind: str | None = None
) -> Reading:
    """Run a model on a text and read its attention.

    Args:
        model: A model of notebook_kit, or one of `transformers`.
        tokenizer: Its tokenizer.
        text: The text.
        text_pair: The second text, or None.
        kind: Which attention, where the model has several: "self", "decoder" or "cross".

    Raises:
        InputError: If the model cannot give its attention, or cannot take the text.
    """
    features, tokens, cut = encode(tokenizer, text, text_pair)
    if not tokens:
        raise InputError("This text has no tokens.", next_step="Write a text.")
    inputs = _inputs(model, features)
    notices: tuple[tuple[str, dict[str, Any]], ...] = (("notice_cut", {"tokens": len(tokens)}),) if cut else ()
    with evaluating(model):
        if has_sites(model):
            layers, numbers, kind, extra = _recorded(model, inputs, len(tokens), kind)
            notices += extra
        else:
            layers, kind = asked_for(model, inputs), "self"
            numbers = list(range(len(layers)))
    return read_tensors(layers, tokens, numbers=numbers, kind=kind, notices=notices, inputs=inputs)


def has_sites(model: Any) -> bool:
    """Whether notebook_kit can look into this model by itself."""
    if not isinstance(model, nn.Module):
        return False
    try:
        return bool(sites_of(model))
    except NotebookKitError:
        return False


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradients while the block runs; the modules' modes come back after it."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True


# ---------------------------------------------------------------------------------------------------------------------


def _layers(attentions: Any) -> list[Any]:
    if isinstance(attentions, list | tuple):
        if not attentions:
            raise InputError("The list of attentions is empty.", next_step="Pass one tensor a layer.")
        return list(attentions)
    try:
        tensor = torch.as_tensor(attentions)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{type(attentions).__name__} is nothing that attention can be read from.",
            next_step="Pass a model and a text, a record of record_attention, or a tensor (layers, heads, from, to).",
        ) from error
    if tensor.dim() == 3:
        return [tensor]
    if tensor.dim() != 4:
        raise InputError(
            f"A tensor of shape {tuple(tensor.shape)} is no attention.",
            next_step="Pass (layers, heads, from, to), or a list with one (heads, from, to) a layer.",
        )
    if tensor.shape[0] == 0:
        raise InputError("This attention has no layers.", next_step="Pass at least one.")
    return list(tensor)


def _layer(layer: Any, position: int, example: int) -> Tensor:
    try:
        tensor = torch.as_tensor(layer).detach()
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"Layer {position} is {'None' if layer is None else type(layer).__name__}, which is no attention.",
            next_step='Load a transformers model with attn_implementation="eager" and call it with output_attentions=True.',
        ) from error
    if tensor.dim() == 4 and not 0 <= example < tensor.shape[0]:
        raise InputError(
            f"There is no example {example}: this batch has {tensor.shape[0]}.", next_step="Name one with example=."
        )
    if tensor.dim() == 4:
        tensor = tensor[example]
    if tensor.dim() != 3:
        raise InputError(
            f"Layer {position} has the shape {tuple(tensor.shape)}, which is no attention.",
            next_step="Each layer must be (heads, from, to) or (batch, heads, from, to).",
        )
    if tensor.is_complex():
        raise InputError(f"Layer {position} holds complex numbers.", next_step="Pass real weights.")
    kept = tensor if tensor.dtype in (torch.float16, torch.float32) else tensor.float()
    return kept.cpu()


def _finite(layers: list[Tensor], numbers: tuple[int, ...]) -> tuple[list[Tensor], list[tuple[str, dict[str, Any]]]]:
    """The layers with 0 for whatever is not finite, and notices of where that was and of negative weights."""
    kept, where, count, total, negative = [], [], 0, 0, False
    for number, layer in zip(numbers, layers, strict=True):
        total += layer.numel()
        # numpy's extremes are ten times as fast as torch's here, and both are NaN where one weight is.
        low, high = float(layer.numpy().min()), float(layer.numpy().max())
        negative = negative or low < 0
        if math.isfinite(low) and math.isfinite(high):
            kept.append(layer)
            continue
        fine = torch.isfinite(layer)
        bad = (~fine).flatten(1).sum(1)
        where += [f"{number}.{head}" for head in torch.nonzero(bad).flatten().tolist()]
        count += int(bad.sum())
        kept.append(torch.where(fine, layer, torch.zeros((), dtype=layer.dtype)))
        negative = negative or bool((kept[-1] < 0).any())
    if count == total:
        raise InputError(
            "None of these weights is a finite number.",
            next_step="Look for rows that are masked everywhere, or overflow at half precision in the model.",
        )
    notices: list[tuple[str, dict[str, Any]]] = []
    if count:
        shown = ", ".join(where[:12]) + (f" … +{len(where) - 12}" if len(where) > 12 else "")
        notices.append(("notice_not_finite", {"count": count, "heads": shown}))
    if negative:
        notices.append(("notice_negative", {}))
    return kept, notices


def _inputs(model: nn.Module, features: dict[str, list[int]]) -> dict[str, Tensor]:
    taken = inputs_of(model)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {
        name: torch.tensor([features[name]], device=device)
        for name in names
        if name in features and (name in taken.names or (taken.takes_any and name != "token_type_ids"))
    }
    start = getattr(getattr(model, "config", None), "decoder_start_token_id", None)
    if (
        "decoder_input_ids" in taken.names and start is not None
    ):  # a decoder must be given something: the text, as in training
        inputs["decoder_input_ids"] = torch.tensor([[start, *features["input_ids"][:-1]]], device=device)
    return inputs


def _recorded(model: nn.Module, inputs: dict[str, Tensor], count: int, kind: str | None):
    sites = sites_of(model)
    kinds = list(dict.fromkeys(site.kind for site in sites))
    if kind is not None and kind not in kinds:
        raise InputError(
            f"{type(model).__name__} has no attention of the kind {kind!r}.",
            next_step=f"It has {', '.join(map(repr, kinds))}.",
        )
    kind = kind or kinds[0]
    numbers = sorted({site.layer for site in sites if site.kind == kind})
    size = 4 * count * count * sum(site.heads for site in sites if site.kind == kind)
    if size <= KEPT_BYTES:
        with record_attention(model, kinds=[kind]) as record:
            model(**inputs)
        return [record.steps(number, kind)[-1][0].float() for number in numbers], numbers, kind, ()
    layers = []
    for number in numbers:  # one run a layer, so that no more than one stands there as float32
        with record_attention(model, [number], kinds=[kind]) as record:
            model(**inputs)
        layers.append(record.steps(number, kind)[-1][0].to("cpu", torch.float16))
    return layers, numbers, kind, (("notice_half", {"megabytes": round(size / 2**20)}),)


def asked_for(model: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    """The attention of a model of another library, through `output_attentions=True`."""
    name = type(model).__name__
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{name} is no model.",
            next_step="Pass a model or pipeline of notebook_kit, a PyTorch model of transformers, or bare tensors with tokens=.",
        )
    if not inputs_of(model).takes("output_attentions"):
        raise InputError(
            f"{name} cannot give its attention: its forward takes no output_attentions.",
            next_step="Load the checkpoint with notebook_kit's AutoModel classes, or pass bare tensors with tokens=.",
        )
    before = getattr(getattr(model, "config", None), "_attn_implementation", None)
    switch = getattr(model, "set_attn_implementation", None)
    try:
        if before not in (None, "eager") and switch is not None:
            switch("eager")  # the fused kernels never form the weights
        outputs = model(**inputs, output_attentions=True)
    except (TypeError, ValueError) as error:  # as of models that want more than a text
        raise InputError(
            f"{name} cannot give its attention: {error}", next_step="Pass bare tensors with tokens= in its place."
        ) from error
    finally:
        if before not in (None, "eager") and switch is not None:
            switch(before)
    for field_ in ("attentions", "encoder_attentions"):
        found = getattr(outputs, field_, None)
        if found is None and isinstance(outputs, dict):
            found = outputs.get(field_)
        if found and all(layer is not None for layer in found):
            return [layer[0].float() for layer in found]
    raise InputError(
        f"{name} gave no attention, though it was asked with output_attentions=True.",
        next_step='Load it with attn_implementation="eager", or load the checkpoint with notebook_kit\'s AutoModel classes.',
    )
