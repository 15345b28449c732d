"""The recipe of `notebook-kit/tiny-things`.

1. The teacher, EfficientNet-Lite0 (4.7 million parameters, trained on the photographs of ImageNet), describes each cut-out thing
   with a vector: those of the classes, and some 1,000 others, whose names are not used.
2. The student, a small ViT, learns the class of a thing and the teacher's vector of it, whatever the size, the angle, the
   colours and the background of the thing in a picture. Each picture is painted for one step and is never seen again.
3. At first the student sees only half of the patches of each picture, which takes half the time.
4. A temperature is fitted on the validation photographs, so that scores are calibrated probabilities.
5. The saved checkpoint and the baselines are measured once on held-out photographs, a held-out style of emoji, and held-out
   backgrounds, for the model card. The measurement is repeated for two more students with other random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from notebook_kit.models.vit import ViTConfig, ViTForImageClassification
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.image.classes import ViTImageProcessor
from notebook_kit.recipes.efficientnet_lite import EfficientNetLite0
from notebook_kit.recipes.shared import SEEDS, Clock, best_temperature, for_each_seed, train_in_order, work_folder
from notebook_kit.recipes.things_data import (
    HELD_OUT_STYLE,
    LABELS,
    Background,
    Thing,
    backgrounds,
    other_things,
    things,
)
from notebook_kit.recipes.tiny_things_card import model_card
from notebook_kit.recipes.tiny_things_pictures import SIDE, Album, Painter, on_grey
from notebook_kit.training import set_seed

__all__ = ["VECTOR", "Data", "Exam", "Pictures", "baselines", "build", "data_of", "exams_of", "teacher_vectors"]

STUDENT: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "image_size": SIDE,
    "patch_size": 8,
}
BATCH, STEPS, RATE = 64, 1800, 3e-3
ALL_PATCHES = 0.75  # from this share of the steps on, the student sees all patches
OTHERS = 0.25  # the share of pictures of things that belong to no class
VECTOR = 128  # numbers in the teacher's vectors
CLOSENESS = 4.0  # weight of the distance from the teacher's vectors
TEACHER_SIDE = 128  # pixels
SMOOTHING = 0.05


@dataclass(frozen=True, slots=True)
class Data:
    """The things, the other things and the backgrounds."""

    things: list[Thing]
    others: list[np.ndarray]
    backgrounds: list[Background]

    def album(self, part: str, style: str | None = None, behind: str | None = None) -> Album:
        """The things of a part, of one style or of all, with the backgrounds of the part `behind`."""
        chosen = [each for each in self.things if each.part == part and style in (None, each.style)]
        return Album.of(chosen, [each for each in self.backgrounds if each.part == (behind or part)])


def build(output: Path, quick: bool = False, work: Path | None = None) -> dict[str, Any]:
    """Train the checkpoint, measure it, and write it with its model card.

    Args:
        output: The folder to write.
        quick: Train on a few things for a few steps, to check that everything works. The result is useless.
        work: A folder that keeps the teacher's vectors and the students. Existing results are reused.

    Returns:
        The measurements in the model card.

    Raises:
        MissingDependencyError, HubUnreachableError, CheckpointError: As in `notebook_kit.recipes.things_data.things`.
    """
    output = Path(output)
    with work_folder(work) as folder:
        return _build(output, quick, folder)


def _build(output: Path, quick: bool, work: Path) -> dict[str, Any]:
    clock = Clock(work / "seconds.json")
    data = data_of(quick)
    with clock("teacher", work / "vectors.pt"):
        vectors = teacher_vectors(data, work)
    exams = exams_of(data, times=1 if quick else 25)

    def one(seed: int, folder: Path) -> dict[str, Any]:
        with clock(f"student {seed}", work / f"student-{seed}.pt"):
            student = trained(data, vectors, seed, work, quick)
        temperature = _calibrate(student, data, count=40 if quick else 2000)
        student.half().save_pretrained(folder)
        _processor().save_pretrained(folder)
        return _measure(folder, exams) | {"temperature": temperature, "parameters": student.num_parameters()}

    reports = for_each_seed(SEEDS, output, work, quick, one)
    report: dict[str, Any] = {"seeds": reports, "seconds": clock.seconds, "threads": torch.get_num_threads()}
    report |= {
        "baselines": baselines(data, exams, count=50 if quick else 10_000),
        "quick": quick,
        "others": len(data.others),
    }
    report |= {"parameters": reports[0]["parameters"], "bytes": (output / "model.safetensors").stat().st_size}
    report |= {"shape": STUDENT, "things": [(each.label, each.style, each.part) for each in data.things]}
    (output / "README.md").write_text(model_card(report), encoding="utf-8")
    return report


def data_of(quick: bool) -> Data:
    data = Data(things(), other_things(), backgrounds())
    if not quick:
        return data
    few = [each for each in data.things if each.part != "train" or each.style == "google"]
    return Data(few, data.others[:8], data.backgrounds)


# The teacher ---------------------------------------------------------------------------------------------------------


def teacher_vectors(data: Data, work: Path) -> Tensor:
    """The teacher's vectors of the training things, then of the other things: `(things, VECTOR)`, with variance 1 on average."""
    kept = work / "vectors.pt"
    if kept.exists():
        return torch.load(kept, weights_only=True)
    teacher = EfficientNetLite0.pretrained()
    images = [each.image for each in data.things if each.part == "train"] + data.others
    with torch.inference_mode():
        found = torch.cat(
            [
                teacher.vectors(torch.stack([on_grey(image, TEACHER_SIDE) for image in images[start : start + 16]]))
                for start in range(0, len(images), 16)
            ]
        )
    vectors = _principal(found.clone(), VECTOR)
    torch.save(vectors, kept)
    return vectors


