"""HuBERT: Wav2Vec2's encoder, pre-trained to predict clusters of sounds.

Source: Hsu et al., HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units, 2021.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from notebook_kit.models.wav2vec2 import FeatureProjection, Wav2Vec2Model, Wav2Vec2PreTrainedModel
from notebook_kit.models.wav2vec2_blocks import FrameEncoder, FrameEncoderConfig
from notebook_kit.nn.outputs import BaseModelOutput
from notebook_kit.nn.sound_heads import ForAudioClassification, ForCTC

__all__ = [
    "HubertConfig",
    "HubertForCTC",
    "HubertForSequenceClassification",
    "HubertModel",
    "HubertPreTrainedModel",
]


class HubertConfig(FrameEncoderConfig):
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

    feat_proj_layer_norm: bool = True
    conv_pos_batch_norm: bool = False


class HubertPreTrainedModel(Wav2Vec2PreTrainedModel):
    """What the models of Hubert share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import HubertModel, HubertPreTrainedModel
        >>> issubclass(HubertModel, HubertPreTrainedModel)
        True
    """

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
