"""Llama: a pre-norm decoder with rotary positions, RMS norms, gated feed-forward blocks and grouped-query attention.

The checkpoints of SmolLM, TinyLlama and many others are Llamas. Mistral, Qwen, SmolLM3 and Gemma use the same blocks.

Source: Touvron et al., LLaMA: Open and Efficient Foundation Language Models, 2023; Grattafiori et al., The Llama 3 Herd of
Models, 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.errors import ConfigurationError
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
    token_table,
)
from notebook_kit.nn.masks import causal_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPast
from notebook_kit.nn.rotary import Rotary, RotaryConfig, rotate

if TYPE_CHECKING:
    from notebook_kit.nn.cache import KVCache

__all__ = [
    "LlamaConfig",
    "LlamaForCausalLM",
    "LlamaForQuestionAnswering",
    "LlamaForSequenceClassification",
    "LlamaForTokenClassification",
    "LlamaModel",
    "LlamaPreTrainedModel",
]

# Window (None for no limit) -> the `mask` and `is_causal` that `causal_mask` returns for it.
Masks = dict[int | None, tuple[Tensor | None, bool]]
Rotation = tuple[Tensor, Tensor]


LAYER_TYPES = {"full_attention", "sliding_attention"}


class LlamaConfig(RotaryConfig):
    """Llama's settings; the defaults are those of `Llama-7b`.

    Args:
        vocab_size: Rows of the token embeddings.
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside the feed-forward block.
        num_hidden_layers: Number of layers.
        num_attention_heads: Query heads per layer.
        num_key_value_heads: Key and value heads per layer; must divide `num_attention_heads`, which is the default.
        head_dim: Width of a head; `hidden_size / num_attention_heads` by default.
        hidden_act: Activation of the feed-forward block's gate.
        max_position_embeddings: Maximum sequence length in training, in tokens.
        initializer_range: Standard deviation of the initial weights.
        rms_norm_eps: Epsilon of the norms.
        rope_parameters: Of the rotary positions: `rope_theta`, `rope_type` ("default", "linear", "dynamic", "yarn",
            "llama3") and the parameters of that type. `rope_theta` and `rope_scaling` are also accepted.
        attention_bias: Use biases in the projections of the attention.
        attention_dropout: Dropout of attention weights.
        mlp_bias: Use biases in the feed-forward block.
        pretraining_tp: Read and written for other libraries; not used.
        use_cache: Return the cache of keys and values by default, except in training.

    Example:
        >>> from notebook_kit import LlamaConfig
        >>> tiny = LlamaConfig(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, rope_theta=500000.0)
        >>> tiny.head_dim, tiny.rope_parameters
        (16, {'rope_theta': 500000.0, 'rope_type': 'default'})
    """

    model_type: ClassVar[str] = "llama"
    keys_to_ignore_at_inference: ClassVar[tuple[str, ...]] = ("past_key_values",)
    omitted_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that a derived family omits from its files."""

    vocab_size: Rows = 32000
    hidden_size: Size = 4096
    intermediate_size: Size = 11008
    num_hidden_layers: Layers = 32
    num_attention_heads: Size = 32
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    hidden_act: Activation = "silu"
    max_position_embeddings: Rows = 2048
    initializer_range: NonNegative = 0.02
    rms_norm_eps: NonNegative = 1e-6
    use_cache: bool = True
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    pretraining_tp: int | None = 1
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    attention_dropout: Fraction = 0.0
    mlp_bias: bool = False

    def validate(self) -> None:
        super().validate()
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigurationError(
                f"{self.num_attention_heads} query heads cannot share {self.num_key_value_heads} key heads evenly.",
                next_step="Choose a num_key_value_heads that divides num_attention_heads.",
            )
        kinds = self.__dict__.get("layer_types")
        if kinds is not None and (len(kinds) != self.num_hidden_layers or not set(kinds) <= LAYER_TYPES):
            raise ConfigurationError(
                f"layer_types names {len(kinds)} layers ({', '.join(sorted(set(kinds)))}) of {self.num_hidden_layers}.",
                next_step=f"Pass one of {', '.join(sorted(LAYER_TYPES))} for each layer, or leave it out.",
            )

    def to_dict(self) -> dict[str, Any]:
        values, default_width = super().to_dict(), self.hidden_size // self.num_attention_heads
        return {
            name: value
            for name, value in values.items()
            if name not in self.omitted_fields or (name == "head_dim" and value != default_width)
        }


# Blocks --------------------------------------------------------------------------------------------------------------


class RMSNorm(nn.Module):
    """Division by the root mean square, times a learned scale: `(..., width)` (Zhang and Sennrich, 2019)."""

    initial_weight = 1.0

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        exact = x.float()
        exact = exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * exact.to(x.dtype)


