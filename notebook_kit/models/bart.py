"""BART: a bidirectional encoder and an autoregressive decoder with learned positions; mBART and Marian are built from it.

Source: Lewis et al., BART: Denoising Sequence-to-Sequence Pre-training for Natural Language Generation, Translation,
and Comprehension, 2020.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.generation.mixin import GenerationMixin
from notebook_kit.models.bart_blocks import BartDecoder, BartEncoder
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.encoder_decoder import DecoderOptions, as_encoder_output, seq2seq_output, shift_tokens_right
from notebook_kit.nn.few_rows import one_row
from notebook_kit.nn.heads import (
    DecoderForCausalLM,
    EncoderDecoderForQuestionAnswering,
    EncoderDecoderForSequenceClassification,
)
from notebook_kit.nn.layers import token_table
from notebook_kit.nn.losses import cross_entropy
from notebook_kit.nn.outputs import (
    BaseModelOutputWithPastAndCrossAttentions,
    CausalLMOutputWithCrossAttentions,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
)

__all__ = [
    "BartConfig",
    "BartForCausalLM",
    "BartForConditionalGeneration",
    "BartForQuestionAnswering",
    "BartForSequenceClassification",
    "BartModel",
    "BartPreTrainedModel",
]


class BartConfig(PretrainedConfig):
    """BART's settings; the defaults are those of `facebook/bart-large`.

    Args:
        vocab_size: Rows of the token embeddings, which encoder and decoder share.
        max_position_embeddings: Maximum sequence length, in tokens.
        d_model: Width of the residual stream.
        encoder_layers, decoder_layers: Number of layers of each half.
        encoder_attention_heads, decoder_attention_heads: Heads per layer; must divide `d_model`.
        encoder_ffn_dim, decoder_ffn_dim: Width inside the feed-forward blocks.
        activation_function: Activation of the feed-forward blocks.
        dropout: Dropout after the embeddings and each block.
        attention_dropout: Dropout of attention weights.
        activation_dropout: Dropout inside the feed-forward blocks.
        encoder_layerdrop, decoder_layerdrop: Probability of skipping a layer in training.
        classifier_dropout: Dropout in the classification head.
        scale_embedding: Multiply token embeddings by the square root of `d_model`.
        init_std: Standard deviation of the initial weights.
        use_cache: Return the cache of keys and values by default, except in training.
        decoder_start_token_id: The first token of the decoder's input.
        forced_eos_token_id: The last token of a generated sequence that reaches the maximum length.

    Example:
        >>> from notebook_kit import BartConfig, BartModel
        >>> tiny = BartConfig(d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, vocab_size=50,
        ...                   decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=20)
        >>> BartModel(tiny).num_parameters()
        24512
    """

    model_type: ClassVar[str] = "bart"
    default_num_labels: ClassVar[int] = 3  # the MNLI checkpoints have three and do not store the number
    keys_to_ignore_at_inference: ClassVar[tuple[str, ...]] = ("past_key_values",)
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "encoder_attention_heads",
        "num_hidden_layers": "encoder_layers",
    }

    vocab_size: Rows = 50265
    max_position_embeddings: Rows = 1024
    d_model: Size = 1024
    encoder_layers: Layers = 12
    encoder_ffn_dim: Size = 4096
    encoder_attention_heads: Size = 16
    decoder_layers: Layers = 12
    decoder_ffn_dim: Size = 4096
    decoder_attention_heads: Size = 16
    encoder_layerdrop: Fraction = 0.0
    decoder_layerdrop: Fraction = 0.0
    activation_function: Activation = "gelu"
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.0
    activation_dropout: Fraction = 0.0
    classifier_dropout: Fraction = 0.0
    init_std: NonNegative = 0.02
    scale_embedding: bool = False
    use_cache: bool = True
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 2
    forced_eos_token_id: int | list[int] | None = 2
    is_encoder_decoder: bool = True


# The backbone --------------------------------------------------------------------------------------------------------


class BartPreTrainedModel(PreTrainedModel):
    """What the models of Bart share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import BartModel, BartPreTrainedModel
        >>> issubclass(BartModel, BartPreTrainedModel)
        True
    """

    config_class = BartConfig
    base_model_prefix = "model"
    input_embeddings: ClassVar[tuple[str, ...]] = ("shared", "encoder.embed_tokens", "decoder.embed_tokens")
    position_field: ClassVar[str | None] = "max_position_embeddings"
    model: BartModel  # in the heads
    weight_rules = WeightRules(
        stored_once=(r"embed_tokens\.weight$",), unused=(r"(en|de)coder\.version$", r"position_ids$")
    )

    def shift_right(self, input_ids: Tensor) -> Tensor:
        """The decoder's input for these labels, `(batch, tokens)`."""
        return shift_tokens_right(input_ids, self.config)


