"""The families as mappings, under the names that scripts written for `transformers` import.

`CONFIG_MAPPING` maps a `model_type` to its configuration class, and `MODEL_FOR_..._MAPPING` a configuration class to the
family's model for an Auto class. The families in them are imported only when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.models import auto
from notebook_kit.registry.families import FAMILIES

__all__ = [
    "CONFIG_MAPPING",
    "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING",
    "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_BACKBONE_MAPPING",
    "MODEL_FOR_BACKBONE_MAPPING_NAMES",
    "MODEL_FOR_CAUSAL_LM_MAPPING",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_CTC_MAPPING",
    "MODEL_FOR_CTC_MAPPING_NAMES",
    "MODEL_FOR_DOCUMENT_QUESTION_ANSWERING_MAPPING",
    "MODEL_FOR_DOCUMENT_QUESTION_ANSWERING_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_SEGMENTATION_MAPPING",
    "MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING",
    "MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES",
    "MODEL_FOR_MASKED_IMAGE_MODELING_MAPPING",
    "MODEL_FOR_MASKED_IMAGE_MODELING_MAPPING_NAMES",
    "MODEL_FOR_MASKED_LM_MAPPING",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "MODEL_FOR_MULTIPLE_CHOICE_MAPPING",
    "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES",
    "MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING",
    "MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES",
    "MODEL_FOR_OBJECT_DETECTION_MAPPING",
    "MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES",
    "MODEL_FOR_PRETRAINING_MAPPING",
    "MODEL_FOR_PRETRAINING_MAPPING_NAMES",
    "MODEL_FOR_QUESTION_ANSWERING_MAPPING",
    "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING",
    "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING",
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING",
    "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES",
    "MODEL_FOR_VISION_2_SEQ_MAPPING",
    "MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES",
    "MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING",
    "MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING_NAMES",
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING",
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_MAPPING",
    "MODEL_MAPPING_NAMES",
]


class ConfigMapping(Mapping[str, type[PretrainedConfig]]):
    """`model_type` -> configuration class, registered ones included.

    Example:
        >>> from notebook_kit import CONFIG_MAPPING
        >>> CONFIG_MAPPING["bert"](num_hidden_layers=2).num_hidden_layers, "gpt2" in CONFIG_MAPPING
        (2, True)
    """

    def __getitem__(self, model_type: str) -> type[PretrainedConfig]:
        if model_type not in set(self):
            raise KeyError(model_type)
        return auto.config_class(model_type)

    def __iter__(self) -> Iterator[str]:
        return iter(auto.model_types())

    def __len__(self) -> int:
        return len(auto.model_types())


class ModelMapping(Mapping[type[PretrainedConfig], Any]):
    """Configuration class -> the family's model for an Auto class, registered ones included.

    Args:
        auto_class: The Auto class.

    Example:
        >>> from notebook_kit import MODEL_FOR_CAUSAL_LM_MAPPING, GPT2Config
        >>> MODEL_FOR_CAUSAL_LM_MAPPING[GPT2Config].__name__
        'GPT2LMHeadModel'
        >>> "gpt2" in [config.model_type for config in MODEL_FOR_CAUSAL_LM_MAPPING.keys()]
        True
    """

    def __init__(self, auto_class: type[Any]) -> None:
        self.auto_class = auto_class

    def __getitem__(self, config: type[PretrainedConfig]) -> Any:
        if not any(config is known for known in self):
            raise KeyError(config)
        return self.auto_class.model_class(config())

    def __iter__(self) -> Iterator[type[PretrainedConfig]]:
        for model_type in class_names(self.auto_class):
            yield auto.config_class(model_type)
        yield from (
            kind for kind in self.auto_class.registered() if kind.model_type not in class_names(self.auto_class)
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


def class_names(auto_class: type[Any]) -> dict[str, str]:
    """`model_type` -> name of the family's model for an Auto class."""
    wanted = (auto_class.__name__, *auto_class.alternatives)
    found = {
        model_type: next((line.class_names[name] for name in wanted if name in line.heads), None)
        for model_type, line in FAMILIES.items()
    }
    return {model_type: name for model_type, name in found.items() if name is not None}


CONFIG_MAPPING = ConfigMapping()

