"""SigLIP: two transformers, one for texts and one for images; whether a text fits an image is a probability by itself.

Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.models.clip_blocks import (
    CLIPEncoder,
    CLIPFeedForward,
    CLIPOutput,
    CLIPTextEmbeddings,
    TwoTowerConfig,
    TwoTowers,
)
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.heads import join_output
from notebook_kit.nn.image_heads import linear_classifier
from notebook_kit.nn.layers import merge_heads, split_heads
from notebook_kit.nn.losses import check_pairs, sequence_classification_loss
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPooling, ImageClassifierOutput
from notebook_kit.nn.patches import PatchConvolution, check_sides

__all__ = [
    "SiglipConfig",
    "SiglipForImageClassification",
    "SiglipModel",
    "SiglipOutput",
    "SiglipPreTrainedModel",
    "SiglipTextConfig",
    "SiglipTextModel",
    "SiglipVisionConfig",
    "SiglipVisionModel",
]

TRUNCATED_STD = 0.87962566103423978
"""The standard deviation of a normal distribution that is cut off at two standard deviations."""


class SiglipTextConfig(PretrainedConfig):
    """The settings of SigLIP's transformer for texts; the defaults are those of `google/siglip-base-patch16-224`.

    Args:
        vocab_size: Rows of the token embeddings.
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside the feed-forward block.
        num_hidden_layers: Number of layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        max_position_embeddings: Maximum length of a text, in tokens.
        hidden_act: Activation of the feed-forward block.
        layer_norm_eps: Epsilon of the layer norms.
        attention_dropout: Dropout of attention weights.
        projection_size: Width of the vector of a text; `hidden_size` by default.

    Example:
        >>> from notebook_kit import SiglipTextConfig
        >>> SiglipTextConfig(num_hidden_layers=2).projection_size
        768
    """

    model_type: ClassVar[str] = "siglip_text_model"
    base_config_key: ClassVar[str] = "text_config"

    vocab_size: Rows = 32000
    hidden_size: Size = 768
    intermediate_size: Size = 3072
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    max_position_embeddings: Rows = 64
    hidden_act: Activation = "gelu_pytorch_tanh"
    layer_norm_eps: NonNegative = 1e-6
    attention_dropout: Fraction = 0.0
    projection_size: Size | None = None
    pad_token_id: int | None = 1
    bos_token_id: int | None = 49406
    eos_token_id: int | list[int] | None = 49407

    def validate(self) -> None:
        """As in `PretrainedConfig`; the vector of a text is as wide as its states if nothing else was passed."""
        if self.projection_size is None:
            self.projection_size = self.hidden_size
        super().validate()

    def update(self, edits: Mapping[str, Any]) -> None:
        """As in `PretrainedConfig`; a `projection_size` that is that of the states stays so."""
        follows = self.projection_size in (None, self.hidden_size) and "projection_size" not in edits
        super().update(edits)
        if follows:
            self.projection_size = self.hidden_size


class SiglipVisionConfig(PretrainedConfig):
    """The settings of SigLIP's transformer for images; the defaults are those of `google/siglip-base-patch16-224`.

    Args:
        hidden_size, intermediate_size, ...: As for `SiglipTextConfig`.
        num_channels: Channels of an image.
        image_size: Side of an image in pixels, or `[height, width]`.
        patch_size: Side of a patch in pixels, or `[height, width]`.
        vision_use_head: Whether attention joins the patches in one vector per image.

    Example:
        >>> from notebook_kit import SiglipVisionConfig
        >>> SiglipVisionConfig(num_hidden_layers=2).patch_size
        16
    """

    model_type: ClassVar[str] = "siglip_vision_model"
    base_config_key: ClassVar[str] = "vision_config"

    hidden_size: Size = 768
    intermediate_size: Size = 3072
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    num_channels: Size = 3
    image_size: Size | list[int] = 224
    patch_size: Size | list[int] = 16
    hidden_act: Activation = "gelu_pytorch_tanh"
    layer_norm_eps: NonNegative = 1e-6
    attention_dropout: Fraction = 0.0
    vision_use_head: bool = True

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that patches fit into an image."""
        super().validate()
        check_sides(self)


