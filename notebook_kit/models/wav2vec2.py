"""Wav2Vec2: convolutions over the samples of a recording and a transformer encoder over the frames.

Source: Baevski et al., wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations, 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.checkpoints.weights import open_file
from notebook_kit.errors import CheckpointError, ConfigurationError, InputError
from notebook_kit.fields import Fraction, Layers, NonNegative, Size
from notebook_kit.hub.source import locate, take_hub_options
from notebook_kit.models.wav2vec2_blocks import (
    FeatureEncoder,
    FrameAdapter,
    FrameEncoder,
    FrameEncoderConfig,
    NormalizedConvolution,
    check_samples,
    frames_after,
    is_sound,
)
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.layers import OutputOptions
from notebook_kit.nn.outputs import ModelOutput, Wav2Vec2BaseModelOutput
from notebook_kit.nn.sound_heads import ForAudioClassification, ForCTC
from notebook_kit.nn.spec_augment import augmentation_mask

__all__ = [
    "Wav2Vec2Config",
    "Wav2Vec2ForCTC",
    "Wav2Vec2ForPreTraining",
    "Wav2Vec2ForPreTrainingOutput",
    "Wav2Vec2ForSequenceClassification",
    "Wav2Vec2Model",
    "Wav2Vec2PreTrainedModel",
]


class Wav2Vec2Config(FrameEncoderConfig):
    """Wav2Vec2's settings; the defaults are those of `facebook/wav2vec2-base-960h`.

    Args:
        vocab_size: Number of tokens that the CTC head writes.
        hidden_size: Width of the residual stream.
        num_hidden_layers: Number of encoder layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        intermediate_size: Width inside the feed-forward block.
        hidden_act: Activation of the feed-forward block.
        hidden_dropout, activation_dropout, attention_dropout, feat_proj_dropout, final_dropout: Dropout after each block,
            inside the feed-forward block, of attention weights, after the projection of the frames, and before the CTC head.
        feat_quantizer_dropout: Dropout before the quantizer, in pre-training.
        layerdrop: Probability of skipping a layer in training.
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the layer norms.
        feat_extract_norm: `"group"` for a group norm after the first convolution, `"layer"` for a layer norm after each.
        feat_extract_activation: Activation of the convolutions.
        conv_dim, conv_stride, conv_kernel: Channels, stride and kernel of each convolution.
        conv_bias: Whether the convolutions have biases.
        num_conv_pos_embeddings, num_conv_pos_embedding_groups: Kernel and groups of the positional convolution.
        do_stable_layer_norm: Normalize before the blocks of a layer, rather than after.
        apply_spec_augment: Hide random frames and channels in training; see `notebook_kit.nn.spec_augment`.
        mask_time_prob, mask_time_length, mask_time_min_masks: Fraction of frames to hide, frames in a span, and the minimum
            number of spans.
        mask_feature_prob, mask_feature_length, mask_feature_min_masks: The same for channels.
        num_codevectors_per_group, num_codevector_groups, codevector_dim, proj_codevector_dim: The codebook, in pre-training.
        contrastive_logits_temperature, num_negatives, diversity_loss_weight: The loss of pre-training.
        ctc_loss_reduction: How the CTC losses of a batch are combined.
        ctc_zero_infinity: Ignore recordings that are too short for their transcript.
        use_weighted_layer_sum: Classify a learned mean of all layers' states, instead of the last one's.
        classifier_proj_size: Width of the projection before the mean over time, in the classification head.
        add_adapter, adapter_kernel_size, adapter_stride, num_adapter_layers, output_hidden_size: Convolutions after the
            encoder that shorten the sequence.
        adapter_attn_dim: Width of the adapter of each layer, which holds what is specific to a language; None for none.

    Example:
        >>> from notebook_kit import Wav2Vec2Config, Wav2Vec2Model
        >>> tiny = Wav2Vec2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        ...                       conv_dim=[16, 16], conv_stride=[160, 2], conv_kernel=[400, 3],
        ...                       num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
        >>> Wav2Vec2Model(tiny).num_parameters(), tiny.inputs_to_logits_ratio
        (29104, 320)
    """

    model_type: ClassVar[str] = "wav2vec2"

    feat_quantizer_dropout: Fraction = 0.0
    num_codevectors_per_group: Size = 320
    num_codevector_groups: Size = 2
    contrastive_logits_temperature: NonNegative = 0.1
    num_negatives: Size = 100
    codevector_dim: Size = 256
    proj_codevector_dim: Size = 256
    diversity_loss_weight: NonNegative = 0.1
    add_adapter: bool = False
    adapter_kernel_size: Size = 3
    adapter_stride: Size = 2
    num_adapter_layers: Layers = 3
    output_hidden_size: Size | None = None
    adapter_attn_dim: Size | None = None

    @property
    def state_width(self) -> int:
        """Width of the states that a head reads."""
        return self.output_hidden_size if self.add_adapter and self.output_hidden_size else self.hidden_size

    def validate(self) -> None:
        """As in `FrameEncoderConfig`; the width after an adapter is by default the encoder's."""
        super().validate()
        self.output_hidden_size = self.output_hidden_size or self.hidden_size


