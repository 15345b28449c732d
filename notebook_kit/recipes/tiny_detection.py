"""The recipe of `notebook-kit/tiny-detection`, a DETR that finds things in small scenes.

DETR learns slowly: its queries must first find out where to look. Five measures let it learn within minutes on one CPU thread, and
leave a plain DETR:

1. The backbone is trained first, on a dense task: which class does each cell of the picture show?
2. The encoder continues that task beside the detection, so that what the decoder reads names the things from the start.
3. Each query starts at a point of a grid, encoded as the positions of patches are, and cross-attention starts as a comparison
   of positions. So each query looks at its own surroundings in the first step.
4. Several groups of queries learn from each picture, each matched with the things on its own; only one is kept
   (Chen et al., Group DETR, 2022).
5. Each layer of the decoder has a loss, and matrices are trained by Muon.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.models.detr import DetrConfig, DetrForObjectDetection
from notebook_kit.models.resnet import ResNetBackbone, ResNetConfig
from notebook_kit.nn.detection import detection_loss
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.image.detection import DetrImageProcessor
from notebook_kit.recipes.muon import MuonWithAdamW
from notebook_kit.recipes.scene_build import SceneRecipe
from notebook_kit.recipes.scene_data import LABELS, MEAN, SPREAD, SceneDataset, collate
from notebook_kit.recipes.scene_pictures import contact_sheet, evenly, with_boxes
from notebook_kit.recipes.scene_scores import ColorBaseline, Found, matched, mean_average_precision, mean_boxes
from notebook_kit.recipes.scenes import SceneMaker
from notebook_kit.recipes.shared import Clock, train
from notebook_kit.recipes.tiny_detection_card import model_card
from notebook_kit.training import Trainer, TrainingArguments, set_seed

__all__ = ["build"]

SIZE = 96
CELL = 16  # pixels per patch of the last feature map
PICTURED = 60
BACKBONE: dict[str, Any] = {"embedding_size": 24, "hidden_sizes": [32, 64, 128], "depths": [1, 2, 2]}
WIDTH, ACROSS, DOWN, GROUPS = 96, 4, 3, 3
BATCH = 32
STEPS = {"backbone": 1000, "detector": 1500}
RATE = {"backbone": 3e-3, "detector": 2e-3}
BACKGROUND = 0.4  # weight of background in the dense task
EDGES = ("xmin", "ymin", "xmax", "ymax")


def detector_config() -> DetrConfig:
    """The configuration of the checkpoint."""
    resnet = ResNetConfig(**BACKBONE, layer_type="basic", out_features=[f"stage{len(BACKBONE['depths'])}"])
    return DetrConfig(
        backbone_config=resnet,
        num_queries=ACROSS * DOWN,
        d_model=WIDTH,
        encoder_layers=1,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        dropout=0.0,
        auxiliary_loss=True,
        class_cost=2,
        eos_coefficient=0.3,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )


# Training ------------------------------------------------------------------------------------------------------------


class DenseHead(nn.Module):
    """Which class each quarter of a patch shows: `(batch, channels, rows, columns)` to `(batch, classes + 1, 2 * rows, 2 * columns)`."""

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.predict = nn.Conv2d(channels, 4 * (len(LABELS) + 1), 1)
        self.register_buffer("weight", torch.tensor([BACKGROUND] + [1.0] * len(LABELS)), persistent=False)

    def forward(self, features: Tensor, semantic: Tensor) -> Tensor:
        """The loss; `semantic` is `(batch, height, width)`, of which the middle of each quarter counts."""
        logits = F.pixel_shuffle(self.predict(features), 2)
        step = CELL // 2
        return F.cross_entropy(logits, semantic[:, step // 2 :: step, step // 2 :: step], self.weight)


class BackboneTraining(nn.Module):
    """The backbone with the head of the dense task."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.backbone = ResNetBackbone(config)
        self.dense = DenseHead(self.backbone.channels[-1])

    def forward(self, pixel_values: Tensor, semantic: Tensor, labels: Any = None) -> dict[str, Tensor]:
        return {"loss": self.dense(self.backbone(pixel_values).feature_maps[-1], semantic)}


