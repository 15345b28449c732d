"""Whisper: an encoder of log-mel spectrograms and a decoder that writes what was said, with languages, tasks and times as
tokens.

Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022.
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError, a_kind
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.generation.speech import SpeechGenerationMixin
from notebook_kit.models.bart_blocks import BartAttention, BartDecoder, BartDecoderLayer, BartEncoderLayer
from notebook_kit.nn.attention import AttentionSite, is_watched
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.encoder_decoder import (
    DecoderOptions,
    as_encoder_output,
    check_decoder_input,
    seq2seq_output,
    shift_tokens_right,
)
from notebook_kit.nn.few_rows import is_ordinary_call, one_row
from notebook_kit.nn.frame_convolutions import convolved, is_fast_call, is_usual, type_for
from notebook_kit.nn.heap import MOST_AHEAD
from notebook_kit.nn.layers import OutputOptions, check_length, run_layers, without_dropped
from notebook_kit.nn.losses import cross_entropy
from notebook_kit.nn.outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput, SequenceClassifierOutput
from notebook_kit.nn.rows import any_hook
from notebook_kit.nn.sound_heads import ForAudioClassification
from notebook_kit.nn.spec_augment import augmentation_mask

__all__ = [
    "WhisperConfig",
    "WhisperForAudioClassification",
    "WhisperForConditionalGeneration",
    "WhisperModel",
    "WhisperPreTrainedModel",
]


class WhisperConfig(PretrainedConfig):
    """Whisper's settings; the defaults are those of `openai/whisper-tiny`.

    Args:
        vocab_size: Rows of the token embeddings.
        num_mel_bins: Bands of the spectrogram: 80, or 128 in large-v3.
        encoder_layers, decoder_layers: Number of layers of each half.
        encoder_attention_heads, decoder_attention_heads: Heads per layer; must divide `d_model`.
        encoder_ffn_dim, decoder_ffn_dim: Width inside the feed-forward blocks.
        d_model: Width of the residual stream.
        max_source_positions: States of the encoder; a spectrogram has twice as many frames.
        max_target_positions: Maximum number of tokens of the decoder.
        activation_function: Activation of the feed-forward blocks.
        dropout: Dropout after the embeddings and each block.
        attention_dropout: Dropout of attention weights.
        activation_dropout: Dropout inside the feed-forward blocks.
        encoder_layerdrop, decoder_layerdrop: Probability of skipping a layer in training.
        scale_embedding: Multiply token embeddings by the square root of `d_model`. (No checkpoint sets it.)
        init_std: Standard deviation of the initial weights.
        use_cache: Return the cache of keys and values by default, except in training.
        decoder_start_token_id: The first token of the decoder's input.
        suppress_tokens, begin_suppress_tokens: Tokens that are never generated, or not as the first one.
        use_weighted_layer_sum: Classify a learned mean of all layers' states, instead of the last one's.
        classifier_proj_size: Width of the projection before the mean over time, in the classification head.
        apply_spec_augment: Hide random parts of the spectrogram in training; see `notebook_kit.nn.spec_augment`.
        mask_time_prob, mask_time_length, mask_time_min_masks: Fraction of frames to hide, frames in a span, and the minimum
            number of spans.
        mask_feature_prob, mask_feature_length, mask_feature_min_masks: The same for bands.
        median_filter_width: Width of the median filter over attention, from which the times of words are computed.

    Example:
        >>> from notebook_kit import WhisperConfig, WhisperModel
        >>> tiny = WhisperConfig(d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, vocab_size=50,
        ...                      decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, pad_token_id=49,
        ...                      bos_token_id=49, eos_token_id=49, decoder_start_token_id=1)
        >>> WhisperModel(tiny).num_parameters()
        96160
    """

    model_type: ClassVar[str] = "whisper"
    keys_to_ignore_at_inference: ClassVar[tuple[str, ...]] = ("past_key_values",)
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "encoder_attention_heads",
        "num_key_value_heads": "encoder_attention_heads",
        "num_hidden_layers": "encoder_layers",
        "max_position_embeddings": "max_target_positions",
    }

    vocab_size: Rows = 51865
    num_mel_bins: Size = 80
    encoder_layers: Layers = 4
    encoder_attention_heads: Size = 6
    decoder_layers: Layers = 4
    decoder_attention_heads: Size = 6
    encoder_ffn_dim: Size = 1536
    decoder_ffn_dim: Size = 1536
    encoder_layerdrop: Fraction = 0.0
    decoder_layerdrop: Fraction = 0.0
    d_model: Size = 384
    max_source_positions: Rows = 1500
    max_target_positions: Rows = 448
    activation_function: Activation = "gelu"
    dropout: Fraction = 0.0
    attention_dropout: Fraction = 0.0
    activation_dropout: Fraction = 0.0
    init_std: NonNegative = 0.02
    scale_embedding: bool = False
    use_cache: bool = True
    is_encoder_decoder: bool = True
    decoder_start_token_id: int | None = 50257
    pad_token_id: int | None = 50256
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = field(default_factory=lambda: [220, 50256])
    use_weighted_layer_sum: bool = False
    classifier_proj_size: Size = 256
    apply_spec_augment: bool = False
    mask_time_prob: Fraction = 0.05
    mask_time_length: Size = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: Fraction = 0.0
    mask_feature_length: Size = 10
    mask_feature_min_masks: int = 0
    median_filter_width: Size = 7


# Encoder and decoder: BART's layers, with norms before the blocks and keys without a bias ----------------------------------


class WhisperAttention(BartAttention):
    """BART's attention, in which keys have no bias."""

    def __init__(self, config, heads: int) -> None:
        super().__init__(config, heads)
        self.k_proj = nn.Linear(config.d_model, config.d_model, bias=False)


