"""The key-value cache: a decoder's keys and values of earlier tokens, reused for the next one.

The contract between a model and its caller:

- A decoder's `forward` takes `past_key_values` (None, or what `as_cache` accepts) and `use_cache`. The cache holds the first
  `past = past_key_values.length` positions, and the call contains the next `T`. A model reads `length` once, before its
  first layer. Its positions are `past ... past + T - 1` unless `position_ids` overrides them; an `attention_mask` covers
  all `past + T` of them.
- Each layer calls `key, value = cache.update(layer, key, value)` and attends to the result.
- Cross-attention calls `key, value = cache.cross(layer, compute)`: `compute()` is called in the first step only.
- The model returns the same object as `past_key_values`.
- The encoder's output and its cross keys keep one row per input, even when an input has several beams or samples:
  `attend` uses each row of keys for `rows(query) / rows(key)` consecutive rows of the query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError, a_kind
from notebook_kit.fields import Rows, mismatch
from notebook_kit.nn.few_queries import laid_out

__all__ = ["BorrowedCache", "DynamicCache", "KVCache", "NamedCache", "StaticCache", "as_cache"]


class KVCache:
    """Keys and values of every layer, `(batch, heads, capacity, head_dim)`, written in place.

    With a `limit`, each layer's memory is allocated once. Otherwise it doubles when it is full, so that n steps copy at
    most 2n positions. While gradients are computed, nothing is written in place.

    Args:
        limit: The maximum number of positions, if it is known.

    Example:
        >>> import torch
        >>> from notebook_kit.generation import KVCache
        >>> cache = KVCache(limit=8)
        >>> prompt, step = torch.zeros(2, 4, 5, 16), torch.ones(2, 4, 1, 16)  # (batch, heads, positions, head_dim)
        >>> _ = cache.update(0, prompt, prompt)
        >>> key, value = cache.update(0, step, step)
        >>> cache.length, key.shape
        (6, torch.Size([2, 4, 6, 16]))
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._lengths: list[int] = []
        self._cross: dict[int, tuple[Tensor, Tensor]] = {}
        self._laid_out: set[int] = set()  # layers

    @property
    def length(self) -> int:
        """The number of stored positions. (During a call, that of the first layer.)"""
        return self._lengths[0] if self._lengths else 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The `length` of one layer, under the name that other libraries use."""
        return self._lengths[layer_idx] if layer_idx < len(self._lengths) else 0

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer, each `(batch, heads, length, head_dim)`."""
        end = self._lengths[layer]
        return self._keys[layer][:, :, :end], self._values[layer][:, :, :end]

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of new positions.

        Args:
            layer: Index of the layer, from 0. The first calls must be in the order of the layers.
            key: `(batch, heads, new positions, head_dim)`.
            value: As `key`.

        Returns:
            The keys and values of all positions so far, each `(batch, heads, length, head_dim)`.

        Raises:
            InputError: If the batch size differs from the stored one, or the limit is exceeded.
        """
        if layer == len(self._lengths):
            self._start(key, value)
            return self[layer]
        start = self._lengths[layer]
        end = start + key.shape[2]
        keys, values = self._keys[layer], self._values[layer]
        if keys.shape[0] != key.shape[0]:
            raise InputError(
                f"The cache holds a batch of {keys.shape[0]}, and the call has one of {key.shape[0]}.",
                next_step="Pass past_key_values only with the same batch, or leave it out.",
            )
        if key.requires_grad or keys.requires_grad:
            self._keys[layer] = torch.cat([keys[:, :, :start], key], dim=2)
            self._values[layer] = torch.cat([values[:, :, :start], value], dim=2)
        else:
            if end > keys.shape[2]:
                self._check_limit(end)
                capacity = max(end, 2 * keys.shape[2]) if self.limit is None else self.limit
                keys = self._keys[layer] = _grown(keys, start, capacity)
                values = self._values[layer] = _grown(values, start, capacity)
            keys[:, :, start:end] = key
            values[:, :, start:end] = value
        self._lengths[layer] = end
        return self[layer]

    def _start(self, key: Tensor, value: Tensor) -> None:
        length = key.shape[2]
        self._check_limit(length)
        if self.limit is not None and not key.requires_grad:
            key, value = _grown(key, length, self.limit), _grown(value, length, self.limit)
        self._keys.append(key)  # without a limit they are stored uncopied, so a single call costs nothing
        self._values.append(value)
        self._lengths.append(length)

    def _check_limit(self, needed: int) -> None:
        if self.limit is not None and needed > self.limit:
            raise InputError(
                f"The cache has room for {self.limit} positions, and {needed} are needed.",
                next_step="Create it with a larger limit, or without one.",
            )

    def cross(
        self, layer: int, compute: Callable[[], tuple[Tensor, Tensor]], exact: bool = True
    ) -> tuple[Tensor, Tensor]:
        """One layer's keys and values of the encoder's output, computed by the first call and stored.

        From the second call on they are laid out in memory as every further step reads them fastest.

        Args:
            layer: Index of the layer.
            compute: Returns keys and values, each `(inputs, heads, source positions, head_dim)`.
            exact: Whether they stay as they are, rather than be rounded to float16 where that is faster.
        """
        if layer not in self._cross:
            self._cross[layer] = compute()
        elif layer not in self._laid_out:
            found = self._cross[layer]
            if torch.is_grad_enabled() or not any(x.requires_grad for x in found):  # else copies lose the graph
                self._cross[layer] = laid_out(*found, exact)
                self._laid_out.add(layer)
        return self._cross[layer]

    def repeat(self, times: int) -> None:
        """Repeat each row `times` times, for several beams or samples per prompt.

        The encoder's keys and values are not repeated; see the contract above.
        """
        if times > 1:
            self.select(torch.arange(self._rows).repeat_interleave(times))

    def select(self, rows: Tensor) -> None:
        """Replace row i by row `rows[i]`; rows may be dropped and repeated.

        Args:
            rows: `(new batch,)` of indices.
        """
        for stored in (self._keys, self._values):
            for layer, tensor in enumerate(stored):
                stored[layer] = tensor.index_select(0, rows.to(tensor.device))

    def reorder(self, rows: Tensor, start: int = 0) -> None:
        """Like `select`, in place and with the same number of rows.

        Args:
            rows: `(batch,)` of indices.
            start: Only positions from this one on are copied; earlier ones must be equal in the rows concerned (such as
                the prompt in an input's beams).
        """
        for stored in (self._keys, self._values):
            for tensor, end in zip(stored, self._lengths, strict=True):
                if end > start:
                    tail = tensor[:, :, start:end]
                    tail.copy_(tail.index_select(0, rows))

    def crop(self, length: int) -> None:
        """Discard all positions from `length` on."""
        self._lengths = [min(length, stored) for stored in self._lengths]

    @property
    def _rows(self) -> int:
        return self._keys[0].shape[0] if self._keys else 0

    def __repr__(self) -> str:
        return f"KVCache(layers={len(self)}, batch={self._rows}, length={self.length}, limit={self.limit})"


def _grown(tensor: Tensor, length: int, capacity: int) -> Tensor:
    """A copy of `tensor` with room for `capacity` positions, of which the first `length` are filled."""
    B, H, _, D = tensor.shape
    larger = tensor.new_empty(B, H, capacity, D)
    larger[:, :, :length] = tensor[:, :, :length]
    return larger


class NamedCache(KVCache):
    """A `KVCache` under the names, and with the order of arguments, of other libraries; see its subclasses."""

    def to_legacy_cache(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """For each layer its keys and values."""
        return tuple(self)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self[layer] for layer in range(len(self)))

    def update(self, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """Store the keys and values of new positions: `update(key_states, value_states, layer_idx)`.

        (A model calls it with the layer first, as `KVCache.update` has it.)

        Returns:
            The keys and values of all positions so far.
        """
        if arguments and isinstance(arguments[0], int):
            return super().update(*arguments)
        names = ("key_states", "value_states", "layer_idx", "cache_kwargs")
        given = {**dict(zip(names, arguments, strict=False)), **named}
        return super().update(given["layer_idx"], given["key_states"], given["value_states"])

    def crop(self, max_length: int) -> None:
        """Discard all positions from `max_length` on; of a negative number, that many of the last ones."""
        super().crop(max_length if max_length >= 0 else max(0, self.length + max_length))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Replace row i by row `beam_idx[i]`."""
        self.select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, in this order."""
        self.select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row."""
        self.repeat(repeats)

    def reset(self) -> None:
        """Discard all positions, and the encoder's keys and values."""
        super().crop(0)
        self._cross.clear()
        self._laid_out.clear()

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """The maximum number of positions; -1 if there is none."""
        return -1 if self.limit is None else self.limit


class DynamicCache(NamedCache):
    """A cache that grows with the text, for `past_key_values`.

    Args:
        ddp_cache_data: For each layer its keys and values, `(batch, heads, positions, head_dim)`, to start with.
        **settings: Accepted and ignored, such as `config`.

    Example:
        >>> import torch
        >>> from notebook_kit import DynamicCache, GPT2Config, GPT2LMHeadModel
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=32)).eval()
        >>> cache = DynamicCache()
        >>> ids = model.generate(torch.tensor([[7, 8]]), past_key_values=cache, max_new_tokens=3, eos_token_id=None)
        >>> cache.get_seq_length(), ids.shape[1]  # the newest token has not been read
        (4, 5)
        >>> cache.crop(2)
        >>> key, value = cache.to_legacy_cache()[0]
        >>> key.shape
        torch.Size([1, 2, 2, 8])
    """

    def __init__(self, ddp_cache_data: Any = None, **settings: Any) -> None:
        super().__init__()
        for layer, (key, value) in enumerate(ddp_cache_data or ()):
            self.update(layer, key, value)

    @classmethod
    def from_legacy_cache(cls, past_key_values: Any = None) -> DynamicCache:
        """A cache with the keys and values of each layer, a tuple of pairs."""
        return cls(past_key_values)


class StaticCache(NamedCache):
    """A cache whose memory is allocated once, for `past_key_values`; `generate(..., cache_implementation="static")` creates one.

    The results are those of a `DynamicCache`: attention reads the stored positions alone.

    Args:
        config: The model's configuration, which holds the number of positions if `max_cache_len` is None.
        max_cache_len: The maximum number of positions.
        **settings: Accepted and ignored, such as `max_batch_size`, `device` and `dtype`: those of the first keys are used.

    Raises:
        InputError: If the number of positions is not a positive whole number.

    Example:
        >>> import torch
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel, StaticCache
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=32)).eval()
        >>> cache = StaticCache(config=model.config, max_cache_len=16)
        >>> out = model(torch.tensor([[7, 8]]), past_key_values=cache)
        >>> cache.get_seq_length(), cache.max_cache_len
        (2, 16)
    """

    def __init__(self, config: Any = None, max_cache_len: int | None = None, **settings: Any) -> None:
        found = getattr(config, "max_position_embeddings", None) if max_cache_len is None else max_cache_len
        if fault := mismatch({"max_cache_len": found}, {"max_cache_len": Rows}):
            raise InputError(f"{fault}.", next_step="Pass the length of the prompt plus that of what is generated.")
        super().__init__(limit=found)

    @property
    def max_cache_len(self) -> int:
        """The maximum number of positions."""
        return self.get_max_cache_shape()


class BorrowedCache(KVCache):
    """A cache of another library, such as `transformers.DynamicCache`, under the methods of `KVCache`.

    It is extended in place. Attributes that a `KVCache` lacks are those of the other cache.

    Args:
        lender: An object with `update(key, value, layer)` and `get_seq_length()`. For an encoder-decoder it may have a
            `cross_attention_cache`; beams and samples need the methods `batch_repeat_interleave` and `reorder_cache`.
    """

    def __init__(self, lender: Any) -> None:
        super().__init__()
        self.lender = lender
        self._store = getattr(lender, "self_attention_cache", lender)

    @property
    def length(self) -> int:
        """The number of stored positions."""
        return self.get_seq_length()

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of stored positions of one layer."""
        return int(self.lender.get_seq_length(layer_idx) if layer_idx else self.lender.get_seq_length())

    def __getattr__(self, name: str) -> Any:
        if name in ("lender", "_store"):  # before __init__, as when it is copied
            raise AttributeError(name)
        return getattr(self.lender, name)

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, layer: int) -> tuple[Tensor, Tensor]:
        stored = self._store.layers[layer]
        return stored.keys, stored.values

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of new positions, and return those of all positions."""
        return self._store.update(key, value, layer)

    def cross(
        self, layer: int, compute: Callable[[], tuple[Tensor, Tensor]], exact: bool = True
    ) -> tuple[Tensor, Tensor]:
        """One layer's keys and values of the encoder's output, stored in the other cache if it has a place for them."""
        store = getattr(self.lender, "cross_attention_cache", None)
        if store is None:
            return super().cross(layer, compute, exact)
        if not self.lender.is_updated.get(layer):
            self.lender.is_updated[layer] = True
            return store.update(*compute(), layer)
        stored = store.layers[layer]
        return stored.keys, stored.values

    def repeat(self, times: int) -> None:
        """Repeat each row `times` times."""
        if times > 1:
            self._method("batch_repeat_interleave")(times)

    def select(self, rows: Tensor) -> None:
        """Replace row i by row `rows[i]`."""
        self._method("reorder_cache")(rows)

    def reorder(self, rows: Tensor, start: int = 0) -> None:
        """Replace row i by row `rows[i]`."""
        self.select(rows)

    def crop(self, length: int) -> None:
        """Discard all positions from `length` on."""
        if length < self.length:
            self._method("crop")(length - self.length)  # the form that all versions of transformers accept

    def _method(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name, None)
        if method is None:
            raise InputError(
                f"past_key_values is {a_kind(self.lender)}, which has no method {name}; this decoding needs it.",
                next_step="Leave past_key_values out, or pass a DynamicCache().",
            )
        return method

    def __repr__(self) -> str:
        return f"BorrowedCache({self.lender!r})"


def as_cache(given: Any) -> KVCache | None:
    """A cache from the forms in which callers pass one.

    Args:
        given: A `KVCache`; the cache of another library, with `update(key, value, layer)` and `get_seq_length()`, which
            is extended in place; a tuple of the keys and values of each layer; or None.

    Raises:
        InputError: If it is something else, or a cache that returns more positions than were stored.
    """
    if given is None or isinstance(given, KVCache):
        return given
    if isinstance(given, tuple | list):
        with suppress(TypeError, ValueError, AttributeError):
            return DynamicCache.from_legacy_cache(given)
    is_cache = callable(getattr(given, "update", None)) and callable(getattr(given, "get_seq_length", None))
    if is_cache and not getattr(given, "is_compileable", False):  # a static cache also returns its unused positions
        return BorrowedCache(given)
    raise InputError(
        f"past_key_values is {a_kind(given)}; expected a cache that grows.",
        next_step="Pass the past_key_values of an earlier output, or notebook_kit's DynamicCache() or StaticCache(...).",
    )
