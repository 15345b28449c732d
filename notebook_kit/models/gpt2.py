"""GPT-2: a stack of pre-norm transformer decoder layers, trained to predict the next token. DistilGPT-2 is a smaller one.

Source: Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.generation.mixin import GenerationMixin
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.encoder_decoder import decoder_cache, decoder_sites
from notebook_kit.nn.heads import (
    DecoderForCausalLM,
    DecoderForSequenceClassification,
    ForQuestionAnswering,
    ForTokenClassification,
    Head,
)
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
)
from notebook_kit.nn.losses import cross_entropy, next_token_loss
from notebook_kit.nn.masks import causal_mask, padding_mask
from notebook_kit.nn.outputs import (
    BaseModelOutputWithPastAndCrossAttentions,
    CausalLMOutputWithCrossAttentions,
    ModelOutput,
)

if TYPE_CHECKING:
    from notebook_kit.nn.cache import KVCache

__all__ = [
    "GPT2Config",
    "GPT2DoubleHeadsModel",
    "GPT2DoubleHeadsModelOutput",
    "GPT2ForQuestionAnswering",
    "GPT2ForSequenceClassification",
    "GPT2ForTokenClassification",
    "GPT2LMHeadModel",
    "GPT2Model",
    "GPT2PreTrainedModel",
]


class GPT2Config(PretrainedConfig):
    """GPT-2's settings; the defaults are those of `gpt2`. The common names (`hidden_size`, `num_hidden_layers`, ...) work too.

    Args:
        vocab_size: Rows of the token embeddings.
        n_positions: Maximum sequence length, in tokens.
        n_embd: Width of the residual stream.
        n_layer: Number of layers.
        n_head: Heads per layer; must divide `n_embd`.
        n_inner: Width inside the feed-forward block; four times `n_embd` by default.
        activation_function: Activation of the feed-forward block.
        resid_pdrop: Dropout after each block.
        embd_pdrop: Dropout after the embeddings.
        attn_pdrop: Dropout of attention weights.
        layer_norm_epsilon: Epsilon of the layer norms.
        initializer_range: Standard deviation of the initial weights.
        scale_attn_weights: Divide attention scores by the square root of the head width.
        scale_attn_by_inverse_layer_idx: Also divide them by the number of the layer, counted from 1.
        use_cache: Return the cache of keys and values by default, except in training.

    Example:
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel
        >>> tiny = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=100, n_positions=64)
        >>> GPT2LMHeadModel(tiny).num_parameters(), tiny.hidden_size
        (30720, 32)
    """

    model_type: ClassVar[str] = "gpt2"
    keys_to_ignore_at_inference: ClassVar[tuple[str, ...]] = ("past_key_values",)
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    }

    vocab_size: Rows = 50257
    n_positions: Rows = 1024
    n_embd: Size = 768
    n_layer: Layers = 12
    n_head: Size = 12
    n_inner: Size | None = None
    activation_function: Activation = "gelu_new"
    resid_pdrop: Fraction = 0.1
    embd_pdrop: Fraction = 0.1
    attn_pdrop: Fraction = 0.1
    layer_norm_epsilon: NonNegative = 1e-5
    initializer_range: NonNegative = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    use_cache: bool = True
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256


# Blocks --------------------------------------------------------------------------------------------------------------


class GPT2Projection(nn.Module):
    """A linear layer with a weight of shape `(in, out)`, as in GPT-2's checkpoints.

    Libraries such as PEFT know this layout as the class `Conv1D` of `transformers`, so it passes for one where that class has been
    imported: their adapters then fit, and are merged the right way round.

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        std_factor: A factor on the standard deviation of the initial weights.
    """

    def __init__(self, inputs: int, outputs: int, std_factor: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.std_factor = std_factor

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        return torch.addmm(self.bias, x.reshape(B * T, C), self.weight).view(B, T, -1)

    @property
    def __class__(self) -> type:
        known = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", None)
        return type(self) if known is None or type(self) is not GPT2Projection else _known_as(known)

    @__class__.setter
    def __class__(self, value: type) -> None:  # as torch's parametrizations do
        object.__dict__["__class__"].__set__(self, value)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _empty_projection, (), self.__getstate__()  # copies and pickles are of the real class


@cache
def _known_as(known: type) -> type:
    """GPT2Projection as a subclass of another library's class for the same layer."""
    return type("GPT2Projection", (GPT2Projection, known), {})


