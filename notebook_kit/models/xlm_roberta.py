"""XLM-RoBERTa: RoBERTa, trained on a hundred languages.

Source: Conneau et al., Unsupervised Cross-lingual Representation Learning at Scale, 2020.
"""

from __future__ import annotations

from typing import ClassVar

from notebook_kit.models.roberta import (
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaModel,
)

__all__ = [
    "XLMRobertaConfig",
    "XLMRobertaForMaskedLM",
    "XLMRobertaForQuestionAnswering",
    "XLMRobertaForSequenceClassification",
    "XLMRobertaForTokenClassification",
    "XLMRobertaModel",
]


class XLMRobertaConfig(RobertaConfig):
    """The settings of `RobertaConfig`, with another size of the vocabulary.

    Example:
        >>> from notebook_kit import XLMRobertaConfig
        >>> XLMRobertaConfig(num_labels=3).num_labels
        3
    """

    model_type: ClassVar[str] = "xlm-roberta"

    vocab_size: int = 30522


class XLMRobertaModel(RobertaModel):
    """The encoder; see `RobertaModel`."""

    config_class = XLMRobertaConfig


class XLMRobertaForSequenceClassification(RobertaForSequenceClassification):
    """One prediction a text; see `RobertaForSequenceClassification`."""

    config_class = XLMRobertaConfig


class XLMRobertaForTokenClassification(RobertaForTokenClassification):
    """One prediction a token; see `RobertaForTokenClassification`."""

    config_class = XLMRobertaConfig


class XLMRobertaForQuestionAnswering(RobertaForQuestionAnswering):
    """Where the answer starts and ends; see `RobertaForQuestionAnswering`."""

    config_class = XLMRobertaConfig


class XLMRobertaForMaskedLM(RobertaForMaskedLM):
    """Which word stands where `<mask>` stands; see `RobertaForMaskedLM`."""

    config_class = XLMRobertaConfig


heads = {
    "AutoModel": XLMRobertaModel,
    "AutoModelForMaskedLM": XLMRobertaForMaskedLM,
    "AutoModelForQuestionAnswering": XLMRobertaForQuestionAnswering,
    "AutoModelForSequenceClassification": XLMRobertaForSequenceClassification,
    "AutoModelForTokenClassification": XLMRobertaForTokenClassification,
}
