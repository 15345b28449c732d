"""DINOv2: a ViT with scaled residual branches, pre-trained without labels for features that serve many tasks.

Source: Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, 2023.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Range, Size
from notebook_kit.models.vit import ViTAttention, ViTEmbeddings, ViTEncoder
from notebook_kit.nn.attention import AttentionSite
from notebook_kit.nn.backbone import Backbone, BackboneConfig
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.image_heads import ForImageClassification, linear_classifier
from notebook_kit.nn.layers import DropPath, activated, activation
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BackboneOutput, BaseModelOutputWithPooling
from notebook_kit.nn.patches import Grid, as_map, check_sides
from notebook_kit.nn.rows import select_rows

__all__ = [
    "Dinov2Backbone",
    "Dinov2Config",
    "Dinov2ForImageClassification",
    "Dinov2Model",
    "Dinov2PreTrainedModel",
]


class Dinov2Config(BackboneConfig):
    """DINOv2's settings; the defaults are those of `facebook/dinov2-base`, but for images of 224 pixels.

    Args:
        hidden_size: Width of the residual stream.
        num_hidden_layers: Number of encoder layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        mlp_ratio: Width inside the feed-forward block, as a multiple of `hidden_size`.
        hidden_act: Activation of the feed-forward block.
        hidden_dropout_prob: Dropout after the embeddings.
        attention_probs_dropout_prob: Dropout of attention weights.
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the layer norms.
        image_size: Side of an image in pixels, or `[height, width]`; others are accepted, with positions interpolated.
        patch_size: Side of a patch in pixels, or `[height, width]`.
        num_channels: Channels of an image.
        qkv_bias: Whether queries, keys and values have biases.
        layerscale_value: Initial factor of the residual branches.
        drop_path_rate: Probability of leaving a residual branch out in training.
        use_swiglu_ffn: Gate the feed-forward block, as in the giant model.
        out_features: See `BackboneConfig`.
        out_indices: See `BackboneConfig`.
        apply_layernorm: Whether a backbone norms its feature maps.
        reshape_hidden_states: Whether feature maps are `(batch, width, rows, columns)`, or else `(batch, tokens, width)`.
        use_mask_token: Have a token for masked patches.

    Example:
        >>> from notebook_kit import Dinov2Config
        >>> Dinov2Config(num_hidden_layers=2, out_indices=[1, 2]).out_features
        ['stage1', 'stage2']
    """

    model_type: ClassVar[str] = "dinov2"

    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    mlp_ratio: Annotated[float, Range(0, 1_000)] = 4
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: Fraction = 0.0
    attention_probs_dropout_prob: Fraction = 0.0
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-6
    image_size: Size | list[int] = 224
    patch_size: Size | list[int] = 14
    num_channels: Size = 3
    qkv_bias: bool = True
    layerscale_value: float = 1.0
    drop_path_rate: Fraction = 0.0
    use_swiglu_ffn: bool = False
    apply_layernorm: bool = True
    reshape_hidden_states: bool = True
    use_mask_token: bool = True

    @property
    def stage_count(self) -> int:
        """Every layer is a stage."""
        return self.num_hidden_layers

    def validate(self) -> None:
        """As in `BackboneConfig`, and that patches fit into an image."""
        super().validate()
        check_sides(self)


# Blocks --------------------------------------------------------------------------------------------------------------


class Dinov2LayerScale(nn.Module):
    """A learned factor per channel of a residual branch."""

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.full((config.hidden_size,), float(config.layerscale_value)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.lambda1


class Dinov2MLP(nn.Module):
    """The feed-forward block."""

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__()
        inner = int(config.hidden_size * config.mlp_ratio)
        self.fc1 = nn.Linear(config.hidden_size, inner)
        self.fc2 = nn.Linear(inner, config.hidden_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(activated(self.fc1, self.activation, x))


class Dinov2GatedMLP(nn.Module):
    """The feed-forward block with a gate; two thirds as wide, rounded up to a multiple of eight.

    Source: Shazeer, GLU Variants Improve Transformer, 2020.
    """

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__()
        inner = (int(int(config.hidden_size * config.mlp_ratio) * 2 / 3) + 7) // 8 * 8
        self.weights_in = nn.Linear(config.hidden_size, 2 * inner)
        self.weights_out = nn.Linear(inner, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        gate, hidden = self.weights_in(x).chunk(2, dim=-1)
        return self.weights_out(F.silu(gate) * hidden)


class Dinov2Layer(nn.Module):
    """Attention, then a feed-forward block, each after a layer norm, scaled, and beside a residual connection."""

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = ViTAttention(config)
        self.layer_scale1 = Dinov2LayerScale(config)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Dinov2GatedMLP(config) if config.use_swiglu_ffn else Dinov2MLP(config)
        self.layer_scale2 = Dinov2LayerScale(config)
        self.drop_path = DropPath(config.drop_path_rate)

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite, rows: slice | None = None) -> Tensor:
        attended = self.attention(self.norm1(x), mask, site, rows)
        x = select_rows(x, rows) + self.drop_path(self.layer_scale1(attended))
        return x + self.drop_path(self.layer_scale2(self.mlp(self.norm2(x))))


class Dinov2Encoder(ViTEncoder):
    """The stack of layers."""

    layer_class = Dinov2Layer


# The backbone --------------------------------------------------------------------------------------------------------


class Dinov2PreTrainedModel(PreTrainedModel):
    """What the models of Dinov2 share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import Dinov2Model, Dinov2PreTrainedModel
        >>> issubclass(Dinov2Model, Dinov2PreTrainedModel)
        True
    """

    config_class = Dinov2Config
    base_model_prefix = "dinov2"
    main_input_name = "pixel_values"
    input_embeddings = ("embeddings.patch_embeddings",)
    embeddings_class: ClassVar[type[ViTEmbeddings]] = ViTEmbeddings
    dinov2: Dinov2Model  # in the heads
    weight_rules = WeightRules(optional=(r"embeddings\.mask_token$",))

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`; the mask token starts as zeros, and scales as the configuration says."""
        if name == "mask_token":
            nn.init.zeros_(getattr(module, name))
        elif isinstance(module, Dinov2LayerScale):
            nn.init.constant_(getattr(module, name), self.config.layerscale_value)
        else:
            super().init_parameter(module, name)

    @property
    def extra_tokens(self) -> int:
        """The number of tokens before the patches: the class token."""
        return 1

    def build_layers(self, config: Dinov2Config) -> None:
        """Create the embeddings, the encoder and the last norm."""
        self.embeddings = self.embeddings_class(config, use_mask_token=False)
        if config.use_mask_token:
            self.embeddings.mask_token = nn.Parameter(torch.zeros(1, config.hidden_size))
        self.encoder = Dinov2Encoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def encode(
        self,
        pixel_values: Tensor | None,
        bool_masked_pos: Tensor | None,
        attention_mask: Tensor | None,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
    ):
        """The last hidden state before the norm, all hidden states or None, all attention weights or None."""
        x = self.embeddings(pixel_values, bool_masked_pos, interpolate=True)
        mask = padding_mask(attention_mask, x.dtype, x.shape[:2])
        return self.encoder(x, mask, output_attentions=output_attentions, output_hidden_states=output_hidden_states)


