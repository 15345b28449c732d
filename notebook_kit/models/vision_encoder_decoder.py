"""An encoder of images and a decoder of text, of any families: ViT with GPT-2 for captions, TrOCR for lines of text, Donut for
documents.

Source: Li et al., TrOCR: Transformer-based Optical Character Recognition with Pre-trained Models, 2021; Kim et al.,
OCR-free Document Understanding Transformer, 2022.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules, joined_rules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.generation.mixin import GenerationMixin
from notebook_kit.hub import Source
from notebook_kit.models.auto import AutoConfig, AutoModel, AutoModelForCausalLM
from notebook_kit.nn.attention import AttentionSite
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.cache import as_cache
from notebook_kit.nn.encoder_decoder import as_encoder_output, shift_tokens_right
from notebook_kit.nn.losses import cross_entropy
from notebook_kit.nn.outputs import Seq2SeqLMOutput

__all__ = ["VisionEncoderDecoderConfig", "VisionEncoderDecoderModel"]


class VisionEncoderDecoderConfig(PretrainedConfig):
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
    sub_configs: ClassVar[dict[str, Any]] = {"encoder": AutoConfig, "decoder": AutoConfig}
    keys_to_ignore_at_inference: ClassVar[tuple[str, ...]] = ("past_key_values",)

    encoder: Any = None
    decoder: Any = None
    is_encoder_decoder: bool = True

    def validate(self) -> None:
        """As in `PretrainedConfig`; halves that were not passed get their defaults."""
        if self.encoder is None:
            self.encoder = AutoConfig.for_model("vit")
        if self.decoder is None:
            self.decoder = AutoConfig.for_model("bert", is_decoder=True, add_cross_attention=True)
        super().validate()

    @classmethod
    def from_encoder_decoder_configs(
        cls, encoder_config: PretrainedConfig, decoder_config: PretrainedConfig, **fields: Any
    ) -> VisionEncoderDecoderConfig:
        """The configuration of a pair. The decoder's is changed to one of a decoder that attends to an encoder.

        Args:
            encoder_config: Of the encoder.
            decoder_config: Of the decoder.
            **fields: Further fields, such as `decoder_start_token_id`.
        """
        decoder_config.is_decoder = decoder_config.add_cross_attention = True
        return cls(encoder=encoder_config, decoder=decoder_config, **fields)


class VisionEncoderDecoderModel(PreTrainedModel, GenerationMixin):
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
    weight_rules: WeightRules  # type: ignore[misc]  # those of the two halves

    def __init__(
        self,
        config: VisionEncoderDecoderConfig | None = None,
        encoder: PreTrainedModel | None = None,
        decoder: PreTrainedModel | None = None,
    ) -> None:
        if config is None:
            if encoder is None or decoder is None:
                raise InputError(
                    "There is neither a configuration nor a pair of models.",
                    next_step="Pass config=, or encoder= and decoder=.",
                )
            config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, decoder.config)
        config.tie_word_embeddings = False  # between the halves; the decoder ties its own
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.encoder) if encoder is None else encoder
        self.decoder = AutoModelForCausalLM.from_config(config.decoder) if decoder is None else decoder
        config.encoder, config.decoder = self.encoder.config, self.decoder.config
        self._check_halves()
        widths = self.encoder.config.hidden_size, self.decoder.config.hidden_size
        if widths[0] != widths[1] and _expected_width(self.decoder.config) is None:
            self.enc_to_dec_proj = nn.Linear(*widths)
            for name in ("weight", "bias"):
                self.init_parameter(self.enc_to_dec_proj, name)
        self.weight_rules = joined_rules(
            {
                name: (half.weight_rules, half.config.tie_word_embeddings)
                for name, half in (("encoder", self.encoder), ("decoder", self.decoder))
            },
            defaulted=(r"^encoder\.pooler\.",),  # not used here, and not in all files
        )
        self.tie_weights()  # the halves initialized themselves, or were loaded

    def _check_halves(self) -> None:
        """Check that the decoder can read the encoder's states, and name the axis of its cross-attention after them.

        Raises:
            ConfigurationError: If it cannot.
        """
        crossing = [site for site in _sites(self.decoder) if site.kind == "cross"]
        if not crossing:
            raise ConfigurationError(
                f"{type(self.decoder).__name__} does not attend to an encoder.",
                next_step="Use a decoder with cross-attention: GPT-2, BERT, TrOCR, BART or mBART, with "
                "config.add_cross_attention = True before it is created.",
            )
        width = getattr(self.encoder.config, "hidden_size", None)
        if not isinstance(width, int):
            raise ConfigurationError(
                f"{type(self.encoder).__name__} has no width of its states (hidden_size).",
                next_step="Use an encoder that returns one vector per patch, such as ViT, DeiT, DINOv2 or Swin.",
            )
        if (expected := _expected_width(self.decoder.config)) not in (None, width):
            raise ConfigurationError(
                f"The decoder attends to states of width {expected} (cross_attention_hidden_size), and those of the encoder "
                f"have the width {width}.",
                next_step=f"Set cross_attention_hidden_size to {width}, or to None for a linear layer between the two.",
            )
        seen = _sites(self.encoder)
        for site in crossing:
            site.columns = seen[-1].rows if seen else "patches"

    @classmethod
    def from_encoder_decoder_pretrained(
        cls,
        encoder_pretrained_model_name_or_path: str | os.PathLike | Source | None = None,
        decoder_pretrained_model_name_or_path: str | os.PathLike | Source | None = None,
        **kwargs: Any,
    ) -> VisionEncoderDecoderModel:
        """A model of two checkpoints. The decoder's cross-attention starts fresh if its checkpoint has none, so the model has to be
        trained.

        Args:
            encoder_pretrained_model_name_or_path: The encoder's checkpoint; or pass the model as `encoder_model`.
            decoder_pretrained_model_name_or_path: The decoder's checkpoint; or pass the model as `decoder_model`.
            **kwargs: With the prefix `encoder_` or `decoder_`, arguments of `from_pretrained` for this half: fields of its
                configuration to change, `encoder_dtype`, `decoder_revision`, ... Others are fields of the joint configuration,
                such as `pad_token_id`.

        Returns:
            The model, in evaluation mode.

        Raises:
            InputError: If there is neither a checkpoint nor a model for a half.
            ConfigurationError: If the decoder cannot attend to an encoder.
            HubError: If a checkpoint cannot be found or downloaded.
        """
        decoder_start = kwargs.pop("decoder_start_token_id", None)
        names = (encoder_pretrained_model_name_or_path, decoder_pretrained_model_name_or_path)
        halves: list[PreTrainedModel] = []
        for half, name, loader in zip(("encoder", "decoder"), names, (AutoModel, AutoModelForCausalLM), strict=True):
            options = {
                key.removeprefix(f"{half}_"): kwargs.pop(key) for key in list(kwargs) if key.startswith(f"{half}_")
            }
            model = options.pop("model", None)
            if model is None and name is None:
                raise InputError(
                    f"There is no {half}.",
                    next_step=f"Pass the name of its checkpoint, or {half}_model= with a loaded model.",
                )
            if model is None:
                config = options.pop("config", None)
                config = AutoConfig.from_pretrained(name) if config is None else copy.deepcopy(config)  # type: ignore[arg-type]
                if half == "decoder":
                    config.is_decoder = config.add_cross_attention = True
                model = loader.from_pretrained(name, config=config, **options)  # type: ignore[arg-type]
            halves.append(model)
        encoder, decoder = halves
        if decoder_start is not None:
            kwargs["decoder_start_token_id"] = decoder_start
        config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, decoder.config, **kwargs)
        return cls(config, encoder, decoder).eval()

    # The halves ----------------------------------------------------------------------------------------------------

    @property
    def position_limit(self) -> int | None:
        """The maximum length of the text in tokens."""
        return self.decoder.position_limit

    @property
    def prompt_is_complete(self) -> bool:
        """True for Donut, whose prompts begin with a token of their task, such as `<s_docvqa>`."""
        return "donut" in self.config.encoder.model_type

    def get_encoder(self) -> nn.Module:
        """The encoder."""
        return self.encoder

    def get_decoder(self) -> nn.Module:
        """The decoder, with its scores of the vocabulary."""
        return self.decoder

    def get_input_embeddings(self) -> nn.Embedding:
        """The decoder's token embeddings."""
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, table: nn.Embedding) -> None:
        """Replace the decoder's token embeddings."""
        self.decoder.set_input_embeddings(table)

    def get_output_embeddings(self) -> nn.Module | None:
        """The decoder's layer that computes a score per token of the vocabulary."""
        return self.decoder.get_output_embeddings()

    def set_output_embeddings(self, layer: nn.Module) -> None:
        """Replace the decoder's layer that computes a score per token of the vocabulary."""
        self.decoder.set_output_embeddings(layer)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Grow or shrink the decoder's vocabulary; see `PreTrainedModel.resize_token_embeddings`."""
        return self.decoder.resize_token_embeddings(*args, **kwargs)

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """Initialize one parameter as the half that it belongs to does."""
        for half in (self.encoder, self.decoder):
            if any(module is part for part in half.modules()):
                return half.init_parameter(module, name)
        with torch.no_grad():  # the layer between the two
            parameter, spread = getattr(module, name), getattr(self.decoder.config, "initializer_range", 0.02)
            parameter.zero_() if name == "bias" else parameter.normal_(0.0, spread)
        return None

    # Calls ---------------------------------------------------------------------------------------------------------

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
        cache = as_cache(past_key_values)
        states = source.last_hidden_state
        if hasattr(self, "enc_to_dec_proj") and (cache is None or not cache.length):
            states = self.enc_to_dec_proj(states)  # later steps use the keys and values in the cache
        out = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=states,
            inputs_embeds=decoder_inputs_embeds,
            past_key_values=cache,
            use_cache=use_cache,
            **options,
            return_dict=True,
        )
        return Seq2SeqLMOutput(
            loss=cross_entropy(out.logits, labels),
            logits=out.logits,
            past_key_values=out.past_key_values,
            decoder_hidden_states=out.hidden_states,
            decoder_attentions=out.attentions,
            cross_attentions=out.cross_attentions,
            encoder_last_hidden_state=source.last_hidden_state,
            encoder_hidden_states=source.hidden_states,
            encoder_attentions=source.attentions,
        )

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The decoder's input for these labels, `(batch, tokens)`; called by data collators."""
        return shift_tokens_right(labels, self.config)


def _sites(model: nn.Module) -> list[AttentionSite]:
    """The attention sites of a model; none in a convolutional one."""
    return [site for module in model.modules() for site in getattr(module, "sites", ())]


def _expected_width(config: Mapping[str, Any] | PretrainedConfig) -> int | None:
    """The width of the states that a decoder attends to, if its configuration has it."""
    return getattr(config, "cross_attention_hidden_size", None)
