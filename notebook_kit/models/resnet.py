"""ResNet: convolutions with residual connections, in stages that halve the resolution.

Source: He et al., Deep Residual Learning for Image Recognition, 2016.
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.errors import ConfigurationError
from notebook_kit.fields import Activation, Size
from notebook_kit.nn.backbone import Backbone, BackboneConfig
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.folding import for_convolutions, normed_convolution
from notebook_kit.nn.image_heads import ForImageClassification, linear_classifier
from notebook_kit.nn.layers import activation
from notebook_kit.nn.outputs import (
    BackboneOutput,
    BaseModelOutputWithPoolingAndNoAttention,
    ImageClassifierOutputWithNoAttention,
)
from notebook_kit.nn.patches import check_pixels

__all__ = [
    "ResNetBackbone",
    "ResNetConfig",
    "ResNetForImageClassification",
    "ResNetModel",
    "ResNetPreTrainedModel",
]

REDUCTION = 4
"""How many times narrower the middle of a bottleneck is."""


class ResNetConfig(BackboneConfig):
    """ResNet's settings; the defaults are those of `microsoft/resnet-50`.

    Args:
        num_channels: Channels of an image.
        embedding_size: Channels after the stem.
        hidden_sizes: Channels of each stage.
        depths: Number of layers of each stage.
        layer_type: `"bottleneck"` (ResNet-50 and larger) or `"basic"`.
        hidden_act: Activation.
        downsample_in_first_stage: Whether the first stage halves the resolution, too.
        downsample_in_bottleneck: Whether the first convolution of a bottleneck halves the resolution, instead of the second.
        out_features: See `BackboneConfig`.
        out_indices: See `BackboneConfig`.

    Example:
        >>> from notebook_kit import ResNetConfig
        >>> config = ResNetConfig(depths=[1, 1], hidden_sizes=[8, 16], out_features=["stage1", "stage2"])
        >>> config.stage_names, config.out_indices
        (['stem', 'stage1', 'stage2'], [1, 2])
    """

    model_type: ClassVar[str] = "resnet"

    num_channels: Size = 3
    embedding_size: Size = 64
    hidden_sizes: list[int] = field(default_factory=lambda: [256, 512, 1024, 2048])
    depths: list[int] = field(default_factory=lambda: [3, 4, 6, 3])
    layer_type: Literal["basic", "bottleneck"] = "bottleneck"
    hidden_act: Activation = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False

    def validate(self) -> None:
        """As in `BackboneConfig`, and that each stage has a width and a depth."""
        super().validate()
        least = REDUCTION if self.layer_type == "bottleneck" else 1
        widths, depths = self.hidden_sizes, self.depths
        if not depths or len(widths) != len(depths) or min(widths) < least or min(depths) < 1:
            raise ConfigurationError(
                f"ResNetConfig: hidden_sizes is {widths}, and depths is {depths}.",
                next_step=f"Pass a number of channels (at least {least}) and a number of layers (at least 1) for each stage.",
            )


# Blocks --------------------------------------------------------------------------------------------------------------


class ResNetConvolution(nn.Module):
    """A convolution that keeps the resolution, or divides it by `stride`; batch norm; activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: str | None = "relu") -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.normalization = nn.BatchNorm2d(outputs)
        self.activation = None if act is None else activation(act)

    def forward(self, x: Tensor) -> Tensor:
        x = normed_convolution(self.convolution, self.normalization, x)
        return x if self.activation is None else self.activation(x)