def _empty_projection() -> GPT2Projection:
    return GPT2Projection.__new__(GPT2Projection)


class GPT2Attention(nn.Module):
    """Causal multi-head self-attention; one projection computes queries, keys and values."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.heads, self.layer = config.n_head, layer
        self.c_attn = GPT2Projection(config.n_embd, 3 * config.n_embd)
        self.c_proj = GPT2Projection(config.n_embd, config.n_embd, std_factor=(2 * config.n_layer) ** -0.5)
        self.attn_dropout = config.attn_pdrop
        self.resid_dropout = nn.Dropout(config.resid_pdrop)
        self.scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scale /= layer + 1

    def forward(
        self, x: Tensor, mask: Tensor | None, is_causal: bool, cache: KVCache | None, site: AttentionSite
    ) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.c_attn(x).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        dropout = self.attn_dropout if self.training else 0.0
        context = attend(q, k, v, site=site, mask=mask, is_causal=is_causal, dropout=dropout, scale=self.scale)
        return apply_dropout(self.resid_dropout, self.c_proj(merge_heads(context)))


class GPT2CrossAttention(GPT2Attention):
    """Multi-head attention to `source`, the states of an encoder; one projection computes its keys and values."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__(config, layer)
        self.c_attn = GPT2Projection(config.n_embd, 2 * config.n_embd)
        self.q_attn = GPT2Projection(config.n_embd, config.n_embd)

    def keys_and_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        k, v = self.c_attn(source).chunk(2, dim=-1)
        return split_heads(k, self.heads), split_heads(v, self.heads)

    def forward(  # type: ignore[override]
        self, x: Tensor, source: Tensor, mask: Tensor | None, cache: KVCache | None, site: AttentionSite
    ) -> Tensor:
        q = split_heads(self.q_attn(x), self.heads)
        if cache is None:
            k, v = self.keys_and_values(source)
        else:
            k, v = cache.cross(self.layer, lambda: self.keys_and_values(source), site.exact)
        dropout = self.attn_dropout if self.training else 0.0
        context = attend(q, k, v, site=site, mask=mask, dropout=dropout, scale=self.scale)
        return apply_dropout(self.resid_dropout, self.c_proj(merge_heads(context)))


class GPT2MLP(nn.Module):
    """A feed-forward block."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        inner = 4 * config.n_embd if config.n_inner is None else config.n_inner
        self.c_fc = GPT2Projection(config.n_embd, inner)
        self.c_proj = GPT2Projection(inner, config.n_embd, std_factor=(2 * config.n_layer) ** -0.5)
        self.activation = activation(config.activation_function)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        return apply_dropout(self.dropout, self.c_proj(activated(self.c_fc, self.activation, x)))


class GPT2Block(nn.Module):
    """Attention, attention to an encoder if `config.add_cross_attention` is set, then a feed-forward block, each after a layer
    norm and inside a residual connection."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = GPT2Attention(config, layer)
        if getattr(config, "add_cross_attention", False):
            self.ln_cross_attn = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
            self.crossattention = GPT2CrossAttention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = GPT2MLP(config)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        source: Tensor | None,
        source_mask: Tensor | None,
        cache: KVCache | None,
        sites: tuple[AttentionSite, AttentionSite],
    ) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask, is_causal, cache, sites[0])
        if source is not None:
            x = x + self.crossattention(self.ln_cross_attn(x), source, source_mask, cache, sites[1])
        return x + self.mlp(self.ln_2(x))


# The backbone --------------------------------------------------------------------------------------------------------


