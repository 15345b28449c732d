"""What DETR is made of, for its family and Table Transformer: positions in an image, encoder, decoder, heads, outputs.

A feature map is read as a sequence of patches, row by row. Layers are those of BART, except that positions are added to
queries and keys in every layer, not once to the input.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.errors import InputError
from notebook_kit.models.bart_blocks import BartAttention, BartLayer, keep_finite
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.layers import activation, merge_heads, recording, run_layers, split_heads, without_dropped
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutput, ModelOutput, Seq2SeqModelOutput

__all__ = [
    "BoxHead",
    "DetrDecoder",
    "DetrDecoderOutput",
    "DetrEncoder",
    "DetrFrozenBatchNorm2d",
    "DetrLearnedPositions",
    "DetrMaskHead",
    "DetrModelOutput",
    "DetrObjectDetectionOutput",
    "DetrPositionTable",
    "DetrSegmentationOutput",
    "DetrSinePositions",
    "DetrSpatialAttention",
    "freeze_norms",
]


class DetrFrozenBatchNorm2d(nn.Module):
    """Batch normalization with fixed statistics, scales and shifts: `(batch, channels, height, width)` to the same shape."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


def freeze_norms(model: nn.Module) -> None:
    """Replace each batch normalization in a model by a frozen one."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            model.set_submodule(name, DetrFrozenBatchNorm2d(module.num_features))


# Positions -------------------------------------------------------------------------------------------------------------


class DetrSinePositions(nn.Module):
    """Sines and cosines of the row, then of the column, both in fractions of the image without its padding.

    Source: Carion et al., 2020, section A.4.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width // 2  # of each of the two

    def forward(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """From `(batch, height, width)`, 1 for the image and 0 for padding, to `(batch, height * width, 2 * self.width)`."""
        seen = mask.to(torch.float32)
        steps = torch.arange(self.width, device=mask.device).div(2, rounding_mode="floor").float()
        wavelengths = 10_000 ** (2 * steps / self.width)
        parts = []
        for axis in (1, 2):
            place = seen.cumsum(axis)
            place = place / (place.narrow(axis, place.shape[axis] - 1, 1) + 1e-6) * (2 * math.pi)
            angles = place[..., None] / wavelengths  # (batch, height, width, self.width)
            parts.append(torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1).flatten(3))
        return torch.cat(parts, dim=-1).flatten(1, 2).to(dtype)


class DetrPositionTable(nn.Embedding):
    """Learned embeddings of rows or columns, which start uniform from 0 to 1."""


