"""ALBERT: BERT with one layer that is applied repeatedly, and with narrow embeddings.

Source: Lan et al., ALBERT: A Lite BERT for Self-supervised Learning of Language Representations, 2020.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import ENCODER_RULES
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.models.bert import BertEmbeddings
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.heads import (
    ForMaskedLM,
    ForMultipleChoice,
    ForQuestionAnswering,
    ForSequenceClassification,
    ForTokenClassification,
    Head,
    join_output,
)
from notebook_kit.nn.layers import OutputOptions, activated, activation, merge_heads, run_layers, split_heads
from notebook_kit.nn.losses import cross_entropy, sum_losses
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPooling, ModelOutput
from notebook_kit.nn.rows import select_rows

__all__ = [
    "AlbertConfig",
    "AlbertForMaskedLM",
    "AlbertForMultipleChoice",
    "AlbertForPreTraining",
    "AlbertForPreTrainingOutput",
    "AlbertForQuestionAnswering",
    "AlbertForSequenceClassification",
    "AlbertForTokenClassification",
    "AlbertModel",
    "AlbertPreTrainedModel",
]


class AlbertConfig(PretrainedConfig):
    """ALBERT's settings; the defaults are those of `albert-xxlarge-v2`.

    Args:
        vocab_size: Rows of the token embeddings.
        embedding_size: Width of the embeddings, which a linear layer widens to `hidden_size`.
        hidden_size: Width of the residual stream.
        num_hidden_layers: Number of steps, each of which applies one group.
        num_hidden_groups: Groups of layers with separate weights; the steps are divided evenly among them, in order.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        intermediate_size: Width inside the feed-forward block.
        inner_group_num: Layers per group.
        hidden_act: Activation of the feed-forward block.
        hidden_dropout_prob: Dropout after the embeddings and the attention block.
        attention_probs_dropout_prob: Dropout of attention weights.
        max_position_embeddings: Maximum sequence length, in tokens.
        type_vocab_size: Number of segments (first text, second text).
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the layer norms.
        classifier_dropout_prob: Dropout before a classification head.

    Example:
        >>> from notebook_kit import AlbertConfig, AlbertModel
        >>> tiny = AlbertConfig(hidden_size=64, embedding_size=32, num_attention_heads=2, intermediate_size=128, vocab_size=100)
        >>> AlbertModel(tiny).num_parameters()  # twelve steps with the weights of one layer
        59456
    """

    model_type: ClassVar[str] = "albert"

    vocab_size: Rows = 30000
    embedding_size: Size = 128
    hidden_size: Size = 4096
    num_hidden_layers: Layers = 12
    num_hidden_groups: Size = 1
    num_attention_heads: Size = 64
    intermediate_size: Size = 16384
    inner_group_num: Size = 1
    hidden_act: Activation = "gelu_new"
    hidden_dropout_prob: Fraction = 0.0
    attention_probs_dropout_prob: Fraction = 0.0
    max_position_embeddings: Rows = 512
    type_vocab_size: Rows = 2
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-12
    classifier_dropout_prob: Fraction = 0.1
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 3


# Blocks --------------------------------------------------------------------------------------------------------------


class AlbertAttention(nn.Module):
    """Multi-head self-attention, followed by a residual connection and a layer norm."""

    def __init__(self, config) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention_dropout = config.attention_probs_dropout_prob
        self.output_dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite, rows: slice | None = None) -> Tensor:
        q = split_heads(self.query(select_rows(x, rows)), self.heads)
        k, v = (split_heads(project(x), self.heads) for project in (self.key, self.value))
        dropout = self.attention_dropout if self.training else 0.0
        context = merge_heads(attend(q, k, v, site=site, mask=mask, dropout=dropout))
        return self.LayerNorm(select_rows(x, rows) + self.output_dropout(self.dense(context)))


class AlbertLayer(nn.Module):
    """Attention, then a feed-forward block, each followed by a residual connection and a layer norm."""

    def __init__(self, config) -> None:
        super().__init__()
        self.attention = AlbertAttention(config)
        self.ffn = nn.Linear(config.hidden_size, config.intermediate_size)
        self.ffn_output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.full_layer_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite, rows: slice | None = None) -> Tensor:
        x = self.attention(x, mask, site, rows)
        return self.full_layer_layer_norm(self.ffn_output(activated(self.ffn, self.activation, x)) + x)


class AlbertEncoder(nn.Module):
    """A linear layer that widens the embeddings, then the groups, each applied for its share of the steps."""

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.embedding_hidden_mapping_in = nn.Linear(config.embedding_size, config.hidden_size)
        self.albert_layer_groups = nn.ModuleList(
            nn.ModuleDict({"albert_layers": nn.ModuleList(AlbertLayer(config) for _ in range(config.inner_group_num))})
            for _ in range(config.num_hidden_groups)
        )
        # Layers with shared weights attend to different things, so each application is a separate site.
        applied = config.num_hidden_layers * config.inner_group_num
        self.sites = [AttentionSite(index, config.num_attention_heads) for index in range(applied)]

    def forward(self, x: Tensor, mask: Tensor | None, **options: Unpack[OutputOptions]):
        steps, groups = self.config.num_hidden_layers, len(self.albert_layer_groups)
        layers = [
            layer
            for step in range(steps)
            for layer in self.albert_layer_groups[step * groups // steps]["albert_layers"]
        ]
        return run_layers(self, layers, self.sites, self.embedding_hidden_mapping_in(x), mask, **options)


# The backbone --------------------------------------------------------------------------------------------------------


class AlbertPreTrainedModel(PreTrainedModel):
    """What the models of Albert share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import AlbertModel, AlbertPreTrainedModel
        >>> issubclass(AlbertModel, AlbertPreTrainedModel)
        True
    """

    config_class = AlbertConfig
    base_model_prefix = "albert"
    position_field = "max_position_embeddings"
    albert: AlbertModel  # in the heads
    dropout_fields: ClassVar[tuple[str, ...]] = ("classifier_dropout_prob",)
    weight_rules = ENCODER_RULES


class AlbertModel(AlbertPreTrainedModel):
    """The encoder: ids in, one vector per token out, and one for the whole text.

    Args:
        config: ALBERT's settings.
        add_pooling_layer: Also compute `pooler_output`.

    Example:
        >>> import torch
        >>> from notebook_kit import AlbertConfig, AlbertModel
        >>> size = {"embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> shallow, deep = (AlbertModel(AlbertConfig(**size, num_hidden_layers=n)) for n in (1, 6))
        >>> shallow.num_parameters() == deep.num_parameters()
        True
        >>> len(deep(torch.tensor([[2, 17, 8, 3]]), output_attentions=True).attentions)  # but six steps
        6
    """

    def __init__(self, config: AlbertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings(config, config.embedding_size)
        self.encoder = AlbertEncoder(config)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size) if add_pooling_layer else None
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
            position_ids: `(batch, tokens)`; 0, 1, 2, ... by default.
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
            pooler_output=None if self.pooler is None else torch.tanh(self.pooler(x[:, 0])),
            hidden_states=states,
            attentions=attentions,
        )


# Heads ---------------------------------------------------------------------------------------------------------------


class AlbertForSequenceClassification(AlbertPreTrainedModel, ForSequenceClassification):
    """ALBERT with a linear layer on the pooled output: one prediction per text.

    Example:
        >>> import torch
        >>> from notebook_kit import AlbertConfig, AlbertForSequenceClassification
        >>> size = {"embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = AlbertForSequenceClassification(AlbertConfig(**size, num_labels=2))
        >>> pair = {"input_ids": torch.tensor([[2, 17, 3, 21, 3]]), "token_type_ids": torch.tensor([[0, 0, 0, 1, 1]])}
        >>> model(**pair).logits.shape  # one prediction per pair: do both texts mean the same?
        torch.Size([1, 2])
    """

    backbone = AlbertModel


class AlbertForMultipleChoice(AlbertPreTrainedModel, ForMultipleChoice):
    """ALBERT with a linear layer on the pooled output of each choice: one score per choice.

    Example:
        >>> import torch
        >>> from notebook_kit import AlbertConfig, AlbertForMultipleChoice
        >>> size = {"embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> tiny = AlbertConfig(**size)
        >>> model = AlbertForMultipleChoice(tiny)
        >>> ids = torch.tensor([[[2, 17, 8, 3], [2, 17, 9, 3]]])  # one question with two answers
        >>> out = model(ids, labels=torch.tensor([1]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([1, 2]), tensor(True))
    """

    backbone = AlbertModel


class AlbertForTokenClassification(AlbertPreTrainedModel, ForTokenClassification):
    """ALBERT with a linear layer on every token.

    Example:
        >>> import torch
        >>> from notebook_kit import AlbertConfig, AlbertForTokenClassification
        >>> size = {"embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = AlbertForTokenClassification(AlbertConfig(**size, id2label={0: "O", 1: "PER"}))
        >>> chances = model(torch.tensor([[2, 17, 8, 3]])).logits.softmax(-1)[..., model.config.label2id["PER"]]
        >>> chances.shape
        torch.Size([1, 4])
    """

    backbone = AlbertModel


class AlbertForQuestionAnswering(AlbertPreTrainedModel, ForQuestionAnswering):
    """ALBERT with two scores per token: whether the answer starts here, and whether it ends here.

    Example:
        >>> import torch
        >>> from notebook_kit import AlbertConfig, AlbertForQuestionAnswering
        >>> size = {"embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = AlbertForQuestionAnswering(AlbertConfig(**size))
        >>> out = model(torch.tensor([[2, 17, 3, 21, 22, 3]]), start_positions=torch.tensor([3]), end_positions=torch.tensor([4]))
        >>> list(out)
        ['loss', 'start_logits', 'end_logits']
    """

    backbone = AlbertModel


class AlbertMLMHead(nn.Module):
    """Scores of the vocabulary at each token; the last layer shares the weights of the token embeddings."""

    def __init__(self, config) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.decoder = nn.Linear(config.embedding_size, config.vocab_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.LayerNorm(activated(self.dense, self.activation, x)))


class AlbertForMaskedLM(AlbertPreTrainedModel, ForMaskedLM):
    """ALBERT with a head that predicts the words hidden behind `[MASK]`, as in pre-training.

    Example:
        >>> import torch
        >>> from notebook_kit import AlbertConfig, AlbertForMaskedLM
        >>> size = {"embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = AlbertForMaskedLM(AlbertConfig(**size))
        >>> ids, words = torch.tensor([[2, 17, 4, 3]]), torch.tensor([[-100, -100, 8, -100]])  # 4 masks word 8
        >>> model(ids, labels=words).loss > 0, model.predictions.decoder.in_features  # scored at the width of the embeddings
        (tensor(True), 16)
    """

    backbone = AlbertModel
    weight_rules = replace(
        AlbertPreTrainedModel.weight_rules,
        tied={
            "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
            "predictions.decoder.bias": "predictions.bias",
        },
    )

    def build_head(self, config: AlbertConfig) -> None:
        self.predictions = AlbertMLMHead(config)

    def compute_logits(self, out) -> Tensor:
        return self.predictions(out.last_hidden_state)


class AlbertForPreTrainingOutput(ModelOutput):
    """Both predictions of pre-training.

    Attributes:
        loss: The sum of both losses, if both kinds of labels were passed.
        prediction_logits: `(batch, tokens, vocabulary)`, as in `AlbertForMaskedLM`.
        sop_logits: `(batch, num_labels)`: the texts are in order, or they are swapped.
        hidden_states: As in `BaseModelOutput`.
        attentions: As in `BaseModelOutput`.
    """

    loss: Tensor | None = None
    prediction_logits: Tensor = None  # type: ignore[assignment]
    sop_logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class AlbertSOPHead(nn.Module):
    """Scores of the order of two texts, from the pooled output: `(batch, width)` to `(batch, num_labels)`."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.classifier_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.classifier(self.dropout(pooled))


class AlbertForPreTraining(AlbertPreTrainedModel, Head):
    """ALBERT with both heads of its pre-training: masked words, and whether two texts are in order.

    Example:
        >>> import torch
        >>> from notebook_kit import AlbertConfig, AlbertForPreTraining
        >>> size = {"embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> out = AlbertForPreTraining(AlbertConfig(**size))(torch.tensor([[2, 17, 4, 3, 21, 3]]))
        >>> out.prediction_logits.shape, out.sop_logits.shape
        (torch.Size([1, 6, 50]), torch.Size([1, 2]))
    """

    pools = True
    backbone = AlbertModel
    weight_rules = AlbertForMaskedLM.weight_rules

    def build_head(self, config: AlbertConfig) -> None:
        self.predictions = AlbertMLMHead(config)
        self.sop_classifier = AlbertSOPHead(config)

    def forward(
        self, *, labels: Tensor | None = None, sentence_order_label: Tensor | None = None, **inputs: Any
    ) -> AlbertForPreTrainingOutput:
        """As `AlbertModel.forward`, with labels for both heads; the loss requires both.

        Args:
            labels: As in `AlbertForMaskedLM`.
            sentence_order_label: `(batch,)`, 0 where the texts are in order, 1 where they are swapped.
            **inputs: Inputs of `AlbertModel`.
        """
        out = self.run_backbone(**inputs)
        words = self.predictions(out.last_hidden_state)
        order = self.sop_classifier(out.pooler_output)
        return join_output(
            AlbertForPreTrainingOutput,
            out,
            loss=sum_losses(cross_entropy(words, labels), cross_entropy(order, sentence_order_label)),
            prediction_logits=words,
            sop_logits=order,
        )
