"""What building the detector and the segmenter shares: scenes, seeds, measurements, the picture and the card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.processing.image.processor import BaseImageProcessor
from notebook_kit.recipes.scene_card import PICTURE
from notebook_kit.recipes.scene_data import SceneDataset, makers
from notebook_kit.recipes.scene_pictures import publishable
from notebook_kit.recipes.scenes import SceneMaker
from notebook_kit.recipes.shared import SEEDS, Clock, for_each_seed, work_folder
from notebook_kit.recipes.things_data import backgrounds, things

__all__ = ["SceneRecipe"]

SCENES, TESTS = 16_000, 1000


@dataclass(frozen=True, slots=True)
class SceneRecipe:
    """The parts in which the recipes differ.

    Attributes:
        size: Side of a scene in pixels.
        trained: The model of a seed, from the training scenes, the work folder, the clock, the seed and `quick`.
        processor: The image processor of the checkpoint.
        measure: The measurements of a saved checkpoint on test scenes.
        score: The name of the measurement that is compared over seeds.
        baselines: The same measurement of methods without a network, from training and test scenes.
        picture: Answers of a saved checkpoint to scenes that may be published.
        card: The model card, from the report.
    """

    size: int
    trained: Callable[[SceneDataset, Path, Clock, int, bool], PreTrainedModel]
    processor: Callable[[], BaseImageProcessor]
    measure: Callable[[Path, SceneDataset], dict[str, Any]]
    score: str
    baselines: Callable[[SceneDataset, SceneDataset], dict[str, float]]
    picture: Callable[[Path, SceneMaker], Image.Image]
    card: Callable[[dict[str, Any]], str]

    def build(self, output: Path, quick: bool, work: Path | None) -> dict[str, Any]:
        """Train the checkpoint with three seeds, measure them, and write the first with its model card.

        Args:
            output: The folder to write.
            quick: Train for a few steps on a few scenes, to check that everything works. The result is useless.
            work: A folder that keeps the weights of each seed. Existing ones are reused.

        Returns:
            The measurements in the model card.

        Raises:
            MissingDependencyError: scipy, which the baseline needs, is not installed, or the data cannot be fetched.
        """
        with work_folder(work) as folder:
            return self._build(Path(output), quick, folder)

    def _build(self, output: Path, quick: bool, work: Path) -> dict[str, Any]:
        clock = Clock(work / "seconds.json")
        cutouts, photographs = things(), backgrounds()
        scenes = makers(self.size, cutouts, photographs)
        test = SceneDataset(scenes["test"], 60 if quick else TESTS)
        with clock("scenes"):
            learned = SceneDataset(scenes["train"], 80 if quick else SCENES, vary=True)

        def one(seed: int, folder: Path) -> dict[str, Any]:
            model = self.trained(learned, work, clock, seed, quick)
            model.half().save_pretrained(folder)
            self.processor().save_pretrained(folder)
            return self.measure(folder, test) | {"parameters": model.num_parameters()}

        reports = for_each_seed(SEEDS, output, work, quick, one)
        report = reports[0] | {"seeds": [each[self.score] for each in reports]}
        report |= {"baselines": self.baselines(learned, test), "seconds": clock.seconds, "quick": quick}
        report |= {"threads": torch.get_num_threads(), "scenes": len(learned), "tests": len(test)}
        report |= {"bytes": (output / "model.safetensors").stat().st_size}
        drawn = self.picture(output, publishable(2 * self.size, cutouts, photographs))
        drawn.save(output / PICTURE, quality=80, method=6)
        (output / "README.md").write_text(self.card(report), encoding="utf-8")
        return report
