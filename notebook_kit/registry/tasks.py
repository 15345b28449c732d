"""The tasks of `pipeline()`: the class and the default checkpoint of each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from notebook_kit.errors import InputError, a_kind, near_matches, not_yet
from notebook_kit.registry.families import FAMILIES

__all__ = ["ALIASES", "TASKS", "Task", "get_supported_tasks", "task_name", "task_of", "task_of_another_head"]


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Attributes:
        module: The module in `notebook_kit.pipelines`.
        pipeline: The class in it.
        model: The default checkpoint, a name on the Hub.
        heads: Class-name suffixes that identify the task: a `BertForTokenClassification` does token classification.
        modality: What the task's inputs are: "text", "image", "audio", or "multimodal" for images with texts.
    """

    module: str
    pipeline: str
    model: str
    heads: tuple[str, ...] = ()
    modality: str = "text"


_HEADLESS = ("feature-extraction", "image-feature-extraction")
_SEQ2SEQ = ("ForConditionalGeneration", "MTModel")

TASKS: dict[str, Task] = {
    "text-classification": Task(
        "text_classification",
        "TextClassificationPipeline",
        "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
        ("ForSequenceClassification",),
    ),
    "token-classification": Task(
        "token_classification",
        "TokenClassificationPipeline",
        "dbmdz/bert-large-cased-finetuned-conll03-english",
        ("ForTokenClassification",),
    ),
    "question-answering": Task(
        "question_answering",
        "QuestionAnsweringPipeline",
        "distilbert/distilbert-base-cased-distilled-squad",
        ("ForQuestionAnswering", "ForQuestionAnsweringSimple"),
    ),
    "fill-mask": Task(
        "fill_mask", "FillMaskPipeline", "distilbert/distilroberta-base", ("ForMaskedLM", "WithLMHeadModel")
    ),
    "feature-extraction": Task(
        "feature_extraction",
        "FeatureExtractionPipeline",
        "distilbert/distilbert-base-cased",
        ("Model", "ForPreTraining"),
    ),
    "text-generation": Task(
        "text_generation", "TextGenerationPipeline", "openai-community/gpt2", ("ForCausalLM", "GPT2LMHeadModel")
    ),
    "zero-shot-classification": Task(
        "zero_shot_classification",
        "ZeroShotClassificationPipeline",
        "typeform/distilbert-base-uncased-mnli",
        ("ForSequenceClassification",),
    ),
    "text2text-generation": Task("text2text", "Text2TextGenerationPipeline", "google-t5/t5-base", _SEQ2SEQ),
    "summarization": Task("text2text", "SummarizationPipeline", "sshleifer/distilbart-cnn-12-6", _SEQ2SEQ),
    "translation": Task("text2text", "TranslationPipeline", "google-t5/t5-base", _SEQ2SEQ),
    "image-classification": Task(
        "image_classification",
        "ImageClassificationPipeline",
        "google/vit-base-patch16-224",
        ("ForImageClassification",),
        "image",
    ),
    "image-feature-extraction": Task(
        "image_feature_extraction",
        "ImageFeatureExtractionPipeline",
        "google/vit-base-patch16-224",
        ("Model",),
        "image",
    ),
    "object-detection": Task(
        "object_detection", "ObjectDetectionPipeline", "facebook/detr-resnet-50", ("ForObjectDetection",), "image"
    ),
    "image-segmentation": Task(
        "image_segmentation",
        "ImageSegmentationPipeline",
        "facebook/detr-resnet-50-panoptic",
        ("ForSegmentation", "ForUniversalSegmentation", "ForInstanceSegmentation", "ForSemanticSegmentation"),
        "image",
    ),
    "image-to-text": Task(
        "image_to_text",
        "ImageToTextPipeline",
        "ydshieh/vit-gpt2-coco-en",
        ("VisionEncoderDecoderModel", "BlipForConditionalGeneration"),
        "image",
    ),
    "document-question-answering": Task(
        "document_question_answering",
        "DocumentQuestionAnsweringPipeline",
        "impira/layoutlm-document-qa",
        ("LayoutLMForQuestionAnswering", "VisionEncoderDecoderModel"),
    ),
    "visual-question-answering": Task(
        "visual_question_answering",
        "VisualQuestionAnsweringPipeline",
        "dandelin/vilt-b32-finetuned-vqa",
        ("ForQuestionAnswering",),
        "multimodal",
    ),
    "zero-shot-image-classification": Task(
        "zero_shot_image_classification",
        "ZeroShotImageClassificationPipeline",
        "openai/clip-vit-base-patch32",
        ("CLIPModel", "SiglipModel"),
        "multimodal",
    ),
    "automatic-speech-recognition": Task(
        "automatic_speech_recognition",
        "AutomaticSpeechRecognitionPipeline",
        "facebook/wav2vec2-base-960h",
        ("ForCTC", "ForConditionalGeneration"),
        "audio",
    ),
    "audio-classification": Task(
        "audio_classification",
        "AudioClassificationPipeline",
        "superb/wav2vec2-base-superb-ks",
        ("ForAudioClassification", "ForSequenceClassification"),
        "audio",
    ),
}
"""Name -> task. Of the tasks that share a head, the first is the most general."""

