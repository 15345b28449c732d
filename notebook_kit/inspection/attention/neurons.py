"""Queries and keys: how a head arrives at the weight of one position on another, dimension by dimension."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.evaluation import evaluating
from notebook_kit.inspection.attention.reading import Reading
from notebook_kit.inspection.attention.running import has_sites
from notebook_kit.nn.attention import AttentionSite, record_attention, sites_of

__all__ = ["Pair", "QueriesAndKeys", "site_of"]


@dataclass(frozen=True, eq=False)
class Pair:
    """One position that looks, and one that is looked at.

    Args:
        query: The query of the first, `(head_dim,)`.
        key: The key of the second.
        product: Their product per dimension, scaled; its sum is `score`.
        score: The score, before the softmax.
        offset: What was added to the score: a mask or a bias.
        weight: The attention weight, after the softmax.
    """

    query: Tensor
    key: Tensor
    product: Tensor
    score: float
    offset: float
    weight: float


def site_of(model: nn.Module | None, reading: Reading, layer: int) -> AttentionSite | None:
    """The site whose queries and keys belong to a layer of a reading; None if there is none, as in windowed attention or
    where positions are merged."""
    if model is None or not reading.inputs or not has_sites(model) or reading.groups != (None, None):
        return None
    sites = [
        site for site in sites_of(model) if (site.layer, site.kind) == (layer, reading.kind) and site.unfold is None
    ]
    return sites[0] if len(sites) == 1 else None


@dataclass(frozen=True, eq=False)
class QueriesAndKeys:
    """The queries and keys of a layer, of all heads and positions.

    Args:
        queries: `(heads, from, head_dim)`, float32.
        keys: `(heads, to, head_dim)`, float32.
        offset: Added to the scores, broadcastable to `(heads, from, to)`.
        weights: `(heads, from, to)`.
        scale: The factor of the scores.

    Source: the neuron view of Vig, A Multiscale Visualization of Attention in the Transformer Model, 2019.
    """

    queries: Tensor
    keys: Tensor
    offset: Tensor
    weights: Tensor
    scale: float

    @classmethod
    def of(cls, model: nn.Module | None, reading: Reading, layer: int) -> QueriesAndKeys:
        """Run a model on the inputs of a reading.

        Raises:
            InputError: If the queries and keys of this layer cannot be recorded.
        """
        site = site_of(model, reading, layer)
        if site is None or model is None:
            raise InputError(
                "There are no queries and keys behind this attention.",
                next_step="Make the view from a model of notebook_kit and a text.",
            )
        with evaluating(model), record_attention(model, [layer], kinds=[site.kind], vectors=True) as record:
            model(**reading.inputs)
        queries, keys, offset, scale = record.vectors(site)
        added = torch.zeros(1, 1, 1) if offset is None else offset[0].float().cpu()
        return cls(queries[0].float().cpu(), keys[0].float().cpu(), added, record.of([site])[0][0].float().cpu(), scale)

    def pair(self, head: int, row: int, column: int) -> Pair:
        """How a head weighs one pair of positions.

        Raises:
            InputError: If there is no such head or position.
        """
        sizes = (
            ("head", head, len(self.queries)),
            ("row", row, self.queries.shape[1]),
            ("column", column, self.keys.shape[1]),
        )
        for name, place, size in sizes:
            if not isinstance(place, Integral) or not 0 <= place < size:
                raise InputError(f"There is no {name} {place!r} here.", next_step=f"It goes from 0 to {size - 1}.")
        query, key = self.queries[head, row], self.keys[head, column]
        product = query * key * self.scale
        offset = self.offset.expand(self.weights.shape)[head, row, column]
        return Pair(query, key, product, float(product.sum()), float(offset), float(self.weights[head, row, column]))
