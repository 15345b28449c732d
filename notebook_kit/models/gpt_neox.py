"""GPT-NeoX: a decoder whose attention and feed-forward block read the same input. Pythia's checkpoints are GPT-NeoX.

Source: Black et al., GPT-NeoX-20B, 2022; Biderman et al., Pythia, 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.generation.mixin import GenerationMixin
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.encoder_decoder import decoder_cache
from notebook_kit.nn.heads import (
    DecoderForCausalLM,
    DecoderForSequenceClassification,
    ForQuestionAnswering,
    ForTokenClassification,
)
from notebook_kit.nn.layers import (
    activated,
    activation,
    embed_tokens,
    input_size,
    merge_heads,
    run_layers,
)
from notebook_kit.nn.masks import causal_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPast
from notebook_kit.nn.rotary import Rotary, RotaryConfig, rotate

if TYPE_CHECKING:
    from notebook_kit.nn.cache import KVCache

__all__ = [
    "GPTNeoXConfig",
    "GPTNeoXForCausalLM",
    "GPTNeoXForQuestionAnswering",
    "GPTNeoXForSequenceClassification",
    "GPTNeoXForTokenClassification",
    "GPTNeoXModel",
    "GPTNeoXPreTrainedModel",
]

Rotation = tuple[Tensor, Tensor]


class GPTNeoXConfig(RotaryConfig):
    """GPT-NeoX's settings; the defaults are those of `gpt-neox-20b`.

    Args:
        vocab_size: Rows of the token embeddings.
        hidden_size: Width of the residual stream.
        num_hidden_layers: Number of layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        intermediate_size: Width inside the feed-forward block.
        hidden_act: Activation of the feed-forward block.
        attention_dropout: Dropout of attention weights.
        hidden_dropout: Dropout after the embeddings and each block.
        max_position_embeddings: Maximum sequence length in training, in tokens.
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the layer norms.
        use_parallel_residual: Let attention and feed-forward block read the same input; otherwise they run in sequence.
        rope_parameters: Of the rotary positions; `partial_rotary_factor` is the rotated fraction of each head.
            `rotary_emb_base` and `rotary_pct` are also accepted.
        attention_bias: Use biases in the projections of the attention.
        classifier_dropout: Dropout before a token classifier.
        use_cache: Return the cache of keys and values by default, except in training.

    Example:
        >>> from notebook_kit import GPTNeoXConfig
        >>> GPTNeoXConfig(rotary_pct=0.5).rope_parameters
        {'partial_rotary_factor': 0.5, 'rope_theta': 10000.0, 'rope_type': 'default'}
    """

    model_type: ClassVar[str] = "gpt_neox"
    keys_to_ignore_at_inference: ClassVar[tuple[str, ...]] = ("past_key_values",)

    vocab_size: Rows = 50432
    hidden_size: Size = 6144
    num_hidden_layers: Layers = 44
    num_attention_heads: Size = 64
    intermediate_size: Size = 24576
    hidden_act: Activation = "gelu"
    attention_dropout: Fraction = 0.0
    hidden_dropout: Fraction = 0.0
    classifier_dropout: Fraction = 0.1
    max_position_embeddings: Rows = 2048
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-5
    use_cache: bool = True
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False
    use_parallel_residual: bool = True
    attention_bias: bool = True

    @classmethod
    def field_names(cls) -> list[str]:
        return [*super().field_names(), "rotary_pct", "rotary_emb_base"]

    def update(self, edits: Mapping[str, Any]) -> None:
        edits = dict(edits)
        part, base = edits.pop("rotary_pct", None), edits.pop("rotary_emb_base", None)
        super().update(edits)
        given = {"partial_rotary_factor": part, "rope_theta": base}
        self.rope_parameters = {
            **(self.rope_parameters or {}),
            **{name: value for name, value in given.items() if value is not None},
        }

    def validate(self) -> None:
        self.rope_parameters = {"partial_rotary_factor": 0.25, **(self.rope_parameters or {})}
        super().validate()


# Blocks --------------------------------------------------------------------------------------------------------------


class GPTNeoXAttention(nn.Module):
    """Causal multi-head self-attention with rotary positions; one projection computes queries, keys and values."""

    def __init__(self, config: GPTNeoXConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.heads = layer, config.num_attention_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.attention_bias)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=config.attention_bias)
        self.dropout = config.attention_dropout

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        rotation: Rotation,
        cache: KVCache | None,
        site: AttentionSite,
    ) -> Tensor:
        B, T, _ = x.shape
        # Each head's query, key and value are adjacent.
        fused = self.query_key_value(x).view(B, T, self.heads, -1).transpose(1, 2)
        q, k, v = fused.chunk(3, dim=-1)
        q, k = rotate(q, *rotation), rotate(k, *rotation)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        dropout = self.dropout if self.training else 0.0
        return self.dense(merge_heads(attend(q, k, v, site=site, mask=mask, is_causal=is_causal, dropout=dropout)))


class GPTNeoXMLP(nn.Module):
    """A feed-forward block."""

    def __init__(self, config: GPTNeoXConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense_4h_to_h(activated(self.dense_h_to_4h, self.activation, x))


class GPTNeoXLayer(nn.Module):
    """Attention and a feed-forward block, in parallel or in sequence, each after a layer norm."""

    def __init__(self, config: GPTNeoXConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = GPTNeoXAttention(config, layer)
        self.mlp = GPTNeoXMLP(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.parallel = config.use_parallel_residual

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        rotation: Rotation,
        cache: KVCache | None,
        site: AttentionSite,
    ) -> Tensor:
        attended = self.dropout(self.attention(self.input_layernorm(x), mask, is_causal, rotation, cache, site))
        if self.parallel:
            return self.dropout(self.mlp(self.post_attention_layernorm(x))) + attended + x
        x = x + attended
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


# The backbone --------------------------------------------------------------------------------------------------------


class GPTNeoXPreTrainedModel(PreTrainedModel):
    """What the models of GPTNeoX share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import GPTNeoXModel, GPTNeoXPreTrainedModel
        >>> issubclass(GPTNeoXModel, GPTNeoXPreTrainedModel)
        True
    """

    config_class = GPTNeoXConfig
    base_model_prefix = "gpt_neox"
    input_embeddings = ("embed_in",)
    gpt_neox: GPTNeoXModel  # in the heads
    weight_rules = WeightRules(
        legacy={r"^embed_out\.": "lm_head."},
        saved={r"^lm_head\.": "embed_out."},
        unused=(r"attention\.(masked_)?bias$", r"rotary_emb\.inv_freq$"),
    )


class GPTNeoXModel(GPTNeoXPreTrainedModel):
    """The decoder: ids in, one vector per token out, computed from the tokens up to it.

    Example:
        >>> import torch
        >>> from notebook_kit import GPTNeoXConfig, GPTNeoXModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
        >>> GPTNeoXModel(GPTNeoXConfig(**size))(torch.tensor([[7, 17, 8]])).last_hidden_state.shape
        torch.Size([1, 3, 32])
    """

    def __init__(self, config: GPTNeoXConfig) -> None:
        super().__init__(config)
        self.embed_in = nn.Embedding(config.vocab_size, config.hidden_size)
        self.emb_dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(GPTNeoXLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        heads = config.num_attention_heads
        self.sites = [AttentionSite(layer, heads, "decoder") for layer in range(config.num_hidden_layers)]
        self.rotary = Rotary(config, config.hidden_size // heads)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: KVCache | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPast:
        """Decode a batch; the arguments are those of `LlamaModel.forward`.

        Raises:
            InputError: If ids are outside the vocabulary, or the mask does not fit.
        """
        B, T, device = input_size(input_ids, inputs_embeds)
        cache = decoder_cache(self, past_key_values, use_cache)
        past = 0 if cache is None else cache.length
        x = self.emb_dropout(embed_tokens(self.embed_in, input_ids, inputs_embeds))
        mask, is_causal = causal_mask(attention_mask, (B, T), past, x.dtype, device)
        x, states, attentions = run_layers(
            self,
            self.layers,
            self.sites,
            x,
            mask,
            is_causal,
            self.rotary(past, past + T, position_ids, x),
            cache,
            final=self.final_layer_norm,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return BaseModelOutputWithPast(
            last_hidden_state=x, past_key_values=cache, hidden_states=states, attentions=attentions
        )


# Heads ---------------------------------------------------------------------------------------------------------------


class GPTNeoXForCausalLM(GPTNeoXPreTrainedModel, DecoderForCausalLM, GenerationMixin):
    """GPT-NeoX with a linear layer on every token: the next token.

    Example:
        >>> import torch
        >>> from notebook_kit import GPTNeoXConfig, GPTNeoXForCausalLM
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
        >>> model = GPTNeoXForCausalLM(GPTNeoXConfig(**size)).eval()
        >>> model.generate(torch.tensor([[7, 17, 8]]), max_new_tokens=5, eos_token_id=None).shape
        torch.Size([1, 8])
    """

    backbone = GPTNeoXModel
    weight_rules = replace(GPTNeoXPreTrainedModel.weight_rules, tied={"lm_head.weight": "gpt_neox.embed_in.weight"})


class GPTNeoXForSequenceClassification(GPTNeoXPreTrainedModel, DecoderForSequenceClassification):
    """GPT-NeoX with a linear layer on each text's last token: one prediction per text.

    Example:
        >>> import torch
        >>> from notebook_kit import GPTNeoXConfig, GPTNeoXForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
        >>> model = GPTNeoXForSequenceClassification(GPTNeoXConfig(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]])).logits.shape
        torch.Size([1, 3])
    """

    backbone = GPTNeoXModel


class GPTNeoXForTokenClassification(GPTNeoXPreTrainedModel, ForTokenClassification):
    """GPT-NeoX with a linear layer on every token, whose state depends on the tokens up to it.

    Example:
        >>> import torch
        >>> from notebook_kit import GPTNeoXConfig, GPTNeoXForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
        >>> model = GPTNeoXForTokenClassification(GPTNeoXConfig(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]]), labels=torch.tensor([[0, 2, -100]])).logits.shape  # -100 is ignored
        torch.Size([1, 3, 3])
    """

    backbone = GPTNeoXModel


class GPTNeoXForQuestionAnswering(GPTNeoXPreTrainedModel, ForQuestionAnswering):
    """GPT-NeoX with two scores per token: whether the answer starts here, and whether it ends here.

    Example:
        >>> import torch
        >>> from notebook_kit import GPTNeoXConfig, GPTNeoXForQuestionAnswering
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
        >>> out = GPTNeoXForQuestionAnswering(GPTNeoXConfig(**size))(torch.tensor([[7, 17, 8, 9, 21]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 5]), torch.Size([1, 5]))
    """

    backbone = GPTNeoXModel
