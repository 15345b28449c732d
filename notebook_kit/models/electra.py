"""ELECTRA: BERT's encoder, trained to tell which words of a text a small generator has replaced.

Source: Clark et al., ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators, 2020.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.models.bert import BertEmbeddings, BertEncoder, classifier_dropout
from notebook_kit.nn.attention import padding_mask
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.layers import (
    OutputOptions,
    activation,
    cross_entropy,
    question_answering_loss,
    sequence_classification_loss,
)
from notebook_kit.nn.outputs import (
    BaseModelOutput,
    MaskedLMOutput,
    ModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

__all__ = [
    "ElectraConfig",
    "ElectraForMaskedLM",
    "ElectraForPreTraining",
    "ElectraForPreTrainingOutput",
    "ElectraForQuestionAnswering",
    "ElectraForSequenceClassification",
    "ElectraForTokenClassification",
    "ElectraModel",
]


class ElectraConfig(PretrainedConfig):
    """ELECTRA's settings; the defaults are those of `google/electra-small-discriminator`.

    Args:
        vocab_size: Rows of the token embeddings.
        embedding_size: Width of the embeddings, which a linear layer widens to `hidden_size` where they differ.
        hidden_size: Width of the residual stream.
        num_hidden_layers: Layers of the encoder.
        num_attention_heads: Heads a layer; must divide `hidden_size`.
        intermediate_size: Width inside the feed-forward block.
        hidden_act: Activation of the feed-forward block.
        hidden_dropout_prob: Dropout after the embeddings and each block.
        attention_probs_dropout_prob: Dropout of attention weights.
        max_position_embeddings: The longest sequence, in tokens.
        type_vocab_size: Kinds of segments (first text, second text).
        initializer_range: Standard deviation of fresh weights.
        layer_norm_eps: Epsilon of the layer norms.
        classifier_dropout: Dropout before a classification head; `hidden_dropout_prob` unless given.

    Example:
        >>> from notebook_kit import ElectraConfig, ElectraModel
        >>> tiny = ElectraConfig(hidden_size=64, embedding_size=32, num_hidden_layers=2, intermediate_size=128, vocab_size=100)
        >>> ElectraModel(tiny).num_parameters()
        88768
    """

    model_type: ClassVar[str] = "electra"

    vocab_size: int = 30522
    embedding_size: int = 128
    hidden_size: int = 256
    num_hidden_layers: int = 12
    num_attention_heads: int = 4
    intermediate_size: int = 1024
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    classifier_dropout: float | None = None


# The backbone --------------------------------------------------------------------------------------------------------


class ElectraPreTrainedModel(PreTrainedModel):
    config_class = ElectraConfig
    base_model_prefix = "electra"
    legacy_names = {r"\bgamma$": "weight", r"\bbeta$": "bias"}
    unused_weights = (r"position_ids$",)

    @property
    def position_limit(self) -> int:
        return self.config.max_position_embeddings


class ElectraModel(ElectraPreTrainedModel):
    """The encoder: ids in, one vector a token out.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraModel
        >>> tiny = ElectraConfig(embedding_size=16, hidden_size=32, num_hidden_layers=1, intermediate_size=64, vocab_size=50)
        >>> out = ElectraModel(tiny)(torch.tensor([[2, 17, 8, 3]]))
        >>> list(out), out[0].shape  # no pooled vector: the heads take the first token's
        (['last_hidden_state'], torch.Size([1, 4, 32]))
    """

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings(config, config.embedding_size)
        if config.embedding_size != config.hidden_size:
            self.embeddings_project = nn.Linear(config.embedding_size, config.hidden_size)
        self.encoder = BertEncoder(config)
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
    ) -> BaseModelOutput:
        """Encode a batch.

        Args:
            input_ids: `(batch, tokens)`, from the checkpoint's tokenizer.
            attention_mask: `(batch, tokens)`, 1 for a token and 0 for padding; all 1 unless given.
            token_type_ids: `(batch, tokens)`, 0 in the first text and 1 in the second; all 0 unless given.
            position_ids: `(batch, tokens)`; 0, 1, 2, ... unless given.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are outside the vocabulary, or there are more tokens than positions.
        """
        x = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)
        if self.config.embedding_size != self.config.hidden_size:
            x = self.embeddings_project(x)
        x, states, attentions = self.encoder(
            x,
            padding_mask(attention_mask, x.dtype, x.shape[:2]),
            self.config.output_attentions if output_attentions is None else output_attentions,
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states,
        )
        return BaseModelOutput(last_hidden_state=x, hidden_states=states, attentions=attentions)


# Heads -----------------------------------------------------------------------------------------------------------------


class ElectraClassificationHead(nn.Module):
    """Two layers on the first token's state."""

    def __init__(self, config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = classifier_dropout(config)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.dense(self.dropout(x[:, 0])))
        return self.out_proj(self.dropout(x))


