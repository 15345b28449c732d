"""The base knows no modality: a toy pipeline of pictures and one of sounds, each a linear model, need no change of it."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Generator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from notebook_kit.errors import InputError, PipelineInputError
from notebook_kit.pipelines import KeyDataset, Pipeline
from notebook_kit.pipelines.inputs import kind_of

# Pictures: stacked where their sizes are alike -------------------------------------------------------------------------


class LinearOnPixels(torch.nn.Module):
    """One score per picture: a weighted sum of the mean colours. It keeps the shapes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = torch.nn.Linear(3, 1)
        self.batches: list[tuple[int, ...]] = []
        self.dtypes: set[torch.dtype] = set()

    def forward(self, pixel_values):  # (batch, 3, height, width)
        self.batches.append(tuple(pixel_values.shape))
        self.dtypes.add(pixel_values.dtype)
        return self.colours(pixel_values.mean(dim=(2, 3))).squeeze(-1)


class PictureScores(Pipeline):
    task = "picture-scores"
    budget_option = "batch_pixels"
    budgets = (4096, 65536)

    def is_single(self, inputs):
        is_array = isinstance(inputs, np.ndarray | torch.Tensor) and inputs.ndim == 3
        return isinstance(inputs, Image.Image) or is_array or super().is_single(inputs)

    def cost(self, feature):
        return feature["pixel_values"].shape[1] * feature["pixel_values"].shape[2]

    def preprocess(self, item, *, scale=1 / 255):
        if not isinstance(item, Image.Image | np.ndarray):
            raise InputError(f"The input is a {type(item).__name__}.", next_step="Pass a picture.")
        return {"pixel_values": np.moveaxis(np.asarray(item, dtype=np.float64), -1, 0) * scale, "mode": "RGB"}

    def forward(self, batch):
        return {"score": self.model(**batch)}

    def postprocess(self, item, features, outputs, *, digits=4):
        return round(float(outputs[0]["score"]), digits)


def picture(width, height, seed=0):
    pixels = np.random.default_rng([seed, width, height]).integers(
        0, 256 - 20 * (seed % 8), (height, width, 3), dtype=np.uint8
    )
    return Image.fromarray(pixels)


# Sounds: padded --------------------------------------------------------------------------------------------------------


