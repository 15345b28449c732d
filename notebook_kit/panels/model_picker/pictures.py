"""Pictures to try a model on: those that a reader uploads, and samples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw

from notebook_kit import zoo
from notebook_kit.errors import InputError
from notebook_kit.inspection.drawing.pictures import jpeg_of
from notebook_kit.processing.image.loading import load_image

__all__ = ["PICTURE_TASKS", "loaded_picture", "picture_samples", "words_of_page"]

PICTURE_TASKS = frozenset(
    {
        "image-classification",
        "image-feature-extraction",
        "object-detection",
        "image-segmentation",
        "image-to-text",
        "visual-question-answering",
        "document-question-answering",
        "zero-shot-image-classification",
    }
)
SCENES = frozenset({"object-detection", "image-segmentation", "image-to-text", "visual-question-answering"})
"""Tasks that have more to find in a scene than in a picture of a single thing."""
PAGES = "document-question-answering"
MOST_SAMPLES = 8
THUMBNAIL = 96
DRAWN = "drawn"


def picture_samples(task: str) -> list[dict[str, Any]]:
    """The samples for a task that takes pictures, as the page shows them: `name`, `label` and a thumbnail as JPEG.

    Args:
        task: The name of a task.

    Example:
        >>> sorted(picture_samples("object-detection")[0])
        ['label', 'name', 'thumbnail']
    """
    are_scenes = task in SCENES
    things = sorted(zoo.sample_pictures(), key=lambda path: (path.name.startswith("scene_") != are_scenes, path.name))
    paths = zoo.sample_pages() if task == PAGES else things
    labels = {path.name: path.stem.replace("_", " ") for path in paths[:MOST_SAMPLES]} or {DRAWN: "house"}
    return [
        {"name": name, "label": label, "thumbnail": jpeg_of(_sample(name), THUMBNAIL)} for name, label in labels.items()
    ]


def loaded_picture(choice: Mapping[str, Any], data: bytes) -> Image.Image:
    """The picture of a sample, `{"sample": name}`, or of an uploaded file, `{"file": name}` and its bytes.

    Raises:
        InputError: If there is no such sample, or the file is not a picture.
    """
    if "sample" in choice:
        return _sample(str(choice["sample"]))
    try:
        return load_image(data)
    except InputError as error:
        raise InputError(
            f"{choice.get('file') or 'The file'} is not a picture that can be read.",
            next_step="Choose a JPEG, PNG or WebP file.",
        ) from error


def words_of_page(choice: Mapping[str, Any]) -> list[Any] | None:
    """The words of a sample page with their boxes; None for a sample of another kind, and for an uploaded file.

    Example:
        >>> words_of_page({"sample": "invoice.png"})[0][0], words_of_page({"file": "invoice.png"})
        ('Crystal', None)
    """
    page = next((path for path in zoo.sample_pages() if path.name == choice.get("sample")), None)
    return None if page is None else json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))


def _sample(name: str) -> Image.Image:
    path = next((path for path in (*zoo.sample_pictures(), *zoo.sample_pages()) if path.name == name), None)
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
