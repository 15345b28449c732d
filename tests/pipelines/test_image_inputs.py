"""Image pipelines take images as people have them, and answer the same however they are batched and read.

The processor and the models are written by hand, so that each answer is known.
"""

from __future__ import annotations

import base64
import io
import threading
import weakref
from collections.abc import Generator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from notebook_kit import load_image
from notebook_kit.errors import InputError, PipelineInputError
from notebook_kit.pipelines import KeyDataset
from notebook_kit.pipelines.image import ImagePipeline


class Processor:
    """Pixels in 0..1 in the size of the image, each side at most `longest`."""

    longest = 64

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, image, return_tensors, **options):
        assert return_tensors == "pt"
        self.threads.add(threading.get_ident())
        self.sizes.append(image.size)
        image = image.resize([min(side, self.longest) for side in image.size])
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]
        return {"pixel_values": pixels / 255, "pixel_mask": torch.ones(1, *pixels.shape[-2:], dtype=torch.int64)}


class MeanColours(torch.nn.Module):
    """The mean of each colour. It keeps the shapes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.config = SimpleNamespace(id2label={0: "red", 1: "green", 2: "blue"})
        self.batches: list[tuple[int, ...]] = []

    def forward(self, pixel_values):  # (batch, 3, height, width)
        self.batches.append(tuple(pixel_values.shape))
        return SimpleNamespace(logits=pixel_values.mean(dim=(2, 3)) * self.scale)


class MaskedMeanColours(MeanColours):
    """As `MeanColours`, of the pixels inside the mask."""

    def forward(self, pixel_values, pixel_mask):
        self.batches.append(tuple(pixel_values.shape))
        assert not (pixel_values * (1 - pixel_mask[:, None])).any(), "padding is zero"
        sums = pixel_values.sum(dim=(2, 3)) / pixel_mask.sum(dim=(1, 2))[:, None]
        return SimpleNamespace(logits=sums * self.scale)


class Colours(ImagePipeline):
    task = "colours"

    def postprocess(self, item, features, outputs, *, digits=3):
        size = features[0]["original_size"]
        return (*size, *np.round(outputs[0]["logits"].astype(float), digits).tolist())


def picture(width=12, height=10, seed=0):
    generator = np.random.default_rng([seed, width, height])
    return Image.fromarray(generator.integers(0, 256 - 20 * (seed % 8), (height, width, 3), dtype=np.uint8))


def as_bytes(image, form="PNG"):
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def pipeline_of(model, **options):
    return Colours(model, image_processor=Processor(), device="cpu", **options)


@pytest.fixture
def colours():
    return pipeline_of(MeanColours())


@pytest.fixture
def masked():
    return pipeline_of(MaskedMeanColours(), pad=True)


# One image ------------------------------------------------------------------------------------------------------------

FORMS = {
    "PIL": lambda image, path: image,
    "a lazy PIL image": lambda image, path: Image.open(path),
    "str": lambda image, path: str(path),
    "Path": lambda image, path: path,
    "bytes": lambda image, path: as_bytes(image),
    "file": lambda image, path: path.open("rb"),
    "BytesIO": lambda image, path: io.BytesIO(as_bytes(image)),
    "base64": lambda image, path: base64.b64encode(as_bytes(image)).decode(),
    "data URL": lambda image, path: "data:image/png;base64," + base64.b64encode(as_bytes(image)).decode(),
    "HWC": lambda image, path: np.asarray(image),
    "CHW": lambda image, path: np.asarray(image).transpose(2, 0, 1),
    "float": lambda image, path: np.asarray(image) / 255.0,
    "tensor": lambda image, path: torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1),
    "undecoded": lambda image, path: {"bytes": as_bytes(image), "path": None},
    "undecoded path": lambda image, path: {"bytes": None, "path": str(path)},
}


@pytest.mark.parametrize("form", FORMS)
def test_one_image_in_every_form(colours, tmp_path, form):
    image = picture(12, 10)
    path = tmp_path / "picture.png"
    image.save(path)
    expected = (10, 12, *np.round(np.asarray(image).mean(axis=(0, 1)) / 255, 3).tolist())
    assert colours(FORMS[form](image, path)) == expected
    assert colours([FORMS[form](image, path)]) == [expected], "in a list"
    assert list(colours(FORMS[form](image, path) for _ in range(2))) == [expected] * 2, "in a stream"


def test_grey_arrays_are_images_and_four_axes_are_several(colours):
    grey = np.full((10, 12), 51, dtype=np.uint8)
    assert colours(grey) == (10, 12, 0.2, 0.2, 0.2)
    several = np.stack([np.asarray(picture(12, 10, seed)) for seed in range(3)])
    assert colours(several) == [colours(image) for image in several]
    tensor = torch.from_numpy(several).permute(0, 3, 1, 2)
    assert colours(tensor) == [colours(image) for image in several]
    names = np.array(["no/such.png", "nor/such.png"])
    with pytest.raises(PipelineInputError, match="2 of 2 inputs"):
        colours(names)


def test_the_older_name_of_the_inputs(colours):
    assert colours(images=[picture()]) == colours([picture()])
    with pytest.raises(InputError, match="No image was passed"):
        colours()


def test_columns_of_a_dataset(colours):
    import datasets

    images = [picture(12, 10, seed) for seed in range(5)]
    expected = [colours(image) for image in images]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    dataset = datasets.Dataset.from_dict({"image": images, "label": range(5)}, features=features)
    undecoded = dataset.cast_column("image", datasets.Image(decode=False))
    for source in (dataset, undecoded):
        assert colours(source["image"]) == expected
        assert list(colours(KeyDataset(source, "image"))) == expected
        assert list(colours(row["image"] for row in source.to_iterable_dataset())) == expected
    assert colours(dataset.with_format("numpy")["image"]) == expected
    assert colours(dataset.with_format("torch")["image"]) == expected
    with pytest.raises(PipelineInputError, match=r"KeyDataset\(dataset, 'image'\)"):
        next(colours(dataset))


def test_a_column_of_a_table(colours):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"image": [as_bytes(picture(seed=seed)) for seed in range(3)]})
    assert colours(table["image"]) == colours([picture(seed=seed) for seed in range(3)])
    with pytest.raises(InputError, match="a pipeline reads one column"):
        colours(table)


# Batches --------------------------------------------------------------------------------------------------------------

SIZES = [(20, 10), (10, 20), (40, 40), (20, 10), (64, 64), (10, 20), (8, 8), (20, 10), (22, 10)]


@pytest.fixture(params=["colours", "masked"])
def pipe(request):
    return request.getfixturevalue(request.param)


def test_answers_do_not_depend_on_the_batch(pipe):
    images = [picture(*size, seed=i) for i, size in enumerate(SIZES)]
    expected = [pipe(image) for image in images]
    assert len(set(expected)) == len(images)
    for options in ({}, {"batch_size": 2}, {"batch_pixels": 500}, {"window": 3}, {"batch_size": 1}):
        assert pipe(images, **options) == expected
        assert list(pipe(iter(images), **options)) == expected
    assert isinstance(pipe(iter(images)), Generator)


def test_images_of_one_size_are_stacked(colours):
    colours([picture(*size, seed=i) for i, size in enumerate(SIZES)])
    shapes = {(3, 10, 20): 3, (3, 20, 10): 2, (3, 10, 22): 1, (3, 64, 64): 1, (3, 40, 40): 1, (3, 8, 8): 1}
    assert {shape[1:]: shape[0] for shape in colours.model.batches} == shapes


def test_images_of_similar_sizes_are_padded_on_request(masked):
    images = [picture(20, 10), picture(22, 10), picture(10, 20)]
    masked(images)
    assert sorted(masked.model.batches) == [(1, 3, 20, 10), (2, 3, 10, 22)], "tall images apart from wide ones"
    exact = pipeline_of(MaskedMeanColours())
    exact(images)
    assert len(exact.model.batches) == 3
    with pytest.raises(InputError, match="Padding would change the answers of MeanColours"):
        pipeline_of(MeanColours(), pad=True)


def test_batches_are_counted_in_pixels(colours):
    images = [picture(20, 10, seed=i) for i in range(10)]
    colours(images, batch_pixels=20 * 10 * 4)
    assert [shape[0] for shape in colours.model.batches] == [4, 4, 2]
    colours.model.batches.clear()
    colours([picture(200, 100, seed=i) for i in range(4)], batch_pixels=64 * 64 * 2)
    assert [shape[0] for shape in colours.model.batches] == [2, 2], "after resizing"
    assert colours.resolve_options({}).window == 32


# Threads --------------------------------------------------------------------------------------------------------------


def test_images_are_read_on_several_threads(colours, monkeypatch):
    from notebook_kit.pipelines import image as module

    monkeypatch.setattr(module, "_cpus", lambda: 4)
    barrier = threading.Barrier(4, timeout=10)
    process = colours.process

    def together(image, **options):
        barrier.wait()
        return process(image, **options)

    colours.process = together
    images = [picture(seed=i) for i in range(8)]
    answers = colours(images)
    assert len(colours.image_processor.threads) == 4
    colours.process = process
    assert answers == [colours(image) for image in images]


def test_one_processor_reads_without_threads(colours, monkeypatch):
    from notebook_kit.pipelines import image as module

    monkeypatch.setattr(module, "_cpus", lambda: 1)
    colours([picture(seed=i) for i in range(4)])
    assert colours.image_processor.threads == {threading.get_ident()}


def test_an_image_that_occurs_several_times_is_read_once(colours, tmp_path, monkeypatch):
    from notebook_kit.pipelines import image as module

    monkeypatch.setattr(module, "_cpus", lambda: 4)
    path = tmp_path / "picture.jpg"
    picture(400, 300).save(path)
    lazy = Image.open(path)  # not decoded yet
    assert colours([lazy] * 20) == [colours(str(path))] * 20
    assert len(colours.image_processor.sizes) == 2


# Errors ---------------------------------------------------------------------------------------------------------------


def truncated():
    return as_bytes(picture(60, 50))[:-600]


BAD = {
    "a missing file": ("no/such/picture.png", "no file"),
    "a truncated file": (truncated(), "cannot be read as an image"),
    "no image": (b"GIF89a, but no more", "cannot be read as an image"),
    "no pixels": (np.zeros((0, 10, 3), np.uint8), "not an image"),
    "five channels": (np.zeros((10, 10, 5), np.uint8), "channels"),
    "one axis": (np.zeros(10, np.uint8), "not an image"),
    "a number": (7, "cannot be read"),
    "a pair": ((picture(), 1), "cannot be read"),
    "another scheme": ("ftp://example.org/picture.png", "ftp"),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_input_that_fails_is_named_and_the_rest_is_kept(colours, kind):
    bad, message = BAD[kind]
    images = [picture(seed=0), bad, picture(seed=1)]
    expected = [colours(images[0]), colours(images[2])]
    with pytest.raises(PipelineInputError, match=rf"(?s)inputs\[1\]: .*{message}") as caught:
        colours(images)
    assert caught.value.positions == (1,)
    assert caught.value.results == [expected[0], None, expected[1]]
    answers = colours(images, on_error="return")
    assert [answers[0], answers[2]] == expected
    assert isinstance(answers[1], PipelineInputError)
    stream = colours(iter(images))
    assert next(stream) == expected[0]
    with pytest.raises(PipelineInputError, match=r"inputs\[1\]"):
        next(stream)
    assert next(stream) == expected[1]


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind != "a pair"])
def test_a_single_input_that_fails(colours, kind):
    bad, message = BAD[kind]
    with pytest.raises(InputError, match=f"(?s){message}|cannot read"):
        colours(bad)


def test_the_time_limit_of_an_address(colours, monkeypatch):
    from notebook_kit.pipelines import image as module

    limits = []

    def load(item, timeout=None):
        limits.append(timeout)
        return picture()

    monkeypatch.setattr(module, "load_image", load)
    colours("https://example.org/picture.png", timeout=2.5)
    colours(["https://example.org/picture.png"] * 2)
    assert limits == [2.5, None]
    with pytest.raises(InputError, match="timeout is 'soon'"):
        colours("https://example.org/picture.png", timeout="soon")


def test_a_pipeline_needs_an_image_processor():
    with pytest.raises(InputError, match="requires an image_processor"):
        Colours(MeanColours(), device="cpu")
    pipe = Colours(MeanColours(), feature_extractor=Processor(), device="cpu")
    assert pipe(picture()) == pipeline_of(MeanColours())(picture())
    assert pipe.feature_extractor is None


# Memory ---------------------------------------------------------------------------------------------------------------


def test_images_are_freed_after_their_answers(colours):
    alive: set[int] = set()
    most = [0]

    def source():
        for i in range(200):
            image = picture(seed=i)
            alive.add(i)
            weakref.finalize(image, alive.discard, i)
            most[0] = max(most[0], len(alive))
            yield image

    assert sum(1 for _ in colours(source())) == 200
    assert most[0] <= 33, "a window, and the image that is about to be passed"


@pytest.mark.slow
def test_ten_thousand_images_stream_in_little_memory(colours):
    """In a process by itself, so that other tests' memory does not count."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        after_500, after_all = pool.apply(_stream_many)
    assert after_all - after_500 < 32 * 1024, "KiB"


def _stream_many() -> tuple[int, int]:
    """The largest memory of this process, in KiB, after 500 and after 10,000 images."""
    import resource

    torch.set_num_threads(1)
    pipe = pipeline_of(MeanColours())
    files = [as_bytes(picture(160, 120, seed=i), "JPEG") for i in range(16)]
    peaks = {}
    source = (Image.open(io.BytesIO(files[i % 16])) if i % 2 else files[i % 16] for i in range(10_000))
    for count, _ in enumerate(pipe(source), 1):
        if count in (500, 10_000):
            peaks[count] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peaks[500], peaks[10_000]


def test_files_of_another_kind_are_not_suggested(tmp_path):
    for name in ("loin.py", "lions.txt", "lion.jpeg"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="There is no file") as caught:
        load_image(tmp_path / "lion.jpg")
    assert caught.value.next_step == "Did you mean 'lion.jpeg'?"
