"""MPNet: BERT's encoder with a learned attention bias for the distance between tokens, shared by all layers.

Source: Song et al., MPNet: Masked and Permuted Pre-training for Language Understanding, 2020.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Unpack

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import ENCODER_RULES
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Range, Size
from notebook_kit.models.bert import BertPooler, BertResidual
from notebook_kit.models.roberta import RobertaLMHead
from notebook_kit.nn.attention import AttentionSite, attend
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.heads import (
    FirstTokenForSequenceClassification,
    ForMaskedLM,
    ForMultipleChoice,
    ForQuestionAnswering,
    ForTokenClassification,
)
from notebook_kit.nn.layers import (
    OutputOptions,
    activated,
    activation,
    distance_buckets,
    embed_tokens,
    input_size,
    merge_heads,
    positions_after_padding,
    run_layers,
    split_heads,
)
from notebook_kit.nn.masks import padding_mask
from notebook_kit.nn.outputs import BaseModelOutputWithPooling
from notebook_kit.nn.rows import select_rows

__all__ = [
    "MPNetConfig",
    "MPNetForMaskedLM",
    "MPNetForMultipleChoice",
    "MPNetForQuestionAnswering",
    "MPNetForSequenceClassification",
    "MPNetForTokenClassification",
    "MPNetModel",
    "MPNetPreTrainedModel",
]


# The released checkpoints were trained with this value, whatever pad_token_id their config has.
PADDING_POSITION = 1
RowsAndPadding = Annotated[int, Range(PADDING_POSITION + 2, 100_000_000)]


class MPNetConfig(PretrainedConfig):
    """MPNet's settings; the defaults are those of `microsoft/mpnet-base`.

    Args:
        vocab_size: Rows of the token embeddings.
        hidden_size: Width of the residual stream.
        num_hidden_layers: Number of encoder layers.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        intermediate_size: Width inside the feed-forward block.
        hidden_act: Activation of the feed-forward block.
        hidden_dropout_prob: Dropout after the embeddings and each block.
        attention_probs_dropout_prob: Dropout of attention weights.
        max_position_embeddings: Rows of the position embeddings; a sequence may have two tokens fewer than this.
        initializer_range: Standard deviation of the initial weights.
        layer_norm_eps: Epsilon of the layer norms.
        relative_attention_num_buckets: Rows of the bias for distances; at most 32 are used.

    Example:
        >>> from notebook_kit import MPNetConfig, MPNetModel
        >>> tiny = MPNetConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, vocab_size=100)
        >>> MPNetModel(tiny).num_parameters()
        110464
    """

    model_type: ClassVar[str] = "mpnet"

    vocab_size: RowsAndPadding = 30527
    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: Fraction = 0.1
    attention_probs_dropout_prob: Fraction = 0.1
    max_position_embeddings: RowsAndPadding = 512
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-12
    relative_attention_num_buckets: Size = 32
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2


# Blocks --------------------------------------------------------------------------------------------------------------


class MPNetEmbeddings(nn.Module):
    """Token + position embeddings, normed: `(batch, tokens)` ids to `(batch, tokens, width)`."""

    def __init__(self, config) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=PADDING_POSITION)
        self.position_embeddings = nn.Embedding(
            config.max_position_embeddings, config.hidden_size, padding_idx=PADDING_POSITION
        )
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor | None, position_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        input_size(input_ids, inputs_embeds)
        if position_ids is None:
            position_ids = positions_after_padding(input_ids, inputs_embeds, self.position_embeddings)
        words = embed_tokens(self.word_embeddings, input_ids, inputs_embeds)
        return self.dropout(self.LayerNorm(words + self.position_embeddings(position_ids)))


class MPNetSelfAttention(nn.Module):
    """Multi-head self-attention, with padding and distances in one additive bias."""

    def __init__(self, config) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.q = nn.Linear(config.hidden_size, config.hidden_size)
        self.k = nn.Linear(config.hidden_size, config.hidden_size)
        self.v = nn.Linear(config.hidden_size, config.hidden_size)
        self.o = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = config.attention_probs_dropout_prob

    def forward(self, x: Tensor, bias: Tensor, site: AttentionSite, rows: slice | None = None) -> Tensor:
        q = split_heads(self.q(select_rows(x, rows)), self.heads)
        k, v = (split_heads(project(x), self.heads) for project in (self.k, self.v))
        dropout = self.dropout if self.training else 0.0
        return self.o(merge_heads(attend(q, k, v, site=site, bias=bias, dropout=dropout)))


class MPNetAttention(nn.Module):
    """Self-attention, followed by a residual connection and a layer norm."""

    def __init__(self, config) -> None:
        super().__init__()
        self.attn = MPNetSelfAttention(config)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, bias: Tensor, site: AttentionSite, rows: slice | None = None) -> Tensor:
        return self.LayerNorm(self.dropout(self.attn(x, bias, site, rows)) + select_rows(x, rows))


class MPNetLayer(nn.Module):
    """Attention, then a feed-forward block, each followed by a residual connection and a layer norm."""

    def __init__(self, config) -> None:
        super().__init__()
        self.attention = MPNetAttention(config)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.intermediate_size)})
        self.output = BertResidual(config, config.intermediate_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor, bias: Tensor, site: AttentionSite, rows: slice | None = None) -> Tensor:
        x = self.attention(x, bias, site, rows)
        return self.output(activated(self.intermediate["dense"], self.activation, x), x)


class MPNetEncoder(nn.Module):
    """The stack of layers, and the bias for distances that they share."""

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.ModuleList(MPNetLayer(config) for _ in range(config.num_hidden_layers))
        self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, config.num_attention_heads)
        self.sites = [AttentionSite(index, config.num_attention_heads) for index in range(config.num_hidden_layers)]

    def forward(self, x: Tensor, mask: Tensor | None, **options: Unpack[OutputOptions]):
        bias = self.position_bias(x.shape[1], x.device)
        if mask is not None:
            bias = bias + mask  # once, rather than in every layer
        return run_layers(self, self.layer, self.sites, x, bias, **options)

    def position_bias(self, tokens: int, device: torch.device) -> Tensor:
        """The bias that every layer adds to its attention scores: `(1, heads, tokens, tokens)`."""
        positions = torch.arange(tokens, device=device)
        buckets = distance_buckets(
            positions[None, :] - positions[:, None],
            both_ways=True,
            buckets=min(32, self.relative_attention_bias.num_embeddings),
            farthest=128,
        )
        return self.relative_attention_bias(buckets).permute(2, 0, 1)[None]


# The backbone --------------------------------------------------------------------------------------------------------


class MPNetPreTrainedModel(PreTrainedModel):
    """What the models of MPNet share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import MPNetModel, MPNetPreTrainedModel
        >>> issubclass(MPNetModel, MPNetPreTrainedModel)
        True
    """

    config_class = MPNetConfig
    base_model_prefix = "mpnet"
    mpnet: MPNetModel  # in the heads
    weight_rules = ENCODER_RULES

    @property
    def position_limit(self) -> int:
        return self.config.max_position_embeddings - PADDING_POSITION - 1


class MPNetModel(MPNetPreTrainedModel):
    """The encoder: ids in, one vector per token out, and one for the whole text.

    Args:
        config: MPNet's settings.
        add_pooling_layer: Also compute `pooler_output`.

    Example:
        >>> import torch
        >>> from notebook_kit import MPNetConfig, MPNetModel
        >>> tiny = MPNetConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> ids, mask = torch.tensor([[0, 17, 8, 2], [0, 9, 2, 1]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
        >>> states = MPNetModel(tiny)(ids, attention_mask=mask).last_hidden_state
        >>> ((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).shape  # sentence vectors: the mean over tokens
        torch.Size([2, 32])
    """

    def __init__(self, config: MPNetConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = MPNetEmbeddings(config)
        self.encoder = MPNetEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch.

        Args:
            input_ids: `(batch, tokens)`, from the checkpoint's tokenizer.
            attention_mask: `(batch, tokens)`, 1 for a token and 0 for padding; all 1 by default.
            position_ids: `(batch, tokens)`; 2, 3, 4, ... by default, skipping padding.
            inputs_embeds: `(batch, tokens, width)`, in place of `input_ids`.
            output_attentions: Return every layer's attention weights.
            output_hidden_states: Return the hidden states before and after every layer.

        Raises:
            InputError: If ids are outside the vocabulary, the mask does not fit, or there are more tokens than positions.
        """
        x = self.embeddings(input_ids, position_ids, inputs_embeds)
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


class MPNetForSequenceClassification(MPNetPreTrainedModel, FirstTokenForSequenceClassification):
    """MPNet with two layers on the first token: one prediction per text.

    Example:
        >>> import torch
        >>> from notebook_kit import MPNetConfig, MPNetForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = MPNetForSequenceClassification(MPNetConfig(**size, num_labels=3))
        >>> model(torch.tensor([[0, 17, 8, 2]]), labels=torch.tensor([1])).loss.backward()
        >>> model.classifier.out_proj.weight.grad.shape  # ready for an optimizer step
        torch.Size([3, 32])
    """

    backbone = MPNetModel


class MPNetForMultipleChoice(MPNetPreTrainedModel, ForMultipleChoice):
    """MPNet with a linear layer on the pooled output of each choice: one score per choice.

    Example:
        >>> import torch
        >>> from notebook_kit import MPNetConfig, MPNetForMultipleChoice
        >>> tiny = MPNetConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> model = MPNetForMultipleChoice(tiny)
        >>> ids = torch.tensor([[[0, 17, 8, 2], [0, 17, 9, 2]]])  # one question with two answers
        >>> out = model(ids, labels=torch.tensor([1]))
        >>> out.logits.shape, out.loss > 0
        (torch.Size([1, 2]), tensor(True))
    """

    backbone = MPNetModel


class MPNetForTokenClassification(MPNetPreTrainedModel, ForTokenClassification):
    """MPNet with a linear layer on every token.

    Example:
        >>> import torch
        >>> from notebook_kit import MPNetConfig, MPNetForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = MPNetForTokenClassification(MPNetConfig(**size, num_labels=3))
        >>> loss, logits = model(torch.tensor([[0, 17, 8, 2]]), labels=torch.tensor([[-100, 0, 2, -100]]))[:2]
        >>> loss.shape, logits.shape
        (torch.Size([]), torch.Size([1, 4, 3]))
    """

    backbone = MPNetModel


class MPNetForQuestionAnswering(MPNetPreTrainedModel, ForQuestionAnswering):
    """MPNet with two scores per token: whether the answer starts here, and whether it ends here.

    Example:
        >>> import torch
        >>> from notebook_kit import MPNetConfig, MPNetForQuestionAnswering
        >>> tiny = MPNetConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> ids = torch.tensor([[0, 17, 8, 2, 2, 21, 22, 2]])
        >>> start, end = MPNetForQuestionAnswering(tiny)(ids, return_dict=False)
        >>> start.masked_fill(torch.arange(8) < 5, float("-inf")).argmax(-1).item() >= 5  # answers must be in the text
        True
    """

    backbone = MPNetModel


class MPNetForMaskedLM(MPNetPreTrainedModel, ForMaskedLM):
    """MPNet with a head that predicts the words hidden behind `<mask>`, as in pre-training.

    Example:
        >>> import torch
        >>> from notebook_kit import MPNetConfig, MPNetForMaskedLM
        >>> tiny = MPNetConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
        >>> ids = torch.tensor([[0, 49, 8, 49, 2]])  # 49 masks two words
        >>> MPNetForMaskedLM(tiny)(ids).logits[ids == 49].argmax(-1).shape  # one word per gap
        torch.Size([2])
    """

    backbone = MPNetModel
    weight_rules = replace(
        MPNetPreTrainedModel.weight_rules,
        tied={
            "lm_head.decoder.weight": "mpnet.embeddings.word_embeddings.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        },
    )

    def build_head(self, config: MPNetConfig) -> None:
        self.lm_head = RobertaLMHead(config)

    def compute_logits(self, out) -> Tensor:
        return self.lm_head(out.last_hidden_state)