def _principal(vectors: Tensor, count: int) -> Tensor:
    """The first principal components, the small ones raised a little, and scaled to a variance of 1 on average."""
    centred = vectors - vectors.mean(0)
    _, scales, directions = torch.linalg.svd(centred, full_matrices=False)
    components = centred @ directions[:count].T / scales[:count].sqrt()
    return F.pad(components / components.std(), (0, count - components.shape[1]))


# The student ---------------------------------------------------------------------------------------------------------


class Distillation(nn.Module):
    """The student with a layer that maps its state to the teacher's vector. Only the student is saved."""

    def __init__(self, student: ViTForImageClassification) -> None:
        super().__init__()
        self.student = student
        self.compare = nn.Linear(student.config.hidden_size, VECTOR)

    def forward(self, pixel_values: Tensor, labels: Tensor, vectors: Tensor, patches: Tensor) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            pixel_values: `(batch, 3, SIDE, SIDE)`.
            labels: `(batch,)`, -1 for a thing of no class.
            vectors: `(batch, VECTOR)`, the teacher's.
            patches: `(batch, some)`: the numbers of the patches that are seen.
        """
        vit = self.student.vit
        x = vit.embeddings(pixel_values, None, False)  # (batch, 1 + patches, width)
        seen = torch.cat([torch.zeros_like(patches[:, :1]), patches + 1], 1)
        x = x.gather(1, seen[..., None].expand(-1, -1, x.shape[-1]))
        state = vit.layernorm(vit.encoder(x, None)[0])[:, 0]
        logits = self.student.classifier(state)
        answer = F.cross_entropy(logits[labels >= 0], labels[labels >= 0], label_smoothing=SMOOTHING)
        return {"loss": answer + CLOSENESS * F.mse_loss(self.compare(state), vectors), "logits": logits}


class Pictures(Dataset[dict[str, Tensor]]):
    """One batch per step, each with its own random numbers, so that an interrupted training continues with the same ones."""

    def __init__(self, data: Data, vectors: Tensor, seed: int, steps: int, batch: int) -> None:
        self.album = data.album("train").with_others(data.others, OTHERS)
        self.vectors, self.seed, self.steps, self.batch = vectors, seed, steps, batch

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        painter = Painter(self.album, seed=self.seed * 1_000_000 + step)
        chosen = painter.choose(self.batch)
        seen = 1.0 if step >= ALL_PATCHES * self.steps else 0.5
        count = (SIDE // STUDENT["patch_size"]) ** 2
        order = torch.rand(self.batch, count, generator=painter.chance).argsort(1)
        return {
            "pixel_values": 2 * painter.paint(chosen) - 1,
            "labels": self.album.labels[chosen],
            "vectors": self.vectors[chosen],
            "patches": order[:, : int(seen * count)],
        }


def trained(data: Data, vectors: Tensor, seed: int, work: Path, quick: bool) -> ViTForImageClassification:
    set_seed(seed)
    names = dict(enumerate(LABELS))
    labels: dict[str, Any] = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    config = ViTConfig(**STUDENT, **labels)
    student = ViTForImageClassification(config)
    kept = work / f"student-{seed}.pt"
    if kept.exists():
        student.load_state_dict(torch.load(kept, weights_only=True))
        return student.eval()
    steps, batch = (2, 8) if quick else (STEPS, BATCH)
    pictures = Pictures(data, vectors, seed, steps, batch)
    _start(student, pictures.album)
    pair = Distillation(student)
    train_in_order(pair, pictures, RATE, work / f"training-{seed}", seed)  # the last batches have all patches
    torch.save(student.state_dict(), kept)
    return student.eval()


def _start(student: ViTForImageClassification, album: Album) -> None:
    """Start with embeddings that separate patches and places: principal components of patches, whitened, and sines and cosines.

    Random filters would mostly see the brightness of a patch. This start takes the place of many steps.
    """
    painter = Painter(album, seed=0)
    embeddings = student.vit.embeddings
    side = STUDENT["patch_size"]
    weight, bias = embeddings.patch_embeddings.projection.parameters()
    patches = F.unfold(2 * painter.paint(painter.choose(300)) - 1, side, stride=side).transpose(1, 2).flatten(0, 1)
    mean, width = patches.mean(0), STUDENT["hidden_size"]
    scales, directions = torch.linalg.eigh(torch.cov(patches.T))  # the largest last
    filters = 0.5 * directions.T[-width:] / (scales[-width:, None] + 0.01 * scales.mean()).sqrt()
    with torch.no_grad():
        weight.copy_(filters.view_as(weight))
        bias.copy_(-filters @ mean)
        embeddings.position_embeddings[0, 1:].copy_(0.5 * _places(SIDE // side, width))


def _places(side: int, width: int) -> Tensor:
    """Sines and cosines of the row and of the column of each patch, `(side * side, width)`."""
    rates = torch.logspace(0, -1, width // 4)  # radians per patch: from one to a tenth
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [place.reshape(-1, 1) * rates for place in (row, column)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)


def _processor() -> ViTImageProcessor:
    size = {"height": SIDE, "width": SIDE}
    return ViTImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def _calibrate(student: ViTForImageClassification, data: Data, count: int) -> float:
    """Fit a temperature, and fold it into the last layer."""
    album = data.album("validation", behind="train")
    painter = Painter(album, seed=0)
    chosen = painter.choose(count)
    with torch.inference_mode():
        logits = torch.cat([student(2 * painter.paint(some) - 1).logits for some in chosen.split(100)])
    temperature = best_temperature(logits, album.labels[chosen])
    with torch.no_grad():
        for parameter in student.classifier.parameters():
            parameter.div_(temperature)
    return temperature


# Measurements --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exam:
    """Pictures of held-out things, each several times, on held-out backgrounds; the same for all that are measured."""

    pictures: Tensor  # (pictures, 3, SIDE, SIDE) float32 from 0 to 1
    labels: Tensor  # (pictures,)
    things: Tensor  # (pictures,): the number of the thing

    @classmethod
    def of(cls, album: Album, times: int) -> Exam:
        """`times` pictures of each thing of an album."""
        painter = Painter(album, seed=2024)
        numbers = torch.arange(len(album.labels)).repeat(times)
        pictures = torch.cat([painter.paint(some) for some in numbers.split(100)])
        return cls(pictures, album.labels[numbers], numbers)

    def images(self) -> list[Image.Image]:
        """The pictures as a user has them."""
        pixels = (255 * self.pictures).round().byte().permute(0, 2, 3, 1).numpy()
        return [Image.fromarray(each) for each in pixels]


def exams_of(data: Data, times: int) -> dict[str, Exam]:
    return {style: Exam.of(data.album("test", style), times) for style in ("photograph", HELD_OUT_STYLE)}


def _measure(folder: Path, exams: dict[str, Exam]) -> dict[str, Any]:
    """The saved checkpoint's results: per style, the share of right answers, also among the first five, and by thing."""
    classify = pipeline("image-classification", model=str(folder), device="cpu", batch_size=100)
    report = {}
    for style, exam in exams.items():
        answers = classify(exam.images(), top_k=5)
        ranks = torch.tensor([[LABELS.index(each["label"]) for each in answer] for answer in answers])
        right = ranks == exam.labels[:, None]
        report[style] = {
            "accuracy": _share(right[:, 0]),
            "top 5": _share(right.any(1)),
            "by thing": [_share(right[exam.things == number, 0]) for number in exam.things.unique()],
            "confidence": float(np.mean([answer[0]["score"] for answer in answers])),
        }
    return report


