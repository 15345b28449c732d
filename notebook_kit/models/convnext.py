"""ConvNeXt: a convolutional network with the proportions of a Swin transformer.

Source: Liu et al., A ConvNet for the 2020s, 2022.
"""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.errors import ConfigurationError
from notebook_kit.fields import Activation, Fraction, NonNegative, Size
from notebook_kit.nn.backbone import Backbone, BackboneConfig
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.image_heads import ForImageClassification, linear_classifier
from notebook_kit.nn.layers import DropPath, activated, activation, stochastic_depths
from notebook_kit.nn.outputs import (
    BackboneOutput,
    BaseModelOutputWithPoolingAndNoAttention,
    ImageClassifierOutputWithNoAttention,
)
from notebook_kit.nn.patches import check_pixels, check_sides, sides

__all__ = [
    "ConvNextBackbone",
    "ConvNextConfig",
    "ConvNextForImageClassification",
    "ConvNextModel",
    "ConvNextPreTrainedModel",
]


class ConvNextConfig(BackboneConfig):
    """ConvNeXt's settings; the defaults are those of `facebook/convnext-tiny-224`.

    Args:
        num_channels: Channels of an image.
        patch_size: Side of the squares of pixels that the stem reads, or `[height, width]`.
        num_stages: Number of stages.
        hidden_sizes: Channels of each stage.
        depths: Number of layers of each stage.
        hidden_act: Activation.
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the last norm.
        layer_scale_init_value: Initial factor of the residual branches; 0 for none.
        drop_path_rate: Probability of leaving the last residual branch out in training; earlier ones grow from 0.
        image_size: Side of an image in pixels; images of other sizes are accepted.
        out_features: See `BackboneConfig`.
        out_indices: See `BackboneConfig`.

    Example:
        >>> from notebook_kit import ConvNextConfig
        >>> ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1]).stage_names
        ['stem', 'stage1', 'stage2']
    """

    model_type: ClassVar[str] = "convnext"
    attribute_map: ClassVar[dict[str, str]] = {"num_hidden_layers": "num_stages"}

    num_channels: Size = 3
    patch_size: Size | list[int] = 4
    num_stages: Size = 4
    hidden_sizes: list[int] = field(default_factory=lambda: [96, 192, 384, 768])
    depths: list[int] = field(default_factory=lambda: [3, 3, 9, 3])
    hidden_act: Activation = "gelu"
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-12
    layer_scale_init_value: NonNegative = 1e-6
    drop_path_rate: Fraction = 0.0
    image_size: Size | list[int] = 224

    def validate(self) -> None:
        """As in `BackboneConfig`, and that each stage has a width and a depth."""
        super().validate()
        check_sides(self)
        widths, depths = self.hidden_sizes, self.depths
        if not len(widths) == len(depths) == self.num_stages or min(widths) < 1 or min(depths) < 1:
            raise ConfigurationError(
                f"ConvNextConfig: hidden_sizes is {widths}, depths is {depths}, and num_stages is {self.num_stages}.",
                next_step="Pass a number of channels and a number of layers (at least 1) for each stage.",
            )


# Blocks --------------------------------------------------------------------------------------------------------------


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of a map, `(batch, channels, height, width)`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextEmbeddings(nn.Module):
    """The stem: pixels `(batch, channels, height, width)` to a map with one position per square of `patch_size`."""

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__()
        self.channels, patch = config.num_channels, sides(config.patch_size)
        self.patch_embeddings = nn.Conv2d(config.num_channels, config.hidden_sizes[0], patch, stride=patch)
        self.layernorm = ChannelNorm(config.hidden_sizes[0], eps=1e-6)

    def forward(self, pixel_values: Tensor) -> Tensor:
        check_pixels(pixel_values, self.channels)
        return self.layernorm(self.patch_embeddings(pixel_values))


class ConvNextLayer(nn.Module):
    """A wide convolution per channel, then a feed-forward block per position, beside a residual connection."""

    def __init__(self, config: ConvNextConfig, width: int, drop_path: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, kernel_size=7, padding=3, groups=width)
        self.layernorm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)
        scale = float(config.layer_scale_init_value)
        self.layer_scale_parameter = nn.Parameter(torch.full((width,), scale)) if scale else None
        self.activation = activation(config.hidden_act)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layernorm(self.dwconv(x).permute(0, 2, 3, 1))  # (B, H, W, C), in which linear layers are fast
        hidden = self.pwconv2(activated(self.pwconv1, self.activation, hidden))
        if self.layer_scale_parameter is not None:
            hidden = self.layer_scale_parameter * hidden
        return x + self.drop_path(hidden.permute(0, 3, 1, 2))


class ConvNextStage(nn.Module):
    """Layers of one width, after a convolution that halves the resolution; without `inputs`, layers alone."""

    def __init__(self, config: ConvNextConfig, inputs: int, outputs: int, drop_paths: list[float]) -> None:
        super().__init__()
        self.downsampling_layer = nn.ModuleList()
        if inputs:
            halve = nn.Conv2d(inputs, outputs, kernel_size=2, stride=2)
            self.downsampling_layer.extend([ChannelNorm(inputs, eps=1e-6), halve])
        self.layers = nn.ModuleList(ConvNextLayer(config, outputs, rate) for rate in drop_paths)

    def forward(self, x: Tensor) -> Tensor:
        for part in (*self.downsampling_layer, *self.layers):
            x = part(x)
        return x


