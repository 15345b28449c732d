"""BERT: a stack of post-norm transformer encoder layers, pre-trained to fill in masked words.

Source: Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, 2019.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import ENCODER_RULES
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
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
from notebook_kit.nn.layers import (
    OutputOptions,
    activated,
    activation,
    check_length,
    embed_segments,
    embed_tokens,
    input_size,
    merge_heads,
    run_layers,
    split_heads,
    token_table,
)
from notebook_kit.nn.losses import cross_entropy, sum_losses
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPooling, ModelOutput, NextSentencePredictorOutput
from notebook_kit.nn.rows import FIRST, select_rows

__all__ = [
    "BertConfig",
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForPreTrainingOutput",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertModel",
    "BertPreTrainedModel",
]


def __getattr__(name: str) -> Any:
    """The classes of BERT as a decoder, in a module that imports this one."""
    if name not in ("BertDecoderModel", "BertLMHeadModel"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("notebook_kit.models.bert_decoder"), name)


class BertConfig(PretrainedConfig):
    """BERT's settings; the defaults are those of `bert-base-uncased`.

    Args:
        vocab_size: Rows of the token embeddings.
        hidden_size: Width of the residual stream.
        num_hidden_layers: Number of encoder layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        intermediate_size: Width inside the feed-forward block.
        hidden_act: Activation of the feed-forward block.
        hidden_dropout_prob: Dropout after the embeddings and each block.
        attention_probs_dropout_prob: Dropout of attention weights.
        max_position_embeddings: Maximum sequence length, in tokens.
        type_vocab_size: Number of segments (first text, second text).
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the layer norms.
        classifier_dropout: Dropout before a classification head; `hidden_dropout_prob` by default.

    Example:
        >>> from notebook_kit import BertConfig, BertModel
        >>> tiny = BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, vocab_size=100)
        >>> BertModel(tiny).num_parameters()
        110528
    """

    model_type: ClassVar[str] = "bert"

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
    classifier_dropout: Fraction | None = None


# Blocks, which ALBERT, ELECTRA, MPNet and RoBERTa share in part ------------------------------------------------------


class BertEmbeddings(nn.Module):
    """Token + position + segment embeddings, normed: `(batch, tokens)` ids to `(batch, tokens, width)`."""

    def __init__(self, config, width: int) -> None:
        super().__init__()
        self.word_embeddings = token_table(config.vocab_size, width, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None,
    ) -> Tensor:
        _, T, device = input_size(input_ids, inputs_embeds)
        if position_ids is None:
            check_length(T, self.position_embeddings.num_embeddings)
            position_ids = torch.arange(T, device=device)[None]
        words = embed_tokens(self.word_embeddings, input_ids, inputs_embeds)
        segments = embed_segments(self.token_type_embeddings, token_type_ids)
        return self.dropout(self.LayerNorm(words + segments + self.position_embeddings(position_ids)))


class BertSelfAttention(nn.Module):
    """Multi-head self-attention without the output projection, which `BertResidual` adds."""

    def __init__(self, config) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = config.attention_probs_dropout_prob

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite, rows: slice | None = None) -> Tensor:
        q = split_heads(self.query(select_rows(x, rows)), self.heads)
        k, v = (split_heads(project(x), self.heads) for project in (self.key, self.value))
        dropout = self.dropout if self.training else 0.0
        return merge_heads(attend(q, k, v, site=site, mask=mask, dropout=dropout))


class BertResidual(nn.Module):
    """Linear layer, dropout, residual connection, layer norm: the end of both halves of a layer."""

    def __init__(self, config, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class BertLayer(nn.Module):
    """Attention, then a feed-forward block, each followed by a residual connection and a layer norm."""

    def __init__(self, config) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {"self": BertSelfAttention(config), "output": BertResidual(config, config.hidden_size)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.intermediate_size)})
        self.output = BertResidual(config, config.intermediate_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite, rows: slice | None = None) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, mask, site, rows), select_rows(x, rows))
        return self.output(activated(self.intermediate["dense"], self.activation, x), x)


class BertEncoder(nn.Module):
    """The stack of layers."""

    layer_class: ClassVar[type[BertLayer]] = BertLayer

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.ModuleList(self.layer_class(config) for _ in range(config.num_hidden_layers))
        self.sites = [AttentionSite(index, config.num_attention_heads) for index in range(config.num_hidden_layers)]

    def forward(self, x: Tensor, mask: Tensor | None, **options: Unpack[OutputOptions]):
        return run_layers(self, self.layer, self.sites, x, mask, **options)


class BertPooler(nn.Module):
    """A tanh layer on the first token's state: one vector per text, `(batch, width)`."""

    def __init__(self, config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(x[:, 0]))


