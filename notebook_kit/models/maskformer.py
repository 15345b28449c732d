"""MaskFormer: a class and a mask per object query, from a backbone, a pyramid of its maps, and DETR's decoder.

Source: Cheng et al., Per-Pixel Classification is Not All You Need for Semantic Segmentation, 2021.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, a_kind
from notebook_kit.fields import NonNegative, Size
from notebook_kit.models.detr import DetrConfig
from notebook_kit.models.detr_blocks import DetrDecoder, DetrDecoderOutput, DetrSinePositions
from notebook_kit.models.maskformer_swin import MaskFormerSwinConfig, restore_places
from notebook_kit.models.swin import SwinConfig
from notebook_kit.models.timm_backbone import TIMM_LEGACY, TIMM_SAVED, BackboneConfigs, build_backbone
from notebook_kit.nn import segmentation
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.outputs import ModelOutput
from notebook_kit.nn.patches import as_sequence, check_pixels

__all__ = [
    "MaskFormerConfig",
    "MaskFormerForInstanceSegmentation",
    "MaskFormerForInstanceSegmentationOutput",
    "MaskFormerModel",
    "MaskFormerModelOutput",
    "MaskFormerPreTrainedModel",
]

GROUPS = 32
"""Groups of the norms in the pyramid."""


class MaskFormerConfig(PretrainedConfig):
    """MaskFormer's settings; the defaults are those of `facebook/maskformer-swin-base-ade`.

    Args:
        fpn_feature_size: Width of the pyramid; a multiple of 32.
        mask_feature_size: Width of the vectors whose products with those of pixels are the masks.
        no_object_weight: Weight of "no object" in the loss of the classes.
        use_auxiliary_loss: Add the losses of the earlier layers of the decoder to the loss.
        backbone_config: The configuration of the backbone: a `SwinConfig`, a `ResNetConfig`, or that of another backbone.
        decoder_config: A `DetrConfig`, of which the decoder's settings and the number of queries apply.
        init_std, init_xavier_std: Spread of the initial weights; the latter of the pyramid and of the head of masks.
        dice_weight, cross_entropy_weight, mask_weight: Weights of the parts of the loss.
        output_auxiliary_logits: Whether outputs contain the predictions of the earlier layers of the decoder.

    Example:
        >>> from notebook_kit import MaskFormerConfig
        >>> config = MaskFormerConfig()
        >>> config.backbone_config.model_type, config.decoder_config.num_queries
        ('swin', 100)
    """

    model_type: ClassVar[str] = "maskformer"
    attribute_map: ClassVar[dict[str, str]] = {"hidden_size": "mask_feature_size"}
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": BackboneConfigs, "decoder_config": DetrConfig}

    fpn_feature_size: Size = 256
    mask_feature_size: Size = 256
    no_object_weight: NonNegative = 0.1
    use_auxiliary_loss: bool = False
    backbone_config: Any = None
    decoder_config: Any = None
    init_std: NonNegative = 0.02
    init_xavier_std: NonNegative = 1.0
    dice_weight: float = 1.0
    cross_entropy_weight: float = 1.0
    mask_weight: float = 20.0
    output_auxiliary_logits: bool | None = None

    @property
    def num_queries(self) -> int:
        """The number of object queries, and so of predictions per image."""
        return self.decoder_config.num_queries

    @property
    def num_attention_heads(self) -> int:
        """The heads of the nested DETR."""
        return self.decoder_config.encoder_attention_heads

    @property
    def num_hidden_layers(self) -> int:
        """The layers of the nested DETR's encoder, which MaskFormer does not have."""
        return self.decoder_config.encoder_layers

    def validate(self) -> None:
        """As in `PretrainedConfig`, with the published backbone and decoder in place of None.

        Raises:
            ConfigurationError: Also if the pyramid cannot be normed in 32 groups, or the decoder is not DETR's.
        """
        if self.backbone_config is None:
            self.backbone_config = SwinConfig(
                depths=[2, 2, 18, 2],
                drop_path_rate=0.3,
                image_size=384,
                embed_dim=128,
                num_heads=[4, 8, 16, 32],
                window_size=12,
                out_features=["stage1", "stage2", "stage3", "stage4"],
            )
        if self.decoder_config is None:
            self.decoder_config = DetrConfig()
        super().validate()
        if not isinstance(self.decoder_config, DetrConfig):
            raise ConfigurationError(
                f"decoder_config is {a_kind(self.decoder_config)}; expected a DetrConfig.",
                next_step="Pass DetrConfig(decoder_layers=..., num_queries=...), or a dictionary with these fields.",
            )
        if self.fpn_feature_size % GROUPS:
            raise ConfigurationError(
                f"MaskFormerConfig: a width of {self.fpn_feature_size} cannot be normed in {GROUPS} groups.",
                next_step=f"Choose an fpn_feature_size that is a multiple of {GROUPS}.",
            )

    def check_heads(self) -> None:
        """Nothing: `hidden_size` is the width of the masks here, and heads are those of the nested configurations."""


