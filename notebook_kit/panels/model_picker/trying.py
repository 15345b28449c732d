"""Running a loaded pipeline on text that a reader types, on a picture, or on a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from notebook_kit.errors import InputError
from notebook_kit.panels.model_picker.contents import BESIDES, chosen, content_answer, content_of, samples_for
from notebook_kit.panels.model_picker.pictures import words_of_page
from notebook_kit.panels.panel import Answer
from notebook_kit.registry.tasks import ALIASES

__all__ = ["answer_of", "fields_of", "samples_of", "try_pipeline"]

TOP = 6
"""Maximum number of scored answers shown."""

FIELDS = {
    "text-classification": ("text",),
    "token-classification": ("text",),
    "fill-mask": ("text",),
    "feature-extraction": ("text",),
    "question-answering": ("question", "context"),
    "zero-shot-classification": ("text", "labels"),
}
TEXT_OUT = frozenset({"text-generation", "text2text-generation", "summarization", "translation"})


def fields_of(pipeline: Any) -> list[str]:
    """The names of the input fields that a task needs, such as "text", "image" or "sound"; none if it cannot be tried.

    Example:
        >>> from notebook_kit import pipeline
        >>> fields_of(pipeline("sentiment-analysis", model="zoo"))
        ['text']
    """
    task = _task(pipeline)
    if task in TEXT_OUT or task.startswith("translation_"):
        return ["text"]
    content = content_of(task)
    if content is not None:
        return [content, BESIDES[task]] if task in BESIDES else [content]
    return list(FIELDS.get(task, ()))


def samples_of(pipeline: Any) -> list[dict[str, Any]]:
    """The sample pictures or recordings for a pipeline, see `samples_for`."""
    return samples_for(_task(pipeline))


def answer_of(pipeline: Any, values: Mapping[str, Any], buffers: Sequence[Any]) -> Answer:
    """The answer of a pipeline, as the page shows it.

    Args:
        pipeline: A pipeline for texts, pictures or sound.
        values: Field -> what was typed or chosen.
        buffers: What the page sent along: the bytes of an uploaded file, or recorded samples.

    Raises:
        InputError: If a field is empty, or the task cannot be tried.
    """
    content, field = content_of(_task(pipeline)), BESIDES.get(_task(pipeline), "")
    if content is not None:
        text = str(values.get(field, "")).strip()
        if field and not text:
            raise InputError("The input is empty.", next_step="Type some text.")
        choice = values.get(content)
        words = words_of_page(choice) if content == "image" and isinstance(choice, Mapping) else None
        return content_answer(pipeline, content, chosen(content, choice, buffers), field, text, words)
    return Answer(try_pipeline(pipeline, dict(values)))


def _task(pipeline: Any) -> str:
    return ALIASES.get(pipeline.task, str(pipeline.task))


def try_pipeline(pipeline: Any, values: dict[str, str]) -> dict[str, Any]:
    """The answer of a pipeline, in the form that the page shows.

    Args:
        pipeline: A text pipeline.
        values: Field -> typed text, for the fields of `fields_of`.

    Returns:
        One of: `bars`, pairs of a label and a score from 0 to 1; `spans`, `[start, end, label, score]` in the text `of`;
        `text`; `vector`, the numbers of tokens and dimensions, with `values`, the first components of the mean over tokens.

    Raises:
        InputError: A field is empty, or the task takes no text.

    Example:
        >>> from notebook_kit import pipeline
        >>> result = try_pipeline(pipeline("sentiment-analysis", model="zoo"), {"text": "I love this!"})
        >>> result["bars"][0][0], len(result["bars"])
        ('POSITIVE', 2)
    """
    fields = fields_of(pipeline)
    if not fields:
        raise InputError(
            f"A pipeline for {pipeline.task} takes neither text nor a picture or a recording.",
            next_step="Call picker.pipeline(...) in a cell.",
        )
    empty = [name for name in fields if not str(values.get(name, "")).strip()]
    if empty:
        raise InputError("The input is empty.", next_step="Type some text.")
    first, task = str(values[fields[0]]), _task(pipeline)
    if task == "text-classification":
        found = pipeline(first, top_k=TOP)
        return {"bars": [[str(one["label"]), float(one["score"])] for one in found]}
    if task == "token-classification":
        found = pipeline(first, aggregation_strategy="simple")
        return {
            "of": first,
            "spans": [[int(e["start"]), int(e["end"]), str(e["entity_group"]), float(e["score"])] for e in found],
        }
    if task == "fill-mask":
        found = pipeline(first, top_k=TOP)
        gaps = found if found and isinstance(found[0], list) else [found]
        several = len(gaps) > 1
        bars = [
            [f"{number}. {one['token_str']}" if several else str(one["token_str"]), float(one["score"])]
            for number, gap in enumerate(gaps, 1)
            for one in gap
        ]
        return {"bars": bars}
    if task == "question-answering":
        context = str(values["context"])
        one = pipeline(question=first, context=context)
        return {"of": context, "spans": [[int(one["start"]), int(one["end"]), "", float(one["score"])]]}
    if task == "zero-shot-classification":
        one = pipeline(first, str(values["labels"]))
        return {"bars": [[str(label), float(score)] for label, score in zip(one["labels"], one["scores"], strict=True)]}
    if task == "feature-extraction":
        hidden = pipeline(first, return_tensors=True)[0]
        return {"vector": [*hidden.shape], "values": [float(value) for value in hidden.mean(0)[:8]]}
    found = pipeline(first)
    one = found[0] if isinstance(found, list) and found else found
    return {"text": next((str(value) for key, value in dict(one).items() if key.endswith("_text")), str(one))}
