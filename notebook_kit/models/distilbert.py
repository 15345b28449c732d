"""DistilBERT: a BERT with half the layers and without segments or pooler, distilled from a full-size one.

Source: Sanh et al., DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter, 2019.
"""

from __future__ import annotations

from dataclasses import replace
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
    PooledHead,
)
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
    token_table,
)
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutput
from notebook_kit.nn.rows import FIRST, select_rows

__all__ = [
    "DistilBertConfig",
    "DistilBertForMaskedLM",
    "DistilBertForMultipleChoice",
    "DistilBertForQuestionAnswering",
    "DistilBertForSequenceClassification",
    "DistilBertForTokenClassification",
    "DistilBertModel",
    "DistilBertPreTrainedModel",
]


LAYER_NORM_EPS = 1e-12


class DistilBertConfig(PretrainedConfig):
    """DistilBERT's settings; the defaults are those of `distilbert-base-uncased`.

    Args:
        vocab_size: Rows of the token embeddings.
        max_position_embeddings: Maximum sequence length, in tokens.
        sinusoidal_pos_embds: Initialize position embeddings as sines and cosines.
        n_layers: Layers of the encoder (`num_hidden_layers`).
        n_heads: Heads per layer (`num_attention_heads`); must divide `dim`.
        dim: Width of the residual stream (`hidden_size`).
        hidden_dim: Width inside the feed-forward block.
        dropout: Dropout after the embeddings and the feed-forward block.
        attention_dropout: Dropout of attention weights.
        activation: Activation of the feed-forward block.
        initializer_range: Standard deviation of the initial weights.
        qa_dropout: Dropout before the question-answering head.
        seq_classif_dropout: Dropout before the sequence-classification head.

    Example:
        >>> from notebook_kit import DistilBertConfig, DistilBertModel
        >>> tiny = DistilBertConfig(dim=64, n_layers=2, n_heads=2, hidden_dim=128, vocab_size=100)
        >>> tiny.hidden_size, DistilBertModel(tiny).num_parameters()
        (64, 106240)
    """

    model_type: ClassVar[str] = "distilbert"
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "dim",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
    }

    vocab_size: Rows = 30522
    max_position_embeddings: Rows = 512
    sinusoidal_pos_embds: bool = False
    n_layers: Layers = 6
    n_heads: Size = 12
    dim: Size = 768
    hidden_dim: Size = 3072
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    activation: Activation = "gelu"
    initializer_range: NonNegative = 0.02
    qa_dropout: Fraction = 0.1
    seq_classif_dropout: Fraction = 0.2
    pad_token_id: int | None = 0


# Blocks --------------------------------------------------------------------------------------------------------------


class DistilBertEmbeddings(nn.Module):
    """Token + position embeddings, normed: `(batch, tokens)` ids to `(batch, tokens, width)`."""

    def __init__(self, config) -> None:
        super().__init__()
        self.word_embeddings = token_table(config.vocab_size, config.dim, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.dim)
        self.LayerNorm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, input_ids: Tensor | None, inputs_embeds: Tensor | None, position_ids: Tensor | None) -> Tensor:
        _, T, device = input_size(input_ids, inputs_embeds)
        if position_ids is None:
            check_length(T, self.position_embeddings.num_embeddings)
            position_ids = torch.arange(T, device=device)[None]
        words = embed_tokens(self.word_embeddings, input_ids, inputs_embeds)
        return self.dropout(self.LayerNorm(words + self.position_embeddings(position_ids)))


class DistilBertAttention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config) -> None:
        super().__init__()
        self.heads = config.n_heads
        self.q_lin = nn.Linear(config.dim, config.dim)
        self.k_lin = nn.Linear(config.dim, config.dim)
        self.v_lin = nn.Linear(config.dim, config.dim)
        self.out_lin = nn.Linear(config.dim, config.dim)
        self.dropout = config.attention_dropout

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite, rows: slice | None = None) -> Tensor:
        q = split_heads(self.q_lin(select_rows(x, rows)), self.heads)
        k, v = (split_heads(project(x), self.heads) for project in (self.k_lin, self.v_lin))
        dropout = self.dropout if self.training else 0.0
        return self.out_lin(merge_heads(attend(q, k, v, site=site, mask=mask, dropout=dropout)))


