"""CamemBERT: RoBERTa, trained on French.

Source: Martin et al., CamemBERT: a Tasty French Language Model, 2020.
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
    "CamembertConfig",
    "CamembertForMaskedLM",
    "CamembertForQuestionAnswering",
    "CamembertForSequenceClassification",
    "CamembertForTokenClassification",
    "CamembertModel",
]


class CamembertConfig(RobertaConfig):
    """The settings of `RobertaConfig`, with another size of the vocabulary.

    Example:
        >>> from notebook_kit import CamembertConfig
        >>> CamembertConfig(num_labels=3).num_labels
        3
    """

    model_type: ClassVar[str] = "camembert"

    vocab_size: int = 30522


class CamembertModel(RobertaModel):
    """The encoder; see `RobertaModel`."""

    config_class = CamembertConfig


class CamembertForSequenceClassification(RobertaForSequenceClassification):
    """One prediction a text; see `RobertaForSequenceClassification`."""

    config_class = CamembertConfig


class CamembertForTokenClassification(RobertaForTokenClassification):
    """One prediction a token; see `RobertaForTokenClassification`."""

    config_class = CamembertConfig


class CamembertForQuestionAnswering(RobertaForQuestionAnswering):
    """Where the answer starts and ends; see `RobertaForQuestionAnswering`."""

    config_class = CamembertConfig


class CamembertForMaskedLM(RobertaForMaskedLM):
    """Which word stands where `<mask>` stands; see `RobertaForMaskedLM`."""

    config_class = CamembertConfig


heads = {
    "AutoModel": CamembertModel,
    "AutoModelForMaskedLM": CamembertForMaskedLM,
    "AutoModelForQuestionAnswering": CamembertForQuestionAnswering,
    "AutoModelForSequenceClassification": CamembertForSequenceClassification,
    "AutoModelForTokenClassification": CamembertForTokenClassification,
}