class WhisperEncoderLayer(BartEncoderLayer):
    """Self-attention, then a feed-forward block."""

    attention, pre_norm = WhisperAttention, True


class WhisperDecoderLayer(BartDecoderLayer):
    """Causal self-attention, cross-attention, then a feed-forward block."""

    attention, pre_norm = WhisperAttention, True


class WhisperEncoderPositions(nn.Embedding):
    """Sinusoidal positions, `(positions, width)`, which are stored in files but not trained."""

    def __init__(self, config) -> None:
        super().__init__(config.max_source_positions, config.d_model)
        self.weight.requires_grad = False

    def table(self) -> Tensor:
        """Sines in the first half of the columns, cosines in the second, with wavelengths from 2 pi to 20,000 pi."""
        rows, width = self.weight.shape
        rates = torch.exp(-math.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
        angles = torch.arange(rows)[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class WhisperDecoderPositions(nn.Embedding):
    """Learned positions, `(positions, width)`."""

    def __init__(self, config) -> None:
        super().__init__(config.max_target_positions, config.d_model)


class WhisperEncoder(nn.Module):
    """A spectrogram in, one vector per two frames (20 ms) out, after two convolutions and a stack of layers."""

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.num_mel_bins, config.d_model, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(config.d_model, config.d_model, kernel_size=3, stride=2, padding=1)
        self.embed_positions = WhisperEncoderPositions(config)
        self.layers = nn.ModuleList(WhisperEncoderLayer(config) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.sites = [
            AttentionSite(layer, config.encoder_attention_heads, rows="frames")
            for layer in range(config.encoder_layers)
        ]

    def forward(
        self,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutput:
        """Encode spectrograms `(batch, bands, frames)`; `attention_mask` is accepted and not used."""
        self.check_features(input_features)
        assert input_features is not None
        config, given = self.config, input_features.to(self.conv1.weight.dtype)
        attentions = config.output_attentions if output_attentions is None else output_attentions
        states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        if attentions or states or not self.is_divisible(given):
            return self.encode(given, output_attentions=attentions, output_hidden_states=states)
        parts = given.split(self.recordings_at_once(given.element_size()))
        found = [self.encode(part, output_attentions=False, output_hidden_states=False) for part in parts]
        if len(found) == 1:
            return found[0]
        return BaseModelOutput(last_hidden_state=torch.cat([part.last_hidden_state for part in found]))

    def encode(self, spectrograms: Tensor, **options: bool) -> BaseModelOutput:
        """The output for spectrograms that have been checked."""
        x = self.convolve(spectrograms)  # (batch, positions, width)
        x = self.dropout(x + self.embed_positions.weight)
        drop = self.config.encoder_layerdrop if self.training else 0.0
        layers, sites = without_dropped(self.layers, self.sites, drop)
        x, states, attentions = run_layers(self, layers, sites, x, None, final=self.layer_norm, **options)
        return BaseModelOutput(last_hidden_state=x, hidden_states=states, attentions=attentions)

    def is_divisible(self, x: Tensor) -> bool:
        """Whether nobody sees that a batch is encoded in parts, on a CPU, without gradients."""
        return is_ordinary_call() and x.device.type == "cpu" and not is_watched() and not any_hook(self.modules())

    def recordings_at_once(self, bytes_per_number: int) -> int:
        """So many that a layer's largest result comes from the heap. New memory for each would take up to a quarter of the time."""
        largest = self.config.max_source_positions * self.config.encoder_ffn_dim * bytes_per_number
        return max(MOST_AHEAD // largest, 1)

    def convolve(self, spectrograms: Tensor) -> Tensor:
        """`(batch, bands, frames)` to `(batch, positions, width)`, half as many."""
        x, layers = spectrograms.transpose(1, 2), (self.conv1, self.conv2)
        if is_fast_call(x, *layers) and all(is_usual(layer, None, zeros=1) for layer in layers):
            dtype = type_for(all(site.exact for site in self.sites))
            return convolved(convolved(x.contiguous(), self.conv1, F.gelu, dtype), self.conv2, F.gelu, dtype).float()
        x = F.gelu(self.conv1(spectrograms))
        return F.gelu(self.conv2(x)).transpose(1, 2)

    def check_features(self, input_features: Tensor | None) -> None:
        """Check the shape of the input.

        Raises:
            InputError: If it is not a batch of spectrograms with as many bands and frames as the model reads.
        """
        bands, frames = self.config.num_mel_bins, 2 * self.config.max_source_positions
        if not isinstance(input_features, Tensor) or input_features.dim() != 3:
            given = (
                f"of shape {tuple(input_features.shape)}"
                if isinstance(input_features, Tensor)
                else "missing"
                if input_features is None
                else a_kind(input_features)
            )
            raise InputError(
                f"input_features is {given}; expected a tensor (batch, {bands}, {frames}).",
                next_step="Call model(**feature_extractor(samples, sampling_rate=16000, return_tensors='pt')).",
            )
        if input_features.shape[1:] != (bands, frames):
            raise InputError(
                f"input_features has shape {tuple(input_features.shape)}, and this model reads spectrograms of {bands} bands "
                f"and {frames} frames.",
                next_step="Use the checkpoint's own feature extractor, which pads to 30 seconds; generate also takes longer "
                "spectrograms.",
            )


class WhisperDecoder(BartDecoder):
    """Ids in, one vector per token out, computed from the tokens up to it and the encoder's states."""

    positions, layer, source = WhisperDecoderPositions, WhisperDecoderLayer, "frames"
    norms_embeddings, norms_output = False, True

    def __init__(self, config) -> None:
        super().__init__(config)
        self.scale = 1.0  # the setting `scale_embedding` has no effect in Whisper


# The backbone --------------------------------------------------------------------------------------------------------


class WhisperPreTrainedModel(PreTrainedModel):
    """What the models of Whisper share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import WhisperModel, WhisperPreTrainedModel
        >>> issubclass(WhisperModel, WhisperPreTrainedModel)
        True
    """

    config_class = WhisperConfig
    base_model_prefix = "model"
    main_input_name = "input_features"
    input_embeddings = ("decoder.embed_tokens",)
    position_field: ClassVar[str | None] = "max_target_positions"
    model: WhisperModel  # in the head that writes

    @property
    def samples_per_frame(self) -> int:
        """Samples of the waveform for which the encoder returns one state: 320 of 16,000 per second, or 20 ms."""
        return 320

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`; the encoder's positions are computed."""
        if isinstance(module, WhisperEncoderPositions):
            with torch.no_grad():
                module.weight.copy_(module.table())
        else:
            super().init_parameter(module, name)

    def freeze_encoder(self) -> None:
        """Do not train the encoder."""
        self.get_encoder().requires_grad_(False)


class WhisperModel(WhisperPreTrainedModel):
    """Encoder and decoder without a head.

    Args:
        config: Whisper's settings.

    Example:
        >>> import torch
        >>> from notebook_kit import WhisperConfig, WhisperModel
        >>> model = WhisperModel(WhisperConfig(d_model=48, encoder_layers=1, decoder_layers=2)).eval()
        >>> out = model(torch.zeros(1, 80, 3000), decoder_input_ids=torch.tensor([[50257, 17, 8]]))
        >>> out.last_hidden_state.shape, out.encoder_last_hidden_state.shape
        (torch.Size([1, 3, 48]), torch.Size([1, 1500, 48]))
    """

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.decoder = WhisperDecoder(config)
        self.post_init()

    def forward(
        self,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        decoder_inputs_embeds: Tensor | None = None,
        decoder_position_ids: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> Seq2SeqModelOutput:
        """Encode spectrograms and decode a batch of texts.

        Args:
            input_features: `(batch, bands, frames)`, log-mel spectrograms of 30 seconds, from the checkpoint's feature
                extractor.
            attention_mask: `(batch, frames)`, 1 for sound and 0 for padding. Only SpecAugment uses it: the encoder reads
                padding as silence.
            decoder_input_ids: `(batch, tokens)`.
            decoder_attention_mask: `(batch, cached + new tokens)`, 1 for a token and 0 for padding.
            encoder_outputs: The encoder's output of an earlier call, in place of `input_features`.
            past_key_values: The cache that an earlier call returned; `decoder_input_ids` are then only the new tokens.
            decoder_inputs_embeds: `(batch, tokens, width)`, in place of `decoder_input_ids`.
            decoder_position_ids: `(batch, tokens)`, the positions of the new tokens; by default they follow the cached ones.
            use_cache: Return the cache; by default if `config.use_cache` is set and the model is not in training.
            output_attentions: Return the weights of all attentions: in the encoder, in the decoder, and from decoder to encoder.
            output_hidden_states: Return the hidden states before and after every layer of both halves.

        Raises:
            InputError: If a spectrogram does not have the size that the model reads, ids are outside the vocabulary, or
                there are more tokens than positions.
        """
        options = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        check_decoder_input(decoder_input_ids, decoder_inputs_embeds, self.config)
        if encoder_outputs is None:
            source = self.encoder(self.augmented(input_features, attention_mask), **options)
        else:
            source = as_encoder_output(encoder_outputs)
        decoder_output = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            source.last_hidden_state,
            None,
            past_key_values,
            decoder_inputs_embeds,
            use_cache,
            **options,
            position_ids=decoder_position_ids,
        )
        return seq2seq_output(decoder_output, source)

    def augmented(self, input_features: Tensor | None, attention_mask: Tensor | None) -> Tensor | None:
        """The spectrograms, in training with random parts set to zero if the config asks for it."""
        if not (self.training and self.config.apply_spec_augment and isinstance(input_features, Tensor)):
            return input_features
        B, bands, frames = input_features.shape
        lengths = None if attention_mask is None else attention_mask.sum(-1).tolist()
        device = input_features.device
        times = augmentation_mask(self.config, "time", (B, frames), lengths, device)
        features = augmentation_mask(self.config, "feature", (B, bands), device=device)
        if times is not None:
            input_features = input_features.masked_fill(times[:, None], 0)
        return input_features if features is None else input_features.masked_fill(features[:, :, None], 0)


# Heads ---------------------------------------------------------------------------------------------------------------


class WhisperForConditionalGeneration(WhisperPreTrainedModel, SpeechGenerationMixin):
    """Whisper with scores of the vocabulary at each position of the decoder: transcripts and translations.

    Example:
        >>> import torch
        >>> from notebook_kit import WhisperConfig, WhisperForConditionalGeneration
        >>> model = WhisperForConditionalGeneration(WhisperConfig(d_model=48, encoder_layers=1, decoder_layers=1))
        >>> out = model(torch.zeros(1, 80, 3000), labels=torch.tensor([[50258, 17, 9, 50256]]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([1, 4, 51865]), tensor(True))
    """

    weight_rules = WeightRules(
        tied={"proj_out.weight": "model.decoder.embed_tokens.weight"}, defaulted=(r"encoder\.embed_positions\.weight$",)
    )

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.model = WhisperModel(config)
        self.proj_out = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        decoder_inputs_embeds: Tensor | None = None,
        decoder_position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[DecoderOptions],
    ) -> Seq2SeqLMOutput:
        """As `WhisperModel.forward`; `labels` is `(batch, tokens)`: the transcript, -100 for tokens to ignore.

        With labels and no decoder input, the labels shifted one position to the right are the decoder's input.
        """
        if labels is not None:
            check_length(labels.shape[1], self.config.max_target_positions)
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = shift_tokens_right(labels, self.config)
        out = self.model(
            input_features,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs,
            past_key_values,
            decoder_inputs_embeds,
            decoder_position_ids,
            return_dict=True,
            **options,
        )
        logits = one_row(self.proj_out, out.pop("last_hidden_state"))
        return Seq2SeqLMOutput(out, loss=cross_entropy(logits, labels), logits=logits)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The decoder's input for these labels, `(batch, tokens)`; called by data collators."""
        return shift_tokens_right(labels, self.config)


class WhisperForAudioClassification(WhisperPreTrainedModel, ForAudioClassification):
    """Whisper's encoder with one prediction per recording: its language, a keyword.

    Example:
        >>> import torch
        >>> from notebook_kit import WhisperConfig, WhisperForAudioClassification
        >>> model = WhisperForAudioClassification(WhisperConfig(d_model=48, encoder_layers=1, num_labels=3))
        >>> out = model(torch.zeros(2, 80, 3000), labels=torch.tensor([0, 2]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([2, 3]), tensor(True))
    """

    base_model_prefix = "encoder"
    position_field = None
    # Checkpoints that write keep the encoder under `model`.
    weight_rules = WeightRules(legacy={r"^model\.": ""}, defaulted=(r"embed_positions\.weight$",))

    def build_backbone(self, config: WhisperConfig) -> None:
        """Create the encoder."""
        self.encoder = WhisperEncoder(config)

    def get_encoder(self) -> nn.Module:
        """The encoder."""
        return self.encoder

    def forward(  # type: ignore[override]
        self,
        input_features: Tensor | None = None,
        encoder_outputs: Any = None,
        labels: Tensor | None = None,
        **options: Unpack[OutputOptions],
    ) -> SequenceClassifierOutput:
        """Classify spectrograms `(batch, bands, frames)`; `labels` is `(batch,)`, class indices."""
        if encoder_outputs is None:
            return self.classify(self.encoder(input_features, **self.with_states(options)), None, labels, options)
        return self.classify(as_encoder_output(encoder_outputs), None, labels, options)
