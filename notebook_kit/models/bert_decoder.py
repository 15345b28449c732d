"""BERT as a decoder: causal self-attention with a cache and, if wanted, cross-attention to an encoder.

`BertModel(config)` is a `BertDecoderModel` if `config.is_decoder` or `config.add_cross_attention` is set.

Source: Rothe et al., Leveraging Pre-trained Checkpoints for Sequence Generation Tasks, 2020.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError
from notebook_kit.generation.mixin import GenerationMixin
from notebook_kit.models.bert import (
    BertConfig,
    BertEncoder,
    BertForMaskedLM,
    BertLayer,
    BertModel,
    BertPredictions,
    BertPreTrainedModel,
    BertResidual,
    BertSelfAttention,
)
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.cache import KVCache, as_cache
from notebook_kit.nn.encoder_decoder import decoder_sites
from notebook_kit.nn.heads import DecoderForCausalLM
from notebook_kit.nn.layers import activated, input_size, merge_heads, recording, run_layers, split_heads
from notebook_kit.nn.masks import causal_mask, padding_mask
from notebook_kit.nn.outputs import (
    BaseModelOutputWithPoolingAndCrossAttentions,
    CausalLMOutputWithCrossAttentions,
)

if TYPE_CHECKING:
    from notebook_kit.configuration import PretrainedConfig

__all__ = ["BertDecoderModel", "BertLMHeadModel"]


def is_decoder(config: PretrainedConfig) -> bool:
    """Whether a configuration asks for causal attention; by default it does not."""
    return bool(getattr(config, "is_decoder", False))


class BertDecoderAttention(BertSelfAttention):
    """Self-attention with a cache, or cross-attention to `source`, the encoder's states."""

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return split_heads(self.key(x), self.heads), split_heads(self.value(x), self.heads)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        mask: Tensor | None,
        causal: bool,
        cache: KVCache | None,
        site: AttentionSite,
        source: Tensor | None = None,
    ) -> Tensor:
        if source is None:
            k, v = self.keys_and_values(x)
            k, v = (k, v) if cache is None else cache.update(site.layer, k, v)
        elif cache is None:
            k, v = self.keys_and_values(source)
        else:
            k, v = cache.cross(site.layer, lambda: self.keys_and_values(source), site.exact)
        q, dropout = split_heads(self.query(x), self.heads), self.dropout if self.training else 0.0
        return merge_heads(attend(q, k, v, site=site, mask=mask, dropout=dropout, is_causal=causal))


class BertDecoderLayer(BertLayer):
    """Self-attention, cross-attention if `config.add_cross_attention` is set, then a feed-forward block."""

    def __init__(self, config) -> None:
        super().__init__(config)
        self.attention["self"] = BertDecoderAttention(config)
        if getattr(config, "add_cross_attention", False):
            residual = BertResidual(config, config.hidden_size)
            self.crossattention = nn.ModuleDict({"self": BertDecoderAttention(config), "output": residual})

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        mask: Tensor | None,
        causal: bool,
        source: Tensor | None,
        source_mask: Tensor | None,
        cache: KVCache | None,
        sites: tuple[AttentionSite, AttentionSite],
    ) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, mask, causal, cache, sites[0]), x)
        if source is not None:
            cross = self.crossattention["self"](x, source_mask, False, cache, sites[1], source)
            x = self.crossattention["output"](cross, x)
        return self.output(activated(self.intermediate["dense"], self.activation, x), x)


class BertDecoderStack(BertEncoder):
    """The stack of layers, with the attributes of an encoder's."""

    layer_class = BertDecoderLayer

    def __init__(self, config) -> None:
        super().__init__(config)
        has_cross = getattr(config, "add_cross_attention", False)
        self.pairs = decoder_sites(config.num_hidden_layers, config.num_attention_heads, alone=not has_cross)
        self.sites = [site for pair in self.pairs for site in (pair if has_cross else pair[:1])]


