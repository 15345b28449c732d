"""Questions about pages to Donut, which reads no words: answers as transformers 5 gives them, and wrong inputs."""

from __future__ import annotations

import pytest
import transformers
from image_helpers import PICTURES, picture, save_donut
from pipeline_helpers import ours

from notebook_kit import DocumentQuestionAnsweringPipeline, DonutQuestionAnsweringPipeline, pipeline
from notebook_kit.errors import InputError, PipelineInputError

TASK = "document-question-answering"
QUESTIONS = ["where is the city?", "is it good?", "what is the name of the city?"]
SHORT = {"max_new_tokens": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_donut(tmp_path_factory.mktemp("donut"))


@pytest.fixture(scope="module")
def ask(folder):
    return ours(TASK, folder)


ROWS = [{"image": page, "question": question} for page in PICTURES for question in QUESTIONS]


def test_answers_are_those_of_transformers_5(ask, folder):
    theirs = transformers.pipeline(TASK, model=folder, device="cpu")
    expected = [theirs(row["image"], row["question"]) for row in ROWS]  # it takes no option of generate
    assert [ask(**row) for row in ROWS] == expected
    assert ask(ROWS, **SHORT) == expected
    found = {answer["answer"] for answers in expected for answer in answers}
    assert len(found) > 2 and any(found)
    assert type(ask) is DonutQuestionAnsweringPipeline and isinstance(ask, DocumentQuestionAnsweringPipeline)


def test_all_ways_to_ask_are_one(ask):
    page = PICTURES[0]
    expected = [ask(page, question, **SHORT) for question in QUESTIONS]
    assert ask(page, QUESTIONS, **SHORT) == expected
    assert list(ask(iter([{"image": page, "question": one} for one in QUESTIONS]), **SHORT)) == expected
    assert ask(image=page, question=QUESTIONS[0], word_boxes=[("city", [1, 2, 3, 4])], **SHORT) == expected[0]
    made = DocumentQuestionAnsweringPipeline(
        ask.model, ask.tokenizer, image_processor=ask.image_processor, device="cpu"
    )
    assert made(page, QUESTIONS[0], **SHORT) == expected[0]
    several = ask(page, QUESTIONS[0], num_beams=3, num_return_sequences=3, top_k=2, **SHORT)
    assert len(several) == 2


def test_a_page_is_read_once_for_its_questions(ask):
    seen = []
    hook = ask.model.encoder.register_forward_hook(lambda module, inputs, out: seen.append(len(out[0])))
    try:
        ask(ROWS, batch_size=2, **SHORT)
    finally:
        hook.remove()
    assert sum(seen) == len(PICTURES) and len(ask._states) == 0


def test_answers_are_shown(ask, tmp_path):
    expected = ask(PICTURES[0], QUESTIONS[2])
    for boxes in (None, [("city", [1, 2, 3, 4])]):
        view = ask.show(PICTURES[0], QUESTIONS[2], boxes)
        view.to_html(tmp_path / "page.html")
        assert view.result == expected and (tmp_path / "page.html").stat().st_size > 1000


def test_saved_and_loaded(ask, tmp_path):
    ask.save_pretrained(tmp_path)
    again = pipeline(TASK, model=str(tmp_path), device="cpu")
    assert type(again) is DonutQuestionAnsweringPipeline and again(**ROWS[0], **SHORT) == ask(**ROWS[0], **SHORT)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "No page was passed"),
        ({"question": "why?"}, "no page"),
        ({"question": "why?", "word_boxes": [("a", [1, 2, 3, 4])]}, "image of the page is missing"),
        ({"image": PICTURES[0]}, "Image without a question"),
        ({"image": PICTURES[0], "question": " "}, "question is empty"),
        ({"image": "none.png", "question": "why?"}, r"no file 'none\.png'"),
        ({"image": PICTURES[0], "question": "why? " * 40}, "tokens long, and the model reads at most 60"),
        ({"image": PICTURES[0], "question": "why?", "top_k": 0}, "top_k is 0"),
        ({"image": PICTURES[0], "question": "why?", "doc_stride": 3}, "no option 'doc_stride'"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_wrong_inputs_are_named(ask, given, message):
    with pytest.raises(InputError, match=message) as caught:
        ask(**given)
    assert caught.value.next_step


def test_a_wrong_page_among_others(ask):
    with pytest.raises(PipelineInputError, match=r"inputs\[1\]"):
        ask([ROWS[0], {"image": "none.png", "question": "why?"}], **SHORT)


def test_a_captioner_answers_no_questions(ask, tmp_path):
    from image_helpers import save_blip

    save_blip(tmp_path)
    tokenizer = ours("vqa", str(tmp_path)).tokenizer
    with pytest.raises(InputError, match="no token <s_docvqa>"):
        pipeline(TASK, model=ask.model, tokenizer=tokenizer, image_processor=ask.image_processor)


def test_fields_of_a_page_as_text(folder):
    """image-to-text with a prompt, which no start token precedes."""
    read = ours("image-to-text", folder)
    text = read(picture(), prompt="<s_docvqa>the city", **SHORT)[0]["generated_text"]
    assert text.startswith("the city") and len(text) > len("the city")