class GPT2PreTrainedModel(PreTrainedModel):
    """What the models of GPT2 share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import GPT2Model, GPT2PreTrainedModel
        >>> issubclass(GPT2Model, GPT2PreTrainedModel)
        True
    """

    config_class = GPT2Config
    base_model_prefix = "transformer"
    input_embeddings = ("wte",)
    position_field = "n_positions"
    transformer: GPT2Model  # in the heads
    weight_rules = WeightRules(
        optional=(r"\.(crossattention|ln_cross_attn)\.",),  # of a decoder that is put on an encoder
        unused=(r"(^|\.)(cross)?att(entio)?n\.(masked_)?bias$",),
    )

    @torch.no_grad()
    def init_parameter(self, module: nn.Module, name: str) -> None:
        super().init_parameter(module, name)
        if isinstance(module, GPT2Projection) and name == "weight":
            # Outputs added to the residual stream start smaller in deeper models (section 2.3).
            module.weight.mul_(module.std_factor)


class GPT2Model(GPT2PreTrainedModel):
    """The decoder: ids in, one vector per token out, computed from the tokens up to it.

    Example:
        >>> import torch
        >>> from notebook_kit import GPT2Config, GPT2Model
        >>> model = GPT2Model(GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=50, n_positions=16)).eval()
        >>> out = model(torch.tensor([[7, 17, 8]]))
        >>> more = model(torch.tensor([[9]]), past_key_values=out.past_key_values)  # reuses the first three
        >>> whole = model(torch.tensor([[7, 17, 8, 9]]))
        >>> torch.allclose(more.last_hidden_state[:, -1], whole.last_hidden_state[:, -1], atol=1e-6)
        True
    """

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(GPT2Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        has_cross = getattr(config, "add_cross_attention", False)
        self.pairs = decoder_sites(config.n_layer, config.n_head, alone=not has_cross)
        self.sites = [site for pair in self.pairs for site in (pair if has_cross else pair[:1])]
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: KVCache | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Decode a batch.

        Args:
            input_ids: `(batch, tokens)`, from the checkpoint's tokenizer; with `past_key_values`, only the new tokens.
            past_key_values: The cache that an earlier call returned; it is extended in place.
            attention_mask: `(batch, cached + new tokens)`, 1 for a token and 0 for padding; all 1 by default.
            token_type_ids: `(batch, tokens)`, ids whose token embeddings are added to those of the input.
            position_ids: `(batch, tokens)`; by default counted on from the cached tokens.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            encoder_hidden_states: `(batch, encoder tokens, width)`, to attend to.
            encoder_attention_mask: `(batch, encoder tokens)`, 1 for a token and 0 for padding; all 1 by default.
            use_cache: Return the cache; by default if `config.use_cache` is set and the model is not in training.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are outside the vocabulary, a mask does not fit, there are more tokens than positions, or an
                encoder's states are passed without `config.add_cross_attention`.
        """
        B, T, device = input_size(input_ids, inputs_embeds)
        cache = decoder_cache(self, past_key_values, use_cache)
        past = 0 if cache is None else cache.length
        if position_ids is None:
            check_length(past + T, self.config.n_positions)
            position_ids = torch.arange(past, past + T, device=device)[None]
        x = embed_tokens(self.wte, input_ids, inputs_embeds) + self.wpe(position_ids)
        if token_type_ids is not None:
            x = x + embed_tokens(self.wte, token_type_ids)
        mask, is_causal = causal_mask(attention_mask, (B, T), past, x.dtype, device)
        source = encoder_hidden_states
        source_mask = None if source is None else self.source_mask(source, encoder_attention_mask)
        with recording(self, output_attentions) as record:
            x, states, _ = run_layers(
                self,
                self.h,
                self.pairs,
                self.drop(x),
                *(mask, is_causal, source, source_mask, cache),
                final=self.ln_f,
                output_attentions=False,  # recorded here
                output_hidden_states=output_hidden_states,
            )
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=x,
            past_key_values=cache,
            hidden_states=states,
            attentions=None if record is None else record.of(pair[0] for pair in self.pairs),
            cross_attentions=None if record is None or source is None else record.of(pair[1] for pair in self.pairs),
        )

    def source_mask(self, source: Tensor, mask: Tensor | None) -> Tensor | None:
        """The mask for attention to an encoder's states.

        Raises:
            InputError: If this model does not attend to an encoder, or the mask does not fit.
        """
        if not getattr(self.config, "add_cross_attention", False):
            raise InputError(
                "encoder_hidden_states were passed, but this model has no cross-attention.",
                next_step="Set config.add_cross_attention = True when you create the model.",
            )
        return padding_mask(mask, source.dtype, source.shape[:2])


# Heads ---------------------------------------------------------------------------------------------------------------

_OF_ENCODER = ("encoder_hidden_states", "encoder_attention_mask")
"""Inputs that only the model that writes takes."""


class GPT2LMHeadModel(GPT2PreTrainedModel, DecoderForCausalLM, GenerationMixin):
    """GPT-2 with a linear layer on every token that shares the weights of the token embeddings: the next token.

    Example:
        >>> import torch
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=50, n_positions=16)).eval()
        >>> ids = torch.tensor([[7, 17, 8]])
        >>> model(ids, labels=ids).logits.shape, model.generate(ids, max_new_tokens=5, eos_token_id=None).shape
        (torch.Size([1, 3, 50]), torch.Size([1, 8]))
    """

    backbone = GPT2Model
    output_class = CausalLMOutputWithCrossAttentions
    weight_rules = replace(GPT2PreTrainedModel.weight_rules, tied={"lm_head.weight": "transformer.wte.weight"})


class GPT2DoubleHeadsModelOutput(ModelOutput):
    """Both predictions of `GPT2DoubleHeadsModel`.

    Attributes:
        loss: Of the next token, if `labels` were passed.
        mc_loss: Of the choice, if `mc_labels` were passed.
        logits: `(batch, choices, tokens, vocabulary)`, as in `GPT2LMHeadModel`.
        mc_logits: `(batch, choices)`, one score per choice.
        past_key_values: The `KVCache`, if one was used.
        hidden_states: As in `BaseModelOutput`, `(batch * choices, tokens, width)`.
        attentions: As in `BaseModelOutput`, `(batch * choices, heads, from, to)`.
    """

    loss: Tensor | None = None
    mc_loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    mc_logits: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class GPT2ChoiceHead(nn.Module):
    """One score per text, from the state of one of its tokens: `(..., width)` to `(...)`."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.summary = nn.Linear(config.n_embd, 1)
        name = config.extra.get("summary_activation")
        self.activation = activation(name) if name else nn.Identity()
        self.dropout = nn.Dropout(config.extra.get("summary_first_dropout", 0.1))

    def forward(self, states: Tensor) -> Tensor:
        return self.activation(self.summary(self.dropout(states))).squeeze(-1)