# The backbone --------------------------------------------------------------------------------------------------------


class BertPreTrainedModel(PreTrainedModel):
    """What the models of Bert share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import BertModel, BertPreTrainedModel
        >>> issubclass(BertModel, BertPreTrainedModel)
        True
    """

    config_class = BertConfig
    base_model_prefix = "bert"
    position_field = "max_position_embeddings"
    bert: BertModel  # in the heads
    weight_rules = ENCODER_RULES


class BertModel(BertPreTrainedModel):
    """The encoder: ids in, one vector per token out, and one for the whole text.

    Args:
        config: BERT's settings.
        add_pooling_layer: Also compute `pooler_output`.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertModel
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> out = BertModel(tiny)(torch.tensor([[2, 17, 8, 3]]))
        >>> out.last_hidden_state.shape, out.pooler_output.shape
        (torch.Size([1, 4, 32]), torch.Size([1, 32]))
    """

    encoder_class: ClassVar[type[BertEncoder]] = BertEncoder

    def __new__(cls, config: BertConfig | None = None, *_: Any, **__: Any) -> BertModel:
        if cls is BertModel and (getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False)):
            cls = __getattr__("BertDecoderModel")
        return super().__new__(cls)

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings(config, config.hidden_size)
        self.encoder = self.encoder_class(config)
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
            pooler_output=None if self.pooler is None else self.pooler(x),
            hidden_states=states,
            attentions=attentions,
        )


# Heads ---------------------------------------------------------------------------------------------------------------


class BertForSequenceClassification(BertPreTrainedModel, ForSequenceClassification):
    """BERT with a linear layer on the pooled output: one prediction per text.

    Example:
        >>> import math, torch
        >>> from notebook_kit import BertConfig, BertForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = BertForSequenceClassification(BertConfig(**size, num_labels=3))
        >>> out = model(torch.tensor([[2, 17, 8, 3], [2, 9, 30, 3]]), labels=torch.tensor([0, 2]))
        >>> out.logits.shape, abs(out.loss.item() - math.log(3)) < 0.1  # untrained, it guesses among three
        (torch.Size([2, 3]), True)
    """

    backbone = BertModel


class BertForMultipleChoice(BertPreTrainedModel, ForMultipleChoice):
    """BERT with a linear layer on the pooled output of each choice: one score per choice.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertForMultipleChoice
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> model = BertForMultipleChoice(tiny)
        >>> ids = torch.tensor([[[2, 17, 8, 3], [2, 17, 9, 3]]])  # one question with two answers
        >>> out = model(ids, labels=torch.tensor([1]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([1, 2]), tensor(True))
    """

    backbone = BertModel


class BertForTokenClassification(BertPreTrainedModel, ForTokenClassification):
    """BERT with a linear layer on every token.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = BertForTokenClassification(BertConfig(**size, num_labels=5)).eval()
        >>> out = model(torch.tensor([[2, 17, 8, 3]]), labels=torch.tensor([[-100, 4, -100, -100]]))
        >>> out.logits.shape, torch.isclose(out.loss, -out.logits[0, 1].log_softmax(-1)[4])  # -100 is ignored
        (torch.Size([1, 4, 5]), tensor(True))
    """

    backbone = BertModel


class BertForQuestionAnswering(BertPreTrainedModel, ForQuestionAnswering):
    """BERT with two scores per token: whether the answer starts here, and whether it ends here.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertForQuestionAnswering
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> ids = torch.tensor([[2, 17, 8, 3, 21, 22, 23, 3]])  # [CLS] question [SEP] text [SEP]
        >>> out = BertForQuestionAnswering(tiny)(ids, token_type_ids=torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 8]), torch.Size([1, 8]))
    """

    backbone = BertModel


class BertPredictionTransform(nn.Module):
    """Linear layer, activation and layer norm before the scores of the vocabulary."""

    def __init__(self, config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(activated(self.dense, self.activation, x))


class BertPredictions(nn.Module):
    """Scores of the vocabulary at each token; the last layer shares the weights of the token embeddings."""

    def __init__(self, config) -> None:
        super().__init__()
        self.transform = BertPredictionTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.transform(x))


