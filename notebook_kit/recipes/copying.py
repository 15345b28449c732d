"""Start a T5 with attention that copies: it writes what the text has after the two tokens that it wrote last.

A small model that has read few texts does not discover by itself that rare words can be copied. Attention heads that do so are
known from larger models, where they form by themselves (Olsson et al., In-context Learning and Induction Heads, 2022). Here they are
written into the random weights of a model before training:

1. In the first layer of the encoder, two heads look one and two tokens back, and add what they find to each token's state, each in
   a different subspace. In the first layer of the decoder, two heads look one token back.
2. In the last layer of the decoder, cross-attention compares the last two written tokens with the two before each token of the
   text, and adds the embedding of the token where they match to the state. With tied embeddings, this token's logit rises.

All other layers start with small outputs, so that they do not drown these signals.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from notebook_kit.models.t5 import T5ForConditionalGeneration

__all__ = ["start_with_copying"]

SHARPNESS = 8.0  # a bias of the attention's scores: all weight goes to one distance
DAMPING = 0.1  # of the outputs of all other layers
TRACE = 0.25  # of an earlier token in the state of a later one
MATCH, COPY, CONTRAST = 0.4, 2.0, 4.0  # of queries, of copied embeddings, of the logits


@torch.no_grad()
def start_with_copying(model: T5ForConditionalGeneration, seed: int = 5) -> None:
    """Write copying heads into the weights of an untrained model.

    Args:
        model: A T5 with tied embeddings, at least two heads, and twice the width of a head at most its width.
        seed: Of the random subspaces.
    """
    encoder: Any = model.encoder  # their modules are untyped
    decoder: Any = model.decoder
    config = model.config
    D, K = config.d_model, config.d_kv
    generator = torch.Generator().manual_seed(seed)

    def subspaces(*sizes: int) -> list[Tensor]:
        """Orthonormal rows `(size, D)` for each size, orthogonal to each other."""
        rows = torch.linalg.qr(torch.randn(D, D, generator=generator))[0]
        return list(rows[: sum(sizes)].split(sizes))

    (read_first,), (read_second,) = subspaces(K), subspaces(K)
    write_first, write_second = subspaces(K, K)
    for stack in (encoder, decoder):
        for block in stack.block:
            for layer in block.layer:
                module = getattr(layer, layer.name)
                (module.wo if hasattr(module, "wo") else module.o).weight.mul_(DAMPING)

    for stack, distances in ((encoder, (1, 2)), (decoder, (1, 1))):
        attention = stack.block[0].layer[0].SelfAttention
        attention.relative_attention_bias.weight.zero_()
        for head, (distance, read, write) in enumerate(
            zip(distances, (read_first, read_second), (write_first, write_second), strict=True)
        ):
            rows = slice(head * K, (head + 1) * K)
            attention.relative_attention_bias.weight[distance, head] = SHARPNESS  # bucket n: n tokens back
            attention.q.weight[rows].mul_(0.1)
            attention.k.weight[rows].mul_(0.1)
            attention.v.weight[rows] = read
            attention.o.weight[:, rows] = TRACE * write.T

    attention = decoder.block[-1].layer[1].EncDecAttention
    (copied,) = subspaces(D)
    for head in range(2):
        rows = slice(head * K, (head + 1) * K)
        attention.q.weight[rows] = MATCH * (read_first + write_second)  # the last written token, and the one before
        attention.k.weight[rows] = write_first + write_second  # one token back, and two
        part = copied[rows]
        attention.v.weight[head * K : head * K + len(part)] = part
        attention.o.weight[:, head * K : head * K + len(part)] = COPY * part.T
    decoder.final_layer_norm.weight.fill_(CONTRAST)
