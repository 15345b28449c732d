"""BLIP's model for texts: BERT's layers with cross-attention to an image, as an encoder or as a decoder.

Source: Li et al., BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and Generation, 2022.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import ENCODER_RULES
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.generation.mixin import GenerationMixin
from notebook_kit.models.bert import BertEncoder, BertPooler, BertPredictions, BertResidual
from notebook_kit.models.bert_decoder import BertDecoderAttention, BertDecoderLayer
from notebook_kit.nn.attention import AttentionSite
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.cache import KVCache, as_cache
from notebook_kit.nn.layers import check_length, embed_tokens, input_size, recording, run_layers, token_table
from notebook_kit.nn.masks import causal_mask, padding_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPoolingAndCrossAttentions, CausalLMOutputWithCrossAttentions

__all__ = ["BlipTextConfig", "BlipTextLMHeadModel", "BlipTextModel"]


class BlipTextConfig(PretrainedConfig):
    """The settings of BLIP's model for texts; the defaults are those of `Salesforce/blip-vqa-base`.

    Args:
        vocab_size: Rows of the token embeddings.
        hidden_size: Width of the residual stream.
        encoder_hidden_size: Width of what cross-attention attends to; in a BLIP, that of its model for images.
        intermediate_size: Width inside the feed-forward block.
        projection_dim: Kept for other libraries.
        num_hidden_layers: Number of layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        max_position_embeddings: Maximum length of a text, in tokens.
        hidden_act: Activation of the feed-forward block.
        layer_norm_eps: Epsilon of the layer norms.
        hidden_dropout_prob: Dropout after the embeddings and each block.
        attention_probs_dropout_prob: Dropout of attention weights.
        initializer_range: Standard deviation of the initial weights.
        sep_token_id: The token that ends a generated text.
        is_decoder: Whether the layers have cross-attention.
        use_cache: Whether a decoder returns its keys and values.
        label_smoothing: The part of the loss that goes to all tokens alike.

    Example:
        >>> from notebook_kit import BlipTextConfig
        >>> BlipTextConfig(num_hidden_layers=2).sep_token_id
        102
    """

    model_type: ClassVar[str] = "blip_text_model"
    base_config_key: ClassVar[str] = "text_config"

    vocab_size: Rows = 30524
    hidden_size: Size = 768
    encoder_hidden_size: Size = 768
    intermediate_size: Size = 3072
    projection_dim: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 8
    max_position_embeddings: Rows = 512
    hidden_act: Activation = "gelu"
    layer_norm_eps: NonNegative = 1e-12
    hidden_dropout_prob: Fraction = 0.0
    attention_probs_dropout_prob: Fraction = 0.0
    initializer_range: NonNegative = 0.02
    bos_token_id: int | None = 30522
    eos_token_id: int | list[int] | None = 2
    pad_token_id: int | None = 0
    sep_token_id: int | None = 102
    is_decoder: bool = True
    use_cache: bool = True
    label_smoothing: Fraction = 0.0


class BlipTextEmbeddings(nn.Module):
    """Token + position embeddings, normed: `(batch, tokens)` ids to `(batch, tokens, width)`."""

    def __init__(self, config) -> None:
        super().__init__()
        self.word_embeddings = token_table(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, input_ids: Tensor | None, position_ids: Tensor | None, inputs_embeds: Tensor | None, past: int
    ) -> Tensor:
        _, T, device = input_size(input_ids, inputs_embeds)
        if position_ids is None:
            check_length(past + T, self.position_embeddings.num_embeddings)
            position_ids = torch.arange(past, past + T, device=device)[None]
        words = embed_tokens(self.word_embeddings, input_ids, inputs_embeds)
        return self.dropout(self.LayerNorm(words + self.position_embeddings(position_ids)))


class BlipTextLayer(BertDecoderLayer):
    """As BERT's as a decoder, with cross-attention to states of another width."""

    def __init__(self, config) -> None:
        super().__init__(config)
        if not config.is_decoder:
            return
        attention = BertDecoderAttention(config)
        attention.key = nn.Linear(config.encoder_hidden_size, config.hidden_size)
        attention.value = nn.Linear(config.encoder_hidden_size, config.hidden_size)
        residual = BertResidual(config, config.hidden_size)
        self.crossattention = nn.ModuleDict({"self": attention, "output": residual})


class BlipTextEncoder(BertEncoder):
    """The stack of layers.

    Args:
        config: The settings.
        axis: "text" in an encoder, and "decoder text" in a decoder.
        source: What cross-attention attends to: "patches" or "text".
    """

    layer_class = BlipTextLayer

    def __init__(self, config, axis: str, source: str) -> None:
        super().__init__(config)
        heads, kind = config.num_attention_heads, "self" if axis == "text" else "decoder"
        self.pairs = [
            (
                AttentionSite(layer, heads, kind, rows=axis),
                AttentionSite(layer, heads, "cross", rows=axis, columns=source),
            )
            for layer in range(config.num_hidden_layers)
        ]
        self.sites = [site for pair in self.pairs for site in (pair if config.is_decoder else pair[:1])]


class BlipTextPreTrainedModel(PreTrainedModel):
    config_class = BlipTextConfig
    base_model_prefix = "bert"
    position_field = "max_position_embeddings"
    weight_rules = ENCODER_RULES


