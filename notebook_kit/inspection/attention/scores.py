"""Scores that characterize attention heads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from notebook_kit.inspection.attention.axes import Axis, PatchGrid, TokenAxis

if TYPE_CHECKING:
    from notebook_kit.inspection.attention.reading import Reading

__all__ = ["SCORES", "alignment_heads", "clearest", "clearest_map", "head_scores", "scores_of", "sharpest", "steadiest"]

SCORES = ("entropy", "distance", "previous", "next", "same", "special", "duplicate", "induction")
"""The scores, in the order of `head_scores`.

- entropy: the mean entropy of the rows, in nats: 0 if all weight is on one token, log(tokens) if it is uniform.
- distance: the mean distance of the attention, in tokens, patches (Dosovitskiy et al., An Image is Worth 16x16 Words, 2021,
  figure 7) or seconds; positions without a place, such as a class token, do not count.
- previous, next, same: the mean weight of a token on the previous token, on the next one, and on itself; the first two only
  if positions have an order.
- special: the mean total weight of ordinary tokens on special ones (an attention sink).
- duplicate: for tokens that occur more than once, the mean weight on their other occurrences.
- induction: for tokens that occurred before, the mean weight on the token after that occurrence (Olsson et al., In-context
  Learning and Induction Heads, 2022).

A score with nothing to average is NaN.
"""


SHARP_ROWS = 128
"""Rows that `sharpest` looks at, spread over the text."""


def head_scores(weights: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """The scores of all heads of a layer.

    Args:
        weights: `(heads, from, to)`; rows are scaled to sum to 1.
        rows: The tokens that attend.
        columns: The tokens attended to; scores other than "entropy" and "special" are NaN unless these are the rows.

    Returns:
        `(heads, scores)`, float32, in the order of `SCORES`.

    Example:
        >>> from notebook_kit.inspection.attention.axes import named_tokens
        >>> tokens = named_tokens("to be or not to be".split())
        >>> before = torch.eye(6).roll(-1, dims=1)[None]  # each token attends to the previous one, the first to the last
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
    # All other scores are weighted sums of the weights, so one matrix product computes them together.
    found = weights.flatten(1) @ templates
    if found.shape[-1] == len(SCORES):  # the last template sums the attention that has a distance
        found[:, 0] /= found[:, -1]
        found = found[:, :-1]
    return torch.cat([entropy[:, None], found], dim=1)


def scores_of(reading: Reading) -> Tensor:
    """The scores of all heads of a reading: `(heads of all layers, scores)`."""
    templates = _templates(reading.rows, reading.columns)
    return torch.cat([_measured(layer, templates) for layer in reading.layers])


def sharpest(reading: Reading, layers: Sequence[int] | None = None) -> tuple[int, int]:
    """The head whose positions look most decidedly at one other: `(layer, head)`.

    The largest weight of each row counts, averaged over rows; a weight on oneself, on a special token, or on the first token
    of a text counts half, since many heads rest there.

    Args:
        reading: The attention.
        layers: Numbers of the layers to choose from; all by default.

    Example:
        >>> from notebook_kit.inspection.attention.reading import read_tensors
        >>> uniform, previous = torch.full((3, 3), 1 / 3), torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0]])
        >>> sharpest(read_tensors(torch.stack([uniform, previous])[None]))
        (0, 1)
    """
    rows, columns = reading.rows, reading.columns
    seen = torch.linspace(0, len(rows) - 1, min(len(rows), SHARP_ROWS)).round().long()
    factor = torch.where(torch.tensor(columns.special), 0.5, 1.0).repeat(len(seen), 1)
    if rows is columns:
        factor[torch.arange(len(seen)), seen] = 0.5
    if columns.is_ordered:
        factor[:, 0] = 0.5
    best, found = -1.0, (reading.numbers[0], 0)
    for number in reading.numbers if layers is None else layers:
        values, heads = (reading.layer(number)[:, seen].float() * factor).amax(-1).mean(-1).max(0)
        if float(values) > best + 1e-6:  # of equal ones, the first
            best, found = float(values), (number, int(heads))
    return found


def clearest_map(reading: Reading, layers: Sequence[int] | None = None) -> tuple[int, int]:
    """The head that looks most decidedly at a part of the picture, from the first row: `(layer, head)`.

    The weight on the picture counts, times how compact it is (1 minus the variance of its places, as a part of that of the
    whole picture), and less if it is on fewer patches than 4% of the picture, as sinks and single outliers are.

    Args:
        reading: Attention to a patch grid, from rows with a first one, such as a class token.
        layers: Numbers of the layers to choose from; all by default.
    """
    places = torch.from_numpy(reading.columns.places).float()
    inside = ~places.isnan().any(-1)
    places = places[inside]
    whole = places.var(0, correction=0).sum().clamp_min(1e-6)
    best, chosen = -1.0, (reading.numbers[0], 0)
    for number in reading.numbers if layers is None else layers:
        weights = reading.layer(number)[:, reading.rows.first].float()[:, inside].clamp_min(0)  # (heads, patches)
        mass = weights.sum(-1)
        shares = weights / mass.clamp_min(1e-12)[:, None]
        middle = shares @ places
        spread = shares @ places.square().sum(-1) - middle.square().sum(-1)
        patches = torch.special.entr(shares).sum(-1).exp()  # the number of patches that are looked at
        values = mass * (1 - spread / whole).clamp(0.02, 1) * (patches / (0.04 * len(places))).clamp(max=1)
        value, head = values.max(0)
        if float(value) > best + 1e-6:
            best, chosen = float(value), (number, int(head))
    return chosen


