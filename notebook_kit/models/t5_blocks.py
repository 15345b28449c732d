"""Encoder and decoder of T5 and mT5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.encoder_decoder import decoder_cache, decoder_sites
from notebook_kit.nn.layers import (
    activated,
    activation,
    distance_buckets,
    embed_tokens,
    input_size,
    merge_heads,
    recording,
    run_layers,
    split_heads,
)
from notebook_kit.nn.masks import causal_mask, padding_mask
from notebook_kit.nn.outputs import BaseModelOutput, BaseModelOutputWithPastAndCrossAttentions

if TYPE_CHECKING:
    from notebook_kit.nn.cache import KVCache

__all__ = ["T5LayerNorm", "T5Stack"]


class T5LayerNorm(nn.Module):
    """Division by the root mean square, times a learned scale: `(..., width)` (Zhang and Sennrich, 2019, RMSNorm)."""

    def __init__(self, config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.eps, self.factor = config.layer_norm_epsilon, config.initializer_factor

    def forward(self, x: Tensor) -> Tensor:
        mean_square = x.float().square().mean(-1, keepdim=True)  # in float32, as half precision overflows
        return self.weight * (x * torch.rsqrt(mean_square + self.eps)).to(self.weight.dtype)


def linear(config, inputs: int, outputs: int, std: float) -> nn.Linear:
    """A linear layer without bias; its initial weights have the standard deviation `config.initializer_factor * std`."""
    layer = nn.Linear(inputs, outputs, bias=False)
    layer.initial_std = config.initializer_factor * std
    return layer


class T5Attention(nn.Module):
    """Multi-head attention with unscaled scores: self-attention with a bias for distances, or cross-attention to `source`."""

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
            self.relative_attention_bias.initial_std = config.initializer_factor * width**-0.5

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return split_heads(self.k(x), self.heads), split_heads(self.v(x), self.heads)

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
        q = split_heads(self.q(x), self.heads)
        if source is None:
            k, v = self.keys_and_values(x)
            if cache is not None:
                k, v = cache.update(site.layer, k, v)
        elif cache is None:
            k, v = self.keys_and_values(source)
        else:
            k, v = cache.cross(site.layer, lambda: self.keys_and_values(source), site.exact)
        dropout = self.dropout if self.training else 0.0
        context = attend(q, k, v, site=site, mask=mask, bias=bias, dropout=dropout, scale=1.0, is_causal=causal)
        return self.o(merge_heads(context))


class T5Sublayer(nn.Module):
    """A block after a norm, with dropout and a residual connection; `name` is the block's name in checkpoints."""

    def __init__(self, config, name: str, block: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, block)
        self.layer_norm = T5LayerNorm(config)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        x = x + self.dropout(getattr(self, self.name)(self.layer_norm(x), *args, **kwargs))
        if x.dtype == torch.float16:  # keep large activations finite
            limit = torch.finfo(x.dtype).max - 1000
            x = x.clamp(-limit, limit)
        return x


class T5FeedForward(nn.Module):
    """A feed-forward block, gated in T5 1.1 and later."""

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
        inner = activated(self.wi_0 if self.gated else self.wi, self.activation, x)
        inner = inner * self.wi_1(x) if self.gated else inner
        return self.wo(self.dropout(inner))


class T5Block(nn.Module):
    """A layer: self-attention, in a decoder cross-attention, then a feed-forward block."""

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


class T5Stack(nn.Module):
    """An encoder, or a decoder that also attends to the encoder's states."""

    def __init__(self, config, is_decoder: bool) -> None:
        super().__init__()
        self.config, self.is_decoder = config, is_decoder
        layers = config.num_decoder_layers if is_decoder else config.num_layers
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.embed_tokens.initial_std = config.initializer_factor
        self.block = nn.ModuleList(T5Block(config, is_decoder, first=layer == 0) for layer in range(layers))
        self.final_layer_norm = T5LayerNorm(config)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.pairs: list[tuple[AttentionSite, ...]]
        if is_decoder:
            self.pairs = list(decoder_sites(layers, config.num_heads))
        else:
            self.pairs = [(AttentionSite(layer, config.num_heads),) for layer in range(layers)]
        self.sites = [site for pair in self.pairs for site in pair]

    def position_bias(self, past: int, tokens: int, device: torch.device) -> Tensor:
        """The bias for distances that all layers add to their scores: `(1, heads, tokens, past + tokens)`."""
        first: Any = self.block[0]
        table = first.layer[0].SelfAttention.relative_attention_bias
        positions = torch.arange(past + tokens, device=device)
        buckets = distance_buckets(
            positions[None] - positions[past:, None],
            both_ways=not self.is_decoder,
            buckets=self.config.relative_attention_num_buckets,
            farthest=self.config.relative_attention_max_distance,
        )
        return table(buckets).permute(2, 0, 1)[None]

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
        with recording(self, output_attentions) as record:
            x, states, _ = run_layers(
                self,
                self.block,
                self.pairs,
                x,
                mask,
                causal,
                bias,
                source,
                source_mask,
                cache,
                final=lambda y: self.dropout(self.final_layer_norm(y)),
                output_attentions=False,  # recorded here, as a layer of a decoder has two sites
                output_hidden_states=output_hidden_states,
            )
        self_weights = None if record is None else record.of(pair[0] for pair in self.pairs)
        cross_weights = None if record is None or source is None else record.of(pair[1] for pair in self.pairs)
        if not self.is_decoder:
            return BaseModelOutput(last_hidden_state=x, hidden_states=states, attentions=self_weights)
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=x,
            past_key_values=cache,
            hidden_states=states,
            attentions=self_weights,
            cross_attentions=cross_weights,
        )
