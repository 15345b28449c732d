"""DINOv2 with registers: tokens that belong to no patch, in which the model keeps what concerns the whole image.

Without them, large models misuse patches of the background for that, which their attention maps then show.

Source: Darcet et al., Vision Transformers Need Registers, 2024.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.fields import Layers, Size
from notebook_kit.models.dinov2 import (
    Dinov2Backbone,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    Dinov2PreTrainedModel,
)
from notebook_kit.models.vit import ViTEmbeddings

__all__ = [
    "Dinov2WithRegistersBackbone",
    "Dinov2WithRegistersConfig",
    "Dinov2WithRegistersForImageClassification",
    "Dinov2WithRegistersModel",
    "Dinov2WithRegistersPreTrainedModel",
]


class Dinov2WithRegistersConfig(Dinov2Config):
    """The settings of DINOv2 with registers: those of `Dinov2Config`, and `num_register_tokens`.

    Args:
        patch_size: Side of a patch in pixels, or `[height, width]`.
        num_register_tokens: Number of registers.

    Example:
        >>> from notebook_kit import Dinov2WithRegistersConfig
        >>> Dinov2WithRegistersConfig(num_hidden_layers=2).num_register_tokens
        4
    """

    model_type: ClassVar[str] = "dinov2_with_registers"

    patch_size: Size | list[int] = 16
    num_register_tokens: Layers = 4


class Dinov2WithRegistersEmbeddings(ViTEmbeddings):
    """The class token, the registers, which have no position, and the patches: `(batch, tokens, width)`."""

    antialias = True

    def __init__(self, config: Dinov2WithRegistersConfig, use_mask_token: bool) -> None:
        super().__init__(config, use_mask_token)
        self.register_tokens = nn.Parameter(torch.zeros(1, config.num_register_tokens, config.hidden_size))

    def forward(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        x = super().forward(pixel_values, bool_masked_pos, interpolate)
        registers = self.dropout(self.register_tokens.expand(x.shape[0], -1, -1))
        return torch.cat([x[:, :1], registers, x[:, 1:]], dim=1)


class Dinov2WithRegistersPreTrainedModel(Dinov2PreTrainedModel):
    """What the models of Dinov2WithRegisters share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import Dinov2WithRegistersModel, Dinov2WithRegistersPreTrainedModel
        >>> issubclass(Dinov2WithRegistersModel, Dinov2WithRegistersPreTrainedModel)
        True
    """

    config_class = Dinov2WithRegistersConfig
    base_model_prefix = "dinov2_with_registers"
    embeddings_class = Dinov2WithRegistersEmbeddings

    @property
    def extra_tokens(self) -> int:
        """The number of tokens before the patches: the class token and the registers."""
        return 1 + self.config.num_register_tokens

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As for `Dinov2Model`; the registers start as zeros."""
        if name == "register_tokens":
            nn.init.zeros_(getattr(module, name))
        else:
            super().init_parameter(module, name)


class Dinov2WithRegistersModel(Dinov2WithRegistersPreTrainedModel, Dinov2Model):
    """The encoder: as `Dinov2Model`, with registers between the class token and the patches.

    Example:
        >>> import torch
        >>> from notebook_kit import Dinov2WithRegistersConfig, Dinov2WithRegistersModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
        >>> Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**size))(torch.rand(1, 3, 32, 48)).last_hidden_state.shape
        torch.Size([1, 29, 32])
    """


class Dinov2WithRegistersForImageClassification(Dinov2WithRegistersPreTrainedModel, Dinov2ForImageClassification):
    """As `Dinov2ForImageClassification`: a linear layer on the class token and the mean of the patches.

    Example:
        >>> import torch
        >>> from notebook_kit import Dinov2WithRegistersConfig, Dinov2WithRegistersForImageClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
        >>> model = Dinov2WithRegistersForImageClassification(Dinov2WithRegistersConfig(**size, num_labels=3))
        >>> model(torch.rand(2, 3, 32, 32), labels=torch.tensor([0, 2])).logits.shape
        torch.Size([2, 3])
    """

    backbone = Dinov2WithRegistersModel


class Dinov2WithRegistersBackbone(Dinov2WithRegistersPreTrainedModel, Dinov2Backbone):
    """As `Dinov2Backbone`; maps do not contain the registers.

    Example:
        >>> import torch
        >>> from notebook_kit import Dinov2WithRegistersBackbone, Dinov2WithRegistersConfig
        >>> size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
        >>> maps = Dinov2WithRegistersBackbone(Dinov2WithRegistersConfig(**size, out_indices=[1]))(torch.rand(1, 3, 32, 48))
        >>> maps.feature_maps[0].shape
        torch.Size([1, 32, 4, 6])
    """
