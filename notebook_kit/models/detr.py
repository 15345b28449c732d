"""DETR: objects of an image from a convolutional backbone, an encoder of its feature map, and a decoder of object queries.

Source: Carion et al., End-to-End Object Detection with Transformers, 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.models.detr_blocks import (
    BoxHead,
    DetrDecoder,
    DetrEncoder,
    DetrLearnedPositions,
    DetrMaskHead,
    DetrModelOutput,
    DetrObjectDetectionOutput,
    DetrPositionTable,
    DetrSegmentationOutput,
    DetrSinePositions,
    DetrSpatialAttention,
    freeze_norms,
)
from notebook_kit.models.resnet import ResNetBackbone, ResNetConfig
from notebook_kit.models.timm_backbone import (
    TIMM_LEGACY,
    TIMM_SAVED,
    BackboneConfigs,
    TimmBackbone,
    TimmBackboneConfig,
    build_backbone,
)
from notebook_kit.nn import detection
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.encoder_decoder import as_encoder_output
from notebook_kit.nn.layers import OutputOptions
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import ModelOutput
from notebook_kit.nn.patches import check_pixels

__all__ = [
    "DetrConfig",
    "DetrForObjectDetection",
    "DetrForSegmentation",
    "DetrModel",
    "DetrPreTrainedModel",
]


class DetrConfig(PretrainedConfig):
    """DETR's settings; the defaults are those of `facebook/detr-resnet-50`.

    Args:
        backbone_config: The configuration of the backbone: a `ResNetConfig` or `TimmBackboneConfig`. Older checkpoints
            describe it by `use_timm_backbone`, `backbone` and `dilation`, which are accepted, too.
        num_channels: Channels of an image.
        num_queries: Number of object queries, and so of predictions per image.
        d_model: Width of the residual stream.
        encoder_layers, decoder_layers: Number of layers of each half.
        encoder_attention_heads, decoder_attention_heads: Heads per layer; must divide `d_model`.
        encoder_ffn_dim, decoder_ffn_dim: Width inside the feed-forward blocks.
        encoder_layerdrop, decoder_layerdrop: Probability of skipping a layer in training.
        activation_function: Activation of the feed-forward blocks.
        dropout: Dropout of the encoder's input and after each block.
        attention_dropout: Dropout of attention weights.
        activation_dropout: Dropout inside the feed-forward blocks.
        init_std, init_xavier_std: Spread of the initial weights; the latter of the attention of the segmentation head.
        auxiliary_loss: Add the losses of the earlier layers of the decoder to the loss.
        position_embedding_type: `"sine"` or `"learned"`.
        dilation: Whether the last stage of timm's backbone keeps the size of the feature map.
        class_cost, bbox_cost, giou_cost: Weights of the class, the distance and the overlap of boxes in the cost by which
            predictions are matched with objects.
        mask_loss_coefficient, dice_loss_coefficient, bbox_loss_coefficient, giou_loss_coefficient: Weights of the parts of
            the loss.
        eos_coefficient: Weight of "no object" in the loss of the classes.

    Example:
        >>> from notebook_kit import DetrConfig
        >>> config = DetrConfig()
        >>> config.backbone_config.backbone, config.hidden_size
        ('resnet50', 256)
    """

    model_type: ClassVar[str] = "detr"
    keys_to_ignore_at_inference: ClassVar[tuple[str, ...]] = ("past_key_values",)
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "encoder_attention_heads",
        "num_hidden_layers": "encoder_layers",
    }
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": BackboneConfigs}

    backbone_config: Any = None
    num_channels: Size = 3
    num_queries: Rows = 100
    encoder_layers: Layers = 6
    encoder_ffn_dim: Size = 2048
    encoder_attention_heads: Size = 8
    decoder_layers: Layers = 6
    decoder_ffn_dim: Size = 2048
    decoder_attention_heads: Size = 8
    encoder_layerdrop: Fraction = 0.0
    decoder_layerdrop: Fraction = 0.0
    is_encoder_decoder: bool = True
    activation_function: Activation = "relu"
    d_model: Size = 256
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.0
    activation_dropout: Fraction = 0.0
    init_std: NonNegative = 0.02
    init_xavier_std: NonNegative = 1.0
    auxiliary_loss: bool = False
    position_embedding_type: str = "sine"
    dilation: bool = False
    class_cost: float = 1
    bbox_cost: float = 5
    giou_cost: float = 2
    mask_loss_coefficient: float = 1
    dice_loss_coefficient: float = 1
    bbox_loss_coefficient: float = 5
    giou_loss_coefficient: float = 2
    eos_coefficient: NonNegative = 0.1

    def __init__(self, **fields: Any) -> None:
        super().__init__(**with_backbone_config(fields))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **edits: Any) -> DetrConfig:
        """As `PretrainedConfig.from_dict`, with a `backbone_config` for the fields of older versions."""
        return super().from_dict(with_backbone_config(values), **edits)

    def validate(self) -> None:
        """As `PretrainedConfig.validate`.

        Raises:
            ConfigurationError: Also if positions are neither sines nor learned, or cannot be split over two axes.
        """
        super().validate()
        if self.position_embedding_type not in POSITIONS:
            raise ConfigurationError(
                f"position_embedding_type is {self.position_embedding_type!r}; expected 'sine' or 'learned'.",
                next_step="Use 'sine', as the published checkpoints do.",
            )
        if self.d_model % 4:
            raise ConfigurationError(
                f"{type(self).__name__}: a width of {self.d_model} cannot be split into sines and cosines of rows and columns.",
                next_step="Choose a d_model that is a multiple of 4.",
            )


POSITIONS = {"sine": DetrSinePositions, "learned": DetrLearnedPositions}
_BACKBONE_FIELDS = ("use_timm_backbone", "backbone", "backbone_kwargs", "use_pretrained_backbone")


def with_backbone_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a configuration with a `backbone_config`, where those of older versions describe the backbone.

    Raises:
        ConfigurationError: If the backbone is named by a repository.
    """
    rest = {name: value for name, value in values.items() if name not in _BACKBONE_FIELDS}
    if rest.get("backbone_config") is not None:
        return rest
    name, options = values.get("backbone"), values.get("backbone_kwargs") or {}
    if values.get("use_timm_backbone", True):
        rest["backbone_config"] = TimmBackboneConfig(
            backbone=name or "resnet50",
            num_channels=options.get("num_channels", values.get("num_channels", 3)),
            out_indices=options.get("out_indices", [1, 2, 3, 4]),
            output_stride=options.get("output_stride", 16) if values.get("dilation") else None,
        )
    elif name is None:
        rest["backbone_config"] = ResNetConfig(out_features=["stage4"])
    else:
        raise ConfigurationError(
            f"The backbone is described only by the name {name!r}.",
            next_step="Pass its configuration as backbone_config=AutoConfig.from_pretrained(name, out_features=[...]).",
        )
    return rest