class DistilBertLayer(nn.Module):
    """Attention, then a feed-forward block, each followed by a residual connection and a layer norm."""

    def __init__(self, config) -> None:
        super().__init__()
        self.attention = DistilBertAttention(config)
        self.sa_layer_norm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)
        self.ffn = nn.ModuleDict(
            {"lin1": nn.Linear(config.dim, config.hidden_dim), "lin2": nn.Linear(config.hidden_dim, config.dim)}
        )
        self.output_layer_norm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)
        self.activation = activation(config.activation)

    def forward(self, x: Tensor, mask: Tensor | None, site: AttentionSite, rows: slice | None = None) -> Tensor:
        x = self.sa_layer_norm(self.attention(x, mask, site, rows) + select_rows(x, rows))
        inner = activated(self.ffn["lin1"], self.activation, x)
        return self.output_layer_norm(self.dropout(self.ffn["lin2"](inner)) + x)


class DistilBertTransformer(nn.Module):
    """The stack of layers."""

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.ModuleList(DistilBertLayer(config) for _ in range(config.n_layers))
        self.sites = [AttentionSite(index, config.n_heads) for index in range(config.n_layers)]

    def forward(self, x: Tensor, mask: Tensor | None, **options: Unpack[OutputOptions]):
        return run_layers(self, self.layer, self.sites, x, mask, **options)


# The backbone --------------------------------------------------------------------------------------------------------


