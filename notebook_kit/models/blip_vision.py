"""BLIP's model for images: a transformer whose tokens are patches, after a class token.

Source: Li et al., BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and Generation, 2022.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import ENCODER_RULES
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Size
from notebook_kit.models.clip_blocks import CLIPEncoder, CLIPLayer
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.layers import merge_heads
from notebook_kit.nn.outputs import BaseModelOutputWithPooling
from notebook_kit.nn.patches import PatchConvolution, check_sides

__all__ = ["BlipVisionConfig", "BlipVisionModel"]


class BlipVisionConfig(PretrainedConfig):
    """The settings of BLIP's model for images; the defaults are those of `Salesforce/blip-vqa-base`.

    Args:
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside the feed-forward block.
        projection_dim: Kept for other libraries.
        num_hidden_layers: Number of layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        image_size: Side of an image in pixels, or `[height, width]`.
        patch_size: Side of a patch in pixels, or `[height, width]`.
        hidden_act: Activation of the feed-forward block.
        layer_norm_eps: Epsilon of the layer norms.
        attention_dropout: Dropout of attention weights.
        initializer_range: Standard deviation of the initial weights.

    Example:
        >>> from notebook_kit import BlipVisionConfig
        >>> BlipVisionConfig(num_hidden_layers=2).patch_size
        16
    """

    model_type: ClassVar[str] = "blip_vision_model"
    base_config_key: ClassVar[str] = "vision_config"
    num_channels: ClassVar[int] = 3

    hidden_size: Size = 768
    intermediate_size: Size = 3072
    projection_dim: Size = 512
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    image_size: Size | list[int] = 384
    patch_size: Size | list[int] = 16
    hidden_act: Activation = "gelu"
    layer_norm_eps: NonNegative = 1e-5
    attention_dropout: Fraction = 0.0
    initializer_range: NonNegative = 1e-10

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that patches fit into an image."""
        super().validate()
        check_sides(self)


class BlipAttention(nn.Module):
    """Multi-head self-attention with one layer for queries, keys and values: `(batch, positions, width)` to the same."""

    def __init__(self, config) -> None:
        super().__init__()
        C = config.hidden_size
        self.heads, self.dropout = config.num_attention_heads, config.attention_dropout
        self.qkv = nn.Linear(C, 3 * C)
        self.projection = nn.Linear(C, C)

    def forward(self, x: Tensor, mask: Tensor | None, is_causal: bool, site: AttentionSite) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        return self.projection(
            merge_heads(attend(q, k, v, site=site, mask=mask, dropout=self.dropout if self.training else 0.0))
        )


class BlipVisionLayer(CLIPLayer):
    """A layer of CLIP with BLIP's attention."""

    attention_class = BlipAttention


class BlipVisionEncoder(CLIPEncoder):
    """The stack of layers."""

    layer_class = BlipVisionLayer


class BlipVisionEmbeddings(nn.Module):
    """A class token and the patches, each with its position: `(batch, channels, height, width)` to `(batch, tokens, width)`."""

    def __init__(self, config) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.patch_embedding = PatchConvolution(config)
        self.position_embedding = nn.Parameter(torch.zeros(1, self.patch_embedding.num_patches + 1, config.hidden_size))

    def forward(self, pixel_values: Any, interpolate: bool) -> Tensor:
        patches = self.patch_embedding(pixel_values)
        x = torch.cat([self.class_embedding.expand(patches.shape[0], -1, -1), patches], dim=1)
        return x + self.patch_embedding.resized(self.position_embedding[0], pixel_values, interpolate)


class BlipVisionModel(PreTrainedModel):
    """BLIP's transformer for images: pixels in, one vector for a class token and for each patch out.

    Example:
        >>> import torch
        >>> from notebook_kit import BlipVisionConfig, BlipVisionModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> BlipVisionModel(BlipVisionConfig(**size, image_size=32, patch_size=8))(torch.rand(1, 3, 32, 32))[0].shape
        torch.Size([1, 17, 32])
    """

    config_class = BlipVisionConfig
    base_model_prefix = "vision_model"
    main_input_name = "pixel_values"
    input_embeddings = ("embeddings.patch_embedding",)
    weight_rules = ENCODER_RULES

    def __init__(self, config: BlipVisionConfig) -> None:
        super().__init__(config)
        self.embeddings = BlipVisionEmbeddings(config)
        self.encoder = BlipVisionEncoder(config, "patches")
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of images; the arguments are those of `CLIPVisionModel.forward`."""
        x, states, attentions = self.encoder(
            self.embeddings(pixel_values, bool(interpolate_pos_encoding)),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        x = self.post_layernorm(x)
        pooled = self.post_layernorm(x[:, 0])  # normed twice, as in training
        return BaseModelOutputWithPooling(
            last_hidden_state=x, pooler_output=pooled, hidden_states=states, attentions=attentions
        )
