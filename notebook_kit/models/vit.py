"""ViT: a transformer encoder whose tokens are patches of an image, after a class token.

Source: Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, 2021.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Size
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.image_heads import ForImageClassification, ForMaskedImageModeling
from notebook_kit.nn.layers import OutputOptions, activated, activation, merge_heads, run_layers, split_heads
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPooling
from notebook_kit.nn.patches import PatchEmbeddings, check_sides, mask_patches, resize_positions
from notebook_kit.nn.rows import select_rows

__all__ = [
    "ViTConfig",
    "ViTForImageClassification",
    "ViTForMaskedImageModeling",
    "ViTModel",
    "ViTPreTrainedModel",
]


class ViTConfig(PretrainedConfig):
    """ViT's settings; the defaults are those of `google/vit-base-patch16-224`.

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
        image_size: Side of an image in pixels, or `[height, width]`.
        patch_size: Side of a patch in pixels, or `[height, width]`.
        num_channels: Channels of an image.
        qkv_bias: Whether queries, keys and values have biases.
        encoder_stride: Side of the square of pixels that masked image modeling predicts from each patch.
        pooler_output_size: Width of `pooler_output`; `hidden_size` by default.
        pooler_act: Activation of the pooler.

    Example:
        >>> from notebook_kit import ViTConfig, ViTModel
        >>> tiny = ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8)
        >>> ViTModel(tiny).num_parameters()
        24960
    """

    model_type: ClassVar[str] = "vit"

    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: Fraction = 0.0
    attention_probs_dropout_prob: Fraction = 0.0
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-12
    image_size: Size | list[int] = 224
    patch_size: Size | list[int] = 16
    num_channels: Size = 3
    qkv_bias: bool = True
    encoder_stride: Size = 16
    pooler_output_size: Size | None = None
    pooler_act: Activation = "tanh"

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that patches fit into an image."""
        super().validate()
        check_sides(self)
        self.pooler_output_size = self.pooler_output_size or self.hidden_size


# Blocks, which DeiT, DINOv2 and YOLOS share in part ------------------------------------------------------------------


class ViTEmbeddings(nn.Module):
    """A class token and the patches, each with its position: `(batch, channels, height, width)` to `(batch, tokens, width)`."""

    antialias: ClassVar[bool] = False
    """Whether positions are smoothed when they are interpolated for fewer patches."""

    def __init__(self, config, use_mask_token: bool) -> None:
        super().__init__()
        C = config.hidden_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, C)) if use_mask_token else None
        self.patch_embeddings = PatchEmbeddings(config)
        self.position_embeddings = nn.Parameter(torch.zeros(1, self.patch_embeddings.num_patches + 1, C))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        patches = mask_patches(self.patch_embeddings(pixel_values), bool_masked_pos, self.mask_token)
        x = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        return self.dropout(x + self.positions(pixel_values, interpolate))

    def positions(self, pixel_values: Tensor, interpolate: bool) -> Tensor:
        """The position embeddings, `(1, tokens, width)`."""
        if not interpolate:
            self.patch_embeddings.check_image_size(pixel_values)
            return self.position_embeddings
        grid = self.patch_embeddings.grid_of(*pixel_values.shape[-2:])
        extra = self.position_embeddings.shape[1] - self.patch_embeddings.num_patches
        return resize_positions(self.position_embeddings, self.patch_embeddings.grid, grid, extra, self.antialias)


class ViTSelfAttention(nn.Module):
    """Multi-head self-attention without the output projection."""

    def __init__(self, config) -> None:
        super().__init__()
        C = config.hidden_size
        self.heads = config.num_attention_heads
        self.query = nn.Linear(C, C, bias=config.qkv_bias)
        self.key = nn.Linear(C, C, bias=config.qkv_bias)
        self.value = nn.Linear(C, C, bias=config.qkv_bias)
        self.dropout = config.attention_probs_dropout_prob

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite, rows: slice | None = None) -> Tensor:
        q = split_heads(self.query(select_rows(x, rows)), self.heads)
        k, v = (split_heads(project(x), self.heads) for project in (self.key, self.value))
        dropout = self.dropout if self.training else 0.0
        return merge_heads(attend(q, k, v, site=site, mask=mask, dropout=dropout))


class ViTAttention(nn.Module):
    """Self-attention with its output projection: `(batch, tokens, width)` to the same."""

    def __init__(self, config) -> None:
        super().__init__()
        self.attention = ViTSelfAttention(config)
        self.output = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.hidden_size)})

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite, rows: slice | None = None) -> Tensor:
        return self.output["dense"](self.attention(x, mask, site, rows))


class ViTLayer(nn.Module):
    """Attention, then a feed-forward block, each after a layer norm and beside a residual connection."""

    def __init__(self, config) -> None:
        super().__init__()
        self.attention = ViTAttention(config)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.intermediate_size)})
        self.output = nn.ModuleDict({"dense": nn.Linear(config.intermediate_size, config.hidden_size)})
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.activation = activation(config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite, rows: slice | None = None) -> Tensor:
        x = select_rows(x, rows) + self.dropout(self.attention(self.layernorm_before(x), mask, site, rows))
        hidden = activated(self.intermediate["dense"], self.activation, self.layernorm_after(x))
        return x + self.dropout(self.output["dense"](hidden))


