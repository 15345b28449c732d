"""Pictures of single things on photographs, any number of them, made in batches with torch.

A cut-out thing is scaled, rotated, sheared, mirrored and recoloured, casts a shadow onto a part of a photograph (or onto a plain
colour, as in a drawing or a shop's catalogue), and noise or a blur is added to the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F

from notebook_kit.recipes.things_data import LABELS, Background, Thing

__all__ = ["SIDE", "Album", "Painter", "on_grey"]

SIDE = 64
"""Height and width of a picture in pixels."""

PLAIN = 0.4  # the share of pictures with a plain background
SHADES = (0.299, 0.587, 0.114)  # luma of red, green and blue


@dataclass(frozen=True, slots=True)
class Album:
    """Things and backgrounds as tensors.

    Attributes:
        things: `(things, 4, SIDE, SIDE)` uint8: red, green and blue times opacity, and opacity. The longer side of a thing
            fills the square.
        labels: `(things,)` int64, numbers in `LABELS`; -1 for a thing of no class.
        weights: `(things,)` float64: how often each is drawn, relative to the others.
        backgrounds: Photographs, each `(3, height, width)` uint8, in three sizes.
    """

    things: Tensor
    labels: Tensor
    weights: Tensor
    backgrounds: list[Tensor]

    @classmethod
    def of(cls, things: Sequence[Thing], backgrounds: Sequence[Background], photographs: float = 0.5) -> Album:
        """Prepare things for a painter.

        Args:
            things: The things, of whichever part.
            backgrounds: The photographs, likewise.
            photographs: The share of pictures that show photographs, in classes that have some. Classes are equally
                frequent, and so are the other styles of a class.
        """
        labels = torch.tensor([LABELS.index(thing.label) for thing in things])
        return cls(
            torch.stack([_square(thing.image) for thing in things]),
            labels,
            torch.tensor(_weights(things, photographs), dtype=torch.float64),
            [picture for each in backgrounds for picture in _sizes(each.image)],
        )

    def with_others(self, images: Sequence[np.ndarray], share: float) -> Album:
        """An album with things of no class added at the end, which are this share of the pictures."""
        if not images:
            return self
        count = len(images)
        weights = torch.full((count,), share / count, dtype=torch.float64)
        return Album(
            torch.cat([self.things, torch.stack([_square(image) for image in images])]),
            torch.cat([self.labels, torch.full((count,), -1)]),
            torch.cat([self.weights / self.weights.sum() * (1 - share), weights]),
            self.backgrounds,
        )


def on_grey(image: np.ndarray, side: int) -> Tensor:
    """A cut-out thing in the middle of a grey square: `(3, side, side)` float32 from 0 to 1."""
    thing = _square(image, side, margin=side // 13).float() / 255
    return thing[:3] + 0.7 * (1 - thing[3:])


def _weights(things: Sequence[Thing], photographs: float) -> list[float]:
    counts: dict[tuple[str, str], int] = {}
    for thing in things:
        counts[thing.label, thing.style] = counts.get((thing.label, thing.style), 0) + 1
    weights = []
    for thing in things:
        styles = [style for label, style in counts if label == thing.label]
        others = len(styles) - ("photograph" in styles)
        if "photograph" not in styles:
            share = 1 / others
        elif thing.style == "photograph":
            share = photographs if others else 1.0
        else:
            share = (1 - photographs) / others
        weights.append(share / counts[thing.label, thing.style])
    return weights


def _square(image: np.ndarray, side: int = SIDE, margin: int = 0) -> Tensor:
    """`(height, width, 4)` to `(4, side, side)`, filled by the longer side but for a margin; colours times opacity."""
    height, width = image.shape[:2]
    scale = (side - 2 * margin) / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # RGBa is Pillow's name for colours multiplied by opacity, without which transparent pixels would colour the edges.
    small = (
        Image.fromarray(image, "RGBA")
        .convert("RGBa")
        .resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    )
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)
    canvas = torch.zeros(4, side, side, dtype=torch.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    canvas[:, top : top + size[1], left : left + size[0]] = pixels
    return canvas


def _sizes(image: np.ndarray) -> list[Tensor]:
    """A photograph with a shorter side of 1.2, 2 and 4 pictures."""
    found = []
    for side in (1.2 * SIDE, 2 * SIDE, 4 * SIDE):
        scale = side / min(image.shape[:2])
        size = (math.ceil(image.shape[1] * scale), math.ceil(image.shape[0] * scale))
        small = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
        found.append(torch.from_numpy(np.array(small)).permute(2, 0, 1))
    return found


class Painter:
    """Makes pictures of the things of an album. The same seed makes the same pictures.

    Args:
        album: What to paint.
        seed: The start of the random numbers.
    """

    def __init__(self, album: Album, seed: int) -> None:
        self.album = album
        self.chance = Generator().manual_seed(seed)

    def choose(self, count: int) -> Tensor:
        """The numbers of random things in the album, `(count,)` int64."""
        return torch.multinomial(self.album.weights, count, replacement=True, generator=self.chance)

    def paint(self, chosen: Tensor) -> Tensor:
        """Pictures of the things with these numbers: `(count, 3, SIDE, SIDE)` float32 from 0 to 1."""
        things = self.album.things[chosen].float() / 255
        things = F.grid_sample(things, self._placement(len(chosen)), align_corners=False)
        opacity = things[:, 3:]
        colour = self._recoloured(things[:, :3] / opacity.clamp(min=1e-3), hue=0.15)
        behind = self._recoloured(self._backgrounds(len(chosen)), hue=0.6)
        pictures = torch.lerp(self._shadowed(behind, opacity), colour, opacity)
        return self._photographed(pictures).clamp(0, 1)

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.chance) * (high - low) + low

    def _normal(self, deviation: float, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.chance) * deviation

    def _placement(self, count: int) -> Tensor:
        """Where in its square each pixel of a picture lies, `(count, SIDE, SIDE, 2)` from -1 to 1."""
        size = self._uniform(math.log(0.7), math.log(1.1), count).exp()
        stretch = self._normal(0.1, count).exp()
        angle = self._normal(0.15, count)
        mirror = self._uniform(-1, 1, count).sign()
        shear = self._normal(0.05, count)
        # The inverse of: scale, then shear and mirror, then rotate.
        cosine, sine = angle.cos(), angle.sin()
        first = torch.stack([cosine + shear * sine, sine - shear * cosine], -1) * (mirror / (size * stretch))[:, None]
        second = torch.stack([-sine, cosine], -1) * (stretch / size)[:, None]
        matrix = torch.stack([first, second], 1)
        shift = self._uniform(-1, 1, count, 2) * (1.1 - size)[:, None].clamp(min=0.05)
        offset = -(matrix @ shift[..., None])
        return F.affine_grid(torch.cat([matrix, offset], -1), [count, 1, SIDE, SIDE], align_corners=False)

    def _backgrounds(self, count: int) -> Tensor:
        which = torch.randint(len(self.album.backgrounds), (count,), generator=self.chance).tolist()
        places = torch.rand(count, 2, generator=self.chance).tolist()
        found = torch.empty(count, 3, SIDE, SIDE)
        for i, (number, (down, right)) in enumerate(zip(which, places, strict=True)):
            photograph = self.album.backgrounds[number]
            top = int(down * (photograph.shape[1] - SIDE + 1))
            left = int(right * (photograph.shape[2] - SIDE + 1))
            found[i] = photograph[:, top : top + SIDE, left : left + SIDE]
        found /= 255
        mirrored = torch.rand(count, generator=self.chance) < 0.5
        found[mirrored] = found[mirrored].flip(-1)
        plain = torch.rand(count, generator=self.chance) < PLAIN
        # Plain backgrounds are often light, as paper is.
        colours = self._uniform(0, 1, count, 3, 1, 1) ** self._uniform(0.05, 1.2, count, 1, 1, 1)
        return torch.where(plain[:, None, None, None], colours.expand_as(found), found)

    def _recoloured(self, pictures: Tensor, hue: float) -> Tensor:
        """Change brightness, contrast, saturation and, by mixing the channels a little, hue."""
        count = len(pictures)
        grey = (pictures * torch.tensor(SHADES)[:, None, None]).sum(1, keepdim=True)
        saturation = self._uniform(0.7, 1.2, count, 1, 1, 1)
        saturation[torch.rand(count, generator=self.chance) < 0.05] = 0.0
        pictures = torch.lerp(grey, pictures, saturation)
        mixing = torch.eye(3) + self._normal(hue * 0.15, count, 3, 3)
        mixing = mixing / mixing.sum(-1, keepdim=True)  # grey stays grey
        pictures = (mixing @ pictures.flatten(2)).view_as(pictures)
        gamma = self._normal(0.25, count, 1, 1, 1).exp()
        brightness, contrast = self._normal(0.08, count, 1, 1, 1), self._normal(0.15, count, 1, 1, 1).exp()
        return ((pictures.clamp(1e-4, 1) ** gamma - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)

    def _shadowed(self, behind: Tensor, opacity: Tensor) -> Tensor:
        down, right = torch.randint(0, 7, (2,), generator=self.chance).tolist()
        shadow = F.avg_pool2d(opacity.roll((down, right - 3), (2, 3)), 7, stride=1, padding=3)
        depth = self._uniform(-0.3, 0.7, len(behind), 1, 1, 1).clamp(min=0)
        return behind * (1 - depth * shadow)

    def _photographed(self, pictures: Tensor) -> Tensor:
        """Blur some pictures, and add noise."""
        count = len(pictures)
        blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        amount = self._uniform(-1, 1, count, 1, 1, 1).clamp(min=0)
        noise = self._uniform(-0.03, 0.03, count, 1, 1, 1).clamp(min=0)
        return torch.lerp(pictures, blurred, amount) + noise * torch.randn(pictures.shape, generator=self.chance)