def steadiest(
    reading: Reading, layers: Sequence[int] | None = None, among: Collection[tuple[int, int]] = ()
) -> tuple[int, int]:
    """The head whose words look at one moment of a recording after the other: `(layer, head)`.

    The correlation between the order of the words and the mean time at which they look counts, times the mean of the largest
    weight of each word.

    Args:
        reading: Attention from words to the frames of a sound.
        layers: Numbers of the layers to choose from; all by default.
        among: Heads to choose from, if there is one in those layers: other heads may be as steady, and look before a word or
            after it.
    """
    times = torch.from_numpy(reading.columns.places[:, 0]).float()
    inside = ~times.isnan()
    words = [i for i, special in enumerate(reading.rows.special) if not special]
    if len(words) < 3:
        return sharpest(reading, layers)
    order = torch.arange(len(words)).float()
    best, chosen = -1.0, (reading.numbers[0], 0)
    numbers = reading.numbers if layers is None else layers
    among = [pair for pair in among if pair[0] in numbers]
    for number in numbers:
        weights = reading.layer(number)[:, words][..., inside].float().clamp_min(0)  # (heads, words, frames)
        middles = (weights @ times[inside]) / weights.sum(-1).clamp_min(1e-12)
        for head, (middle, peaks) in enumerate(zip(middles, weights.amax(-1), strict=True)):
            agreement = float(torch.corrcoef(torch.stack([order, middle]))[0, 1]) if float(middle.std()) > 0 else 0.0
            value = max(0.0, agreement) * float(peaks.mean())
            if value > best + 1e-6 and (not among or (number, head) in among):
                best, chosen = value, (number, head)
    return chosen


def alignment_heads(model: Any) -> list[tuple[int, int]]:
    """The heads of a model's decoder from which the times of its words are computed, as its generation config names them.

    Example:
        >>> from types import SimpleNamespace
        >>> alignment_heads(SimpleNamespace(generation_config=SimpleNamespace(alignment_heads=[[1, 0], [2, 5]])))
        [(1, 0), (2, 5)]
    """
    named = getattr(getattr(model, "generation_config", None), "alignment_heads", None)
    return [(int(layer), int(head)) for layer, head in named or ()]


def clearest(reading: Reading, layers: Sequence[int] | None = None, model: Any = None) -> tuple[int, int]:
    """The head to show first: of `clearest_map` for a picture, of `steadiest` for words about a sound (among the
    `alignment_heads` of the model, if it names them), else of `sharpest`."""
    if isinstance(reading.columns, PatchGrid) and reading.rows.first is not None:
        return clearest_map(reading, layers)
    if isinstance(reading.rows, TokenAxis) and reading.columns.kind == "frames":
        return steadiest(reading, layers, alignment_heads(model))
    return sharpest(reading, layers)


def _templates(rows: Axis, columns: Axis) -> Tensor:
    """The factor of each weight in each score other than the entropy: `(from * to, scores - 1)`.

    If some positions have no place, one more column sums the attention between those that have one.
    """
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
    followed &= apart != 0  # in "the the", the token after the first is the second itself
    distances, placed = _distances(rows)
    columns_ = [
        distances,
        _mean_over(apart == 1, place > 0) if rows.is_ordered else nothing,
        _mean_over(apart == -1, place < T - 1) if rows.is_ordered else nothing,
        _mean_over(apart == 0, everyone),
        sink,
        _mean_over(again, again.any(1)),
        _mean_over(followed, followed.any(1)),
    ]
    return torch.stack(columns_ if placed is None else [*columns_, placed], dim=-1).flatten(0, 1)


def _distances(axis: Axis) -> tuple[Tensor, Tensor | None]:
    """The distances as factors for their mean; and if some positions have no place, 1 for each pair with a distance."""
    places = torch.from_numpy(axis.places)
    between = (places[:, None] - places[None]).norm(dim=-1).float()
    has_place = ~places.isnan().any(-1)
    if bool(has_place.all()):
        return between / len(axis), None
    if not bool(has_place.any()):
        return torch.full_like(between, float("nan")), None
    return between.nan_to_num(0.0), (has_place[:, None] & has_place[None]).float()


def _mean_over(places: Tensor, rows: Tensor) -> Tensor:
    """The factors for the sum over `places` within a row, averaged over `rows`."""
    count = int(rows.sum())
    if not count:
        return torch.full(places.shape, float("nan"))
    return (places & rows[:, None]).float() / count
