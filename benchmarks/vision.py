"""Images: processors and pipelines against those of `transformers` in the same run: `python benchmarks/vision.py`.

The parts: `processors` (64 PIL images of 640 x 480 to one tensor, against the oracle's `...Pil` classes), `classification`
(ViT-base, 64 JPEG files of mixed sizes, read and resized), `detection` (DETR with a ResNet-50, 8 images of mixed sizes),
`memory` (what a long stream adds), and `first` (a new process loads ViT-base from disk and answers once). All weights are
random and shared. The two sides take turns, and each number is the median of the turns; both may use two threads.

With `onnx` and `onnxruntime` installed, `classification` also times the exported graph in onnxruntime, fed by our processor.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch
from measure import alternate, medians, process, table
from PIL import Image

import notebook_kit

NAMES = ["ViT", "DeiT", "Bit", "ConvNext", "Segformer", "Detr"]
SIZES = [(640, 480), (480, 640), (500, 375), (800, 600), (1024, 683), (427, 640), (333, 500), (1280, 960)]
Clock = Callable[[], float]


def images(count: int, sizes: list[tuple[int, int]] = [(640, 480)]) -> list[Image.Image]:  # noqa: B006
    """Smooth images with noise, of these (width, height) in turns."""
    rng = np.random.default_rng(0)
    drawn = []
    for i in range(count):
        width, height = sizes[i % len(sizes)]
        y, x = np.mgrid[:height, :width]
        waves = np.sin(y[..., None] / 40 + x[..., None] / 60 + np.arange(3) + i)
        noise = rng.normal(0, 15, (height, width, 3))
        drawn.append(Image.fromarray((127 + 90 * waves + noise).clip(0, 255).astype(np.uint8)))
    return drawn


def jpeg_files(folder: Path, count: int) -> list[str]:
    paths = [str(folder / f"{i}.jpg") for i in range(count)]
    for path, image in zip(paths, images(count, SIZES), strict=True):
        image.save(path, quality=90)
    return paths


def rival(name: str):
    module = importlib.import_module(f"transformers.models.{name.lower()}.image_processing_pil_{name.lower()}")
    return getattr(module, f"{name}ImageProcessorPil")()


def processors(options: argparse.Namespace, clock: Clock) -> None:
    pictures = images(options.images)
    rows = []
    for name in options.only:
        some = pictures if name != "Detr" else pictures[: options.images // 8]  # it enlarges them to 800 x 1066
        ours, theirs = getattr(notebook_kit, f"{name}ImageProcessor")(), rival(name)
        times = medians(
            alternate(
                {
                    "ours": lambda some=some, ours=ours: ours(some, return_tensors="pt"),
                    "theirs": lambda some=some, theirs=theirs: theirs(some, return_tensors="pt"),
                },
                options.rounds,
                clock=clock,
            )
        )
        rows.append(row(f"{name}ImageProcessor", times, len(some)))
    print(
        f"The processor alone, {options.images} PIL images of 640 x 480 ({options.images // 8} for DETR): ms per image"
    )
    table(["processor", "notebook_kit", "transformers", "times as fast"], rows, options.rounds)


def row(name: str, times: dict[str, float], count: int) -> list[str]:
    ours, theirs = times["ours"] / count * 1e3, times["theirs"] / count * 1e3
    return [name, f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.2f}"]


def vit(folder: Path, **sizes) -> str:
    """A checkpoint of ViT-base's size with random weights."""
    import transformers

    path = str(folder / "vit")
    transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000, **sizes)).save_pretrained(path)
    notebook_kit.ViTImageProcessor().save_pretrained(path)
    return path


def classification(options: argparse.Namespace, clock: Clock) -> None:
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        paths, checkpoint = jpeg_files(Path(folder), options.images), vit(Path(folder))
        ours = notebook_kit.pipeline("image-classification", model=checkpoint, device="cpu", progress=False)
        theirs = transformers.pipeline("image-classification", model=checkpoint, device="cpu")
        apart = max(
            abs(a["score"] - b["score"])
            for mine, other in zip(ours(paths[:8]), theirs(paths[:8]), strict=True)
            for a, b in zip(mine, other, strict=True)
        )
        rivals = {
            "transformers, batch_size=8": lambda: theirs(paths, batch_size=8),
            "notebook_kit, batch_size=8": lambda: ours(paths, batch_size=8),
            "notebook_kit": lambda: ours(paths),
        }
        if options.bfloat16:
            narrow = notebook_kit.pipeline(
                "image-classification", model=checkpoint, device="cpu", progress=False, dtype="bfloat16"
            )
            rivals['notebook_kit, dtype="bfloat16"'] = lambda: narrow(paths)
        if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
            rivals["onnxruntime, our processor, 8 in a batch"] = in_onnxruntime(
                ours, paths, Path(folder), options.threads
            )
        times = medians(alternate(rivals, options.rounds, clock=clock))
        base = times["transformers, batch_size=8"]
        rows = [[name, f"{value / len(paths) * 1e3:.1f}", f"{base / value:.2f}"] for name, value in times.items()]
        print(f"image-classification, ViT-base, {len(paths)} JPEG files of mixed sizes (scores differ by {apart:.0e})")
        table(["", "ms per image", "times as fast"], rows, options.rounds)


