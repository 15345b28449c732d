"""DeiT: ViT with a distillation token beside the class token, from which a second classifier imitates a teacher.

Source: Touvron et al., Training data-efficient image transformers & distillation through attention, 2021.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.models.vit import ViTConfig, ViTEmbeddings, ViTModel, ViTPreTrainedModel
from notebook_kit.nn.heads import Head, join_output
from notebook_kit.nn.image_heads import ForImageClassification, ForMaskedImageModeling, linear_classifier
from notebook_kit.nn.outputs import ModelOutput
from notebook_kit.nn.patches import mask_patches

__all__ = [
    "DeiTConfig",
    "DeiTForImageClassification",
    "DeiTForImageClassificationWithTeacher",
    "DeiTForImageClassificationWithTeacherOutput",
    "DeiTForMaskedImageModeling",
    "DeiTModel",
    "DeiTPreTrainedModel",
]


class DeiTConfig(ViTConfig):
    """DeiT's settings, those of `ViTConfig`; the defaults are those of `facebook/deit-base-distilled-patch16-224`.

    Example:
        >>> from notebook_kit import DeiTConfig
        >>> DeiTConfig(image_size=384).patch_size
        16
    """

    model_type: ClassVar[str] = "deit"


class DeiTEmbeddings(ViTEmbeddings):
    """A class token, a distillation token and the patches, each with its position."""

    def __init__(self, config: DeiTConfig, use_mask_token: bool) -> None:
        super().__init__(config, use_mask_token)
        C = config.hidden_size
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, C))
        self.position_embeddings = nn.Parameter(torch.zeros(1, self.patch_embeddings.num_patches + 2, C))

    def forward(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        patches = mask_patches(self.patch_embeddings(pixel_values), bool_masked_pos, self.mask_token)
        first = torch.cat([self.cls_token, self.distillation_token], dim=1).expand(patches.shape[0], -1, -1)
        return self.dropout(torch.cat([first, patches], dim=1) + self.positions(pixel_values, interpolate))


# The backbone --------------------------------------------------------------------------------------------------------


class DeiTPreTrainedModel(ViTPreTrainedModel):
    """What the models of DeiT share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import DeiTModel, DeiTPreTrainedModel
        >>> issubclass(DeiTModel, DeiTPreTrainedModel)
        True
    """

    config_class = DeiTConfig
    base_model_prefix = "deit"
    deit: DeiTModel  # in the heads

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`; tokens and positions start as zeros."""
        if isinstance(module, DeiTEmbeddings):
            nn.init.zeros_(getattr(module, name))
        else:
            super().init_parameter(module, name)


class DeiTModel(DeiTPreTrainedModel, ViTModel):
    """The encoder, as `ViTModel`, with the distillation token in the second place.

    Example:
        >>> import torch
        >>> from notebook_kit import DeiTConfig, DeiTModel
        >>> tiny = DeiTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8)
        >>> DeiTModel(tiny)(torch.rand(1, 3, 32, 32)).last_hidden_state.shape
        torch.Size([1, 18, 32])
    """

    embeddings_class = DeiTEmbeddings


# Heads ---------------------------------------------------------------------------------------------------------------


class DeiTForImageClassification(DeiTPreTrainedModel, ForImageClassification):
    """DeiT with a linear layer on the class token: one prediction per image.

    Example:
        >>> import torch
        >>> from notebook_kit import DeiTConfig, DeiTForImageClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = DeiTForImageClassification(DeiTConfig(**size, image_size=32, patch_size=8, num_labels=3))
        >>> model(torch.rand(2, 3, 32, 32), labels=torch.tensor([0, 2])).logits.shape
        torch.Size([2, 3])
    """

    backbone = DeiTModel


class DeiTForImageClassificationWithTeacherOutput(ModelOutput):
    """The predictions of both classifiers.

    Attributes:
        logits: `(batch, labels)`, the mean of the other two.
        cls_logits: `(batch, labels)`, from the class token.
        distillation_logits: `(batch, labels)`, from the distillation token.
        hidden_states: As in `BaseModelOutput`.
        attentions: As in `BaseModelOutput`.
    """

    logits: Tensor = None  # type: ignore[assignment]
    cls_logits: Tensor = None  # type: ignore[assignment]
    distillation_logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class DeiTForImageClassificationWithTeacher(DeiTPreTrainedModel, Head):
    """DeiT with a linear layer on each of its two tokens. It has no loss: distillation needs the teacher's predictions.

    Example:
        >>> import torch
        >>> from notebook_kit import DeiTConfig, DeiTForImageClassificationWithTeacher
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = DeiTForImageClassificationWithTeacher(DeiTConfig(**size, image_size=32, patch_size=8, num_labels=3))
        >>> list(model(torch.rand(2, 3, 32, 32)))
        ['logits', 'cls_logits', 'distillation_logits']
    """

    backbone = DeiTModel
    reads = slice(0, 2)
    not_taken = ("bool_masked_pos",)

    def build_head(self, config: DeiTConfig) -> None:
        self.cls_classifier = linear_classifier(config.hidden_size, config.num_labels)
        self.distillation_classifier = linear_classifier(config.hidden_size, config.num_labels)

    def forward(self, **inputs: Any) -> DeiTForImageClassificationWithTeacherOutput:
        """As `DeiTModel.forward`, with the predictions of both classifiers and their mean."""
        out = self.run_backbone(**inputs)
        own = self.cls_classifier(out.last_hidden_state[:, 0])
        distilled = self.distillation_classifier(out.last_hidden_state[:, 1])
        return join_output(
            DeiTForImageClassificationWithTeacherOutput,
            out,
            logits=(own + distilled) / 2,
            cls_logits=own,
            distillation_logits=distilled,
        )


class DeiTForMaskedImageModeling(DeiTPreTrainedModel, ForMaskedImageModeling):
    """DeiT with a head that predicts the pixels of hidden patches.

    Example:
        >>> import torch
        >>> from notebook_kit import DeiTConfig, DeiTForMaskedImageModeling
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = DeiTForMaskedImageModeling(DeiTConfig(**size, image_size=32, patch_size=8, encoder_stride=8))
        >>> model(torch.rand(1, 3, 32, 32), bool_masked_pos=torch.arange(16)[None] < 5).reconstruction.shape
        torch.Size([1, 3, 32, 32])
    """

    backbone = DeiTModel

    def patch_states(self, states: Tensor) -> Tensor:
        """The states of the patches, without those of the two other tokens."""
        return states[:, 2:]
