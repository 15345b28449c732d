"""From what a pipeline returned, and what it was given, to something that can be drawn."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from PIL import Image

from notebook_kit.errors import InputError
from notebook_kit.panels.result_view.others import ShownError, ShownFeatures
from notebook_kit.panels.result_view.over_pictures import ShownBoxes, ShownMasks, ShownScores
from notebook_kit.panels.result_view.over_questions import ShownAnswersOnPage, ShownCaptions, ShownVisualAnswers
from notebook_kit.panels.result_view.over_sounds import RATE, ShownHeard, ShownSpeech
from notebook_kit.panels.result_view.over_texts import ShownAnswers, ShownEntities, ShownGaps, ShownTexts
from notebook_kit.panels.result_view.shown import Shown
from notebook_kit.processing.image.loading import load_image
from notebook_kit.processing.image.ocr import read_words
from notebook_kit.processing.naming import is_array

__all__ = ["Modality", "modality_of", "paired", "read"]

Modality = Literal["picture", "sound", "text"]
SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aiff", ".webm")
WRITTEN = ("summary_text", "translation_text", "generated_text", "answer_text")
"""Keys under which pipelines return a text that they have written."""


def modality_of(pipeline: Any) -> Modality:
    """What the inputs of a pipeline are."""
    if getattr(pipeline, "image_processor", None) is not None:
        return "picture"
    return "text" if getattr(pipeline, "feature_extractor", None) is None else "sound"


def paired(result: Any, inputs: Any) -> list[tuple[Any, Any]]:
    """The answers and the inputs to which they belong; a single answer gives a list of one pair.

    Raises:
        InputError: If there are not as many answers as inputs.

    Example:
        >>> paired([[{"label": "a"}], [{"label": "b"}]], ["one", "two"])
        [([{'label': 'a'}], 'one'), ([{'label': 'b'}], 'two')]
    """
    if inputs is None and _are_several(result):
        return [(one, None) for one in result]
    if not isinstance(inputs, list | tuple) or _is_chat(inputs):
        return [(result, inputs)]
    if isinstance(result, list | tuple) and len(result) == len(inputs):
        return list(zip(result, inputs, strict=True))
    if len(inputs) == 1 and not _are_several(result):  # some pipelines answer a list of one input as the input alone
        return [(result, inputs[0])]
    if _is_an_input(result):
        raise InputError(
            f"The first argument is an input ({type(result).__name__}), where show expects an answer.",
            next_step="Exchange the two: show(answer, input).",
        )
    count = len(result) if isinstance(result, list | tuple) else 1
    raise InputError(
        f"There {'is 1 answer' if count == 1 else f'are {count} answers'}, but {len(inputs)} inputs.",
        next_step="Pass the list that was answered.",
    )


def _is_an_input(result: Any) -> bool:
    """Whether what was passed as an answer is a picture, a recording or a path: what pipelines read and never return."""
    return isinstance(result, str | os.PathLike | Image.Image)


def read(result: Any, input: Any, modality: Modality | None = None) -> Shown:
    """The answer to one input, in the form in which it is drawn.

    Args:
        result: What a pipeline returned.
        input: What it was given; None if it is not known.
        modality: What the input is; None to find out.

    Raises:
        InputError: If the answer has none of the forms that pipelines return, or lacks the input that it is about.
    """
    if isinstance(result, Exception):
        return ShownError(result)
    listed = [result] if isinstance(result, Mapping) else result
    if modality is None:
        modality = (
            "text" if input is None else "sound" if _is_sound(input) else "picture" if _is_picture(input) else "text"
        )
    if isinstance(listed, list | tuple) and not listed:
        return _empty(result, input, modality)
    first = listed[0] if isinstance(listed, list | tuple) else None
    if isinstance(first, list) and first and isinstance(first[0], Mapping) and "token_str" in first[0]:  # several gaps
        first = first[0]
    for keys, reader in READERS:
        if isinstance(first, Mapping) and keys <= set(first):
            try:
                return reader(listed, input, modality)
            except InputError:
                raise
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise _not_an_answer(result) from error
    vectors = _vectors(result)
    if vectors is not None:
        return ShownFeatures(result, vectors)
    raise _not_an_answer(result)


def _not_an_answer(result: Any) -> InputError:
    if callable(getattr(result, "show", None)) and callable(result):
        return InputError(
            f"{type(result).__name__} is a pipeline, where show expects its answer.",
            next_step="Write pipe.show(input), or show(pipe(input), input).",
        )
    return InputError(
        f"{result!r:.80} is not an answer that show can draw.",
        next_step='Pass what a pipeline returned: dicts such as {"label": "cat", "score": 0.9}, or vectors.',
    )


# One function per form of answer: from the dicts, the input and its modality


def _scores(listed: Any, input: Any, modality: Modality) -> Shown:
    if modality == "picture" and input is not None:
        return ShownScores(listed, listed, load_image(input))
    if modality == "sound" and input is not None:
        return ShownHeard(listed, _samples(input))
    return ShownScores(listed, listed, text=_text(input))


def _zero_shot(listed: Any, input: Any, modality: Modality) -> Shown:
    (answer,) = listed
    things = [{"label": label, "score": score} for label, score in zip(answer["labels"], answer["scores"], strict=True)]
    return ShownScores(answer, things, text=str(answer.get("sequence", "")) or _text(input))


def _boxes(listed: Any, input: Any, modality: Modality) -> Shown:
    return ShownBoxes(listed, _picture("boxes", input))


def _masks(listed: Any, input: Any, modality: Modality) -> Shown:
    return ShownMasks(listed, _picture("masks", input))


def _entities(listed: Any, input: Any, modality: Modality) -> Shown:
    return ShownEntities(listed, _text(input))


def _answers(listed: Any, input: Any, modality: Modality) -> Shown:
    asked = input if isinstance(input, Mapping) else {}
    return ShownAnswers(listed, str(asked.get("question", "")), str(asked.get("context", "")) or _text(input))


def _answers_on_page(listed: Any, input: Any, modality: Modality) -> Shown:
    asked = input if isinstance(input, Mapping) else {}
    question, image = str(asked.get("question", "")), asked.get("image")
    page = None if image is None else load_image(image)
    are_words = all("words" in one for one in listed)  # rather than a text that the model wrote
    boxes = _word_boxes(listed, asked, page) if are_words else None
    if boxes is None:
        return ShownVisualAnswers(listed, page, question)
    return ShownAnswersOnPage(listed, page, question, boxes)


def _word_boxes(listed: Any, asked: Mapping[str, Any], page: Image.Image | None) -> Any:
    """The words of a page with their boxes: those that the pipeline was given, or else those that Tesseract reads again; None if
    these are not the words of the answers."""
    if asked.get("word_boxes") is not None:
        return asked["word_boxes"]
    if page is None:
        return None
    try:
        found = read_words(page)
        same = all(" ".join(found[i][0] for i in one["words"]) == one["answer"] for one in listed)
    except (InputError, IndexError):
        return None
    return found if same else None


def _visual_answers(listed: Any, input: Any, modality: Modality) -> Shown:
    asked = input if isinstance(input, Mapping) else {}
    image = asked.get("image")
    return ShownVisualAnswers(listed, None if image is None else load_image(image), str(asked.get("question", "")))


def _gaps(listed: Any, input: Any, modality: Modality) -> Shown:
    return ShownGaps(listed, _text(input))


def _texts(listed: Any, input: Any, modality: Modality) -> Shown:
    if modality == "picture" and input is not None and "generated_text" in listed[0]:
        return ShownCaptions(listed, load_image(input))
    written = [next(one[key] for key in WRITTEN if key in one) for one in listed]
    return ShownTexts(listed, [_text(one) for one in written], _text(input))


def _speech(listed: Any, input: Any, modality: Modality) -> Shown:
    (said,) = listed
    if modality == "sound" and input is not None:
        return ShownSpeech(said, _samples(input))
    return ShownTexts(said, [str(said["text"])], _text(input))


READERS: list[tuple[set[str], Callable[[Any, Any, Modality], Shown]]] = [
    ({"box", "label", "score"}, _boxes),
    ({"mask", "label", "score"}, _masks),
    ({"label", "score"}, _scores),
    ({"labels", "scores"}, _zero_shot),
    ({"entity", "score"}, _entities),
    ({"entity_group", "score"}, _entities),
    ({"answer", "score", "words"}, _answers_on_page),
    ({"answer", "score", "start", "end"}, _answers),
    ({"answer", "score"}, _visual_answers),
    ({"token_str", "score", "sequence"}, _gaps),
    *(({key}, _texts) for key in WRITTEN),
    ({"text"}, _speech),
]
"""Keys of the dicts of an answer -> what reads it; the first that fits."""


def _empty(result: Any, input: Any, modality: Modality) -> Shown:
    if modality == "picture" and input is not None:
        return ShownBoxes(result, load_image(input))
    return ShownEntities(result, _text(input))


def _vectors(result: Any) -> np.ndarray | None:
    """Nested lists, an array or a tensor of floats as `(rows, dimensions)`; None for anything else."""
    try:
        array = np.asarray(result.detach().float().cpu() if hasattr(result, "detach") else result)
    except (ValueError, TypeError):
        return None
    if array.dtype.kind not in "fiu" or not 1 <= array.ndim <= 4 or not array.size:
        return None
    return array.astype(np.float32).reshape(-1, array.shape[-1])


def _picture(what: str, input: Any) -> Image.Image:
    if input is None:
        raise InputError(f"The {what} belong to an image.", next_step="Pass it as well: show(result, image).")
    return load_image(input)


def _samples(input: Any) -> np.ndarray:
    from notebook_kit.processing.audio.loading import load_audio

    return load_audio(input, RATE)


def _text(input: Any) -> str:
    """The text of an input: a text, the last message of a chat, a pair, or words."""
    if isinstance(input, Mapping):
        return "\n".join(str(input[key]) for key in ("text", "text_pair", "context", "content") if input.get(key))
    if _is_chat(input):
        return _text(input[-1])
    if isinstance(input, list | tuple):
        return " ".join(_text(one) for one in input)
    return input if isinstance(input, str) else ""


def _is_chat(input: Any) -> bool:
    return (
        isinstance(input, list | tuple)
        and bool(input)
        and all(isinstance(one, Mapping) and "role" in one for one in input)
    )


def _is_sound(input: Any) -> bool:
    """Whether an input is a recording: samples (with their rate, or an array of one axis), a decoder of torchcodec, or a file that
    is named like one."""
    if isinstance(input, Mapping):
        path = input.get("path")
        return "sampling_rate" in input or (isinstance(path, str) and path.lower().endswith(SOUNDS))
    if isinstance(input, str | os.PathLike):
        return os.fspath(input).lower().endswith(SOUNDS)
    return hasattr(input, "get_all_samples") or (is_array(input) and input.ndim == 1)


def _is_picture(input: Any) -> bool:
    """Whether an input is an image, or the address of one, rather than a text."""
    if isinstance(input, str):
        return input.startswith(("http://", "https://", "data:image/")) or (len(input) < 4096 and os.path.isfile(input))
    if isinstance(input, Mapping):
        return "bytes" in input or "path" in input
    return not isinstance(input, list | tuple)


def _are_several(result: Any) -> bool:
    """Whether a result without its inputs is a list of answers: lists of dicts that do not belong to gaps of one text."""
    lists = isinstance(result, list) and bool(result) and all(isinstance(one, list) for one in result)
    first = next((one[0] for one in result if one), None) if lists else None
    return isinstance(first, Mapping) and "token_str" not in first
