"""Values of any type for every option of every pipeline: each is used, or refused by an error that names the option."""

from __future__ import annotations

import enum

import numpy as np
import pandas as pd
import pytest
import torch
from pipeline_helpers import NER_LABELS, TEXTS, ours
from record_v4 import DATA

from notebook_kit import Pipeline, pipeline
from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.pipelines.options import checked

CALLS = {
    "text-classification": ("ForSequenceClassification", {"num_labels": 3}, {"inputs": TEXTS[0]}),
    "token-classification": ("ForTokenClassification", {"id2label": dict(enumerate(NER_LABELS))}, {"inputs": TEXTS[0]}),
    "fill-mask": ("ForMaskedLM", {}, {"inputs": "the [MASK] is"}),
    "feature-extraction": ("Model", {}, {"inputs": TEXTS[4]}),
    "question-answering": ("ForQuestionAnswering", {}, {"question": "who", "context": TEXTS[0]}),
    "zero-shot-classification": (
        "ForSequenceClassification",
        {"num_labels": 3},
        {"sequences": TEXTS[0], "candidate_labels": ["a", "b"]},
    ),
}
OLDER = {
    "text-classification": ["return_all_scores", "text_pair"],
    "token-classification": ["grouped_entities", "ignore_subwords"],
    "fill-mask": ["targets"],
    "question-answering": ["question", "context"],
}
VALUES = [5, -1, 0, 1.5, float("nan"), "x", "", b"x", [], ["x"], [5], {}, object(), np.array(3), np.array([1, 2]),
          pd.Series(["a"]), torch.tensor(1.0), lambda: 1, True, (), 10**30]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", CALLS)
def test_every_option_with_every_type(checkpoints, task):
    head, settings, call = CALLS[task]
    pipe = ours(task, checkpoints(head, **settings))
    names = {*pipe.option_steps, *OLDER.get(task, []), "batch_size", "batch_tokens", "window", "progress", "on_error"}
    for name in sorted(names):
        for value in VALUES:
            try:
                pipe(**{**call, name: value})
            except NotebookKitError as error:
                assert name in str(error), (name, value)
            except Exception as error:
                pytest.fail(f"{name}={value!r}: {type(error).__name__}: {error}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* ha(s|ve) no effect")
@pytest.mark.parametrize(
    "name", ["temperature", "top_p", "do_sample", "num_beams", "use_cache", "stop_strings", "bad_words_ids"]
)
@pytest.mark.parametrize(("task", "folder"), [("text-generation", "tiny-gpt2"), ("summarization", "tiny-t5")])
def test_settings_of_generation(task, folder, name):
    pipe = ours(task, str(DATA / folder))
    for value in VALUES[:-1]:
        try:
            pipe("good", **{"max_new_tokens": 1, name: value})
        except NotebookKitError as error:
            assert name in str(error), value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["task", "config", "tokenizer", "feature_extractor", "image_processor", "processor", "framework",
                                  "model_kwargs", "pipeline_class", "batch_size", "quantize"])  # fmt: skip
def test_every_argument_of_pipeline(checkpoints, name):
    arguments = {"task": "text-classification", "model": checkpoints("ForSequenceClassification", num_labels=3)}
    for value in VALUES:
        if callable(value) or (
            name in ("config", "tokenizer", "image_processor", "feature_extractor") and isinstance(value, str)
        ):
            continue  # a function may be a tokenizer, and a text is the name of a checkpoint
        try:
            pipeline(**{**arguments, "device": "cpu", name: value})
        except NotebookKitError as error:
            assert name in str(error), value


def test_saving_somewhere_else(checkpoints):
    pipe = ours("text-classification", checkpoints("ForSequenceClassification", num_labels=3))
    for value in (5, None, ["x"], b"x"):
        with pytest.raises(InputError, match="save_directory is"):
            pipe.save_pretrained(value)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (np.int64(3), int, 3),
        (np.float32(0.5), float, 0.5),
        (2, float, 2),
        (np.True_, bool, True),
        (1, bool, True),
        ("a", list[str], ["a"]),
        (("a", "b"), list[str] | None, ("a", "b")),
        (pd.Series(["a", "b"]), list[str], ["a", "b"]),
        (np.array(["a"]), str | list[str], ["a"]),
        pytest.param((text for text in "ab"), list[str], ["a", "b"], id="a generator"),
        ([(0, 1), [2, 3]], list[tuple[int, int]], [(0, 1), [2, 3]]),
        (torch.tensor([1, 2]), int | list[int], [1, 2]),
        (enum.Enum("Kind", {"FIRST": "first"}).FIRST, str, "first"),
        (None, int | None, None),
        (object, None | type, object),
    ],
    ids=str,
)
def test_values_that_are_converted(value, hint, expected):
    got = checked("option", value, hint)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ("3", int, "a whole number"),
        (True, int, "a whole number"),
        (2.0, int | None, "a whole number or None"),
        (2, bool, "True or False"),
        ("yes", bool | None, "True or False or None"),
        (5, str | list[str], "text or a list of texts"),
        (["a", 5], list[str], "a list of texts"),
        ({"a": 1}, list[str], "a list of texts"),
        ([1], tuple[int, float], "a list"),
        ([1], dict[str, int], "an object whose values are whole numbers"),
        (5, torch.Generator | None, "a Generator or None"),
    ],
    ids=str,
)
def test_values_of_other_types(value, hint, expected):
    with pytest.raises(InputError, match=f"; expected {expected}\\.") as caught:
        checked("option", value, hint)
    assert "option is " in str(caught.value)


def test_the_options_of_ones_own_pipeline_are_checked_by_their_annotations():
    class Rounded(Pipeline):
        task = "rounded"

        def preprocess(self, item, *, scale: float = 1.0, labels: list[str] | None = None):
            return {"input": torch.tensor([item * scale])}

        def forward(self, batch):
            return {"x": self.model(**batch)}

        def postprocess(self, item, features, outputs, *, digits: int = 2, anything=None):
            return round(float(outputs[0]["x"][0]), digits)

    model = torch.nn.Linear(1, 1)
    pipe = Rounded(model, device="cpu", scale=2)
    with pytest.raises(InputError, match=r"digits is '3'; expected a whole number\.\n→ Correct digits\."):
        pipe({"a": 1}, digits="3")
    with pytest.raises(InputError, match="scale is a list of 1; expected a number"):
        pipe({"a": 1}, scale=[2])
    with pytest.raises(InputError, match="scale is 'x'"):
        Rounded(model, device="cpu", scale="x")
    assert pipe.check_options({"anything": object}) == {"anything": object}
    assert pipe.check_options({"labels": "a", "digits": np.int64(1)}) == {"labels": ["a"], "digits": 1}
    assert pipe.check_options({"digits": None, "labels": None}) == {"labels": None}
