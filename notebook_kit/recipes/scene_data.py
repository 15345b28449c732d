"""The scenes on which the detector and the segmenter are trained and measured: their classes, parts, and batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from notebook_kit.recipes.scenes import Cutout, Scene, SceneMaker
from notebook_kit.recipes.things_data import Background, Thing, backgrounds, things

__all__ = ["LABELS", "MEAN", "SPREAD", "Part", "SceneDataset", "collate", "makers", "normalized"]

Part = Literal["train", "validation", "test"]

CLASSES: dict[str, str] = {
    "animal": "bear cat chicken cow deer dog duck elephant horse lion monkey mouse parrot penguin pig rabbit sheep tiger",
    "apple": "apple",
    "ball": "ball",
    "banana": "banana",
    "butterfly": "butterfly",
    "fish": "fish",
    "flower": "flower",
    "strawberry": "strawberry",
    "tree": "tree",
    "vehicle": "bus car truck",
}
LABELS = list(CLASSES)
"""The names of the classes, in the order of their numbers."""

MEAN, SPREAD = 0.5, 0.25
"""What an image processor subtracts from pixels between 0 and 1, and divides them by."""

RECOLOR = 0.3
"""The share of things and photographs in training scenes whose colors are mixed."""

SHOWN: dict[Part, tuple[Part, ...]] = {"train": ("train",), "validation": ("train", "validation"), "test": ("test",)}
"""Part of the scenes -> the parts of the things in them."""


def makers(
    size: int,
    found: Sequence[Thing] | None = None,
    photographs: Sequence[Background] | None = None,
    **options: Any,
) -> dict[Part, SceneMaker]:
    """The generators of the scenes of each part.

    Test scenes show test things on test photographs: a style of emoji and photographs of things that no training scene
    shows. Validation scenes show the things and the photographs of the training scenes, and in addition the
    photographs of things that are kept for validation, in other combinations.

    Args:
        size: Width and height of a scene in pixels.
        found, photographs: By default, what `things()` and `backgrounds()` return, whose errors may be raised.
        options: Further options of `SceneMaker`, such as `counts`.
    """
    found = things() if found is None else found
    photographs = backgrounds() if photographs is None else photographs
    numbers = {name: LABELS.index(label) for label, names in CLASSES.items() for name in names.split()}
    scenes: dict[Part, SceneMaker] = {}
    for part, shown in SHOWN.items():
        scenes[part] = SceneMaker(
            [Cutout(numbers[each.label], each.image) for each in found if each.part in shown and each.label in numbers],
            [each.image for each in photographs if (each.part == "test") == (part == "test")],
            size,
            stream=list(SHOWN).index(part),
            recolor=RECOLOR if part == "train" else 0.0,
            **options,
        )
    return scenes


class SceneDataset(Dataset):
    """Scenes in memory, as the inputs of a detector or a segmenter.

    An item has `pixels` `(3, size, size)` float32, normalized; `semantic` `(size, size)` int64; `class_labels` `(things,)` and
    `boxes` `(things, 4)`, as centers and sizes in fractions of the size.

    Args:
        make: The generator.
        count: Number of scenes.
        first: Seed of the first one; the others follow.
        vary: Show half of the scenes mirrored and each in a slightly different light, differently each time.
    """

    def __init__(self, make: SceneMaker, count: int, first: int = 0, vary: bool = False) -> None:
        self.size, self.vary = make.size, vary
        self.images = np.empty((count, make.size, make.size, 3), np.uint8)
        self.semantic = np.empty((count, make.size, make.size), np.uint8)
        self.things: list[tuple[np.ndarray, np.ndarray]] = []  # labels and boxes, in pixels
        for index in range(count):
            scene: Scene = make(first + index)
            self.images[index], self.semantic[index] = scene.image, scene.semantic
            self.things.append((scene.labels, scene.boxes))

    def __len__(self) -> int:
        return len(self.things)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        labels, corners = (torch.from_numpy(part) for part in self.things[index])
        pixels, semantic = torch.from_numpy(self.images[index]), torch.from_numpy(self.semantic[index])
        corners = corners / self.size
        boxes = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
        x = normalized(pixels.permute(2, 0, 1))
        if self.vary:
            x = x * (1 + 0.08 * torch.randn(3, 1, 1)) + 0.1 * torch.randn(1)
            if torch.rand(1) < 0.5:
                x, semantic = x.flip(-1), semantic.flip(-1)
                boxes[:, 0] = 1 - boxes[:, 0]
        return {
            "pixels": x,
            "semantic": semantic.long(),
            "class_labels": labels,
            "boxes": boxes,
        }


def normalized(pixels: Tensor) -> Tensor:
    """Pixels from 0 to 255 as models see them."""
    return (pixels.float() / 255 - MEAN) / SPREAD


def collate(items: Iterable[dict[str, Tensor]]) -> dict[str, Any]:
    """A batch: `pixel_values` `(batch, 3, size, size)`, `labels` as `detection_loss` takes them, `semantic`."""
    items = list(items)
    pixels = torch.stack([item["pixels"] for item in items])
    return {
        "pixel_values": pixels.contiguous(memory_format=torch.channels_last),  # for faster convolutions
        "labels": [{name: item[name] for name in ("class_labels", "boxes")} for item in items],
        "semantic": torch.stack([item["semantic"] for item in items]),
    }