def _share(right: Tensor) -> float:
    return float(right.float().mean())


def baselines(data: Data, exams: dict[str, Exam], count: int) -> dict[str, dict[str, float]]:
    """Style -> baseline -> accuracy of the nearest of `count` training pictures, by pixels and by colours."""
    album = data.album("train")
    painter = Painter(album, seed=0)
    chosen = painter.choose(count)
    known = torch.cat([painter.paint(some) for some in chosen.split(100)])
    report: dict[str, dict[str, float]] = {}
    for name, describe, norm in (("pixels", _pixels, 2.0), ("colour histograms", _histograms, 1.0)):
        descriptions = describe(known)
        for style, exam in exams.items():
            nearest = torch.cat(
                [torch.cdist(describe(some), descriptions, p=norm).argmin(1) for some in exam.pictures.split(100)]
            )
            guesses = album.labels[chosen][nearest]
            report.setdefault(style, {})[name] = _share(guesses == exam.labels)
    return report


def _pixels(pictures: Tensor) -> Tensor:
    return F.avg_pool2d(pictures, 2).flatten(1)


def _histograms(pictures: Tensor) -> Tensor:
    """The shares of 4 x 4 x 4 colours, `(pictures, 64)`."""
    levels = (4 * pictures).long().clamp(max=3)
    colours = (levels * torch.tensor([16, 4, 1])[:, None, None]).sum(1).flatten(1)
    counts = torch.zeros(len(pictures), 64).scatter_add_(1, colours, torch.ones(colours.shape))
    return counts / colours.shape[1]
