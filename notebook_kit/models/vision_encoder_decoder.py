"""An encoder of images and a decoder of text, of any families: ViT with GPT-2 for captions, TrOCR for lines of text, Donut for
documents.

Source: Li et al., TrOCR: Transformer-based Optical Character Recognition with Pre-trained Models, 2021; Kim et al.,
OCR-free Document Understanding Transformer, 2022.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from notebook_kit.errors import InputError
from notebook_kit.models.encoder_decoder_pairs import PairConfig, PairModel
from notebook_kit.nn.encoder_decoder import as_encoder_output, shift_tokens_right
from notebook_kit.nn.outputs import Seq2SeqLMOutput

__all__ = ["VisionEncoderDecoderConfig", "VisionEncoderDecoderModel"]


class VisionEncoderDecoderConfig(PairConfig):
    """The configurations of an encoder of images and of a decoder of text.

    Args:
        encoder: The encoder's configuration, such as a `ViTConfig`, or its fields with `model_type`; a `ViTConfig` by default.
        decoder: The decoder's, such as a `GPT2Config`, likewise; a `BertConfig` of a decoder by default.
        decoder_start_token_id: The first token of the decoder's input.

    Example:
        >>> from notebook_kit import GPT2Config, VisionEncoderDecoderConfig, ViTConfig
        >>> config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(), GPT2Config())
        >>> config.encoder.model_type, config.decoder.model_type, config.decoder.add_cross_attention
        ('vit', 'gpt2', True)
    """

    model_type: ClassVar[str] = "vision-encoder-decoder"
    default_encoder: ClassVar[str] = "vit"


class VisionEncoderDecoderModel(PairModel):
    """An encoder of images and a decoder that writes what it sees in them.

    The encoder is a model of images without a head (ViT, DeiT, DINOv2, Swin, Donut's Swin, ...), the decoder one with scores of
    the next token and cross-attention (GPT-2, BERT, TrOCR, BART, mBART). If they differ in width, a linear layer is between
    them.

    Args:
        config: The configuration; by default made from those of `encoder` and `decoder`.
        encoder: A loaded encoder; by default a new one.
        decoder: A loaded decoder; by default a new one.

    Example:
        >>> import torch
        >>> from notebook_kit import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> reader = ViTConfig(**size, image_size=32, patch_size=8)
        >>> writer = GPT2Config(n_embd=24, n_layer=1, n_head=2, vocab_size=50, n_positions=16)
        >>> config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ...     reader, writer, decoder_start_token_id=49, pad_token_id=0
        ... )
        >>> model = VisionEncoderDecoderModel(config).eval()
        >>> pixels = torch.rand(2, 3, 32, 32)
        >>> model(pixels, labels=torch.tensor([[7, 8, 9], [5, 6, -100]])).logits.shape
        torch.Size([2, 3, 50])
        >>> model.generate(pixels, max_new_tokens=5, eos_token_id=None).shape
        torch.Size([2, 6])
    """

    config_class = VisionEncoderDecoderConfig
    base_model_prefix = "vision_encoder_decoder"
    main_input_name = "pixel_values"
    encoders = "ViT, DeiT, DINOv2 or Swin"

    @property
    def prompt_is_complete(self) -> bool:
        """True for Donut, whose prompts begin with a token of their task, such as `<s_docvqa>`."""
        return "donut" in self.config.encoder.model_type

    def get_input_embeddings(self) -> nn.Embedding:
        """The decoder's token embeddings."""
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, table: nn.Embedding) -> None:
        """Replace the decoder's token embeddings."""
        self.decoder.set_input_embeddings(table)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Grow or shrink the decoder's vocabulary; see `PreTrainedModel.resize_token_embeddings`."""
        return self.decoder.resize_token_embeddings(*args, **kwargs)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> Seq2SeqLMOutput:
        """Encode images and decode a batch of texts.

        Args:
            pixel_values: `(batch, channels, height, width)`, from the checkpoint's image processor.
            decoder_input_ids: `(batch, tokens)`; by default `labels`, shifted one position to the right.
            decoder_attention_mask: `(batch, cached + new tokens)`, 1 for a token and 0 for padding; all 1 by default.
            encoder_outputs: The encoder's output of an earlier call, in place of `pixel_values`.
            past_key_values: The cache that an earlier call returned; `decoder_input_ids` are then only the new tokens.
            decoder_inputs_embeds: `(batch, tokens, width)`, in place of `decoder_input_ids`.
            labels: `(batch, tokens)`, the text; -100 for tokens to ignore.
            interpolate_pos_encoding: Accept images of any size, if the encoder can interpolate its positions.
            use_cache: Return the cache; by default as the decoder does.
            output_attentions: Return the weights of all attentions: in the encoder, in the decoder, and from decoder to encoder.
            output_hidden_states: Return the hidden states before and after every layer of both halves.

        Raises:
            InputError: If an input is missing, or does not have this shape.
        """
        options = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        if encoder_outputs is None:
            if pixel_values is None:
                raise InputError("There is no image.", next_step="Pass pixel_values, from the image processor.")
            sizes = {} if interpolate_pos_encoding is None else {"interpolate_pos_encoding": interpolate_pos_encoding}
            source = self.encoder(pixel_values, **sizes, **options, return_dict=True)
        else:
            source = as_encoder_output(encoder_outputs)
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = shift_tokens_right(labels, self.config)
        return self.run_decoder(
            source,
            None,
            labels,
            past_key_values,
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            **options,
        )
