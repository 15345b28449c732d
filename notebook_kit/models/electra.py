"""ELECTRA: BERT's encoder, trained to detect which words of a text a small generator has replaced.

Source: Clark et al., ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators, 2020.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.checkpoints.names import ENCODER_RULES
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.models.bert import BertEmbeddings, BertEncoder
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.heads import (
    FirstTokenForSequenceClassification,
    ForMaskedLM,
    ForMultipleChoice,
    ForQuestionAnswering,
    ForTokenClassification,
    Head,
    join_output,
)
from notebook_kit.nn.layers import activated, activation
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutput, EncoderHeadOutput
from notebook_kit.nn.rows import FIRST

__all__ = [
    "ElectraConfig",
    "ElectraForMaskedLM",
    "ElectraForMultipleChoice",
    "ElectraForPreTraining",
    "ElectraForPreTrainingOutput",
    "ElectraForQuestionAnswering",
    "ElectraForSequenceClassification",
    "ElectraForTokenClassification",
    "ElectraModel",
    "ElectraPreTrainedModel",
]


class ElectraConfig(PretrainedConfig):
    """ELECTRA's settings; the defaults are those of `google/electra-small-discriminator`.

    Args:
        vocab_size: Rows of the token embeddings.
        embedding_size: Width of the embeddings, which a linear layer widens to `hidden_size` where they differ.
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
        summary_type: The state that `ElectraForMultipleChoice` reads; only `"first"` is supported.
        summary_use_proj: Whether it has a linear layer on that state; only True is supported.
        summary_activation: The activation of that layer.
        summary_last_dropout: Dropout after it.

    Example:
        >>> from notebook_kit import ElectraConfig, ElectraModel
        >>> tiny = ElectraConfig(hidden_size=64, embedding_size=32, num_hidden_layers=2, intermediate_size=128, vocab_size=100)
        >>> ElectraModel(tiny).num_parameters()
        88768
    """

    model_type: ClassVar[str] = "electra"

    vocab_size: Rows = 30522
    embedding_size: Size = 128
    hidden_size: Size = 256
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 4
    intermediate_size: Size = 1024
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: Fraction = 0.1
    attention_probs_dropout_prob: Fraction = 0.1
    max_position_embeddings: Rows = 512
    type_vocab_size: Rows = 2
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-12
    pad_token_id: int | None = 0
    classifier_dropout: Fraction | None = None
    summary_type: str = "first"
    summary_use_proj: bool = True
    summary_activation: Activation = "gelu"
    summary_last_dropout: Fraction = 0.1


# The backbone --------------------------------------------------------------------------------------------------------


class ElectraPreTrainedModel(PreTrainedModel):
    """What the models of Electra share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import ElectraModel, ElectraPreTrainedModel
        >>> issubclass(ElectraModel, ElectraPreTrainedModel)
        True
    """

    config_class = ElectraConfig
    base_model_prefix = "electra"
    position_field = "max_position_embeddings"
    electra: ElectraModel  # in the heads
    weight_rules = replace(ENCODER_RULES, optional=())


class ElectraModel(ElectraPreTrainedModel):
    """The encoder: ids in, one vector per token out.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraModel
        >>> tiny = ElectraConfig(embedding_size=16, hidden_size=32, num_hidden_layers=1, intermediate_size=64, vocab_size=50)
        >>> out = ElectraModel(tiny)(torch.tensor([[2, 17, 8, 3]]))
        >>> list(out), out[0].shape  # no pooler_output: the heads read the first token
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
        if self.config.embedding_size != self.config.hidden_size:
            x = self.embeddings_project(x)
        mask = padding_mask(attention_mask, x.dtype, x.shape[:2])
        x, states, attentions = self.encoder(
            x, mask, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        return BaseModelOutput(last_hidden_state=x, hidden_states=states, attentions=attentions)


# Heads ---------------------------------------------------------------------------------------------------------------


class ElectraForSequenceClassification(ElectraPreTrainedModel, FirstTokenForSequenceClassification):
    """ELECTRA with two layers on the first token: one prediction per text.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraForSequenceClassification
        >>> size = {"embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 50}
        >>> config = ElectraConfig(**size, num_labels=4, problem_type="multi_label_classification")
        >>> several = torch.tensor([[1.0, 0.0, 0.0, 1.0]])  # the first topic and the last
        >>> round(ElectraForSequenceClassification(config)(torch.tensor([[2, 17, 8, 3]]), labels=several).loss.item(), 1)
        0.7
    """

    backbone = ElectraModel
    activation = "gelu"


class ElectraSequenceSummary(nn.Module):
    """A layer on the first token's state: one vector per text, `(batch, width)`."""

    def __init__(self, config) -> None:
        super().__init__()
        if config.summary_type != "first" or not config.summary_use_proj:
            raise ConfigurationError(
                f"summary_type is {config.summary_type!r} and summary_use_proj is {config.summary_use_proj}.",
                next_step="Use summary_type='first' with summary_use_proj=True, as in all released checkpoints; nothing else is supported.",
            )
        self.summary = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = activation(config.summary_activation or "linear")
        self.dropout = nn.Dropout(config.summary_last_dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.activation(self.summary(x[:, 0])))


class ElectraForMultipleChoice(ElectraPreTrainedModel, ForMultipleChoice):
    """ELECTRA with two layers on the first token of each choice: one score per choice.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraForMultipleChoice
        >>> tiny = ElectraConfig(embedding_size=16, hidden_size=32, num_hidden_layers=1, intermediate_size=64, vocab_size=50)
        >>> model = ElectraForMultipleChoice(tiny)
        >>> ids = torch.tensor([[[2, 17, 8, 3], [2, 17, 9, 3]]])  # one question with two answers
        >>> out = model(ids, labels=torch.tensor([1]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([1, 2]), tensor(True))
    """

    backbone = ElectraModel
    reads = FIRST

    def build_head(self, config: ElectraConfig) -> None:
        self.sequence_summary = ElectraSequenceSummary(config)
        self.classifier = nn.Linear(config.hidden_size, 1)

    def compute_logits(self, out) -> Tensor:
        return self.classifier(self.sequence_summary(out.last_hidden_state))


class ElectraForTokenClassification(ElectraPreTrainedModel, ForTokenClassification):
    """ELECTRA with a linear layer on every token.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraForTokenClassification
        >>> size = {"embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 50}
        >>> model = ElectraForTokenClassification(ElectraConfig(**size, num_labels=17))  # the universal parts of speech
        >>> model(torch.tensor([[2, 17, 8, 3], [2, 9, 3, 0]])).logits.argmax(-1).shape
        torch.Size([2, 4])
    """

    backbone = ElectraModel


class ElectraForQuestionAnswering(ElectraPreTrainedModel, ForQuestionAnswering):
    """ELECTRA with two scores per token: whether the answer starts here, and whether it ends here.

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

    backbone = ElectraModel


class ElectraGeneratorPredictions(nn.Module):
    """A layer back to the width of the embeddings, before the scores of the vocabulary."""

    def __init__(self, config) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(activated(self.dense, F.gelu, x))


class ElectraForMaskedLM(ElectraPreTrainedModel, ForMaskedLM):
    """The generator: predicts the words hidden behind `[MASK]`. Only generator checkpoints are trained for this.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraForMaskedLM
        >>> tiny = ElectraConfig(embedding_size=16, hidden_size=32, num_hidden_layers=1, intermediate_size=64, vocab_size=50)
        >>> generator = ElectraForMaskedLM(tiny)
        >>> replaced = generator(torch.tensor([[2, 17, 4, 3]])).logits.argmax(-1)[0, 2]  # for the discriminator to detect
        >>> 0 <= replaced.item() < 50, generator.generator_lm_head.in_features
        (True, 16)
    """

    backbone = ElectraModel
    weight_rules = replace(
        ElectraPreTrainedModel.weight_rules,
        tied={
            "generator_lm_head.weight": "electra.embeddings.word_embeddings.weight",
        },
    )

    def build_head(self, config: ElectraConfig) -> None:
        self.generator_predictions = ElectraGeneratorPredictions(config)
        self.generator_lm_head = nn.Linear(config.embedding_size, config.vocab_size)

    def compute_logits(self, out) -> Tensor:
        return self.generator_lm_head(self.generator_predictions(out.last_hidden_state))


class ElectraForPreTrainingOutput(EncoderHeadOutput):
    """Scores of which tokens were replaced: `logits` is `(batch, tokens)`, above 0 if the token was probably replaced."""


class ElectraDiscriminatorPredictions(nn.Module):
    """One score per token: `(batch, tokens, width)` to `(batch, tokens)`."""

    def __init__(self, config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dense_prediction = nn.Linear(config.hidden_size, 1)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense_prediction(activated(self.dense, self.activation, x)).squeeze(-1)


class ElectraForPreTraining(ElectraPreTrainedModel, Head):
    """The discriminator, as in pre-training: one score per token for whether it was replaced.

    Example:
        >>> import torch
        >>> from notebook_kit import ElectraConfig, ElectraForPreTraining
        >>> tiny = ElectraConfig(embedding_size=16, hidden_size=32, num_hidden_layers=1, intermediate_size=64, vocab_size=50)
        >>> out = ElectraForPreTraining(tiny)(torch.tensor([[2, 17, 8, 3]]), labels=torch.tensor([[0, 0, 1, 0]]))
        >>> out.logits.shape, round(out.loss.item(), 1)  # a score per token; ln 2 before any training
        (torch.Size([1, 4]), 0.7)
    """

    backbone = ElectraModel

    def build_head(self, config: ElectraConfig) -> None:
        self.discriminator_predictions = ElectraDiscriminatorPredictions(config)

    def forward(self, *, labels: Tensor | None = None, **inputs: Any) -> ElectraForPreTrainingOutput:
        """As `ElectraModel.forward`; `labels` is `(batch, tokens)`, 1 where a token was replaced, 0 elsewhere."""
        out = self.run_backbone(**inputs)
        logits = self.discriminator_predictions(out.last_hidden_state)
        loss = None
        if labels is not None:
            mask = inputs.get("attention_mask")
            real = slice(None) if mask is None else mask == 1
            loss = F.binary_cross_entropy_with_logits(logits[real], labels[real].to(logits.dtype))
        return join_output(ElectraForPreTrainingOutput, out, loss=loss, logits=logits)