class BartModel(BartPreTrainedModel):
    """Encoder and decoder without a head.

    Args:
        config: BART's settings.

    Example:
        >>> import torch
        >>> from notebook_kit import BartConfig, BartModel
        >>> model = BartModel(BartConfig(d_model=32, encoder_layers=1, decoder_layers=2, vocab_size=50)).eval()
        >>> out = model(torch.tensor([[0, 17, 8, 2]]), decoder_input_ids=torch.tensor([[2, 0, 17]]))
        >>> out.last_hidden_state.shape, out.encoder_last_hidden_state.shape
        (torch.Size([1, 3, 32]), torch.Size([1, 4, 32]))
    """

    encoder_class: ClassVar[type[BartEncoder]] = BartEncoder
    decoder_class: ClassVar[type[BartDecoder]] = BartDecoder
    weight_rules = replace(
        BartPreTrainedModel.weight_rules,
        tied={"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"},
    )

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.shared = token_table(config.vocab_size, config.d_model, config.pad_token_id)
        self.encoder = self.encoder_class(config)
        self.decoder = self.decoder_class(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
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
            decoder_input_ids: `(batch, decoder tokens)`; by default `input_ids` shifted one position to the right.
            decoder_attention_mask: `(batch, cached + new decoder tokens)`, the same for the decoder's input.
            encoder_outputs: The encoder's output of an earlier call, in place of `input_ids`.
            past_key_values: The cache that an earlier call returned; `decoder_input_ids` are then only the new tokens.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            decoder_inputs_embeds: `(batch, decoder tokens, width)`, in place of `decoder_input_ids`.
            use_cache: Return the cache; by default if `config.use_cache` is set and the model is not in training.
            output_attentions: Return the weights of all attentions: in the encoder, in the decoder, and from decoder to encoder.
            output_hidden_states: Return the hidden states before and after every layer of both halves.

        Raises:
            InputError: If ids are outside the vocabulary, the mask does not fit, or there are more tokens than positions.
        """
        options = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            if input_ids is None:
                raise InputError(
                    "The decoder has no input: decoder_input_ids, decoder_inputs_embeds and input_ids are all None.",
                    next_step="Pass decoder_input_ids, or labels, from which they are derived.",
                )
            decoder_input_ids = self.shift_right(input_ids)
        source = (
            self.encoder(input_ids, attention_mask, inputs_embeds, **options)
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


# Heads ---------------------------------------------------------------------------------------------------------------


class BartForConditionalGeneration(BartPreTrainedModel, GenerationMixin):
    """BART with scores of the vocabulary at each position of the decoder: summaries, translations.

    Example:
        >>> import torch
        >>> from notebook_kit import BartConfig, BartForConditionalGeneration
        >>> tiny = BartConfig(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50)
        >>> model = BartForConditionalGeneration(tiny)
        >>> out = model(torch.tensor([[0, 17, 8, 9, 2]]), labels=torch.tensor([[17, 9, 2]]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([1, 3, 50]), tensor(True))
    """

    backbone: ClassVar[type[BartModel]] = BartModel
    weight_rules = replace(
        BartPreTrainedModel.weight_rules,
        tied={
            "model.encoder.embed_tokens.weight": "model.shared.weight",
            "model.decoder.embed_tokens.weight": "model.shared.weight",
            "lm_head.weight": "model.shared.weight",
        },
        defaulted=(r"^final_logits_bias$",),
    )

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.model = self.backbone(config)
        vocabulary = self.model.decoder.embed_tokens.num_embeddings
        self.final_logits_bias: Tensor
        self.register_buffer("final_logits_bias", torch.zeros(1, vocabulary))
        self.lm_head = nn.Linear(config.d_model, vocabulary, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[DecoderOptions],
    ) -> Seq2SeqLMOutput:
        """As `BartModel.forward`; `labels` is `(batch, decoder tokens)`: the target text, -100 for tokens to ignore.

        With labels and no decoder input, the labels shifted one position to the right are the decoder's input.
        """
        if labels is not None:
            options["use_cache"] = False
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self.shift_right(labels)
        out = self.model(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs,
            past_key_values,
            inputs_embeds,
            decoder_inputs_embeds,
            return_dict=True,
            **options,
        )
        logits = one_row(self.lm_head, out.pop("last_hidden_state")) + self.final_logits_bias
        return Seq2SeqLMOutput(out, loss=cross_entropy(logits, labels), logits=logits)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The decoder's input for these labels, `(batch, tokens)`; called by data collators."""
        return self.shift_right(labels)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """As `PreTrainedModel.resize_token_embeddings`; new tokens start with a bias of 0."""
        table = super().resize_token_embeddings(*args, **kwargs)
        rows, bias = table.num_embeddings, self.final_logits_bias
        self.final_logits_bias = F.pad(bias[:, :rows], (0, max(0, rows - bias.shape[1])))
        return table


class BartForSequenceClassification(BartPreTrainedModel, EncoderDecoderForSequenceClassification):
    """BART with one prediction per text, from the decoder's state at the last end-of-text token.

    Example:
        >>> import torch
        >>> from notebook_kit import BartConfig, BartForSequenceClassification
        >>> model = BartForSequenceClassification(BartConfig(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50))
        >>> model(torch.tensor([[0, 17, 8, 2], [0, 9, 2, 1]])).logits.shape
        torch.Size([2, 3])
    """

    backbone: ClassVar[type[BartModel]] = BartModel
    weight_rules = replace(
        BartPreTrainedModel.weight_rules,
        tied={
            "model.encoder.embed_tokens.weight": "model.shared.weight",
            "model.decoder.embed_tokens.weight": "model.shared.weight",
        },
    )


class BartForQuestionAnswering(BartPreTrainedModel, EncoderDecoderForQuestionAnswering):
    """BART with two scores per token of the decoder, which also reads the text: whether the answer starts or ends here.

    Example:
        >>> import torch
        >>> from notebook_kit import BartConfig, BartForQuestionAnswering
        >>> tiny = BartConfig(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50)
        >>> out = BartForQuestionAnswering(tiny)(torch.tensor([[0, 17, 8, 2, 2, 21, 22, 2]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 8]), torch.Size([1, 8]))
    """

    backbone: ClassVar[type[BartModel]] = BartModel
    weight_rules = BartForSequenceClassification.weight_rules


class BartDecoderModel(BartPreTrainedModel):
    """The decoder alone, under the name that it has in checkpoints of the whole model."""

    decoder_class: ClassVar[type[BartDecoder]] = BartDecoder
    input_embeddings = ("decoder.embed_tokens",)

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.decoder = self.decoder_class(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Decode a batch.

        Args:
            input_ids: `(batch, tokens)`; with `past_key_values`, only the new tokens.
            attention_mask: `(batch, cached + new tokens)`, 1 for a token and 0 for padding; all 1 by default.
            encoder_hidden_states: `(batch, encoder tokens, width)`, to attend to; without them there is no cross-attention.
            encoder_attention_mask: `(batch, encoder tokens)`, 1 for a token and 0 for padding; all 1 by default.
            past_key_values: The cache that an earlier call returned; it is extended in place.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            use_cache: Return the cache; by default if `config.use_cache` is set and the model is not in training.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are outside the vocabulary, the mask does not fit, or there are more tokens than positions.
        """
        return self.decoder(
            input_ids,
            attention_mask,
            encoder_hidden_states,
            encoder_attention_mask,
            past_key_values,
            inputs_embeds,
            use_cache,
            output_attentions,
            output_hidden_states,
        )


class BartForCausalLM(BartPreTrainedModel, DecoderForCausalLM, GenerationMixin):
    """BART's decoder with scores of the vocabulary at each token, on its own or on the states of another model's encoder.

    As in `transformers`, `labels` are not shifted: `labels[:, i]` is the token after `input_ids[:, i]`.

    Example:
        >>> import torch
        >>> from notebook_kit import BartConfig, BartForCausalLM
        >>> model = BartForCausalLM(BartConfig(d_model=32, decoder_layers=1, vocab_size=50)).eval()
        >>> ids = torch.tensor([[2, 17, 8, 9]])
        >>> model(ids, labels=torch.tensor([[17, 8, 9, -100]])).logits.shape
        torch.Size([1, 4, 50])
        >>> model(ids, encoder_hidden_states=torch.zeros(1, 6, 32), output_attentions=True).cross_attentions[0].shape
        torch.Size([1, 16, 4, 6])
    """

    backbone: ClassVar[type[BartDecoderModel]] = BartDecoderModel
    input_embeddings = ("decoder.embed_tokens",)
    output_class = CausalLMOutputWithCrossAttentions
    labels_after = "inputs_embeds"
    weight_rules = replace(
        BartPreTrainedModel.weight_rules,
        tied={"lm_head.weight": "model.decoder.embed_tokens.weight"},
        legacy={r"^(model\.)?shared\.weight$": "model.decoder.embed_tokens.weight"},
        unused=(*BartPreTrainedModel.weight_rules.unused, r"^(model\.)?encoder\."),
    )

    def __init__(self, config: BartConfig) -> None:
        config.is_decoder, config.is_encoder_decoder = True, False
        super().__init__(config)

    def loss(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        """Cross-entropy with labels that are already shifted."""
        return cross_entropy(logits, labels)