class DetrLearnedPositions(nn.Module):
    """Learned embeddings of the column, then of the row, of a feature map of at most 50 x 50."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.row_embeddings = DetrPositionTable(50, width // 2)
        self.column_embeddings = DetrPositionTable(50, width // 2)

    def forward(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """As `DetrSinePositions.forward`; only the shape of the mask matters.

        Raises:
            InputError: If the feature map is larger than 50 x 50.
        """
        B, H, W = mask.shape
        if max(H, W) > self.row_embeddings.num_embeddings:
            raise InputError(
                f"The feature map has {H} x {W} places, and this model has positions for {self.row_embeddings.num_embeddings} x "
                f"{self.column_embeddings.num_embeddings}.",
                next_step="Pass smaller images.",
            )
        rows, columns = self.row_embeddings.weight[:H, None], self.column_embeddings.weight[None, :W]
        both = torch.cat([columns.expand(H, W, -1), rows.expand(H, W, -1)], dim=-1)
        return both.flatten(0, 1).to(dtype).expand(B, -1, -1)


# Layers ----------------------------------------------------------------------------------------------------------------


class DetrAttention(BartAttention):
    """Attention with positions added to queries and keys: among `x`, or from `x` to `source`."""

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        mask: Tensor | None,
        site: AttentionSite,
        positions: Tensor,
        source: Tensor | None = None,
        source_positions: Tensor | None = None,
    ) -> Tensor:
        values, places = (x, positions) if source is None else (source, source_positions)
        q = split_heads(self.q_proj(x + positions), self.heads)
        k = split_heads(self.k_proj(values if places is None else values + places), self.heads)
        v = split_heads(self.v_proj(values), self.heads)
        dropout = self.dropout if self.training else 0.0
        return self.out_proj(merge_heads(attend(q, k, v, site=site, mask=mask, dropout=dropout)))


class DetrEncoderLayer(BartLayer):
    """Self-attention of the patches, then a feed-forward block."""

    attention = DetrAttention

    def __init__(self, config) -> None:
        super().__init__(config, config.encoder_attention_heads, config.encoder_ffn_dim)

    def forward(self, x: Tensor, mask: Tensor | None, positions: Tensor, site: AttentionSite) -> Tensor:
        x = self.block(x, self.self_attn_layer_norm, lambda y: self.self_attn(y, mask, site, positions))
        return keep_finite(self.block(x, self.final_layer_norm, self.feed_forward))


class DetrDecoderLayer(BartLayer):
    """Self-attention of the queries, attention to the patches, then a feed-forward block."""

    attention = DetrAttention

    def __init__(self, config) -> None:
        super().__init__(config, config.decoder_attention_heads, config.decoder_ffn_dim)
        self.encoder_attn = DetrAttention(config, config.decoder_attention_heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(config.d_model)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        positions: Tensor,
        source: Tensor,
        source_mask: Tensor | None,
        source_positions: Tensor | None,
        sites: tuple[AttentionSite, AttentionSite],
    ) -> Tensor:
        self_site, cross_site = sites
        x = self.block(x, self.self_attn_layer_norm, lambda y: self.self_attn(y, mask, self_site, positions))
        x = self.block(
            x,
            self.encoder_attn_layer_norm,
            lambda y: self.encoder_attn(y, source_mask, cross_site, positions, source, source_positions),
        )
        return self.block(x, self.final_layer_norm, self.feed_forward)


# Encoder and decoder ---------------------------------------------------------------------------------------------------


class DetrEncoder(nn.Module):
    """Patches in, one vector per patch out, computed from the whole image."""

    layer: ClassVar[type[DetrEncoderLayer]] = DetrEncoderLayer

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(self.layer(config) for _ in range(config.encoder_layers))
        heads = config.encoder_attention_heads
        self.sites = [AttentionSite(layer, heads, rows="patches") for layer in range(config.encoder_layers)]

    def forward(
        self,
        inputs_embeds: Tensor,
        attention_mask: Tensor | None,
        positions: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutput:
        """Encode patches.

        Args:
            inputs_embeds: `(batch, patches, width)`.
            attention_mask: `(batch, patches)`, 1 for the image and 0 for padding.
            positions: `(batch, patches, width)`.
            output_attentions: Return the weights of each layer's attention.
            output_hidden_states: Return the hidden states before and after every layer.
        """
        mask = padding_mask(attention_mask, inputs_embeds.dtype, inputs_embeds.shape[:2])
        layers, sites = without_dropped(self.layers, self.sites, self.config.encoder_layerdrop if self.training else 0)
        x, states, attentions = run_layers(
            self,
            layers,
            sites,
            self.dropout(inputs_embeds),
            mask,
            positions,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return BaseModelOutput(last_hidden_state=x, hidden_states=states, attentions=attentions)


class DetrDecoderOutput(ModelOutput):
    """The output of DETR's decoder.

    Attributes:
        last_hidden_state: `(batch, queries, width)`.
        hidden_states, attentions, cross_attentions: As in `BaseModelOutputWithPastAndCrossAttentions`.
        intermediate_hidden_states: With `config.auxiliary_loss`, each layer's output, `(layers, batch, queries, width)`.
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    intermediate_hidden_states: Tensor | None = None


