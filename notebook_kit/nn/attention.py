"""Attention of all families, in one function that can be recorded and modified.

Every family computes attention with `attend(query, key, value, ..., site=site)`, usually with PyTorch's fused kernel, which
never forms the matrix of weights. Inside `with record_attention(model, layers=[3]):`, only the named layers take an explicit
path and keep their weights; inside `with ablate_heads(model, {(3, 4)}):`, single heads are switched off. Both work with any
family, because all they need from it is the `AttentionSite` that each layer passes to `attend`.
"""

from __future__ import annotations

import itertools
import operator
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.errors import InputError, a_kind
from notebook_kit.nn import few_queries
from notebook_kit.nn.long_attention import long_attention, pays

__all__ = [
    "AttentionRecord",
    "AttentionSite",
    "ablate_heads",
    "attend",
    "is_watched",
    "record_attention",
    "sites_of",
]


class AttentionSite:
    """Identifies one attention in a model: its layer, its kind, and what it attends from and to.

    Args:
        layer: Index of the layer, from 0.
        heads: Number of heads.
        kind: `"self"` in an encoder, `"decoder"` for a decoder's self-attention, `"cross"` for a decoder's attention to the
            encoder.
        rows: Name of the axis that attends, such as "text" (of `input_ids`), "decoder text" (of `decoder_input_ids`),
            "patches", "frames" or "queries"; by default "text", and for `"cross"` "decoder text".
        columns: Name of the axis attended to; by default `rows`, and for `"cross"` "text".
        unfold: For windowed attention or reduced keys: maps the weights that `attend` forms,
            `(batch x windows, heads, from, to)`, to `(batch, heads, rows, columns)`. It is applied for display only; a record
            keeps the weights as `attend` forms them.

    Attributes:
        exact: Whether attention is computed in the dtype of its inputs. `quantized` sets it to False: where bfloat16 is faster, a
            model with 8-bit weights loses nothing by it.

    Example:
        >>> AttentionSite(0, 12, rows="patches")
        AttentionSite(layer=0, heads=12, kind='self', rows='patches', columns='patches')
    """

    exact: bool = True

    def __init__(
        self,
        layer: int,
        heads: int,
        kind: str = "self",
        *,
        rows: str | None = None,
        columns: str | None = None,
        unfold: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.layer, self.heads, self.kind, self.unfold = layer, heads, kind, unfold
        self.rows = rows or ("decoder text" if kind == "cross" else "text")
        self.columns = columns or ("text" if kind == "cross" else self.rows)

    def __repr__(self) -> str:
        return (
            f"AttentionSite(layer={self.layer}, heads={self.heads}, kind={self.kind!r}, "
            f"rows={self.rows!r}, columns={self.columns!r})"
        )


class _Watch:
    """An active recording or ablation at some sites of one model."""

    def __init__(self, record: AttentionRecord | None, ablated: Mapping[AttentionSite, frozenset[int]]) -> None:
        self.record, self.ablated = record, ablated


# In a context variable rather than in the model, since a panel may record on one thread while the model trains on another.
_WATCHES: ContextVar[tuple[_Watch, ...]] = ContextVar("notebook_kit_attention", default=())

# Whether any thread watches anything. A compiled model is guarded on this, as it cannot be guarded on a context variable.
_anything_watched = False
_watches_set = 0
_COUNTING = threading.Lock()


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    site: AttentionSite,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
    is_causal: bool = False,
) -> Tensor:
    """Scaled dot-product attention: `softmax(query @ key.T * scale + mask + bias) @ value`.

    Keys and values may have fewer heads than the query; each then serves several query heads (grouped-query attention). They
    may also have fewer rows; each then serves several consecutive rows of the query (beams of one encoded input).

    Args:
        query: `(batch, heads, from, head_dim)`.
        key: `(batch or fewer, heads or fewer, to, head_dim)`.
        value: As `key`.
        site: Identifies this attention for recording and ablation.
        mask: Added to the scores: 0 where attention is allowed, elsewhere the dtype's lowest number; broadcast to
            `(batch, heads, from, to)`. See `nn.masks.padding_mask`.
        bias: Also added to the scores (relative positions); broadcast likewise.
        dropout: Probability of dropping an attention weight; pass 0 outside training.
        scale: Factor of the scores; `head_dim ** -0.5` by default.
        is_causal: Let no position attend to later ones.

    Returns:
        `(batch, heads, from, head_dim)`.

    Raises:
        InputError: If the rows of the query are not a multiple of those of the keys.

    Source: Vaswani et al., Attention Is All You Need, 2017, equation 1; Ainslie et al., GQA, 2023, for fewer key heads.
    """
    if key.shape[0] != query.shape[0]:
        return _shared_rows(query, key, value, site, mask, bias, dropout, scale)
    scores_offset = mask if bias is None else bias if mask is None else mask + bias
    if scores_offset is not None and scores_offset.dtype != query.dtype:  # under autocast; -inf would lead to NaN
        scores_offset = scores_offset.clamp(min=torch.finfo(query.dtype).min).to(query.dtype)
    if is_causal and scores_offset is not None:  # the fused kernel accepts only one of them
        scores_offset = scores_offset.masked_fill(_future(query, key), torch.finfo(scores_offset.dtype).min)
        is_causal = False
    if _anything_watched:
        # Excluded from compiled graphs, which would keep what was watched at compile time.
        watched = torch.compiler.disable(_watched) if torch.compiler.is_compiling() else _watched
        return watched(query, key, value, site, scores_offset, dropout, scale, is_causal)
    return _fused(query, key, value, scores_offset, dropout, scale, is_causal, site.exact)


