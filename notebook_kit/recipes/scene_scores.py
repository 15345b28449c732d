"""How good answers about scenes are, and what simple methods without a network reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from notebook_kit.errors import MissingDependencyError
from notebook_kit.recipes.scenes import box_of

__all__ = [
    "ColorBaseline",
    "Found",
    "average_precision",
    "box_iou",
    "confusion",
    "matched",
    "mean_average_precision",
    "mean_boxes",
    "mean_iou",
]


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector found in one picture.

    Attributes:
        scores: `(objects,)`, larger for answers that are more certain.
        labels: `(objects,)`.
        boxes: `(objects, 4)`: left, top, right and bottom in pixels.
    """

    scores: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray

    def of(self, label: int) -> Found:
        """The objects of one class, the most certain first."""
        chosen = np.flatnonzero(self.labels == label)
        chosen = chosen[np.argsort(-self.scores[chosen], kind="stable")]
        return Found(self.scores[chosen], self.labels[chosen], self.boxes[chosen])

    def above(self, threshold: float) -> Found:
        """The objects with larger scores."""
        chosen = self.scores > threshold
        return Found(self.scores[chosen], self.labels[chosen], self.boxes[chosen])


# Boxes -----------------------------------------------------------------------------------------------------------------


def box_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The overlap of each box with each other one, from 0 to 1: `(n, 4)` and `(m, 4)` to `(n, m)`.

    Example:
        >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])).round(2).tolist()
        [[1.0, 0.33, 0.0]]
    """
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (high - low).clip(0).prod(-1)
    area, other_area = ((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(-1) for boxes in (one, other))
    return both / np.maximum(area[:, None] + other_area[None] - both, 1e-9)


def average_precision(found: Sequence[Found], truths: Sequence[tuple[np.ndarray, np.ndarray]], label: int) -> float:
    """The area under the curve of precision and recall of one class, at an overlap of 0.5; nan if no picture shows it.

    An answer is right if it overlaps a thing of its class that no more certain answer has claimed by at least half. Precision
    is taken as the best at this or any larger recall, as in PASCAL VOC since 2010.

    Args:
        found: The answers for each picture.
        truths: Labels `(things,)` and boxes `(things, 4)` of each picture.
        label: The class.
    """
    answers: list[tuple[float, bool]] = []
    total = 0
    for picture, (labels, boxes) in zip(found, truths, strict=True):
        own, things = picture.of(label), boxes[labels == label]
        overlaps = box_iou(own.boxes, things)
        total += len(things)
        for score, row in zip(own.scores, overlaps, strict=True):
            best = int(row.argmax()) if len(row) else -1
            right = best >= 0 and row[best] >= 0.5
            answers.append((float(score), bool(right)))
            if right:
                overlaps[:, best] = -1  # claimed
    if not total:
        return float("nan")
    answers.sort(key=lambda answer: -answer[0])
    right_so_far = np.cumsum([right for _, right in answers])
    precision = right_so_far / np.arange(1, len(answers) + 1)
    best_later = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(right_so_far, prepend=0) / total
    return float((best_later * steps).sum())


def matched(found: Found, truth: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    """Pairs of an answer and a thing of its class that it overlaps by at least half, each in one pair at most.

    Example:
        >>> box = np.array([[0.0, 0.0, 9.0, 9.0]])
        >>> matched(Found(np.array([0.9]), np.array([1]), box), (np.array([2, 1]), np.concatenate([box, box])))
        [(0, 1)]
    """
    labels, boxes = truth
    overlaps = box_iou(found.boxes, boxes) * (found.labels[:, None] == labels[None])
    pairs = []
    for answer in np.argsort(-found.scores, kind="stable"):
        thing = int(overlaps[answer].argmax()) if len(labels) else 0
        if len(labels) and overlaps[answer, thing] >= 0.5:
            overlaps[:, thing] = 0
            pairs.append((int(answer), thing))
    return pairs


def mean_average_precision(
    found: Sequence[Found], truths: Sequence[tuple[np.ndarray, np.ndarray]], classes: int
) -> tuple[float, list[float]]:
    """mAP at 0.5, and the average precision of each class; see `average_precision`.

    Example:
        >>> box = np.array([[0.0, 0.0, 9.0, 9.0]])
        >>> mean_average_precision([Found(np.array([0.9]), np.array([1]), box)], [(np.array([1]), box)], 2)[0]
        1.0
    """
    each = [average_precision(found, truths, label) for label in range(classes)]
    return float(np.nanmean(each)), each


# Pixels ----------------------------------------------------------------------------------------------------------------


def confusion(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """How many pixels of each true class (rows) have each predicted class (columns), `(classes, classes)`.

    Example:
        >>> confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    pairs = truth.astype(np.int64).ravel() * classes + predicted.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def mean_iou(counts: np.ndarray) -> tuple[float, list[float]]:
    """The mean over the classes of (pixels rightly predicted) / (pixels of the class or predicted to be), and that of each.

    Example:
        >>> mean_iou(np.array([[1, 1], [0, 1]]))
        (0.5, [0.5, 0.5])
    """
    right = counts.diagonal()
    with np.errstate(invalid="ignore"):
        each = right / (counts.sum(0) + counts.sum(1) - right)
    return float(np.nanmean(each)), each.tolist()


