"""ResNets of the timm library as backbones, which most checkpoints of DETR contain.

The network is that of `notebook_kit.models.resnet`; weights are stored under timm's names. timm itself is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, a_kind, near_matches
from notebook_kit.fields import Size
from notebook_kit.models.auto import AutoBackbone, AutoConfig
from notebook_kit.models.resnet import ResNetBackbone, ResNetConfig
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.outputs import BackboneOutput

__all__ = ["TIMM_LEGACY", "TIMM_SAVED", "BackboneConfigs", "TimmBackbone", "TimmBackboneConfig", "build_backbone"]

# timm's name -> the kind of layer, and the number of layers of each stage.
ARCHITECTURES: dict[str, tuple[Any, list[int]]] = {
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet34": ("basic", [3, 4, 6, 3]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
    "resnet101": ("bottleneck", [3, 4, 23, 3]),
    "resnet152": ("bottleneck", [3, 8, 36, 3]),
}
STAGES = (1, 2, 3, 4)
_CONVOLUTIONS = (1, 2, 3)

# In the model, timm's networks are called `_backbone`; so these patterns match no other part of a model.
_IN_LAYER = r"(_backbone\.encoder\.stages\.\d\.layers\.\d+\.)"
TIMM_LEGACY: dict[str, str] = {
    r"_backbone\.conv1\.": "_backbone.embedder.embedder.convolution.",
    r"_backbone\.bn1\.": "_backbone.embedder.embedder.normalization.",
    **{rf"_backbone\.layer{n}\.": f"_backbone.encoder.stages.{n - 1}.layers." for n in STAGES},
    **{rf"{_IN_LAYER}conv{n}\.": rf"\1layer.{n - 1}.convolution." for n in _CONVOLUTIONS},
    **{rf"{_IN_LAYER}bn{n}\.": rf"\1layer.{n - 1}.normalization." for n in _CONVOLUTIONS},
    rf"{_IN_LAYER}downsample\.0\.": r"\1shortcut.convolution.",
    rf"{_IN_LAYER}downsample\.1\.": r"\1shortcut.normalization.",
}
"""timm's names -> those of the model, as in `WeightRules.legacy`."""
TIMM_SAVED: dict[str, str] = {
    r"_backbone\.embedder\.embedder\.convolution\.": "_backbone.conv1.",
    r"_backbone\.embedder\.embedder\.normalization\.": "_backbone.bn1.",
    **{rf"{_IN_LAYER}layer\.{n - 1}\.convolution\.": rf"\1conv{n}." for n in _CONVOLUTIONS},
    **{rf"{_IN_LAYER}layer\.{n - 1}\.normalization\.": rf"\1bn{n}." for n in _CONVOLUTIONS},
    rf"{_IN_LAYER}shortcut\.convolution\.": r"\1downsample.0.",
    rf"{_IN_LAYER}shortcut\.normalization\.": r"\1downsample.1.",
    **{rf"_backbone\.encoder\.stages\.{n - 1}\.layers\.": f"_backbone.layer{n}." for n in STAGES},
}
"""The way back, as in `WeightRules.saved`."""