@dataclass(frozen=True)
class LlamaVariant:
    """How a family built from these blocks differs from Llama, other than by its settings.

    Attributes:
        norm: The class of the norms.
        qk_norm: Whether each head's queries and keys are normalized.
        biases: Whether the query, key and value projections and the output projection have biases; by default both follow
            `config.attention_bias`.
        scales_embeddings: Whether token embeddings are multiplied by the square root of the width.
        windows: From the config to, for each layer, the number of last positions it attends to, or None for all.
        rotates: From the config to, for each layer, whether its queries and keys are rotated.
    """

    norm: type[RMSNorm] = RMSNorm
    qk_norm: bool = False
    biases: tuple[bool, bool] | None = None
    scales_embeddings: bool = False
    windows: Callable[[Any], list[int | None]] = lambda config: [None] * config.num_hidden_layers
    rotates: Callable[[Any], list[bool]] = lambda config: [True] * config.num_hidden_layers


def windows_by_type(config: Any) -> list[int | None]:
    """The window of each layer: `config.sliding_window` if its `config.layer_types` is "sliding_attention", else None.

    Example:
        >>> from notebook_kit import Qwen2Config
        >>> windows_by_type(Qwen2Config(num_hidden_layers=3, use_sliding_window=True, sliding_window=8, max_window_layers=1))
        [None, 8, 8]
    """
    return [config.sliding_window if kind == "sliding_attention" else None for kind in config.layer_types]


class LlamaAttention(nn.Module):
    """Causal grouped-query self-attention with rotary positions."""

    def __init__(self, config: LlamaConfig, layer: int, variant: LlamaVariant) -> None:
        super().__init__()
        width = config.head_dim
        assert width is not None and config.num_key_value_heads is not None
        qkv_bias, output_bias = variant.biases or (config.attention_bias, config.attention_bias)
        self.layer, self.width, self.window = layer, width, variant.windows(config)[layer]
        self.rotates = variant.rotates(config)[layer]
        self.dropout = config.attention_dropout
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * width, bias=qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * width, bias=qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * width, bias=qkv_bias)
        self.o_proj = nn.Linear(config.num_attention_heads * width, config.hidden_size, bias=output_bias)
        self.qk_norm = variant.qk_norm
        if self.qk_norm:
            self.q_norm = variant.norm(width, config.rms_norm_eps)
            self.k_norm = variant.norm(width, config.rms_norm_eps)

    def forward(
        self, x: Tensor, masks: Masks, rotation: Rotation, cache: KVCache | None, site: AttentionSite
    ) -> Tensor:
        B, T, _ = x.shape
        q, k, v = (project(x).view(B, T, -1, self.width) for project in (self.q_proj, self.k_proj, self.v_proj))
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # (batch, heads, tokens, width)
        if self.rotates:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        mask, is_causal = masks[self.window]
        dropout = self.dropout if self.training else 0.0
        return self.o_proj(merge_heads(attend(q, k, v, site=site, mask=mask, is_causal=is_causal, dropout=dropout)))