# The model without a head --------------------------------------------------------------------------------------------

# From the names in older files, those that transformers 5 has in memory, and timm's, to those here; and back to the Hub's.
DETR_RULES = WeightRules(
    legacy={
        r"\bbackbone\.model\.": "backbone.conv_encoder.model.",
        r"\bbackbone\.position_embedding\.": "position_embedding.",
        r"\bo_proj\.": "out_proj.",
        r"\.mlp\.fc([12])\.": r".fc\1.",
        r"(\bbackbone\.conv_encoder\.model\.)(conv1|bn1|layer\d)\.": r"\1_backbone.\2.",
        **TIMM_LEGACY,
    },
    saved={**TIMM_SAVED, r"\bmodel\._backbone\.": "model."},
    unused=(r"num_batches_tracked$",),
)


class DetrBackbone(nn.Module):
    """The convolutional network with frozen norms, of which a ResNet's stem and first stage are not trained."""

    def __init__(self, config) -> None:
        super().__init__()
        network: Any = build_backbone(config.backbone_config)
        freeze_norms(network)
        resnet = network._backbone if isinstance(network, TimmBackbone) else network
        if isinstance(resnet, ResNetBackbone):
            for part in (resnet.embedder, resnet.encoder.stages[0]):
                part.requires_grad_(False)
        self.conv_encoder = nn.ModuleDict({"model": network})  # the place that it has in checkpoints
        self.channels: list[int] = network.channels

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        return self.conv_encoder["model"](pixel_values, return_dict=True).feature_maps


