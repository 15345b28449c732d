"""AST: ViT's encoder over overlapping patches of a spectrogram.

Source: Gong et al., AST: Audio Spectrogram Transformer, 2021.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, InputError, a_kind
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Size
from notebook_kit.models.vit import ViTEncoder
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.heads import Head, join_output
from notebook_kit.nn.losses import sequence_classification_loss
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

__all__ = [
    "ASTConfig",
    "ASTForAudioClassification",
    "ASTModel",
    "ASTPreTrainedModel",
]


class ASTConfig(PretrainedConfig):
    """AST's settings; the defaults are those of `MIT/ast-finetuned-audioset-10-10-0.4593`.

    Args:
        hidden_size: Width of the residual stream.
        num_hidden_layers: Number of encoder layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        intermediate_size: Width inside the feed-forward block.
        hidden_act: Activation of the feed-forward block.
        hidden_dropout_prob: Dropout after the embeddings and each block.
        attention_probs_dropout_prob: Dropout of attention weights.
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the layer norms.
        patch_size: Side of a patch, in bands and in frames.
        qkv_bias: Whether queries, keys and values have biases.
        frequency_stride, time_stride: Bands and frames from one patch to the next.
        max_length: Frames of a spectrogram.
        num_mel_bins: Bands of a spectrogram.

    Example:
        >>> from notebook_kit import ASTConfig, ASTModel
        >>> tiny = ASTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_length=64)
        >>> ASTModel(tiny).num_parameters(), tiny.grid
        (27424, (12, 5))
    """

    model_type: ClassVar[str] = "audio-spectrogram-transformer"

    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: Fraction = 0.0
    attention_probs_dropout_prob: Fraction = 0.0
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-12
    patch_size: Size = 16
    qkv_bias: bool = True
    frequency_stride: Size = 10
    time_stride: Size = 10
    max_length: Size = 1024
    num_mel_bins: Size = 128

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along the bands, and along the frames."""
        return (
            (self.num_mel_bins - self.patch_size) // self.frequency_stride + 1,
            (self.max_length - self.patch_size) // self.time_stride + 1,
        )

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that a patch fits into a spectrogram."""
        super().validate()
        if self.patch_size > min(self.num_mel_bins, self.max_length):
            raise ConfigurationError(
                f"No patch of {self.patch_size} fits into {self.num_mel_bins} bands and {self.max_length} frames.",
                next_step="Choose a smaller patch_size.",
            )


class ASTEmbeddings(nn.Module):
    """A class token, a distillation token and the patches, each with its position."""

    def __init__(self, config) -> None:
        super().__init__()
        C, side = config.hidden_size, config.patch_size
        rows, columns = config.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, C))
        stride = (config.frequency_stride, config.time_stride)
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(1, C, kernel_size=side, stride=stride)})
        self.position_embeddings = nn.Parameter(torch.zeros(1, rows * columns + 2, C))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, spectrogram: Tensor) -> Tensor:
        image = spectrogram.transpose(1, 2)[:, None]  # (batch, 1, bands, frames)
        patches = self.patch_embeddings["projection"](image.to(self.cls_token.dtype)).flatten(2).transpose(1, 2)
        extra = (token.expand(patches.shape[0], -1, -1) for token in (self.cls_token, self.distillation_token))
        return self.dropout(torch.cat([*extra, patches], dim=1) + self.position_embeddings)


class ASTPreTrainedModel(PreTrainedModel):
    """What the models of AST share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import ASTModel, ASTPreTrainedModel
        >>> issubclass(ASTModel, ASTPreTrainedModel)
        True
    """

    config_class = ASTConfig
    base_model_prefix = "audio_spectrogram_transformer"
    main_input_name = "input_values"
    input_embeddings = ("embeddings.patch_embeddings",)
    audio_spectrogram_transformer: ASTModel  # in the head

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`; tokens and positions start as zeros."""
        if isinstance(module, ASTEmbeddings):
            nn.init.zeros_(getattr(module, name))
        else:
            super().init_parameter(module, name)


class ASTModel(ASTPreTrainedModel):
    """The encoder: a spectrogram in, one vector for each of the two tokens and for each patch out.

    Args:
        config: AST's settings.

    Example:
        >>> import torch
        >>> from notebook_kit import ASTConfig, ASTModel
        >>> tiny = ASTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_length=64)
        >>> out = ASTModel(tiny)(torch.randn(1, 64, 128))
        >>> out.last_hidden_state.shape, out.pooler_output.shape  # two tokens, then 12 x 5 patches
        (torch.Size([1, 62, 32]), torch.Size([1, 32]))
    """

    def __init__(self, config: ASTConfig) -> None:
        super().__init__(config)
        self.embeddings = ASTEmbeddings(config)
        self.encoder = ViTEncoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of spectrograms.

        Args:
            input_values: `(batch, frames, bands)`, from the checkpoint's feature extractor.
            attention_mask: `(batch, tokens)`, 0 for tokens that are not attended to; all 1 by default.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If the input is not a batch of spectrograms of the size that the model has positions for.
        """
        expected = (self.config.max_length, self.config.num_mel_bins)
        if not isinstance(input_values, Tensor) or input_values.dim() != 3 or input_values.shape[1:] != expected:
            given = (
                f"has shape {tuple(input_values.shape)}"
                if isinstance(input_values, Tensor)
                else "is missing"
                if input_values is None
                else f"is {a_kind(input_values)}"
            )
            raise InputError(
                f"input_values {given}; expected a tensor (batch, {expected[0]} frames, {expected[1]} bands).",
                next_step="Call model(**feature_extractor(samples, sampling_rate=16000, return_tensors='pt')).",
            )
        x = self.embeddings(input_values)
        mask = padding_mask(attention_mask, x.dtype, x.shape[:2])
        x, states, attentions = self.encoder(
            x, mask, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        x = self.layernorm(x)
        pooled = (x[:, 0] + x[:, 1]) / 2
        return BaseModelOutputWithPooling(
            last_hidden_state=x, pooler_output=pooled, hidden_states=states, attentions=attentions
        )


class ASTHead(nn.Module):
    """A norm and a linear layer."""

    def __init__(self, config) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dense = nn.Linear(config.hidden_size, config.num_labels) if config.num_labels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.layernorm(x))


class ASTForAudioClassification(ASTPreTrainedModel, Head):
    """AST with one prediction per recording: sounds, music, keywords.

    Example:
        >>> import torch
        >>> from notebook_kit import ASTConfig, ASTForAudioClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = ASTForAudioClassification(ASTConfig(**size, max_length=64, num_labels=3))
        >>> out = model(torch.randn(2, 64, 128), labels=torch.tensor([0, 2]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([2, 3]), tensor(True))
    """

    backbone = ASTModel
    reads = slice(0, 2)
    labels_after = "input_values"

    def build_head(self, config: Any) -> None:
        self.classifier = ASTHead(config)

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> SequenceClassifierOutput:
        """As the backbone's `forward`, with a prediction per recording.

        Args:
            labels: Of the kind that `config.problem_type` names; see `sequence_classification_loss`.
            **inputs: Inputs of the backbone.
        """
        out = self.run_backbone(**inputs)
        logits = self.classifier(out.pooler_output)
        loss = sequence_classification_loss(logits, labels, self.config)
        return join_output(SequenceClassifierOutput, out, loss=loss, logits=logits)
