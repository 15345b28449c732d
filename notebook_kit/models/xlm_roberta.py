"""XLM-RoBERTa: RoBERTa, trained on a hundred languages.

Source: Conneau et al., Unsupervised Cross-lingual Representation Learning at Scale, 2020.
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
    "XLMRobertaConfig",
    "XLMRobertaForMaskedLM",
    "XLMRobertaForMultipleChoice",
    "XLMRobertaForQuestionAnswering",
    "XLMRobertaForSequenceClassification",
    "XLMRobertaForTokenClassification",
    "XLMRobertaModel",
]


class XLMRobertaConfig(RobertaConfig):
    """The settings of `RobertaConfig`, with a different vocabulary size.

    Example:
        >>> from notebook_kit import XLMRobertaConfig
        >>> XLMRobertaConfig(num_labels=3).num_labels
        3
    """

    model_type: ClassVar[str] = "xlm-roberta"

    vocab_size: Rows = 30522


class XLMRobertaModel(RobertaModel):
    """The encoder; see `RobertaModel`.

    Example:
        >>> import torch
        >>> from notebook_kit import XLMRobertaConfig, XLMRobertaModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = XLMRobertaModel(XLMRobertaConfig(**size, vocab_size=500))
        >>> states = model(torch.tensor([[0, 402, 77, 2], [0, 13, 250, 2]])).last_hidden_state  # such as Swahili and Thai
        >>> torch.cosine_similarity(states[0, 0], states[1, 0], dim=0).shape  # texts in two languages share one space
        torch.Size([])
    """

    config_class = XLMRobertaConfig


class XLMRobertaForSequenceClassification(RobertaForSequenceClassification):
    """One prediction per text; see `RobertaForSequenceClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import XLMRobertaConfig, XLMRobertaForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> config = XLMRobertaConfig(**size, id2label={0: "entailment", 1: "neutral", 2: "contradiction"})
        >>> model = XLMRobertaForSequenceClassification(config)
        >>> model(torch.tensor([[0, 17, 8, 2, 2, 9, 2]])).logits.shape, config.label2id["neutral"]
        (torch.Size([1, 3]), 1)
    """

    config_class = XLMRobertaConfig


class XLMRobertaForTokenClassification(RobertaForTokenClassification):
    """One prediction per token; see `RobertaForTokenClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import XLMRobertaConfig, XLMRobertaForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = XLMRobertaForTokenClassification(XLMRobertaConfig(**size, num_labels=7))
        >>> model(torch.tensor([[0, 17, 8, 2]])).logits.shape, model.classifier.out_features
        (torch.Size([1, 4, 7]), 7)
    """

    config_class = XLMRobertaConfig


class XLMRobertaForQuestionAnswering(RobertaForQuestionAnswering):
    """Where the answer starts and ends; see `RobertaForQuestionAnswering`.

    Example:
        >>> import torch
        >>> from notebook_kit import XLMRobertaConfig, XLMRobertaForQuestionAnswering
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = XLMRobertaForQuestionAnswering(XLMRobertaConfig(**size))
        >>> ids, nowhere = torch.tensor([[0, 17, 2, 2, 21, 2]]), torch.tensor([0])  # no answer: start and end point at <s>
        >>> model(ids, start_positions=nowhere, end_positions=nowhere).loss > 0
        tensor(True)
    """

    config_class = XLMRobertaConfig


class XLMRobertaForMultipleChoice(RobertaForMultipleChoice):
    """One score per choice; see `RobertaForMultipleChoice`.

    Example:
        >>> import torch
        >>> from notebook_kit import XLMRobertaConfig, XLMRobertaForMultipleChoice
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
        >>> model = XLMRobertaForMultipleChoice(XLMRobertaConfig(**size))
        >>> model(torch.tensor([[[0, 17, 8, 2], [0, 17, 9, 2], [0, 17, 30, 2]]])).logits.shape  # one question, three answers
        torch.Size([1, 3])
    """

    config_class = XLMRobertaConfig


class XLMRobertaForMaskedLM(RobertaForMaskedLM):
    """Predictions of the words hidden behind `<mask>`; see `RobertaForMaskedLM`.

    Example:
        >>> import torch
        >>> from notebook_kit import XLMRobertaConfig, XLMRobertaForMaskedLM
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = XLMRobertaForMaskedLM(XLMRobertaConfig(**size, vocab_size=500))
        >>> model.get_input_embeddings().weight.numel() / model.num_parameters() > 0.3  # many languages, many words
        True
        >>> model(torch.tensor([[0, 402, 499, 2]])).logits.shape
        torch.Size([1, 4, 500])
    """

    config_class = XLMRobertaConfig
