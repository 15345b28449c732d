"""Encoder and decoder of BART, from which those of mBART, Marian and Whisper are derived."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.encoder_decoder import decoder_cache, decoder_sites
from notebook_kit.nn.layers import (
    activated,
    activation,
    apply_dropout,
    check_length,
    embed_tokens,
    input_size,
    merge_heads,
    recording,
    run_layers,
    split_heads,
    token_table,
    without_dropped,
)
from notebook_kit.nn.masks import causal_mask, padding_mask
from notebook_kit.nn.outputs import BaseModelOutput, BaseModelOutputWithPastAndCrossAttentions

if TYPE_CHECKING:
    from notebook_kit.nn.cache import KVCache

__all__ = [
    "BartAttention",
    "BartDecoder",
    "BartDecoderLayer",
    "BartEncoder",
    "BartEncoderLayer",
    "BartHalf",
    "BartLayer",
    "BartPositions",
    "keep_finite",
]


class BartPositions(nn.Embedding):
    """Learned position embeddings; the first two rows are never used, as in the original."""

    offset = 2

    def __init__(self, config) -> None:
        super().__init__(config.max_position_embeddings + self.offset, config.d_model)

    def forward(self, positions: Tensor) -> Tensor:
        return super().forward(positions + self.offset)


class BartAttention(nn.Module):
    """Multi-head attention: self-attention, causal if asked to, or cross-attention to `source`, the encoder's states."""

    def __init__(self, config, heads: int) -> None:
        super().__init__()
        self.heads, self.dropout = heads, config.attention_dropout
        self.k_proj = nn.Linear(config.d_model, config.d_model)
        self.v_proj = nn.Linear(config.d_model, config.d_model)
        self.q_proj = nn.Linear(config.d_model, config.d_model)
        self.out_proj = nn.Linear(config.d_model, config.d_model)

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return split_heads(self.k_proj(x), self.heads), split_heads(self.v_proj(x), self.heads)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        site: AttentionSite,
        cache: KVCache | None = None,
        causal: bool = False,
        source: Tensor | None = None,
    ) -> Tensor:
        q = split_heads(self.q_proj(x), self.heads)
        if source is None:
            k, v = self.keys_and_values(x)
            if cache is not None:
                k, v = cache.update(site.layer, k, v)
        elif cache is None:
            k, v = self.keys_and_values(source)
        else:
            k, v = cache.cross(site.layer, lambda: self.keys_and_values(source), site.exact)
        dropout = self.dropout if self.training else 0.0
        return self.out_proj(merge_heads(attend(q, k, v, site=site, mask=mask, dropout=dropout, is_causal=causal)))