class GPT2DoubleHeadsModel(GPT2PreTrainedModel, Head, GenerationMixin):
    """GPT-2 with two heads: the next token, and one score per text, by which the best of several texts is chosen.

    Inputs are `(batch, choices, tokens)`, or `(batch, tokens)` to score single texts.

    Example:
        >>> import torch
        >>> from notebook_kit import GPT2Config, GPT2DoubleHeadsModel
        >>> model = GPT2DoubleHeadsModel(GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=50, n_positions=16)).eval()
        >>> out = model(torch.tensor([[[7, 17, 8, 49], [7, 9, 49, 0]]]), mc_token_ids=torch.tensor([[3, 2]]))
        >>> out.logits.shape, out.mc_logits.shape
        (torch.Size([1, 2, 4, 50]), torch.Size([1, 2]))
    """

    backbone = GPT2Model
    not_taken = _OF_ENCODER
    returns_cache = True
    weight_rules = replace(GPT2PreTrainedModel.weight_rules, tied={"lm_head.weight": "transformer.wte.weight"})

    def build_head(self, config: GPT2Config) -> None:
        kind = config.extra.get("summary_type", "cls_index")
        if kind != "cls_index" or not config.extra.get("summary_use_proj", True):
            raise ConfigurationError(
                f"GPT2DoubleHeadsModel scores a text by one of its tokens, and the config asks for summary_type={kind!r}, "
                f"summary_use_proj={config.extra.get('summary_use_proj', True)}.",
                next_step="Set summary_type='cls_index' and summary_use_proj=True, the defaults.",
            )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.multiple_choice_head = GPT2ChoiceHead(config)

    def forward(
        self,
        *,
        mc_token_ids: Tensor | None = None,
        labels: Tensor | None = None,
        mc_labels: Tensor | None = None,
        **inputs: Any,
    ) -> GPT2DoubleHeadsModelOutput:
        """As `GPT2Model.forward`, with both predictions.

        Args:
            mc_token_ids: `(batch, choices)`, the index of the token that each text is scored by; by default its last one.
            labels: `(batch, choices, tokens)`, usually `input_ids` themselves (they are shifted inside); -100 to ignore.
            mc_labels: `(batch,)`, the index of the right choice.
            **inputs: Inputs of `GPT2Model`, with the axis of choices.
        """
        ids, embeds = inputs.get("input_ids"), inputs.get("inputs_embeds")
        shape: tuple[int, ...] = ids.shape if ids is not None else () if embeds is None else embeds.shape[:-1]
        flat = {
            name: value.flatten(0, 1) if isinstance(value, Tensor) and len(shape) == 3 and value.dim() > 2 else value
            for name, value in inputs.items()
        }
        out = self.run_backbone(**flat)
        states = out.last_hidden_state.view(*shape, -1)  # (batch, [choices,] tokens, width)
        if mc_token_ids is None:
            mc_token_ids = states.new_full(shape[:-1], shape[-1] - 1, dtype=torch.long)
        place = mc_token_ids[..., None, None].expand(*shape[:-1], 1, states.shape[-1])
        scores = self.multiple_choice_head(states.gather(-2, place).squeeze(-2))
        logits = self.lm_head(states)
        return GPT2DoubleHeadsModelOutput(
            loss=next_token_loss(logits, labels),
            mc_loss=cross_entropy(scores, mc_labels),
            logits=logits,
            mc_logits=scores,
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
            attentions=out.attentions,
        )


