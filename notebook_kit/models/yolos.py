"""YOLOS: a ViT with detection tokens after its patches, each of which becomes one predicted object.

Source: Fang et al., You Only Look at One Sequence: Rethinking Transformer in Vision through Object Detection, 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.models.bert import BertPooler
from notebook_kit.models.detr_blocks import BoxHead
from notebook_kit.models.vit import ViTEncoder
from notebook_kit.nn import detection
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.layers import OutputOptions, run_layers
from notebook_kit.nn.outputs import BaseModelOutputWithPooling, ModelOutput
from notebook_kit.nn.patches import PatchEmbeddings, check_sides, resize_positions, sides

__all__ = [
    "YolosConfig",
    "YolosForObjectDetection",
    "YolosModel",
    "YolosPreTrainedModel",
]


class YolosConfig(PretrainedConfig):
    """YOLOS's settings; the defaults are those of `hustvl/yolos-base`.

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
        image_size: `[height, width]` in pixels of the images that the positions were trained for; others are interpolated.
        patch_size: Side of a patch in pixels.
        num_channels: Channels of an image.
        qkv_bias: Whether queries, keys and values have biases.
        num_detection_tokens: Number of detection tokens, and so of predictions per image.
        use_mid_position_embeddings: Whether positions are also added between layers.
        auxiliary_loss: Must be False for training: YOLOS predicts only from its last layer.
        class_cost, bbox_cost, giou_cost: Weights of the class, the distance and the overlap of boxes in the cost by which
            predictions are matched with objects.
        bbox_loss_coefficient, giou_loss_coefficient: Weights of the parts of the loss.
        eos_coefficient: Weight of "no object" in the loss of the classes.

    Example:
        >>> from notebook_kit import YolosConfig
        >>> YolosConfig(image_size=[64, 96], num_detection_tokens=10).image_size
        [64, 96]
    """

    model_type: ClassVar[str] = "yolos"

    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: Fraction = 0.0
    attention_probs_dropout_prob: Fraction = 0.0
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-12
    image_size: Size | list[int] = field(default_factory=lambda: [512, 864])
    patch_size: Size | list[int] = 16
    num_channels: Size = 3
    qkv_bias: bool = True
    num_detection_tokens: Rows = 100
    use_mid_position_embeddings: bool = True
    auxiliary_loss: bool = False
    class_cost: float = 1
    bbox_cost: float = 5
    giou_cost: float = 2
    bbox_loss_coefficient: float = 5
    giou_loss_coefficient: float = 2
    eos_coefficient: NonNegative = 0.1

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that patches fit into an image.

        Raises:
            ConfigurationError: If they do not, or patches do not divide an image with positions between layers.
        """
        super().validate()
        check_sides(self)
        image, patch = sides(self.image_size), sides(self.patch_size)
        if self.use_mid_position_embeddings and any(a % b for a, b in zip(image, patch, strict=True)):
            raise ConfigurationError(
                f"YolosConfig: with positions between layers, patches of {self.patch_size} pixels must divide image_size, "
                f"which is {self.image_size}.",
                next_step="Choose an image_size that is a multiple of patch_size.",
            )