@dataclass(frozen=True)
class DetrFeatures:
    """What the encoder reads.

    Attributes:
        maps: The feature maps of the backbone.
        projected: The last one with `d_model` channels, `(batch, width, rows, columns)`; None without pixels.
        patches: The same as a sequence, `(batch, patches, width)`.
        mask: `(batch, patches)`, true for the image and false for padding.
        positions: `(batch, patches, width)`.
    """

    maps: tuple[Tensor, ...]
    projected: Tensor | None
    patches: Tensor
    mask: Tensor
    positions: Tensor


class DetrPreTrainedModel(PreTrainedModel):
    """What the models of Detr share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import DetrModel, DetrPreTrainedModel
        >>> issubclass(DetrModel, DetrPreTrainedModel)
        True
    """

    config_class: ClassVar[type[PretrainedConfig]] = DetrConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    weight_rules = DETR_RULES

    @torch.no_grad()
    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As `PreTrainedModel.init_parameter`; learned positions start uniform from 0 to 1."""
        if isinstance(module, DetrPositionTable):
            module.weight.uniform_()
        else:
            super().init_parameter(module, name)


class DetrModel(DetrPreTrainedModel):
    """Backbone, encoder and decoder without a head.

    Args:
        config: DETR's settings.

    Example:
        >>> import torch
        >>> from notebook_kit import DetrConfig, DetrModel, ResNetConfig
        >>> resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=["stage4"])
        >>> config = DetrConfig(backbone_config=resnet, d_model=32, encoder_layers=1, decoder_layers=1, num_queries=5)
        >>> DetrModel(config).eval()(torch.rand(1, 3, 96, 64)).last_hidden_state.shape
        torch.Size([1, 5, 32])
    """

    encoder_class: ClassVar[type[DetrEncoder]] = DetrEncoder
    decoder_class: ClassVar[type[DetrDecoder]] = DetrDecoder
    output_class: ClassVar[type[DetrModelOutput]] = DetrModelOutput

    def __init__(self, config) -> None:
        super().__init__(config)
        self.backbone = DetrBackbone(config)
        self.position_embedding = POSITIONS[config.position_embedding_type](config.d_model)
        self.query_position_embeddings = nn.Embedding(config.num_queries, config.d_model)
        self.input_projection = nn.Conv2d(self.backbone.channels[-1], config.d_model, 1)
        self.encoder = self.encoder_class(config)
        self.decoder = self.decoder_class(config)
        self.post_init()

    def get_encoder(self) -> DetrEncoder:
        """The encoder."""
        return self.encoder

    def freeze_backbone(self) -> None:
        """Do not train the backbone."""
        self.backbone.requires_grad_(False)

    def unfreeze_backbone(self) -> None:
        """Train the whole backbone, except its norms."""
        self.backbone.requires_grad_(True)

    def features(self, pixel_values: Tensor | None, pixel_mask: Tensor | None, inputs_embeds: Tensor | None):
        """What the encoder reads, `DetrFeatures`, from images or from patches.

        Raises:
            InputError: If neither or both are passed, or a shape does not fit.
        """
        if (pixel_values is None) == (inputs_embeds is None):
            raise InputError(
                f"A model takes either pixel_values or inputs_embeds, and got {'both' if inputs_embeds is not None else 'neither'}.",
                next_step="Call model(**processor(images, return_tensors='pt')).",
            )
        if inputs_embeds is not None:
            B, T, _ = inputs_embeds.shape
            side = math.isqrt(T)
            if side * side != T:
                raise InputError(
                    f"inputs_embeds has {T} patches; expected those of a square feature map.",
                    next_step="Pass pixel_values for images that are not square.",
                )
            maps, projected, patches, size = (), None, inputs_embeds, (side, side)
        else:
            assert pixel_values is not None
            B, H, W = check_pixels(pixel_values, self.config.num_channels)
            if pixel_mask is not None and pixel_mask.shape != (B, H, W):
                raise InputError(
                    f"pixel_mask has shape {tuple(pixel_mask.shape)}; expected {(B, H, W)}, as pixel_values.",
                    next_step="Pass the image processor's whole output: model(**processor(images, return_tensors='pt')).",
                )
            maps = self.backbone(pixel_values.to(self.input_projection.weight.dtype))
            projected = self.input_projection(maps[-1])
            patches, size = projected.flatten(2).transpose(1, 2), projected.shape[-2:]
        if pixel_mask is None:
            mask = torch.ones(B, *size, dtype=torch.bool, device=patches.device)
        else:
            mask = F.interpolate(pixel_mask[None].float(), size)[0].bool()
        positions = self.position_embedding(mask, patches.dtype)
        return DetrFeatures(maps, projected, patches, mask.flatten(1), positions)

    def transform(
        self,
        features: DetrFeatures,
        decoder_attention_mask: Tensor | None,
        encoder_outputs: Any,
        decoder_inputs_embeds: Tensor | None,
        options: Any,
    ) -> DetrModelOutput:
        """The output for features; arguments as those of `forward`."""
        source = (
            self.encoder(features.patches, features.mask, features.positions, **options)
            if encoder_outputs is None
            else as_encoder_output(encoder_outputs)
        )
        positions = self.query_position_embeddings.weight.expand(features.patches.shape[0], -1, -1)
        out = self.decoder(
            torch.zeros_like(positions) if decoder_inputs_embeds is None else decoder_inputs_embeds,
            decoder_attention_mask,
            positions,
            source.last_hidden_state,
            features.mask,
            features.positions,
            **options,
        )
        return self.output_class(
            last_hidden_state=out.last_hidden_state,
            decoder_hidden_states=out.hidden_states,
            decoder_attentions=out.attentions,
            cross_attentions=out.cross_attentions,
            encoder_last_hidden_state=source.last_hidden_state,
            encoder_hidden_states=source.hidden_states,
            encoder_attentions=source.attentions,
            intermediate_hidden_states=out.intermediate_hidden_states,
        )

    def forward(
        self,
        pixel_values: Tensor | None = None,
        pixel_mask: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> DetrModelOutput:
        """Decode the object queries for a batch of images.

        Args:
            pixel_values: `(batch, channels, height, width)`.
            pixel_mask: `(batch, height, width)`, 1 for the image and 0 for padding on the right and at the bottom; all 1 by
                default.
            decoder_attention_mask: `(batch, queries)`, 1 for a query and 0 for one to ignore.
            encoder_outputs: The encoder's output of an earlier call for these images.
            inputs_embeds: `(batch, patches, width)` of a square feature map, in place of `pixel_values`.
            decoder_inputs_embeds: `(batch, queries, width)`, the decoder's input; zeros by default.
            output_attentions: Return the weights of all attentions: among patches, among queries, and from queries to patches.
            output_hidden_states: Return the hidden states before and after every layer of both halves.

        Raises:
            InputError: If a shape does not fit.
        """
        features = self.features(pixel_values, pixel_mask, inputs_embeds)
        options = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self.transform(features, decoder_attention_mask, encoder_outputs, decoder_inputs_embeds, options)


# Heads ---------------------------------------------------------------------------------------------------------------


class DetrForObjectDetection(DetrPreTrainedModel):
    """DETR with a class and a box per query.

    Example:
        >>> import torch
        >>> from notebook_kit import DetrConfig, DetrForObjectDetection, ResNetConfig
        >>> resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=["stage4"])
        >>> config = DetrConfig(backbone_config=resnet, d_model=32, encoder_layers=1, decoder_layers=1, num_queries=5)
        >>> model = DetrForObjectDetection(config)
        >>> labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.4]])}]
        >>> out = model(torch.rand(1, 3, 96, 64), labels=labels)
        >>> out.logits.shape, out.pred_boxes.shape, out.loss > 0
        (torch.Size([1, 5, 3]), torch.Size([1, 5, 4]), tensor(True))
    """

    backbone: ClassVar[type[DetrModel]] = DetrModel
    output_class: ClassVar[type[ModelOutput]] = DetrObjectDetectionOutput

    def __init__(self, config) -> None:
        super().__init__(config)
        self.model = self.backbone(config)
        self.class_labels_classifier = nn.Linear(config.d_model, config.num_labels + 1)
        self.bbox_predictor = BoxHead(config.d_model)
        self.post_init()

    def predict(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and boxes from the decoder's states, `(..., queries, width)`."""
        return self.class_labels_classifier(states), self.bbox_predictor(states).sigmoid()

    def earlier(self, states: Tensor | None) -> list[tuple[Tensor, Tensor]] | None:
        """Logits and boxes of each layer but the last, from the states of all; None without states."""
        return None if states is None else [self.predict(layer) for layer in states[:-1]]

    def forward(
        self,
        pixel_values: Tensor | None = None,
        pixel_mask: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: list[dict[str, Tensor]] | None = None,
        **options: Unpack[OutputOptions],
    ) -> Any:
        """As `DetrModel.forward`.

        Args:
            labels: For each image, `"class_labels"` `(objects,)` and `"boxes"` `(objects, 4)`: center x, center y, width and
                height, in fractions of the image's size.
        """
        out = self.model(
            pixel_values,
            pixel_mask,
            decoder_attention_mask,
            encoder_outputs,
            inputs_embeds,
            decoder_inputs_embeds,
            return_dict=True,
            **options,
        )
        states = out.pop("intermediate_hidden_states", None)
        logits, boxes = self.predict(out.last_hidden_state)
        loss = loss_parts = earlier = None
        if labels is not None:
            earlier = self.earlier(states)
            loss, loss_parts = detection.detection_loss(logits, boxes, labels, self.config, earlier=earlier or ())
        return self.output_class(
            out,
            loss=loss,
            loss_dict=loss_parts,
            logits=logits,
            pred_boxes=boxes,
            auxiliary_outputs=as_dictionaries(earlier),
        )


