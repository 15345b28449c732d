"""An encoder and a decoder of text, of any families: BERT with BERT for summaries, DistilBERT with GPT-2 for answers.

Source: Rothe et al., Leveraging Pre-trained Checkpoints for Sequence Generation Tasks, 2020.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.models.encoder_decoder_pairs import PairConfig, PairModel
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.encoder_decoder import as_encoder_output, shift_tokens_right
from notebook_kit.nn.outputs import Seq2SeqLMOutput

__all__ = ["EncoderDecoderConfig", "EncoderDecoderModel"]


class EncoderDecoderConfig(PairConfig):
    """The configurations of an encoder and a decoder of text.

    Args:
        encoder: The encoder's configuration, such as a `BertConfig`, or its fields with `model_type`; a `BertConfig` by default.
        decoder: The decoder's, such as a `GPT2Config`, likewise; a `BertConfig` of a decoder by default.
        decoder_start_token_id: The first token of the decoder's input, such as the tokenizer's `cls_token_id`.
        tie_encoder_decoder: Whether the encoder uses the weights of the decoder, which must be of the same family.

    Example:
        >>> from notebook_kit import BertConfig, EncoderDecoderConfig, GPT2Config
        >>> config = EncoderDecoderConfig.from_encoder_decoder_configs(BertConfig(), GPT2Config())
        >>> config.encoder.model_type, config.decoder.model_type, config.decoder.add_cross_attention
        ('bert', 'gpt2', True)
    """

    model_type: ClassVar[str] = "encoder-decoder"

    decoder_start_token_id: int | list[int] | None = None

    @property
    def shares_weights(self) -> bool:
        """Whether `tie_encoder_decoder` is set, which `transformers` 5 keeps without effect."""
        return bool(getattr(self, "tie_encoder_decoder", False))


class EncoderDecoderModel(PairModel):
    """An encoder of text and a decoder that writes another text.

    The encoder is a model of text without a head (BERT, DistilBERT, RoBERTa, ELECTRA, ...), the decoder one with scores of the next
    token and cross-attention (BERT, GPT-2). If they differ in width, a linear layer is between them.

    Args:
        config: The configuration; by default made from those of `encoder` and `decoder`.
        encoder: A loaded encoder; by default a new one.
        decoder: A loaded decoder; by default a new one.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, EncoderDecoderConfig, EncoderDecoderModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> config = EncoderDecoderConfig.from_encoder_decoder_configs(
        ...     BertConfig(**size), BertConfig(**size), decoder_start_token_id=2, pad_token_id=0
        ... )
        >>> model = EncoderDecoderModel(config).eval()
        >>> text = torch.tensor([[2, 7, 8, 9, 3]])
        >>> model(text, labels=torch.tensor([[5, 6, 3]])).logits.shape
        torch.Size([1, 3, 50])
        >>> model.generate(text, max_new_tokens=5, eos_token_id=None).shape
        torch.Size([1, 6])
    """

    config_class = EncoderDecoderConfig
    base_model_prefix = "encoder_decoder"

    def __init__(
        self,
        config: EncoderDecoderConfig | None = None,
        encoder: PreTrainedModel | None = None,
        decoder: PreTrainedModel | None = None,
    ) -> None:
        super().__init__(config, encoder, decoder)
        if self.config.shares_weights:  # of both halves, files of transformers 4 hold the decoder alone
            rules = self.weight_rules
            self.weight_rules = replace(rules, defaulted=(*rules.defaulted, r"^encoder\."))

    def tie_weights(self) -> None:
        """As in `PreTrainedModel`; with `config.tie_encoder_decoder` the encoder also uses the decoder's weights.

        Raises:
            ConfigurationError: If the halves have no weights in common.
        """
        super().tie_weights()
        if not self.config.shares_weights:
            return
        shared = dict(self.decoder.base_model.named_parameters(remove_duplicate=False))
        own = dict(self.encoder.named_parameters(remove_duplicate=False))
        common = [name for name, weight in own.items() if name in shared and weight.shape == shared[name].shape]
        if not common:
            raise ConfigurationError(
                f"tie_encoder_decoder is set, and {type(self.encoder).__name__} has no weights in common with "
                f"{type(self.decoder).__name__}.",
                next_step="Use two halves of one family and size, or leave tie_encoder_decoder out.",
            )
        for name in common:
            owner, _, leaf = name.rpartition(".")
            setattr(self.encoder.get_submodule(owner), leaf, shared[name])

    def get_input_embeddings(self) -> nn.Embedding:
        """The encoder's token embeddings."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, table: nn.Embedding) -> None:
        """Replace the encoder's token embeddings."""
        self.encoder.set_input_embeddings(table)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Not supported: each half has its own vocabulary.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "The encoder and the decoder have separate vocabularies.",
            next_step="Call model.encoder.resize_token_embeddings(...) or model.decoder.resize_token_embeddings(...).",
        )

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
        use_cache: bool | None = None,
        token_type_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> Seq2SeqLMOutput:
        """Encode a batch of texts and decode another one.

        Args:
            input_ids: `(batch, source tokens)`, for the encoder.
            attention_mask: `(batch, source tokens)`, 1 for a token and 0 for padding; all 1 by default.
            decoder_input_ids: `(batch, tokens)`; by default `labels`, shifted one position to the right.
            decoder_attention_mask: `(batch, cached + new tokens)`; all 1 by default, and 0 for padding among shifted labels.
            encoder_outputs: The encoder's output of an earlier call, in place of `input_ids`.
            past_key_values: The cache that an earlier call returned; `decoder_input_ids` are then only the new tokens.
            inputs_embeds: `(batch, source tokens, width)`, in place of `input_ids`.
            decoder_inputs_embeds: `(batch, tokens, width)`, in place of `decoder_input_ids`.
            labels: `(batch, tokens)`, the text to write; -100 for tokens to ignore.
            use_cache: Return the cache; by default as the decoder does.
            token_type_ids: `(batch, source tokens)`, for an encoder that takes them.
            output_attentions: Return the weights of all attentions: in the encoder, in the decoder, and from decoder to encoder.
            output_hidden_states: Return the hidden states before and after every layer of both halves.

        Raises:
            InputError: If an input is missing, or does not have this shape.
        """
        options = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        if encoder_outputs is None:
            segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            texts = {"input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds}
            source = self.encoder(**texts, **segments, **options, return_dict=True)
        else:
            source = as_encoder_output(encoder_outputs)
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = shift_tokens_right(labels, self.config)
            if decoder_attention_mask is None:
                decoder_attention_mask = decoder_input_ids.ne(self.config.pad_token_id).long()  # type: ignore[arg-type]  # shifted with it
        return self.run_decoder(
            source,
            attention_mask,
            labels,
            past_key_values,
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            **options,
        )