MODEL_MAPPING = ModelMapping(auto.AutoModel)
MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING = ModelMapping(auto.AutoModelForAudioClassification)
MODEL_FOR_BACKBONE_MAPPING = ModelMapping(auto.AutoBackbone)
MODEL_FOR_CAUSAL_LM_MAPPING = ModelMapping(auto.AutoModelForCausalLM)
MODEL_FOR_CTC_MAPPING = ModelMapping(auto.AutoModelForCTC)
MODEL_FOR_DOCUMENT_QUESTION_ANSWERING_MAPPING = ModelMapping(auto.AutoModelForDocumentQuestionAnswering)
MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING = ModelMapping(auto.AutoModelForImageClassification)
MODEL_FOR_IMAGE_SEGMENTATION_MAPPING = ModelMapping(auto.AutoModelForImageSegmentation)
MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING = ModelMapping(auto.AutoModelForImageTextToText)
MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING = ModelMapping(auto.AutoModelForInstanceSegmentation)
MODEL_FOR_MASKED_IMAGE_MODELING_MAPPING = ModelMapping(auto.AutoModelForMaskedImageModeling)
MODEL_FOR_MASKED_LM_MAPPING = ModelMapping(auto.AutoModelForMaskedLM)
MODEL_FOR_MULTIPLE_CHOICE_MAPPING = ModelMapping(auto.AutoModelForMultipleChoice)
MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING = ModelMapping(auto.AutoModelForNextSentencePrediction)
MODEL_FOR_OBJECT_DETECTION_MAPPING = ModelMapping(auto.AutoModelForObjectDetection)
MODEL_FOR_PRETRAINING_MAPPING = ModelMapping(auto.AutoModelForPreTraining)
MODEL_FOR_QUESTION_ANSWERING_MAPPING = ModelMapping(auto.AutoModelForQuestionAnswering)
MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING = ModelMapping(auto.AutoModelForSemanticSegmentation)
MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING = ModelMapping(auto.AutoModelForSequenceClassification)
MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING = ModelMapping(auto.AutoModelForSeq2SeqLM)
MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING = ModelMapping(auto.AutoModelForSpeechSeq2Seq)
MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING = ModelMapping(auto.AutoModelForTokenClassification)
MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING = ModelMapping(auto.AutoModelForUniversalSegmentation)
MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING = ModelMapping(auto.AutoModelForVisualQuestionAnswering)
MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING = ModelMapping(auto.AutoModelForZeroShotImageClassification)
MODEL_FOR_VISION_2_SEQ_MAPPING = ModelMapping(auto.AutoModelForVision2Seq)

MODEL_MAPPING_NAMES = class_names(auto.AutoModel)
MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES = class_names(auto.AutoModelForAudioClassification)
MODEL_FOR_BACKBONE_MAPPING_NAMES = class_names(auto.AutoBackbone)
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = class_names(auto.AutoModelForCausalLM)
MODEL_FOR_CTC_MAPPING_NAMES = class_names(auto.AutoModelForCTC)
MODEL_FOR_DOCUMENT_QUESTION_ANSWERING_MAPPING_NAMES = class_names(auto.AutoModelForDocumentQuestionAnswering)
MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES = class_names(auto.AutoModelForImageClassification)
MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES = class_names(auto.AutoModelForImageSegmentation)
MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES = class_names(auto.AutoModelForImageTextToText)
MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES = class_names(auto.AutoModelForInstanceSegmentation)
MODEL_FOR_MASKED_IMAGE_MODELING_MAPPING_NAMES = class_names(auto.AutoModelForMaskedImageModeling)
MODEL_FOR_MASKED_LM_MAPPING_NAMES = class_names(auto.AutoModelForMaskedLM)
MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES = class_names(auto.AutoModelForMultipleChoice)
MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES = class_names(auto.AutoModelForNextSentencePrediction)
MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES = class_names(auto.AutoModelForObjectDetection)
MODEL_FOR_PRETRAINING_MAPPING_NAMES = class_names(auto.AutoModelForPreTraining)
MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES = class_names(auto.AutoModelForQuestionAnswering)
MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES = class_names(auto.AutoModelForSemanticSegmentation)
MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES = class_names(auto.AutoModelForSequenceClassification)
MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES = class_names(auto.AutoModelForSeq2SeqLM)
MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES = class_names(auto.AutoModelForSpeechSeq2Seq)
MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES = class_names(auto.AutoModelForTokenClassification)
MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES = class_names(auto.AutoModelForUniversalSegmentation)
MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING_NAMES = class_names(auto.AutoModelForVisualQuestionAnswering)
MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES = class_names(auto.AutoModelForZeroShotImageClassification)
MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES = class_names(auto.AutoModelForVision2Seq)