def in_onnxruntime(ours, paths: list[str], folder: Path, threads: int) -> Callable[[], object]:
    """The exported graph in onnxruntime, fed with our processor's pixels."""
    import onnxruntime

    class Logits(torch.nn.Module):
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.model(pixel_values=pixels)["logits"]

    path = str(folder / "model.onnx")
    example = torch.zeros(8, 3, 224, 224)
    torch.onnx.export(Logits(ours.model), (example,), path, input_names=["pixels"], dynamo=False)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    def run() -> None:
        for start in range(0, len(paths) - 7, 8):
            pixels = ours.image_processor(paths[start : start + 8], return_tensors="np")["pixel_values"]
            session.run(None, {"pixels": pixels})

    return run


def detection(options: argparse.Namespace, clock: Clock) -> None:
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        backbone = transformers.ResNetConfig(out_features=["stage4"])
        config = transformers.DetrConfig(use_timm_backbone=False, backbone=None, backbone_config=backbone)
        transformers.DetrForObjectDetection(config).save_pretrained(folder)
        notebook_kit.DetrImageProcessor().save_pretrained(folder)
        paths = jpeg_files(Path(folder), 8)
        ours = notebook_kit.pipeline("object-detection", model=folder, device="cpu", progress=False)
        theirs = transformers.pipeline("object-detection", model=folder, device="cpu")
        rivals = {"ours": lambda: ours(paths), "theirs": lambda: theirs(paths)}
        times = medians(alternate(rivals, options.rounds, clock=clock))
        print("object-detection, DETR-ResNet-50, 8 JPEG files of mixed sizes: ms per image")
        table(["", "notebook_kit", "transformers", "times as fast"], [row("DETR", times, 8)], options.rounds)


def memory(options: argparse.Namespace, clock: Clock) -> None:
    """The most memory of this process, after 500 and after 10,000 images of a stream."""
    config = notebook_kit.ViTConfig(
        image_size=32, patch_size=16, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    model = notebook_kit.ViTForImageClassification(config)
    processor = notebook_kit.ViTImageProcessor(size={"height": 32, "width": 32})
    ours = notebook_kit.pipeline("image-classification", model=model, image_processor=processor, progress=False)

    def stream() -> Iterator[Image.Image]:
        for i in range(options.stream):
            width, height = SIZES[i % len(SIZES)]
            yield Image.new("RGB", (width, height), (i % 256, 90, 40))

    marks = {}
    for count, _ in enumerate(ours(stream()), start=1):
        if count in (500, options.stream):
            marks[count] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("Memory of a stream: " + ", ".join(f"{mib:.0f} MiB after {count} images" for count, mib in marks.items()))


def first(options: argparse.Namespace, clock: Clock) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, checkpoint = jpeg_files(Path(folder), 1)[0], vit(Path(folder))
        code = "from {} import pipeline\nprint(pipeline('image-classification', model={!r})({!r}))"
        rivals = {
            "ours": lambda: process(code.format("notebook_kit", checkpoint, path)),
            "theirs": lambda: process(code.format("transformers", checkpoint, path)),
        }
        times = medians(alternate(rivals, options.rounds))
        print(
            f"First answer of a new process, ViT-base from disk: {times['ours']:.2f} s; transformers {times['theirs']:.2f} s;"
            f" {times['ours'] / times['theirs']:.2f} of the time"
        )


PARTS = {part.__name__: part for part in (processors, classification, detection, first, memory)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], metavar="part", help=f"all by default: {', '.join(PARTS)}"
    )
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--stream", type=int, default=10_000, help="images in the stream whose memory is measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true", help="the classifier in bfloat16 too")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count CPU seconds of all threads, for a machine that is busy otherwise"
    )
    parser.add_argument("--only", nargs="*", default=NAMES, choices=NAMES, help="the processors to time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_time else time.perf_counter
    for part in options.parts or PARTS:
        PARTS[part](options, clock)
        print()


if __name__ == "__main__":
    main()
