"""Table Transformer: DETR with norms before the blocks, for tables in documents and their rows, columns and cells.

Source: Smock et al., PubTables-1M: Towards Comprehensive Table Extraction From Unstructured Documents, 2022.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from torch import nn

from notebook_kit.models.detr import DETR_RULES, DetrConfig, DetrForObjectDetection, DetrModel
from notebook_kit.models.detr_blocks import (
    DetrDecoder,
    DetrDecoderLayer,
    DetrEncoder,
    DetrEncoderLayer,
    DetrModelOutput,
    DetrObjectDetectionOutput,
)
from notebook_kit.nn.outputs import BaseModelOutput

__all__ = ["TableTransformerConfig", "TableTransformerForObjectDetection", "TableTransformerModel"]


class TableTransformerConfig(DetrConfig):
    """Table Transformer's settings: those of `DetrConfig`. The published checkpoints have a ResNet-18 as backbone.

    Example:
        >>> from notebook_kit import TableTransformerConfig
        >>> TableTransformerConfig(backbone="resnet18", num_queries=15).backbone_config.backbone
        'resnet18'
    """

    model_type: ClassVar[str] = "table-transformer"


class TableTransformerModelOutput(DetrModelOutput):
    """As `DetrModelOutput`."""


class TableTransformerObjectDetectionOutput(DetrObjectDetectionOutput):
    """As `DetrObjectDetectionOutput`."""


class TableTransformerEncoderLayer(DetrEncoderLayer):
    pre_norm = True


class TableTransformerDecoderLayer(DetrDecoderLayer):
    pre_norm = True


class TableTransformerEncoder(DetrEncoder):
    """DETR's encoder with a norm after the last layer."""

    layer = TableTransformerEncoderLayer

    def __init__(self, config) -> None:
        super().__init__(config)
        self.layernorm = nn.LayerNorm(config.d_model)

    def forward(self, *inputs: Any, **options: Any) -> BaseModelOutput:
        """As `DetrEncoder.forward`."""
        out = super().forward(*inputs, **options)
        out.last_hidden_state = self.layernorm(out.last_hidden_state)
        return out


class TableTransformerDecoder(DetrDecoder):
    layer = TableTransformerDecoderLayer


class TableTransformerModel(DetrModel):
    """Backbone, encoder and decoder without a head.

    Args:
        config: Table Transformer's settings.

    Example:
        >>> import torch
        >>> from notebook_kit import ResNetConfig, TableTransformerConfig, TableTransformerModel
        >>> resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=["stage4"])
        >>> size = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "num_queries": 5}
        >>> model = TableTransformerModel(TableTransformerConfig(backbone_config=resnet, **size)).eval()
        >>> model(torch.rand(1, 3, 96, 64)).last_hidden_state.shape
        torch.Size([1, 5, 32])
    """

    config_class = TableTransformerConfig
    encoder_class = TableTransformerEncoder
    decoder_class = TableTransformerDecoder
    output_class = TableTransformerModelOutput
    weight_rules = replace(
        DETR_RULES, saved={**DETR_RULES.saved, r"\bposition_embedding\.": "backbone.position_embedding."}
    )


class TableTransformerForObjectDetection(DetrForObjectDetection):
    """Table Transformer with a class and a box per query.

    Example:
        >>> import torch
        >>> from notebook_kit import ResNetConfig, TableTransformerConfig, TableTransformerForObjectDetection
        >>> resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=["stage4"])
        >>> size = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "num_queries": 5}
        >>> model = TableTransformerForObjectDetection(TableTransformerConfig(backbone_config=resnet, **size)).eval()
        >>> model(torch.rand(1, 3, 96, 64)).pred_boxes.shape
        torch.Size([1, 5, 4])
    """

    config_class = TableTransformerConfig
    backbone = TableTransformerModel
    output_class = TableTransformerObjectDetectionOutput
    weight_rules = TableTransformerModel.weight_rules
