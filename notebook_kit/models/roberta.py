"""RoBERTa: BERT's architecture, trained longer on more text; positions start after the padding token's id.

Source: Liu et al., RoBERTa: A Robustly Optimized BERT Pretraining Approach, 2019. XLM-RoBERTa (Conneau et al., 2020) and
CamemBERT (Martin et al., 2020) are the same architecture, trained on a hundred languages and on French.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import ENCODER_RULES
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.models.bert import BertEmbeddings, BertEncoder, BertPooler
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.heads import (
    FirstTokenForSequenceClassification,
    ForMaskedLM,
    ForMultipleChoice,
    ForQuestionAnswering,
    ForTokenClassification,
)
from notebook_kit.nn.layers import OutputOptions, activated, positions_after_padding
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPooling, MultipleChoiceModelOutput
from notebook_kit.nn.rows import FIRST

__all__ = [
    "RobertaConfig",
    "RobertaForMaskedLM",
    "RobertaForMultipleChoice",
    "RobertaForQuestionAnswering",
    "RobertaForSequenceClassification",
    "RobertaForTokenClassification",
    "RobertaModel",
    "RobertaPreTrainedModel",
]


class RobertaConfig(PretrainedConfig):
    """RoBERTa's settings: those of BERT, with other special tokens.

    Args:
        vocab_size: Rows of the token embeddings.
        hidden_size: Width of the residual stream.
        num_hidden_layers: Number of encoder layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        intermediate_size: Width inside the feed-forward block.
        hidden_act: Activation of the feed-forward block.
        hidden_dropout_prob: Dropout after the embeddings and each block.
        attention_probs_dropout_prob: Dropout of attention weights.
        max_position_embeddings: Rows of the position embeddings; a sequence may have `pad_token_id + 1` tokens fewer than this.
        type_vocab_size: Number of segments; released checkpoints have one.
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the layer norms.
        pad_token_id: Id of the padding token; positions start after it.
        classifier_dropout: Dropout before a classification head; `hidden_dropout_prob` by default.

    Example:
        >>> from notebook_kit import RobertaConfig, RobertaModel
        >>> tiny = RobertaConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, vocab_size=100)
        >>> RobertaModel(tiny).num_parameters()
        110528
    """

    model_type: ClassVar[str] = "roberta"

    vocab_size: Rows = 50265
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
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    classifier_dropout: Fraction | None = None

    def validate(self) -> None:
        super().validate()
        if self.pad_token_id is None or not 0 <= self.pad_token_id < self.max_position_embeddings - 1:
            raise ConfigurationError(
                f"{type(self).__name__}: pad_token_id is {self.pad_token_id}, and this architecture counts positions from it.",
                next_step="Set pad_token_id to the id of the padding token; it is 1 in the released checkpoints.",
            )


class RobertaEmbeddings(BertEmbeddings):
    """BERT's embeddings, with positions that start after `pad_token_id`."""

    def __init__(self, config, width: int) -> None:
        super().__init__(config, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width, padding_idx=config.pad_token_id)

    def forward(
        self,
        input_ids: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None,
    ) -> Tensor:
        if position_ids is None:
            position_ids = positions_after_padding(input_ids, inputs_embeds, self.position_embeddings)
        return super().forward(input_ids, token_type_ids, position_ids, inputs_embeds)


# The backbone --------------------------------------------------------------------------------------------------------


class RobertaPreTrainedModel(PreTrainedModel):
    """What the models of Roberta share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import RobertaModel, RobertaPreTrainedModel
        >>> issubclass(RobertaModel, RobertaPreTrainedModel)
        True
    """

    config_class = RobertaConfig
    base_model_prefix = "roberta"
    roberta: RobertaModel  # in the heads
    weight_rules = ENCODER_RULES

    @property
    def position_limit(self) -> int:
        return self.config.max_position_embeddings - self.config.pad_token_id - 1


