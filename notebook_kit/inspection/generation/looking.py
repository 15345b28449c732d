"""What a model looked at when it wrote each token."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.inspection.attention.reading import evaluating, has_sites, requested_attentions
from notebook_kit.inspection.generation.steps import Branch
from notebook_kit.inspection.generation.writer import Writer
from notebook_kit.nn.attention import record_attention, sites_of
from notebook_kit.nn.inputs import inputs_of

__all__ = ["Looked", "heads_of", "looked_at"]

AT_ONCE_BYTES = 128 * 2**20
"""Up to here all layers are recorded in one run; beyond it one run a layer."""

KEPT_BYTES = 64 * 2**20


class Looked:
    """What a model looked at, read when it is asked for; what was read last is kept. Threads may ask side by side.

    Args:
        writer: The model.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer, self._heads = writer, heads_of(writer)
        self._kept: OrderedDict[tuple[int, int, int], Tensor] = OrderedDict()  # by branch, its length, and layer
        self._guard = threading.Lock()

    def at(
        self,
        branch: Branch,
        position: int,
        layer: int | None = None,
        head: int | None = None,
        combine: str = "mean",
        check: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """What one generated token was written from.

        Args:
            branch: What was written.
            position: The generated token, counted from 0.
            layer: The layer; None for all.
            head: The head; None for all.
            combine: "mean" or "max" over those.
            check: Called between runs; raises to end it.

        Returns:
            `(tokens,)`: a weight for each token before it, or of an encoder-decoder for each token that was read.

        Raises:
            InputError: If there is no such layer or head, or the model does not show its attention.
        """
        heads = self._heads
        if layer is not None and layer not in heads:
            raise InputError(
                f"There is no layer {layer}.", next_step=f"Name one of {', '.join(map(str, sorted(heads)))}."
            )
        layers = sorted(heads) if layer is None else [layer]
        if head is not None and any(not 0 <= head < heads[one] for one in layers):
            raise InputError(
                f"There is no head {head}.", next_step=f"Heads go from 0 to {min(heads[one] for one in layers) - 1}."
            )
        rows = [weights[:, position] for weights in self._of(branch, layers, check)]
        if head is not None:
            rows = [row[head : head + 1] for row in rows]
        both = torch.cat(rows)  # (heads, context)
        row = both.amax(0) if combine == "max" else both.mean(0)
        seen = row.shape[0] if self._writer.reads_apart else len(branch.context) + position
        return row[:seen].contiguous()

    def _of(self, branch: Branch, layers: list[int], check: Callable[[], None]) -> list[Tensor]:
        count = len(branch.steps)
        with self._guard:
            found = {
                one: self._kept[branch.number, count, one]
                for one in layers
                if (branch.number, count, one) in self._kept
            }
        missing = [one for one in layers if one not in found]
        if missing:
            # A copy, as it may be growing.
            whole = Branch(**{**vars(branch), "steps": branch.steps[:count]})
            fresh = looked_at(self._writer, whole, missing, check)
            found |= fresh
            with self._guard:
                for one, tensor in fresh.items():
                    self._kept[branch.number, count, one] = tensor
                used = sum(tensor.nbytes for tensor in self._kept.values())
                while used > KEPT_BYTES and len(self._kept) > len(layers):
                    used -= self._kept.popitem(last=False)[1].nbytes
        return [found[one] for one in layers]


def heads_of(writer: Writer) -> dict[int, int]:
    """How many heads each layer has, of the attention that is shown; empty where it is not known before it is read."""
    if not has_sites(writer.model):
        config = getattr(writer.model, "config", None)
        layers, heads = getattr(config, "num_hidden_layers", 0), getattr(config, "num_attention_heads", 0)
        return dict.fromkeys(range(layers), heads) if isinstance(layers, int) and isinstance(heads, int) else {}
    return {site.layer: site.heads for site in sites_of(writer.model) if site.kind == _kind(writer)}


def looked_at(
    writer: Writer, branch: Branch, layers: list[int], check: Callable[[], None] = lambda: None
) -> dict[int, Tensor]:
    """What each generated token was written from: the attention of the place before it.

    A decoder writes a token at the place of the one before. What is shown is where that place looked: at the tokens up to
    itself, or, in an encoder-decoder, at what the encoder read.

    Args:
        writer: The model.
        branch: What it wrote.
        layers: Which layers.
        check: Called between runs; raises to end it.

    Returns:
        For each layer `(heads, generated tokens, context)`, float32, where the context is the prompt with the generated
        tokens before the last, or the encoder's tokens. Weights on later tokens are 0.

    Raises:
        InputError: If the model does not show its attention.
    """
    if not branch.steps:
        raise InputError("Nothing was generated yet.", next_step="Generate, then choose a token.")
    device = writer.model.device

    def row(ids: list[int]) -> Tensor:
        return torch.tensor([ids], device=device)

    inputs: dict[str, Any]
    if writer.reads_apart:
        inputs = {"input_ids": row(branch.context), "decoder_input_ids": row([*branch.start, *branch.ids[:-1]])}
        first = len(branch.start) - 1
    else:
        inputs = {"input_ids": row([*branch.context, *branch.ids[:-1]])}
        first = len(branch.context) - 1
    with evaluating(writer.model):
        if not has_sites(writer.model):
            found = requested_attentions(writer.model, inputs)
            return {layer: found[layer][:, first:].cpu() for layer in layers}
        if "logits_to_keep" in inputs_of(writer.model).names:
            inputs["logits_to_keep"] = 1
        kind, heads = _kind(writer), heads_of(writer)
        wide = inputs["input_ids"].shape[1]
        tall = wide if not writer.reads_apart else inputs["decoder_input_ids"].shape[1]
        at_once = 4 * wide * tall * sum(heads[layer] for layer in layers) <= AT_ONCE_BYTES
        weights: dict[int, Tensor] = {}
        for some in [layers] if at_once else [[layer] for layer in layers]:
            check()
            with record_attention(writer.model, some, kinds=[kind]) as record:
                writer.model(**inputs, use_cache=False)
            for layer in some:
                weights[layer] = record.steps(layer, kind)[-1][0, :, first:].float().cpu()
    return weights


def _kind(writer: Writer) -> str:
    if writer.reads_apart:
        return "cross"
    try:
        kinds = {site.kind for site in sites_of(writer.model)}
    except NotebookKitError:
        return "decoder"
    return "decoder" if "decoder" in kinds else "self"
