"""LayoutLM: BERT for documents, whose embeddings also say where on the page each word is.

Source: Xu et al., LayoutLM: Pre-training of Text and Layout for Document Image Understanding, 2020.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import ENCODER_RULES
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError, a_kind
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.models.bert import BertEmbeddings, BertEncoder, BertPooler, BertPredictions
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.heads import (
    ForMaskedLM,
    ForQuestionAnswering,
    ForSequenceClassification,
    ForTokenClassification,
    Head,
)
from notebook_kit.nn.layers import check_length, embed_segments, embed_tokens, input_size
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPooling

__all__ = [
    "LayoutLMConfig",
    "LayoutLMForMaskedLM",
    "LayoutLMForQuestionAnswering",
    "LayoutLMForSequenceClassification",
    "LayoutLMForTokenClassification",
    "LayoutLMModel",
    "LayoutLMPreTrainedModel",
]


class LayoutLMConfig(PretrainedConfig):
    """LayoutLM's settings: those of BERT, and the number of places on a page.

    Args:
        vocab_size: Rows of the token embeddings.
        hidden_size: Width of the residual stream.
        num_hidden_layers: Number of encoder layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        intermediate_size: Width inside the feed-forward block.
        hidden_act: Activation of the feed-forward block.
        hidden_dropout_prob: Dropout after the embeddings and each block, and before a classification head.
        attention_probs_dropout_prob: Dropout of attention weights.
        max_position_embeddings: Maximum sequence length, in tokens.
        type_vocab_size: Number of segments (question, page).
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the layer norms.
        max_2d_position_embeddings: Number of coordinates along each side of a page. Boxes are scaled to 0 to 1000.

    Example:
        >>> from notebook_kit import LayoutLMConfig, LayoutLMModel
        >>> tiny = LayoutLMConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, vocab_size=100)
        >>> LayoutLMModel(tiny).num_parameters() - 4 * 1024 * 64  # without the four tables of coordinates, as many as BERT has
        110528
    """

    model_type: ClassVar[str] = "layoutlm"

    vocab_size: Rows = 30522
    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: Fraction = 0.1
    attention_probs_dropout_prob: Fraction = 0.1
    max_position_embeddings: Rows = 512
    type_vocab_size: Rows = 2
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-12
    pad_token_id: int | None = 0
    max_2d_position_embeddings: Rows = 1024


class LayoutLMEmbeddings(BertEmbeddings):
    """BERT's embeddings, plus those of the sides, the width and the height of the box of each token."""

    def __init__(self, config: LayoutLMConfig) -> None:
        width, places = config.hidden_size, config.max_2d_position_embeddings
        super().__init__(config, width)
        self.x_position_embeddings = nn.Embedding(places, width)
        self.y_position_embeddings = nn.Embedding(places, width)
        self.h_position_embeddings = nn.Embedding(places, width)
        self.w_position_embeddings = nn.Embedding(places, width)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None,
        bbox: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None,
    ) -> Tensor:
        B, T, device = input_size(input_ids, inputs_embeds)
        if position_ids is None:
            check_length(T, self.position_embeddings.num_embeddings)
            position_ids = torch.arange(T, device=device)[None]
        x = embed_tokens(self.word_embeddings, input_ids, inputs_embeds) + self.position_embeddings(position_ids)
        x = x + self.embed_boxes(bbox, B, T, device)
        return self.dropout(self.LayerNorm(x + embed_segments(self.token_type_embeddings, token_type_ids)))

    def embed_boxes(self, bbox: Tensor | None, batch: int, tokens: int, device: torch.device) -> Tensor:
        """The sum of the six embeddings of each box, `(batch, tokens, width)`; `(1, 1, width)` without boxes.

        Raises:
            InputError: If `bbox` is not `(batch, tokens, 4)`, or a coordinate is outside the tables. (On a GPU, PyTorch aborts
                with a device-side assertion for the latter.)
        """
        if bbox is None:
            bbox = torch.zeros(1, 1, 4, dtype=torch.long, device=device)
        elif not isinstance(bbox, Tensor) or bbox.shape != (batch, tokens, 4) or bbox.is_floating_point():
            raise _wrong_boxes(bbox, batch, tokens)
        left, top, right, bottom = bbox.unbind(-1)
        try:
            x = self.x_position_embeddings(left) + self.y_position_embeddings(top)
            x = x + self.x_position_embeddings(right) + self.y_position_embeddings(bottom)
            return x + self.h_position_embeddings(bottom - top) + self.w_position_embeddings(right - left)
        except IndexError:
            raise _outside(bbox, self.x_position_embeddings.num_embeddings) from None


