"""Llama: a pre-norm decoder with rotary positions, RMS norms, gated feed-forward blocks and fewer key heads than query heads.

SmolLM, TinyLlama and many others are Llamas by their config. Mistral, Qwen, SmolLM3 and Gemma are built from the same blocks.

Source: Touvron et al., LLaMA, 2023; Grattafiori et al., The Llama 3 Herd of Models, 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.errors import ConfigurationError
from notebook_kit.generation.mixin import GenerationMixin
from notebook_kit.nn.attention import AttentionSite, attend, causal_mask
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.encoder_decoder import decoder_cache
from notebook_kit.nn.heads import (
    DecoderForCausalLM,
    DecoderForSequenceClassification,
    ForQuestionAnswering,
    ForTokenClassification,
)
from notebook_kit.nn.layers import (
    activation,
    embed_tokens,
    input_size,
    merge_heads,
    run_layers,
)
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
]

# Window (None for none) -> what `causal_mask` made of it.
Masks = dict[int | None, tuple[Tensor | None, bool]]
Rotation = tuple[Tensor, Tensor]


class LlamaConfig(RotaryConfig):
    """Llama's settings; the defaults are those of `Llama-7b`.

    Args:
        vocab_size: Rows of the token embeddings.
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside the feed-forward block.
        num_hidden_layers: Layers.
        num_attention_heads: Query heads per layer.
        num_key_value_heads: Key and value heads per layer; must divide the query heads, as many as these unless given.
        head_dim: Width of a head; `hidden_size / num_attention_heads` unless given.
        hidden_act: Activation of the feed-forward block's gate.
        max_position_embeddings: The longest sequence of the training, in tokens.
        initializer_range: Standard deviation of fresh weights.
        rms_norm_eps: Epsilon of the norms.
        rope_parameters: Of the rotary positions: `rope_theta`, `rope_type` ("default", "linear", "dynamic", "yarn",
            "llama3") and what the type needs. `rope_theta` and `rope_scaling` are taken as well.
        attention_bias: Biases in the attention's projections.
        attention_dropout: Dropout of attention weights.
        mlp_bias: Biases in the feed-forward block.
        use_cache: Return the cache of keys and values, outside training.

    Example:
        >>> from notebook_kit import LlamaConfig
        >>> tiny = LlamaConfig(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, rope_theta=500000.0)
        >>> tiny.head_dim, tiny.rope_parameters
        (16, {'rope_theta': 500000.0, 'rope_type': 'default'})
    """

    model_type: ClassVar[str] = "llama"
    keys_to_ignore_at_inference: ClassVar[tuple[str, ...]] = ("past_key_values",)
    not_theirs: ClassVar[tuple[str, ...]] = ()
    """Fields of Llama that a family built from it does not have in its files."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    pretraining_tp: int | None = 1
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    attention_dropout: float = 0.0
    mlp_bias: bool = False

    def validate(self) -> None:
        super().validate()
        if self.head_dim is None:
            if self.hidden_size % self.num_attention_heads:
                raise ConfigurationError(
                    f"A width of {self.hidden_size} cannot be split evenly over {self.num_attention_heads} heads.",
                    next_step="Choose a number of heads that divides it, or set head_dim.",
                )
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigurationError(
                f"{self.num_attention_heads} query heads cannot share {self.num_key_value_heads} key heads evenly.",
                next_step="Let num_key_value_heads divide num_attention_heads.",
            )

    def to_dict(self) -> dict[str, Any]:
        values, plain = super().to_dict(), self.hidden_size // self.num_attention_heads
        return {
            name: value
            for name, value in values.items()
            if name not in self.not_theirs or (name == "head_dim" and value != plain)
        }


class RMSNorm(nn.Module):
    """Divide by the root of the mean square, and scale: `(..., width)`."""

    start = 1.0  # of the scale

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
    """What differs between the families that are built from these blocks, besides settings.

    Attributes:
        norm: The norms' class.
        norms_heads: Whether each head's queries and keys are normed.
        biases: Whether there are biases before the attention and after it; `config.attention_bias` unless given.
        scales_embeddings: Whether the vectors of tokens are multiplied with the root of the width.
        windows: From the config, for each layer, how many positions it attends to, its own included, or None for all.
        rotates: From the config, for each layer, whether its queries and keys are rotated by their positions.
    """

    norm: type[RMSNorm] = RMSNorm
    norms_heads: bool = False
    biases: tuple[bool, bool] | None = None
    scales_embeddings: bool = False
    windows: Callable[[Any], list[int | None]] = lambda config: [None] * config.num_hidden_layers
    rotates: Callable[[Any], list[bool]] = lambda config: [True] * config.num_hidden_layers


def windows_by_type(config: Any) -> list[int | None]:
    """For each layer, its window: `config.sliding_window` where `config.layer_types` says so, else None.

    Example:
        >>> from notebook_kit import Qwen2Config
        >>> windows_by_type(Qwen2Config(num_hidden_layers=3, use_sliding_window=True, sliding_window=8, max_window_layers=1))
        [None, 8, 8]
    """
    return [config.sliding_window if kind == "sliding_attention" else None for kind in config.layer_types]


