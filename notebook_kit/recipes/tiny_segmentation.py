"""The recipe of `notebook-kit/tiny-segmentation`, a SegFormer that names the class of each pixel of small scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.models.segformer import SegformerConfig, SegformerForSemanticSegmentation
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.image.segmentation import SegformerImageProcessor
from notebook_kit.recipes.muon import MuonWithAdamW
from notebook_kit.recipes.scene_build import SceneRecipe
from notebook_kit.recipes.scene_data import LABELS, MEAN, SPREAD, SceneDataset, collate
from notebook_kit.recipes.scene_pictures import contact_sheet, evenly, with_segments
from notebook_kit.recipes.scene_scores import ColorBaseline, confusion, mean_iou
from notebook_kit.recipes.scenes import SceneMaker
from notebook_kit.recipes.shared import Clock, train
from notebook_kit.recipes.tiny_segmentation_card import model_card
from notebook_kit.training import Trainer, TrainingArguments, set_seed

__all__ = ["build"]

SIZE = 96
PICTURED = 60
BATCH = 32
STEPS = 2400
RATE = 2e-3
BACKGROUND = 0.5  # weight of background in the loss


def segmenter_config() -> SegformerConfig:
    """The configuration of the checkpoint."""
    names = ["background", *LABELS]
    labels: dict[str, Any] = {
        "id2label": dict(enumerate(names)),
        "label2id": {label: number for number, label in enumerate(names)},
    }
    return SegformerConfig(
        depths=[1, 1, 2, 2],
        sr_ratios=[4, 2, 1, 1],
        hidden_sizes=[16, 32, 80, 128],
        num_attention_heads=[1, 2, 4, 4],
        mlp_ratios=[4, 4, 4, 4],
        decoder_hidden_size=64,
        classifier_dropout_prob=0.0,
        drop_path_rate=0.0,
        **labels,
    )


class SegmenterTraining(nn.Module):
    """The segmenter with a loss in which background weighs less than things."""

    weight: Tensor

    def __init__(self, segmenter: SegformerForSemanticSegmentation) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.register_buffer("weight", torch.tensor([BACKGROUND] + [1.0] * len(LABELS)), persistent=False)

    def forward(self, pixel_values: Tensor, semantic: Tensor, labels: Any = None) -> dict[str, Tensor]:
        logits = self.segmenter(pixel_values).logits  # at a quarter of the size
        logits = F.interpolate(logits, scale_factor=2, mode="bilinear")
        return {"loss": F.cross_entropy(logits, semantic[:, ::2, ::2], self.weight)}


def trained(scenes: SceneDataset, work: Path, clock: Clock, seed: int, quick: bool) -> SegformerForSemanticSegmentation:
    """The segmenter, trained with a seed, or read from `work` if it is there."""
    set_seed(seed)
    segmenter = SegformerForSemanticSegmentation(segmenter_config())
    kept = work / f"segmenter-{seed}.pt"
    if kept.exists():
        segmenter.load_state_dict(torch.load(kept, weights_only=True))
        return segmenter.eval()
    arguments = TrainingArguments(
        str(work / "segmenter"),
        max_steps=3 if quick else STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        save_strategy="no",
        logging_steps=100,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=seed,
    )
    with clock(f"segmenter {seed}"):
        training = SegmenterTraining(segmenter).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = MuonWithAdamW(training, RATE, weight_decay=0.05)
        train(Trainer(training, arguments, data_collator=collate, train_dataset=scenes, optimizers=(optimizer, None)))
    segmenter.cpu().eval()
    torch.save(segmenter.state_dict(), kept)
    return segmenter


# Building ------------------------------------------------------------------------------------------------------------


def build(output: Path, quick: bool = False, work: Path | None = None) -> dict[str, Any]:
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
    recipe = SceneRecipe(SIZE, trained, processor, measure, "mIoU", baselines, picture, model_card)
    return recipe.build(output, quick, work)


def processor() -> SegformerImageProcessor:
    """The image processor of the checkpoint: any picture becomes a square of `SIZE`."""
    size = {"height": SIZE, "width": SIZE}
    return SegformerImageProcessor(size=size, image_mean=[MEAN] * 3, image_std=[SPREAD] * 3)


def measure(folder: Path, test: SceneDataset) -> dict[str, Any]:
    """Mean IoU of a saved checkpoint, the IoU of each class, and the share of pixels with the right class."""
    segment = pipeline("image-segmentation", model=str(folder), device="cpu")
    return scored([as_classes(answers, test.size) for answers in segment(list(test.images))], test)


def scored(predicted: list[np.ndarray], test: SceneDataset) -> dict[str, Any]:
    """The measurements of predicted classes `(size, size)` of the test scenes."""
    names = ["background", *LABELS]
    counts = confusion(np.stack(predicted), test.semantic, len(names))
    mean, each = mean_iou(counts)
    things_only = np.array([[counts[0, 0], counts[0, 1:].sum()], [counts[1:, 0].sum(), counts[1:, 1:].sum()]])
    return {
        "mIoU": mean,
        "classes": dict(zip(names, each, strict=True)),
        "shapes": mean_iou(things_only)[1][1],
        "pixels": float(counts.diagonal().sum() / counts.sum()),
    }


def baselines(learned: SceneDataset, test: SceneDataset) -> dict[str, float]:
    """Mean IoU of methods without a network."""
    colors = ColorBaseline(learned.images[:1500], learned.semantic[:1500])
    answers = {
        "color thresholds, connected components": [colors.segment(image) for image in test.images],
        "background everywhere": [np.zeros_like(classes) for classes in test.semantic],
    }
    return {name: scored(predicted, test)["mIoU"] for name, predicted in answers.items()}


def picture(folder: Path, make: SceneMaker) -> Image.Image:
    """Scenes that may be published with the answers of a checkpoint, from the best to the worst."""
    segment = pipeline("image-segmentation", model=str(folder), device="cpu")
    scenes = [make(seed) for seed in range(PICTURED)]
    answers = segment([scene.image for scene in scenes])
    qualities = []
    for scene, answer in zip(scenes, answers, strict=True):
        counts = confusion(as_classes(answer, make.size), scene.semantic, len(LABELS) + 1)
        qualities.append(mean_iou(counts)[0])
    return contact_sheet([with_segments(scenes[index].image, answers[index]) for index in evenly(qualities, 12)], 4)


def as_classes(answers: list[dict[str, Any]], size: int) -> np.ndarray:
    """The answers of the pipeline for one picture as a class per pixel, `(size, size)`, 0 for background."""
    classes = np.zeros((size, size), np.uint8)
    for answer in answers:
        if answer["label"] in LABELS:
            classes[np.asarray(answer["mask"]) > 127] = LABELS.index(answer["label"]) + 1
    return classes