class DistilBertPreTrainedModel(PreTrainedModel):
    """What the models of DistilBert share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import DistilBertModel, DistilBertPreTrainedModel
        >>> issubclass(DistilBertModel, DistilBertPreTrainedModel)
        True
    """

    config_class = DistilBertConfig
    base_model_prefix = "distilbert"
    position_field = "max_position_embeddings"
    distilbert: DistilBertModel  # in the heads
    labels_after: ClassVar[str | None] = "inputs_embeds"  # position_ids come after the labels
    weight_rules = replace(ENCODER_RULES, optional=())

    @torch.no_grad()
    def init_parameter(self, module: nn.Module, name: str) -> None:
        super().init_parameter(module, name)
        if self.config.sinusoidal_pos_embds and module is self.base_model.embeddings.position_embeddings:  # type: ignore[union-attr]
            parameter: Tensor = getattr(module, name)
            positions, width = parameter.shape
            # Vaswani et al., Attention Is All You Need, 2017, section 3.5: sine and cosine of a frequency alternate.
            frequencies = 10000 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
            angles = torch.arange(positions, dtype=torch.float64)[:, None] * frequencies
            parameter[:, 0::2] = angles.sin().to(parameter)
            parameter[:, 1::2] = angles.cos()[:, : width // 2].to(parameter)


class DistilBertModel(DistilBertPreTrainedModel):
    """The encoder: ids in, one vector per token out.

    Example:
        >>> import torch
        >>> from notebook_kit import DistilBertConfig, DistilBertModel
        >>> tiny = DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, vocab_size=50)
        >>> out = DistilBertModel(tiny)(torch.tensor([[2, 17, 8, 3]]), output_hidden_states=True)
        >>> out.last_hidden_state.shape, len(out.hidden_states)  # before the first layer, and after each
        (torch.Size([1, 4, 32]), 3)
    """

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.embeddings = DistilBertEmbeddings(config)
        self.transformer = DistilBertTransformer(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutput:
        """Encode a batch.

        Args:
            input_ids: `(batch, tokens)`, from the checkpoint's tokenizer.
            attention_mask: `(batch, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            position_ids: `(batch, tokens)`; 0, 1, 2, ... by default.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are outside the vocabulary, the mask does not fit, or there are more tokens than positions.
        """
        x = self.embeddings(input_ids, inputs_embeds, position_ids)
        mask = padding_mask(attention_mask, x.dtype, x.shape[:2])
        x, states, attentions = self.transformer(
            x, mask, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        return BaseModelOutput(last_hidden_state=x, hidden_states=states, attentions=attentions)


# Heads ---------------------------------------------------------------------------------------------------------------


class DistilBertPooledHead(PooledHead):
    """The base of heads with two layers on the first token's state, instead of a pooled output."""

    reads = FIRST

    def build_head(self, config: Any) -> None:
        self.pre_classifier = nn.Linear(config.dim, config.dim)
        self.classifier = nn.Linear(config.dim, self.num_scores)
        self.dropout = nn.Dropout(config.seq_classif_dropout)

    def compute_logits(self, out: Any) -> Tensor:
        pooled = torch.relu(self.pre_classifier(out.last_hidden_state[:, 0]))
        return self.classifier(self.dropout(pooled))


class DistilBertForSequenceClassification(DistilBertPooledHead, DistilBertPreTrainedModel, ForSequenceClassification):
    """DistilBERT with two layers on the first token: one prediction per text.

    Example:
        >>> import torch
        >>> from notebook_kit import DistilBertConfig, DistilBertForSequenceClassification
        >>> tiny = DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64, id2label={0: "NEGATIVE", 1: "POSITIVE"})
        >>> scores = DistilBertForSequenceClassification(tiny)(torch.tensor([[101, 2307, 102]])).logits.softmax(-1)
        >>> sorted(zip(tiny.id2label.values(), scores[0].tolist()))
        [('NEGATIVE', 0...), ('POSITIVE', 0...)]
    """

    backbone = DistilBertModel


class DistilBertForMultipleChoice(DistilBertPooledHead, DistilBertPreTrainedModel, ForMultipleChoice):
    """DistilBERT with two layers on the first token of each choice: one score per choice.

    Example:
        >>> import torch
        >>> from notebook_kit import DistilBertConfig, DistilBertForMultipleChoice
        >>> tiny = DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64, vocab_size=50)
        >>> model = DistilBertForMultipleChoice(tiny)
        >>> ids = torch.tensor([[[2, 17, 8, 3], [2, 17, 9, 3]]])  # one question with two answers
        >>> out = model(ids, labels=torch.tensor([1]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([1, 2]), tensor(True))
    """

    backbone = DistilBertModel


class DistilBertForTokenClassification(DistilBertPreTrainedModel, ForTokenClassification):
    """DistilBERT with a linear layer on every token.

    Example:
        >>> import torch
        >>> from notebook_kit import DistilBertConfig, DistilBertForTokenClassification
        >>> tiny = DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64, vocab_size=50, num_labels=9)
        >>> ids, mask = torch.tensor([[2, 17, 8, 3], [2, 9, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
        >>> DistilBertForTokenClassification(tiny)(ids, attention_mask=mask).logits[mask == 1].shape  # seven tokens that are not padding
        torch.Size([7, 9])
    """

    backbone = DistilBertModel
    dropout_fields = ("dropout",)


class DistilBertForQuestionAnswering(DistilBertPreTrainedModel, ForQuestionAnswering):
    """DistilBERT with two scores per token: whether the answer starts here, and whether it ends here.

    Example:
        >>> import torch
        >>> from notebook_kit import DistilBertConfig, DistilBertForQuestionAnswering
        >>> tiny = DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64, vocab_size=50)
        >>> ids = torch.tensor([[2, 17, 8, 3, 21, 22, 3]])
        >>> out = DistilBertForQuestionAnswering(tiny)(ids)  # no token_type_ids: only [SEP] separates question and text
        >>> start = out.start_logits.argmax(-1).item()
        >>> start <= start + out.end_logits[0, start:].argmax().item() < 7  # the best end from the start on
        True
    """

    backbone = DistilBertModel

    def build_head(self, config: DistilBertConfig) -> None:
        self.dropout = nn.Dropout(config.qa_dropout)
        super().build_head(config)

    def compute_logits(self, out) -> Tensor:
        return self.qa_outputs(self.dropout(out.last_hidden_state))


class DistilBertForMaskedLM(DistilBertPreTrainedModel, ForMaskedLM):
    """DistilBERT with a head that predicts the words hidden behind `[MASK]`, as in pre-training.

    Example:
        >>> import math, torch
        >>> from notebook_kit import DistilBertConfig, DistilBertForMaskedLM
        >>> tiny = DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64, vocab_size=50)
        >>> words = torch.tensor([[-100, -100, 8, -100]])
        >>> out = DistilBertForMaskedLM(tiny)(torch.tensor([[2, 17, 4, 3]]), labels=words)
        >>> abs(out.loss.item() - math.log(50)) < 1  # untrained, it guesses among fifty words
        True
    """

    backbone = DistilBertModel
    weight_rules = replace(
        DistilBertPreTrainedModel.weight_rules,
        tied={
            "vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight",
        },
    )

    def build_head(self, config: DistilBertConfig) -> None:
        self.vocab_transform = nn.Linear(config.dim, config.dim)
        self.vocab_layer_norm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)
        self.vocab_projector = nn.Linear(config.dim, config.vocab_size)
        self.activation = activation(config.activation)

    def compute_logits(self, out) -> Tensor:
        x = activated(self.vocab_transform, self.activation, out.last_hidden_state)
        return self.vocab_projector(self.vocab_layer_norm(x))
