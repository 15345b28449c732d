"""HuBERT: Wav2Vec2's encoder, pre-trained to predict clusters of sounds.

Source: Hsu et al., HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units, 2021.
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.fields import Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.models.wav2vec2 import FeatureProjection, Wav2Vec2Model, Wav2Vec2PreTrainedModel
from notebook_kit.models.wav2vec2_blocks import FrameEncoder, check_convolutions
from notebook_kit.nn.outputs import BaseModelOutput
from notebook_kit.nn.sound_heads import ForAudioClassification, ForCTC

__all__ = ["HubertConfig", "HubertForCTC", "HubertForSequenceClassification", "HubertModel"]


class HubertConfig(PretrainedConfig):
    """HuBERT's settings; the defaults are those of `facebook/hubert-base-ls960`.

    Args:
        feat_proj_layer_norm: Normalize the convolutions' channels before the encoder.
        conv_pos_batch_norm: Normalize the positional convolution's input by a batch norm, rather than its weight.
        vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size: As in `Wav2Vec2Config`.
        hidden_act, hidden_dropout, activation_dropout, attention_dropout: As in `Wav2Vec2Config`.
        feat_proj_dropout, final_dropout, layerdrop, initializer_range, layer_norm_eps: As in `Wav2Vec2Config`.
        feat_extract_norm, feat_extract_activation, conv_dim, conv_stride, conv_kernel, conv_bias: As in `Wav2Vec2Config`.
        num_conv_pos_embeddings, num_conv_pos_embedding_groups, do_stable_layer_norm: As in `Wav2Vec2Config`.
        apply_spec_augment, mask_time_prob, mask_time_length, mask_time_min_masks: As in `Wav2Vec2Config`.
        mask_feature_prob, mask_feature_length, mask_feature_min_masks: As in `Wav2Vec2Config`.
        ctc_loss_reduction, ctc_zero_infinity, use_weighted_layer_sum, classifier_proj_size: As in `Wav2Vec2Config`.

    Example:
        >>> from notebook_kit import HubertConfig, HubertModel
        >>> tiny = HubertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        ...                     conv_dim=[16, 16], conv_stride=[160, 2], conv_kernel=[400, 3],
        ...                     num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
        >>> HubertModel(tiny).num_parameters()
        29104
    """

    model_type: ClassVar[str] = "hubert"

    vocab_size: Rows = 32
    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: str = "gelu"
    hidden_dropout: Fraction = 0.1
    activation_dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    feat_proj_layer_norm: bool = True
    feat_proj_dropout: Fraction = 0.0
    final_dropout: Fraction = 0.1
    layerdrop: Fraction = 0.1
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-5
    feat_extract_norm: str = "group"
    feat_extract_activation: str = "gelu"
    conv_dim: list[Size] = field(default_factory=lambda: [512] * 7)
    conv_stride: list[Size] = field(default_factory=lambda: [5, 2, 2, 2, 2, 2, 2])
    conv_kernel: list[Size] = field(default_factory=lambda: [10, 3, 3, 3, 3, 2, 2])
    conv_bias: bool = False
    num_conv_pos_embeddings: Size = 128
    num_conv_pos_embedding_groups: Size = 16
    conv_pos_batch_norm: bool = False
    do_stable_layer_norm: bool = False
    apply_spec_augment: bool = True
    mask_time_prob: Fraction = 0.05
    mask_time_length: Size = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: Fraction = 0.0
    mask_feature_length: Size = 10
    mask_feature_min_masks: int = 0
    ctc_loss_reduction: Literal["mean", "sum", "none"] = "sum"
    ctc_zero_infinity: bool = False
    use_weighted_layer_sum: bool = False
    classifier_proj_size: Size = 256
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples per frame: the product of the strides."""
        return math.prod(self.conv_stride)

    @property
    def num_feat_extract_layers(self) -> int:
        """Number of convolutions."""
        return len(self.conv_dim)

    @property
    def state_width(self) -> int:
        """Width of the states that a head reads."""
        return self.hidden_size

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that the convolutions agree."""
        super().validate()
        check_convolutions(self)


class HubertPreTrainedModel(Wav2Vec2PreTrainedModel):
    config_class = HubertConfig
    base_model_prefix = "hubert"
    hubert: HubertModel  # in the heads


class HubertModel(HubertPreTrainedModel, Wav2Vec2Model):
    """The encoder: samples in, one vector per frame of 20 ms out; see `Wav2Vec2Model`.

    Example:
        >>> import torch
        >>> from notebook_kit import HubertConfig, HubertModel
        >>> tiny = HubertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
        >>> HubertModel(tiny).eval()(torch.randn(1, 16000)).last_hidden_state.shape  # one second
        torch.Size([1, 49, 32])
    """

    def build_projection(self, config: Any) -> nn.Module:
        """The layers from the convolutions' channels to the width of the encoder."""
        return FeatureProjection(config, norm=config.feat_proj_layer_norm)

    def build_encoder(self, config: Any) -> FrameEncoder:
        """The encoder."""
        return FrameEncoder(config, batch_norm=config.conv_pos_batch_norm)

    def output(self, x: Tensor, features: Tensor, states: Any, attentions: Any) -> BaseModelOutput:
        """The output with these values."""
        return BaseModelOutput(last_hidden_state=x, hidden_states=states, attentions=attentions)

    def augmented(self, x: Tensor, hidden: Tensor | None, sound: Tensor | None) -> Tensor:
        """As in Wav2Vec2; spans may also begin in the padding, as in the original."""
        return super().augmented(x, hidden, None)


class HubertForCTC(HubertPreTrainedModel, ForCTC):
    """HuBERT with scores of letters at each frame: speech recognition.

    Example:
        >>> import torch
        >>> from notebook_kit import HubertConfig, HubertForCTC
        >>> tiny = HubertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
        >>> out = HubertForCTC(tiny).eval()(torch.randn(2, 16000), labels=torch.tensor([[7, 8, 9], [5, -100, -100]]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([2, 49, 32]), tensor(True))
    """

    backbone = HubertModel


class HubertForSequenceClassification(HubertPreTrainedModel, ForAudioClassification):
    """HuBERT with one prediction per recording: keywords, languages, speakers, moods.

    Example:
        >>> import torch
        >>> from notebook_kit import HubertConfig, HubertForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = HubertForSequenceClassification(HubertConfig(**size, num_labels=3)).eval()
        >>> model(torch.randn(2, 16000)).logits.shape
        torch.Size([2, 3])
    """

    backbone = HubertModel