# Outputs -------------------------------------------------------------------------------------------------------------


class MaskFormerModelOutput(ModelOutput):
    """The output of MaskFormer without a head.

    Attributes:
        encoder_last_hidden_state: The last map of the backbone, `(batch, channels, rows, columns)`.
        pixel_decoder_last_hidden_state: The vectors of the pixels, `(batch, mask_feature_size, height / 4, width / 4)`.
        transformer_decoder_last_hidden_state: The vectors of the queries, `(batch, queries, width)`.
        encoder_hidden_states: With `output_hidden_states=True`, the maps of the backbone.
        pixel_decoder_hidden_states: With it, the maps of the pyramid, from coarse to fine.
        transformer_decoder_hidden_states: With it, the queries before and after every layer of the decoder.
        hidden_states: The three tuples as one.
        attentions: With `output_attentions=True`, of the queries to each other, `(batch, heads, queries, queries)` per layer.
    """

    encoder_last_hidden_state: Tensor | None = None
    pixel_decoder_last_hidden_state: Tensor = None  # type: ignore[assignment]
    transformer_decoder_last_hidden_state: Tensor = None  # type: ignore[assignment]
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    pixel_decoder_hidden_states: tuple[Tensor, ...] | None = None
    transformer_decoder_hidden_states: tuple[Tensor, ...] | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class MaskFormerForInstanceSegmentationOutput(ModelOutput):
    """Predicted classes and masks.

    Attributes:
        loss: If labels were passed.
        class_queries_logits: `(batch, queries, classes + 1)`; the last class is "no object".
        masks_queries_logits: `(batch, queries, height / 4, width / 4)`, a logit per pixel.
        auxiliary_logits: If requested, the two kinds of logits from the decoder's states before each layer.
        encoder_last_hidden_state: And the fields after it: as in `MaskFormerModelOutput`.
    """

    loss: Tensor | None = None
    class_queries_logits: Tensor = None  # type: ignore[assignment]
    masks_queries_logits: Tensor = None  # type: ignore[assignment]
    auxiliary_logits: list[dict[str, Tensor]] | None = None
    encoder_last_hidden_state: Tensor | None = None
    pixel_decoder_last_hidden_state: Tensor | None = None
    transformer_decoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    pixel_decoder_hidden_states: tuple[Tensor, ...] | None = None
    transformer_decoder_hidden_states: tuple[Tensor, ...] | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


# From the image to the vectors of its pixels -------------------------------------------------------------------------


class MaskFormerConvolution(nn.Conv2d):
    """A convolution whose initial weights are Xavier's."""


class MaskFormerLinear(nn.Linear):
    """A linear layer whose initial weights are Xavier's."""