def _fused(query, key, value, offset, dropout, scale, is_causal, exact) -> Tensor:
    if not dropout and not is_causal:
        if few_queries.suits(query, key, value, offset):
            return few_queries.attention(query, key, value, scale, offset)
        if offset is None and pays(query, key, value):
            return long_attention(query, key, value, scale, exact)
    key, value = few_queries.by_rows(key, value, query.dtype)
    grouped = bool(key.shape[1] != query.shape[1])  # sizes are tensors while a graph is exported
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=offset, dropout_p=dropout, is_causal=is_causal, scale=scale, enable_gqa=grouped
    )


def _shared_rows(query, key, value, site, mask, bias, dropout, scale) -> Tensor:
    """Attention with fewer rows of keys than of the query: rows that share keys are folded into further positions."""
    B, H, T, D = query.shape
    rows = key.shape[0]
    if B % rows:
        raise InputError(
            f"A query of {B} rows cannot share {rows} rows of keys evenly.",
            next_step="Pass the same number of decoder rows for each encoded input.",
        )
    share = B // rows
    has_rows = mask is not None and mask.shape[0] != rows  # the mask already has a row per query row
    # A record needs one matrix per row, and a bias depends on positions, which folding would change.
    if has_rows or _anything_watched or bias is not None or (mask is not None and mask.shape[-2] != 1):
        if few_queries.is_rounded(key):
            key, value = few_queries.by_rows(key, value, query.dtype)
        key, value = (x.repeat_interleave(share, dim=0) for x in (key, value))
        mask = mask if mask is None or has_rows else mask.repeat_interleave(share, dim=0)
    else:
        folded = query.view(rows, share, H, T, D).transpose(1, 2).reshape(rows, H, share * T, D)
        context = attend(folded, key, value, site=site, mask=mask, dropout=dropout, scale=scale)
        return context.view(rows, H, share, T, D).transpose(1, 2).reshape(B, H, T, D)
    return attend(query, key, value, site=site, mask=mask, bias=bias, dropout=dropout, scale=scale)


def _watched(query, key, value, site, offset, dropout, scale, is_causal) -> Tensor:
    """Attention while something is recorded or ablated, perhaps on another thread or at other sites."""
    watches = _WATCHES.get()
    records = [watch.record for watch in watches if watch.record is not None and site in watch.record.sites]
    off: frozenset[int] = frozenset().union(*(watch.ablated.get(site, frozenset()) for watch in watches))
    if records:
        key, value = few_queries.by_rows(key, value, query.dtype)
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        weights = _weights(query, key, offset, scale, is_causal)
        keep = _kept_heads(off, weights)
        if keep is not None:
            weights = weights * keep
        for record in records:
            record.add(site, weights)
            if record.keeps_vectors:
                record.add_vectors(site, query, key, offset, scale)
        return (F.dropout(weights, dropout) if dropout else weights) @ value
    context = _fused(query, key, value, offset, dropout, scale, is_causal, site.exact)
    keep = _kept_heads(off, context)
    return context if keep is None else context * keep