class DetrDecoder(nn.Module):
    """Object queries in, one vector per query out, computed from all queries and the encoded patches.

    Args:
        config: Settings of a DETR.
        patches: The name of the axis of the patches, as in `AttentionSite`.
    """

    layer: ClassVar[type[DetrDecoderLayer]] = DetrDecoderLayer

    def __init__(self, config, patches: str = "patches") -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(self.layer(config) for _ in range(config.decoder_layers))
        self.layernorm = nn.LayerNorm(config.d_model)
        heads = config.decoder_attention_heads
        self.pairs = [
            (
                AttentionSite(layer, heads, "decoder", rows="queries"),
                AttentionSite(layer, heads, "cross", rows="queries", columns=patches),
            )
            for layer in range(config.decoder_layers)
        ]
        self.sites = [site for pair in self.pairs for site in pair]

    def forward(
        self,
        inputs_embeds: Tensor,
        attention_mask: Tensor | None,
        query_positions: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None,
        positions: Tensor | None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> DetrDecoderOutput:
        """Decode queries.

        Args:
            inputs_embeds: `(batch, queries, width)`.
            attention_mask: `(batch, queries)`, 1 for a query and 0 for one to ignore; None for all.
            query_positions: `(batch, queries, width)`, the learned embeddings of the queries.
            encoder_hidden_states: `(batch, patches, width)`.
            encoder_attention_mask: `(batch, patches)`, 1 for the image and 0 for padding.
            positions: `(batch, patches, width)`.
            output_attentions: Return the weights of both attentions of each layer.
            output_hidden_states: Return the hidden states before and after every layer.
        """
        x, auxiliary = inputs_embeds, self.config.auxiliary_loss
        mask = padding_mask(attention_mask, x.dtype, x.shape[:2])
        source_mask = padding_mask(encoder_attention_mask, x.dtype, encoder_hidden_states.shape[:2])
        layers, pairs = without_dropped(self.layers, self.pairs, self.config.decoder_layerdrop if self.training else 0)
        with recording(self, output_attentions) as record:
            x, states, _ = run_layers(
                self,
                [*layers[:1], *map(self.after_norm, layers[1:])] if auxiliary else layers,
                pairs,
                x,
                mask,
                query_positions,
                encoder_hidden_states,
                source_mask,
                positions,
                output_attentions=False,  # recorded here
                output_hidden_states=True if auxiliary else output_hidden_states,
            )
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        intermediate = None
        if auxiliary and states is not None:
            intermediate = self.layernorm(torch.stack(states[1:]))
            x = intermediate[-1]
        x = self.layernorm(x)
        return DetrDecoderOutput(
            last_hidden_state=x,
            hidden_states=(*states[:-1], x) if wanted and states is not None else None,
            attentions=None if record is None else record.of(pair[0] for pair in pairs),
            cross_attentions=None if record is None else record.of(pair[1] for pair in pairs),
            intermediate_hidden_states=intermediate,
        )

    def after_norm(self, layer: nn.Module) -> Callable[..., Tensor]:
        """A layer that reads normed states: with `auxiliary_loss` all but the first do, as in the published code."""
        return lambda x, *inputs: layer(self.layernorm(x), *inputs)


# Heads -----------------------------------------------------------------------------------------------------------------


class BoxHead(nn.Module):
    """Three layers with ReLU between them: `(..., width)` to `(..., outputs)`, by default the four numbers of a box."""

    def __init__(self, width: int, outputs: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, outputs)])

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        return last(F.relu(second(F.relu(first(x)))))