def as_dictionaries(earlier: list[tuple[Tensor, Tensor]] | None) -> list[dict[str, Tensor]] | None:
    """The predictions of earlier layers, as an output contains them."""
    return None if earlier is None else [{"logits": logits, "pred_boxes": boxes} for logits, boxes in earlier]


class DetrForSegmentation(DetrPreTrainedModel):
    """DETR with a class, a box and a mask per query.

    Example:
        >>> import torch
        >>> from notebook_kit import DetrConfig, DetrForSegmentation, ResNetConfig
        >>> stages = ["stage1", "stage2", "stage3", "stage4"]
        >>> resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=stages)
        >>> config = DetrConfig(backbone_config=resnet, d_model=32, encoder_layers=1, decoder_layers=1, num_queries=5)
        >>> DetrForSegmentation(config).eval()(torch.rand(1, 3, 96, 64)).pred_masks.shape
        torch.Size([1, 5, 24, 16])
    """

    base_model_prefix = "detr"  # under which it has the weights of a DetrForObjectDetection
    weight_rules = replace(
        DETR_RULES,
        legacy={
            **DETR_RULES.legacy,
            r"\bbbox_attention\.([qk])_proj\.": r"bbox_attention.\1_linear.",
            **{rf"\bmask_head\.conv{n}\.conv\.": f"mask_head.lay{n}." for n in (1, 2)},
            **{rf"\bmask_head\.conv{n}\.norm\.": f"mask_head.gn{n}." for n in (1, 2)},
            **{rf"\bmask_head\.fpn_stages\.{n}\.fpn_adapter\.": f"mask_head.adapter{n + 1}." for n in range(3)},
            **{rf"\bmask_head\.fpn_stages\.{n}\.refine\.conv\.": f"mask_head.lay{n + 3}." for n in range(3)},
            **{rf"\bmask_head\.fpn_stages\.{n}\.refine\.norm\.": f"mask_head.gn{n + 3}." for n in range(3)},
            r"\bmask_head\.output_conv\.": "mask_head.out_lay.",
        },
    )

    def __init__(self, config: DetrConfig) -> None:
        super().__init__(config)
        width, heads = config.d_model, config.encoder_attention_heads
        self.detr = DetrForObjectDetection(config)
        channels = self.detr.model.backbone.channels
        if len(channels) != 4:
            raise ConfigurationError(
                f"Masks are computed from four feature maps of the backbone, and this one returns {len(channels)}.",
                next_step="Set config.backbone_config.out_features = ['stage1', 'stage2', 'stage3', 'stage4'].",
            )
        if width % 16 or (width + heads) % 8 or (width // 16 > 8 and width % 128):
            raise ConfigurationError(
                f"A width of {width} with {heads} heads cannot be normalized in 8 groups in each layer of the mask head.",
                next_step="Choose a d_model that is a multiple of 128, and a number of heads that is a multiple of 8.",
            )
        self.mask_head = DetrMaskHead(width, heads, channels[-2::-1], config.activation_function)
        self.bbox_attention = DetrSpatialAttention(width, heads)
        self.post_init()

    @torch.no_grad()
    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As `PreTrainedModel.init_parameter`, with the published spread of the weights of the mask head."""
        if name == "weight" and isinstance(module, nn.Conv2d) and module in self.mask_head.children():
            nn.init.kaiming_uniform_(module.weight, a=1)
        elif name == "weight" and module in (self.bbox_attention.q_linear, self.bbox_attention.k_linear):
            nn.init.xavier_uniform_(module.weight, gain=self.config.init_xavier_std)
        else:
            super().init_parameter(module, name)

    def forward(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: list[dict[str, Tensor]] | None = None,
        **options: Unpack[OutputOptions],
    ) -> DetrSegmentationOutput:
        """As `DetrForObjectDetection.forward`, except that `inputs_embeds` cannot be used: masks need the feature maps.

        Args:
            labels: Also with `"masks"` `(objects, height, width)` of 0 and 1 for each image.
        """
        detr, model = self.detr, self.detr.model
        features = model.features(pixel_values, pixel_mask, inputs_embeds)
        if features.projected is None:
            raise InputError("Masks need the feature maps of the backbone.", next_step="Pass pixel_values.")
        out = model.transform(features, decoder_attention_mask, encoder_outputs, decoder_inputs_embeds, options)
        states = out.pop("intermediate_hidden_states", None)
        logits, boxes = detr.predict(out.last_hidden_state)
        memory: Any = out.encoder_last_hidden_state
        attention = self.bbox_attention(out.last_hidden_state, memory, padding_mask(features.mask, memory.dtype))
        attention = attention.unflatten(-1, features.projected.shape[-2:])  # (batch, queries, heads, rows, columns)
        masks = self.mask_head(features.projected, attention, features.maps[-2::-1])
        loss = loss_parts = earlier = None
        if labels is not None:
            earlier = detr.earlier(states)
            loss, loss_parts = detection.detection_loss(
                logits, boxes, labels, self.config, masks=masks, earlier=earlier or ()
            )
        return DetrSegmentationOutput(
            out,
            loss=loss,
            loss_dict=loss_parts,
            logits=logits,
            pred_boxes=boxes,
            pred_masks=masks,
            auxiliary_outputs=as_dictionaries(earlier),
        )