class DetectorTraining(nn.Module):
    """The detector with more groups of queries, and the head of the dense task. Only the detector is saved."""

    def __init__(self, detector: DetrForObjectDetection) -> None:
        super().__init__()
        self.detector = detector
        queries, width = detector.model.query_position_embeddings.weight.shape
        self.groups = nn.Embedding((GROUPS - 1) * queries, width)
        self.dense = DenseHead(width)
        points = grid(ACROSS, DOWN)
        others = points.repeat(GROUPS - 1, 1)
        with torch.no_grad():
            detector.model.query_position_embeddings.weight.copy_(encoded(points, width))
            self.groups.weight.copy_(encoded((others + 0.08 * torch.randn_like(others)).clamp(0, 1), width))
            layers: Any = detector.model.decoder.layers
            for layer in layers:
                for projection in (layer.encoder_attn.q_proj, layer.encoder_attn.k_proj):
                    nn.init.eye_(projection.weight).mul_(1.5)

    def forward(self, pixel_values: Tensor, labels: list[dict[str, Tensor]], semantic: Tensor) -> dict[str, Tensor]:
        detector, model = self.detector, self.detector.model
        features = model.features(pixel_values, None, None)
        memory = model.encoder(features.patches, features.mask, features.positions).last_hidden_state
        B, patches, width = memory.shape
        queries = torch.cat([model.query_position_embeddings.weight, self.groups.weight]).view(GROUPS, 1, -1, width)
        queries = queries.expand(-1, B, -1, -1).flatten(0, 1)  # (groups * batch, queries, width)
        states = model.decoder(
            torch.zeros_like(queries),
            None,
            queries,
            memory.repeat(GROUPS, 1, 1),
            None,
            features.positions.repeat(GROUPS, 1, 1),
        ).intermediate_hidden_states
        loss = self.dense(memory.transpose(1, 2).unflatten(2, (math.isqrt(patches), -1)), semantic)
        for group in states.split(B, 1):
            logits, boxes = detector.predict(group[-1])
            earlier = detector.earlier(group)
            loss = loss + detection_loss(logits, boxes, labels, detector.config, earlier=earlier or ())[0] / GROUPS
        return {"loss": loss}


def grid(across: int, down: int) -> Tensor:
    """The middles of the cells of a grid, `(across * down, 2)`: x and y in fractions of the picture.

    Example:
        >>> grid(2, 1)
        tensor([[0.2500, 0.5000],
                [0.7500, 0.5000]])
    """
    y, x = torch.meshgrid((torch.arange(down) + 0.5) / down, (torch.arange(across) + 0.5) / across, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def encoded(points: Tensor, width: int) -> Tensor:
    """Points `(points, 2)` as DETR encodes the positions of patches, `(points, width)`."""
    half = width // 2
    wavelengths = 10_000 ** (2 * torch.arange(half).div(2, rounding_mode="floor").float() / half)
    angles = points.flip(1)[..., None] * 2 * math.pi / wavelengths  # (points, 2, half): of the row, of the column
    return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], -1).flatten(1)