class BertForMaskedLM(BertPreTrainedModel, ForMaskedLM):
    """BERT with a head that predicts the words hidden behind `[MASK]`, as in pre-training.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertForMaskedLM
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> mask = 4
        >>> scores = BertForMaskedLM(tiny)(torch.tensor([[2, 17, mask, 3]])).logits
        >>> scores.shape, len(scores[0, 2].topk(5).indices)  # a score per word of the vocabulary, and the best five
        (torch.Size([1, 4, 50]), 5)
    """

    backbone = BertModel
    weight_rules = replace(
        BertPreTrainedModel.weight_rules,
        tied={
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    )

    def build_head(self, config: BertConfig) -> None:
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config)})

    def compute_logits(self, out) -> Tensor:
        return self.cls["predictions"](out.last_hidden_state)


class BertForNextSentencePrediction(BertPreTrainedModel, Head):
    """BERT with two scores per pair of texts: the second text follows the first, or it does not.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertForNextSentencePrediction
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> pair = {"input_ids": torch.tensor([[2, 17, 3, 21, 3]]), "token_type_ids": torch.tensor([[0, 0, 0, 1, 1]])}
        >>> out = BertForNextSentencePrediction(tiny)(**pair, labels=torch.tensor([0]))  # 0: it follows
        >>> out.logits.shape, round(out.loss.item(), 1)
        (torch.Size([1, 2]), 0.7)
    """

    pools = True
    reads = FIRST
    backbone = BertModel

    def build_head(self, config: BertConfig) -> None:
        self.cls = nn.ModuleDict({"seq_relationship": nn.Linear(config.hidden_size, 2)})

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> NextSentencePredictorOutput:
        """As `BertModel.forward`; `labels` is `(batch,)`, 0 where the second text follows the first, 1 where it does not."""
        out = self.run_backbone(**inputs)
        logits = self.cls["seq_relationship"](out.pooler_output)
        return join_output(NextSentencePredictorOutput, out, loss=cross_entropy(logits, labels), logits=logits)


class BertForPreTrainingOutput(ModelOutput):
    """Both predictions of pre-training.

    Attributes:
        loss: The sum of both losses, if both kinds of labels were passed.
        prediction_logits: `(batch, tokens, vocabulary)`, as in `BertForMaskedLM`.
        seq_relationship_logits: `(batch, 2)`, as in `BertForNextSentencePrediction`.
        hidden_states: As in `BaseModelOutput`.
        attentions: As in `BaseModelOutput`.
    """

    loss: Tensor | None = None
    prediction_logits: Tensor = None  # type: ignore[assignment]
    seq_relationship_logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BertForPreTraining(BertPreTrainedModel, Head):
    """BERT with both heads of its pre-training: masked words, and whether the second text follows the first.

    Example:
        >>> import torch
        >>> from notebook_kit import BertConfig, BertForPreTraining
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> out = BertForPreTraining(tiny)(torch.tensor([[2, 17, 4, 3, 21, 3]]))
        >>> out.prediction_logits.shape, out.seq_relationship_logits.shape
        (torch.Size([1, 6, 50]), torch.Size([1, 2]))
    """

    pools = True
    backbone = BertModel
    weight_rules = BertForMaskedLM.weight_rules

    def build_head(self, config: BertConfig) -> None:
        follows = nn.Linear(config.hidden_size, 2)
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config), "seq_relationship": follows})

    def forward(
        self, *, labels: Tensor | None = None, next_sentence_label: Tensor | None = None, **inputs: Any
    ) -> BertForPreTrainingOutput:
        """As `BertModel.forward`, with labels for both heads; the loss requires both.

        Args:
            labels: As in `BertForMaskedLM`.
            next_sentence_label: As `labels` in `BertForNextSentencePrediction`.
            **inputs: Inputs of `BertModel`.
        """
        out = self.run_backbone(**inputs)
        words = self.cls["predictions"](out.last_hidden_state)
        follows = self.cls["seq_relationship"](out.pooler_output)
        return join_output(
            BertForPreTrainingOutput,
            out,
            loss=sum_losses(cross_entropy(words, labels), cross_entropy(follows, next_sentence_label)),
            prediction_logits=words,
            seq_relationship_logits=follows,
        )