class ElectraForSequenceClassification(ElectraPreTrainedModel):
    """ELECTRA with two layers on the first token: one prediction a text.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraForSequenceClassification
        >>> size = {"embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 50}
        >>> config = ElectraConfig(**size, num_labels=4, problem_type="multi_label_classification")
        >>> several = torch.tensor([[1.0, 0.0, 0.0, 1.0]])  # the first topic and the last
        >>> round(ElectraForSequenceClassification(config)(torch.tensor([[2, 17, 8, 3]]), labels=several).loss.item(), 1)
        0.7
    """

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.electra = ElectraModel(config)
        self.classifier = ElectraClassificationHead(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[OutputOptions],
    ) -> SequenceClassifierOutput:
        """As `ElectraModel.forward`; `labels` as `config.problem_type` wants them, see `sequence_classification_loss`."""
        out = self.electra(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, return_dict=True, **options
        )
        logits = self.classifier(out.last_hidden_state)
        loss = sequence_classification_loss(logits, labels, self.config)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=out.hidden_states, attentions=out.attentions
        )


class ElectraForTokenClassification(ElectraPreTrainedModel):
    """ELECTRA with a linear layer on every token.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraForTokenClassification
        >>> size = {"embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 50}
        >>> model = ElectraForTokenClassification(ElectraConfig(**size, num_labels=17))  # the universal parts of speech
        >>> model(torch.tensor([[2, 17, 8, 3], [2, 9, 3, 0]])).logits.argmax(-1).shape
        torch.Size([2, 4])
    """

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.electra = ElectraModel(config)
        self.dropout = classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[OutputOptions],
    ) -> TokenClassifierOutput:
        """As `ElectraModel.forward`; `labels` is `(batch, tokens)`, class indices, -100 where none counts."""
        out = self.electra(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, return_dict=True, **options
        )
        logits = self.classifier(self.dropout(out.last_hidden_state))
        loss = cross_entropy(logits, labels)
        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=out.hidden_states, attentions=out.attentions
        )


class ElectraForQuestionAnswering(ElectraPreTrainedModel):
    """ELECTRA with two scores a token: does the answer start here, does it end here.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraForQuestionAnswering
        >>> tiny = ElectraConfig(embedding_size=16, hidden_size=32, num_hidden_layers=1, intermediate_size=64, vocab_size=50)
        >>> out = ElectraForQuestionAnswering(tiny)(torch.tensor([[2, 17, 3, 21, 22, 3]]))
        >>> spans = out.start_logits[0, :, None] + out.end_logits[0, None]  # the score of each start with each end
        >>> best = spans.masked_fill(torch.ones(6, 6).tril(-1).bool(), float("-inf")).argmax().item()
        >>> best // 6 <= best % 6  # the answer does not end before it starts
        True
    """

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.electra = ElectraModel(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **options: Unpack[OutputOptions],
    ) -> QuestionAnsweringModelOutput:
        """As `ElectraModel.forward`; `start_positions` and `end_positions` are `(batch,)` token indices of the answer."""
        out = self.electra(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, return_dict=True, **options
        )
        logits = self.qa_outputs(out.last_hidden_state)
        return QuestionAnsweringModelOutput(
            loss=question_answering_loss(logits, start_positions, end_positions),
            start_logits=logits[..., 0].contiguous(),
            end_logits=logits[..., 1].contiguous(),
            hidden_states=out.hidden_states,
            attentions=out.attentions,
        )