# Without a network -------------------------------------------------------------------------------------------------------


class ColorBaseline:
    """Colors instead of a network: regions that differ from the picture's border, named after things with similar colors.

    A region is connected pixels whose color lies more than a threshold from the border's. Its name is that of the most similar
    things of training scenes, by the mean and the spread of red, green and blue; its score is their share.

    Args:
        images: Training scenes, `(scenes, height, width, 3)` uint8.
        semantic: Their true classes, `(scenes, height, width)`, 0 for background.

    Raises:
        MissingDependencyError: If scipy is not installed.
    """

    threshold, least, neighbors = 2.5, 0.01, 15

    def __init__(self, images: np.ndarray, semantic: np.ndarray) -> None:
        try:
            from scipy import ndimage, spatial
        except ImportError as error:
            raise MissingDependencyError(
                "The baseline of tiny-detection and tiny-segmentation needs scipy, which is not installed.",
                next_step="pip install 'notebook_kit[vision]'",
            ) from error
        self.ndimage = ndimage
        colors, labels = [], []
        for image, classes in zip(images, semantic, strict=True):
            for value in np.unique(classes[classes > 0]):
                colors.append(_colors(image, classes == value))
                labels.append(int(value) - 1)
        self.labels = np.array(labels)
        self.tree = spatial.cKDTree(np.array(colors))

    def regions(self, image: np.ndarray) -> list[np.ndarray]:
        """Masks of the regions of a picture, `(height, width)`, the largest first."""
        pixels = self.ndimage.uniform_filter(image.astype(np.float32), (3, 3, 1))
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        distance = np.linalg.norm((pixels - np.median(border, 0)) / (border.std(0) + 12), axis=-1)
        numbers, count = self.ndimage.label(self.ndimage.binary_opening(distance > self.threshold))
        masks = [numbers == number for number in range(1, count + 1)]
        return sorted((mask for mask in masks if mask.mean() >= self.least), key=lambda mask: -int(mask.sum()))

    def name(self, image: np.ndarray, mask: np.ndarray) -> tuple[int, float]:
        """The label of a region, and its score."""
        nearest = np.atleast_1d(self.tree.query(_colors(image, mask), min(self.neighbors, len(self.labels)))[1])
        votes = np.bincount(self.labels[nearest])
        return int(votes.argmax()), float(votes.max() / votes.sum())

    def detect(self, image: np.ndarray) -> Found:
        """The regions as boxes."""
        masks = self.regions(image)
        named = [self.name(image, mask) for mask in masks]
        return Found(
            np.array([score for _, score in named]),
            np.array([label for label, _ in named], np.int64),
            np.array([box_of(mask) for mask in masks], np.float32).reshape(-1, 4),
        )

    def segment(self, image: np.ndarray) -> np.ndarray:
        """The class of each pixel, `(height, width)`, 0 for background."""
        classes = np.zeros(image.shape[:2], np.uint8)
        for mask in self.regions(image):
            classes[mask] = self.name(image, mask)[0] + 1
        return classes


def _colors(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    pixels = image[mask].astype(np.float32)
    return np.concatenate([pixels.mean(0), pixels.std(0)])


def mean_boxes(truths: Sequence[tuple[np.ndarray, np.ndarray]], classes: int) -> Found:
    """The mean box of each class, as the answer for every picture; the score is the class's frequency."""
    labels = np.concatenate([labels for labels, _ in truths])
    boxes = np.concatenate([boxes for _, boxes in truths])
    present = [label for label in range(classes) if (labels == label).any()]
    return Found(
        np.array([(labels == label).mean() for label in present]),
        np.array(present),
        np.array([boxes[labels == label].mean(0) for label in present]),
    )
