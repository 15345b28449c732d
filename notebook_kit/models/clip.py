"""CLIP: two transformers, one for texts and one for images, whose vectors are close where a text fits an image.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.models.clip_blocks import (
    CLIPEncoder,
    CLIPOutput,
    CLIPTextEmbeddings,
    TwoTowerConfig,
    TwoTowers,
    set_deviation,
)
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.heads import join_output
from notebook_kit.nn.image_heads import linear_classifier
from notebook_kit.nn.losses import sequence_classification_loss
from notebook_kit.nn.masks import causal_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPooling, ImageClassifierOutput, ModelOutput
from notebook_kit.nn.patches import PatchConvolution, check_sides

__all__ = [
    "CLIPConfig",
    "CLIPForImageClassification",
    "CLIPModel",
    "CLIPOutput",
    "CLIPPreTrainedModel",
    "CLIPTextConfig",
    "CLIPTextModel",
    "CLIPTextModelOutput",
    "CLIPTextModelWithProjection",
    "CLIPVisionConfig",
    "CLIPVisionModel",
    "CLIPVisionModelOutput",
    "CLIPVisionModelWithProjection",
]


class CLIPTextConfig(PretrainedConfig):
    """The settings of CLIP's transformer for texts; the defaults are those of `openai/clip-vit-base-patch32`.

    Args:
        vocab_size: Rows of the token embeddings.
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside the feed-forward block.
        projection_dim: Width of the vectors that are compared with those of images.
        num_hidden_layers: Number of layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        max_position_embeddings: Maximum length of a text, in tokens.
        hidden_act: Activation of the feed-forward block.
        layer_norm_eps: Epsilon of the layer norms.
        attention_dropout: Dropout of attention weights.
        initializer_range: Standard deviation of some initial weights.
        initializer_factor: Factor of all initial weights.

    Example:
        >>> from notebook_kit import CLIPTextConfig
        >>> CLIPTextConfig(num_hidden_layers=2).max_position_embeddings
        77
    """

    model_type: ClassVar[str] = "clip_text_model"
    base_config_key: ClassVar[str] = "text_config"

    vocab_size: Rows = 49408
    hidden_size: Size = 512
    intermediate_size: Size = 2048
    projection_dim: Size = 512
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 8
    max_position_embeddings: Rows = 77
    hidden_act: Activation = "quick_gelu"
    layer_norm_eps: NonNegative = 1e-5
    attention_dropout: Fraction = 0.0
    initializer_range: NonNegative = 0.02
    initializer_factor: NonNegative = 1.0
    pad_token_id: int | None = 1
    bos_token_id: int | None = 49406
    eos_token_id: int | list[int] | None = 49407


class CLIPVisionConfig(PretrainedConfig):
    """The settings of CLIP's transformer for images; the defaults are those of `openai/clip-vit-base-patch32`.

    Args:
        hidden_size, intermediate_size, ...: As for `CLIPTextConfig`.
        num_channels: Channels of an image.
        image_size: Side of an image in pixels, or `[height, width]`.
        patch_size: Side of a patch in pixels, or `[height, width]`.

    Example:
        >>> from notebook_kit import CLIPVisionConfig
        >>> CLIPVisionConfig(num_hidden_layers=2).patch_size
        32
    """

    model_type: ClassVar[str] = "clip_vision_model"
    base_config_key: ClassVar[str] = "vision_config"

    hidden_size: Size = 768
    intermediate_size: Size = 3072
    projection_dim: Size = 512
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    num_channels: Size = 3
    image_size: Size | list[int] = 224
    patch_size: Size | list[int] = 32
    hidden_act: Activation = "quick_gelu"
    layer_norm_eps: NonNegative = 1e-5
    attention_dropout: Fraction = 0.0
    initializer_range: NonNegative = 0.02
    initializer_factor: NonNegative = 1.0

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that patches fit into an image."""
        super().validate()
        check_sides(self)