class SiglipConfig(TwoTowerConfig):
    """SigLIP's settings; the defaults are those of `google/siglip-base-patch16-224`.

    Args:
        text_config: The `SiglipTextConfig`, or a dictionary of its fields.
        vision_config: The `SiglipVisionConfig`, or a dictionary of its fields.
        initializer_factor: Factor of the initial weights of a classifier.

    Example:
        >>> from notebook_kit import SiglipConfig
        >>> config = SiglipConfig(text_config={"num_hidden_layers": 2})
        >>> config.text_config.num_hidden_layers, config.vision_config.num_hidden_layers
        (2, 12)
    """

    model_type: ClassVar[str] = "siglip"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": SiglipTextConfig, "vision_config": SiglipVisionConfig}

    text_config: SiglipTextConfig = None  # type: ignore[assignment]
    vision_config: SiglipVisionConfig = None  # type: ignore[assignment]
    initializer_factor: NonNegative = 1.0


class SiglipOutput(CLIPOutput):
    """Similarities of texts and images, as in `CLIPOutput`; the sigmoid of a logit is the probability that the two fit.

    Example:
        >>> import torch
        >>> SiglipOutput(logits_per_image=torch.zeros(1, 2)).logits_per_image.sigmoid()
        tensor([[0.5000, 0.5000]])
    """


# Layers --------------------------------------------------------------------------------------------------------------


class SiglipVisionEmbeddings(nn.Module):
    """The patches, each with its position: `(batch, channels, height, width)` to `(batch, patches, width)`."""

    def __init__(self, config) -> None:
        super().__init__()
        self.patch_embedding = PatchConvolution(config)
        self.position_embedding = nn.Embedding(self.patch_embedding.num_patches, config.hidden_size)

    def forward(self, pixel_values: Any, interpolate: bool) -> Tensor:
        patches = self.patch_embedding(pixel_values)
        return patches + self.patch_embedding.resized(self.position_embedding.weight, pixel_values, interpolate)


class SiglipPooling(nn.Module):
    """One learned query that attends to all patches: `(batch, patches, width)` to `(batch, width)`."""

    def __init__(self, config) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.attention = SiglipPoolingAttention(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = CLIPFeedForward(config)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.attention(self.probe.expand(patches.shape[0], -1, -1), patches)
        return (x + self.mlp(self.layernorm(x)))[:, 0]


class SiglipPoolingAttention(nn.Module):
    """Multi-head attention under the names of `torch.nn.MultiheadAttention`, whose three projections are one parameter."""

    def __init__(self, config) -> None:
        super().__init__()
        C, self.heads = config.hidden_size, config.num_attention_heads
        self.in_proj_weight, self.in_proj_bias = nn.Parameter(torch.zeros(3 * C, C)), nn.Parameter(torch.zeros(3 * C))
        self.out_proj = nn.Linear(C, C)
        self.sites = [AttentionSite(config.num_hidden_layers, self.heads, "cross", rows="queries", columns="patches")]

    def forward(self, query: Tensor, patches: Tensor) -> Tensor:
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            split_heads(F.linear(x, weight, bias), self.heads)
            for x, weight, bias in zip((query, patches, patches), weights, biases, strict=True)
        )
        return self.out_proj(merge_heads(attend(q, k, v, site=self.sites[0])))


# The towers ----------------------------------------------------------------------------------------------------------