class GPT2ForSequenceClassification(GPT2PreTrainedModel, DecoderForSequenceClassification):
    """GPT-2 with a linear layer on each text's last token: one prediction per text.

    Example:
        >>> import torch
        >>> from notebook_kit import GPT2Config, GPT2ForSequenceClassification
        >>> tiny = GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=50, n_positions=16, num_labels=3, pad_token_id=0)
        >>> model = GPT2ForSequenceClassification(tiny)
        >>> model(torch.tensor([[7, 17, 8], [9, 4, 0]])).logits.shape
        torch.Size([2, 3])
    """

    backbone = GPT2Model
    not_taken = _OF_ENCODER


class GPT2ForTokenClassification(GPT2PreTrainedModel, ForTokenClassification):
    """GPT-2 with a linear layer on every token, whose state depends on the tokens up to it.

    Example:
        >>> import torch
        >>> from notebook_kit import GPT2Config, GPT2ForTokenClassification
        >>> size = {"n_embd": 32, "n_layer": 1, "n_head": 4, "vocab_size": 50, "n_positions": 16}
        >>> model = GPT2ForTokenClassification(GPT2Config(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]]), labels=torch.tensor([[0, 2, -100]])).logits.shape  # -100 is ignored
        torch.Size([1, 3, 3])
    """

    backbone = GPT2Model
    not_taken = _OF_ENCODER


class GPT2ForQuestionAnswering(GPT2PreTrainedModel, ForQuestionAnswering):
    """GPT-2 with two scores per token: whether the answer starts here, and whether it ends here.

    Example:
        >>> import torch
        >>> from notebook_kit import GPT2Config, GPT2ForQuestionAnswering
        >>> size = {"n_embd": 32, "n_layer": 1, "n_head": 4, "vocab_size": 50, "n_positions": 16}
        >>> out = GPT2ForQuestionAnswering(GPT2Config(**size))(torch.tensor([[7, 17, 8, 9, 21]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 5]), torch.Size([1, 5]))
    """

    backbone = GPT2Model
    not_taken = _OF_ENCODER