class BartLayer(nn.Module):
    """The base of both kinds of layers: self-attention and a feed-forward block, each with a residual connection and a norm."""

    pre_norm: ClassVar[bool] = False  # whether norms precede the blocks, rather than follow the residual connections
    attention: ClassVar[type[nn.Module]] = BartAttention

    def __init__(self, config, heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn = self.attention(config, heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = nn.Linear(config.d_model, inner)
        self.fc2 = nn.Linear(inner, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)
        self.activation = activation(config.activation_function)
        self.dropout = nn.Dropout(config.dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)

    def block(self, x: Tensor, norm: nn.Module, run: Any) -> Tensor:
        """Run one block with its residual connection and norm."""
        if self.pre_norm:
            return x + apply_dropout(self.dropout, run(norm(x)))
        return norm(x + apply_dropout(self.dropout, run(x)))

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.fc2(apply_dropout(self.activation_dropout, activated(self.fc1, self.activation, x)))


def keep_finite(x: Tensor) -> Tensor:
    """Activations that are too large for float16 as the largest ones that are not."""
    if x.dtype != torch.float16:
        return x
    limit = torch.finfo(x.dtype).max - 1000
    return x.clamp(-limit, limit)


class BartEncoderLayer(BartLayer):
    """Self-attention, then a feed-forward block."""

    def __init__(self, config) -> None:
        super().__init__(config, config.encoder_attention_heads, config.encoder_ffn_dim)

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite) -> Tensor:
        x = self.block(x, self.self_attn_layer_norm, lambda y: self.self_attn(y, mask, site))
        return keep_finite(self.block(x, self.final_layer_norm, self.feed_forward))


class BartDecoderLayer(BartLayer):
    """Causal self-attention, cross-attention, then a feed-forward block."""

    def __init__(self, config) -> None:
        super().__init__(config, config.decoder_attention_heads, config.decoder_ffn_dim)
        self.encoder_attn = self.attention(config, config.decoder_attention_heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(config.d_model)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        causal: bool,
        source: Tensor | None,
        source_mask: Tensor | None,
        cache: KVCache | None,
        sites: tuple[AttentionSite, AttentionSite],
    ) -> Tensor:
        self_site, cross_site = sites
        x = self.block(x, self.self_attn_layer_norm, lambda y: self.self_attn(y, mask, self_site, cache, causal))
        if source is not None:
            x = self.block(
                x,
                self.encoder_attn_layer_norm,
                lambda y: self.encoder_attn(y, source_mask, cross_site, cache, source=source),
            )
        return self.block(x, self.final_layer_norm, self.feed_forward)


class BartHalf(nn.Module):
    """The base of encoder and decoder: embeddings and a stack of layers."""

    layers: nn.ModuleList
    positions: ClassVar[type[Any]] = BartPositions
    norms_embeddings: ClassVar[bool] = True
    norms_output: ClassVar[bool] = False

    def __init__(self, config, vocab_size: int, layerdrop: float) -> None:
        super().__init__()
        self.config, self.layerdrop = config, layerdrop
        self.scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        self.embed_tokens = token_table(vocab_size, config.d_model, config.pad_token_id)
        self.embed_positions = self.positions(config)
        self.layernorm_embedding = nn.LayerNorm(config.d_model) if self.norms_embeddings else nn.Identity()
        self.layer_norm = nn.LayerNorm(config.d_model) if self.norms_output else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)

    def embed(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        past: int = 0,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Embeddings of tokens and positions, `(batch, tokens, width)`, after `past` cached tokens."""
        _, T, device = input_size(input_ids, inputs_embeds)
        check_length(past + T, self.config.max_position_embeddings)
        words = embed_tokens(self.embed_tokens, input_ids, inputs_embeds)
        words = words * self.scale if inputs_embeds is None else words
        positions = torch.arange(past, past + T, device=device) if position_ids is None else position_ids
        return self.norm_embeddings(words + self.embed_positions(positions))

    def norm_embeddings(self, x: Tensor) -> Tensor:
        return apply_dropout(self.dropout, self.layernorm_embedding(x))

    def run(self, x: Tensor, sites: list, *inputs: Any, output_hidden_states: bool | None):
        """Run the layers, in training without those skipped by LayerDrop; also return the sites used."""
        layers, sites = without_dropped(self.layers, sites, self.layerdrop if self.training else 0.0)
        x, states, _ = run_layers(
            self,
            layers,
            sites,
            x,
            *inputs,
            final=self.layer_norm,
            output_attentions=False,  # recorded by the caller
            output_hidden_states=output_hidden_states,
        )
        return x, states, sites


class BartEncoder(BartHalf):
    """Ids in, one vector per token out, computed from the whole text."""

    layer: ClassVar[type[BartEncoderLayer]] = BartEncoderLayer

    def __init__(self, config) -> None:
        super().__init__(config, config.vocab_size, config.encoder_layerdrop)
        self.layers = nn.ModuleList(self.layer(config) for _ in range(config.encoder_layers))
        self.sites = [AttentionSite(layer, config.encoder_attention_heads) for layer in range(config.encoder_layers)]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutput:
        x = self.embed(input_ids, inputs_embeds)
        mask = padding_mask(attention_mask, x.dtype, x.shape[:2])
        with recording(self, output_attentions) as record:
            x, states, sites = self.run(x, self.sites, mask, output_hidden_states=output_hidden_states)
        return BaseModelOutput(
            last_hidden_state=x, hidden_states=states, attentions=None if record is None else record.of(sites)
        )


class BartDecoder(BartHalf):
    """Ids in, one vector per token out, computed from the tokens up to it and the encoder's states."""

    layer: ClassVar[type[BartDecoderLayer]] = BartDecoderLayer
    source: ClassVar[str] = "text"  # what the encoder reads

    def __init__(self, config, vocab_size: int | None = None) -> None:
        super().__init__(config, config.vocab_size if vocab_size is None else vocab_size, config.decoder_layerdrop)
        self.layers = nn.ModuleList(self.layer(config) for _ in range(config.decoder_layers))
        self.pairs = decoder_sites(config.decoder_layers, config.decoder_attention_heads, self.source)
        self.sites = [site for pair in self.pairs for site in pair]

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
        position_ids: Tensor | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        cache = decoder_cache(self, past_key_values, use_cache)
        past = 0 if cache is None else cache.length
        x = self.embed(input_ids, inputs_embeds, past, position_ids)
        mask, causal = causal_mask(attention_mask, x.shape[:2], past, x.dtype, x.device)
        source = encoder_hidden_states
        source_mask = None if source is None else padding_mask(encoder_attention_mask, x.dtype, source.shape[:2])
        with recording(self, output_attentions) as record:
            x, states, pairs = self.run(
                x, self.pairs, mask, causal, source, source_mask, cache, output_hidden_states=output_hidden_states
            )
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=x,
            past_key_values=cache,
            hidden_states=states,
            attentions=None if record is None else record.of(pair[0] for pair in pairs),
            cross_attentions=None if record is None or source is None else record.of(pair[1] for pair in pairs),
        )
