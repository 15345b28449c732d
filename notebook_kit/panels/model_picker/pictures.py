"""Pictures to try a model on: those that a reader uploads, and samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw

from notebook_kit import language, zoo
from notebook_kit.errors import InputError
from notebook_kit.inspection.drawing.pictures import jpeg_of
from notebook_kit.panels.panel import Answer, filled
from notebook_kit.panels.result_view.reading import read
from notebook_kit.panels.result_view.result_view import ResultView
from notebook_kit.panels.result_view.still import face_of
from notebook_kit.processing.image.loading import load_image

__all__ = ["LARGEST", "PICTURE_TASKS", "chosen_picture", "picture_answer", "samples_for"]

PICTURE_TASKS = frozenset(
    {"image-classification", "image-feature-extraction", "object-detection", "image-segmentation"}
)
SCENES = frozenset({"object-detection", "image-segmentation"})
"""Tasks that have more to find in a scene than in a picture of a single thing."""
LARGEST = 8 * 2**20
"""The largest file that can be uploaded, in bytes. A notebook server closes the connection of larger messages."""
MOST_SAMPLES = 8
THUMBNAIL = 96
DRAWN = "drawn"


def samples_for(task: str) -> list[dict[str, Any]]:
    """The samples for a task that takes pictures, as the page shows them: `name`, `label` and a thumbnail as JPEG.

    Args:
        task: The name of a task.

    Example:
        >>> samples_for("text-classification"), sorted(samples_for("object-detection")[0])
        ([], ['label', 'name', 'thumbnail'])
    """
    if task not in PICTURE_TASKS:
        return []
    are_scenes = task in SCENES
    paths = sorted(zoo.sample_pictures(), key=lambda path: (path.name.startswith("scene_") != are_scenes, path.name))
    labels = {path.name: path.stem.replace("_", " ") for path in paths[:MOST_SAMPLES]} or {DRAWN: "house"}
    return [
        {"name": name, "label": label, "thumbnail": jpeg_of(_sample(name), THUMBNAIL)} for name, label in labels.items()
    ]


def chosen_picture(chosen: Any, buffers: Sequence[Any]) -> Image.Image:
    """The picture that a reader has chosen.

    Args:
        chosen: `{"sample": name}`, or `{"file": name}` for a file whose bytes are the first of the buffers.
        buffers: What the page sent along.

    Raises:
        InputError: If none was chosen, there is no such sample, or the file is too large or not a picture.
    """
    chosen = chosen if isinstance(chosen, Mapping) else {}
    if "sample" in chosen:
        return _sample(str(chosen["sample"]))
    if not buffers:
        raise InputError("No picture was chosen.", next_step="Choose a file or a sample.")
    data, name = bytes(buffers[0]), str(chosen.get("file", ""))
    if len(data) > LARGEST:
        raise InputError(
            f"{name} has {len(data) / 2**20:.1f} MiB; at most {LARGEST // 2**20} MiB can be uploaded.",
            next_step="Save it smaller, or call picker.pipeline(path) in a cell.",
        )
    try:
        return load_image(data)
    except InputError as error:
        raise InputError(
            f"{name or 'The file'} is not a picture that can be read.", next_step="Choose a JPEG, PNG or WebP file."
        ) from error


def picture_answer(pipeline: Any, picture: Image.Image) -> Answer:
    """The answer of a pipeline about a picture, as `show` draws it where no kernel runs: a `face` and its picture."""
    words = language.strings(ResultView.name)

    def word(key: str, **values: Any) -> str:
        return filled(words[f"{ResultView.name}.{key}"], **values)

    face = face_of(read(pipeline(picture), picture, "picture"), "", word)
    values = {"alt": face.alt, "header": list(face.header), "rows": [list(map(str, row)) for row in face.rows]}
    return Answer({"face": {**values, "note": face.note}}, [] if face.png is None else [face.png])


def _sample(name: str) -> Image.Image:
    path = next((path for path in zoo.sample_pictures() if path.name == name), None)
    if path is None and name != DRAWN:
        raise InputError(f"There is no sample {name!r}.", next_step="Choose one of those shown, or a file.")
    return _drawn() if path is None else load_image(path)


def _drawn() -> Image.Image:
    """A house in a meadow."""
    image = Image.new("RGB", (480, 320), (96, 165, 225))
    draw = ImageDraw.Draw(image)
    draw.ellipse((290, 40, 410, 160), fill=(250, 200, 60))
    draw.rectangle((0, 220, 480, 320), fill=(80, 150, 70))
    draw.rectangle((90, 140, 190, 240), fill=(190, 90, 60))
    draw.polygon([(75, 140), (140, 85), (205, 140)], fill=(120, 50, 45))
    return image