class LinearOnSamples(torch.nn.Module):
    """One score per sound: a weighted mean of its samples and of their squares. It keeps the shapes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.moments = torch.nn.Linear(2, 1)
        self.batches: list[tuple[int, ...]] = []
        self.dtypes: set[torch.dtype] = set()

    def forward(self, input_values, attention_mask):  # (batch, samples)
        self.batches.append(tuple(input_values.shape))
        self.dtypes.add(input_values.dtype)
        n = attention_mask.sum(dim=1)
        moments = torch.stack([input_values.sum(dim=1) / n, input_values.square().sum(dim=1) / n], dim=1)
        return self.moments(moments.to(self.moments.weight.dtype)).squeeze(-1)


class SoundScores(Pipeline):
    task = "sound-scores"
    budget_option = "batch_samples"
    budgets = (2000, 64000)

    def is_single(self, inputs):
        return (isinstance(inputs, np.ndarray) and inputs.ndim == 1 and inputs.dtype != object) or super().is_single(
            inputs
        )

    def cost(self, feature):
        return len(feature["input_values"])

    def group(self, feature):
        return None

    def collate(self, features):
        longest = max(len(feature["input_values"]) for feature in features)
        values = np.zeros((len(features), longest))
        mask = np.zeros((len(features), longest), dtype=np.int64)
        for i, feature in enumerate(features):
            n = len(feature["input_values"])
            values[i, :n], mask[i, :n] = feature["input_values"], 1
        return {"input_values": torch.from_numpy(values), "attention_mask": torch.from_numpy(mask)}

    def preprocess(self, item, *, chunk=None):
        samples = np.asarray(item["array"] if isinstance(item, dict) else item, dtype=np.float64)
        if samples.ndim != 1 or not len(samples):
            raise InputError(f"The input has the shape {samples.shape}.", next_step="Pass samples of one channel.")
        if chunk is None:
            return {"input_values": samples}
        return [{"input_values": samples[start : start + chunk]} for start in range(0, len(samples), chunk)]

    def forward(self, batch):
        return {"score": self.model(**batch)}

    def postprocess(self, item, features, outputs):
        scores = [round(float(output["score"]), 4) for output in outputs]
        return scores[0] if len(scores) == 1 else scores


def sound(length, seed=0):
    return np.random.default_rng([seed, length]).standard_normal(length).astype(np.float32)


@pytest.fixture
def pictures():
    torch.manual_seed(0)
    return PictureScores(LinearOnPixels(), device="cpu")


@pytest.fixture
def sounds():
    torch.manual_seed(0)
    return SoundScores(LinearOnSamples(), device="cpu")


SIZES = [(20, 10), (10, 20), (40, 40), (20, 10), (64, 64), (10, 20), (8, 8), (20, 10)]
LENGTHS = [100, 400, 90, 1500, 110, 7, 395, 3000]


@pytest.fixture(params=["pictures", "sounds"])
def modality(request):
    """A pipeline, many inputs of it, and their answers, each computed alone."""
    pipe = request.getfixturevalue(request.param)
    inputs = (
        [picture(*size, seed=i) for i, size in enumerate(SIZES)]
        if request.param == "pictures"
        else [sound(n, seed=i) for i, n in enumerate(LENGTHS)]
    )
    expected = [pipe(item) for item in inputs]
    assert len(set(expected)) == len(inputs)
    pipe.model.batches.clear()
    return pipe, inputs, expected


# What is one input ----------------------------------------------------------------------------------------------------


def test_a_picture_and_an_array_of_samples_are_each_one_input(pictures, sounds):
    image = picture(6, 4)
    score = pictures(image)
    assert isinstance(score, float)
    assert pictures(np.asarray(image)) == score
    samples = sound(50)
    score = sounds(samples)
    assert isinstance(score, float)
    assert sounds({"array": samples, "sampling_rate": 16000}) == score
    assert kind_of(samples) == "list", "to the base alone an array is a list of its rows"


def test_many_inputs_in_every_form(modality):
    pipe, inputs, expected = modality
    assert pipe(inputs) == expected
    assert pipe(tuple(inputs)) == expected
    rows = [{"it": item, "label": 0} for item in inputs]
    for stream in (iter(inputs), (item for item in inputs), KeyDataset(rows, "it")):
        answers = pipe(stream)
        assert isinstance(answers, Generator)
        assert list(answers) == expected
    assert pipe([]) == []
    assert pipe(inputs[:1]) == expected[:1]


def test_columns_of_a_dataset(pictures, sounds):
    import datasets

    images = [picture(*size, seed=i) for i, size in enumerate(SIZES)]
    features = datasets.Features({"image": datasets.Image()})
    column = datasets.Dataset.from_dict({"image": images}, features=features)["image"]
    assert pictures(column) == [pictures(image) for image in images]
    clips = [sound(n, seed=i) for i, n in enumerate(LENGTHS)]
    dataset = datasets.Dataset.from_dict({"samples": clips}).with_format("numpy")
    expected = [sounds(clip) for clip in clips]
    assert sounds(dataset["samples"]) == expected
    assert list(sounds(KeyDataset(dataset, "samples"))) == expected


# Batches --------------------------------------------------------------------------------------------------------------


def test_batches_are_counted_in_pixels(pictures):
    images = [picture(20, 10, seed=i) for i in range(10)]
    pictures(images, batch_pixels=20 * 10 * 4)
    assert pictures.model.batches == [(4, 3, 10, 20), (4, 3, 10, 20), (2, 3, 10, 20)]
    pictures.model.batches.clear()
    pictures(images)
    assert pictures.model.batches == [(10, 3, 10, 20)], "4,096 pixels on the CPU"
    pictures.model.batches.clear()
    pictures(images, batch_pixels=100)
    assert pictures.model.batches == [(1, 3, 10, 20)] * 10, "one that is above the budget is computed alone"
    pictures.model.batches.clear()
    pictures(images, batch_size=3)
    assert [batch[0] for batch in pictures.model.batches] == [3, 3, 3, 1]


def test_batches_are_counted_in_samples_with_padding(sounds):
    clips = [sound(n, seed=i) for i, n in enumerate(LENGTHS)]
    for budget in (200, 700, 3000, 10**6):
        sounds.model.batches.clear()
        sounds(clips, batch_samples=budget)
        assert sum(rows for rows, _ in sounds.model.batches) == len(clips)
        assert all(rows == 1 or rows * longest <= budget for rows, longest in sounds.model.batches)


def test_alike_sizes_share_a_batch(pictures, sounds):
    images = [picture(*size, seed=i) for i, size in enumerate(SIZES)]
    expected = [pictures(image) for image in images]
    pictures.model.batches.clear()
    assert pictures(images) == expected
    assert sorted(pictures.model.batches, reverse=True) == [
        (3, 3, 10, 20),
        (2, 3, 20, 10),
        (1, 3, 64, 64),
        (1, 3, 40, 40),
        (1, 3, 8, 8),
    ]
    # The largest come first: what does not fit into memory fails at once.
    assert pictures.model.batches[0] == (1, 3, 64, 64)
    clips = [sound(n, seed=i) for i, n in enumerate([100, 3000, 101, 2999, 99])]
    expected = [sounds(clip) for clip in clips]
    sounds.model.batches.clear()
    assert sounds(clips, batch_samples=20000) == expected
    assert sounds.model.batches == [(2, 3000), (3, 101)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_answers_do_not_depend_on_the_batch(modality, data):
    pipe, inputs, expected = modality
    order = data.draw(st.lists(st.integers(0, len(inputs) - 1), min_size=2, max_size=20))
    options = {
        "batch_size": data.draw(st.none() | st.integers(1, 20)),
        pipe.budget_option: data.draw(st.none() | st.integers(1, 9000)),
        "window": data.draw(st.none() | st.integers(1, 20)),
    }
    chosen = [inputs[i] for i in order]
    assert pipe(chosen, **options) == pytest.approx([expected[i] for i in order], abs=2e-4)
    assert list(pipe(iter(chosen), **options)) == pytest.approx([expected[i] for i in order], abs=2e-4)


def test_one_input_of_several_features(sounds):
    clip = sound(1000)
    expected = [sounds(clip[start : start + 300]) for start in range(0, 1000, 300)]
    sounds.model.batches.clear()
    assert sounds(clip, chunk=300) == expected
    assert sounds.model.batches == [(3, 300), (1, 100)]
    assert sounds([clip, sound(40), clip], chunk=300, batch_samples=10**4) == [expected, sounds(sound(40)), expected]


# Streams --------------------------------------------------------------------------------------------------------------


def test_streams_read_at_most_one_window_ahead(modality):
    pipe, inputs, expected = modality
    read = [0]

    def source():
        for i in itertools.count():
            read[0] += 1
            yield inputs[i % len(inputs)]

    answers = pipe(source(), window=16)
    assert read == [0]
    furthest = 0
    for taken in range(1, 80):
        assert next(answers) == pytest.approx(expected[(taken - 1) % len(inputs)], abs=2e-4)
        furthest = max(furthest, read[0] - taken)
        assert taken > 1 or read == [1]
    assert furthest == 15
    answers.close()


def test_inputs_are_freed_after_their_answers(pictures):
    alive: set[int] = set()
    counts = []

    def source():
        for i in range(40):
            image = picture(20, 10, seed=i)
            alive.add(i)
            weakref.finalize(image, alive.discard, i)
            counts.append(len(alive))
            yield image

    for _ in pictures(source(), window=4):
        pass
    assert max(counts) == 4


def test_features_are_freed_batch_by_batch(pictures):
    alive: set[int] = set()
    counts = []
    preprocess, forward = pictures.preprocess, pictures.forward

    class Feature(dict):
        pass

    def counted(item, **options):
        feature = Feature(preprocess(item, **options))
        alive.add(id(feature))
        weakref.finalize(feature, alive.discard, id(feature))
        return feature

    def counting(batch):
        counts.append(len(alive))
        return forward(batch)

    pictures.preprocess, pictures.forward = counted, counting
    pictures([picture(20, 10, seed=i) for i in range(12)], batch_size=3)
    assert counts == [12, 9, 6, 3]


# Errors ---------------------------------------------------------------------------------------------------------------


def test_errors_are_named_by_position(modality):
    pipe, inputs, expected = modality
    bad = [*inputs[:2], "no input", *inputs[2:]]
    with pytest.raises(PipelineInputError, match=r"inputs\[2\]: ") as caught:
        pipe(bad)
    assert caught.value.positions == (2,)
    assert caught.value.results[:2] + caught.value.results[3:] == expected
    answers = pipe(bad, on_error="return")
    assert isinstance(answers[2], PipelineInputError)
    assert answers[:2] + answers[3:] == expected
    stream = pipe(iter(bad))
    assert [next(stream), next(stream)] == expected[:2]
    with pytest.raises(PipelineInputError, match=r"inputs\[2\]"):
        next(stream)
    assert list(stream) == expected[2:]


def test_a_feature_whose_cost_is_unknown_fails_alone(modality):
    pipe, inputs, expected = modality
    cost = pipe.cost

    def fails_once(feature):
        if fails_once.calls == 1:
            fails_once.calls += 1
            raise ZeroDivisionError("no size")
        fails_once.calls += 1
        return cost(feature)

    fails_once.calls = 0
    pipe.cost = fails_once
    answers = pipe(inputs, on_error="return")
    assert "ZeroDivisionError: no size" in str(answers[1])
    assert [answers[0], *answers[2:]] == [expected[0], *expected[2:]]


def test_options_of_the_modality(pictures, sounds):
    image = picture(6, 4)
    assert pictures(image, digits=1) == round(pictures(image), 1)
    assert pictures(image, scale=0.0) != pictures(image)
    with pytest.raises(InputError, match="Did you mean 'batch_pixels'"):
        pictures(image, batch_pixel=5)
    with pytest.raises(InputError, match="batch_samples is 0"):
        sounds(sound(5), batch_samples=0)
    with pytest.raises(InputError, match="no option 'batch_tokens'"):
        sounds(sound(5), batch_tokens=5)
    assert "batch_samples=50" in repr(SoundScores(LinearOnSamples(), device="cpu", batch_samples=50))


# Dtypes and devices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_inputs_take_the_dtype_of_the_model(dtype):
    for kind, model, inputs in (
        (PictureScores, LinearOnPixels(), [picture(20, 10), picture(20, 10, seed=1)]),
        (SoundScores, LinearOnSamples(), [sound(100), sound(90)]),
    ):
        pipe = kind(model, device="cpu", dtype=dtype)
        answers = pipe(inputs)
        assert model.dtypes == {dtype}
        exact = kind(model.to(torch.float64), device="cpu")(inputs)
        assert answers == pytest.approx(exact, abs=0.05 if dtype == torch.bfloat16 else 1e-3)


def test_integers_keep_their_dtype(sounds):
    seen = []
    sounds.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["attention_mask"].dtype), with_kwargs=True
    )
    sounds.model.to(torch.bfloat16)
    sounds([sound(5), sound(9)])
    assert seen == [torch.int64]


def test_inputs_go_where_the_model_is(pictures):
    """On the device without memory, whose tensors hold no values: what comes back says where it was computed."""
    pictures.model.to("meta")
    pictures.device = torch.device("meta")
    seen = []

    def forward(batch):
        seen.append(batch["pixel_values"].device.type)
        return {"score": torch.zeros(len(batch["pixel_values"]))}

    pictures.forward = forward
    assert pictures([picture(6, 4), picture(6, 4, seed=1)]) == [0.0, 0.0]
    assert seen == ["meta"]


def test_the_usual_budget_of_an_accelerator(pictures):
    pictures.device = torch.device("meta")
    assert pictures.resolve_options({}).batch_budget == 65536
    assert pictures.resolve_options({"batch_size": 3}).batch_budget is None
    assert pictures.resolve_options({}).window == 2048


# The defaults of the base ---------------------------------------------------------------------------------------------


class Sums(Pipeline):
    """Answers no question of a modality."""

    task = "sums"

    def preprocess(self, item):
        return {"x": torch.tensor(item["numbers"])}

    def forward(self, batch):
        return {"sum": self.model(**batch)}

    def postprocess(self, item, features, outputs):
        return float(outputs[0]["sum"])


def test_without_answers_equal_shapes_are_stacked():
    class Model(torch.nn.Linear):
        batches: list = []

        def forward(self, x):
            self.batches.append(tuple(x.shape))
            return x.sum(dim=1)

    pipe = Sums(Model(1, 1), device="cpu")
    items = [{"numbers": [1.0] * n} for n in (1, 2, 1, 3, 2, 1)]
    assert pipe(items) == [1.0, 2.0, 1.0, 3.0, 2.0, 1.0]
    assert sorted(Model.batches) == [(1, 3), (2, 2), (3, 1)]
    Model.batches.clear()
    pipe([{"numbers": [1.0]}] * 20)
    assert [rows for rows, _ in Model.batches] == [8, 8, 4]
