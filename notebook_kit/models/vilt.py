"""ViLT: one transformer encoder that reads the tokens of a text and the patches of a picture as one sequence.

Source: Kim et al., ViLT: Vision-and-Language Transformer Without Convolution or Region Supervision, 2021.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from notebook_kit.checkpoints.names import ENCODER_RULES
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.models.bert import BertEmbeddings, BertPooler, BertPredictionTransform
from notebook_kit.models.vit import ViTLayer
from notebook_kit.nn.attention import AttentionSite
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.heads import Head, join_output
from notebook_kit.nn.layers import OutputOptions, input_size, run_layers
from notebook_kit.nn.losses import cross_entropy, match_loss, soft_answers_loss
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPooling, MaskedLMOutput, SequenceClassifierOutput
from notebook_kit.nn.patches import Grid, PatchEmbeddings, as_map, as_sequence, check_sides
from notebook_kit.nn.rows import FIRST

__all__ = [
    "ViltConfig",
    "ViltForImageAndTextRetrieval",
    "ViltForMaskedLM",
    "ViltForQuestionAnswering",
    "ViltModel",
    "ViltPreTrainedModel",
]


class ViltConfig(PretrainedConfig):
    """ViLT's settings; the defaults are those of `dandelin/vilt-b32-mlm`.

    Args:
        vocab_size: Rows of the token embeddings.
        type_vocab_size: Number of segments of a text.
        modality_type_vocab_size: Number of kinds of positions: 2 for text and picture, 3 with a second picture.
        max_position_embeddings: Maximum length of a text, in tokens.
        hidden_size: Width of the residual stream.
        num_hidden_layers: Number of encoder layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        intermediate_size: Width inside the feed-forward block.
        hidden_act: Activation of the feed-forward block.
        hidden_dropout_prob: Dropout after the embeddings and each block.
        attention_probs_dropout_prob: Dropout of attention weights.
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the layer norms.
        image_size: Side in pixels of a picture for which there is a position per patch, or `[height, width]`; positions are
            interpolated for others.
        patch_size: Side of a patch in pixels, or `[height, width]`.
        num_channels: Channels of a picture.
        qkv_bias: Whether queries, keys and values have biases.
        max_image_length: Maximum number of patches per picture; -1 for no limit. Of a picture with more, this many are read:
            random ones in training, evenly spaced ones otherwise.
        num_images: Number of pictures per text in visual reasoning; kept for other libraries.

    Example:
        >>> from notebook_kit import ViltConfig, ViltModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        >>> tiny = ViltConfig(**size, vocab_size=50, image_size=32, patch_size=8)
        >>> ViltModel(tiny).num_parameters()
        28032
    """

    model_type: ClassVar[str] = "vilt"

    vocab_size: Rows = 30522
    type_vocab_size: Rows = 2
    modality_type_vocab_size: Rows = 2
    max_position_embeddings: Rows = 40
    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: Fraction = 0.0
    attention_probs_dropout_prob: Fraction = 0.0
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-12
    image_size: Size | list[int] = 384
    patch_size: Size | list[int] = 32
    num_channels: Size = 3
    qkv_bias: bool = True
    max_image_length: int = -1
    num_images: int = -1

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that patches fit into a picture."""
        super().validate()
        check_sides(self)


# Blocks --------------------------------------------------------------------------------------------------------------


