"""The tasks of `pipeline()`: which class does each, and which checkpoint it uses by default."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from notebook_kit.errors import InputError, near_matches

__all__ = ["ALIASES", "TASKS", "Task", "get_supported_tasks", "task_name", "task_of"]


@dataclass(frozen=True, slots=True)
class Task:
    """How a task is done.

    Attributes:
        module: The module in `notebook_kit.pipelines`.
        pipeline: The class in it.
        model: The checkpoint on the Hub that is used when no model is given.
        heads: Class-name suffixes that identify the task: a `BertForTokenClassification` does token classification.
    """

    module: str
    pipeline: str
    model: str
    heads: tuple[str, ...] = ()


_WRITERS = ("ForConditionalGeneration", "MTModel")

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
        "zero_shot_classification", "ZeroShotClassificationPipeline", "typeform/distilbert-base-uncased-mnli"
    ),
    "text2text-generation": Task("text2text", "Text2TextGenerationPipeline", "google-t5/t5-base", _WRITERS),
    "summarization": Task("text2text", "SummarizationPipeline", "sshleifer/distilbart-cnn-12-6", _WRITERS),
    "translation": Task("text2text", "TranslationPipeline", "google-t5/t5-base", _WRITERS),
}
"""Name of a task -> how it is done. Of the tasks that share a head, the first is the most general."""

ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}
"""Other names of tasks."""


def get_supported_tasks() -> list[str]:
    """The names that `pipeline` accepts, aliases included, sorted.

    Example:
        >>> get_supported_tasks()[:3]
        ['feature-extraction', 'fill-mask', 'ner']
    """
    return sorted([*TASKS, *ALIASES])


def task_name(task: str) -> str:
    """The name in `TASKS` of a task that may be named by an alias or, for translation, with its languages.

    Raises:
        InputError: If there is no such task. Near matches are listed.

    Example:
        >>> task_name("ner"), task_name("translation_en_to_fr")
        ('token-classification', 'translation')
    """
    if not isinstance(task, str):
        raise InputError(f"The task is a {type(task).__name__}.", next_step='Name it, as in "sentiment-analysis".')
    name = "translation" if re.fullmatch(r"translation_\w+_to_\w+", task) else ALIASES.get(task, task)
    if name not in TASKS:
        known = get_supported_tasks()
        raise InputError(
            f"There is no task {task!r}. {near_matches(task, known)}".rstrip(),
            next_step=f"The tasks are {', '.join(known)}.",
        )
    return name


def task_of(tag: str, architectures: Iterable[str] = ()) -> str | None:
    """The task that a checkpoint is for, or None if nothing identifies it.

    Args:
        tag: The `pipeline_tag` of its model card, or "". A tag for which there is no pipeline is ignored.
        architectures: Names of model classes, as `config.json` lists them. The first that identifies a task decides.

    Example:
        >>> task_of("ner"), task_of("", ["BertForTokenClassification"]), task_of("", ["ViTForImageClassification"])
        ('token-classification', 'token-classification', None)
    """
    tag = ALIASES.get(tag, tag)
    if tag in TASKS:
        return tag
    for architecture in architectures:
        matches = [(head, task) for task, line in TASKS.items() for head in line.heads if architecture.endswith(head)]
        if matches:
            # "GPT2LMHeadModel" also ends with "Model": the longest suffix is the specific one.
            head, task = max(matches, key=lambda match: len(match[0]))
            if head != "Model" or ("For" not in architecture and "LMHead" not in architecture):
                return task
    return None
