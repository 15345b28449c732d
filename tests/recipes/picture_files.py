"""Stand-ins for the fetched pictures: a cache with a small picture for each file that the recipes look for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from notebook_kit.recipes.debian import completion_mark
from notebook_kit.recipes.things_data import NPM_PACKAGES, OTHER_FILES, STYLES, style_files
from notebook_kit.recipes.things_table import BACKGROUNDS


def write_picture_cache(cache: Path, side: int = 24) -> Path:
    """Write a noisy square without a corner, with a margin, for each thing, and noise for each background."""
    for style, properties in STYLES.items():
        npm = NPM_PACKAGES.get(style)
        folder = cache / "npm" / npm.folder if npm else cache / "debian" / properties.package
        for name in style_files(style):
            _write(folder / name, side, channels=4)
    for package, names in BACKGROUNDS.items():
        for name in names:
            _write(cache / "debian" / package / name, 4 * side, channels=3)
    for package, patterns in OTHER_FILES.items():
        for pattern in patterns:
            for name in ("other.png", "other_mirror.png"):
                _write(cache / "debian" / package / pattern.replace("**/*.png", f"inner/{name}"), side, channels=4)
        completion_mark(cache, package, patterns).touch()
    return cache


def _write(path: Path, side: int, channels: int) -> None:
    seed = int.from_bytes(hashlib.sha256(path.as_posix().encode()).digest()[:4], "big")
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, channels), dtype=np.uint8)
    if channels == 4:
        pixels[..., 3] = 0
        pixels[2:-6, 4:-4, 3] = 255
        pixels[2:8, 4:10, 3] = 0  # not a rectangle
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