def fit(
    model: nn.Module,
    stage: str,
    optimizer: torch.optim.Optimizer,
    scenes: SceneDataset,
    work: Path,
    seed: int,
    quick: bool,
) -> None:
    """Train a stage."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    arguments = TrainingArguments(
        str(work / stage),
        max_steps=3 if quick else STEPS[stage],
        per_device_train_batch_size=BATCH,
        learning_rate=RATE[stage],
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        max_grad_norm=5.0,
        save_strategy="no",
        logging_steps=100,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=seed,
    )
    train(Trainer(model, arguments, data_collator=collate, train_dataset=scenes, optimizers=(optimizer, None)))
    model.cpu().eval()


def trained(scenes: SceneDataset, work: Path, clock: Clock, seed: int, quick: bool) -> DetrForObjectDetection:
    """The detector, trained with a seed, or read from `work` if it is there."""
    set_seed(seed)
    config = detector_config()
    detector = DetrForObjectDetection(config)
    kept = work / f"detector-{seed}.pt"
    if kept.exists():
        detector.load_state_dict(torch.load(kept, weights_only=True))
        return detector.eval()
    with clock(f"backbone {seed}"):
        backbone = BackboneTraining(config.backbone_config)
        optimizer = torch.optim.AdamW(backbone.parameters(), RATE["backbone"], weight_decay=0.05)
        fit(backbone, "backbone", optimizer, scenes, work, seed, quick)
    with clock(f"detector {seed}"):
        inner = detector.model.backbone.conv_encoder["model"]
        learned = backbone.backbone.state_dict()
        inner.load_state_dict({name: learned[name] for name in inner.state_dict()})
        inner.requires_grad_(True)
        training = DetectorTraining(detector)
        muon = MuonWithAdamW(training, RATE["detector"], weight_decay=0.05)
        fit(training, "detector", muon, scenes, work, seed, quick)
    torch.save(detector.state_dict(), kept)
    return detector


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
        MissingDependencyError: scipy, which matching and the baseline need, is not installed, or the data cannot be fetched.
    """
    recipe = SceneRecipe(SIZE, trained, processor, measure, "mAP", baselines, picture, model_card)
    return recipe.build(output, quick, work)


def processor() -> DetrImageProcessor:
    """The image processor of the checkpoint: any picture becomes a square of `SIZE`."""
    size = {"height": SIZE, "width": SIZE}
    return DetrImageProcessor(size=size, image_mean=[MEAN] * 3, image_std=[SPREAD] * 3)


def measure(folder: Path, test: SceneDataset) -> dict[str, Any]:
    """mAP of a saved checkpoint, the average precision of each class, and how often answers above 0.5 are right."""
    detect = pipeline("object-detection", model=str(folder), device="cpu")
    found = [as_found(answers) for answers in detect(list(test.images), threshold=0.0)]
    mean, each = mean_average_precision(found, test.things, len(LABELS))
    one_class = [Found(one.scores, 0 * one.labels, one.boxes) for one in found]
    places, _ = mean_average_precision(one_class, [(0 * labels, boxes) for labels, boxes in test.things], 1)
    sure = [one.above(0.5) for one in found]
    right = sum(len(matched(one, truth)) for one, truth in zip(sure, test.things, strict=True))
    return {
        "mAP": mean,
        "classes": dict(zip(LABELS, each, strict=True)),
        "places": places,
        "recall": right / sum(len(labels) for labels, _ in test.things),
        "precision": right / max(1, sum(len(one.labels) for one in sure)),
    }


def baselines(learned: SceneDataset, test: SceneDataset) -> dict[str, float]:
    """mAP of methods without a network."""
    colors = ColorBaseline(learned.images[:1500], learned.semantic[:1500])
    mean_box = mean_boxes(learned.things, len(LABELS))
    answers = {
        "color thresholds, connected components": [colors.detect(image) for image in test.images],
        "the mean box of each class": [mean_box] * len(test),
    }
    return {name: mean_average_precision(found, test.things, len(LABELS))[0] for name, found in answers.items()}


def picture(folder: Path, make: SceneMaker) -> Image.Image:
    """Scenes that may be published with the answers of a checkpoint, from the best to the worst."""
    detect = pipeline("object-detection", model=str(folder), device="cpu")
    scenes = [make(seed) for seed in range(PICTURED)]
    answers = detect([scene.image for scene in scenes])
    qualities = []
    for scene, answer in zip(scenes, answers, strict=True):
        right = len(matched(as_found(answer), (scene.labels, scene.boxes)))
        qualities.append(2 * right / max(1, len(answer) + len(scene.labels)))
    return contact_sheet([with_boxes(scenes[index].image, answers[index]) for index in evenly(qualities, 12)], 4)


def as_found(answers: list[dict[str, Any]]) -> Found:
    """The answers of the pipeline for one picture."""
    return Found(
        np.array([answer["score"] for answer in answers]),
        np.array([LABELS.index(answer["label"]) for answer in answers], np.int64),
        np.array([[answer["box"][edge] for edge in EDGES] for answer in answers], np.float32).reshape(-1, 4),
    )