def _weights(query: Tensor, key: Tensor, offset: Tensor | None, scale: float | None, is_causal: bool) -> Tensor:
    """The attention weights, which the fused kernel never forms: `(batch, heads, from, to)`; rows sum to 1."""
    scores = (query @ key.transpose(-2, -1)).mul_(query.shape[-1] ** -0.5 if scale is None else scale)
    if offset is not None:
        scores.add_(offset)
    if is_causal:
        scores.masked_fill_(_future(query, key), torch.finfo(scores.dtype).min)
    if scores.requires_grad or scores.is_meta:  # a graph that is traced on meta may be differentiated elsewhere
        return scores.softmax(dim=-1)
    for head in scores.unbind(1):  # one by one and in place, to avoid the memory of a second matrix
        head.copy_(head.softmax(dim=-1))
    return scores


def _future(query: Tensor, key: Tensor) -> Tensor:
    """True where a position would attend to a later one: `(from, to)`."""
    return torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).triu(1)


def _kept_heads(off: frozenset[int], like: Tensor) -> Tensor | None:
    """`(heads, 1, 1)`: 0 for the heads that are off and 1 for the others; None if all are on."""
    if not off:
        return None
    keep = torch.ones(like.shape[1], 1, 1, dtype=like.dtype, device=like.device)
    keep[list(off)] = 0
    return keep


# Recording and ablation ----------------------------------------------------------------------------------------------------------


class AttentionRecord(Mapping[int, Tensor]):
    """Recorded attention weights: `record[3]` are those of layer 3, `(batch, heads, from, to)`.

    A model that is called repeatedly, as in generation, adds one tensor per call: `record.steps(3)` returns all of them,
    `record[3]` the last one. In a layer with self-attention and cross-attention, `record.steps(3, kind="cross")` selects one.

    Attributes:
        sites: The recorded sites, in the order of the model.
    """

    def __init__(
        self,
        sites: Iterable[AttentionSite],
        detach: bool = True,
        keeps_vectors: bool = False,
        reduce: Callable[[AttentionSite, Tensor], Tensor] | None = None,
    ) -> None:
        self._calls: dict[AttentionSite, list[Tensor]] = {site: [] for site in sites}
        self._reduce = reduce
        self._vectors: dict[AttentionSite, tuple[Tensor, Tensor, Tensor | None, float]] = {}
        self._detach, self.keeps_vectors = detach, keeps_vectors

    @property
    def sites(self) -> Collection[AttentionSite]:
        """The recorded sites, in the order of the model."""
        return self._calls.keys()

    def add(self, site: AttentionSite, weights: Tensor) -> None:
        """Append the weights of one call."""
        weights = weights.detach() if self._detach else weights
        self._calls[site].append(weights if self._reduce is None else self._reduce(site, weights))

    def add_vectors(
        self, site: AttentionSite, query: Tensor, key: Tensor, offset: Tensor | None, scale: float | None
    ) -> None:
        """Keep the queries and keys of the latest call."""
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        self._vectors[site] = query.detach(), key.detach(), None if offset is None else offset.detach(), factor

    def vectors(self, site: AttentionSite) -> tuple[Tensor, Tensor, Tensor | None, float]:
        """The queries and keys of the latest call at a site, for a record made with `vectors=True`.

        Returns:
            Queries `(batch, heads, from, head_dim)` and keys `(batch, heads, to, head_dim)`, as they enter the scores; what
            was added to the scores (mask and bias), broadcastable to `(batch, heads, from, to)`, or None; and the factor of
            the scores.

        Raises:
            InputError: If there are none.
        """
        if site not in self._vectors:
            raise InputError(
                f"No queries and keys are recorded for {site}.",
                next_step="Call the model inside the block `with record_attention(model, vectors=True)`.",
            )
        return self._vectors[site]

    def steps(self, layer: int, kind: str | None = None) -> list[Tensor]:
        """The weights of layer `layer` in every call, in order.

        Raises:
            InputError: If that layer is not recorded, or has several kinds of attention and `kind` is None.
        """
        found = [site for site in self.sites if site.layer == layer and kind in (None, site.kind)]
        if not found:
            layers = sorted({site.layer for site in self.sites})
            what = f"Layer {layer}" + (f" ({kind})" if kind else "")
            raise InputError(f"{what} is not in this record.", next_step=f"Recorded layers: {layers}.")
        if len(found) > 1:
            kinds = " or ".join(dict.fromkeys(repr(site.kind) for site in found))
            step = f"Choose one: steps({layer}, kind=...) with {kinds}."
            if len({site.kind for site in found}) < len(found):
                step = "Record the attention of one part, as in record_attention(model.vision_model)."
            raise InputError(f"Layer {layer} has {len(found)} kinds of attention.", next_step=step)
        return self._calls[found[0]]

    def __getitem__(self, layer: int) -> Tensor:
        calls = self.steps(layer)
        if not calls:
            raise InputError(
                f"Nothing is recorded for layer {layer} yet.",
                next_step="Call the model inside the `with record_attention(...)` block.",
            )
        return calls[-1]

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({site.layer for site in self.sites}))

    def __len__(self) -> int:
        return len({site.layer for site in self.sites})

    def of(self, sites: Iterable[AttentionSite]) -> tuple[Tensor, ...]:
        """The last recorded weights of each of `sites`."""
        return tuple(self._calls[site][-1] for site in sites)

    def __repr__(self) -> str:
        shapes = {site.layer: [tuple(weights.shape) for weights in calls] for site, calls in self._calls.items()}
        return f"AttentionRecord({shapes})"