class Dinov2Model(Dinov2PreTrainedModel):
    """The encoder: pixels of images of any size in, one vector for the class token and for each patch out.

    Example:
        >>> import torch
        >>> from notebook_kit import Dinov2Config, Dinov2Model
        >>> tiny = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8)
        >>> out = Dinov2Model(tiny)(torch.rand(1, 3, 32, 48))
        >>> out.last_hidden_state.shape, out.pooler_output.shape  # the class token, then 4 x 6 patches
        (torch.Size([1, 25, 32]), torch.Size([1, 32]))
    """

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__(config)
        self.build_layers(config)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        bool_masked_pos: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of images.

        Args:
            pixel_values: `(batch, channels, height, width)`, from the checkpoint's image processor; of any size.
            bool_masked_pos: `(batch, patches)`, 1 for a patch to hide, row by row.
            attention_mask: `(batch, tokens)`, 0 for tokens that are not attended to; all 1 by default.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If `pixel_values` or a mask does not have this shape.
        """
        x, states, attentions = self.encode(
            pixel_values, bool_masked_pos, attention_mask, output_attentions, output_hidden_states
        )
        x = self.layernorm(x)
        return BaseModelOutputWithPooling(
            last_hidden_state=x, pooler_output=x[:, 0], hidden_states=states, attentions=attentions
        )


# Heads ---------------------------------------------------------------------------------------------------------------


class Dinov2ForImageClassification(Dinov2PreTrainedModel, ForImageClassification):
    """DINOv2 with a linear layer on the class token and the mean of the patches: one prediction per image.

    Example:
        >>> import torch
        >>> from notebook_kit import Dinov2Config, Dinov2ForImageClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
        >>> model = Dinov2ForImageClassification(Dinov2Config(**size, num_labels=3))
        >>> model(torch.rand(2, 3, 32, 32), labels=torch.tensor([0, 2])).logits.shape
        torch.Size([2, 3])
    """

    backbone = Dinov2Model

    def build_head(self, config: Dinov2Config) -> None:
        self.classifier = linear_classifier(2 * config.hidden_size, config.num_labels)

    def compute_logits(self, out) -> Tensor:
        states = out.last_hidden_state
        return self.classifier(torch.cat([states[:, 0], states[:, self.extra_tokens :].mean(dim=1)], dim=1))


class Dinov2Backbone(Dinov2PreTrainedModel, Backbone):
    """DINOv2 for a detector or a segmenter: the states after the layers that the configuration names, as maps.

    Example:
        >>> import torch
        >>> from notebook_kit import Dinov2Backbone, Dinov2Config
        >>> size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
        >>> maps = Dinov2Backbone(Dinov2Config(**size, out_indices=[1, 2]))(torch.rand(1, 3, 32, 48)).feature_maps
        >>> [tuple(one.shape) for one in maps]
        [(1, 32, 4, 6), (1, 32, 4, 6)]
    """

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__(config)
        self.num_features = [config.hidden_size] * (config.num_hidden_layers + 1)
        self.build_layers(config)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BackboneOutput:
        """As `Dinov2Model.forward`, with `feature_maps`."""
        _, states, attentions = self.encode(pixel_values, None, attention_mask, output_attentions, True)
        grid = self.embeddings.patch_embeddings.grid_of(*pixel_values.shape[-2:])  # type: ignore[union-attr]
        return BackboneOutput(
            feature_maps=tuple(self.to_map(state, grid) for _, state in self.selected(states)),
            hidden_states=states if self.wants_states(output_hidden_states) else None,
            attentions=attentions,
        )

    def to_map(self, state: Tensor, grid: Grid) -> Tensor:
        """The state of a layer `(batch, tokens, width)`, in the form that the configuration asks for."""
        if self.config.apply_layernorm:
            state = self.layernorm(state)
        if not self.config.reshape_hidden_states:
            return state
        return as_map(state[:, self.extra_tokens :], grid)