class ResNetEmbeddings(nn.Module):
    """The stem: pixels `(batch, channels, height, width)` to `(batch, embedding_size, height / 4, width / 4)`."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.channels = config.num_channels
        self.embedder = ResNetConvolution(
            config.num_channels, config.embedding_size, kernel=7, stride=2, act=config.hidden_act
        )
        self.pooler = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        check_pixels(pixel_values, self.channels)
        return self.pooler(self.embedder(for_convolutions(pixel_values)))


class ResNetLayer(nn.Module):
    """Convolutions beside a residual connection, which is a convolution itself where the shape changes."""

    def __init__(self, config: ResNetConfig, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else ResNetConvolution(inputs, outputs, kernel=1, stride=stride, act=None)
        if config.layer_type == "basic":
            self.layer = nn.Sequential(
                ResNetConvolution(inputs, outputs, stride=stride), ResNetConvolution(outputs, outputs, act=None)
            )
        else:
            middle = outputs // REDUCTION
            first, second = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
            self.layer = nn.Sequential(
                ResNetConvolution(inputs, middle, kernel=1, stride=first),
                ResNetConvolution(middle, middle, stride=second),
                ResNetConvolution(middle, outputs, kernel=1, act=None),
            )
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.layer(x) + self.shortcut(x))


class ResNetStage(nn.Module):
    """Layers of one width; the first changes width and resolution."""

    def __init__(self, config: ResNetConfig, inputs: int, outputs: int, stride: int, depth: int) -> None:
        super().__init__()
        first = ResNetLayer(config, inputs, outputs, stride)
        self.layers = nn.Sequential(first, *(ResNetLayer(config, outputs, outputs) for _ in range(depth - 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ResNetEncoder(nn.Module):
    """The stages: one map after another, each with half the resolution of the one before."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        widths = [config.embedding_size, *config.hidden_sizes]
        strides = [2 if config.downsample_in_first_stage else 1] + [2] * (len(config.depths) - 1)
        self.stages = nn.ModuleList(
            ResNetStage(config, inputs, outputs, stride, depth)
            for inputs, outputs, stride, depth in zip(widths, widths[1:], strides, config.depths, strict=False)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The input and the output of each stage."""
        states = [x]
        for stage in self.stages:
            states.append(stage(states[-1]))
        return tuple(states)


# The backbone --------------------------------------------------------------------------------------------------------


class ResNetPreTrainedModel(PreTrainedModel):
    """What the models of ResNet share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import ResNetModel, ResNetPreTrainedModel
        >>> issubclass(ResNetModel, ResNetPreTrainedModel)
        True
    """

    config_class = ResNetConfig
    base_model_prefix = "resnet"
    main_input_name = "pixel_values"
    input_embeddings = ("embedder",)
    resnet: ResNetModel  # in the heads
    weight_rules = WeightRules(defaulted=(r"num_batches_tracked$",))

    @torch.no_grad()
    def init_parameter(self, module: nn.Module, name: str) -> None:
        """Convolutions and linear layers as PyTorch and the paper draw them, norms as the identity."""
        parameter = getattr(module, name)
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            parameter.uniform_(-bound, bound)
        else:
            super().init_parameter(module, name)


class ResNetModel(ResNetPreTrainedModel):
    """The network without a head: pixels in, a map of features out, and its mean.

    Example:
        >>> import torch
        >>> from notebook_kit import ResNetConfig, ResNetModel
        >>> tiny = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
        >>> out = ResNetModel(tiny).eval()(torch.rand(1, 3, 32, 48))
        >>> out.last_hidden_state.shape, out.pooler_output.shape
        (torch.Size([1, 16, 4, 6]), torch.Size([1, 16, 1, 1]))
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        self.embedder = ResNetEmbeddings(config)
        self.encoder = ResNetEncoder(config)
        self.pooler = nn.AdaptiveAvgPool2d((1, 1))
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
        states = self.encoder(self.embedder(pixel_values))
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=states[-1],
            pooler_output=self.pooler(states[-1]),
            hidden_states=states if wanted else None,
        )


# Heads ---------------------------------------------------------------------------------------------------------------


class ResNetForImageClassification(ResNetPreTrainedModel, ForImageClassification):
    """ResNet with a linear layer on the mean of its last map: one prediction per image.

    Example:
        >>> import torch
        >>> from notebook_kit import ResNetConfig, ResNetForImageClassification
        >>> tiny = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
        >>> out = ResNetForImageClassification(tiny)(torch.rand(2, 3, 32, 48), labels=torch.tensor([0, 2]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([2, 3]), tensor(True))
    """

    backbone = ResNetModel
    output_class = ImageClassifierOutputWithNoAttention

    def build_head(self, config: ResNetConfig) -> None:
        self.classifier = nn.Sequential(nn.Flatten(), linear_classifier(config.hidden_sizes[-1], config.num_labels))

    def compute_logits(self, out) -> Tensor:
        return self.classifier(out.pooler_output)


class ResNetBackbone(ResNetPreTrainedModel, Backbone):
    """ResNet for a detector or a segmenter: the maps of the stages that the configuration names.

    Example:
        >>> import torch
        >>> from notebook_kit import ResNetBackbone, ResNetConfig
        >>> tiny = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage1", "stage2"])
        >>> backbone = ResNetBackbone(tiny).eval()
        >>> backbone.channels, [tuple(one.shape) for one in backbone(torch.rand(1, 3, 32, 48)).feature_maps]
        ([8, 16], [(1, 8, 8, 12), (1, 16, 4, 6)])
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        self.num_features = [config.embedding_size, *config.hidden_sizes]
        self.embedder = ResNetEmbeddings(config)
        self.encoder = ResNetEncoder(config)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BackboneOutput:
        """As `ResNetModel.forward`, with `feature_maps`."""
        states = self.encoder(self.embedder(pixel_values))
        return BackboneOutput(
            feature_maps=tuple(state for _, state in self.selected(states)),
            hidden_states=states if self.wants_states(output_hidden_states) else None,
        )
