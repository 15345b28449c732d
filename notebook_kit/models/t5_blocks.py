"""The two halves of T5, from which those of mT5 are built as well."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from notebook_kit.nn.attention import AttentionSite, attend, causal_mask, padding_mask
from notebook_kit.nn.encoder_decoder import decoder_cache, decoder_sites, recording
from notebook_kit.nn.layers import activation, embed_tokens, input_size, merge_heads, run_layers
from notebook_kit.nn.outputs import BaseModelOutput, BaseModelOutputWithPastAndCrossAttentions

if TYPE_CHECKING:
    from notebook_kit.nn.cache import KVCache

__all__ = ["T5LayerNorm", "T5Stack", "distance_buckets"]


class T5LayerNorm(nn.Module):
    """Divides by the root mean square and scales: no mean, no bias (Zhang and Sennrich, 2019, RMSNorm)."""

    def __init__(self, config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.eps, self.factor = config.layer_norm_epsilon, config.initializer_factor

    def forward(self, x: Tensor) -> Tensor:
        mean_square = x.float().square().mean(-1, keepdim=True)  # in float32: half precision overflows
        return self.weight * (x * torch.rsqrt(mean_square + self.eps)).to(self.weight.dtype)


def linear(config, inputs: int, outputs: int, spread: float) -> nn.Linear:
    """A layer without bias whose fresh weights have the standard deviation `spread`, times the config's factor."""
    layer = nn.Linear(inputs, outputs, bias=False)
    layer.first_spread = config.initializer_factor * spread
    return layer


class T5Attention(nn.Module):
    """Attention whose scores are not scaled, with a bias for the distance between tokens."""

    def __init__(self, config, has_bias: bool) -> None:
        super().__init__()
        width, inner = config.d_model, config.num_heads * config.d_kv
        self.heads, self.dropout = config.num_heads, config.dropout_rate
        self.q = linear(config, width, inner, (width * config.d_kv) ** -0.5)
        self.k = linear(config, width, inner, width**-0.5)
        self.v = linear(config, width, inner, width**-0.5)
        self.o = linear(config, inner, width, inner**-0.5)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)
            self.relative_attention_bias.first_spread = config.initializer_factor * width**-0.5

    def split(self, x: Tensor) -> Tensor:
        """`(batch, tokens, heads * head_dim)` to `(batch, heads, tokens, head_dim)`."""
        B, T, _ = x.shape
        return x.view(B, T, self.heads, -1).transpose(1, 2)

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.k(x)), self.split(self.v(x))

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        site: AttentionSite,
        cache: KVCache | None = None,
        causal: bool = False,
        bias: Tensor | None = None,
        source: Tensor | None = None,
    ) -> Tensor:
        q = self.split(self.q(x))
        if source is None:
            k, v = self.keys_and_values(x)
            if cache is not None:
                k, v = cache.update(site.layer, k, v)
        elif cache is None:
            k, v = self.keys_and_values(source)
        else:
            k, v = cache.cross(site.layer, lambda: self.keys_and_values(source))
        dropout = self.dropout if self.training else 0.0
        context = attend(q, k, v, site=site, mask=mask, bias=bias, dropout=dropout, scale=1.0, is_causal=causal)
        return self.o(merge_heads(context))


class T5Sublayer(nn.Module):
    """Norm, one block, dropout, and the residual around them; the block's name is the checkpoints'."""

    def __init__(self, config, name: str, block: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, block)
        self.layer_norm = T5LayerNorm(config)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        x = x + self.dropout(getattr(self, self.name)(self.layer_norm(x), *args, **kwargs))
        if x.dtype == torch.float16:  # large activations must not become infinite
            most = torch.finfo(x.dtype).max - 1000
            x = x.clamp(-most, most)
        return x


class T5FeedForward(nn.Module):
    def __init__(self, config) -> None:
        super().__init__()
        width, inner = config.d_model, config.d_ff
        self.gated = config.is_gated_act
        if self.gated:
            self.wi_0 = linear(config, width, inner, width**-0.5)
            self.wi_1 = linear(config, width, inner, width**-0.5)
        else:
            self.wi = linear(config, width, inner, width**-0.5)
        self.wo = linear(config, inner, width, inner**-0.5)
        self.activation = activation(config.dense_act_fn)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.activation(self.wi_0(x)) * self.wi_1(x) if self.gated else self.activation(self.wi(x))
        return self.wo(self.dropout(inner))