class ViTEncoder(nn.Module):
    """The stack of layers."""

    layer_class: ClassVar[type[nn.Module]] = ViTLayer

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.ModuleList(self.layer_class(config) for _ in range(config.num_hidden_layers))
        self.sites = [
            AttentionSite(index, config.num_attention_heads, rows="patches")
            for index in range(config.num_hidden_layers)
        ]

    def forward(self, x: Tensor, mask: Tensor | None, **options: Unpack[OutputOptions]):
        return run_layers(self, self.layer, self.sites, x, mask, **options)


class ViTPooler(nn.Module):
    """A layer on the class token's state: one vector per image, `(batch, pooler_output_size)`."""

    def __init__(self, config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.pooler_output_size)
        self.activation = activation(config.pooler_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(x[:, 0]))


# The backbone --------------------------------------------------------------------------------------------------------


class ViTPreTrainedModel(PreTrainedModel):
    """What the models of ViT share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import ViTModel, ViTPreTrainedModel
        >>> issubclass(ViTModel, ViTPreTrainedModel)
        True
    """

    config_class = ViTConfig
    base_model_prefix = "vit"
    main_input_name = "pixel_values"
    input_embeddings = ("embeddings.patch_embeddings",)
    vit: ViTModel  # in the heads
    weight_rules = WeightRules(optional=(r"(^|\.)pooler\.", r"embeddings\.mask_token$"))

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`; the mask token starts as zeros."""
        if name == "mask_token":
            nn.init.zeros_(getattr(module, name))
        else:
            super().init_parameter(module, name)


class ViTModel(ViTPreTrainedModel):
    """The encoder: pixels in, one vector for the class token and for each patch out.

    Args:
        config: ViT's settings.
        add_pooling_layer: Also compute `pooler_output`.
        use_mask_token: Have a token for masked patches.

    Example:
        >>> import torch
        >>> from notebook_kit import ViTConfig, ViTModel
        >>> tiny = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8)
        >>> out = ViTModel(tiny)(torch.rand(1, 3, 32, 32))
        >>> out.last_hidden_state.shape, out.pooler_output.shape  # the class token, then 4 x 4 patches
        (torch.Size([1, 17, 32]), torch.Size([1, 32]))
    """

    embeddings_class: ClassVar[type[ViTEmbeddings]] = ViTEmbeddings

    def __init__(self, config: ViTConfig, add_pooling_layer: bool = True, use_mask_token: bool = False) -> None:
        super().__init__(config)
        self.embeddings = self.embeddings_class(config, use_mask_token)
        self.encoder = ViTEncoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = ViTPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of images.

        Args:
            pixel_values: `(batch, channels, height, width)`, from the checkpoint's image processor.
            bool_masked_pos: `(batch, patches)`, 1 for a patch to hide, row by row.
            interpolate_pos_encoding: Accept images of any size, with positions interpolated.
            attention_mask: `(batch, tokens)`, 0 for tokens that are not attended to; all 1 by default.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If `pixel_values` or a mask does not have this shape, or the images are not of the size that the
                model has positions for.
        """
        x = self.embeddings(pixel_values, bool_masked_pos, bool(interpolate_pos_encoding))
        mask = padding_mask(attention_mask, x.dtype, x.shape[:2])
        x, states, attentions = self.encoder(
            x, mask, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        x = self.layernorm(x)
        return BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=None if self.pooler is None else self.pooler(x),
            hidden_states=states,
            attentions=attentions,
        )


# Heads ---------------------------------------------------------------------------------------------------------------


class ViTForImageClassification(ViTPreTrainedModel, ForImageClassification):
    """ViT with a linear layer on the class token: one prediction per image.

    Example:
        >>> import torch
        >>> from notebook_kit import ViTConfig, ViTForImageClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = ViTForImageClassification(ViTConfig(**size, image_size=32, patch_size=8, num_labels=3))
        >>> out = model(torch.rand(2, 3, 32, 32), labels=torch.tensor([0, 2]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([2, 3]), tensor(True))
        >>> model(torch.rand(1, 3, 48, 40), interpolate_pos_encoding=True).logits.shape  # an image of another size
        torch.Size([1, 3])
    """

    backbone = ViTModel


class ViTForMaskedImageModeling(ViTPreTrainedModel, ForMaskedImageModeling):
    """ViT with a head that predicts the pixels of hidden patches.

    Example:
        >>> import torch
        >>> from notebook_kit import ViTConfig, ViTForMaskedImageModeling
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = ViTForMaskedImageModeling(ViTConfig(**size, image_size=32, patch_size=8, encoder_stride=8))
        >>> out = model(torch.rand(1, 3, 32, 32), bool_masked_pos=torch.arange(16)[None] < 5)
        >>> out.reconstruction.shape, out.loss > 0
        (torch.Size([1, 3, 32, 32]), tensor(True))
    """

    backbone = ViTModel