class ViltEmbeddings(nn.Module):
    """The tokens of a text, then a class token and the patches of its picture: `(batch, tokens + 1 + patches, width)`.

    Pictures of a batch may have different numbers of patches: those of each come first, and padding follows.
    """

    def __init__(self, config) -> None:
        super().__init__()
        C = config.hidden_size
        self.text_embeddings = BertEmbeddings(config, C)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.patch_embeddings = PatchEmbeddings(config)
        self.position_embeddings = nn.Parameter(torch.zeros(1, self.patch_embeddings.num_patches + 1, C))
        self.token_type_embeddings = nn.Embedding(config.modality_type_vocab_size, C)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.limit = config.max_image_length

    def forward(self, text: Tensor, picture: Tensor, picture_kind: int) -> Tensor:
        kinds = self.token_type_embeddings.weight
        return torch.cat([text + kinds[0], picture + kinds[picture_kind]], dim=1)

    def embed_picture(self, pixel_values: Any, pixel_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The class token and the patches of each picture, `(batch, 1 + patches, width)`, and their mask, `(batch, 1 +
        patches)`: 1 for patches and 0 for padding, or None if there is no padding."""
        patches = self.patch_embeddings(pixel_values)
        B, P, C = patches.shape
        grid = self.patch_embeddings.grid_of(*pixel_values.shape[-2:])
        grids = None if pixel_mask is None else covered_grids(pixel_mask, pixel_values, grid)
        whole = grids is None or all(rows * columns == P for rows, columns in grids)
        if whole and not 0 < self.limit < P:
            mask, patches = None, patches + self.patch_positions(grid)
        else:
            grids = grids or [grid] * B
            positions = {one: self.patch_positions(one)[0] for one in set(grids)}
            maps = patches.view(B, *grid, C)
            rows = [
                self.chosen(maps[i, :height, :width].reshape(-1, C) + positions[height, width])
                for i, (height, width) in enumerate(grids)
            ]
            patches = pad_sequence(rows, batch_first=True)  # (batch, most patches, width)
            counts = torch.tensor([len(row) for row in rows], device=patches.device)
            mask = (torch.arange(patches.shape[1] + 1, device=patches.device) <= counts[:, None]).long()
        first = (self.cls_token + self.position_embeddings[:, :1]).expand(B, -1, -1)
        return self.dropout(torch.cat([first, patches], dim=1)), mask

    def patch_positions(self, grid: Grid) -> Tensor:
        """Position embeddings of the patches, `(1, rows * columns, width)`, bilinearly interpolated from corner to corner."""
        positions = self.position_embeddings[:, 1:]
        trained = self.patch_embeddings.grid
        if grid == trained:
            return positions
        table = as_map(positions.float(), trained)  # (1, width, rows, columns)
        return as_sequence(F.interpolate(table, grid, mode="bilinear", align_corners=True)).to(positions.dtype)

    def chosen(self, patches: Tensor) -> Tensor:
        """At most `max_image_length` of the patches of one picture, `(patches, width)`, in their order."""
        count = len(patches)
        if not 0 < self.limit < count:
            return patches
        if self.training:
            places = torch.randperm(count, device=patches.device)[: self.limit].sort().values
        else:
            places = torch.linspace(0, count - 1, self.limit, device=patches.device).round().long()
        return patches[places]


def covered_grids(pixel_mask: Tensor, pixel_values: Tensor, grid: Grid) -> list[Grid]:
    """Rows and columns of the patches that each picture of a batch covers; the others are padding.

    Args:
        pixel_mask: `(batch, height, width)`, 1 for pixels of the picture and 0 for padding at the right and at the bottom.
        pixel_values: `(batch, channels, height, width)`.
        grid: Rows and columns of patches of the padded pictures.

    Raises:
        InputError: If the mask does not have this form.
    """
    step = "Pass the processor's whole output: model(**processor(images, texts, return_tensors='pt'))."
    if pixel_mask.dim() != 3 or len(pixel_mask) != len(pixel_values):
        B, _, H, W = pixel_values.shape
        raise InputError(f"pixel_mask has shape {tuple(pixel_mask.shape)}; expected {(B, H, W)}.", next_step=step)
    patches = F.interpolate(pixel_mask[:, None].float(), size=grid)[:, 0] != 0  # (batch, rows, columns)
    in_row, in_column = patches[:, :, 0], patches[:, 0]
    is_whole = torch.equal(patches, in_row[:, :, None] & in_column[:, None, :])
    begins = all((one[:, 0] & (one[:, :-1] >= one[:, 1:]).all(1)).all() for one in (in_row, in_column))
    if not is_whole or not begins:
        raise InputError("pixel_mask does not cover a rectangle at the upper left of each picture.", next_step=step)
    return list(zip(in_row.sum(1).tolist(), in_column.sum(1).tolist(), strict=True))


class ViltEncoder(nn.Module):
    """The stack of layers, which are those of ViT."""

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.ModuleList(ViTLayer(config) for _ in range(config.num_hidden_layers))
        self.sites = [
            AttentionSite(index, config.num_attention_heads, rows="text and patches")
            for index in range(config.num_hidden_layers)
        ]

    def forward(self, x: Tensor, mask: Tensor | None, **options: Unpack[OutputOptions]):
        return run_layers(self, self.layer, self.sites, x, mask, **options)


# The backbone --------------------------------------------------------------------------------------------------------


class ViltPreTrainedModel(PreTrainedModel):
    """What the models of Vilt share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import ViltModel, ViltPreTrainedModel
        >>> issubclass(ViltModel, ViltPreTrainedModel)
        True
    """

    config_class = ViltConfig
    base_model_prefix = "vilt"
    position_field = "max_position_embeddings"
    input_embeddings = ("embeddings.text_embeddings.word_embeddings",)
    vilt: ViltModel  # in the heads
    weight_rules = ENCODER_RULES

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """As in `PreTrainedModel`; the class token and the positions of patches start as zeros."""
        if name in ("cls_token", "position_embeddings"):
            nn.init.zeros_(getattr(module, name))
        else:
            super().init_parameter(module, name)


class ViltModel(ViltPreTrainedModel):
    """The encoder: ids and pixels in, one vector per token and patch out, and one for both together.

    Args:
        config: ViLT's settings.
        add_pooling_layer: Also compute `pooler_output`.

    Example:
        >>> import torch
        >>> from notebook_kit import ViltConfig, ViltModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = ViltModel(ViltConfig(**size, vocab_size=50, image_size=32, patch_size=8))
        >>> out = model(torch.tensor([[2, 17, 8, 3]]), pixel_values=torch.rand(1, 3, 16, 40))
        >>> out.last_hidden_state.shape  # 4 tokens, a class token of the picture, then 2 x 5 patches
        torch.Size([1, 15, 32])
    """

    def __init__(self, config: ViltConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = ViltEmbeddings(config)
        self.encoder = ViltEncoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        image_embeds: Tensor | None = None,
        image_token_type_idx: int | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of texts, each with its picture.

        Args:
            input_ids: `(batch, tokens)`, from the checkpoint's tokenizer.
            attention_mask: `(batch, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            token_type_ids: `(batch, tokens)`, the segment of each token; all 0 by default.
            pixel_values: `(batch, channels, height, width)`, from the checkpoint's image processor; of any size.
            pixel_mask: `(batch, height, width)`, 1 for pixels of the picture and 0 for padding; all 1 by default.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            image_embeds: `(batch, positions, width)`, in place of `pixel_values`: class token and patches with their
                positions added. `pixel_mask` then has one value per position.
            image_token_type_idx: The kind of the picture's positions; 1 by default, 2 for a second picture.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Returns:
            States of the tokens, then of the picture's class token and patches, `(batch, tokens + 1 + patches, width)`. Of a
            picture with fewer patches than others in the batch, the states after its last patch are those of padding.

        Raises:
            InputError: If ids are outside the vocabulary, there are more tokens than positions, texts and pictures differ in
                number, or an input is missing or has another shape.
        """
        text = self.embeddings.text_embeddings(input_ids, token_type_ids, None, inputs_embeds)
        picture, picture_mask = self._picture(pixel_values, pixel_mask, image_embeds)
        if text.shape[0] != picture.shape[0]:
            raise InputError(
                f"There are {text.shape[0]} texts and {picture.shape[0]} pictures.",
                next_step="Pass one picture per text; repeat a picture that has several texts.",
            )
        x = self.embeddings(text, picture, self._kind(image_token_type_idx))
        mask = joint_mask(attention_mask, text, picture_mask, picture)
        x, states, attentions = self.encoder(
            x,
            padding_mask(mask, x.dtype),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        x = self.layernorm(x)
        return BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=None if self.pooler is None else self.pooler(x),
            hidden_states=states,
            attentions=attentions,
        )

    def _picture(
        self, pixel_values: Tensor | None, pixel_mask: Tensor | None, image_embeds: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The positions of the picture, `(batch, positions, width)`, and their mask."""
        if image_embeds is None:
            return self.embeddings.embed_picture(pixel_values, pixel_mask)
        if pixel_values is not None:
            raise InputError("Both pixel_values and image_embeds were passed.", next_step="Pass one of them.")
        if image_embeds.dim() != 3 or image_embeds.shape[-1] != self.config.hidden_size:
            raise InputError(
                f"image_embeds has shape {tuple(image_embeds.shape)}; expected (batch, positions, {self.config.hidden_size}).",
                next_step="Pass pixel_values, or what model.vilt.embeddings.embed_picture returns for them.",
            )
        return image_embeds, None if pixel_mask is None else pixel_mask.flatten(1)

    def _kind(self, index: int | None) -> int:
        index, kinds = 1 if index is None else index, self.config.modality_type_vocab_size
        if not 0 <= index < kinds:
            raise InputError(
                f"image_token_type_idx is {index}, and this model has the kinds 0 to {kinds - 1}.",
                next_step="Pass 1, or create the model with a larger modality_type_vocab_size.",
            )
        return index


def joint_mask(
    attention_mask: Tensor | None, text: Tensor, picture_mask: Tensor | None, picture: Tensor
) -> Tensor | None:
    """The mask of the joint sequence, `(batch, tokens + positions)`, or None if nothing is padded.

    Raises:
        InputError: If a mask does not have one value per position.
    """
    if attention_mask is None and picture_mask is None:
        return None
    parts = []
    for name, mask, states in (("attention_mask", attention_mask, text), ("pixel_mask", picture_mask, picture)):
        if mask is not None and mask.shape != states.shape[:2]:
            raise InputError(
                f"{name} has shape {tuple(mask.shape)}; expected {tuple(states.shape[:2])}.",
                next_step="Pass the processor's whole output: model(**processor(images, texts, return_tensors='pt')).",
            )
        parts.append(states.new_ones(states.shape[:2], dtype=torch.long) if mask is None else mask.long())
    return torch.cat(parts, dim=1)


# Heads ---------------------------------------------------------------------------------------------------------------


class ViltForQuestionAnswering(ViltPreTrainedModel, Head):
    """ViLT with a score per known answer: it answers questions about a picture.

    Example:
        >>> import torch
        >>> from notebook_kit import ViltConfig, ViltForQuestionAnswering
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = ViltForQuestionAnswering(ViltConfig(**size, vocab_size=50, image_size=32, patch_size=8, num_labels=3))
        >>> question, picture = torch.tensor([[2, 17, 8, 3]]), torch.rand(1, 3, 32, 32)
        >>> out = model(question, pixel_values=picture, labels=torch.tensor([[0.0, 1.0, 0.3]]))  # 0.3: a few said so
        >>> out.logits.shape, out.loss > 0
        (torch.Size([1, 3]), tensor(True))
    """

    pools = True
    reads = FIRST
    backbone = ViltModel
    not_taken = ("image_token_type_idx",)

    def build_head(self, config: ViltConfig) -> None:
        C = config.hidden_size
        self.classifier = nn.Sequential(
            nn.Linear(C, 2 * C), nn.LayerNorm(2 * C), nn.GELU(), nn.Linear(2 * C, config.num_labels)
        )

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """The embeddings of images of one size, `(images, positions, width)`, which do not depend on the questions about them:
        `image_embeds` of `forward`.

        Args:
            pixel_values: `(images, channels, height, width)`, without padding.

        Example:
            >>> import torch
            >>> from notebook_kit import ViltConfig, ViltForQuestionAnswering
            >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
            >>> config = ViltConfig(**size, vocab_size=50, image_size=32, patch_size=8, num_labels=3)
            >>> model = ViltForQuestionAnswering(config).eval()
            >>> questions, picture = torch.tensor([[2, 17, 8, 3], [2, 9, 5, 3]]), torch.rand(1, 3, 32, 32)
            >>> seen = model.encode_images(picture).expand(2, -1, -1)
            >>> torch.allclose(
            ...     model(questions, image_embeds=seen).logits,
            ...     model(questions, pixel_values=picture.expand(2, -1, -1, -1)).logits,
            ...     atol=1e-6,
            ... )
            True
        """
        return self.vilt.embeddings.embed_picture(pixel_values, None)[0]

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> SequenceClassifierOutput:
        """As `ViltModel.forward`, with a score per answer.

        Args:
            labels: `(batch, num_labels)`, how right each answer is, from 0 to 1; several may be right.
            **inputs: Inputs of `ViltModel`.
        """
        out = self.run_backbone(**inputs)
        logits = self.classifier(out.pooler_output)
        return join_output(SequenceClassifierOutput, out, loss=soft_answers_loss(logits, labels), logits=logits)


class ViltForImageAndTextRetrieval(ViltPreTrainedModel, Head):
    """ViLT with one score per pair of text and picture: how well they match.

    Example:
        >>> import torch
        >>> from notebook_kit import ViltConfig, ViltForImageAndTextRetrieval
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = ViltForImageAndTextRetrieval(ViltConfig(**size, vocab_size=50, image_size=32, patch_size=8))
        >>> texts, pictures = torch.tensor([[2, 17, 3], [2, 8, 3]]), torch.rand(1, 3, 32, 32).expand(2, -1, -1, -1)
        >>> model(texts, pixel_values=pictures).logits.shape  # of two texts on the same picture
        torch.Size([2, 1])
    """

    pools = True
    reads = FIRST
    backbone = ViltModel
    not_taken = ("image_token_type_idx",)

    def build_head(self, config: ViltConfig) -> None:
        self.rank_output = nn.Linear(config.hidden_size, 1)

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> SequenceClassifierOutput:
        """As `ViltModel.forward`, with a score per pair.

        Args:
            labels: `(batch,)`, 1 where text and picture match and 0 where they do not.
            **inputs: Inputs of `ViltModel`.
        """
        out = self.run_backbone(**inputs)
        logits = self.rank_output(out.pooler_output)
        return join_output(SequenceClassifierOutput, out, loss=match_loss(logits, labels), logits=logits)


class ViltPredictions(nn.Module):
    """Scores of the vocabulary at each token; the last layer shares the weights of the token embeddings."""

    def __init__(self, config) -> None:
        super().__init__()
        self.transform = BertPredictionTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.transform(x))


class ViltForMaskedLM(ViltPreTrainedModel, Head):
    """ViLT with a head that predicts masked words of a text about a picture, as in pre-training.

    Example:
        >>> import torch
        >>> from notebook_kit import ViltConfig, ViltForMaskedLM
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = ViltForMaskedLM(ViltConfig(**size, vocab_size=50, image_size=32, patch_size=8))
        >>> model(torch.tensor([[2, 17, 4, 3]]), pixel_values=torch.rand(1, 3, 32, 32)).logits.shape
        torch.Size([1, 4, 50])
    """

    pools = True  # in its checkpoints, though the head does not read it
    backbone = ViltModel
    not_taken = ("image_token_type_idx",)
    weight_rules = replace(
        ViltPreTrainedModel.weight_rules,
        tied={"mlm_score.decoder.weight": "vilt.embeddings.text_embeddings.word_embeddings.weight"},
        legacy={**ENCODER_RULES.legacy, r"^mlm_score\.bias$": "mlm_score.decoder.bias"},
    )

    def build_head(self, config: ViltConfig) -> None:
        self.mlm_score = ViltPredictions(config)

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> MaskedLMOutput:
        """As `ViltModel.forward`, with scores of the vocabulary at each token.

        Args:
            labels: `(batch, tokens)`, the id of the masked word; -100 at all other tokens.
            **inputs: Inputs of `ViltModel`.
        """
        out = self.run_backbone(**inputs)
        _, tokens, _ = input_size(inputs.get("input_ids"), inputs.get("inputs_embeds"))
        logits = self.mlm_score(out.last_hidden_state[:, :tokens])
        return join_output(MaskedLMOutput, out, loss=cross_entropy(logits, labels), logits=logits)
