"""An encoder and a decoder of any families as one model: what pairs for images and pairs for text share.

Source: Rothe et al., Leveraging Pre-trained Checkpoints for Sequence Generation Tasks, 2020.
"""

from __future__ import annotations

import copy
import os
from typing import Any, ClassVar, Self

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
from notebook_kit.nn.encoder_decoder import check_decoder_input, shift_tokens_right
from notebook_kit.nn.losses import cross_entropy
from notebook_kit.nn.outputs import BaseModelOutput, Seq2SeqLMOutput

__all__ = ["PairConfig", "PairModel"]


class PairConfig(PretrainedConfig):
    """The configurations of an encoder and a decoder; see its subclasses."""

    sub_configs: ClassVar[dict[str, Any]] = {"encoder": AutoConfig, "decoder": AutoConfig}
    keys_to_ignore_at_inference: ClassVar[tuple[str, ...]] = ("past_key_values",)
    default_encoder: ClassVar[str] = "bert"
    """The `model_type` of an encoder that was not passed."""

    encoder: Any = None
    decoder: Any = None
    is_encoder_decoder: bool = True

    def validate(self) -> None:
        """As in `PretrainedConfig`; halves that were not passed get their defaults."""
        if self.encoder is None:
            self.encoder = AutoConfig.for_model(self.default_encoder)
        if self.decoder is None:
            self.decoder = AutoConfig.for_model("bert", is_decoder=True, add_cross_attention=True)
        super().validate()

    @classmethod
    def from_encoder_decoder_configs(
        cls, encoder_config: PretrainedConfig, decoder_config: PretrainedConfig, **fields: Any
    ) -> Self:
        """The configuration of a pair. The decoder's is changed to one of a decoder that attends to an encoder.

        Args:
            encoder_config: Of the encoder.
            decoder_config: Of the decoder.
            **fields: Further fields, such as `decoder_start_token_id`.
        """
        decoder_config.is_decoder = decoder_config.add_cross_attention = True
        return cls(encoder=encoder_config, decoder=decoder_config, **fields)


class PairModel(PreTrainedModel, GenerationMixin):
    """An encoder and a decoder with scores of the next token; see its subclasses.

    Args:
        config: The configuration; by default made from those of `encoder` and `decoder`.
        encoder: A loaded encoder; by default a new one.
        decoder: A loaded decoder; by default a new one.
    """

    config_class: ClassVar[type[PairConfig]] = PairConfig
    weight_rules: WeightRules  # type: ignore[misc]  # those of the two halves
    encoders: ClassVar[str] = "BERT, DistilBERT, RoBERTa or ELECTRA"
    """Examples of encoders, for messages."""

    def __init__(
        self,
        config: PairConfig | None = None,
        encoder: PreTrainedModel | None = None,
        decoder: PreTrainedModel | None = None,
    ) -> None:
        if config is None:
            if encoder is None or decoder is None:
                raise InputError(
                    "There is neither a configuration nor a pair of models.",
                    next_step="Pass config=, or encoder= and decoder=.",
                )
            config = self.config_class.from_encoder_decoder_configs(encoder.config, decoder.config)
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
                next_step=f"Use an encoder that returns one sequence of states, such as {self.encoders}.",
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
    ) -> Self:
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
                elif getattr(config, "is_decoder", False):  # the checkpoint of a decoder
                    config.is_decoder = config.add_cross_attention = False
                model = loader.from_pretrained(name, config=config, **options)  # type: ignore[arg-type]
            halves.append(model)
        encoder, decoder = halves
        if decoder_start is not None:
            kwargs["decoder_start_token_id"] = decoder_start
        config = cls.config_class.from_encoder_decoder_configs(encoder.config, decoder.config, **kwargs)
        return cls(config, encoder, decoder).eval()

    # The halves ----------------------------------------------------------------------------------------------------

    @property
    def position_limit(self) -> int | None:
        """The maximum length of the decoder's text in tokens."""
        return self.decoder.position_limit

    def get_encoder(self) -> nn.Module:
        """The encoder."""
        return self.encoder

    def get_decoder(self) -> nn.Module:
        """The decoder, with its scores of the vocabulary."""
        return self.decoder

    def get_output_embeddings(self) -> nn.Module | None:
        """The decoder's layer that computes a score per token of the vocabulary."""
        return self.decoder.get_output_embeddings()

    def set_output_embeddings(self, layer: nn.Module) -> None:
        """Replace the decoder's layer that computes a score per token of the vocabulary."""
        self.decoder.set_output_embeddings(layer)

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

    def run_decoder(
        self,
        source: BaseModelOutput,
        source_mask: Tensor | None,
        labels: Tensor | None,
        past_key_values: Any,
        **inputs: Any,
    ) -> Seq2SeqLMOutput:
        """Decode a batch of texts with the encoder's output, and compute the loss.

        Args:
            source: The encoder's output.
            source_mask: `(batch, encoder positions)`, or None.
            labels: `(batch, tokens)`, or None.
            past_key_values: The cache that an earlier call returned, or None.
            **inputs: Further inputs of the decoder.
        """
        check_decoder_input(inputs.get("input_ids"), inputs.get("inputs_embeds"), self.config)
        cache = as_cache(past_key_values)
        states = source.last_hidden_state
        if hasattr(self, "enc_to_dec_proj") and (cache is None or not cache.length):
            states = self.enc_to_dec_proj(states)  # later steps use the keys and values in the cache
        if source_mask is not None:
            inputs["encoder_attention_mask"] = source_mask
        out = self.decoder(encoder_hidden_states=states, past_key_values=cache, **inputs, return_dict=True)
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


def _expected_width(config: PretrainedConfig) -> int | None:
    """The width of the states that a decoder attends to, if its configuration has it."""
    return getattr(config, "cross_attention_hidden_size", None)