class LlamaAttention(nn.Module):
    def __init__(self, config: LlamaConfig, layer: int, variant: LlamaVariant) -> None:
        super().__init__()
        width = config.head_dim
        assert width is not None and config.num_key_value_heads is not None
        before, after = variant.biases or (config.attention_bias, config.attention_bias)
        self.layer, self.width, self.window = layer, width, variant.windows(config)[layer]
        self.rotates = variant.rotates(config)[layer]
        self.dropout = config.attention_dropout
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * width, bias=before)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * width, bias=before)
        self.v_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * width, bias=before)
        self.o_proj = nn.Linear(config.num_attention_heads * width, config.hidden_size, bias=after)
        self.norms_heads = variant.norms_heads
        if self.norms_heads:
            self.q_norm = variant.norm(width, config.rms_norm_eps)
            self.k_norm = variant.norm(width, config.rms_norm_eps)

    def forward(
        self, x: Tensor, masks: Masks, rotation: Rotation, cache: KVCache | None, site: AttentionSite
    ) -> Tensor:
        B, T, _ = x.shape
        q, k, v = (project(x).view(B, T, -1, self.width) for project in (self.q_proj, self.k_proj, self.v_proj))
        if self.norms_heads:
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
    """A feed-forward block whose inner width is gated: `down(act(gate(x)) * up(x))`."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))


class LlamaDecoderLayer(nn.Module):
    """Attention, then a feed-forward block, each with a norm before it and a residual around both."""

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
    config_class: ClassVar[Any] = LlamaConfig
    base_model_prefix = "model"
    model: LlamaModel  # in the heads
    weight_rules = WeightRules(unused=(r"rotary_emb\.inv_freq$",))

    @torch.no_grad()
    def init_parameter(self, module: nn.Module, name: str) -> None:
        if isinstance(module, RMSNorm):
            module.weight.fill_(module.start)
        else:
            super().init_parameter(module, name)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.base_model.embed_tokens  # type: ignore[return-value]

    def set_input_embeddings(self, table: nn.Embedding) -> None:
        self.base_model.embed_tokens = table
        self.tie_weights()


class LlamaModel(LlamaPreTrainedModel):
    """The decoder: ids in, one vector per token out, each from the tokens up to its own.

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
        pad = config.pad_token_id
        padding_idx = (
            pad if pad is not None and pad < config.vocab_size else None
        )  # of a small model it may lie outside
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=padding_idx)
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
            input_ids: `(batch, tokens)`, from the checkpoint's tokenizer; with `past_key_values` only those that are new.
            attention_mask: `(batch, cached + new tokens)`, 1 for a token and 0 for padding; all 1 unless given.
            position_ids: `(batch, tokens)`; counted from the cached ones unless given.
            past_key_values: The cache that an earlier call returned; it is written on.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            use_cache: Return the cache; `config.use_cache` outside training unless given.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are outside the vocabulary, or the mask does not fit.
        """
        config = self.config
        B, T, device = input_size(input_ids, inputs_embeds)
        cache = decoder_cache(self, past_key_values, use_cache)
        past = 0 if cache is None else cache.length
        x = embed_tokens(self.embed_tokens, input_ids, inputs_embeds)
        if inputs_embeds is None and self.variant.scales_embeddings:
            x = x * torch.tensor(config.hidden_size**0.5, dtype=x.dtype)  # rounded as the checkpoints' makers did
        masks = {window: causal_mask(attention_mask, (B, T), past, x.dtype, device, window) for window in self.windows}
        x, states, attentions = run_layers(
            self,
            self.layers,
            self.sites,
            x,
            masks,
            self.rotary(past, past + T, position_ids, x),
            cache,
            output_attentions=config.output_attentions if output_attentions is None else output_attentions,
            output_hidden_states=config.output_hidden_states if output_hidden_states is None else output_hidden_states,
        )
        x = self.norm(x)
        return BaseModelOutputWithPast(
            last_hidden_state=x,
            past_key_values=cache,
            hidden_states=None if states is None else (*states[:-1], x),
            attentions=attentions,
        )


# Heads -----------------------------------------------------------------------------------------------------------------


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
    """Llama with a linear layer on every token, which sees the tokens up to its own.

    Example:
        >>> import torch
        >>> from notebook_kit import LlamaConfig, LlamaForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = LlamaForTokenClassification(LlamaConfig(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]]), labels=torch.tensor([[0, 2, -100]])).logits.shape  # -100 does not count
        torch.Size([1, 3, 3])
    """

    backbone: ClassVar[type[LlamaModel]] = LlamaModel

    def build_head(self, config: LlamaConfig) -> None:
        self.dropout = self.classifier_dropout(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels)

    def compute_logits(self, out) -> Tensor:
        return self.score(self.dropout(out.last_hidden_state))


class LlamaForQuestionAnswering(LlamaPreTrainedModel, ForQuestionAnswering):
    """Llama with two scores per token: does the answer start here, does it end here.

    Example:
        >>> import torch
        >>> from notebook_kit import LlamaConfig, LlamaForQuestionAnswering
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> out = LlamaForQuestionAnswering(LlamaConfig(**size))(torch.tensor([[7, 17, 8, 9, 21]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 5]), torch.Size([1, 5]))
    """

    backbone: ClassVar[type[LlamaModel]] = LlamaModel
    base_model_prefix = "transformer"  # as its checkpoints have it, unlike those of the other heads
    transformer: LlamaModel
    weight_rules = replace(LlamaPreTrainedModel.weight_rules, legacy={r"^model\.": "transformer."})
