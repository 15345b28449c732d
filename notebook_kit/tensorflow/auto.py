"""The TF Auto classes: they select the family by `model_type`, as those for torch do."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.models import auto
from notebook_kit.tensorflow.classes import tf_class
from notebook_kit.tensorflow.modeling import TFPreTrainedModel

__all__ = [
    "TFAutoModel",
    "TFAutoModelForAudioClassification",
    "TFAutoModelForCausalLM",
    "TFAutoModelForImageClassification",
    "TFAutoModelForMaskedImageModeling",
    "TFAutoModelForMaskedLM",
    "TFAutoModelForMultipleChoice",
    "TFAutoModelForNextSentencePrediction",
    "TFAutoModelForPreTraining",
    "TFAutoModelForQuestionAnswering",
    "TFAutoModelForSemanticSegmentation",
    "TFAutoModelForSeq2SeqLM",
    "TFAutoModelForSequenceClassification",
    "TFAutoModelForSpeechSeq2Seq",
    "TFAutoModelForTokenClassification",
]


class _TFAutoModel:
    """One kind of head, for any family."""

    torch_auto: ClassVar[Any]

    def __init__(self) -> None:
        name = type(self).__name__
        raise InputError(
            f"{name} has no instances.",
            next_step=f"Call {name}.from_pretrained(name) or {name}.from_config(config).",
        )

    @classmethod
    def model_class(cls, config: PretrainedConfig) -> type[TFPreTrainedModel]:
        """The TF class with this head in `config`'s family.

        Raises:
            UnknownArchitectureError: If the family does not have this head.
        """
        return tf_class(cls.torch_auto.model_class(config))

    @classmethod
    def from_config(cls, config: PretrainedConfig, **options: Any) -> TFPreTrainedModel:
        """A model with newly initialized weights."""
        return cls.model_class(config).from_config(config, **options)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike | Source, *, config: PretrainedConfig | None = None, **kwargs: Any
    ) -> TFPreTrainedModel:
        """Load a checkpoint with this head; see `TFPreTrainedModel.from_pretrained`."""
        source = locate(name_or_path, **take_hub_options(kwargs))
        config = auto.AutoConfig.from_pretrained(source) if config is None else config
        return cls.model_class(config).from_pretrained(source, config=config, **kwargs)


class TFAutoModel(_TFAutoModel):
    """The backbone of any family: it returns hidden states and has no head."""

    torch_auto = auto.AutoModel


class TFAutoModelForAudioClassification(_TFAutoModel):
    """One prediction per recording."""

    torch_auto = auto.AutoModelForAudioClassification


class TFAutoModelForCausalLM(_TFAutoModel):
    """The next token of a text."""

    torch_auto = auto.AutoModelForCausalLM


class TFAutoModelForImageClassification(_TFAutoModel):
    """One prediction per image."""

    torch_auto = auto.AutoModelForImageClassification


class TFAutoModelForMaskedImageModeling(_TFAutoModel):
    """The pixels behind masked patches."""

    torch_auto = auto.AutoModelForMaskedImageModeling


class TFAutoModelForMaskedLM(_TFAutoModel):
    """The words hidden behind masks."""

    torch_auto = auto.AutoModelForMaskedLM


class TFAutoModelForMultipleChoice(_TFAutoModel):
    """One score per choice."""

    torch_auto = auto.AutoModelForMultipleChoice


class TFAutoModelForNextSentencePrediction(_TFAutoModel):
    """Whether a text follows another."""

    torch_auto = auto.AutoModelForNextSentencePrediction


class TFAutoModelForPreTraining(_TFAutoModel):
    """All heads of a family's pre-training."""

    torch_auto = auto.AutoModelForPreTraining


class TFAutoModelForQuestionAnswering(_TFAutoModel):
    """The start and end of an answer within a text."""

    torch_auto = auto.AutoModelForQuestionAnswering


class TFAutoModelForSemanticSegmentation(_TFAutoModel):
    """A class per pixel."""

    torch_auto = auto.AutoModelForSemanticSegmentation


class TFAutoModelForSeq2SeqLM(_TFAutoModel):
    """A text from a text: translation, summarization."""

    torch_auto = auto.AutoModelForSeq2SeqLM


class TFAutoModelForSequenceClassification(_TFAutoModel):
    """One prediction per text: sentiment, topics, similarity scores."""

    torch_auto = auto.AutoModelForSequenceClassification


class TFAutoModelForSpeechSeq2Seq(_TFAutoModel):
    """A text from speech."""

    torch_auto = auto.AutoModelForSpeechSeq2Seq


class TFAutoModelForTokenClassification(_TFAutoModel):
    """One prediction per token: names, parts of speech."""

    torch_auto = auto.AutoModelForTokenClassification