def sites_of(model: nn.Module) -> list[AttentionSite]:
    """All attention sites of `model`, in order.

    Raises:
        InputError: If it has none, for example because it is a model of another library.
    """
    if not isinstance(model, nn.Module):
        given = repr(model) if isinstance(model, str) else a_kind(model)
        raise InputError(
            f"Attention is recorded in a model, and got {given}.",
            next_step="Load it with AutoModel.from_pretrained(name); the model of a pipeline is pipe.model.",
        )
    sites = [site for module in model.modules() for site in getattr(module, "sites", ())]
    if not sites:
        raise InputError(
            f"{type(model).__name__} has no attention that notebook_kit can record.",
            next_step="Load the checkpoint with notebook_kit's AutoModel classes.",
        )
    return sites


@contextmanager
def record_attention(
    model: nn.Module,
    layers: Iterable[int] | None = None,
    *,
    kinds: Iterable[str] | None = None,
    detach: bool = True,
    vectors: bool = False,
    reduce: Callable[[AttentionSite, Tensor], Tensor] | None = None,
) -> Iterator[AttentionRecord]:
    """Record the attention weights of some layers while the block runs.

    The other layers keep using the fused kernel, so recording one layer of twelve takes a twelfth of the memory. Weights are
    recorded before dropout.

    Args:
        model: A model of notebook_kit, or a module that contains one.
        layers: Indices of layers; all by default.
        kinds: Kinds of attention, any of `"self"`, `"decoder"` and `"cross"`; all by default.
        detach: Cut the weights from the autograd graph. Pass False to compute a loss on them.
        vectors: Also keep the queries and keys of the latest call, see `AttentionRecord.vectors`.
        reduce: Called with a site and its weights, `(batch, heads, from, to)`, in each call; its result is kept in their place,
            for example at half precision, so that not all layers need memory at once.

    Raises:
        InputError: If the model has no such layer or kind.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertModel, record_attention
        >>> model = BertModel(BertConfig(hidden_size=32, num_attention_heads=4, num_hidden_layers=3, vocab_size=50,
        ...                              intermediate_size=64)).eval()
        >>> with record_attention(model, layers=[1]) as record:
        ...     _ = model(torch.tensor([[2, 7, 9, 3]]))
        >>> list(record), record[1].shape
        ([1], torch.Size([1, 4, 4, 4]))
    """
    sites = sites_of(model)
    wanted = None if layers is None else set(layers)
    known = {site.layer for site in sites}
    if wanted is not None and not wanted <= known:
        raise InputError(
            f"{type(model).__name__} has no layer {', '.join(map(str, sorted(wanted - known)))}.",
            next_step=f"Its layers are {min(known)} to {max(known)}.",
        )
    kinds = None if kinds is None else set(kinds)
    chosen = [
        site for site in sites if (wanted is None or site.layer in wanted) and (kinds is None or site.kind in kinds)
    ]
    if not chosen:
        has = " and ".join(repr(kind) for kind in sorted({site.kind for site in sites}))
        raise InputError(
            f"{type(model).__name__} has no attention of kind {' or '.join(map(repr, sorted(kinds or ())))}.",
            next_step=f"It has {has} attention.",
        )
    record = AttentionRecord(chosen, detach, vectors, reduce)
    with _watching((*_WATCHES.get(), _Watch(record, {}))):
        yield record


