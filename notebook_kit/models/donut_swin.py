"""Donut's encoder of documents: a Swin that returns its last states without a norm.

The computation is that of `notebook_kit.models.swin`; `VisionEncoderDecoderModel` joins it with a decoder.

Source: Kim et al., OCR-free Document Understanding Transformer, 2022.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from notebook_kit.errors import ConfigurationError
from notebook_kit.models.maskformer_swin import restore_places, store_places
from notebook_kit.models.swin import (
    SwinConfig,
    SwinForImageClassification,
    SwinModel,
    SwinModelOutput,
    SwinPreTrainedModel,
)

__all__ = [
    "DonutSwinConfig",
    "DonutSwinForImageClassification",
    "DonutSwinModel",
    "DonutSwinPreTrainedModel",
]


class DonutSwinConfig(SwinConfig):
    """The settings of Donut's encoder; as those of `SwinConfig`, without `use_absolute_embeddings`.

    Example:
        >>> from notebook_kit import DonutSwinConfig
        >>> DonutSwinConfig(embed_dim=16, depths=[2, 2], num_heads=[2, 4]).hidden_size
        32
    """

    model_type: ClassVar[str] = "donut-swin"

    def validate(self) -> None:
        """As in `SwinConfig`, and that there are no absolute positions, which Donut's checkpoints do not have."""
        super().validate()
        if self.use_absolute_embeddings:
            raise ConfigurationError(
                "DonutSwinConfig: use_absolute_embeddings is True, and Donut has relative positions only.",
                next_step="Leave use_absolute_embeddings out.",
            )


class DonutSwinPreTrainedModel(SwinPreTrainedModel):
    """What the models of DonutSwin share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import DonutSwinModel, DonutSwinPreTrainedModel
        >>> issubclass(DonutSwinModel, DonutSwinPreTrainedModel)
        True
    """

    config_class = DonutSwinConfig
    base_model_prefix = "donut"
    weight_rules = replace(SwinPreTrainedModel.weight_rules, unused=(), defaulted=(r"\.relative_position_index$",))

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As for `SwinModel`, with the index of relative positions."""
        if name == "relative_position_index":
            restore_places(module)
        else:
            super().init_parameter(module, name)


class DonutSwinModel(DonutSwinPreTrainedModel, SwinModel):
    """The encoder: pixels of images of any size in, one vector per position of the last stage out, and their mean.

    Args:
        config: The settings.
        add_pooling_layer: Also compute `pooler_output`.
        use_mask_token: Have a token for masked patches.

    Example:
        >>> import torch
        >>> from notebook_kit import DonutSwinConfig, DonutSwinModel
        >>> tiny = DonutSwinConfig(embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, image_size=[48, 32])
        >>> DonutSwinModel(tiny)(torch.rand(1, 3, 48, 32)).last_hidden_state.shape  # 12 x 8 patches, merged to 6 x 4
        torch.Size([1, 24, 16])
    """

    def __init__(self, config: DonutSwinConfig, add_pooling_layer: bool = True, use_mask_token: bool = False) -> None:
        super().__init__(config, add_pooling_layer, use_mask_token)
        self.layernorm = nn.Identity()  # type: ignore[assignment]
        store_places(self)

    def forward(  # type: ignore[override]
        self,
        pixel_values: Tensor | None = None,
        bool_masked_pos: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool | None = None,
    ) -> SwinModelOutput:
        """As `SwinModel.forward`; the arguments are in another order, as in Donut's code."""
        return super().forward(
            pixel_values, bool_masked_pos, interpolate_pos_encoding, output_attentions, output_hidden_states
        )


class DonutSwinForImageClassification(DonutSwinPreTrainedModel, SwinForImageClassification):
    """Donut's encoder with a linear layer on the mean of its last states: one prediction per document.

    Example:
        >>> import torch
        >>> from notebook_kit import DonutSwinConfig, DonutSwinForImageClassification
        >>> size = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "image_size": 32}
        >>> model = DonutSwinForImageClassification(DonutSwinConfig(**size, num_labels=3))
        >>> model(torch.rand(2, 3, 32, 32), labels=torch.tensor([0, 2])).logits.shape
        torch.Size([2, 3])
    """

    backbone = DonutSwinModel  # type: ignore[assignment]