class BertDecoderModel(BertModel):
    """BERT as a decoder.

    Args:
        config: BERT's settings, with `is_decoder` for causal attention and `add_cross_attention` to attend to an encoder.
        add_pooling_layer: Also compute `pooler_output`.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> decoder = BertModel(BertConfig(**size, is_decoder=True, add_cross_attention=True)).eval()
        >>> out = decoder(torch.tensor([[2, 17, 8]]), encoder_hidden_states=torch.zeros(1, 5, 32), output_attentions=True)
        >>> out.last_hidden_state.shape, out.cross_attentions[0].shape
        (torch.Size([1, 3, 32]), torch.Size([1, 2, 3, 5]))
    """

    encoder_class = BertDecoderStack
    encoder: BertDecoderStack

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: KVCache | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPoolingAndCrossAttentions:
        """As `BertModel.forward`, with an encoder's states and a cache.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds: As for `BertModel`; with
                `past_key_values`, only the new tokens, and the mask covers the cached and the new ones.
            encoder_hidden_states: `(batch, encoder tokens, width)`, to attend to.
            encoder_attention_mask: `(batch, encoder tokens)`, 1 for a token and 0 for padding; all 1 by default.
            past_key_values: The cache that an earlier call returned; it is extended in place.
            use_cache: Return the cache; by default unless the model is in training or `config.use_cache` is off.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If inputs do not fit, or an encoder's states are passed without `config.add_cross_attention`.
        """
        source, config = encoder_hidden_states, self.config
        if source is not None and not getattr(config, "add_cross_attention", False):
            raise InputError(
                "encoder_hidden_states were passed, but this model has no cross-attention.",
                next_step="Set config.add_cross_attention = True when you create the model.",
            )
        (B, T, device), cache = input_size(input_ids, inputs_embeds), as_cache(past_key_values)
        if cache is None and is_decoder(config):
            wanted = getattr(config, "use_cache", True) and not self.training if use_cache is None else use_cache
            cache = KVCache() if wanted else None
        past = 0 if cache is None else cache.length
        if position_ids is None:
            position_ids = torch.arange(past, past + T, device=device)[None]
        x = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)
        mask, causal = padding_mask(attention_mask, x.dtype, (B, T)), False
        if is_decoder(config):
            mask, causal = causal_mask(attention_mask, (B, T), past, x.dtype, device)
        source_mask = None if source is None else padding_mask(encoder_attention_mask, x.dtype, source.shape[:2])
        pairs = self.encoder.pairs
        with recording(self.encoder, output_attentions) as record:
            x, states, _ = run_layers(
                self.encoder,
                self.encoder.layer,
                pairs,
                x,
                *(mask, causal, source, source_mask, cache),
                output_attentions=False,  # recorded here
                output_hidden_states=output_hidden_states,
            )
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=x,
            pooler_output=None if self.pooler is None else self.pooler(x),
            past_key_values=cache,
            hidden_states=states,
            attentions=None if record is None else record.of(pair[0] for pair in pairs),
            cross_attentions=None if record is None or source is None else record.of(pair[1] for pair in pairs),
        )


class BertLMHeadModel(BertPreTrainedModel, DecoderForCausalLM, GenerationMixin):
    """BERT as a decoder with scores of the next token. Without `config.is_decoder`, every token sees those after it.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertLMHeadModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = BertLMHeadModel(BertConfig(**size, is_decoder=True)).eval()
        >>> ids = torch.tensor([[2, 17, 8]])
        >>> model(ids, labels=ids).logits.shape, model.generate(ids, max_new_tokens=3, eos_token_id=None).shape
        (torch.Size([1, 3, 50]), torch.Size([1, 6]))
    """

    backbone = BertDecoderModel
    output_class = CausalLMOutputWithCrossAttentions
    weight_rules = replace(
        BertForMaskedLM.weight_rules,
        optional=(
            *BertForMaskedLM.weight_rules.optional,
            r"\.crossattention\.",
        ),  # of a decoder that is put on an encoder
    )
    labels_after = "encoder_attention_mask"

    def build_head(self, config: BertConfig) -> None:
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config)})

    def score_vocabulary(self, states: Tensor) -> Tensor:
        return self.cls["predictions"](states)
