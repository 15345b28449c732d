"""What CLIP shares with other models of two towers: their configuration, layers, output and similarities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, Unpack

import torch
from torch import Tensor, nn

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, InputError, a_kind
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.layers import (
    OutputOptions,
    activated,
    activation,
    check_length,
    embed_tokens,
    input_size,
    merge_heads,
    run_layers,
    split_heads,
)
from notebook_kit.nn.losses import contrastive_loss
from notebook_kit.nn.outputs import BaseModelOutputWithPooling, ModelOutput

__all__ = [
    "CLIPEncoder",
    "CLIPFeedForward",
    "CLIPLayer",
    "CLIPOutput",
    "CLIPTextEmbeddings",
    "TwoTowerConfig",
    "TwoTowers",
    "set_deviation",
]


def set_deviation(deviation: float, *modules: nn.Module) -> None:
    """Note the standard deviation of the initial weights of some modules, which `init_parameter` of their model reads."""
    for module in modules:
        module.init_std = deviation  # type: ignore[assignment]


class TwoTowerConfig(PretrainedConfig):
    """The base of configurations of a model for texts and one for images: `text_config` and `vision_config`."""

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that both are configurations."""
        for name in ("text_config", "vision_config"):
            value = getattr(self, name)
            if not isinstance(value, self.sub_configs[name]):
                raise ConfigurationError(
                    f"{type(self).__name__}: {name} is {a_kind(value)}.",
                    next_step=f"Pass a {self.sub_configs[name].__name__}, or a dictionary of its fields.",
                )
        super().validate()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **edits: Any) -> Self:
        """As in `PretrainedConfig`; old files also have a `text_config_dict` and a `vision_config_dict`, which take precedence."""
        values = dict(values)
        for name in ("text_config", "vision_config"):
            older = values.pop(f"{name}_dict", None)
            if isinstance(older, Mapping):
                values[name] = {**(values.get(name) or {}), **older}
            if values.get(name, ...) is None:
                del values[name]
        return super().from_dict(values, **edits)


# Layers -------------------------------------------------------------------------------------------------------------


class CLIPAttention(nn.Module):
    """Multi-head self-attention: `(batch, positions, width)` to the same."""

    def __init__(self, config) -> None:
        super().__init__()
        C = config.hidden_size
        self.heads, self.dropout = config.num_attention_heads, config.attention_dropout
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(C, C) for _ in range(4))
        set_deviation((2 * config.num_hidden_layers * C) ** -0.5, self.q_proj, self.k_proj, self.v_proj)
        set_deviation(C**-0.5, self.out_proj)

    def forward(self, x: Tensor, mask: Tensor | None, is_causal: bool, site: AttentionSite) -> Tensor:
        q, k, v = (split_heads(project(x), self.heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        dropout = self.dropout if self.training else 0.0
        return self.out_proj(merge_heads(attend(q, k, v, site=site, mask=mask, dropout=dropout, is_causal=is_causal)))


class CLIPFeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = activation(config.hidden_act)
        set_deviation((2 * config.hidden_size) ** -0.5, self.fc1)
        layers = max(1, config.num_hidden_layers)  # there may be none beside SigLIP's pooling, which has such a block
        set_deviation((2 * layers * config.hidden_size) ** -0.5, self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(activated(self.fc1, self.activation, x))


class CLIPLayer(nn.Module):
    """Attention, then a feed-forward block, each after a layer norm and beside a residual connection."""

    attention_class: ClassVar[type[nn.Module]] = CLIPAttention

    def __init__(self, config) -> None:
        super().__init__()
        self.self_attn = self.attention_class(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = CLIPFeedForward(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None, is_causal: bool, site: AttentionSite) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), mask, is_causal, site)
        return x + self.mlp(self.layer_norm2(x))


class CLIPEncoder(nn.Module):
    """The stack of layers.

    Args:
        config: The settings of one of the towers.
        axis: "text" or "patches".
    """

    layer_class: ClassVar[type[CLIPLayer]] = CLIPLayer

    def __init__(self, config, axis: str) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(self.layer_class(config) for _ in range(config.num_hidden_layers))
        self.sites = [
            AttentionSite(index, config.num_attention_heads, rows=axis) for index in range(config.num_hidden_layers)
        ]

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False, **options: Unpack[OutputOptions]):
        return run_layers(self, self.layers, self.sites, x, mask, is_causal, **options)


class CLIPTextEmbeddings(nn.Module):
    """Token + position embeddings: `(batch, tokens)` ids to `(batch, tokens, width)`."""

    def __init__(self, config) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, input_ids: Tensor | None, position_ids: Tensor | None) -> Tensor:
        if input_ids is None:
            raise InputError(
                "input_ids are missing.", next_step="Call model(**processor(images, texts, return_tensors='pt'))."
            )
        _, T, device = input_size(input_ids, None)
        if position_ids is None:
            check_length(T, self.position_embedding.num_embeddings)
            position_ids = torch.arange(T, device=device)[None]
        return embed_tokens(self.token_embedding, input_ids) + self.position_embedding(position_ids)


# Two towers ---------------------------------------------------------------------------------------------------------