@contextmanager
def ablate_heads(
    model: nn.Module,
    heads: Iterable[tuple[int, int]] | Mapping[int, Iterable[int]],
    *,
    kind: str | None = None,
    rows: str | None = None,
) -> Iterator[None]:
    """Switch attention heads off while the block runs, by setting their output to zero.

    Args:
        model: A model of notebook_kit, or a module that contains one.
        heads: Pairs `(layer, head)`, both counted from 0; or layer -> heads, as in `{0: [2], 2: [1, 3]}`.
        kind: Restrict to one kind of attention: `"self"`, `"decoder"` or `"cross"`.
        rows: Restrict to attention from one axis, such as `"patches"` in a model with a tower for texts and one for pictures.

    Raises:
        InputError: If the model has no such head, kind or axis.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertModel, ablate_heads
        >>> model = BertModel(BertConfig(hidden_size=32, num_attention_heads=4, num_hidden_layers=3, vocab_size=50,
        ...                              intermediate_size=64)).eval()
        >>> ids = torch.tensor([[2, 7, 9, 3]])
        >>> with ablate_heads(model, {(0, 2), (2, 1)}):
        ...     changed = model(ids).last_hidden_state
        >>> torch.equal(changed, model(ids).last_hidden_state)
        False
    """
    everywhere = sites_of(model)
    pairs = _pairs_of(heads)
    sites = [site for site in everywhere if kind in (None, site.kind) and rows in (None, site.rows)]
    if not sites:
        has = " and ".join(repr(kind) for kind in sorted({site.kind for site in everywhere}))
        where = "" if rows is None else f" from {rows!r}"
        raise InputError(
            f"{type(model).__name__} has no attention of kind {kind!r}{where}.", next_step=f"It has {has} attention."
        )
    ablated: dict[AttentionSite, frozenset[int]] = {}
    for layer, head in pairs:
        found = [site for site in sites if site.layer == layer and 0 <= head < site.heads]
        if not found:
            known = {site.layer: site.heads for site in sites}
            has = (
                f"layer {layer} has heads 0 to {known[layer] - 1}"
                if layer in known
                else f"its layers are 0 to {max(known)}"
            )
            raise InputError(
                f"{type(model).__name__} has no head {head} in layer {layer}.",
                next_step=f"Pass pairs (layer, head); {has}.",
            )
        for site in found:
            ablated[site] = ablated.get(site, frozenset()) | {head}
    with _watching((*_WATCHES.get(), _Watch(None, ablated))):
        yield


def _pairs_of(heads: Any) -> list[tuple[int, int]]:
    """The pairs (layer, head) that an argument `heads` names.

    Raises:
        InputError: If it has neither form.
    """
    try:
        if isinstance(heads, Mapping):
            heads = [(layer, head) for layer, some in heads.items() for head in some]
        return [(operator.index(layer), operator.index(head)) for layer, head in heads]
    except (TypeError, ValueError):
        raise InputError(
            f"{heads!r:.80} does not name heads.",
            next_step="Pass pairs (layer, head), such as [(0, 2), (1, 5)], or heads by layer, such as {0: [2], 1: [5]}.",
        ) from None


def replayable(layer: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`layer`, wrapped for gradient checkpointing, which calls it again in the backward pass, perhaps on another thread.

    The second call applies the ablations of the first, whatever is active by then, and records nothing.
    """
    watches = _WATCHES.get()
    if torch.compiler.is_compiling() and not watches:
        return layer
    replay = tuple(
        _Watch(None if watch.record is None else AttentionRecord(watch.record.sites), watch.ablated)
        for watch in watches
    )
    calls = itertools.count()

    def call(*inputs: Any) -> Tensor:
        with _watching(replay if next(calls) else watches):
            return layer(*inputs)

    return call


def is_watched() -> bool:
    """Whether attention is recorded or heads are ablated, in any model and on any thread."""
    return _anything_watched


@contextmanager
def _watching(watches: tuple[_Watch, ...]) -> Iterator[None]:
    token = _WATCHES.set(watches)
    _count(1 if watches else 0)
    try:
        yield
    finally:
        _count(-1 if watches else 0)
        _WATCHES.reset(token)


def _count(change: int) -> None:
    global _watches_set, _anything_watched
    with _COUNTING:
        _watches_set += change
        _anything_watched = _watches_set > 0
