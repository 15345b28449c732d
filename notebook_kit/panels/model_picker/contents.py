"""What a model can be tried on besides texts: a picture or a recording that a reader uploads or records, or a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from notebook_kit import language
from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.joints import reads_pages
from notebook_kit.inspection.sounds import wave_file
from notebook_kit.panels.model_picker.pictures import PICTURE_TASKS, loaded_picture, picture_samples
from notebook_kit.panels.model_picker.sounds import SOUND_TASKS, loaded_sound, sound_samples
from notebook_kit.panels.panel import Answer, filled
from notebook_kit.panels.result_view.reading import read
from notebook_kit.panels.result_view.result_view import ResultView
from notebook_kit.panels.result_view.still import face_of

__all__ = ["BESIDES", "LARGEST", "chosen", "content_answer", "content_of", "samples_for"]

LARGEST = 8 * 2**20
"""The largest file that can be uploaded, in bytes. A notebook server closes the connection of larger messages."""

BESIDES = {
    "visual-question-answering": "question",
    "document-question-answering": "question",
    "zero-shot-image-classification": "labels",
}
"""Task -> the text that it takes besides a picture."""

RATE = 16_000
"""Samples per second at which a recording is played."""

PLAYED = 60
"""Seconds of a recording that can be played."""


def content_of(task: str) -> Literal["image", "sound"] | None:
    """What a task takes besides texts.

    Example:
        >>> content_of("audio-classification"), content_of("text-classification")
        ('sound', None)
    """
    return "image" if task in PICTURE_TASKS else "sound" if task in SOUND_TASKS else None


def samples_for(task: str) -> list[dict[str, Any]]:
    """The samples for a task, as the page shows them: `name`, `label` and, for pictures, a thumbnail as JPEG.

    Args:
        task: The name of a task.

    Example:
        >>> samples_for("text-classification"), sorted(samples_for("object-detection")[0])
        ([], ['label', 'name', 'thumbnail'])
    """
    kind = content_of(task)
    return [] if kind is None else picture_samples(task) if kind == "image" else sound_samples()


def chosen(kind: Literal["image", "sound"], choice: Any, buffers: Sequence[Any]) -> Any:
    """The picture or the recording that a reader has chosen.

    Args:
        kind: What is expected.
        choice: `{"sample": name}`; `{"file": name}` for a file whose bytes are the first of the buffers; or `{"recorded": True}`
            for 16-bit samples at 16 kHz.
        buffers: What the page sent along.

    Returns:
        A PIL image, or `{"array": samples, "sampling_rate": rate}`.

    Raises:
        InputError: If nothing was chosen, there is no such sample, or the file is too large or cannot be read.
    """
    choice = choice if isinstance(choice, Mapping) else {}
    what = "picture" if kind == "image" else "recording"
    if "sample" not in choice and not buffers:
        raise InputError(f"No {what} was chosen.", next_step="Choose a file or a sample.")
    data = bytes(buffers[0]) if buffers else b""
    if len(data) > LARGEST:
        raise InputError(
            f"{choice.get('file', '')} has {len(data) / 2**20:.1f} MiB; at most {LARGEST // 2**20} MiB can be uploaded.",
            next_step="Save it smaller, or call picker.pipeline(path) in a cell.",
        )
    if choice.get("recorded"):
        return {"array": np.frombuffer(data, "<i2").astype(np.float32) / 32768, "sampling_rate": RATE}
    return (loaded_picture if kind == "image" else loaded_sound)(choice, data)


def content_answer(
    pipeline: Any,
    kind: Literal["image", "sound"],
    content: Any,
    field: str = "",
    text: str = "",
    word_boxes: list[Any] | None = None,
) -> Answer:
    """The answer of a pipeline about a picture or a recording, as `show` draws it where no kernel runs.

    Args:
        pipeline: The pipeline.
        kind: What it is about.
        content: The picture, or `{"array": samples, "sampling_rate": rate}`.
        field: What the text besides it is: "question", "labels", or "" for none.
        text: The text.
        word_boxes: The words of a page with their boxes, if they are known.

    Returns:
        A `face`, and as buffers its picture, if it has one, and the recording as a WAV file.
    """
    words = language.strings(ResultView.name)

    def word(key: str, **values: Any) -> str:
        return filled(words[f"{ResultView.name}.{key}"], **values)

    if field == "question":
        asked: Any = {"image": content, "question": text}
        if word_boxes is not None and reads_pages(pipeline.model):  # so that a sample needs no Tesseract
            asked["word_boxes"] = word_boxes
        face = face_of(read(pipeline(dict(asked)), asked, "picture"), "", word)
    elif field == "labels":
        labels = [label.strip() for label in text.split(",") if label.strip()]
        face = face_of(read(pipeline(content, candidate_labels=labels), content, "picture"), "", word)
    else:
        given = dict(content) if isinstance(content, dict) else content  # pipelines may change what they are given
        face = face_of(read(pipeline(given), content, "picture" if kind == "image" else "sound"), "", word)
    values = {"alt": face.alt, "header": list(face.header), "rows": [list(map(str, row)) for row in face.rows]}
    buffers = [] if face.png is None else [face.png]
    if kind == "sound":
        buffers.append(wave_file(content["array"][: PLAYED * content["sampling_rate"]], content["sampling_rate"]))
    return Answer({"face": {**values, "note": face.note, "pictured": face.png is not None}}, buffers)