class CLIPOutput(ModelOutput):
    """Similarities of texts and images.

    Attributes:
        loss: With `return_loss=True`, that of finding the image of each text and the text of each image.
        logits_per_image: `(images, texts)`.
        logits_per_text: `(texts, images)`, the same transposed.
        text_embeds: `(texts, projection_dim)`, vectors of length 1.
        image_embeds: `(images, projection_dim)`, vectors of length 1.
        text_model_output: The output of the model for texts, with the projected vector as `pooler_output`.
        vision_model_output: The same of the model for images.

    Example:
        >>> import torch
        >>> CLIPOutput(logits_per_image=torch.zeros(2, 3)).logits_per_image.softmax(-1).shape
        torch.Size([2, 3])
    """

    loss: Tensor | None = None
    logits_per_image: Tensor = None  # type: ignore[assignment]
    logits_per_text: Tensor = None  # type: ignore[assignment]
    text_embeds: Tensor = None  # type: ignore[assignment]
    image_embeds: Tensor = None  # type: ignore[assignment]
    text_model_output: BaseModelOutputWithPooling = None  # type: ignore[assignment]
    vision_model_output: BaseModelOutputWithPooling = None  # type: ignore[assignment]

    def to_tuple(self) -> tuple[Any, ...]:
        """All values that are not None, in order; those that are outputs as tuples."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())


class TwoTowers(PreTrainedModel):
    """A model for texts and one for images, whose vectors are compared.

    A family sets `text_model`, `vision_model` and `logit_scale`, and overrides what differs.

    Attributes:
        output_class: The class of the output.
        compares_one_by_one: Whether each similarity is a probability by itself, rather than all of an image together.
        returns_vectors: Whether the outputs of both models in that of `forward` have the vectors as `pooler_output`.
    """

    output_class: ClassVar[type[CLIPOutput]] = CLIPOutput
    compares_one_by_one: ClassVar[bool] = False
    returns_vectors: ClassVar[bool] = True
    input_embeddings = ("text_model.embeddings.token_embedding",)
    text_model: PreTrainedModel
    vision_model: PreTrainedModel
    logit_scale: Tensor

    @property
    def position_limit(self) -> int | None:
        """The maximum length of a text, in tokens."""
        return self.text_model.position_limit

    def text_vector(self, pooled: Tensor) -> Tensor:
        """The vector of each text, `(texts, projection_dim)`, from the pooled output of the model for texts."""
        return pooled

    def image_vector(self, pooled: Tensor) -> Tensor:
        """The vector of each image, `(images, projection_dim)`, from the pooled output of the model for images."""
        return pooled

    def compare(self, text_embeds: Tensor, image_embeds: Tensor) -> Tensor:
        """The similarities of vectors of length 1.

        Args:
            text_embeds: `(texts, projection_dim)`.
            image_embeds: `(images, projection_dim)`.

        Returns:
            `(texts, images)`: the cosines, multiplied by a learned factor.
        """
        return text_embeds @ image_embeds.T.to(text_embeds.device) * self.logit_scale.exp().to(text_embeds.device)

    def loss(self, logits_per_text: Tensor) -> Tensor:
        """The loss of similarities, `(texts, images)`, where text i belongs to image i."""
        return contrastive_loss(logits_per_text)

    def get_text_features(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **options: Unpack[OutputOptions],
    ) -> BaseModelOutputWithPooling:
        """The output of the model for texts, with the vectors of texts, `(texts, projection_dim)`, as `pooler_output`.

        They are not normalized.
        """
        out = self.text_model(input_ids, attention_mask, position_ids, return_dict=True, **options)
        out.pooler_output = self.text_vector(out.pooler_output)
        return out

    def get_image_features(
        self,
        pixel_values: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        **options: Unpack[OutputOptions],
    ) -> BaseModelOutputWithPooling:
        """The output of the model for images, with the vectors of images, `(images, projection_dim)`, as `pooler_output`.

        They are not normalized.
        """
        out = self.vision_model(
            pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, return_dict=True, **options
        )
        out.pooler_output = self.image_vector(out.pooler_output)
        return out

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        return_loss: bool | None = None,
        interpolate_pos_encoding: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> CLIPOutput:
        """Compare each text with each image.

        Args:
            input_ids: `(texts, tokens)`, from the checkpoint's tokenizer.
            pixel_values: `(images, channels, height, width)`, from the checkpoint's image processor.
            attention_mask: `(texts, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            position_ids: `(texts, tokens)`; 0, 1, 2, ... by default.
            return_loss: Return the loss, for as many texts as images, of which text i belongs to image i.
            interpolate_pos_encoding: Accept images of any size, with positions interpolated.
            output_attentions: Return every layer's attention weights, in the outputs of both models.
            output_hidden_states: Return the hidden states before and after every layer, in the outputs of both models.

        Raises:
            InputError: If texts or images are missing or do not fit, or for a loss their numbers differ.
        """
        options: OutputOptions = {
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
        }
        images = self.vision_model(
            pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, return_dict=True, **options
        )
        texts = self.text_model(input_ids, attention_mask, position_ids, return_dict=True, **options)
        text_vectors, image_vectors = self.text_vector(texts.pooler_output), self.image_vector(images.pooler_output)
        if self.returns_vectors:
            texts.pooler_output, images.pooler_output = text_vectors, image_vectors
        text_embeds, image_embeds = normalized(text_vectors), normalized(image_vectors)
        logits_per_text = self.compare(text_embeds, image_embeds)
        return self.output_class(
            loss=self.loss(logits_per_text) if return_loss else None,
            logits_per_image=logits_per_text.T,
            logits_per_text=logits_per_text,
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            text_model_output=texts,
            vision_model_output=images,
        )


def normalized(vectors: Any) -> Tensor:
    """The vectors, `(..., width)`, divided by their lengths."""
    return vectors / vectors.norm(dim=-1, keepdim=True)