class SiglipPreTrainedModel(PreTrainedModel):
    """What the models of Siglip share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import SiglipModel, SiglipPreTrainedModel
        >>> issubclass(SiglipModel, SiglipPreTrainedModel)
        True
    """

    config_class: ClassVar[type[PretrainedConfig]] = SiglipConfig
    base_model_prefix = "siglip"
    weight_rules = WeightRules(unused=(r"position_ids$",), optional=(r"^classifier\.",))

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """Initialize one parameter: Xavier's weights in layers, LeCun's elsewhere; normal ones in embeddings and classifiers."""
        parameter = module.get_parameter(name)
        is_in_layer = hasattr(module, "init_std")  # set by CLIP's layers, whose deviations are not those of SigLIP
        if isinstance(module, nn.LayerNorm):
            super().init_parameter(module, name)
        elif name.endswith("bias") or name == "logit_scale":
            blocks = (block for block in self.modules() if isinstance(block, CLIPFeedForward))
            nn.init.normal_(parameter, std=1e-6 if any(module in (one.fc1, one.fc2) for one in blocks) else 0.0)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(parameter, std=module.embedding_dim**-0.5)
        elif module is getattr(self, "classifier", None):
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5 * self.config.initializer_factor)
        elif is_in_layer or name in ("probe", "in_proj_weight"):
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.trunc_normal_(parameter, std=parameter[0].numel() ** -0.5 / TRUNCATED_STD)


