from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from pipeline_helpers import CONTEXT, assert_same, ours
from record_v4 import CHECKPOINT, DATA

from notebook_kit.errors import InputError, PipelineInputError

RECORDED = json.loads((DATA / "question_answering_v4.json").read_text(encoding="utf-8"))
QUESTION = "Where do I live?"


@pytest.fixture(scope="module")
def answer():
    return ours("question-answering", str(CHECKPOINT))


@pytest.mark.parametrize(
    "case", RECORDED, ids=lambda case: str({k: v for k, v in case["call"].items() if k != "context"})
)
def test_answers_are_those_of_transformers_4(answer, case):
    assert_same(answer(**case["call"]), case["answer"])


@pytest.mark.parametrize("case", RECORDED[:8], ids=range(8))
def test_answers_are_spans_of_the_context(answer, case):
    given = case["call"]
    found = answer(**given)
    for one in found if isinstance(found, list) else [found]:
        assert one["answer"] == given["context"][one["start"] : one["end"]]


def test_all_ways_to_ask_are_one(answer):
    expected = answer(question=QUESTION, context=CONTEXT)
    example = SimpleNamespace(question_text=QUESTION, context_text=CONTEXT)
    asked = {"question": QUESTION, "context": CONTEXT}
    assert answer(QUESTION, CONTEXT) == expected
    assert answer(asked) == expected
    assert answer([asked]) == expected
    assert answer(example) == expected
    assert_same(answer([asked, example]), [expected, expected])
    assert_same(list(answer(asked for _ in range(3))), [expected] * 3)
    assert answer(topk=1, **asked) == expected


def test_a_long_question_can_be_cut(answer):
    long = "the city " * 70
    assert answer(question=long, context="live in berlin", max_question_len=4) == answer(
        question="the city the city", context="live in berlin"
    )
    with pytest.raises(InputError, match="no room for the context"):
        answer(question=long, context="live in berlin")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"question": "", "context": "x"}, "question is empty"),
        ({"question": "x"}, "context is missing"),
        ({"question": "x", "context": None}, "context is a NoneType"),
        ("only one", "is a str"),
    ],
)
def test_questions_that_cannot_be_read(answer, inputs, message):
    with pytest.raises(InputError, match=message):
        answer(inputs)


def test_unequal_lists_and_wrong_options(answer):
    with pytest.raises(InputError, match="2 questions and 3 contexts"):
        answer(question=["a", "b"], context=["a", "b", "c"])
    with pytest.raises(InputError, match="context is missing"):
        answer(question="a")
    with pytest.raises(InputError, match="top_k is 0"):
        answer(question="a", context="b", top_k=0)
    with pytest.raises(InputError, match="doc_stride"):
        answer(question="a", context="b", max_seq_len=10, doc_stride=20)


def test_a_question_that_fails_is_named(answer):
    good = {"question": QUESTION, "context": CONTEXT}
    with pytest.raises(PipelineInputError, match=r"inputs\[1\]") as caught:
        answer([good, {"question": "", "context": "x"}, good])
    assert_same(caught.value.results, [answer(good), None, answer(good)])