# The backbone --------------------------------------------------------------------------------------------------------


class Wav2Vec2PreTrainedModel(PreTrainedModel):
    """What the models of Wav2Vec2 share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import Wav2Vec2Model, Wav2Vec2PreTrainedModel
        >>> issubclass(Wav2Vec2Model, Wav2Vec2PreTrainedModel)
        True
    """

    config_class: ClassVar[type[Any]] = Wav2Vec2Config
    base_model_prefix = "wav2vec2"
    main_input_name = "input_values"
    input_embeddings = ("feature_extractor.conv_layers.0.conv",)
    wav2vec2: Wav2Vec2Model  # in the heads
    weight_rules = WeightRules(
        legacy={
            r"\.parametrizations\.weight\.original0$": ".weight_g",
            r"\.parametrizations\.weight\.original1$": ".weight_v",
        },
        saved={
            r"\.weight_g$": ".parametrizations.weight.original0",
            r"\.weight_v$": ".parametrizations.weight.original1",
        },
        optional=(r"masked_spec_embed$",),
    )

    @property
    def samples_per_frame(self) -> int:
        """Samples of the waveform for which the encoder returns one state, without an adapter after it."""
        return math.prod(self.config.conv_stride)

    def frames_of(self, attention_mask: Tensor | None, input_values: Tensor, adapted: bool = True) -> Tensor:
        """Number of states of each row that are not padding, `(batch,)`.

        Args:
            attention_mask: `(batch, samples)`, 1 for sound and 0 for padding; all 1 by default.
            input_values: `(batch, samples)`.
            adapted: Whether to count the states after the adapter, if the model has one.
        """
        B, T = input_values.shape
        samples = (
            torch.full((B,), T, device=input_values.device) if attention_mask is None else attention_mask.sum(dim=-1)
        )
        frames = frames_after(samples, self.config.conv_kernel, self.config.conv_stride)
        if adapted and getattr(self.config, "add_adapter", False):
            layers = self.config.num_adapter_layers
            frames = frames_after(frames, [1] * layers, [self.config.adapter_stride] * layers)
        return frames.clamp(min=1)

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`; convolutions, the vector of hidden frames and the codebook start as in the original."""
        parameter = getattr(module, name)
        if name == "weight_v":
            _, inputs, kernel = parameter.shape
            nn.init.normal_(parameter, std=2 / math.sqrt(kernel * inputs * module.groups))
        elif isinstance(module, NormalizedConvolution) and name == "weight_g":
            with torch.no_grad():
                parameter.copy_(module.weight_v.norm(dim=(0, 1), keepdim=True))
        elif isinstance(module, nn.Conv1d) and name == "weight":
            nn.init.kaiming_normal_(parameter)
        elif isinstance(module, nn.GroupNorm | nn.BatchNorm1d) and name == "weight":
            nn.init.ones_(parameter)
        elif isinstance(module, UniformLinear):
            nn.init.uniform_(parameter, -(module.in_features**-0.5), module.in_features**-0.5)
        elif isinstance(module, CodeScores) and name == "weight":
            nn.init.normal_(parameter)
        elif name in ("masked_spec_embed", "codevectors"):
            nn.init.uniform_(parameter)
        else:
            super().init_parameter(module, name)

    def freeze_feature_encoder(self) -> None:
        """Do not train the convolutions over samples."""
        self.base_model.feature_extractor.requires_grad_(False)


class Wav2Vec2Model(Wav2Vec2PreTrainedModel):
    """The encoder: samples in, one vector per frame of 20 ms out.

    Args:
        config: Wav2Vec2's settings.

    Example:
        >>> import torch
        >>> from notebook_kit import Wav2Vec2Config, Wav2Vec2Model
        >>> tiny = Wav2Vec2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
        >>> Wav2Vec2Model(tiny).eval()(torch.randn(1, 16000)).last_hidden_state.shape  # one second
        torch.Size([1, 49, 32])
    """

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.feature_extractor = FeatureEncoder(config)
        self.feature_projection = self.build_projection(config)
        if config.mask_time_prob > 0 or config.mask_feature_prob > 0:
            self.masked_spec_embed = nn.Parameter(torch.zeros(config.hidden_size))
        self.encoder = self.build_encoder(config)
        self.adapter = FrameAdapter(config) if getattr(config, "add_adapter", False) else None
        self.post_init()

    def build_projection(self, config: Any) -> nn.Module:
        """The layers from the convolutions' channels to the width of the encoder."""
        return FeatureProjection(config)

    def build_encoder(self, config: Any) -> FrameEncoder:
        """The encoder."""
        return FrameEncoder(config, adapter=config.adapter_attn_dim)

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        mask_time_indices: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> Any:
        """Encode a batch of recordings.

        Args:
            input_values: `(batch, samples)`, from the checkpoint's feature extractor, 16,000 samples per second.
            attention_mask: `(batch, samples)`, 1 for sound and 0 for padding; all 1 by default.
            mask_time_indices: `(batch, frames)`, 1 for frames to hide; in training, random ones by default.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If the input is not a batch of waveforms, or too short for a frame.
        """
        check_samples(input_values, self.config)
        assert input_values is not None
        # With 8-bit weights, attention need not be exact, nor convolutions.
        exact = all(site.exact for site in self.encoder.sites)
        features = self.feature_extractor(input_values.to(self.dtype), **({} if exact else {"exact": False}))
        sound = None
        if attention_mask is not None:
            sound = is_sound(self.frames_of(attention_mask, input_values, adapted=False), features.shape[1])
        x, features = self.feature_projection(features)
        x = self.augmented(x, mask_time_indices, sound)
        x, states, attentions = self.encoder(x, sound, output_attentions, output_hidden_states)
        x = x if self.adapter is None else self.adapter(x)
        return self.output(x, features, states, attentions)

    def output(self, x: Tensor, features: Tensor, states: Any, attentions: Any) -> ModelOutput:
        """The output with these values."""
        return Wav2Vec2BaseModelOutput(
            last_hidden_state=x, extract_features=features, hidden_states=states, attentions=attentions
        )

    def augmented(self, x: Tensor, hidden: Tensor | None, sound: Tensor | None) -> Tensor:
        """The frames, of which `hidden` ones, or in training random ones, are replaced by a learned vector."""
        if not self.config.apply_spec_augment:
            return x
        B, T, C = x.shape
        channels = None
        if hidden is None and self.training:
            lengths = None if sound is None else sound.sum(dim=-1).tolist()
            hidden = augmentation_mask(self.config, "time", (B, T), lengths, x.device)
        if self.training:
            channels = augmentation_mask(self.config, "feature", (B, C), device=x.device)
        if hidden is not None:
            x = torch.where(hidden.bool()[..., None], self.masked_spec_embed.to(x.dtype), x)
        return x if channels is None else x.masked_fill(channels[:, None], 0)


class UniformLinear(nn.Linear):
    """A linear layer with weights that are uniform at first."""


class FeatureProjection(nn.Module):
    """A norm and a linear layer: `(batch, frames, channels)` to `(batch, frames, width)`, and the normalized channels."""

    def __init__(self, config, norm: bool = True) -> None:
        super().__init__()
        channels = config.conv_dim[-1]
        self.layer_norm = nn.LayerNorm(channels, eps=config.layer_norm_eps) if norm else nn.Identity()
        self.projection = UniformLinear(channels, config.hidden_size)
        self.dropout = nn.Dropout(config.feat_proj_dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        normalized = self.layer_norm(x)
        return self.dropout(self.projection(normalized)), normalized


# Heads ---------------------------------------------------------------------------------------------------------------


class Wav2Vec2ForCTC(Wav2Vec2PreTrainedModel, ForCTC):
    """Wav2Vec2 with scores of letters at each frame: speech recognition.

    Example:
        >>> import torch
        >>> from notebook_kit import Wav2Vec2Config, Wav2Vec2ForCTC
        >>> tiny = Wav2Vec2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
        >>> out = Wav2Vec2ForCTC(tiny).eval()(torch.randn(2, 16000), labels=torch.tensor([[7, 8, 9], [5, -100, -100]]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([2, 49, 32]), tensor(True))
    """

    backbone = Wav2Vec2Model

    def load_adapter(self, target_lang: str, force_load: bool = True, **options: Any) -> None:
        """Replace what is specific to a language by what the checkpoint has for another: the adapters, and the head.

        The tokenizer is switched with `tokenizer.set_target_lang`.

        Args:
            target_lang: The code of the language, for which the checkpoint has a file `adapter.<code>.safetensors` or `.bin`;
                that of `facebook/mms-1b-all` for French is "fra".
            force_load: Read the file even if this language was loaded last.
            options: `revision`, `token`, `cache_dir`, ...: where the checkpoint is looked for.

        Raises:
            ConfigurationError: If the model has no adapters for languages, or was not loaded by name.
            CheckpointError: If the checkpoint has no such file, or it does not fit this model.

        Source: Pratap et al., Scaling Speech Technology to 1,000+ Languages, 2023.
        """
        name = type(self).__name__
        if self.config.adapter_attn_dim is None:
            raise ConfigurationError(
                f"This {name} has no adapters for languages: adapter_attn_dim is None.",
                next_step="Load a checkpoint that has them, such as facebook/mms-1b-all.",
            )
        if not self.name_or_path:
            raise ConfigurationError(
                f"This {name} was not loaded by name, so its adapters cannot be found.",
                next_step=f"Load it: {name}.from_pretrained(name).",
            )
        if target_lang == getattr(self, "target_lang", None) and not force_load:
            return
        source = locate(self.name_or_path, **take_hub_options(options))
        files = [f"adapter.{target_lang}.{ending}" for ending in ("safetensors", "bin")]
        with open_file(source, *files, why=f"the adapter for the language {target_lang!r}") as weights:
            self._take_adapter({key: weights[key] for key in weights}, files[0])
        self.target_lang = target_lang

    def _take_adapter(self, weights: Mapping[str, Tensor], filename: str) -> None:
        own = {
            key: value
            for key, value in self.state_dict().items()
            if "adapter_layer" in key or key.startswith("lm_head.")
        }
        shapes = {key: tuple(value.shape) for key, value in own.items()}
        rows = weights["lm_head.weight"].shape[0] if "lm_head.weight" in weights else self.config.vocab_size
        shapes |= {key: (rows, *shape[1:]) for key, shape in shapes.items() if key.startswith("lm_head.")}
        wrong = sorted(
            key for key in {*shapes, *weights} if key not in weights or shapes.get(key) != tuple(weights[key].shape)
        )
        if wrong:
            raise CheckpointError(
                f"{filename} does not fit this model: {', '.join(wrong[:5])}{', ...' * (len(wrong) > 5)}.",
                next_step="Use the adapters of the checkpoint that the model was loaded from.",
            )
        head = self.lm_head
        if rows != self.config.vocab_size:
            like = head.weight
            self.lm_head = nn.Linear(head.in_features, rows, device=like.device, dtype=like.dtype)
            self.config.vocab_size = rows
        self.load_state_dict(dict(weights), strict=False)


class Wav2Vec2ForSequenceClassification(Wav2Vec2PreTrainedModel, ForAudioClassification):
    """Wav2Vec2 with one prediction per recording: keywords, languages, speakers, moods.

    Raises:
        ConfigurationError: If the config has an adapter after the encoder.

    Example:
        >>> import torch
        >>> from notebook_kit import Wav2Vec2Config, Wav2Vec2ForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**size, num_labels=3)).eval()
        >>> model(torch.randn(2, 16000)).logits.shape
        torch.Size([2, 3])
    """

    backbone = Wav2Vec2Model

    def __init__(self, config: Wav2Vec2Config) -> None:
        if config.add_adapter:
            raise ConfigurationError(
                "A recording is classified from the encoder's states, without the adapter of add_adapter=True.",
                next_step="Create the model with add_adapter=False.",
            )
        super().__init__(config)


class Wav2Vec2ForPreTrainingOutput(ModelOutput):
    """The output of pre-training.

    Attributes:
        loss: The sum of the two losses, over hidden frames; if `sampled_negative_indices` were passed.
        projected_states: `(batch, frames, proj_codevector_dim)`, the prediction for each frame.
        projected_quantized_states: The same for the codebook's vector nearest to each frame.
        codevector_perplexity: How many entries of the codebook are in use.
        hidden_states, attentions: As in `BaseModelOutput`.
        contrastive_loss: Cross-entropy of recognizing a hidden frame among others.
        diversity_loss: How far the codebook is from being used evenly.

    Example:
        >>> import torch
        >>> Wav2Vec2ForPreTrainingOutput(projected_states=torch.zeros(1, 49, 8))[0].shape
        torch.Size([1, 49, 8])
    """

    loss: Tensor | None = None
    projected_states: Tensor | None = None
    projected_quantized_states: Tensor | None = None
    codevector_perplexity: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    contrastive_loss: Tensor | None = None
    diversity_loss: Tensor | None = None


class CodeScores(nn.Linear):
    """A linear layer with large weights at first, so that codes are chosen with confidence."""


class Quantizer(nn.Module):
    """A codebook in groups: each frame is replaced by one entry of each group, side by side.

    Source: Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017.
    """

    def __init__(self, config) -> None:
        super().__init__()
        self.groups, self.entries = config.num_codevector_groups, config.num_codevectors_per_group
        rows = self.groups * self.entries
        self.codevectors = nn.Parameter(torch.zeros(1, rows, config.codevector_dim // self.groups))
        self.weight_proj = CodeScores(config.conv_dim[-1], rows)
        self.temperature = 2.0

    def forward(self, x: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        """The codebook's vectors, `(batch, frames, codevector_dim)`, and the perplexity over the hidden frames."""
        B, T, _ = x.shape
        scores = self.weight_proj(x).view(B * T, self.groups, self.entries)
        if self.training:
            flat = scores.view(-1, self.entries).float()
            chosen = F.gumbel_softmax(flat, tau=self.temperature, hard=True).type_as(x).view_as(scores)
            use = scores.float().softmax(dim=-1)
        else:
            chosen = use = F.one_hot(scores.argmax(dim=-1), self.entries).type_as(x)
        if hidden is not None:
            use = use[hidden.flatten()]
        share = use.mean(dim=0)
        perplexity = torch.exp(-torch.xlogy(share, share).sum(dim=-1)).sum()
        vectors = self.codevectors.view(self.groups, self.entries, -1)
        return torch.einsum("nge,ged->ngd", chosen, vectors).reshape(B, T, -1), perplexity


class Wav2Vec2ForPreTraining(Wav2Vec2PreTrainedModel):
    """Wav2Vec2 with the head that it was pre-trained with: it recognizes hidden frames among others.

    Args:
        config: Wav2Vec2's settings.

    Example:
        >>> import torch
        >>> from notebook_kit import Wav2Vec2Config, Wav2Vec2ForPreTraining
        >>> tiny = Wav2Vec2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
        >>> model = Wav2Vec2ForPreTraining(tiny).eval()
        >>> hidden = torch.arange(49)[None] % 5 == 0
        >>> others = torch.randint(0, 49, (1, 49, 10))
        >>> out = model(torch.randn(1, 16000), mask_time_indices=hidden, sampled_negative_indices=others)
        >>> out.projected_states.shape, out.loss > 0
        (torch.Size([1, 49, 256]), tensor(True))
    """

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        self.dropout_features = nn.Dropout(config.feat_quantizer_dropout)
        self.quantizer = Quantizer(config)
        self.project_hid = UniformLinear(config.hidden_size, config.proj_codevector_dim)
        self.project_q = UniformLinear(config.codevector_dim, config.proj_codevector_dim)
        self.post_init()

    def set_gumbel_temperature(self, temperature: float) -> None:
        """Set how evenly codebook entries are sampled in training; it is lowered over a run."""
        self.quantizer.temperature = temperature

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        mask_time_indices: Tensor | None = None,
        sampled_negative_indices: Tensor | None = None,
        **options: Unpack[OutputOptions],
    ) -> Wav2Vec2ForPreTrainingOutput:
        """As `Wav2Vec2Model.forward`; the loss requires the frames to hide, and others to tell them from.

        Args:
            input_values: `(batch, samples)`.
            attention_mask: `(batch, samples)`, 1 for sound and 0 for padding.
            mask_time_indices: `(batch, frames)`, 1 for frames to hide.
            sampled_negative_indices: `(batch, frames, others)`, indices into all frames of the batch.
            **options: `output_attentions` and `output_hidden_states`.

        Raises:
            InputError: If there are others to compare with, and no hidden frames.
        """
        hidden = None if mask_time_indices is None else mask_time_indices.bool()
        out = self.wav2vec2(input_values, attention_mask, hidden, return_dict=True, **options)
        predicted = self.project_hid(out.last_hidden_state)
        codes, perplexity = self.quantizer(self.dropout_features(out.extract_features), hidden)
        target = self.project_q(codes.to(self.project_q.weight.dtype))
        losses: dict[str, Tensor] = {}
        if sampled_negative_indices is not None:
            if hidden is None:
                raise InputError(
                    "sampled_negative_indices came without mask_time_indices.", next_step="Pass both, or neither."
                )
            losses = self.losses(predicted, target, sampled_negative_indices, hidden, perplexity)
        return Wav2Vec2ForPreTrainingOutput(
            projected_states=predicted,
            projected_quantized_states=target,
            codevector_perplexity=perplexity,
            hidden_states=out.hidden_states,
            attentions=out.attentions,
            **losses,
        )

    def losses(
        self, predicted: Tensor, target: Tensor, others: Tensor, hidden: Tensor, perplexity: Tensor
    ) -> dict[str, Tensor]:
        """The losses of section 3.2 of the paper, summed over the hidden frames."""
        B, T, C = target.shape
        wrong = target.reshape(-1, C)[others.long().view(-1)].view(B, T, -1, C).permute(2, 0, 1, 3)
        candidates = torch.cat([target[None], wrong])  # (1 + others, batch, frames, width), the right one first
        scores = F.cosine_similarity(predicted.float(), candidates.float(), dim=-1).type_as(target)
        scores = scores / self.config.contrastive_logits_temperature
        same = (target == wrong).all(dim=-1)  # few codes in use: not a wrong answer
        scores = torch.cat([scores[:1], scores[1:].masked_fill(same, -math.inf)])
        right = torch.zeros_like(hidden, dtype=torch.long).masked_fill(~hidden, -100)
        contrastive = F.cross_entropy(scores.float().permute(1, 0, 2), right, reduction="sum")
        entries = self.config.num_codevectors_per_group * self.config.num_codevector_groups
        diversity = (entries - perplexity) / entries * hidden.sum()
        loss = contrastive + self.config.diversity_loss_weight * diversity
        return {"loss": loss, "contrastive_loss": contrastive, "diversity_loss": diversity}
