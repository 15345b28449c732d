"""Labels of images by texts: our pipeline and that of transformers over the same tiny random checkpoints."""

from __future__ import annotations

import pytest
import transformers
from image_helpers import PICTURES, save_clip, save_siglip
from pipeline_helpers import assert_same, ours

from notebook_kit import ZeroShotImageClassificationPipeline
from notebook_kit.errors import InputError
from notebook_kit.pipelines import KeyDataset
from notebook_kit.registry.tasks import task_of

LABELS = ["dog", "a happy fox", "Paris in summer", "name"]
MAKERS = {"clip": save_clip, "siglip": save_siglip}


@pytest.fixture(scope="module", params=MAKERS)
def both(request, tmp_path_factory):
    folder = MAKERS[request.param](tmp_path_factory.mktemp(request.param))
    theirs = transformers.pipeline("zero-shot-image-classification", model=folder, device="cpu", use_fast=False)
    return ours("zero-shot-image-classification", folder), theirs


@pytest.fixture(scope="module")
def pipe(both):
    return both[0]


@pytest.mark.parametrize(
    "options",
    [{}, {"hypothesis_template": "{}"}, {"hypothesis_template": "The {} is good."}, {"batch_size": 4}],
    ids=str,
)
def test_equals_transformers(both, options):
    mine, theirs = both
    assert_same(
        mine(PICTURES, candidate_labels=LABELS, **options), theirs(PICTURES, candidate_labels=LABELS, **options)
    )


def test_what_is_compared_differs(pipe):
    answers = pipe(PICTURES, LABELS)
    assert len({one[0]["label"] for one in answers}) > 1
    assert len({round(one[0]["score"], 5) for one in answers}) == len(PICTURES)
    assert all(one == sorted(one, key=lambda answer: -answer["score"]) for one in answers)


def test_forms_of_inputs(pipe, tmp_path):
    expected = pipe(PICTURES, candidate_labels=LABELS)
    path = tmp_path / "picture.png"
    PICTURES[0].save(path)
    for call in (
        lambda: pipe(PICTURES[0], LABELS),
        lambda: pipe(image=PICTURES[0], candidate_labels=LABELS),
        lambda: pipe(images=PICTURES[0], candidate_labels=LABELS),
        lambda: pipe(str(path), ", ".join(LABELS)),
        lambda: pipe([path], tuple(LABELS))[0],
        lambda: next(iter(pipe(KeyDataset([{"image": PICTURES[0]}], "image"), LABELS))),
    ):
        assert_same(call(), expected[0])
    one = pipe(PICTURES[0], ["dog"])
    assert len(one) == 1 and 0 < one[0]["score"] <= 1
    made = ZeroShotImageClassificationPipeline(
        pipe.model, pipe.tokenizer, image_processor=pipe.image_processor, candidate_labels=LABELS, device="cpu"
    )
    assert_same(made(PICTURES), expected)


def test_texts_are_encoded_once_per_call(pipe, monkeypatch):
    calls = []
    encode = pipe._encode
    monkeypatch.setattr(pipe, "_encode", lambda *given: calls.append(given) or encode(*given))
    pipe(PICTURES, LABELS, batch_size=1)
    assert len(calls) == 1
    pipe(PICTURES[0], LABELS)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {"candidate_labels": LABELS}, "No image was passed"),
        ((PICTURES[0],), {}, "no labels to choose from"),
        ((PICTURES[0], []), {}, "no labels to choose from"),
        ((PICTURES[0], " , "), {}, "no labels to choose from"),
        ((PICTURES[0], [1, 2]), {}, "candidate_labels is"),
        ((PICTURES[0], LABELS), {"hypothesis_template": "A photo."}, "has no placeholder"),
        ((PICTURES[0], LABELS), {"hypothesis": "A {}."}, "no option 'hypothesis'. Did you mean 'hypothesis_template'"),
        (("none.png", LABELS), {}, "no file 'none.png'"),
        ((5, LABELS), {}, "has the type int"),
    ],
)
def test_wrong_inputs_are_named(pipe, arguments, named, message):
    with pytest.raises(InputError, match=message) as caught:
        pipe(*arguments, **named)
    assert caught.value.next_step


def test_a_label_that_is_too_long(pipe):
    labels = ["dog", "fox " * 100]
    if pipe.model.compares_one_by_one:  # its texts are always cut, as in training
        assert len(pipe(PICTURES[0], labels)) == 2
        return
    with pytest.raises(
        InputError, match=r"label 1 \(counted from 0\) has \d+ tokens, and the model reads at most 40"
    ) as caught:
        pipe(PICTURES[0], labels)
    assert "truncation" in caught.value.next_step
    cut = {"tokenizer_kwargs": {"truncation": True, "max_length": 40}}
    assert len(pipe(PICTURES[0], labels, **cut)) == 2


def test_scores_of_siglip_do_not_depend_on_the_other_labels(pipe):
    alone, together = pipe(PICTURES[0], LABELS[:1]), {one["label"]: one["score"] for one in pipe(PICTURES[0], LABELS)}
    assert (alone[0]["score"] == pytest.approx(together[LABELS[0]])) == pipe.model.compares_one_by_one


def test_the_task_of_a_checkpoint():
    assert task_of("", ["CLIPModel"]) == "zero-shot-image-classification"
    assert task_of("", ["CLIPForImageClassification"]) is None or task_of("", ["CLIPForImageClassification"])