class YolosObjectDetectionOutput(ModelOutput):
    """Predicted objects: as `DetrObjectDetectionOutput`, with detection tokens as queries and one stack of layers.

    `last_hidden_state`, `hidden_states` and `attentions` are those of all tokens: the class token, patches, detection tokens.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    logits: Tensor = None  # type: ignore[assignment]
    pred_boxes: Tensor = None  # type: ignore[assignment]
    auxiliary_outputs: list[dict[str, Tensor]] | None = None
    last_hidden_state: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


# The backbone --------------------------------------------------------------------------------------------------------


def positions_for(positions: Tensor, old: tuple[int, int], new: tuple[int, int], last: int) -> Tensor:
    """Position embeddings for an image of another size; those of the class token and the detection tokens stay.

    Args:
        positions: `(..., 1 + patches + last, width)`.
        old, new: Rows and columns of patches before and after.
        last: Number of detection tokens.
    """
    patches, detection = positions[:, :-last], positions[:, -last:]
    return torch.cat([resize_positions(patches, old, new), detection], dim=1)


class YolosEmbeddings(nn.Module):
    """A class token, patches and detection tokens, with their positions."""

    def __init__(self, config) -> None:
        super().__init__()
        C, D = config.hidden_size, config.num_detection_tokens
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.detection_tokens = nn.Parameter(torch.zeros(1, D, C))
        self.patch_embeddings = PatchEmbeddings(config)
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + self.patch_embeddings.num_patches + D, C))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """From `(batch, channels, height, width)` to `(batch, tokens, width)`; and rows and columns of patches."""
        patches = self.patch_embeddings(pixel_values)
        grid = self.patch_embeddings.grid_of(*pixel_values.shape[-2:])
        B, D = patches.shape[0], self.detection_tokens.shape[1]
        x = torch.cat([self.cls_token.expand(B, -1, -1), patches, self.detection_tokens.expand(B, -1, -1)], dim=1)
        return self.dropout(x + positions_for(self.position_embeddings, self.patch_embeddings.grid, grid, D)), grid


class YolosEncoder(ViTEncoder):
    """ViT's layers, between which positions are added again."""

    def __init__(self, config) -> None:
        super().__init__(config)
        image, patch = sides(config.image_size), sides(config.patch_size)
        self.grid = (image[0] // patch[0], image[1] // patch[1])
        tokens = 1 + self.grid[0] * self.grid[1] + config.num_detection_tokens
        self.mid_position_embeddings = (
            nn.Parameter(torch.zeros(max(config.num_hidden_layers - 1, 0), 1, tokens, config.hidden_size))
            if config.use_mid_position_embeddings
            else None
        )

    def forward(self, x: Tensor, grid: tuple[int, int], **options: Unpack[OutputOptions]):  # type: ignore[override]
        layers: list[Callable[..., Tensor]] = list(self.layer)
        if self.mid_position_embeddings is not None and len(layers) > 1:
            last = self.config.num_detection_tokens
            positions = positions_for(self.mid_position_embeddings.squeeze(1), self.grid, grid, last)
            layers[1:] = [_after_positions(*pair) for pair in zip(layers[1:], positions, strict=True)]
        return run_layers(self, layers, self.sites, x, None, **options)


def _after_positions(layer: Callable[..., Tensor], positions: Tensor) -> Callable[..., Tensor]:
    return lambda x, *inputs: layer(x + positions, *inputs)


class YolosPreTrainedModel(PreTrainedModel):
    """What the models of Yolos share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import YolosModel, YolosPreTrainedModel
        >>> issubclass(YolosModel, YolosPreTrainedModel)
        True
    """

    config_class = YolosConfig
    base_model_prefix = "vit"
    main_input_name = "pixel_values"
    input_embeddings = ("embeddings.patch_embeddings",)
    vit: YolosModel  # in the heads
    weight_rules = WeightRules(
        legacy={r"\bencoder\.interpolation\.mid_": "encoder.mid_"},  # as transformers 5 has it in memory
        optional=(r"(^|\.)pooler\.",),
    )

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`; tokens and positions start as zeros."""
        if isinstance(module, YolosEmbeddings | YolosEncoder):
            nn.init.zeros_(getattr(module, name))
        else:
            super().init_parameter(module, name)


class YolosModel(YolosPreTrainedModel):
    """The encoder: pixels in, one vector for the class token, each patch and each detection token out.

    Args:
        config: YOLOS's settings.
        add_pooling_layer: Also compute `pooler_output`.

    Example:
        >>> import torch
        >>> from notebook_kit import YolosConfig, YolosModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        >>> config = YolosConfig(**size, image_size=[32, 48], patch_size=8, num_detection_tokens=5)
        >>> YolosModel(config)(torch.rand(1, 3, 40, 40)).last_hidden_state.shape  # 1 + 5 x 5 + 5 tokens
        torch.Size([1, 31, 32])
    """

    def __init__(self, config: YolosConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = YolosEmbeddings(config)
        self.encoder = YolosEncoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of images of any size.

        Args:
            pixel_values: `(batch, channels, height, width)`, from the checkpoint's image processor.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If `pixel_values` does not have this shape, or the images are smaller than a patch.
        """
        x, grid = self.embeddings(pixel_values)
        x, states, attentions = self.encoder(
            x, grid, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        x = self.layernorm(x)
        pooled = None if self.pooler is None else self.pooler(x)
        return BaseModelOutputWithPooling(
            last_hidden_state=x, pooler_output=pooled, hidden_states=states, attentions=attentions
        )


# The head ------------------------------------------------------------------------------------------------------------


class YolosForObjectDetection(YolosPreTrainedModel):
    """YOLOS with a class and a box per detection token.

    Example:
        >>> import torch
        >>> from notebook_kit import YolosConfig, YolosForObjectDetection
        >>> size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        >>> config = YolosConfig(**size, image_size=[32, 48], patch_size=8, num_detection_tokens=5)
        >>> labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.4]])}]
        >>> out = YolosForObjectDetection(config)(torch.rand(1, 3, 40, 40), labels=labels)
        >>> out.logits.shape, out.pred_boxes.shape, out.loss > 0
        (torch.Size([1, 5, 3]), torch.Size([1, 5, 4]), tensor(True))
    """

    def __init__(self, config: YolosConfig) -> None:
        super().__init__(config)
        self.vit = YolosModel(config, add_pooling_layer=False)
        self.class_labels_classifier = BoxHead(config.hidden_size, config.num_labels + 1)
        self.bbox_predictor = BoxHead(config.hidden_size)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: list[dict[str, Tensor]] | None = None,
        **options: Unpack[OutputOptions],
    ) -> YolosObjectDetectionOutput:
        """As `YolosModel.forward`.

        Args:
            labels: For each image, `"class_labels"` `(objects,)` and `"boxes"` `(objects, 4)`: center x, center y, width and
                height, in fractions of the image's size.
        """
        config: Any = self.config
        out = self.vit(pixel_values, return_dict=True, **options)
        states = out.last_hidden_state[:, -config.num_detection_tokens :]
        logits, boxes = self.class_labels_classifier(states), self.bbox_predictor(states).sigmoid()
        loss = loss_parts = None
        if labels is not None:
            if config.auxiliary_loss:
                raise InputError(
                    "YOLOS has no predictions of earlier layers for an auxiliary loss.",
                    next_step="Set model.config.auxiliary_loss = False.",
                )
            loss, loss_parts = detection.detection_loss(logits, boxes, labels, config)
        return YolosObjectDetectionOutput(out, loss=loss, loss_dict=loss_parts, logits=logits, pred_boxes=boxes)