class SiglipTextModel(SiglipPreTrainedModel):
    """SigLIP's transformer for texts: ids in, one vector per token out, and one per text.

    Example:
        >>> import torch
        >>> from notebook_kit import SiglipTextConfig, SiglipTextModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = SiglipTextModel(SiglipTextConfig(**size, vocab_size=50, projection_size=16))
        >>> out = model(torch.tensor([[48, 17, 8, 1]]))
        >>> out.last_hidden_state.shape, out.pooler_output.shape
        (torch.Size([1, 4, 32]), torch.Size([1, 16]))
    """

    config_class = SiglipTextConfig
    base_model_prefix = "text_model"
    position_field = "max_position_embeddings"
    input_embeddings = ("embeddings.token_embedding",)
    config: SiglipTextConfig

    def __init__(self, config: SiglipTextConfig) -> None:
        super().__init__(config)
        self.embeddings = CLIPTextEmbeddings(config)
        self.encoder = CLIPEncoder(config, "text")
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.projection_size or config.hidden_size)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of texts. All tokens attend to each other, and the vector of a text is read from its last one.

        The last token may be padding: checkpoints were trained on texts that are padded to `max_position_embeddings` tokens, with
        attention to the padding.

        Args:
            input_ids: `(texts, tokens)`, from the checkpoint's tokenizer with `padding="max_length"`.
            attention_mask: `(texts, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            position_ids: `(texts, tokens)`; 0, 1, 2, ... by default.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are missing or outside the vocabulary, the mask does not fit, or there are more tokens than
                positions.
        """
        x = self.embeddings(input_ids, position_ids)
        mask = padding_mask(attention_mask, x.dtype, x.shape[:2])
        x, states, attentions = self.encoder(
            x, mask, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        x = self.final_layer_norm(x)
        return BaseModelOutputWithPooling(
            last_hidden_state=x, pooler_output=self.head(x[:, -1]), hidden_states=states, attentions=attentions
        )


class SiglipVisionModel(SiglipPreTrainedModel):
    """SigLIP's transformer for images: pixels in, one vector per patch out, and one per image.

    Example:
        >>> import torch
        >>> from notebook_kit import SiglipVisionConfig, SiglipVisionModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> out = SiglipVisionModel(SiglipVisionConfig(**size, image_size=32, patch_size=8))(torch.rand(1, 3, 32, 32))
        >>> out.last_hidden_state.shape, out.pooler_output.shape
        (torch.Size([1, 16, 32]), torch.Size([1, 32]))
    """

    config_class = SiglipVisionConfig
    base_model_prefix = "vision_model"
    main_input_name = "pixel_values"
    input_embeddings = ("embeddings.patch_embedding",)

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__(config)
        self.embeddings = SiglipVisionEmbeddings(config)
        self.encoder = CLIPEncoder(config, "patches")
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        if config.vision_use_head:
            self.head = SiglipPooling(config)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of images; the arguments are those of `CLIPVisionModel.forward`.

        `pooler_output` is None if the configuration has `vision_use_head=False`. `attentions` are those of the layers;
        `record_attention` also records that of the learned query that joins the patches, as the layer after the last.
        """
        x, states, attentions = self.encoder(
            self.embeddings(pixel_values, bool(interpolate_pos_encoding)),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        x = self.post_layernorm(x)
        return BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=self.head(x) if self.config.vision_use_head else None,
            hidden_states=states,
            attentions=attentions,
        )


# Both towers ---------------------------------------------------------------------------------------------------------


class SiglipModel(SiglipPreTrainedModel, TwoTowers):
    """Both transformers: how well each text fits each image.

    Example:
        >>> import torch
        >>> from notebook_kit import SiglipConfig, SiglipModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> text, vision = {**size, "vocab_size": 50}, {**size, "image_size": 32, "patch_size": 8}
        >>> model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
        >>> out = model(torch.tensor([[17, 1], [8, 1]]), torch.rand(2, 3, 32, 32), return_loss=True)
        >>> out.logits_per_image.sigmoid().shape, out.loss > 0  # a probability per image and text
        (torch.Size([2, 2]), tensor(True))
    """

    output_class = SiglipOutput
    compares_one_by_one = True
    config: SiglipConfig

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__(config)
        text, vision = config.text_config, config.vision_config
        if text.projection_size != vision.hidden_size:
            raise ConfigurationError(
                f"The vectors of texts have the width {text.projection_size} (text_config.projection_size), and those of images "
                f"{vision.hidden_size} (vision_config.hidden_size), so they cannot be compared.",
                next_step=f"Set text_config.projection_size to {vision.hidden_size}.",
            )
        if not vision.vision_use_head:
            raise ConfigurationError(
                "vision_config.vision_use_head is False, so there is no vector of an image to compare.",
                next_step="Set it to True, or load the transformer for images alone with SiglipVisionModel.",
            )
        self.text_model = SiglipTextModel(text)
        self.vision_model = SiglipVisionModel(vision)
        self.logit_scale = nn.Parameter(torch.zeros(1))
        self.logit_bias = nn.Parameter(torch.zeros(1))
        self.post_init()

    def compare(self, text_embeds: Tensor, image_embeds: Tensor) -> Tensor:
        """As in `TwoTowers`, with a learned number added."""
        return super().compare(text_embeds, image_embeds) + self.logit_bias.to(text_embeds.device)

    def loss(self, logits_per_text: Tensor) -> Tensor:
        """The sum over images of the binary cross-entropy of fitting, where text i fits image i only; its mean over texts.

        Source: Zhai et al., 2023, algorithm 1.
        """
        check_pairs(logits_per_text)
        fits = torch.eye(len(logits_per_text), dtype=logits_per_text.dtype, device=logits_per_text.device)
        return F.binary_cross_entropy_with_logits(logits_per_text, fits, reduction="sum") / len(fits)


class SiglipForImageClassification(SiglipPreTrainedModel):
    """SigLIP's transformer for images with a linear layer on the mean of its patches: one prediction per image.

    Example:
        >>> import torch
        >>> from notebook_kit import SiglipConfig, SiglipForImageClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> config = SiglipConfig(vision_config={**size, "image_size": 32, "patch_size": 8}, num_labels=3)
        >>> SiglipForImageClassification(config)(torch.rand(2, 3, 32, 32)).logits.shape
        torch.Size([2, 3])
    """

    main_input_name = "pixel_values"
    input_embeddings = ("vision_model.embeddings.patch_embedding",)

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.vision_model = SiglipVisionModel(config.vision_config)
        self.classifier = linear_classifier(config.vision_config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> ImageClassifierOutput:
        """As `SiglipVisionModel.forward`, with a prediction per image.

        Args:
            pixel_values, interpolate_pos_encoding, ...: As for `CLIPVisionModel`.
            labels: Of the kind that `config.problem_type` names; see `sequence_classification_loss`.
        """
        out = self.vision_model(
            pixel_values, interpolate_pos_encoding, output_attentions, output_hidden_states, return_dict=True
        )
        logits = self.classifier(out.last_hidden_state.mean(dim=1))
        loss = sequence_classification_loss(logits, labels, self.config)
        return join_output(ImageClassifierOutput, out, loss=loss, logits=logits)
