"""Scenes with a known truth: things pasted onto photographs, with their boxes and masks.

A scene shows two to five cut-out things, which differ in size, angle and light, hide parts of each other, and cast shadows. The
alpha channel of a cut-out is its true mask. A scene depends on its seed alone, so training needs no files and no labels drawn by hand.

Paste augmentation goes back to Dwibedi et al., Cut, Paste and Learn, 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

__all__ = ["Cutout", "Scene", "SceneMaker", "box_of"]

VISIBLE = 0.65
"""The share of each thing that neither other things nor the border may hide."""
_TRIES = 12
_OUTSIDE = 0.12  # the share of a thing's length that may lie outside of the scene


@dataclass(frozen=True, slots=True)
class Cutout:
    """A thing that can be pasted.

    Attributes:
        label: Index of its class.
        pixels: `(height, width, 4)` uint8, red, green, blue and alpha, cropped to the thing.
    """

    label: int
    pixels: np.ndarray


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and what it shows, things from back to front.

    Attributes:
        image: `(size, size, 3)` uint8.
        labels: `(things,)` int64, the class of each.
        boxes: `(things, 4)` float32: left, top, right and bottom of the visible part in pixels; right and bottom are exclusive.
        masks: `(things, size, size)` bool: the visible part of each. No pixel belongs to two.
        semantic: `(size, size)` uint8: 0 for background, otherwise the label + 1.
    """

    image: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    semantic: np.ndarray


@dataclass(slots=True)
class _Placed:
    """A thing in a scene: its mask, of which other things hide parts, and its area before they did."""

    label: int
    mask: np.ndarray
    area: int


