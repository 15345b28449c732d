"""Images: the processors against the oracle's `...Pil` classes in the same run: `python benchmarks/vision.py`.

64 PIL images of 640 x 480, smooth with noise, through the processor alone, to one tensor. The two sides take turns, and each
number is the median of the turns. Both may use two threads, as torch is set to.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from collections.abc import Callable

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
from measure import alternate, medians, table
from PIL import Image

import notebook_kit

NAMES = ["ViT", "DeiT", "Bit", "ConvNext", "Segformer", "Detr"]


def images(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:480, :640]
    waves = np.sin(y[..., None] / 40 + x[..., None] / 60 + np.arange(3))
    drawn = []
    for _ in range(count):
        drawn.append(Image.fromarray((127 + 90 * waves + rng.normal(0, 15, waves.shape)).clip(0, 255).astype(np.uint8)))
    return drawn


def rival(name: str):
    module = importlib.import_module(f"transformers.models.{name.lower()}.image_processing_pil_{name.lower()}")
    return getattr(module, f"{name}ImageProcessorPil")()


def processors(names: list[str], count: int, rounds: int, threads: int, clock: Callable[[], float]) -> None:
    pictures = images(count)
    torch.set_num_threads(threads)
    rows = []
    for name in names:
        some = pictures if name != "Detr" else pictures[: count // 8]  # it enlarges them to 800 x 1066
        ours, theirs = getattr(notebook_kit, f"{name}ImageProcessor")(), rival(name)
        times = medians(
            alternate(
                {
                    "ours": lambda some=some, ours=ours: ours(some, return_tensors="pt"),
                    "theirs": lambda some=some, theirs=theirs: theirs(some, return_tensors="pt"),
                },
                rounds,
                clock=clock,
            )
        )
        each = {side: seconds / len(some) * 1e3 for side, seconds in times.items()}
        rows.append(
            [
                f"{name}ImageProcessor",
                f"{each['ours']:.2f}",
                f"{each['theirs']:.2f}",
                f"{times['theirs'] / times['ours']:.2f}",
            ]
        )
    print(
        f"The processor alone, {count} PIL images of 640 x 480 ({count // 8} for DETR), {threads} threads: ms per image"
    )
    table(["processor", "notebook_kit", "transformers", "times as fast"], rows, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cpu-time", action="store_true", help="count CPU seconds of all threads, for a machine that is busy otherwise"
    )
    parser.add_argument("--only", nargs="*", default=NAMES, choices=NAMES, help="the processors to time")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    processors(options.only, options.images, options.rounds, options.threads, clock)


if __name__ == "__main__":
    main()