def convolved(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution that keeps the resolution, a norm, and an activation."""
    convolution = MaskFormerConvolution(inputs, outputs, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, outputs), nn.ReLU())


class MaskFormerPyramidLayer(nn.Module):
    """The coarser map, enlarged, and a map of the backbone, joined and convolved."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        projection = MaskFormerConvolution(channels, width, kernel_size=1, bias=False)
        self.proj = nn.Sequential(projection, nn.GroupNorm(GROUPS, width))
        self.block = convolved(width, width)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        fine = self.proj(fine)
        return self.block(fine + F.interpolate(coarse, size=fine.shape[-2:], mode="nearest"))


class MaskFormerPyramid(nn.Module):
    """The maps of the backbone, from coarse to fine, each with what the coarser ones saw.

    Source: Lin et al., Feature Pyramid Networks for Object Detection, 2017.
    """

    def __init__(self, channels: list[int], width: int) -> None:
        super().__init__()
        self.stem = convolved(channels[-1], width)
        self.layers = nn.ModuleList(MaskFormerPyramidLayer(width, finer) for finer in channels[-2::-1])

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, states = self.stem(maps[-1]), []
        for layer, finer in zip(self.layers, maps[-2::-1], strict=True):
            x = layer(x, finer)
            states.append(x)
        return tuple(states)


class MaskFormerPixelDecoder(nn.Module):
    """The pyramid, and a vector per pixel of its finest map."""

    def __init__(self, config: MaskFormerConfig, channels: list[int]) -> None:
        super().__init__()
        self.fpn = MaskFormerPyramid(channels, config.fpn_feature_size)
        self.mask_projection = nn.Conv2d(config.fpn_feature_size, config.mask_feature_size, kernel_size=3, padding=1)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`(batch, mask_feature_size, rows, columns)`, and the maps of the pyramid."""
        states = self.fpn(maps)
        return self.mask_projection(states[-1]), states


class MaskFormerPixelLevelModule(nn.Module):
    """The backbone and the decoder of pixels."""

    def __init__(self, config: MaskFormerConfig) -> None:
        super().__init__()
        self.encoder = build_backbone(stored_form(config.backbone_config))
        if len(self.encoder.channels) < 2:
            raise ConfigurationError(
                f"Masks are computed from several maps of the backbone, and this one returns {len(self.encoder.channels)}.",
                next_step="Set config.backbone_config.out_features = ['stage1', 'stage2', 'stage3', 'stage4'].",
            )
        self.decoder = MaskFormerPixelDecoder(config, self.encoder.channels)

    def forward(self, pixel_values: Tensor) -> tuple[tuple[Tensor, ...], Tensor, tuple[Tensor, ...]]:
        """The maps of the backbone, the vectors of the pixels, and the maps of the pyramid."""
        maps = self.encoder(pixel_values, return_dict=True).feature_maps
        return maps, *self.decoder(maps)


def stored_form(config: Any) -> Any:
    """The configuration of the backbone, for a Swin that of the form in which MaskFormer's checkpoints contain it."""
    if type(config) is not SwinConfig:
        return config
    stored = MaskFormerSwinConfig.from_dict(config.to_dict())
    stored.out_features = stored.stage_names[1:]
    return stored


# From the image to its objects ---------------------------------------------------------------------------------------


class MaskFormerTransformerModule(nn.Module):
    """Object queries that read the last map of the backbone."""

    def __init__(self, config: MaskFormerConfig, channels: int, patches: str) -> None:
        super().__init__()
        decoder = config.decoder_config
        self.position_embedder = DetrSinePositions(decoder.d_model)
        self.queries_embedder = nn.Embedding(decoder.num_queries, decoder.d_model)
        same = channels == decoder.d_model
        self.input_projection = None if same else MaskFormerConvolution(channels, decoder.d_model, kernel_size=1)
        self.decoder = DetrDecoder(decoder, patches)

    def forward(self, features: Tensor, output_attentions: bool, output_hidden_states: bool) -> DetrDecoderOutput:
        x = features if self.input_projection is None else self.input_projection(features)
        B, _, H, W = x.shape
        queries = self.queries_embedder.weight.expand(B, -1, -1)
        positions = self.position_embedder(torch.ones(B, H, W, device=x.device), x.dtype)
        return self.decoder(
            torch.zeros_like(queries),
            None,
            queries,
            as_sequence(x),
            None,
            positions,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )


class MaskFormerPreTrainedModel(PreTrainedModel):
    """What the models of MaskFormer share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import MaskFormerModel, MaskFormerPreTrainedModel
        >>> issubclass(MaskFormerModel, MaskFormerPreTrainedModel)
        True
    """

    config_class = MaskFormerConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    weight_rules = WeightRules(
        legacy={  # the names that transformers 5 has in memory, and timm's
            r"(\btransformer_module\.decoder\..*)\bo_proj\.": r"\1out_proj.",
            r"(\btransformer_module\.decoder\..*)\bmlp\.fc([12])\.": r"\1fc\2.",
            **TIMM_LEGACY,
        },
        saved=TIMM_SAVED,
        defaulted=(r"num_batches_tracked$", r"\.relative_position_index$", r"^criterion\.empty_weight$"),
    )

    @torch.no_grad()
    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As `PreTrainedModel.init_parameter`, with Xavier's weights in the pyramid and in the head of masks."""
        if name == "weight" and isinstance(module, MaskFormerConvolution | MaskFormerLinear):
            nn.init.xavier_uniform_(module.weight, gain=self.config.init_xavier_std)
        elif name == "relative_position_index":
            restore_places(module)
        elif isinstance(module, MaskFormerCriterion):
            module.empty_weight.copy_(weights_of_classes(self.config))
        else:
            super().init_parameter(module, name)


class MaskFormerModel(MaskFormerPreTrainedModel):
    """Backbone, pyramid and decoder without a head.

    Args:
        config: MaskFormer's settings.

    Example:
        >>> import torch
        >>> from notebook_kit import DetrConfig, MaskFormerConfig, MaskFormerModel, ResNetConfig
        >>> resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_indices=[1, 2])
        >>> detr = DetrConfig(d_model=32, decoder_layers=1, num_queries=5)
        >>> config = MaskFormerConfig(backbone_config=resnet, decoder_config=detr, fpn_feature_size=32, mask_feature_size=16)
        >>> out = MaskFormerModel(config).eval()(torch.rand(1, 3, 64, 96))
        >>> out.pixel_decoder_last_hidden_state.shape, out.transformer_decoder_last_hidden_state.shape
        (torch.Size([1, 16, 16, 24]), torch.Size([1, 5, 32]))
    """

    def __init__(self, config: MaskFormerConfig) -> None:
        super().__init__(config)
        self.pixel_level_module = MaskFormerPixelLevelModule(config)
        backbone = self.pixel_level_module.encoder
        axes = [site.rows for module in backbone.modules() for site in getattr(module, "sites", ())]
        patches = axes[-1] if axes else "patches"  # those of a Swin's last stage, or of a convolutional network
        self.transformer_module = MaskFormerTransformerModule(config, backbone.channels[-1], patches)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        pixel_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> MaskFormerModelOutput:
        """Decode the object queries for a batch of images.

        Args:
            pixel_values: `(batch, channels, height, width)`, from the checkpoint's image processor.
            pixel_mask: Accepted, since the image processor returns it; padding is read as a part of the image, as in the
                published code.
            output_hidden_states: Return the maps of the backbone and of the pyramid, and the queries before and after every
                layer.
            output_attentions: Return the attention weights among queries.

        Raises:
            InputError: If `pixel_values` does not have this shape.
        """
        check_pixels(pixel_values, self.config.backbone_config.num_channels)
        assert pixel_values is not None
        config = self.config
        with_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        with_weights = config.output_attentions if output_attentions is None else output_attentions
        maps, pixels, pyramid = self.pixel_level_module(pixel_values.to(self.dtype))
        decoded = self.transformer_module(maps[-1], with_weights, with_states)
        out = MaskFormerModelOutput(
            encoder_last_hidden_state=maps[-1],
            pixel_decoder_last_hidden_state=pixels,
            transformer_decoder_last_hidden_state=decoded.last_hidden_state,
            attentions=decoded.attentions,
        )
        if with_states:
            out.encoder_hidden_states, out.pixel_decoder_hidden_states = maps, pyramid
            out.transformer_decoder_hidden_states = decoded.hidden_states
            out.hidden_states = (*maps, *pyramid, *decoded.hidden_states)
        return out


# Heads ---------------------------------------------------------------------------------------------------------------


class MaskFormerCriterion(nn.Module):
    """The weight of each class in the loss, which checkpoints contain."""

    empty_weight: Tensor

    def __init__(self, config: MaskFormerConfig) -> None:
        super().__init__()
        self.register_buffer("empty_weight", weights_of_classes(config))


def weights_of_classes(config: Any) -> Tensor:
    """`(classes + 1,)`: 1, and for "no object" what the configuration says."""
    return torch.tensor([1.0] * config.num_labels + [config.no_object_weight])


class MaskFormerForInstanceSegmentation(MaskFormerPreTrainedModel):
    """MaskFormer with a class and a mask per query, for semantic, instance and panoptic segmentation.

    Example:
        >>> import torch
        >>> from notebook_kit import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation, ResNetConfig
        >>> resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_indices=[1, 2])
        >>> detr = DetrConfig(d_model=32, decoder_layers=1, num_queries=5)
        >>> config = MaskFormerConfig(backbone_config=resnet, decoder_config=detr, fpn_feature_size=32, mask_feature_size=16)
        >>> model = MaskFormerForInstanceSegmentation(config)
        >>> labels = {"class_labels": [torch.tensor([0, 1])], "mask_labels": [torch.rand(2, 64, 96).round()]}
        >>> out = model(torch.rand(1, 3, 64, 96), **labels)
        >>> out.class_queries_logits.shape, out.masks_queries_logits.shape, out.loss > 0
        (torch.Size([1, 5, 3]), torch.Size([1, 5, 16, 24]), tensor(True))
    """

    def __init__(self, config: MaskFormerConfig) -> None:
        super().__init__(config)
        width = config.decoder_config.d_model
        self.model = MaskFormerModel(config)
        self.class_predictor = nn.Linear(width, config.num_labels + 1)
        self.mask_embedder = nn.Sequential(
            nn.Sequential(MaskFormerLinear(width, width), nn.ReLU()),
            nn.Sequential(MaskFormerLinear(width, width), nn.ReLU()),
            nn.Sequential(MaskFormerLinear(width, config.mask_feature_size)),
        )
        self.criterion = MaskFormerCriterion(config)
        self.post_init()

    def predict(self, queries: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of classes and of masks, from the vectors of queries and of pixels."""
        return self.class_predictor(queries), torch.einsum("bqc,bchw->bqhw", self.mask_embedder(queries), pixels)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        mask_labels: list[Tensor] | None = None,
        class_labels: list[Tensor] | None = None,
        pixel_mask: Tensor | None = None,
        output_auxiliary_logits: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> MaskFormerForInstanceSegmentationOutput:
        """As `MaskFormerModel.forward`.

        Args:
            mask_labels: For each image, `(objects, height, width)` of 0 and 1, as the image processor returns them.
            class_labels: For each image, `(objects,)`.
            output_auxiliary_logits: With `config.use_auxiliary_loss`, return the predictions of the earlier layers.
        """
        config = self.config
        with_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        out = self.model(
            pixel_values,
            pixel_mask,
            output_hidden_states=with_states or config.use_auxiliary_loss,
            output_attentions=output_attentions,
            return_dict=True,
        )
        pixels, earlier = out.pixel_decoder_last_hidden_state, []
        if config.use_auxiliary_loss:
            earlier = [self.predict(queries, pixels) for queries in out.transformer_decoder_hidden_states[:-1]]
        classes, masks = self.predict(out.transformer_decoder_last_hidden_state, pixels)
        loss = None
        if mask_labels is not None and class_labels is not None:
            loss, _ = segmentation.mask_classification_loss(
                classes, masks, class_labels, mask_labels, config, earlier=earlier
            )
        with_logits = config.output_auxiliary_logits if output_auxiliary_logits is None else output_auxiliary_logits
        if not with_states:
            out = {name: value for name, value in out.items() if not name.endswith("hidden_states")}
        return MaskFormerForInstanceSegmentationOutput(
            out,
            loss=loss,
            class_queries_logits=classes,
            masks_queries_logits=masks,
            auxiliary_logits=as_dictionaries(earlier) if with_logits else None,
        )


def as_dictionaries(earlier: list[tuple[Tensor, Tensor]]) -> list[dict[str, Tensor]]:
    """The predictions of earlier layers, as an output contains them."""
    return [{"masks_queries_logits": masks, "class_queries_logits": classes} for classes, masks in earlier]
