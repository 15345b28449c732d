"""CamemBERT: RoBERTa, trained on French.

Source: Martin et al., CamemBERT: a Tasty French Language Model, 2020.
"""

from __future__ import annotations

from typing import ClassVar

from notebook_kit.fields import Rows
from notebook_kit.models.roberta import (
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForMultipleChoice,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaModel,
)

__all__ = [
    "CamembertConfig",
    "CamembertForMaskedLM",
    "CamembertForMultipleChoice",
    "CamembertForQuestionAnswering",
    "CamembertForSequenceClassification",
    "CamembertForTokenClassification",
    "CamembertModel",
]


class CamembertConfig(RobertaConfig):
    """The settings of `RobertaConfig`, with a different vocabulary size.

    Example:
        >>> from notebook_kit import CamembertConfig
        >>> CamembertConfig(num_labels=3).num_labels
        3
    """

    model_type: ClassVar[str] = "camembert"

    vocab_size: Rows = 30522


class CamembertModel(RobertaModel):
    """The encoder; see `RobertaModel`.

    Example:
        >>> import torch
        >>> from notebook_kit import CamembertConfig, CamembertModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = CamembertModel(CamembertConfig(**size), add_pooling_layer=False)
        >>> out = model(torch.tensor([[0, 17, 8, 2]]))
        >>> out.last_hidden_state.shape, out.pooler_output is None
        (torch.Size([1, 4, 32]), True)
    """

    config_class = CamembertConfig


class CamembertForSequenceClassification(RobertaForSequenceClassification):
    """One prediction per text; see `RobertaForSequenceClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import CamembertConfig, CamembertForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> config = CamembertConfig(**size, id2label={0: "négatif", 1: "positif"})
        >>> best = CamembertForSequenceClassification(config)(torch.tensor([[0, 17, 8, 2]])).logits.argmax(-1).item()
        >>> config.id2label[best] in ("négatif", "positif")
        True
    """

    config_class = CamembertConfig


class CamembertForTokenClassification(RobertaForTokenClassification):
    """One prediction per token; see `RobertaForTokenClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import CamembertConfig, CamembertForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = CamembertForTokenClassification(CamembertConfig(**size, id2label={0: "O", 1: "LIEU", 2: "PERSONNE"}))
        >>> model(torch.tensor([[0, 17, 8, 2]])).logits.softmax(-1).sum(-1).round().tolist()  # three probabilities per token
        [[1.0, 1.0, 1.0, 1.0]]
    """

    config_class = CamembertConfig


class CamembertForQuestionAnswering(RobertaForQuestionAnswering):
    """Where the answer starts and ends; see `RobertaForQuestionAnswering`.

    Example:
        >>> import torch
        >>> from notebook_kit import CamembertConfig, CamembertForQuestionAnswering
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = CamembertForQuestionAnswering(CamembertConfig(**size))
        >>> out = model(torch.tensor([[0, 17, 2, 2, 21, 22, 2], [0, 9, 8, 2, 2, 30, 2]]))  # two questions at once
        >>> torch.stack([out.start_logits, out.end_logits], dim=-1).shape
        torch.Size([2, 7, 2])
    """

    config_class = CamembertConfig


class CamembertForMultipleChoice(RobertaForMultipleChoice):
    """One score per choice; see `RobertaForMultipleChoice`.

    Example:
        >>> import torch
        >>> from notebook_kit import CamembertConfig, CamembertForMultipleChoice
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = CamembertForMultipleChoice(CamembertConfig(**size))
        >>> model(torch.tensor([[[0, 17, 8, 2], [0, 17, 9, 2], [0, 17, 30, 2]]])).logits.shape  # one question, three answers
        torch.Size([1, 3])
    """

    config_class = CamembertConfig


class CamembertForMaskedLM(RobertaForMaskedLM):
    """Predictions of the words hidden behind `<mask>`; see `RobertaForMaskedLM`.

    Example:
        >>> import torch
        >>> from notebook_kit import CamembertConfig, CamembertForMaskedLM
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = CamembertForMaskedLM(CamembertConfig(**size))
        >>> model(torch.tensor([[0, 17, 49, 2]])).logits[0, 2].topk(3).values.shape  # "Le camembert est <mask>", three ideas
        torch.Size([3])
    """

    config_class = CamembertConfig
