"""What kind of head a head is, in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from notebook_kit.inspection.attention.axes import Tokens

if TYPE_CHECKING:
    from notebook_kit.inspection.attention.reading import Reading

__all__ = ["SCORES", "head_scores", "scores_of"]

SCORES = ("entropy", "distance", "previous", "next", "same", "special", "duplicate", "induction")
"""The scores, in the order of `head_scores`.

- entropy: of a row, in nats, averaged over rows: 0 for one token, log(tokens) for all alike.
- distance: how many tokens away the attention is, averaged.
- previous, next, same: the mean weight of a token on the one before it, after it, and itself.
- special: the mean weight of ordinary tokens on special ones together (an attention sink).
- duplicate: of tokens that occur again elsewhere, the mean weight on those other places.
- induction: of tokens that occurred before, the mean weight on what followed them then (Olsson et al., In-context
  Learning and Induction Heads, 2022).

Where there is nothing to average, the score is NaN.
"""


def head_scores(weights: Tensor, rows: Tokens, columns: Tokens) -> Tensor:
    """The scores of all heads of a layer.

    Args:
        weights: `(heads, from, to)`; rows are scaled to sum to 1.
        rows: The tokens that attend.
        columns: Those attended to; all scores but the entropy and the special one need them to be the rows.

    Returns:
        `(heads, scores)`, float32, in the order of `SCORES`.

    Example:
        >>> from notebook_kit.inspection.attention.axes import named_tokens
        >>> tokens = named_tokens("to be or not to be".split())
        >>> before = torch.eye(6).roll(-1, dims=1)[None]          # everyone looks at the one before, the first at the last
        >>> dict(zip(SCORES, head_scores(before, tokens, tokens)[0].tolist()))["previous"]
        1.0
    """
    return _measured(weights, _templates(rows, columns))


def _measured(weights: Tensor, templates: Tensor) -> Tensor:
    weights = weights.float()
    sums = weights.sum(-1, keepdim=True)
    if not torch.allclose(sums, torch.ones(()), atol=1e-4):
        weights = weights / sums.clamp_min(torch.finfo(weights.dtype).tiny)
    entropy = torch.special.entr(weights.clamp_min(0)).sum(-1).mean(-1)
    # All other scores are sums of weights at certain places: one matrix product takes them together.
    return torch.cat([entropy[:, None], weights.flatten(1) @ templates], dim=1)


def scores_of(reading: Reading) -> Tensor:
    """The scores of all heads of a reading: `(heads of all layers, scores)`."""
    templates = _templates(reading.rows, reading.columns)
    return torch.cat([_measured(layer, templates) for layer in reading.layers])


def _templates(rows: Tokens, columns: Tokens) -> Tensor:
    """For each score but the entropy what every weight counts towards it: `(from * to, scores - 1)`."""
    F, T = len(rows), len(columns)
    nothing = torch.full((F, T), float("nan"))
    special = torch.tensor(columns.special)
    ordinary = ~torch.tensor(rows.special)
    sink = _mean_over(special[None] & ordinary[:, None], ordinary) if bool(special.any()) else nothing
    if rows is not columns:
        return torch.stack([nothing, nothing, nothing, nothing, sink, nothing, nothing], dim=-1).flatten(0, 1)
    place = torch.arange(T)
    apart = place[:, None] - place[None]  # from - to
    everyone = torch.ones(F, dtype=torch.bool)
    known: dict[object, int] = {}
    identity = torch.tensor([known.setdefault(name, len(known)) for name in rows.identities])
    alike = (identity[:, None] == identity[None]) & ordinary[:, None] & ordinary[None]
    again = alike & (apart != 0)
    earlier = alike & (apart > 0)
    followed = torch.zeros_like(earlier)
    followed[:, 1:] = earlier[:, :-1]
    followed &= apart != 0  # "the the": what followed the first is the second itself
    return torch.stack(
        [
            apart.abs() / F,
            _mean_over(apart == 1, place > 0),
            _mean_over(apart == -1, place < T - 1),
            _mean_over(apart == 0, everyone),
            sink,
            _mean_over(again, again.any(1)),
            _mean_over(followed, followed.any(1)),
        ],
        dim=-1,
    ).flatten(0, 1)


def _mean_over(places: Tensor, rows: Tensor) -> Tensor:
    """What each weight counts towards the sum over `places` of a row, averaged over `rows`."""
    count = int(rows.sum())
    if not count:
        return torch.full(places.shape, float("nan"))
    return (places & rows[:, None]).float() / count
