"""Pipelines: raw inputs in, answers out.

Example:
    >>> from notebook_kit.pipelines import pipeline
    >>> classify = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")
    >>> [answer["label"] for answer in classify(["A warm and funny film.", "A dull, empty film."])]
    ['POSITIVE', 'NEGATIVE']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from notebook_kit.pipelines.factory import pipeline
from notebook_kit.pipelines.registry import PIPELINE_REGISTRY
from notebook_kit.registry.tasks import get_supported_tasks

if TYPE_CHECKING:
    from notebook_kit.pipelines.base import Pipeline
    from notebook_kit.pipelines.feature_extraction import FeatureExtractionPipeline
    from notebook_kit.pipelines.fill_mask import FillMaskPipeline
    from notebook_kit.pipelines.inputs import KeyDataset, KeyPairDataset
    from notebook_kit.pipelines.question_answering import QuestionAnsweringPipeline
    from notebook_kit.pipelines.running import ResultStream
    from notebook_kit.pipelines.text import TextPipeline
    from notebook_kit.pipelines.text2text import SummarizationPipeline, Text2TextGenerationPipeline, TranslationPipeline
    from notebook_kit.pipelines.text_classification import TextClassificationPipeline
    from notebook_kit.pipelines.text_generation import TextGenerationPipeline
    from notebook_kit.pipelines.token_classification import NerPipeline, TokenClassificationPipeline
    from notebook_kit.pipelines.zero_shot_classification import ZeroShotClassificationPipeline

__all__ = [
    "PIPELINE_REGISTRY",
    "FeatureExtractionPipeline",
    "FillMaskPipeline",
    "KeyDataset",
    "KeyPairDataset",
    "NerPipeline",
    "Pipeline",
    "QuestionAnsweringPipeline",
    "ResultStream",
    "SummarizationPipeline",
    "Text2TextGenerationPipeline",
    "TextClassificationPipeline",
    "TextGenerationPipeline",
    "TextPipeline",
    "TokenClassificationPipeline",
    "TranslationPipeline",
    "ZeroShotClassificationPipeline",
    "get_supported_tasks",
    "pipeline",
]

# Name -> module. Imported when first used: all but `factory` need torch.
_MODULES = {
    "FeatureExtractionPipeline": "feature_extraction",
    "FillMaskPipeline": "fill_mask",
    "KeyDataset": "inputs",
    "KeyPairDataset": "inputs",
    "NerPipeline": "token_classification",
    "Pipeline": "base",
    "QuestionAnsweringPipeline": "question_answering",
    "ResultStream": "running",
    "SummarizationPipeline": "text2text",
    "Text2TextGenerationPipeline": "text2text",
    "TextClassificationPipeline": "text_classification",
    "TextGenerationPipeline": "text_generation",
    "TextPipeline": "text",
    "TokenClassificationPipeline": "token_classification",
    "TranslationPipeline": "text2text",
    "ZeroShotClassificationPipeline": "zero_shot_classification",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