class BlipTextModel(BlipTextPreTrainedModel):
    """Ids and the states of an image in, one vector per token out.

    Args:
        config: The settings.
        add_pooling_layer: Also compute `pooler_output`.
        axis, source: The names of the axes of its attention, as for `AttentionSite`.

    Example:
        >>> import torch
        >>> from notebook_kit import BlipTextConfig, BlipTextModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = BlipTextModel(BlipTextConfig(**size, vocab_size=50, encoder_hidden_size=24))
        >>> out = model(torch.tensor([[2, 17, 8]]), encoder_hidden_states=torch.zeros(1, 5, 24), output_attentions=True)
        >>> out.last_hidden_state.shape, out.cross_attentions[0].shape
        (torch.Size([1, 3, 32]), torch.Size([1, 2, 3, 5]))
    """

    config: BlipTextConfig

    def __init__(
        self, config: BlipTextConfig, add_pooling_layer: bool = True, axis: str = "text", source: str = "patches"
    ) -> None:
        super().__init__(config)
        self.embeddings = BlipTextEmbeddings(config)
        self.encoder = BlipTextEncoder(config, axis, source)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: KVCache | None = None,
        use_cache: bool | None = None,
        is_decoder: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPoolingAndCrossAttentions:
        """Encode a batch of texts.

        Args:
            input_ids: `(batch, tokens)`; with `past_key_values`, only the new tokens.
            attention_mask: `(batch, tokens)`, 1 for a token and 0 for padding, cached tokens included; all 1 by default.
            position_ids: `(batch, tokens)`; counted up by default.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            encoder_hidden_states: `(batch, positions, encoder width)`, to attend to.
            encoder_attention_mask: `(batch, positions)`, 1 where they are attended to; all 1 by default.
            past_key_values: The cache that an earlier call of a decoder returned; it is extended in place.
            use_cache: Return the cache of a decoder; by default unless the model is in training or `config.use_cache` is off.
            is_decoder: Let no token attend to later ones.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are outside the vocabulary, a mask does not fit, or there are more tokens than positions.
        """
        (B, T, device), source = input_size(input_ids, inputs_embeds), encoder_hidden_states
        cache = self._cache(past_key_values, use_cache) if is_decoder else None
        past = 0 if cache is None else cache.length
        x = self.embeddings(input_ids, position_ids, inputs_embeds, past)
        mask, causal = padding_mask(attention_mask, x.dtype, (B, T)) if not is_decoder else None, False
        if is_decoder:
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
                output_attentions=False,  # recorded here, as a layer has two sites
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

    def _cache(self, past_key_values: Any, use_cache: bool | None) -> KVCache | None:
        if past_key_values is not None:
            return as_cache(past_key_values)
        wanted = self.config.use_cache and not self.training if use_cache is None else use_cache
        return KVCache() if wanted else None


class BlipTextLMHeadModel(BlipTextPreTrainedModel, GenerationMixin):
    """BLIP's model for texts as a decoder, with scores of the next token.

    Args:
        config: The settings.
        source: What cross-attention attends to: "patches" or "text".

    Example:
        >>> import torch
        >>> from notebook_kit import BlipTextConfig, BlipTextLMHeadModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = BlipTextLMHeadModel(BlipTextConfig(**size, vocab_size=50, encoder_hidden_size=24))
        >>> model(torch.tensor([[2, 17, 8]]), encoder_hidden_states=torch.zeros(1, 5, 24)).logits.shape
        torch.Size([1, 3, 50])
    """

    bert: BlipTextModel
    config: BlipTextConfig
    weight_rules = replace(
        ENCODER_RULES,
        tied={
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    )

    def __init__(self, config: BlipTextConfig, source: str = "patches") -> None:
        super().__init__(config)
        self.bert = BlipTextModel(config, add_pooling_layer=False, axis="decoder text", source=source)
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config)})
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: KVCache | None = None,
        use_cache: bool | None = None,
        is_decoder: bool = True,
        logits_to_keep: int | Tensor = 0,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> CausalLMOutputWithCrossAttentions:
        """As `BlipTextModel.forward`, with scores of the next token.

        Args:
            input_ids, attention_mask, ...: As for `BlipTextModel`.
            labels: `(batch, tokens)`, usually `input_ids` themselves (they are shifted inside); -100 for tokens to ignore.
            logits_to_keep: Compute logits only for this many last tokens (0 for all), or for these indices of tokens.
        """
        out = self.bert(
            input_ids,
            attention_mask,
            position_ids,
            inputs_embeds,
            encoder_hidden_states,
            encoder_attention_mask,
            past_key_values,
            use_cache=False if labels is not None else use_cache,
            is_decoder=is_decoder,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        states = out.last_hidden_state
        if isinstance(logits_to_keep, Tensor):
            states = states[:, logits_to_keep]
        elif logits_to_keep:
            states = states[:, -logits_to_keep:]
        logits = self.cls["predictions"](states)
        loss = None
        if labels is not None:
            scores, following = logits[:, :-1].flatten(0, 1), labels[:, 1:].reshape(-1).to(logits.device)
            loss = F.cross_entropy(scores, following, label_smoothing=self.config.label_smoothing)
        return CausalLMOutputWithCrossAttentions(
            loss=loss,
            logits=logits,
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
            attentions=out.attentions,
            cross_attentions=out.cross_attentions,
        )