class RobertaModel(RobertaPreTrainedModel):
    """The encoder: ids in, one vector per token out, and one for the whole text.

    Args:
        config: RoBERTa's settings.
        add_pooling_layer: Also compute `pooler_output`.

    Example:
        >>> import torch
        >>> from notebook_kit import RobertaConfig, RobertaModel
        >>> tiny = RobertaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> model = RobertaModel(tiny).eval()
        >>> alone = model(torch.tensor([[0, 17, 8, 2]])).last_hidden_state
        >>> padded = model(torch.tensor([[1, 0, 17, 8, 2]]), attention_mask=torch.tensor([[0, 1, 1, 1, 1]])).last_hidden_state
        >>> torch.allclose(alone, padded[:, 1:], atol=1e-5)  # padding does not use up positions, on either side
        True
    """

    def __init__(self, config: RobertaConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = RobertaEmbeddings(config, config.hidden_size)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch.

        Args:
            input_ids: `(batch, tokens)`, from the checkpoint's tokenizer.
            attention_mask: `(batch, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            token_type_ids: `(batch, tokens)`, 0 in the first text and 1 in the second; all 0 by default.
            position_ids: `(batch, tokens)`; by default counted from `pad_token_id + 1`, skipping padding.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are outside the vocabulary, the mask does not fit, or there are more tokens than positions.
        """
        x = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)
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


class RobertaForSequenceClassification(RobertaPreTrainedModel, FirstTokenForSequenceClassification):
    """RoBERTa with two layers on the first token: one prediction per text.

    Example:
        >>> import torch
        >>> from notebook_kit import RobertaConfig, RobertaForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = RobertaForSequenceClassification(RobertaConfig(**size, num_labels=1)).eval()  # one label: a number
        >>> out = model(torch.tensor([[0, 17, 8, 2]]), labels=torch.tensor([3.5]))
        >>> torch.isclose(out.loss, (out.logits[0, 0] - 3.5) ** 2)
        tensor(True)
    """

    backbone = RobertaModel


class RobertaForMultipleChoice(RobertaPreTrainedModel, ForMultipleChoice):
    """RoBERTa with a linear layer on the pooled output of each choice: one score per choice.

    Example:
        >>> import torch
        >>> from notebook_kit import RobertaConfig, RobertaForMultipleChoice
        >>> tiny = RobertaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> model = RobertaForMultipleChoice(tiny)
        >>> ids = torch.tensor([[[0, 17, 8, 2], [0, 17, 9, 2]]])  # one question with two answers
        >>> out = model(ids, labels=torch.tensor([1]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([1, 2]), tensor(True))
    """

    backbone = RobertaModel
    reads = FIRST
    dropout_fields = ("hidden_dropout_prob",)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **options: Unpack[OutputOptions],
    ) -> MultipleChoiceModelOutput:
        """As `RobertaModel.forward`, with inputs `(batch, choices, tokens)`, in the order that Transformers has for this class.

        Args:
            input_ids: `(batch, choices, tokens)`, as are the other inputs.
            token_type_ids: 0 in the first text and 1 in the second.
            attention_mask: 1 for a token and 0 for padding.
            labels: `(batch,)`, the index of the right choice.
            position_ids: By default counted from `pad_token_id + 1`.
            inputs_embeds: `(batch, choices, tokens, width)`, in place of `input_ids`.
            **options: `output_attentions` and `output_hidden_states` of `RobertaModel`.
        """
        inputs = {
            "input_ids": input_ids,
            "token_type_ids": token_type_ids,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
        return super().forward(labels=labels, **inputs, **options)


class RobertaForTokenClassification(RobertaPreTrainedModel, ForTokenClassification):
    """RoBERTa with a linear layer on every token.

    Example:
        >>> import torch
        >>> from notebook_kit import RobertaConfig, RobertaForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = RobertaForTokenClassification(RobertaConfig(**size, id2label={0: "O", 1: "B-LOC", 2: "I-LOC"}))
        >>> best = model(torch.tensor([[0, 17, 8, 2]])).logits.argmax(-1)
        >>> len([model.config.id2label[i] for i in best[0].tolist()])  # a name for each token
        4
    """

    backbone = RobertaModel


class RobertaForQuestionAnswering(RobertaPreTrainedModel, ForQuestionAnswering):
    """RoBERTa with two scores per token: whether the answer starts here, and whether it ends here.

    Example:
        >>> import torch
        >>> from notebook_kit import RobertaConfig, RobertaForQuestionAnswering
        >>> tiny = RobertaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> ids = torch.tensor([[0, 17, 8, 2, 2, 21, 22, 2]])  # <s> question </s></s> text </s>
        >>> out = RobertaForQuestionAnswering(tiny)(ids, start_positions=torch.tensor([5]), end_positions=torch.tensor([6]))
        >>> out.loss.shape, out.start_logits.softmax(-1).sum().round().item()  # one loss; probabilities over the tokens
        (torch.Size([]), 1.0)
    """

    backbone = RobertaModel


class RobertaLMHead(nn.Module):
    """Scores of the vocabulary at each token; the last layer shares the weights of the token embeddings."""

    def __init__(self, config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.layer_norm(activated(self.dense, F.gelu, x)))


class RobertaForMaskedLM(RobertaPreTrainedModel, ForMaskedLM):
    """RoBERTa with a head that predicts the words hidden behind `<mask>`, as in pre-training.

    Example:
        >>> import torch
        >>> from notebook_kit import RobertaConfig, RobertaForMaskedLM
        >>> tiny = RobertaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> model = RobertaForMaskedLM(tiny)
        >>> model.lm_head.decoder.weight is model.get_input_embeddings().weight  # one table for input and output
        True
        >>> model(torch.tensor([[0, 17, 49, 2]])).logits.shape
        torch.Size([1, 4, 50])
    """

    backbone = RobertaModel
    weight_rules = replace(
        RobertaPreTrainedModel.weight_rules,
        tied={
            "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        },
    )

    def build_head(self, config: RobertaConfig) -> None:
        self.lm_head = RobertaLMHead(config)

    def compute_logits(self, out) -> Tensor:
        return self.lm_head(out.last_hidden_state)
