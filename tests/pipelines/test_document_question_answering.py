"""Questions about a page: answers as transformers 5 gives them, all ways to ask, words read by Tesseract, wrong pages."""

from __future__ import annotations

import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image, ImageDraw, ImageFont
from pipeline_helpers import CONTEXT, assert_same, make_tokenizer, ours, words

from notebook_kit import LayoutLMForQuestionAnswering, pipeline
from notebook_kit.errors import InputError, PipelineInputError

QUESTION = "Where do I live?"


def page(text: str = CONTEXT, seed: int = 0) -> list[tuple[str, list[int]]]:
    """The words of a text in lines of six, each with a box."""
    widths = np.random.default_rng(seed).integers(40, 150, 1000)
    boxes = [(i % 6 * 160, i // 6 * 40 % 960) for i in range(len(text.split()))]
    pairs = zip(text.split(), boxes, widths, strict=False)
    return [(word, [x, y, x + int(width), y + 30]) for word, (x, y), width in pairs]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Our pipeline and that of transformers over one random LayoutLM."""
    folder = str(tmp_path_factory.mktemp("layoutlm"))
    config = transformers.LayoutLMConfig(
        vocab_size=len(words()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    torch.manual_seed(3)
    transformers.LayoutLMForQuestionAnswering(config).eval().save_pretrained(folder)
    make_tokenizer(folder)
    task = "document-question-answering"
    return ours(task, folder), transformers.pipeline(task, model=folder, device="cpu")


@pytest.fixture(scope="module")
def ask(both):
    return both[0]


OPTIONS = [
    {},
    {"top_k": 5},
    {"top_k": 3, "max_answer_len": 2},
    {"max_answer_len": 1},
    {"max_seq_len": 40, "top_k": 4},
    {"max_seq_len": 60, "doc_stride": 10},
    {"max_seq_len": 60, "doc_stride": 0, "handle_impossible_answer": True, "top_k": 30},
    {"handle_impossible_answer": True, "top_k": 2},
    {"padding": "max_length", "max_seq_len": 100},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("times", [1, 3])
def test_answers_are_those_of_transformers_5(both, times, options):
    mine, theirs = both
    given = {"image": None, "question": QUESTION, "word_boxes": page(" ".join([CONTEXT] * times))}
    top_k = options.get("top_k", 1)
    # The oracle lists a span of words once per window, and once per pair of its tokens.
    expected, seen = [], set()
    for one in theirs(**given, **{**options, "top_k": 20 * top_k if top_k > 1 else 1}):
        if (key := (one["start"], one["end"], one["answer"])) not in seen:
            seen.add(key)
            expected.append(one)
    found = mine(**given, **options)
    for one in found:
        assert one.pop("words") == ([] if not one["answer"] else list(range(one["start"], one["end"] + 1)))
    assert len(found) == top_k
    assert_same(found, expected[:top_k])


def test_all_ways_to_ask_are_one(ask):
    boxes, image = page(), Image.new("RGB", (30, 40))
    expected = ask(question=QUESTION, word_boxes=boxes)
    asked = {"question": QUESTION, "word_boxes": boxes}
    assert ask(image, QUESTION, boxes) == expected
    assert ask(image=image, question=QUESTION, word_boxes=boxes) == expected
    assert ask(asked) == expected
    assert ask([asked]) == [expected]
    assert ask({**asked, "image": image}) == expected
    other = ask(question="How many people?", word_boxes=boxes)
    several = ask(question=[QUESTION, "How many people?"], word_boxes=boxes)
    assert_same(several, [expected, other])
    assert_same(list(ask(dict(asked) for _ in range(3))), [expected] * 3)
    arrays = [(word, np.array(box)) for word, box in boxes]
    assert ask(question=QUESTION, word_boxes=arrays) == expected
    floats = tuple([word, tuple(side + 0.25 for side in box)] for word, box in boxes)
    assert ask(question=QUESTION, word_boxes=floats) == expected


def test_boxes_decide(ask):
    boxes = page()
    turned = [(word, other) for (word, _), (_, other) in zip(boxes, reversed(boxes), strict=True)]
    assert ask(question=QUESTION, word_boxes=boxes)[0]["score"] != ask(question=QUESTION, word_boxes=turned)[0]["score"]


def test_a_long_question_can_be_cut(ask):
    long = "the city " * 70
    assert ask(question=long, word_boxes=page(), max_question_len=4) == ask(
        question="the city the city", word_boxes=page()
    )
    with pytest.raises(InputError, match="no room for the page"):
        ask(question=long, word_boxes=page())


WRONG = [
    ([], "word_boxes is empty"),
    ("Total", "word_boxes is of the type str"),
    (["Total"], r"word_boxes\[0\] is 'Total': it is not a word and a box"),
    ([("Total", [1, 2, 3, 4]), (5, [1, 2, 3, 4])], r"word_boxes\[1\].*not a word and a box"),
    ([("Total", [1, 2, 3])], "does not have four numbers"),
    ([("Total", ["1", 2, 3, 4])], "does not have four numbers"),
    ([("Total", [10, 20, 1200, 40])], "outside the page, which goes from 0 to 1000"),
    ([("Total", [-1, 20, 30, 40])], "outside the page"),
    ([("Total", [float("nan"), 20, 30, 40])], "outside the page"),
    ([("Total", [100, 20, 30, 40])], "right side is left of its left"),
    ([("\u200b", [1, 2, 3, 4])], "no tokens"),
]


@pytest.mark.parametrize(("boxes", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_boxes(ask, boxes, message):
    with pytest.raises(InputError, match=message):
        ask(question=QUESTION, word_boxes=boxes)


def test_wrong_questions_and_options(ask):
    boxes = page()
    for given, message in (
        ({"word_boxes": boxes}, "question is missing"),
        ({"question": " ", "word_boxes": boxes}, "question is empty"),
        ({"question": QUESTION}, "no page"),
        ({"image": QUESTION, "question": Image.new("RGB", (3, 3))}, "The question is an image"),
        ({"image": [Image.new("RGB", (3, 3))] * 2, "question": QUESTION}, "A question was passed with 2 pages"),
        ({"question": 3, "word_boxes": boxes}, "question is 3; expected text or a list of texts"),
        ({"image": Image.new("RGB", (3, 3))}, "Image without a question"),
        ({"question": QUESTION, "word_boxes": boxes, "top_k": 0}, "top_k is 0"),
        ({"question": QUESTION, "word_boxes": boxes, "max_answer_length": 3}, "Did you mean 'max_answer_len'"),
        ({"question": QUESTION, "word_boxes": boxes, "max_seq_len": 30, "doc_stride": 28}, "nothing new to read"),
    ):
        with pytest.raises(InputError, match=message):
            ask(**given)
    with pytest.raises(InputError, match="No page was passed"):
        ask()
    good = {"question": QUESTION, "word_boxes": boxes}
    with pytest.raises(PipelineInputError, match=r"inputs\[1\]: word_boxes is empty") as caught:
        ask([good, {**good, "word_boxes": []}, good])
    assert caught.value.results[0] == caught.value.results[2] == ask(good)


# Tesseract -----------------------------------------------------------------------------------------------------------


class Failed(RuntimeError):
    """The error of a program that failed."""


def stand_in(read, error=None):
    """A module that answers as pytesseract does, and keeps its calls."""
    calls = []

    def image_to_data(image, **options):
        calls.append((image.size, options))
        if error:
            raise error
        return read

    return SimpleNamespace(
        image_to_data=image_to_data,
        Output=SimpleNamespace(DICT="dict"),
        TesseractNotFoundError=FileNotFoundError,
        TesseractError=Failed,
        calls=calls,
    )


READ = {
    "text": ["", "Total", "  ", "12", "EUR"],
    "left": [0, 20, 0, 100, 150],
    "top": [0, 90, 0, 90, 90],
    "width": [200, 30, 5, 10, 60],
    "height": [100, 8, 5, 9, 10],
}


def test_words_are_read_by_tesseract_once_per_page(ask, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytesseract", module := stand_in(READ))
    image = Image.new("RGB", (200, 100), "white")
    found = ask(image, ["What is the total?", "Which currency?"], lang="eng+tel", tesseract_config="--psm 6")
    assert module.calls == [((200, 100), {"lang": "eng+tel", "config": "--psm 6", "output_type": "dict"})]
    boxes = [("Total", [100, 900, 250, 980]), ("12", [500, 900, 550, 990]), ("EUR", [750, 900, 1000, 1000])]
    assert found == ask(question=["What is the total?", "Which currency?"], word_boxes=boxes)
    assert ask({"image": image, "question": "Which currency?"}) == found[1]
    ask([{"image": image, "question": "Who?"}, {"image": Image.new("L", (9, 9)), "question": "Who?"}])
    assert len(module.calls) == 4


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, "needs pytesseract.\n→ Install it: pip install pytesseract, .*apt install tesseract-ocr"),
        (stand_in(READ, FileNotFoundError()), "needs the program tesseract.\n→ Install it"),
        (stand_in(READ, Failed("no language xyz")), "Tesseract failed: no language xyz"),
        (stand_in({name: [] for name in READ}), "found no words on this page"),
    ],
    ids=["no module", "no program", "it fails", "an empty page"],
)
def test_a_page_that_cannot_be_read(ask, monkeypatch, module, message):
    monkeypatch.setitem(sys.modules, "pytesseract", module)
    with pytest.raises(InputError, match=message):
        ask(Image.new("RGB", (20, 10)), QUESTION)


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed")
def test_the_real_tesseract_reads_a_page(ask):
    pytest.importorskip("pytesseract")
    image = Image.new("RGB", (600, 200), "white")
    font = ImageFont.load_default(40)
    ImageDraw.Draw(image).text((40, 60), "Total  live  Berlin", fill="black", font=font)
    read = ask.read_page({"image": image})
    assert read.words == ["Total", "live", "Berlin"]
    lefts, tops = read.boxes[:, 0], read.boxes[:, 1]
    assert abs(lefts[0] - 40 / 0.6) < 10 and (np.diff(lefts) > 100).all() and (abs(tops - 350) < 60).all()
    assert ask(image, QUESTION)[0]["answer"].split()[0] in read.words


# The model -----------------------------------------------------------------------------------------------------------


def test_the_task_of_a_checkpoint(ask, tmp_path):
    ask.save_pretrained(tmp_path)
    again = pipeline(model=str(tmp_path), device="cpu")
    assert again.task == "document-question-answering"
    assert again(question=QUESTION, word_boxes=page()) == ask(question=QUESTION, word_boxes=page())
    with pytest.raises(InputError, match="cannot do question-answering"):
        pipeline("question-answering", model=ask.model, tokenizer=ask.tokenizer)
    assert isinstance(again.model, LayoutLMForQuestionAnswering)


def test_boxes_as_fractions_of_the_page(ask):
    with pytest.raises(InputError, match="fractions of the page") as caught:
        ask(question="What is the total?", word_boxes=[("Total", [0.1, 0.1, 0.2, 0.15]), ("5", [0.8, 0.1, 1, 0.15])])
    assert "Multiply them by 1000" in caught.value.next_step
