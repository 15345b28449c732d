"""Answers to questions about images: what transformers 4.57 gave, and what it could not do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from image_helpers import PICTURES, save_blip, save_vilt
from pipeline_helpers import assert_same, ours
from record_vqa_v4 import DATA, QUESTIONS, with_pictures

import notebook_kit
from notebook_kit import ViltProcessor, VisualQuestionAnsweringPipeline
from notebook_kit.errors import InputError, PipelineInputError, UnknownArchitectureError
from notebook_kit.pipelines import KeyDataset
from notebook_kit.registry.tasks import task_name, task_of

RECORDED = json.loads((DATA / "vqa_v4.json").read_text(encoding="utf-8"))
ROWS = [{"image": picture, "question": QUESTIONS[place % 3]} for place, picture in enumerate(PICTURES)]


@pytest.fixture(scope="module")
def pipe():
    return ours("vqa", str(DATA / "tiny-vilt"))


@pytest.mark.parametrize("case", RECORDED, ids=range(len(RECORDED)))
def test_equals_what_was_recorded(pipe, case):
    assert_same(pipe(**with_pictures(case["call"])), case["answer"])


def test_what_was_recorded_differs():
    """Else the comparison would say little."""
    single = [case["answer"] for case in RECORDED[:6]]
    assert len({answers[0]["answer"] for answers in single}) > 1
    assert len({answers[0]["score"] for answers in single}) == 6


def test_forms_of_inputs(pipe, tmp_path):
    expected = pipe(ROWS)
    assert len(expected) == len(ROWS) and [len(answers) for answers in expected] == [5] * len(ROWS)
    first = ROWS[0]
    path = tmp_path / "picture.png"
    first["image"].save(path)
    for call in (
        lambda: pipe(first),
        lambda: pipe(first["image"], first["question"]),
        lambda: pipe(image=first["image"], question=first["question"]),
        lambda: pipe(first["image"], question=first["question"]),
        lambda: pipe(str(path), first["question"]),
        lambda: pipe(path, first["question"]),
        lambda: pipe(path.read_bytes(), first["question"]),
        lambda: pipe({"bytes": path.read_bytes(), "path": None}, first["question"]),
        lambda: pipe(
            torch.tensor(list(first["image"].tobytes()), dtype=torch.uint8).view(40, 50, 3), first["question"]
        ),
        lambda: pipe([first["image"]], first["question"])[0],
        lambda: pipe(first["image"], [first["question"]])[0],
    ):
        assert_same(call(), expected[0])


def test_streams(pipe):
    expected = pipe(ROWS)
    assert_same(list(pipe(row for row in ROWS)), expected)
    assert_same(list(pipe(KeyDataset([{"row": row} for row in ROWS], "row"))), expected)
    images = KeyDataset(ROWS, "image")
    same = pipe(images, QUESTIONS[0])
    assert len(same) == len(ROWS)
    assert_same(list(same), pipe([row["image"] for row in ROWS], QUESTIONS[0]))
    about_one = pipe(PICTURES[1], (question for question in QUESTIONS))
    assert_same(list(about_one), pipe(PICTURES[1], QUESTIONS))


def test_an_image_is_processed_once_for_its_questions(pipe, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(pipe, "process", lambda image: seen.append(image.size) or type(pipe).process(pipe, image))
    expected = [pipe(PICTURES[0], question) for question in QUESTIONS]
    assert seen == [(50, 40)] * 3
    seen.clear()
    assert_same(pipe(PICTURES[0], QUESTIONS), expected)
    path = str(tmp_path / "picture.png")
    PICTURES[0].save(path)
    assert_same(pipe([{"image": "".join(path), "question": question} for question in QUESTIONS * 4]), expected * 4)
    assert seen == [(50, 40)] * 2


def test_an_image_is_embedded_once_for_its_questions(pipe, monkeypatch):
    rows = [{"image": picture, "question": question} for picture in PICTURES for question in QUESTIONS]
    padded = VisualQuestionAnsweringPipeline(
        pipe.model, pipe.tokenizer, image_processor=pipe.image_processor, pad=True, device="cpu"
    )
    expected = padded(rows)  # from the pixels of each question
    seen, embed = [], pipe.model.vilt.embeddings.patch_embeddings.forward
    monkeypatch.setattr(
        pipe.model.vilt.embeddings.patch_embeddings, "forward", lambda pixels: seen.append(len(pixels)) or embed(pixels)
    )
    for size in (1, 2, 16):
        seen.clear()
        assert_same(pipe(rows, batch_size=size), expected)
        assert sum(seen) == (len(rows) if size == 1 else len(PICTURES))
    monkeypatch.setattr(pipe.model.vilt.embeddings, "limit", 2)  # patches per picture
    assert_same(pipe(rows, batch_size=16), [pipe(row) for row in rows])


def test_batches_change_nothing(pipe):
    rows = [{"image": picture, "question": question} for picture in PICTURES for question in QUESTIONS]
    alone = [pipe(row) for row in rows]
    assert_same(pipe(rows, batch_size=8), alone)
    padded = VisualQuestionAnsweringPipeline(
        pipe.model, pipe.tokenizer, image_processor=pipe.image_processor, pad=True, device="cpu"
    )
    assert_same(padded(rows, batch_size=8), alone)  # patches do not overlap, so padding changes nothing


def test_names_and_classes(pipe):
    assert pipe.task == "vqa" and task_name("vqa") == "visual-question-answering"
    assert type(ours("visual-question-answering", str(DATA / "tiny-vilt"))) is type(pipe)
    assert task_of("", ["ViltForQuestionAnswering"]) == "visual-question-answering"
    assert task_of("", ["BertForQuestionAnswering"]) == "question-answering"
    assert type(ours(None, str(DATA / "tiny-vilt"))) is VisualQuestionAnsweringPipeline  # by its class
    with pytest.raises(UnknownArchitectureError, match="no AutoModelForVisualQuestionAnswering"):
        notebook_kit.pipeline("vqa", model=str(DATA / "tiny-question-answering"))


def test_a_joint_processor(pipe):
    processor = ViltProcessor(pipe.image_processor, pipe.tokenizer)
    made = notebook_kit.pipeline("vqa", model=pipe.model, processor=processor)
    assert_same(made(ROWS[0]), pipe(ROWS[0]))


def test_saved_and_loaded(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    assert_same(ours("vqa", str(tmp_path))(ROWS[:2]), pipe(ROWS[:2]))


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {}, "The image is missing"),
        ((), {"question": "Why?"}, "The image is missing"),
        ((PICTURES[0],), {}, "The input is an Image without a question"),
        (("a.png",), {}, "The input is a str without a question"),
        (({"image": PICTURES[0]},), {}, "The question is missing"),
        (({"image": PICTURES[0], "questions": "Why?"},), {}, "The question is missing. Did you mean 'questions'"),
        (({"question": "Why?"},), {}, "The image is missing"),
        ((PICTURES[0], " "), {}, "The question is empty"),
        ((PICTURES[0], {"text": "Why?"}), {}, "The question is a dict"),
        ((PICTURES[0], 5), {}, "has the type int"),
        (("Why?", PICTURES[0]), {}, "The question is an image"),
        ((["Why?", "How?"], np.zeros((4, 4, 3))), {}, "The question is an image"),
        ((5, "Why?"), {}, "has the type int"),
        (("none.png", "Why?"), {}, "no file 'none.png'"),
        ((PICTURES[0], "Why?", 3), {}, "There are 3 inputs"),
        ((PICTURES[0], "Why? " * 40), {}, "tokens long, and the model reads at most 40"),
        ((iter(PICTURES), QUESTIONS), {}, "Several questions were passed with a stream"),
        ((PICTURES[0], "Why?"), {"topk": 3}, "no option 'topk'. Did you mean 'top_k'"),
        ((PICTURES[0], "Why?"), {"top_k": 0}, "top_k"),
    ],
)
def test_wrong_inputs_are_named(pipe, arguments, named, message):
    with pytest.raises(InputError, match=message) as caught:
        pipe(*arguments, **named)
    assert caught.value.next_step


def test_a_failing_input_does_not_stop_the_others(pipe):
    rows = [ROWS[0], {"image": PICTURES[1]}, ROWS[2], {"image": "none.png", "question": "Why?"}]
    with pytest.raises(PipelineInputError) as caught:
        pipe(rows)
    assert caught.value.positions == (1, 3)
    assert_same(caught.value.results[2], pipe(ROWS[2]))
    kept = pipe(rows, on_error="return")
    assert_same(kept[0], pipe(ROWS[0]))
    assert isinstance(kept[3], InputError)


def test_an_image_of_any_size(pipe):
    for size in ((1, 1), (3, 500), (500, 3)):
        assert len(pipe(PICTURES[0].resize(size), QUESTIONS[0])) == 5


def test_the_labels_of_a_checkpoint(tmp_path):
    pipe = ours("vqa", save_vilt(tmp_path, id2label={0: "no", 1: "yes"}))
    assert {answer["answer"] for answer in pipe(ROWS[0])} == {"yes", "no"}


def test_a_model_that_writes_its_answers(tmp_path):
    import transformers

    pipe = ours("vqa", save_blip(tmp_path))
    reference = transformers.BlipForQuestionAnswering.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    expected = []
    for row in ROWS:
        pixels = pipe.image_processor(row["image"], return_tensors="pt")
        words = tokenizer(row["question"], return_tensors="pt", return_token_type_ids=False)
        ids = reference.generate(**words, **pixels, max_new_tokens=6)
        expected.append([{"answer": tokenizer.decode(ids[0], skip_special_tokens=True).strip()}])
    assert pipe(ROWS, max_new_tokens=6) == expected
    assert pipe(ROWS, max_new_tokens=6, batch_size=1) == expected
    assert len({answers[0]["answer"] for answers in expected}) > 1
    assert len(pipe(ROWS[0], generate_kwargs={"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 4})) == 2


def test_such_a_model_encodes_an_image_once_for_its_questions(tmp_path, monkeypatch):
    pipe = ours("vqa", save_blip(tmp_path))
    rows = [{"image": picture, "question": text} for picture in PICTURES[:3] for text in [*QUESTIONS, "Why? Why?"]]
    expected = [pipe(row, max_new_tokens=4) for row in rows]
    seen = []
    encode = pipe.model.encode_images
    monkeypatch.setattr(pipe.model, "encode_images", lambda pixels: seen.append(len(pixels)) or encode(pixels))
    for size in (2, 16):
        seen.clear()
        assert pipe(rows, max_new_tokens=4, batch_size=size) == expected
        assert sum(seen) == 3
    seen.clear()
    with torch.no_grad():
        for parameter in pipe.model.vision_model.parameters():
            parameter.mul_(-1.5)
    assert pipe(rows, max_new_tokens=4) != expected and sum(seen) == 3  # nothing is kept from call to call
    assert len(pipe._states) == 0


def test_the_path_of_an_image_in_the_place_of_the_question(pipe, tmp_path):
    with pytest.raises(InputError, match="The question is a path") as caught:
        pipe("How many?", tmp_path / "picture.png")
    assert "image first" in caught.value.next_step