class TimmBackboneConfig(PretrainedConfig):
    """A network of timm, by name.

    Args:
        backbone: timm's name: `"resnet18"`, `"resnet34"`, `"resnet50"`, `"resnet101"` or `"resnet152"`, perhaps followed by
            a dot and the name of its weights.
        num_channels: Channels of an image.
        features_only: Whether the network returns feature maps, which is the only kind supported here.
        out_indices: The stages whose feature maps are returned, from 1 to 4, or from the end with negative numbers.
        freeze_batch_norm_2d: Whether batch norms are fixed; DETR fixes them in any case.
        output_stride: 16 for a network whose last stage widens its view by dilation instead of halving the feature map
            again; 32 or None otherwise.

    Example:
        >>> from notebook_kit import TimmBackboneConfig
        >>> TimmBackboneConfig(backbone="resnet18").resnet().hidden_sizes
        [64, 128, 256, 512]
    """

    model_type: ClassVar[str] = "timm_backbone"

    backbone: str | None = None
    num_channels: Size = 3
    features_only: bool = True
    out_indices: list[int] | None = None
    freeze_batch_norm_2d: bool = False
    output_stride: int | None = None

    def validate(self) -> None:
        """As `PretrainedConfig.validate`.

        Raises:
            ConfigurationError: Also if this library does not have the network.
        """
        super().validate()
        step = f"Use one of {', '.join(ARCHITECTURES)}."
        if self.backbone is not None and self.architecture not in ARCHITECTURES:
            close = near_matches(self.architecture, ARCHITECTURES)
            raise ConfigurationError(f"Unknown network {self.backbone!r} of timm. {close}".rstrip(), next_step=step)
        if not self.stages <= set(STAGES):
            raise ConfigurationError(
                f"out_indices is {self.out_indices}, and the stages of a ResNet are 1 to 4.",
                next_step="Pass some of 1, 2, 3 and 4, or negative numbers to count from the end.",
            )
        if self.output_stride not in (None, 16, 32):
            raise ConfigurationError(
                f"output_stride is {self.output_stride}; expected 16, 32 or None.",
                next_step="Pass 16 for a network whose last stage is dilated.",
            )

    @property
    def architecture(self) -> str:
        """timm's name of the network, without that of its weights."""
        return str(self.backbone).partition(".")[0]

    @property
    def stages(self) -> set[int]:
        """The stages whose feature maps are returned."""
        return {index if index >= 0 else len(STAGES) + 1 + index for index in self.out_indices or [-1]}

    def resnet(self) -> ResNetConfig:
        """The same network as a ResNet of this library.

        Raises:
            ConfigurationError: If `backbone` is None.
        """
        if self.backbone is None:
            raise ConfigurationError(
                "TimmBackboneConfig has no backbone.", next_step="Pass timm's name, as in backbone='resnet50'."
            )
        kind, depths = ARCHITECTURES[self.architecture]
        widths = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
        return ResNetConfig(
            num_channels=self.num_channels,
            embedding_size=64,
            hidden_sizes=widths,
            depths=depths,
            layer_type=kind,
            out_features=[f"stage{stage}" for stage in sorted(self.stages)],
        )


class BackboneConfigs:
    """Configurations of backbones, which a detector nests: of a family, or of a network of timm."""

    @staticmethod
    def kind_of(values: Mapping[str, Any]) -> Any:
        """The class that reads these values."""
        return TimmBackboneConfig if values.get("model_type") == TimmBackboneConfig.model_type else AutoConfig

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **edits: Any) -> PretrainedConfig:
        """As `PretrainedConfig.from_dict`."""
        return cls.kind_of(values).from_dict(values, **edits)

    @classmethod
    def check_types(cls, values: Mapping[str, Any], path: str = "") -> None:
        """As `PretrainedConfig.check_types`."""
        cls.kind_of(values).check_types(values, path)


def build_backbone(config: PretrainedConfig) -> Any:
    """A new backbone with a configuration that `BackboneConfigs` reads.

    Raises:
        ConfigurationError: If it is not a configuration of a backbone.
    """
    if isinstance(config, TimmBackboneConfig):
        return TimmBackbone(config)
    if not isinstance(config, PretrainedConfig):
        raise ConfigurationError(
            f"backbone_config is {a_kind(config)}; expected a configuration.",
            next_step="Pass a ResNetConfig, or a dictionary with its model_type and fields.",
        )
    return AutoBackbone.from_config(config)


class TimmBackbone(PreTrainedModel):
    """A network of timm, which returns feature maps.

    Example:
        >>> import torch
        >>> from notebook_kit import TimmBackbone, TimmBackboneConfig
        >>> backbone = TimmBackbone(TimmBackboneConfig(backbone="resnet18", out_indices=[3, 4])).eval()
        >>> [tuple(feature_map.shape) for feature_map in backbone(torch.rand(1, 3, 64, 96)).feature_maps]
        [(1, 256, 4, 6), (1, 512, 2, 3)]
    """

    config_class = TimmBackboneConfig
    main_input_name = "pixel_values"
    weight_rules = WeightRules(legacy=TIMM_LEGACY, saved=TIMM_SAVED)

    def __init__(self, config: TimmBackboneConfig) -> None:
        super().__init__(config)
        self._backbone = ResNetBackbone(config.resnet())
        if config.output_stride == 16:
            _dilate(self._backbone.encoder.stages[-1])
        self.post_init()

    @property
    def channels(self) -> list[int]:
        """The number of channels of each feature map."""
        return self._backbone.channels

    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None) -> BackboneOutput:
        """The feature maps of images.

        Args:
            pixel_values: `(batch, channels, height, width)`.
            output_hidden_states: Also return the embeddings and the output of each stage.

        Raises:
            InputError: If `pixel_values` does not have this shape.
        """
        return self._backbone(pixel_values, output_hidden_states=output_hidden_states, return_dict=True)


def _dilate(stage: nn.Module) -> None:
    """Let a stage keep the size of the feature map, and see as far through dilated convolutions."""
    convolutions = [module for module in stage.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        module.stride = (1, 1)
    for module in [module for module in convolutions if module.kernel_size == (3, 3)][1:]:
        module.dilation = module.padding = (2, 2)
