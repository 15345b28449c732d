"""What a model attended to when it wrote each token."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.evaluation import evaluating
from notebook_kit.inspection.attention.running import has_sites, recorded, requested_attentions
from notebook_kit.inspection.generation.steps import Branch
from notebook_kit.inspection.generation.writer import Writer
from notebook_kit.nn.attention import AttentionSite, sites_of
from notebook_kit.nn.inputs import inputs_of

__all__ = ["TokenAttention", "heads_of", "read_attention"]

AT_ONCE_BYTES = 128 * 2**20
"""Up to this size all layers are recorded in one run; above it, one layer per run."""

CACHE_BYTES = 64 * 2**20


class TokenAttention:
    """The attention behind generated tokens, read on request; recent layers are cached. Safe to use from several threads.

    Args:
        writer: The model.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer, self._heads = writer, heads_of(writer)
        self._cache: OrderedDict[tuple[int, int, int], Tensor] = OrderedDict()  # by branch, its length, and layer
        self._lock = threading.Lock()

    def of(
        self,
        branch: Branch,
        position: int,
        layer: int | None = None,
        head: int | None = None,
        combine: str = "mean",
        check: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """What the model attended to when it wrote one token.

        Args:
            branch: The branch with the token.
            position: The generated token, counted from 0.
            layer: The layer; None for all.
            head: The head; None for all.
            combine: "mean" or "max" over layers and heads.
            check: Called between runs of the model; may raise to cancel.

        Returns:
            `(tokens,)`, float32: one weight for each token before this one, or for an encoder-decoder, for each token that
            the encoder read.

        Raises:
            InputError: If there is no such layer or head, or the model does not expose its attention.
        """
        heads = self._heads
        if layer is not None and (not isinstance(layer, Integral) or layer not in heads):
            raise InputError(
                f"There is no layer {layer!r}.", next_step=f"Name one of {', '.join(map(str, sorted(heads)))}."
            )
        layers = sorted(heads) if layer is None else [layer]
        most = min(heads[number] for number in layers)
        if head is not None and not (isinstance(head, Integral) and 0 <= head < most):
            raise InputError(
                f"There is no head {head!r}.",
                next_step=f"Heads go from 0 to {most - 1}.",
            )
        if combine not in ("mean", "max"):
            raise InputError(f"There is no way {combine!r} to combine heads.", next_step='Name "mean" or "max".')
        chosen = slice(None) if head is None else slice(head, head + 1)
        weights = torch.cat([layer[chosen, position] for layer in self._layers(branch, layers, check)])
        row = weights.amax(0) if combine == "max" else weights.mean(0)
        length = row.shape[0] if self._writer.is_encoder_decoder else len(branch.context) + position
        return row[:length].contiguous()

    def _layers(self, branch: Branch, layers: list[int], check: Callable[[], None]) -> list[Tensor]:
        count = len(branch.steps)
        keys = {number: (branch.number, count, number) for number in layers}
        with self._lock:
            found = {number: self._cache[key] for number, key in keys.items() if key in self._cache}
        missing = [number for number in layers if number not in found]
        if missing:
            # A copy, because the branch may still be growing on another thread.
            fresh = read_attention(self._writer, replace(branch, steps=branch.steps[:count]), missing, check)
            found |= fresh
            with self._lock:
                self._cache |= {keys[number]: weights for number, weights in fresh.items()}
                used = sum(weights.nbytes for weights in self._cache.values())
                while used > CACHE_BYTES and len(self._cache) > len(layers):
                    used -= self._cache.popitem(last=False)[1].nbytes
        return [found[number] for number in layers]


def heads_of(writer: Writer) -> dict[int, int]:
    """The number of heads of each layer whose attention can be shown; empty if unknown before the first run."""
    if has_sites(writer.model):
        return {site.layer: site.heads for site in _sites(writer)}
    config = getattr(writer.model, "config", None)
    layers, heads = getattr(config, "num_hidden_layers", 0), getattr(config, "num_attention_heads", 0)
    return dict.fromkeys(range(layers), heads) if isinstance(layers, int) and isinstance(heads, int) else {}


def read_attention(
    writer: Writer, branch: Branch, layers: list[int], check: Callable[[], None] = lambda: None
) -> dict[int, Tensor]:
    """The attention from which each generated token was written.

    A decoder predicts a token at the position of the token before it. The attention is that of this position: to the tokens
    up to and including itself, or for an encoder-decoder, to the encoder's tokens.

    Args:
        writer: The model.
        branch: The generated text.
        layers: Which layers.
        check: Called between runs of the model; may raise to cancel.

    Returns:
        For each layer `(heads, generated tokens, context)`, float32, where the context is the prompt with the generated
        tokens except the last, or the encoder's tokens. Weights on later tokens are 0.

    Raises:
        InputError: If nothing was generated, or the model does not expose its attention.
    """
    if not branch.steps:
        raise InputError("Nothing was generated yet.", next_step="Generate, then choose a token.")
    device = writer.model.device

    def row(ids: list[int]) -> Tensor:
        return torch.tensor([ids], device=device)

    inputs: dict[str, Any]
    if writer.is_encoder_decoder:
        inputs = {"input_ids": row(branch.context), "decoder_input_ids": row([*branch.start, *branch.ids[:-1]])}
        first = len(branch.start) - 1
    else:
        inputs = {"input_ids": row([*branch.context, *branch.ids[:-1]])}
        first = len(branch.context) - 1
    with evaluating(writer.model):
        if not has_sites(writer.model):
            found = requested_attentions(writer.model, inputs)
            return {layer: found[layer][:, first:].cpu() for layer in layers}
        width, height = inputs["input_ids"].shape[1], [*inputs.values()][-1].shape[1]
        inputs["use_cache"] = False
        if "logits_to_keep" in inputs_of(writer.model).names:
            inputs["logits_to_keep"] = 1
        sites = [site for site in _sites(writer) if site.layer in layers]
        fits = 4 * width * height * sum(site.heads for site in sites) <= AT_ONCE_BYTES
        weights: dict[int, Tensor] = {}
        for group in [sites] if fits else [[site] for site in sites]:
            check()
            for site, matrix in zip(group, recorded(writer.model, inputs, group), strict=True):
                weights[site.layer] = matrix[:, first:].float().cpu()
    return weights


def _sites(writer: Writer) -> list[AttentionSite]:
    """The sites that attend to what was read: an encoder-decoder's cross-attention, a decoder's attention to its text."""
    return [
        site
        for site in sites_of(writer.model)
        if (site.kind == "cross" if writer.is_encoder_decoder else site.rows == site.columns == "text")
    ]