class SceneMaker:
    """Makes any number of scenes from cut-outs and photographs.

    Args:
        cutouts: The things. A class is drawn with a probability that grows with the square root of its number of cut-outs,
            which are drawn with equal probabilities.
        backgrounds: Photographs, `(height, width, 3)` uint8 each, of which a square part becomes the background.
        size: Width and height of a scene in pixels.
        counts: The least and the greatest number of things; a thing for which no place is found is left out.
        sizes: The least and the greatest length of a thing's longer side, as a share of the scene's.
        stream: Scenes of another stream differ for the same seed: use one for training and another for tests.
        recolor: The share of things and photographs whose colors are mixed at random, so that a model also learns shapes.

    Example:
        >>> red = np.zeros((20, 30, 4), np.uint8); red[..., [0, 3]] = 255
        >>> make = SceneMaker([Cutout(0, red)], [np.full((80, 60, 3), 128, np.uint8)], size=64)
        >>> scene = make(seed=1)
        >>> scene.image.shape, len(scene.labels) == len(scene.boxes) == len(scene.masks) >= 1
        ((64, 64, 3), True)
        >>> bool((make(1).image == scene.image).all())
        True
    """

    def __init__(
        self,
        cutouts: Sequence[Cutout],
        backgrounds: Sequence[np.ndarray],
        size: int = 128,
        counts: tuple[int, int] = (2, 5),
        sizes: tuple[float, float] = (0.28, 0.56),
        stream: int = 0,
        recolor: float = 0.0,
    ) -> None:
        self.size, self.counts, self.sizes, self.stream, self.recolor = size, counts, sizes, stream, recolor
        self.by_class: dict[int, list[list[Image.Image]]] = {}
        for cutout in cutouts:
            image = Image.fromarray(cutout.pixels).convert("RGBa")  # colors times alpha, as scaling needs them
            levels = [_fitted(image, size * sizes[1] * share) for share in (1, 0.75, 0.55)]
            self.by_class.setdefault(cutout.label, []).append(levels)
        self.classes = sorted(self.by_class)
        weights = np.sqrt([len(self.by_class[label]) for label in self.classes])
        self.cumulated = np.cumsum(weights / weights.sum())
        self.backgrounds = [Image.fromarray(pixels) for pixels in backgrounds]
        self.noise = np.random.default_rng(0).standard_normal(4 * size * size * 3).astype(np.float32)

    def __call__(self, seed: int) -> Scene:
        """The scene of a seed."""
        chance = np.random.default_rng([self.stream, seed])
        canvas = self._background(chance)
        placed: list[_Placed] = []
        for _ in range(chance.integers(self.counts[0], self.counts[1] + 1)):
            label = self.classes[min(int(np.searchsorted(self.cumulated, chance.random())), len(self.classes) - 1)]
            thing = self._thing(label, chance)
            place = self._place(thing[..., 3] > 127, placed, chance)
            if place is not None:
                self._shadow(canvas, thing[..., 3], place, chance)
                placed.append(self._paste(canvas, thing, place, label, placed))
        return self._scene(self._photographed(canvas, chance), placed)

    def _scene(self, image: np.ndarray, placed: list[_Placed]) -> Scene:
        semantic = np.zeros((self.size, self.size), np.uint8)
        for thing in placed:
            semantic[thing.mask] = thing.label + 1
        return Scene(
            image,
            np.array([thing.label for thing in placed], np.int64),
            np.array([box_of(thing.mask) for thing in placed], np.float32).reshape(-1, 4),
            np.array([thing.mask for thing in placed], bool).reshape(-1, self.size, self.size),
            semantic,
        )

    # Steps: pictures are float32 from 0 to 255 here --------------------------------------------------------------------

    def _background(self, chance: np.random.Generator) -> np.ndarray:
        """A square part of a photograph, mirrored half of the time, in another light."""
        photograph = self.backgrounds[chance.integers(len(self.backgrounds))]
        side = chance.uniform(0.5, 1.0) * min(photograph.size)
        left, top = (chance.uniform(0, length - side) for length in photograph.size)
        box = (left, top, left + side, top + side)
        part = photograph.resize((self.size, self.size), Image.Resampling.BILINEAR, box, reducing_gap=1.5)
        pixels = np.asarray(part)[:, :: chance.choice([-1, 1])] * _light(chance, 0.2) + np.float32(chance.normal(0, 8))
        return self._recolored(pixels, chance)

    def _thing(self, label: int, chance: np.random.Generator) -> np.ndarray:
        """A cut-out of a class, mirrored half of the time, turned, scaled, in another light; its colors are times alpha."""
        choices = self.by_class[label]
        levels = choices[chance.integers(len(choices))]
        length = self.size * chance.uniform(*self.sizes)
        level = next((one for one in reversed(levels) if max(one.size) >= length), levels[0])
        angle = math.radians(chance.normal(0, 14))
        thing = np.asarray(_turned(level, length / max(level.size), angle, chance.random() < 0.5), np.float32)
        colors = self._recolored(thing[..., :3] * _light(chance, 0.18), chance)
        alpha = thing[..., 3:]
        return _cropped(np.concatenate([np.minimum(colors, alpha), alpha], -1))

    def _recolored(self, pixels: np.ndarray, chance: np.random.Generator) -> np.ndarray:
        """Some pictures with their colors mixed with those of the same picture whose red, green and blue are permuted."""
        if chance.random() >= self.recolor:
            return pixels
        share = np.float32(chance.random())
        return pixels * (1 - share) + pixels[..., chance.permutation(3)] * share

    def _place(self, solid: np.ndarray, placed: list[_Placed], chance: np.random.Generator) -> tuple[int, int] | None:
        """Left and top of a place where enough of this and of all earlier things remains visible; None if none is found."""
        whole = solid.sum()
        height, width = solid.shape
        if not whole:
            return None
        for _ in range(_TRIES):
            left, top = (
                round(chance.uniform(-_OUTSIDE * length, self.size - (1 - _OUTSIDE) * length))
                for length in (width, height)
            )
            inside, covered = self._overlap(left, top, solid.shape)
            part = solid[inside]
            if part.sum() >= VISIBLE * whole and all(
                thing.mask.sum() - (thing.mask[covered] & part).sum() >= VISIBLE * thing.area for thing in placed
            ):
                return left, top
        return None

    def _overlap(self, left: int, top: int, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Rows and columns of the part of a thing that lies inside the scene, and those of the scene that it covers."""
        height, width = shape[:2]
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, self.size), min(top + height, self.size)
        return (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)), (slice(y0, y1), slice(x0, x1))

    def _shadow(
        self, canvas: np.ndarray, alpha: np.ndarray, place: tuple[int, int], chance: np.random.Generator
    ) -> None:
        """Darken the surroundings of most things, on one side."""
        if chance.random() < 0.4:
            return
        blur = max(1, self.size // 48)
        shadow = Image.fromarray(np.pad(alpha * chance.uniform(0.2, 0.55), 2 * blur).astype(np.uint8))
        shade = np.asarray(shadow.filter(ImageFilter.BoxBlur(blur)), np.float32) / 255
        right, down = (round(chance.uniform(low, 0.04) * self.size) for low in (-0.04, 0.0))
        inside, covered = self._overlap(place[0] - 2 * blur + right, place[1] - 2 * blur + down, shade.shape)
        canvas[covered] *= 1 - shade[inside][..., None]

    def _paste(
        self, canvas: np.ndarray, thing: np.ndarray, place: tuple[int, int], label: int, placed: list[_Placed]
    ) -> _Placed:
        """Draw a thing in front of the others."""
        inside, covered = self._overlap(*place, thing.shape)
        part = thing[inside]
        canvas[covered] = canvas[covered] * (1 - part[..., 3:] / 255) + part[..., :3]
        solid = part[..., 3] > 127
        for earlier in placed:
            earlier.mask[covered] &= ~solid
        mask = np.zeros((self.size, self.size), bool)
        mask[covered] = solid
        return _Placed(label, mask, int((thing[..., 3] > 127).sum()))

    def _photographed(self, canvas: np.ndarray, chance: np.random.Generator) -> np.ndarray:
        """The picture with the noise of a camera, uint8."""
        start = chance.integers(len(self.noise) - canvas.size)
        noise = self.noise[start : start + canvas.size].reshape(canvas.shape)
        return (canvas + noise * np.float32(abs(chance.normal(0, 5))) + 0.5).clip(0, 255).astype(np.uint8)


def _fitted(image: Image.Image, longest: float) -> Image.Image:
    """An image scaled down so that its longer side has this length in pixels, if it is longer."""
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _turned(image: Image.Image, scale: float, angle: float, mirrored: bool) -> Image.Image:
    """An image scaled, and rotated by an angle in radians, in a frame that contains it."""
    (width, height), cosine, sine = image.size, math.cos(angle), math.sin(angle)
    w = scale * (width * abs(cosine) + height * abs(sine))
    h = scale * (width * abs(sine) + height * abs(cosine))
    right = -1 if mirrored else 1
    a, b, c, d = right * cosine / scale, right * sine / scale, -sine / scale, cosine / scale
    matrix = (a, b, width / 2 - a * w / 2 - b * h / 2, c, d, height / 2 - c * w / 2 - d * h / 2)
    size = (max(1, math.ceil(w)), max(1, math.ceil(h)))
    return image.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _light(chance: np.random.Generator, spread: float) -> np.ndarray:
    """Factors of red, green and blue for another light, `(3,)`."""
    return np.exp(chance.normal(0, spread) + chance.normal(0, spread / 4, 3)).astype(np.float32)


def _cropped(thing: np.ndarray) -> np.ndarray:
    if not (thing[..., 3] > 127).any():
        return thing
    left, top, right, bottom = box_of(thing[..., 3] > 0)
    return thing[top:bottom, left:right]


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is true in a mask; the last two are exclusive."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