class ConvNextEncoder(nn.Module):
    """The stages."""

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__()
        rates = stochastic_depths(config.drop_path_rate, sum(config.depths))
        self.stages = nn.ModuleList()
        inputs = 0  # the first stage keeps the width and the resolution of the stem
        for outputs, depth in zip(config.hidden_sizes, config.depths, strict=True):
            self.stages.append(ConvNextStage(config, inputs, outputs, rates[:depth]))
            inputs, rates = outputs, rates[depth:]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The input and the output of each stage."""
        states = [x]
        for stage in self.stages:
            states.append(stage(states[-1]))
        return tuple(states)


# The backbone --------------------------------------------------------------------------------------------------------


class ConvNextPreTrainedModel(PreTrainedModel):
    """What the models of ConvNext share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import ConvNextModel, ConvNextPreTrainedModel
        >>> issubclass(ConvNextModel, ConvNextPreTrainedModel)
        True
    """

    config_class = ConvNextConfig
    base_model_prefix = "convnext"
    main_input_name = "pixel_values"
    input_embeddings = ("embeddings.patch_embeddings",)
    convnext: ConvNextModel  # in the heads

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`; scales start as the configuration says."""
        if isinstance(module, ConvNextLayer):
            nn.init.constant_(getattr(module, name), self.config.layer_scale_init_value)
        else:
            super().init_parameter(module, name)


class ConvNextModel(ConvNextPreTrainedModel):
    """The network without a head: pixels in, a map of features out, and its normed mean.

    Example:
        >>> import torch
        >>> from notebook_kit import ConvNextConfig, ConvNextModel
        >>> tiny = ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1])
        >>> out = ConvNextModel(tiny)(torch.rand(1, 3, 32, 48))
        >>> out.last_hidden_state.shape, out.pooler_output.shape
        (torch.Size([1, 16, 4, 6]), torch.Size([1, 16]))
    """

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__(config)
        self.embeddings = ConvNextEmbeddings(config)
        self.encoder = ConvNextEncoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_sizes[-1], eps=config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPoolingAndNoAttention:
        """Compute the features of a batch of images.

        Args:
            pixel_values: `(batch, channels, height, width)`, from the checkpoint's image processor; of any size.
            output_attentions: Accepted as in other families; there is no attention.
            output_hidden_states: Return the output of the stem and of every stage.

        Raises:
            InputError: If `pixel_values` does not have this shape.
        """
        states = self.encoder(self.embeddings(pixel_values))
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=states[-1],
            pooler_output=self.layernorm(states[-1].mean((-2, -1))),
            hidden_states=states if wanted else None,
        )


# Heads ---------------------------------------------------------------------------------------------------------------


class ConvNextForImageClassification(ConvNextPreTrainedModel, ForImageClassification):
    """ConvNeXt with a linear layer on the mean of its last map: one prediction per image.

    Example:
        >>> import torch
        >>> from notebook_kit import ConvNextConfig, ConvNextForImageClassification
        >>> tiny = ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
        >>> out = ConvNextForImageClassification(tiny)(torch.rand(2, 3, 32, 48), labels=torch.tensor([0, 2]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([2, 3]), tensor(True))
    """

    backbone = ConvNextModel
    output_class = ImageClassifierOutputWithNoAttention

    def build_head(self, config: ConvNextConfig) -> None:
        self.classifier = linear_classifier(config.hidden_sizes[-1], config.num_labels)

    def compute_logits(self, out) -> Tensor:
        return self.classifier(out.pooler_output)


class ConvNextBackbone(ConvNextPreTrainedModel, Backbone):
    """ConvNeXt for a detector or a segmenter: the normed maps of the stages that the configuration names.

    Example:
        >>> import torch
        >>> from notebook_kit import ConvNextBackbone, ConvNextConfig
        >>> tiny = ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1], out_indices=[1, 2])
        >>> [tuple(one.shape) for one in ConvNextBackbone(tiny)(torch.rand(1, 3, 32, 48)).feature_maps]
        [(1, 8, 8, 12), (1, 16, 4, 6)]
    """

    weight_rules = WeightRules(optional=(r"hidden_states_norms\.",), unused=(r"^(convnext\.)?layernorm\.",))

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__(config)
        self.num_features = [config.hidden_sizes[0], *config.hidden_sizes]
        self.embeddings = ConvNextEmbeddings(config)
        self.encoder = ConvNextEncoder(config)
        norms = {name: ChannelNorm(self.out_feature_channels[name], eps=1e-6) for name in self.out_features}
        self.hidden_states_norms = nn.ModuleDict(norms)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BackboneOutput:
        """As `ConvNextModel.forward`, with `feature_maps`."""
        states = self.encoder(self.embeddings(pixel_values))
        return BackboneOutput(
            feature_maps=tuple(self.hidden_states_norms[name](state) for name, state in self.selected(states)),
            hidden_states=states if self.wants_states(output_hidden_states) else None,
        )