def _wrong_boxes(bbox: Any, batch: int, tokens: int) -> InputError:
    given = (
        f"has shape {tuple(bbox.shape)} and dtype {bbox.dtype}" if isinstance(bbox, Tensor) else f"is {a_kind(bbox)}"
    )
    return InputError(
        f"bbox {given}; expected whole numbers of the shape {(batch, tokens, 4)}.",
        next_step="Pass one box (left, top, right, bottom) per token, special tokens included, scaled to 0 to 1000.",
    )


def _outside(bbox: Tensor, places: int) -> InputError:
    left, top, right, bottom = bbox.unbind(-1)
    inside = ((bbox >= 0) & (bbox < places)).all(-1)
    if not inside.all():
        example = bbox[~inside][0].tolist()
        what = f"The box {example} is outside the page, whose coordinates go from 0 to {places - 1}."
    else:
        example = bbox[(right < left) | (bottom < top)][0].tolist()
        what = f"The box {example} has a right side left of its left one, or a bottom above its top."
    return InputError(
        what,
        next_step="Scale boxes to 0 to 1000: left / width * 1000, top / height * 1000, right / width * 1000, "
        "bottom / height * 1000.",
    )


# The backbone --------------------------------------------------------------------------------------------------------


class LayoutLMPreTrainedModel(PreTrainedModel):
    """What the models of LayoutLM share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import LayoutLMModel, LayoutLMPreTrainedModel
        >>> issubclass(LayoutLMModel, LayoutLMPreTrainedModel)
        True
    """

    config_class = LayoutLMConfig
    base_model_prefix = "layoutlm"
    position_field = "max_position_embeddings"
    layoutlm: LayoutLMModel  # in the heads
    weight_rules = ENCODER_RULES


