"""Swin as MaskFormer's checkpoints contain it: a whole model under the name `model`, and a norm per stage.

The computation is that of `notebook_kit.models.swin`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.errors import ConfigurationError
from notebook_kit.models.swin import SwinConfig, SwinModel, SwinPreTrainedModel, SwinSelfAttention, relative_places
from notebook_kit.nn.backbone import Backbone
from notebook_kit.nn.outputs import BackboneOutput

__all__ = ["MaskFormerSwinBackbone", "MaskFormerSwinConfig", "restore_places", "store_places"]


class MaskFormerSwinConfig(SwinConfig):
    """The settings of a Swin in a MaskFormer; as those of `SwinConfig`.

    Example:
        >>> from notebook_kit import MaskFormerSwinConfig
        >>> MaskFormerSwinConfig(depths=[2, 2], num_heads=[3, 6]).out_features
        ['stage2']
    """

    model_type: ClassVar[str] = "maskformer-swin"

    def validate(self) -> None:
        """As in `SwinConfig`, and that the stem is not selected."""
        super().validate()
        if "stem" in (self.out_features or ()):
            raise ConfigurationError(
                "MaskFormerSwinConfig: out_features has 'stem', for which these checkpoints have no norm.",
                next_step="Select stages, such as out_features=['stage1', 'stage2'].",
            )


class MaskFormerSwinBackbone(SwinPreTrainedModel, Backbone):
    """The normed maps of the stages that the configuration names, before merging.

    Example:
        >>> import torch
        >>> from notebook_kit import MaskFormerSwinBackbone, MaskFormerSwinConfig
        >>> size = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "image_size": 32}
        >>> maps = MaskFormerSwinBackbone(MaskFormerSwinConfig(**size, out_indices=[1, 2]))(torch.rand(1, 3, 32, 48)).feature_maps
        >>> [tuple(one.shape) for one in maps]
        [(1, 8, 8, 12), (1, 16, 4, 6)]
    """

    config_class = MaskFormerSwinConfig
    base_model_prefix = "model"
    weight_rules = replace(SwinPreTrainedModel.weight_rules, unused=(), defaulted=(r"\.relative_position_index$",))

    def __init__(self, config: MaskFormerSwinConfig) -> None:
        super().__init__(config)
        self.num_features = [config.embed_dim, *config.widths]
        self.model = SwinModel(config, add_pooling_layer=False)
        self.hidden_states_norms = nn.ModuleList(nn.LayerNorm(width) for width in config.widths)
        store_places(self)
        self.post_init()

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As for `SwinModel`, with the index of relative positions."""
        if name == "relative_position_index":
            restore_places(module)
        else:
            super().init_parameter(module, name)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BackboneOutput:
        """As `SwinBackbone.forward`; the stem has no norm, and so no map."""
        x, grid = self.model.embeddings(pixel_values, None, True)
        _, _, maps, attentions = self.model.encoder(x, grid, output_attentions, as_backbone=True)
        norms = dict(zip(self.stage_names[1:], self.hidden_states_norms, strict=True))
        return BackboneOutput(
            feature_maps=tuple(
                norms[name](state.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for name, state in self.selected(maps)
            ),
            hidden_states=maps if self.wants_states(output_hidden_states) else None,
            attentions=attentions,
        )


def store_places(model: nn.Module) -> None:
    """Give each attention the index of relative positions that these checkpoints store; it is computed where it is used."""
    for module in model.modules():
        if isinstance(module, SwinSelfAttention):
            module.register_buffer("relative_position_index", relative_places(module.window, torch.device("cpu")))


@torch.no_grad()
def restore_places(attention: nn.Module) -> None:
    """Compute the stored index of relative positions, for files that lack it."""
    assert isinstance(attention, SwinSelfAttention)
    index = attention.get_buffer("relative_position_index")
    index.copy_(relative_places(attention.window, index.device))