class LlamaMLP(nn.Module):
    """A gated feed-forward block: `down(act(gate(x)) * up(x))` (Shazeer, GLU Variants Improve Transformer, 2020)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(activated(self.gate_proj, self.activation, x) * self.up_proj(x))


class LlamaDecoderLayer(nn.Module):
    """Attention, then a feed-forward block, each after a norm and inside a residual connection."""

    def __init__(self, config: LlamaConfig, layer: int, variant: LlamaVariant) -> None:
        super().__init__()
        self.self_attn = LlamaAttention(config, layer, variant)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = variant.norm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = variant.norm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, x: Tensor, masks: Masks, rotation: Rotation, cache: KVCache | None, site: AttentionSite
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), masks, rotation, cache, site)
        return x + self.mlp(self.post_attention_layernorm(x))


# The backbone --------------------------------------------------------------------------------------------------------


class LlamaPreTrainedModel(PreTrainedModel):
    """What the models of Llama share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import LlamaModel, LlamaPreTrainedModel
        >>> issubclass(LlamaModel, LlamaPreTrainedModel)
        True
    """

    config_class: ClassVar[Any] = LlamaConfig
    base_model_prefix = "model"
    input_embeddings = ("embed_tokens",)
    model: LlamaModel  # in the heads
    weight_rules = WeightRules(unused=(r"rotary_emb\.inv_freq$",))

    @torch.no_grad()
    def init_parameter(self, module: nn.Module, name: str) -> None:
        if isinstance(module, RMSNorm):
            module.weight.fill_(module.initial_weight)
        else:
            super().init_parameter(module, name)


class LlamaModel(LlamaPreTrainedModel):
    """The decoder: ids in, one vector per token out, computed from the tokens up to it.

    Example:
        >>> import torch
        >>> from notebook_kit import LlamaConfig, LlamaModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
        >>> model = LlamaModel(LlamaConfig(**size, num_key_value_heads=2)).eval()
        >>> out = model(torch.tensor([[7, 17, 8]]))
        >>> out.last_hidden_state.shape, out.past_key_values
        (torch.Size([1, 3, 32]), KVCache(layers=1, batch=1, length=3, limit=None))
    """

    variant: ClassVar[LlamaVariant] = LlamaVariant()

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.embed_tokens = token_table(config.vocab_size, config.hidden_size, config.pad_token_id)
        layers = range(config.num_hidden_layers)
        self.layers = nn.ModuleList(LlamaDecoderLayer(config, layer, self.variant) for layer in layers)
        self.norm = self.variant.norm(config.hidden_size, config.rms_norm_eps)
        self.sites = [AttentionSite(layer, config.num_attention_heads, "decoder") for layer in layers]
        self.windows = set(self.variant.windows(config))
        assert config.head_dim is not None
        self.rotary = Rotary(config, config.head_dim)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: KVCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPast:
        """Decode a batch.

        Args:
            input_ids: `(batch, tokens)`, from the checkpoint's tokenizer; with `past_key_values`, only the new tokens.
            attention_mask: `(batch, cached + new tokens)`, 1 for a token and 0 for padding; all 1 by default.
            position_ids: `(batch, tokens)`; by default counted on from the cached tokens.
            past_key_values: The cache that an earlier call returned; it is extended in place.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            use_cache: Return the cache; by default if `config.use_cache` is set and the model is not in training.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are outside the vocabulary, or the mask does not fit.
        """
        B, T, device = input_size(input_ids, inputs_embeds)
        cache = decoder_cache(self, past_key_values, use_cache)
        past = 0 if cache is None else cache.length
        x = embed_tokens(self.embed_tokens, input_ids, inputs_embeds)
        if inputs_embeds is None and self.variant.scales_embeddings:
            x = x * torch.tensor(self.config.hidden_size**0.5, dtype=x.dtype)  # rounded as in the original
        masks = {window: causal_mask(attention_mask, (B, T), past, x.dtype, device, window) for window in self.windows}
        x, states, attentions = run_layers(
            self,
            self.layers,
            self.sites,
            x,
            masks,
            self.rotary(past, past + T, position_ids, x),
            cache,
            final=self.norm,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return BaseModelOutputWithPast(
            last_hidden_state=x, past_key_values=cache, hidden_states=states, attentions=attentions
        )


# Heads ---------------------------------------------------------------------------------------------------------------


class LlamaForCausalLM(LlamaPreTrainedModel, DecoderForCausalLM, GenerationMixin):
    """Llama with a linear layer on every token: the next token.

    Example:
        >>> import torch
        >>> from notebook_kit import LlamaConfig, LlamaForCausalLM
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
        >>> model = LlamaForCausalLM(LlamaConfig(**size)).eval()
        >>> model.generate(torch.tensor([[7, 17, 8]]), max_new_tokens=5, eos_token_id=None).shape
        torch.Size([1, 8])
    """

    weight_rules = replace(LlamaPreTrainedModel.weight_rules, tied={"lm_head.weight": "model.embed_tokens.weight"})
    backbone: ClassVar[type[LlamaModel]] = LlamaModel


class LlamaForSequenceClassification(LlamaPreTrainedModel, DecoderForSequenceClassification):
    """Llama with a linear layer on each text's last token: one prediction per text.

    Example:
        >>> import torch
        >>> from notebook_kit import LlamaConfig, LlamaForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
        >>> model = LlamaForSequenceClassification(LlamaConfig(**size, num_labels=3, pad_token_id=0))
        >>> model(torch.tensor([[7, 17, 8], [9, 4, 0]])).logits.shape
        torch.Size([2, 3])
    """

    backbone: ClassVar[type[LlamaModel]] = LlamaModel


class LlamaForTokenClassification(LlamaPreTrainedModel, ForTokenClassification):
    """Llama with a linear layer on every token, whose state depends on the tokens up to it.

    Example:
        >>> import torch
        >>> from notebook_kit import LlamaConfig, LlamaForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = LlamaForTokenClassification(LlamaConfig(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]]), labels=torch.tensor([[0, 2, -100]])).logits.shape  # -100 is ignored
        torch.Size([1, 3, 3])
    """

    backbone: ClassVar[type[LlamaModel]] = LlamaModel

    def build_head(self, config: LlamaConfig) -> None:
        self.dropout = self.classifier_dropout(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels)

    def compute_logits(self, out) -> Tensor:
        return self.score(self.dropout(out.last_hidden_state))


class LlamaForQuestionAnswering(LlamaPreTrainedModel, ForQuestionAnswering):
    """Llama with two scores per token: whether the answer starts here, and whether it ends here.

    Example:
        >>> import torch
        >>> from notebook_kit import LlamaConfig, LlamaForQuestionAnswering
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> out = LlamaForQuestionAnswering(LlamaConfig(**size))(torch.tensor([[7, 17, 8, 9, 21]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 5]), torch.Size([1, 5]))
    """

    backbone: ClassVar[type[LlamaModel]] = LlamaModel
    base_model_prefix = "transformer"  # as in its checkpoints, unlike those of the other heads
    transformer: LlamaModel
    weight_rules = replace(LlamaPreTrainedModel.weight_rules, legacy={r"^model\.": "transformer."})