ALIASES = {
    "ner": "token-classification",
    "sentiment-analysis": "text-classification",
    "vqa": "visual-question-answering",
}
"""Alias -> name of a task."""

_EVERYDAY = {
    "asr": "automatic-speech-recognition",
    "speech-to-text": "automatic-speech-recognition",
    "transcription": "automatic-speech-recognition",
    "captioning": "image-to-text",
    "image-captioning": "image-to-text",
    "ocr": "image-to-text",
    "docvqa": "document-question-answering",
    "document-qa": "document-question-answering",
    "qa": "question-answering",
    "image-embedding": "image-feature-extraction",
}
"""What people call a task -> its name. An error suggests it; it is not an alias, which `transformers` would not have either."""


def get_supported_tasks() -> list[str]:
    """The names that `pipeline` accepts, aliases included, sorted.

    Example:
        >>> get_supported_tasks()[:3]
        ['audio-classification', 'automatic-speech-recognition', 'document-question-answering']
    """
    return sorted([*TASKS, *ALIASES])


def task_name(task: str) -> str:
    """The name in `TASKS` for a task name, an alias, or a translation with its languages.

    Raises:
        InputError: for an unknown task, with near matches.

    Example:
        >>> task_name("ner"), task_name("translation_en_to_fr")
        ('token-classification', 'translation')
    """
    if not isinstance(task, str):
        raise InputError(f"The task is {a_kind(task)}.", next_step='Name it, as in "sentiment-analysis".')
    name = "translation" if re.fullmatch(r"translation_\w+_to_\w+", task) else ALIASES.get(task, task)
    if name not in TASKS:
        known = get_supported_tasks()
        raise InputError(
            f"There is no task {task!r}. {_suggestion(task, known)}".rstrip(),
            next_step=f"The tasks are {', '.join(known)}.",
        )
    return name


def _suggestion(task: str, known: list[str]) -> str:
    """The task that was probably meant, or what is not supported yet; otherwise ""."""
    usual = task.strip().lower().replace("_", "-").replace(" ", "-")
    usual = _EVERYDAY.get(usual, usual)
    meant = [usual] if usual in known else [name for name in known if name.endswith(f"-{usual}")]
    if meant:
        return f"Did you mean {' or '.join(map(repr, meant))}?"
    return not_yet(task, known) or near_matches(task, known)


def task_of(tag: str, architectures: Iterable[str] = ()) -> str | None:
    """The task of a checkpoint, or None if nothing identifies it.

    Args:
        tag: The `pipeline_tag` of its model card, or "". A tag without a pipeline here is ignored.
        architectures: Names of model classes, as in `config.json`. The first that identifies a task decides.

    Example:
        >>> task_of("ner"), task_of("", ["BertForTokenClassification"]), task_of("", ["WhisperForConditionalGeneration"])
        ('token-classification', 'token-classification', 'automatic-speech-recognition')
        >>> task_of("", ["BertModel"]), task_of("", ["ViTModel"])
        ('feature-extraction', 'image-feature-extraction')
    """
    tag = ALIASES.get(tag, tag)
    if tag in TASKS:
        return tag
    for architecture in architectures:
        modality = _modality(architecture)
        matches = [
            (head, task)
            for task, line in TASKS.items()
            for head in line.heads
            if architecture.endswith(head) and modality in (None, line.modality)
        ]
        if matches:
            # "GPT2LMHeadModel" also ends with "Model": the longest suffix is the specific one.
            head, task = max(matches, key=lambda match: len(match[0]))
            if head != "Model" or ("For" not in architecture and "LMHead" not in architecture):
                return task
    return None


def _modality(architecture: str) -> str | None:
    """What a model class reads, or None for a class of an unknown family."""
    for family in FAMILIES.values():
        if architecture in family.class_names.values():
            return family.modality
    return None


def task_of_another_head(task: str, architecture: str) -> str | None:
    """The task that a model class is made for, if its head cannot do `task`; otherwise None.

    Args:
        task: Any task; for one that is not in `TASKS`, the answer is None.
        architecture: The name of the class. A name without a known head is compatible with every task.

    Example:
        >>> task_of_another_head("fill-mask", "BertForTokenClassification")
        'token-classification'
        >>> task_of_another_head("zero-shot-classification", "BertForSequenceClassification") is None
        True
    """
    other = task_of("", [architecture])
    headless = other in _HEADLESS and "For" not in architecture  # may be a user's class with any head
    if other is None or headless or task not in TASKS or task in _HEADLESS:
        return None
    return None if set(TASKS[other].heads) & set(TASKS[task].heads) else other