class T5Block(nn.Module):
    """A layer: attention to itself, in a decoder attention to the encoder, and a feed-forward block."""

    def __init__(self, config, is_decoder: bool, first: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([T5Sublayer(config, "SelfAttention", T5Attention(config, has_bias=first))])
        if is_decoder:
            self.layer.append(T5Sublayer(config, "EncDecAttention", T5Attention(config, has_bias=False)))
        self.layer.append(T5Sublayer(config, "DenseReluDense", T5FeedForward(config)))

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        causal: bool,
        bias: Tensor,
        source: Tensor | None,
        source_mask: Tensor | None,
        cache: KVCache | None,
        sites: tuple[AttentionSite, ...],
    ) -> Tensor:
        x = self.layer[0](x, mask, sites[0], cache, causal, bias)
        if source is not None:
            x = self.layer[1](x, source_mask, sites[1], cache, source=source)
        return self.layer[-1](x)


def distance_buckets(distance: Tensor, both_ways: bool, buckets: int, farthest: int) -> Tensor:
    """The kind of each distance: one each for near ones, and kinds that widen with the logarithm for far ones.

    Args:
        distance: Whole numbers: where is looked minus from where.
        both_ways: Whether what comes later is told apart from what came before; else it counts as distance 0.
        buckets: How many kinds there are.
        farthest: From here on all is one kind.

    Source: Raffel et al., 2020, section 2.1, and the code that was published with it.
    """
    start = torch.zeros_like(distance)
    if both_ways:
        buckets //= 2
        start = (distance > 0).long() * buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = buckets // 2
    scaled = torch.log(distance.clamp(min=1).float() / exact) / math.log(farthest / exact) * (buckets - exact)
    far = (exact + scaled.long()).clamp(max=buckets - 1)
    return start + torch.where(distance < exact, distance, far)


class T5Stack(nn.Module):
    """One half: an encoder, or a decoder that also attends to the encoder's states."""

    def __init__(self, config, is_decoder: bool) -> None:
        super().__init__()
        self.config, self.is_decoder = config, is_decoder
        layers = config.num_decoder_layers if is_decoder else config.num_layers
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.embed_tokens.first_spread = config.initializer_factor
        self.block = nn.ModuleList(T5Block(config, is_decoder, first=place == 0) for place in range(layers))
        self.final_layer_norm = T5LayerNorm(config)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.pairs: list[tuple[AttentionSite, ...]]
        if is_decoder:
            self.pairs = list(decoder_sites(layers, config.num_heads))
        else:
            self.pairs = [(AttentionSite(place, config.num_heads),) for place in range(layers)]
        self.sites = [site for pair in self.pairs for site in pair]

    def position_bias(self, past: int, tokens: int, device: torch.device) -> Tensor:
        """What distances add to the scores: `(1, heads, tokens, past + tokens)`, the same in all layers."""
        first: Any = self.block[0]
        table = first.layer[0].SelfAttention.relative_attention_bias
        to = torch.arange(past + tokens, device=device)
        distance = to[None] - to[past:, None]
        config = self.config
        kinds = distance_buckets(
            distance,
            not self.is_decoder,
            config.relative_attention_num_buckets,
            config.relative_attention_max_distance,
        )
        return table(kinds).permute(2, 0, 1)[None]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: KVCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> Any:
        attentions = self.config.output_attentions if output_attentions is None else output_attentions
        hidden = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        _, T, device = input_size(input_ids, inputs_embeds)
        x = self.dropout(embed_tokens(self.embed_tokens, input_ids, inputs_embeds))
        cache = decoder_cache(self, past_key_values, use_cache) if self.is_decoder else None
        past = 0 if cache is None else cache.length
        if self.is_decoder:
            mask, causal = causal_mask(attention_mask, x.shape[:2], past, x.dtype, device)
        else:
            mask, causal = padding_mask(attention_mask, x.dtype, x.shape[:2]), False
        source = encoder_hidden_states
        source_mask = None if source is None else padding_mask(encoder_attention_mask, x.dtype, source.shape[:2])
        bias = self.position_bias(past, T, device)
        inputs = (mask, causal, bias, source, source_mask, cache)
        with recording(self, attentions) as record:
            x, states, _ = run_layers(
                self, self.block, self.pairs, x, *inputs, output_attentions=False, output_hidden_states=hidden
            )
        x = self.dropout(self.final_layer_norm(x))
        states = states if states is None else (*states[:-1], x)
        weights = [
            None if record is None else record.of([pair[i] for pair in self.pairs])
            for i in range(1 if source is None else 2)
        ]
        if not self.is_decoder:
            return BaseModelOutput(last_hidden_state=x, hidden_states=states, attentions=weights[0])
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=x,
            past_key_values=cache,
            hidden_states=states,
            attentions=weights[0],
            cross_attentions=None if source is None else weights[1],
        )