class CLIPConfig(TwoTowerConfig):
    """CLIP's settings; the defaults are those of `openai/clip-vit-base-patch32`.

    Args:
        text_config: The `CLIPTextConfig`, or a dictionary of its fields.
        vision_config: The `CLIPVisionConfig`, or a dictionary of its fields.
        projection_dim: Width of the vectors that are compared.
        logit_scale_init_value: The initial logarithm of the factor of similarities.
        initializer_factor: Factor of the initial weights of the projections.

    Example:
        >>> from notebook_kit import CLIPConfig
        >>> config = CLIPConfig(text_config={"num_hidden_layers": 2}, projection_dim=64)
        >>> config.text_config.num_hidden_layers, config.vision_config.num_hidden_layers
        (2, 12)
    """

    model_type: ClassVar[str] = "clip"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": CLIPTextConfig, "vision_config": CLIPVisionConfig}

    text_config: CLIPTextConfig = None  # type: ignore[assignment]
    vision_config: CLIPVisionConfig = None  # type: ignore[assignment]
    projection_dim: Size = 512
    logit_scale_init_value: float = 2.6592
    initializer_factor: NonNegative = 1.0


# Outputs -------------------------------------------------------------------------------------------------------------


class CLIPTextModelOutput(ModelOutput):
    """The output of `CLIPTextModelWithProjection`: `text_embeds` is `(texts, projection_dim)`, not normalized.

    Example:
        >>> import torch
        >>> list(CLIPTextModelOutput(text_embeds=torch.zeros(2, 16)))
        ['text_embeds']
    """

    text_embeds: Tensor = None  # type: ignore[assignment]
    last_hidden_state: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class CLIPVisionModelOutput(ModelOutput):
    """The output of `CLIPVisionModelWithProjection`: `image_embeds` is `(images, projection_dim)`, not normalized.

    Example:
        >>> import torch
        >>> list(CLIPVisionModelOutput(image_embeds=torch.zeros(2, 16)))
        ['image_embeds']
    """

    image_embeds: Tensor = None  # type: ignore[assignment]
    last_hidden_state: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class CLIPVisionEmbeddings(nn.Module):
    """A class token and the patches, each with its position: `(batch, channels, height, width)` to `(batch, tokens, width)`."""

    def __init__(self, config) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(config.hidden_size))
        self.patch_embedding = PatchConvolution(config, bias=False)
        self.position_embedding = nn.Embedding(self.patch_embedding.num_patches + 1, config.hidden_size)
        set_deviation(config.hidden_size**-0.5, self)

    def forward(self, pixel_values: Any, interpolate: bool) -> Tensor:
        patches = self.patch_embedding(pixel_values)
        x = torch.cat([self.class_embedding.expand(patches.shape[0], 1, -1), patches], dim=1)
        return x + self.patch_embedding.resized(self.position_embedding.weight, pixel_values, interpolate)


# The towers ----------------------------------------------------------------------------------------------------------