class DetrSpatialAttention(nn.Module):
    """The attention of each query to each patch, without values: the softmax is over all heads and patches together."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(width, width)
        self.k_linear = nn.Linear(width, width)

    def forward(self, queries: Tensor, patches: Tensor, mask: Tensor | None) -> Tensor:
        """From `(batch, queries, width)` and `(batch, patches, width)` to `(batch, queries, heads, patches)`.

        Args:
            queries: The decoder's states.
            patches: The encoder's states.
            mask: As `padding_mask` returns it.
        """
        q = split_heads(self.q_linear(queries), self.heads)
        k = split_heads(self.k_linear(patches), self.heads)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (batch, heads, queries, patches)
        scores = (scores if mask is None else scores + mask).transpose(1, 2)
        return scores.flatten(2).softmax(-1).view_as(scores)


class DetrMaskHead(nn.Module):
    """A mask per query, at the resolution of the finest feature map, from the query's attention and the feature maps.

    Source: Carion et al., 2020, section A.6; Lin et al., Feature Pyramid Networks for Object Detection, 2017.
    """

    lay1: nn.Conv2d
    lay2: nn.Conv2d
    gn1: nn.GroupNorm
    gn2: nn.GroupNorm

    def __init__(self, width: int, heads: int, finer: list[int], activation_function: str) -> None:
        super().__init__()
        self.activation = activation(activation_function)
        channels = [width + heads, width + heads, width // 2, width // 4, width // 8, width // 16]
        for index, (before, after) in enumerate(itertools.pairwise(channels), 1):
            setattr(self, f"lay{index}", nn.Conv2d(before, after, 3, padding=1))
            setattr(self, f"gn{index}", nn.GroupNorm(min(8, after), after))
        self.out_lay = nn.Conv2d(channels[-1], 1, 3, padding=1)
        for index, (before, after) in enumerate(zip(finer, channels[2:5], strict=True), 1):
            setattr(self, f"adapter{index}", nn.Conv2d(before, after, 1))

    def forward(self, features: Tensor, attention: Tensor, finer: list[Tensor]) -> Tensor:
        """Logits of masks, `(batch, queries, height, width)`, of the size of the last of `finer`.

        Args:
            features: The projected last feature map, `(batch, width, rows, columns)`.
            attention: `(batch, queries, heads, rows, columns)`.
            finer: Three feature maps, from coarse to fine.
        """
        B, Q, heads, *_ = attention.shape
        # Part of the first convolution reads what all queries of an image share; it is computed once per image.
        of_image, of_query = self.lay1.weight.split([features.shape[1], heads], dim=1)
        shared = F.conv2d(features, of_image, self.lay1.bias, padding=1)
        x = F.conv2d(attention.flatten(0, 1), of_query, padding=1) + shared.repeat_interleave(Q, 0)
        x = self.activation(self.gn1(x))
        x = self.activation(self.gn2(self.lay2(x)))
        for index, feature_map in enumerate(finer, 1):
            adapted = getattr(self, f"adapter{index}")(feature_map).repeat_interleave(Q, 0)
            x = adapted + F.interpolate(x, size=adapted.shape[-2:], mode="nearest")
            x = self.activation(getattr(self, f"gn{index + 2}")(getattr(self, f"lay{index + 2}")(x)))
        return self.out_lay(x).view(B, Q, *finer[-1].shape[-2:])


# Outputs -------------------------------------------------------------------------------------------------------------


class DetrModelOutput(Seq2SeqModelOutput):
    """As `Seq2SeqModelOutput`, with queries in place of decoder tokens and patches in place of encoder tokens.

    Attributes:
        intermediate_hidden_states: With `config.auxiliary_loss`, the output of each layer of the decoder,
            `(layers, batch, queries, width)`.
    """

    intermediate_hidden_states: Tensor | None = None


class DetrObjectDetectionOutput(ModelOutput):
    """Predicted objects.

    Attributes:
        loss: If labels were passed.
        loss_dict: The parts of the loss; see `notebook_kit.nn.detection.detection_loss`.
        logits: `(batch, queries, classes + 1)`; the last class is "no object".
        pred_boxes: `(batch, queries, 4)`: center x, center y, width and height, in fractions of the image's size.
        auxiliary_outputs: With `config.auxiliary_loss` and labels, a dictionary of `logits` and `pred_boxes` for each
            earlier layer of the decoder.
        last_hidden_state: And the fields after it: as in `DetrModelOutput`.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    logits: Tensor = None  # type: ignore[assignment]
    pred_boxes: Tensor = None  # type: ignore[assignment]
    auxiliary_outputs: list[dict[str, Tensor]] | None = None
    last_hidden_state: Tensor = None  # type: ignore[assignment]
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


class DetrSegmentationOutput(ModelOutput):
    """As `DetrObjectDetectionOutput`, and `pred_masks` `(batch, queries, height / 4, width / 4)`: a logit per pixel."""

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    logits: Tensor = None  # type: ignore[assignment]
    pred_boxes: Tensor = None  # type: ignore[assignment]
    pred_masks: Tensor = None  # type: ignore[assignment]
    auxiliary_outputs: list[dict[str, Tensor]] | None = None
    last_hidden_state: Tensor = None  # type: ignore[assignment]
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None