class LayoutLMModel(LayoutLMPreTrainedModel):
    """The encoder: ids and boxes in, one vector per token out, and one for the whole page.

    Args:
        config: LayoutLM's settings.
        add_pooling_layer: Also compute `pooler_output`.

    Example:
        >>> import torch
        >>> from notebook_kit import LayoutLMConfig, LayoutLMModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = LayoutLMModel(LayoutLMConfig(**size)).eval()
        >>> ids = torch.tensor([[2, 17, 3]])  # [CLS] word [SEP]
        >>> top = model(ids, bbox=torch.tensor([[[0, 0, 0, 0], [100, 50, 300, 80], [1000, 1000, 1000, 1000]]]))
        >>> low = model(ids, bbox=torch.tensor([[[0, 0, 0, 0], [100, 950, 300, 980], [1000, 1000, 1000, 1000]]]))
        >>> top.last_hidden_state.shape, torch.equal(top.last_hidden_state, low.last_hidden_state)
        (torch.Size([1, 3, 32]), False)
    """

    def __init__(self, config: LayoutLMConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = LayoutLMEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        bbox: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of pages.

        Args:
            input_ids: `(batch, tokens)`, from the checkpoint's tokenizer.
            bbox: `(batch, tokens, 4)`, the box of each token's word: left, top, right and bottom in thousandths of the page's
                width and height; all 0 by default.
            attention_mask: `(batch, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            token_type_ids: `(batch, tokens)`, 0 in the first text and 1 in the second; all 0 by default.
            position_ids: `(batch, tokens)`; 0, 1, 2, ... by default.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are outside the vocabulary, boxes are outside the page or have another shape, the mask does not
                fit, or there are more tokens than positions.
        """
        x = self.embeddings(input_ids, bbox, token_type_ids, position_ids, inputs_embeds)
        mask = padding_mask(attention_mask, x.dtype, x.shape[:2])
        x, states, attentions = self.encoder(
            x, mask, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        return BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=None if self.pooler is None else self.pooler(x),
            hidden_states=states,
            attentions=attentions,
        )


# Heads ---------------------------------------------------------------------------------------------------------------


class LayoutLMHead(LayoutLMPreTrainedModel, Head):
    """The base of LayoutLM's heads: checkpoints of each of them have the pooling layer, whether the head reads it or not."""

    pools = True


class LayoutLMForSequenceClassification(LayoutLMHead, ForSequenceClassification):
    """LayoutLM with a linear layer on the pooled output: one prediction per page, such as the kind of document.

    Example:
        >>> import torch
        >>> from notebook_kit import LayoutLMConfig, LayoutLMForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = LayoutLMForSequenceClassification(LayoutLMConfig(**size, id2label={0: "letter", 1: "form", 2: "invoice"}))
        >>> out = model(torch.tensor([[2, 17, 3]]), bbox=torch.randint(0, 9, (1, 3, 4)).sort(-1).values, labels=torch.tensor([2]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([1, 3]), tensor(True))
    """

    backbone = LayoutLMModel


class LayoutLMForTokenClassification(LayoutLMHead, ForTokenClassification):
    """LayoutLM with a linear layer on every token: which words of a form are questions, answers or headers.

    Example:
        >>> import torch
        >>> from notebook_kit import LayoutLMConfig, LayoutLMForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = LayoutLMForTokenClassification(LayoutLMConfig(**size, num_labels=5))
        >>> boxes = torch.tensor([[[0, 0, 0, 0], [100, 50, 300, 80], [1000, 1000, 1000, 1000]]])
        >>> model(torch.tensor([[2, 17, 3]]), boxes).logits.shape
        torch.Size([1, 3, 5])
    """

    backbone = LayoutLMModel


class LayoutLMForQuestionAnswering(LayoutLMHead, ForQuestionAnswering):
    """LayoutLM with two scores per token: whether the answer to a question about a page starts here, and whether it ends here.

    The question has the box `[0, 0, 0, 0]`, the separator `[1000, 1000, 1000, 1000]`; the `document-question-answering`
    pipeline places them.

    Example:
        >>> import torch
        >>> from notebook_kit import LayoutLMConfig, LayoutLMForQuestionAnswering
        >>> tiny = LayoutLMConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> ids = torch.tensor([[2, 17, 3, 21, 22, 3]])  # [CLS] question [SEP] page [SEP]
        >>> boxes = torch.tensor([[[0] * 4, [0] * 4, [1000] * 4, [100, 50, 300, 80], [310, 50, 420, 80], [1000] * 4]])
        >>> out = LayoutLMForQuestionAnswering(tiny)(ids, boxes, token_type_ids=torch.tensor([[0, 0, 0, 1, 1, 1]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 6]), torch.Size([1, 6]))
    """

    backbone = LayoutLMModel


class LayoutLMForMaskedLM(LayoutLMHead, ForMaskedLM):
    """LayoutLM with a head that predicts the words hidden behind `[MASK]` from the others and from where all of them are.

    Example:
        >>> import torch
        >>> from notebook_kit import LayoutLMConfig, LayoutLMForMaskedLM
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> boxes = torch.tensor([[[0] * 4, [100, 50, 300, 80], [310, 50, 420, 80], [1000] * 4]])
        >>> mask = 4
        >>> LayoutLMForMaskedLM(LayoutLMConfig(**size))(torch.tensor([[2, 17, mask, 3]]), boxes).logits.shape
        torch.Size([1, 4, 50])
    """

    backbone = LayoutLMModel
    weight_rules = replace(
        LayoutLMPreTrainedModel.weight_rules,
        tied={
            "cls.predictions.decoder.weight": "layoutlm.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    )

    def build_head(self, config: LayoutLMConfig) -> None:
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config)})

    def compute_logits(self, out: Any) -> Tensor:
        return self.cls["predictions"](out.last_hidden_state)