class CLIPPreTrainedModel(PreTrainedModel):
    """What the models of CLIP share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import CLIPModel, CLIPPreTrainedModel
        >>> issubclass(CLIPModel, CLIPPreTrainedModel)
        True
    """

    config_class: ClassVar[type[PretrainedConfig]] = CLIPConfig
    base_model_prefix = "clip"
    weight_rules = WeightRules(unused=(r"position_ids$",), optional=(r"^classifier\.",))

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`, with deviations that depend on the width and the number of layers."""
        parameter, is_norm = module.get_parameter(name), isinstance(module, nn.LayerNorm)
        if name == "logit_scale":
            nn.init.constant_(parameter, self.config.logit_scale_init_value)
        elif name == "bias" or is_norm:
            super().init_parameter(module, name)
        else:
            std = getattr(module, "init_std", getattr(self.config, "initializer_range", 0.02))
            nn.init.normal_(parameter, std=std * self.config.initializer_factor)


class CLIPTextModel(CLIPPreTrainedModel):
    """CLIP's transformer for texts: ids in, one vector per token out, and that of the end-of-text token.

    Example:
        >>> import torch
        >>> from notebook_kit import CLIPTextConfig, CLIPTextModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = CLIPTextModel(CLIPTextConfig(**size, vocab_size=50, eos_token_id=49))
        >>> out = model(torch.tensor([[48, 17, 8, 49]]))
        >>> out.last_hidden_state.shape, torch.equal(out.pooler_output, out.last_hidden_state[:, 3])
        (torch.Size([1, 4, 32]), True)
    """

    config_class = CLIPTextConfig
    base_model_prefix = "text_model"
    position_field = "max_position_embeddings"
    input_embeddings = ("embeddings.token_embedding",)
    config: CLIPTextConfig

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__(config)
        self.embeddings = CLIPTextEmbeddings(config)
        self.encoder = CLIPEncoder(config, "text")
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of texts. Each token attends to those before it.

        Args:
            input_ids: `(texts, tokens)`, from the checkpoint's tokenizer.
            attention_mask: `(texts, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            position_ids: `(texts, tokens)`; 0, 1, 2, ... by default.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are missing or outside the vocabulary, the mask does not fit, there are more tokens than
                positions, or a text has no end-of-text token.
        """
        x = self.embeddings(input_ids, position_ids)
        mask, is_causal = causal_mask(attention_mask, x.shape[:2], 0, x.dtype, x.device)
        x, states, attentions = self.encoder(
            x, mask, is_causal, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        x = self.final_layer_norm(x)
        assert input_ids is not None
        rows = torch.arange(x.shape[0], device=x.device)
        return BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=x[rows, self._ends(input_ids).to(x.device)],
            hidden_states=states,
            attentions=attentions,
        )

    def _ends(self, input_ids: Tensor) -> Tensor:
        """The place of each text's first end-of-text token, `(texts,)`."""
        end = self.config.eos_token_id
        if end == 2:  # a mistake in old files, whose tokenizers have the end-of-text token as their last one
            return input_ids.argmax(dim=-1)
        ends = [] if end is None else [end] if isinstance(end, int) else end
        is_end = torch.zeros_like(input_ids, dtype=torch.bool)
        for each in ends:
            is_end = is_end | (input_ids == each)
        if not is_end.is_meta and not bool(is_end.any(dim=-1).all()):  # a graph is traced without values
            raise InputError(
                f"A text has no end-of-text token (id {end}), whose state stands for the text.",
                next_step="Pass what the checkpoint's tokenizer returns; in a configuration of your own, set "
                "text_config.eos_token_id = tokenizer.eos_token_id.",
            )
        return is_end.long().argmax(dim=-1)


class CLIPVisionModel(CLIPPreTrainedModel):
    """CLIP's transformer for images: pixels in, one vector for a class token and for each patch out.

    Example:
        >>> import torch
        >>> from notebook_kit import CLIPVisionConfig, CLIPVisionModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> out = CLIPVisionModel(CLIPVisionConfig(**size, image_size=32, patch_size=8))(torch.rand(1, 3, 32, 32))
        >>> out.last_hidden_state.shape, out.pooler_output.shape  # a class token, then 4 x 4 patches
        (torch.Size([1, 17, 32]), torch.Size([1, 32]))
    """

    config_class = CLIPVisionConfig
    base_model_prefix = "vision_model"
    main_input_name = "pixel_values"
    input_embeddings = ("embeddings.patch_embedding",)

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__(config)
        self.embeddings = CLIPVisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)  # its name in the files
        self.encoder = CLIPEncoder(config, "patches")
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of images.

        Args:
            pixel_values: `(images, channels, height, width)`, from the checkpoint's image processor.
            interpolate_pos_encoding: Accept images of any size, with positions interpolated.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If `pixel_values` does not have this shape, or the images are not of the size that the model has
                positions for.
        """
        x = self.pre_layrnorm(self.embeddings(pixel_values, bool(interpolate_pos_encoding)))
        x, states, attentions = self.encoder(
            x, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        return BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=self.post_layernorm(x[:, 0]),
            hidden_states=states,
            attentions=attentions,
        )


# Both towers ---------------------------------------------------------------------------------------------------------


class CLIPModel(CLIPPreTrainedModel, TwoTowers):
    """Both transformers, with a projection each: how well each text fits each image.

    Example:
        >>> import torch
        >>> from notebook_kit import CLIPConfig, CLIPModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> text, vision = {**size, "vocab_size": 50, "eos_token_id": 49}, {**size, "image_size": 32, "patch_size": 8}
        >>> model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        >>> texts, images = torch.tensor([[48, 17, 49], [48, 8, 49]]), torch.rand(2, 3, 32, 32)
        >>> out = model(texts, images, return_loss=True)
        >>> out.logits_per_image.shape, out.loss > 0
        (torch.Size([2, 2]), tensor(True))
    """

    config: CLIPConfig

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        self.text_model = CLIPTextModel(config.text_config)
        self.vision_model = CLIPVisionModel(config.vision_config)
        self.visual_projection = projection(config.vision_config.hidden_size, config.projection_dim)
        self.text_projection = projection(config.text_config.hidden_size, config.projection_dim)
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.post_init()

    def text_vector(self, pooled: Tensor) -> Tensor:
        """The projection of the pooled output."""
        return self.text_projection(pooled)

    def image_vector(self, pooled: Tensor) -> Tensor:
        """The projection of the pooled output."""
        return self.visual_projection(pooled)


def projection(width: int, dimensions: int) -> nn.Linear:
    """A linear layer without a bias."""
    layer = nn.Linear(width, dimensions, bias=False)
    set_deviation(width**-0.5, layer)
    return layer


class CLIPTextModelWithProjection(CLIPPreTrainedModel):
    """CLIP's transformer for texts with its projection: one vector per text.

    Example:
        >>> import torch
        >>> from notebook_kit import CLIPTextConfig, CLIPTextModelWithProjection
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = CLIPTextModelWithProjection(CLIPTextConfig(**size, vocab_size=50, eos_token_id=49, projection_dim=16))
        >>> model(torch.tensor([[48, 17, 8, 49]])).text_embeds.shape
        torch.Size([1, 16])
    """

    config_class = CLIPTextConfig
    base_model_prefix = "text_model"
    position_field = "max_position_embeddings"
    input_embeddings = ("embeddings.token_embedding",)

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__(config)
        self.text_model = CLIPTextModel(config)
        self.text_projection = projection(config.hidden_size, config.projection_dim)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> CLIPTextModelOutput:
        """Encode a batch of texts; the arguments are those of `CLIPTextModel.forward`."""
        out = self.text_model(
            input_ids, attention_mask, position_ids, output_attentions, output_hidden_states, return_dict=True
        )
        return join_output(CLIPTextModelOutput, out, text_embeds=self.text_projection(out.pooler_output))


class CLIPVisionModelWithProjection(CLIPPreTrainedModel):
    """CLIP's transformer for images with its projection: one vector per image.

    Example:
        >>> import torch
        >>> from notebook_kit import CLIPVisionConfig, CLIPVisionModelWithProjection
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = CLIPVisionModelWithProjection(CLIPVisionConfig(**size, image_size=32, patch_size=8, projection_dim=16))
        >>> model(torch.rand(1, 3, 32, 32)).image_embeds.shape
        torch.Size([1, 16])
    """

    config_class = CLIPVisionConfig
    base_model_prefix = "vision_model"
    main_input_name = "pixel_values"
    input_embeddings = ("embeddings.patch_embedding",)

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__(config)
        self.vision_model = CLIPVisionModel(config)
        self.visual_projection = projection(config.hidden_size, config.projection_dim)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> CLIPVisionModelOutput:
        """Encode a batch of images; the arguments are those of `CLIPVisionModel.forward`."""
        out = self.vision_model(
            pixel_values, interpolate_pos_encoding, output_attentions, output_hidden_states, return_dict=True
        )
        return join_output(CLIPVisionModelOutput, out, image_embeds=self.visual_projection(out.pooler_output))


class CLIPForImageClassification(CLIPPreTrainedModel):
    """CLIP's transformer for images with a linear layer on the mean of its patches: one prediction per image.

    Example:
        >>> import torch
        >>> from notebook_kit import CLIPConfig, CLIPForImageClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> config = CLIPConfig(vision_config={**size, "image_size": 32, "patch_size": 8}, num_labels=3)
        >>> CLIPForImageClassification(config)(torch.rand(2, 3, 32, 32)).logits.shape
        torch.Size([2, 3])
    """

    main_input_name = "pixel_values"
    input_embeddings = ("vision_model.embeddings.patch_embedding",)

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        width = config.vision_config.hidden_size
        self.num_labels = config.num_labels
        self.vision_model = CLIPVisionModel(config.vision_config)
        self.classifier = linear_classifier(width, config.num_labels)
        set_deviation(width**-0.5, self.classifier)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> ImageClassifierOutput:
        """As `CLIPVisionModel.forward`, with a prediction per image.

        Args:
            pixel_values, interpolate_pos_encoding, ...: As for `CLIPVisionModel`.
            labels: Of the kind that `config.problem_type` names; see `sequence_classification_loss`.
        """
        out = self.vision_model(
            pixel_values, interpolate_pos_encoding, output_attentions, output_hidden_states, return_dict=True
        )
        logits = self.classifier(out.last_hidden_state[:, 1:].mean(dim=1))
        loss = sequence_classification_loss(logits, labels, self.config)
        return join_output(ImageClassifierOutput, out, loss=loss, logits=logits)