class ElectraGeneratorPredictions(nn.Module):
    """Back to the width of the embeddings, before the vocabulary's scores."""

    def __init__(self, config) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(F.gelu(self.dense(x)))


class ElectraForMaskedLM(ElectraPreTrainedModel):
    """The generator: which word stands where `[MASK]` stands. Only generator checkpoints were trained for it.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraForMaskedLM
        >>> tiny = ElectraConfig(embedding_size=16, hidden_size=32, num_hidden_layers=1, intermediate_size=64, vocab_size=50)
        >>> generator = ElectraForMaskedLM(tiny)
        >>> replaced = generator(torch.tensor([[2, 17, 4, 3]])).logits.argmax(-1)[0, 2]  # what the discriminator has to spot
        >>> 0 <= replaced.item() < 50, generator.generator_lm_head.in_features
        (True, 16)
    """

    tied_weights = {
        "generator_lm_head.weight": "electra.embeddings.word_embeddings.weight",
    }

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.electra = ElectraModel(config)
        self.generator_predictions = ElectraGeneratorPredictions(config)
        self.generator_lm_head = nn.Linear(config.embedding_size, config.vocab_size)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[OutputOptions],
    ) -> MaskedLMOutput:
        """As `ElectraModel.forward`; `labels` is `(batch, tokens)`: the word's id where one was masked, -100 elsewhere."""
        out = self.electra(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, return_dict=True, **options
        )
        logits = self.generator_lm_head(self.generator_predictions(out.last_hidden_state))
        loss = cross_entropy(logits, labels)
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=out.hidden_states, attentions=out.attentions)


class ElectraForPreTrainingOutput(ModelOutput):
    """Which tokens were replaced.

    Attributes:
        loss: Scalar, when labels were given.
        logits: `(batch, tokens)`; above 0 where the token looks replaced.
        hidden_states: As in `BaseModelOutput`.
        attentions: As in `BaseModelOutput`.
    """

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class ElectraDiscriminatorPredictions(nn.Module):
    def __init__(self, config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dense_prediction = nn.Linear(config.hidden_size, 1)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense_prediction(self.activation(self.dense(x))).squeeze(-1)


class ElectraForPreTraining(ElectraPreTrainedModel):
    """The discriminator, as it was pre-trained: was this token replaced.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraForPreTraining
        >>> tiny = ElectraConfig(embedding_size=16, hidden_size=32, num_hidden_layers=1, intermediate_size=64, vocab_size=50)
        >>> out = ElectraForPreTraining(tiny)(torch.tensor([[2, 17, 8, 3]]), labels=torch.tensor([[0, 0, 1, 0]]))
        >>> out.logits.shape, round(out.loss.item(), 1)  # a score a token; ln 2 before any training
        (torch.Size([1, 4]), 0.7)
    """

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__(config)
        self.electra = ElectraModel(config)
        self.discriminator_predictions = ElectraDiscriminatorPredictions(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[OutputOptions],
    ) -> ElectraForPreTrainingOutput:
        """As `ElectraModel.forward`; `labels` is `(batch, tokens)`, 1 where a token was replaced, 0 elsewhere."""
        out = self.electra(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, return_dict=True, **options
        )
        logits = self.discriminator_predictions(out.last_hidden_state)
        loss = None
        if labels is not None:
            real = slice(None) if attention_mask is None else attention_mask == 1
            loss = F.binary_cross_entropy_with_logits(logits[real], labels[real].to(logits.dtype))
        return ElectraForPreTrainingOutput(
            loss=loss, logits=logits, hidden_states=out.hidden_states, attentions=out.attentions
        )
