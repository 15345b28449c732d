"""T5: an encoder-decoder with relative positions and RMS norms. Flan-T5 is a T5; mT5 is built from it.

Source: Raffel et al., Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, 2020.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Unpack, get_args

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError
from notebook_kit.fields import Activation, Fraction, NonNegative, Range, Rows, Size
from notebook_kit.generation.mixin import GenerationMixin
from notebook_kit.models.t5_blocks import T5LayerNorm, T5Stack
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.encoder_decoder import (
    DecoderOptions,
    as_encoder_output,
    check_decoder_input,
    seq2seq_output,
    shift_tokens_right,
)
from notebook_kit.nn.few_rows import one_row
from notebook_kit.nn.heads import (
    EncoderDecoderForQuestionAnswering,
    EncoderDecoderForSequenceClassification,
    ForTokenClassification,
    Head,
)
from notebook_kit.nn.losses import cross_entropy
from notebook_kit.nn.outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput

if TYPE_CHECKING:
    from notebook_kit.nn.cache import KVCache

__all__ = [
    "T5Config",
    "T5EncoderModel",
    "T5ForConditionalGeneration",
    "T5ForQuestionAnswering",
    "T5ForSequenceClassification",
    "T5ForTokenClassification",
    "T5Model",
    "T5PreTrainedModel",
]


StackLayers = Annotated[int, Range(1, 10_000)]
"""Number of layers: the first one holds the relative positions of all."""


class T5Config(PretrainedConfig):
    """T5's settings; the defaults are those of `google-t5/t5-small`.

    Args:
        vocab_size: Rows of the token embeddings, which encoder and decoder share.
        d_model: Width of the residual stream.
        d_kv: Width of a head; independent of `d_model`.
        d_ff: Width inside the feed-forward blocks.
        num_layers: Number of encoder layers.
        num_decoder_layers: Number of decoder layers; `num_layers` by default.
        num_heads: Heads per layer.
        relative_attention_num_buckets: Number of buckets into which distances between tokens are grouped.
        relative_attention_max_distance: All distances from this one on share a bucket, in tokens.
        dropout_rate: Dropout after the embeddings, in and after each block, and of attention weights.
        layer_norm_epsilon: Epsilon of the norms.
        initializer_factor: Multiplies the standard deviation of the initial weights.
        feed_forward_proj: Activation of the feed-forward blocks: `"relu"`, or `"gated-gelu"` as in T5 1.1 and Flan-T5.
        dense_act_fn, is_gated_act: Its two parts; derived from `feed_forward_proj`.
        scale_decoder_outputs: Divide the decoder's states by the square root of `d_model` before the output layer; by
            default, if that layer shares the embeddings' weights (it does in the original T5, but not in T5 1.1).
        classifier_dropout: Dropout in the classification heads.

    Example:
        >>> from notebook_kit import T5Config
        >>> config = T5Config(feed_forward_proj="gated-gelu", num_layers=8)
        >>> config.num_decoder_layers, config.is_gated_act, config.dense_act_fn
        (8, True, 'gelu_new')
    """

    model_type: ClassVar[str] = "t5"
    attribute_map: ClassVar[dict[str, str]] = {
        "head_dim": "d_kv",
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
    }
    keys_to_ignore_at_inference: ClassVar[tuple[str, ...]] = ("past_key_values",)

    vocab_size: Rows = 32128
    d_model: Size = 512
    d_kv: Size = 64
    d_ff: Size = 2048
    num_layers: StackLayers = 6
    num_decoder_layers: StackLayers | None = None
    num_heads: Size = 8
    relative_attention_num_buckets: Size = 32
    relative_attention_max_distance: Size = 128
    dropout_rate: Fraction = 0.1
    layer_norm_epsilon: NonNegative = 1e-6
    initializer_factor: NonNegative = 1.0
    feed_forward_proj: str = "relu"
    dense_act_fn: Activation | None = None
    is_gated_act: bool | None = None
    scale_decoder_outputs: bool | None = None
    classifier_dropout: Fraction = 0.0
    use_cache: bool = True
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    decoder_start_token_id: int | None = 0
    is_encoder_decoder: bool = True

    def validate(self) -> None:
        """Check `feed_forward_proj`, and set the fields derived from others."""
        gate, _, name = self.feed_forward_proj.rpartition("-")
        if gate not in ("", "gated") or name not in get_args(Activation):
            raise ConfigurationError(
                f"feed_forward_proj is {self.feed_forward_proj!r}.",
                next_step="Use the name of an activation such as 'relu', or of a gated one such as 'gated-gelu'.",
            )
        self.is_gated_act = gate == "gated"
        self.dense_act_fn = "gelu_new" if name == "gelu" and gate else name  # type: ignore[assignment]  # it is known
        if self.num_decoder_layers is None:
            self.num_decoder_layers = self.num_layers
        if self.scale_decoder_outputs is None:
            self.scale_decoder_outputs = self.tie_word_embeddings
        super().validate()


# The backbone --------------------------------------------------------------------------------------------------------


class T5PreTrainedModel(PreTrainedModel):
    """What the models of T5 share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import T5Model, T5PreTrainedModel
        >>> issubclass(T5Model, T5PreTrainedModel)
        True
    """

    config_class = T5Config
    base_model_prefix = "transformer"
    input_embeddings = ("shared", "encoder.embed_tokens", "decoder.embed_tokens")
    # Some config.json claim that the output layer is not tied although their files do not store it.
    weight_rules = WeightRules(
        shared={"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"},
        tied_if_absent=True,
        unused=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$",),
    )

    @torch.no_grad()
    def init_parameter(self, module: nn.Module, name: str) -> None:
        """Draw the initial value of one parameter: normal, with the standard deviation that its module specifies."""
        parameter = getattr(module, name)
        if isinstance(module, T5LayerNorm):
            parameter.fill_(module.factor)
        elif hasattr(module, "initial_std") and name == "weight":
            parameter.normal_(0.0, module.initial_std)
        else:
            super().init_parameter(module, name)

    def build_halves(self, config: T5Config, decoder: bool = True) -> None:
        """Create the shared embeddings, the encoder and, if wanted, the decoder."""
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.shared.initial_std = config.initializer_factor  # type: ignore[assignment]
        self.encoder = T5Stack(config, is_decoder=False)
        if decoder:
            self.decoder = T5Stack(config, is_decoder=True)


class T5Model(T5PreTrainedModel):
    """Encoder and decoder without a head.

    Example:
        >>> import torch
        >>> from notebook_kit import T5Config, T5Model
        >>> model = T5Model(T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50)).eval()
        >>> out = model(torch.tensor([[17, 8, 1]]), decoder_input_ids=torch.tensor([[0, 21]]))
        >>> out.last_hidden_state.shape, out.encoder_last_hidden_state.shape
        (torch.Size([1, 2, 32]), torch.Size([1, 3, 32]))
    """

    weight_rules = replace(
        T5PreTrainedModel.weight_rules, unused=(*T5PreTrainedModel.weight_rules.unused, r"^lm_head\.")
    )

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.build_halves(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: KVCache | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> Seq2SeqModelOutput:
        """Encode and decode a batch.

        Args:
            input_ids: `(batch, tokens)`, the encoder's input.
            attention_mask: `(batch, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            decoder_input_ids: `(batch, decoder tokens)`, beginning with `config.decoder_start_token_id`.
            decoder_attention_mask: `(batch, cached + new decoder tokens)`, the same for the decoder's input.
            encoder_outputs: The encoder's output of an earlier call, in place of `input_ids`.
            past_key_values: The cache that an earlier call returned; `decoder_input_ids` are then only the new tokens.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            decoder_inputs_embeds: `(batch, decoder tokens, width)`, in place of `decoder_input_ids`.
            use_cache: Return the cache; by default if `config.use_cache` is set and the model is not in training.
            output_attentions: Return the weights of all attentions: in the encoder, in the decoder, and from decoder to encoder.
            output_hidden_states: Return the hidden states before and after every layer of both halves.

        Raises:
            InputError: If ids are outside the vocabulary, or the decoder has no input.
        """
        options: dict[str, Any] = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        check_decoder_input(decoder_input_ids, decoder_inputs_embeds, self.config)
        source = (
            self.encoder(input_ids, attention_mask, inputs_embeds=inputs_embeds, **options)
            if encoder_outputs is None
            else as_encoder_output(encoder_outputs)
        )
        decoder_output = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            source.last_hidden_state,
            attention_mask,
            past_key_values,
            decoder_inputs_embeds,
            use_cache,
            **options,
        )
        return seq2seq_output(decoder_output, source)


class T5EncoderModel(T5PreTrainedModel):
    """The encoder alone: one vector per token.

    Example:
        >>> import torch
        >>> from notebook_kit import T5Config, T5EncoderModel
        >>> tiny = T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50)
        >>> T5EncoderModel(tiny)(torch.tensor([[17, 8, 1]])).last_hidden_state.shape
        torch.Size([1, 3, 32])
    """

    weight_rules = WeightRules(
        shared={"encoder.embed_tokens.weight": "shared.weight"}, unused=(r"^decoder\.", r"^lm_head\.")
    )

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.build_halves(config, decoder=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutput:
        """Encode a batch; the arguments are those of `T5Model.forward`."""
        return self.encoder(
            input_ids,
            attention_mask,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )


class T5ForConditionalGeneration(T5Model, GenerationMixin):
    """T5 with scores of the vocabulary at each position of the decoder.

    Example:
        >>> import torch
        >>> from notebook_kit import T5Config, T5ForConditionalGeneration
        >>> tiny = T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50)
        >>> model = T5ForConditionalGeneration(tiny)
        >>> out = model(torch.tensor([[17, 8, 9, 1]]), labels=torch.tensor([[17, 9, 1]]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([1, 3, 50]), tensor(True))
    """

    weight_rules = replace(T5PreTrainedModel.weight_rules, tied={"lm_head.weight": "shared.weight"})

    def __init__(self, config: T5Config) -> None:
        super(T5Model, self).__init__(config)  # T5Model.__init__ would tie the weights before lm_head exists
        self.build_halves(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.lm_head.initial_std = config.initializer_factor  # type: ignore[assignment]
        self.post_init()

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: KVCache | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[DecoderOptions],
    ) -> Seq2SeqLMOutput:
        """As `T5Model.forward`; `labels` is `(batch, decoder tokens)`: the target text, -100 for tokens to ignore.

        With labels and no decoder input, the labels shifted one position to the right are the decoder's input.
        """
        if labels is not None:
            options["use_cache"] = False
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        out = super().forward(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs,
            past_key_values,
            inputs_embeds,
            decoder_inputs_embeds,
            **options,
        )
        states = out.pop("last_hidden_state")
        states = states * self.config.d_model**-0.5 if self.config.scale_decoder_outputs else states
        logits = one_row(self.lm_head, states)
        return Seq2SeqLMOutput(out, loss=cross_entropy(logits, labels), logits=logits)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The decoder's input for these labels, `(batch, tokens)`; called by data collators."""
        return shift_tokens_right(labels, self.config)


class T5ReadingHead(Head):
    """The base of heads whose decoder reads the encoder's input, shifted one position to the right."""

    def run_backbone(self, **inputs: Any) -> Any:
        has_decoder_input = any(inputs.get(name) is not None for name in ("decoder_input_ids", "decoder_inputs_embeds"))
        if not has_decoder_input and inputs.get("input_ids") is not None:
            inputs["decoder_input_ids"] = shift_tokens_right(inputs["input_ids"], self.config)
        return super().run_backbone(**inputs)


class T5ForSequenceClassification(T5PreTrainedModel, T5ReadingHead, EncoderDecoderForSequenceClassification):
    """T5 with one prediction per text, from the decoder's state at the last end-of-text token.

    Example:
        >>> import torch
        >>> from notebook_kit import T5Config, T5ForSequenceClassification
        >>> tiny = T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50, num_labels=3)
        >>> T5ForSequenceClassification(tiny)(torch.tensor([[17, 8, 9, 1], [21, 1, 0, 0]])).logits.shape
        torch.Size([2, 3])
    """

    backbone = T5Model
    weight_rules = replace(
        T5Model.weight_rules,
        shared={
            "transformer.encoder.embed_tokens.weight": "transformer.shared.weight",
            "transformer.decoder.embed_tokens.weight": "transformer.shared.weight",
        },
    )

    def build_head(self, config: T5Config) -> None:
        super().build_head(config)
        for layer in (self.classification_head.dense, self.classification_head.out_proj):
            layer.initial_std = config.initializer_factor * config.d_model**-0.5


class T5ForTokenClassification(T5PreTrainedModel, ForTokenClassification):
    """T5's encoder with a linear layer on every token.

    Example:
        >>> import torch
        >>> from notebook_kit import T5Config, T5ForTokenClassification
        >>> tiny = T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50, num_labels=3)
        >>> T5ForTokenClassification(tiny)(torch.tensor([[17, 8, 1]])).logits.shape
        torch.Size([1, 3, 3])
    """

    backbone = T5EncoderModel
    weight_rules = replace(
        T5EncoderModel.weight_rules,
        shared={"transformer.encoder.embed_tokens.weight": "transformer.shared.weight"},
    )

    def build_head(self, config: T5Config) -> None:
        super().build_head(config)
        self.classifier.initial_std = config.initializer_factor  # type: ignore[assignment]


class T5ForQuestionAnswering(T5ReadingHead, EncoderDecoderForQuestionAnswering, T5Model):  # type: ignore[misc]
    """T5 with two scores per token of the decoder, which also reads the text: whether the answer starts or ends here.

    Example:
        >>> import torch
        >>> from notebook_kit import T5Config, T5ForQuestionAnswering
        >>> tiny = T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50)
        >>> out = T5ForQuestionAnswering(tiny)(torch.tensor([[17, 8, 1, 21, 22, 1]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 6]), torch.Size([1, 6]))
    """

    backbone = T5Model  # the head is one rather than having one, to match the names in its checkpoints
    weight_rules = replace(T5Model.weight_rules, optional=(r"^qa_outputs\.",))

    def build_head(self, config: T5Config) -> None:
        super().build_head(config)
        self.qa_outputs.initial_std = config.initializer_factor * config.d_model**-0.5
