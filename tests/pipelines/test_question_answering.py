from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pipeline_helpers import CONTEXT, assert_same, ours, word_level
from record_v4 import CHECKPOINT, DATA

from notebook_kit import BertConfig, BertForQuestionAnswering, pipeline
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


WINDOWS = [
    {},
    {"top_k": 6},
    {"top_k": 300},
    {"top_k": 6, "align_to_words": False},
    {"top_k": 6, "doc_stride": 0},
    {"top_k": 6, "max_seq_len": 50, "doc_stride": 30, "max_answer_len": 3},
    {"handle_impossible_answer": True, "top_k": 4, "max_seq_len": 60},
    {"padding": "max_length", "max_seq_len": 90, "top_k": 3},
]


@pytest.mark.parametrize("options", WINDOWS, ids=str)
@pytest.mark.parametrize("context", [CONTEXT, f"{CONTEXT} {CONTEXT}"], ids=["once", "twice"])
def test_answers_over_several_windows(answer, context, options):
    given = {"question": QUESTION, "context": context, **options}
    found = answer(**given)
    found = found if isinstance(found, list) else [found]
    expected = by_brute_force(answer, **given)
    assert len({(one["start"], one["end"]) for one in found}) == len(found)
    assert_same([one["score"] for one in found], [score for _, score in expected], within=1e-6)
    assert_same([one["score"] for one in found], [dict(expected)[one["start"], one["end"]] for one in found], 1e-6)
    for one in found:
        assert one["answer"] == context[one["start"] : one["end"]]
    assert sum(one["score"] for one in found) <= 1


def by_brute_force(pipe, question, context, top_k=1, max_answer_len=15, align_to_words=True, padding=False,
                   handle_impossible_answer=False, max_seq_len=128, doc_stride=None):  # fmt: skip
    """[((start, end), score)], best first, from the model's logits, one span after the other."""
    tokenizer, model = pipe.tokenizer, pipe.model
    room = max_seq_len - len(tokenizer(question)["input_ids"]) - 1
    encoded = tokenizer(question, context, truncation="only_second", max_length=max_seq_len, padding=padding,
                        stride=min(128, room // 2, max_seq_len // 2) if doc_stride is None else doc_stride,
                        return_overflowing_tokens=True, return_offsets_mapping=True)  # fmt: skip
    text = tokenizer(context, add_special_tokens=False, verbose=False)
    words = {}  # the characters of a token -> those of its word
    for token, word in zip(text.encodings[0].offsets, text.word_ids(), strict=True):
        words[token] = text.encodings[0].word_to_chars(word)
    windows = []
    for i, encoding in enumerate(encoded.encodings):
        inputs = {
            name: torch.tensor(encoded[name][i])[None] for name in ("input_ids", "attention_mask", "token_type_ids")
        }
        with torch.inference_mode():
            output = model(**inputs)
        inside = [t for t, part in enumerate(encoding.sequence_ids) if part == 1]
        windows.append((encoding.offsets, inside, output.start_logits[0].tolist(), output.end_logits[0].tolist()))
    totals = []
    for which in (2, 3):
        highest = {"none": min(window[which][0] for window in windows)}
        for window in windows:
            for t in window[1]:
                place = window[0][t]
                highest[place] = max(highest.get(place, -np.inf), window[which][t])
        totals.append(sum(map(np.exp, highest.values())))
    best: dict = {}
    for offsets, inside, starts, ends in windows:
        spans = [
            (np.exp(starts[s]) / totals[0] * np.exp(ends[e]) / totals[1], offsets[s], offsets[e])
            for s in inside for e in inside if s <= e < s + max_answer_len
        ]  # fmt: skip
        sums: dict = {}
        for score, s, e in spans:
            place = (words[s][0], words[e][1]) if align_to_words else (s[0], e[1])
            sums[place] = sums.get(place, 0) + score
        for place, score in sums.items():
            best[place] = max(score, best.get(place, 0))
    if handle_impossible_answer:
        best[0, 0] = min(np.exp(window[2][0]) / totals[0] * np.exp(window[3][0]) / totals[1] for window in windows)
    return sorted(best.items(), key=lambda item: -item[1])[:top_k]


WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "who",
    "rome",
    "oslo",
    "may",
    "May",
    "and",
    "big",
    "in",
    ".",
    "(",
    ")",
]


class ByToken(BertForQuestionAnswering):
    """The logits of a token depend on its id and the id of the one before it alone."""

    logits = {"rome": 7.2, "oslo": 9.0, "may": 5.0, "May": 5.0, "in may": 8.0}

    def forward(self, input_ids=None, attention_mask=None, **inputs):
        output = super().forward(input_ids=input_ids, attention_mask=attention_mask)
        names = [[WORDS[token] for token in row] for row in input_ids.tolist()]
        rows = [
            [self.logits.get(f"{before} {word}", self.logits.get(word, 0.0)) for before, word in zip(["", *row], row, strict=False)]
            for row in names
        ]  # fmt: skip
        output.start_logits, output.end_logits = torch.tensor(rows), torch.tensor(rows)
        return output


@pytest.fixture(scope="module")
def by_token():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = ByToken(BertConfig(vocab_size=len(WORDS), max_position_embeddings=512, **sizes))
    return pipeline("question-answering", model=model, tokenizer=word_level(WORDS, model_max_length=512), device="cpu")


@pytest.mark.parametrize("options", [{}, {"align_to_words": False}, {"doc_stride": 16}, {"max_seq_len": 90}], ids=str)
@pytest.mark.parametrize(("rome", "oslo"), [(300, 20), (20, 300), (450, 20), (300, 330), (200, 499)])
def test_the_likelier_word_wins_wherever_the_windows_cut(by_token, rome, oslo, options):
    words = ["and"] * 500
    words[rome], words[oslo] = "rome", "oslo"
    first, second = by_token(question="who", context=" ".join(words), top_k=2, **options)
    total = np.exp(9.0) + np.exp(7.2) + 498 + 1  # every token of the context once, and "no answer"
    assert (first["answer"], second["answer"]) == ("oslo", "rome")
    assert (first["start"], second["start"]) == (4 * oslo + (rome < oslo) * 1, 4 * rome + (oslo < rome) * 1)
    assert first["score"] == pytest.approx(
        (np.exp(9.0) / total) ** 2, rel=0.05
    )  # with spans of oslo and its neighbours
    assert second["score"] == pytest.approx((np.exp(7.2) / total) ** 2, rel=0.05)


@pytest.mark.parametrize("options", [{}, {"max_answer_len": 3}, {"max_seq_len": 40, "doc_stride": 5}], ids=str)
def test_the_first_answers_are_the_same_however_many_are_wanted(answer, options):
    """Each answer's score adds up all spans that become its words; one span of few good ones must not decide."""
    asked = {"question": QUESTION, "context": CONTEXT, **options}
    many = answer(**asked, top_k=1000)
    assert len(many) > 30
    assert answer(**asked) == many[0]
    for top_k in (2, 5, 30):
        assert answer(**asked, top_k=top_k) == many[:top_k]


def test_an_accent_at_the_end_belongs_to_the_answer(by_token):
    from tokenizers import normalizers

    pipe = pipeline("question-answering", model=by_token.model, tokenizer=word_level(WORDS), device="cpu")
    pipe.tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer()
    for align in (True, False):
        found = pipe(question="who", context="big oslo\u0301 and big", align_to_words=align)
        assert (found["answer"], found["start"], found["end"]) == ("oslo\u0301", 4, 9)


def test_words_at_two_places_are_two_answers(by_token):
    context = "may and big and in may and May"
    answers = by_token(question="who", context=context, top_k=3, max_answer_len=1)
    assert [(one["answer"], one["start"]) for one in answers] == [("may", 19), ("may", 0), ("May", 27)]


def test_punctuation_is_no_part_of_a_word(by_token):
    from tokenizers import pre_tokenizers

    pipe = pipeline("question-answering", model=by_token.model, tokenizer=word_level(WORDS), device="cpu")
    pipe.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    answer = pipe(question="who", context="big and ( oslo).")
    assert (answer["answer"], answer["start"]) == ("oslo", 10)


def test_a_word_that_a_window_cuts_is_given_whole(answer):
    """In windows of a few tokens, every answer still begins and ends with a word."""
    context = "unbelievable heartwarming unforgettable performances everywhere"
    borders = {0} | {i for i, c in enumerate(context) if c == " "}
    found = answer(question="?", context=context, max_seq_len=12, doc_stride=3, top_k=20)
    assert len(found) > 5
    for one in found:
        assert one["start"] - 1 in borders or one["start"] == 0
        assert one["end"] in borders or one["end"] == len(context)


def test_no_answer(by_token):
    found = by_token(question="who", context="and big and", handle_impossible_answer=True, top_k=20)
    null = next(one for one in found if one["answer"] == "")
    assert null == {"score": pytest.approx(1 / 16), "start": 0, "end": 0, "answer": ""}
    assert all(one["answer"] for one in by_token(question="who", context="and big and", top_k=20))
    bare = pipeline(
        "question-answering", model=by_token.model, tokenizer=word_level(WORDS, template=False), device="cpu"
    )
    assert bare(question="who", context="and oslo")["answer"] == "oslo"
    with pytest.raises(InputError, match="handle_impossible_answer needs"):
        bare(question="who", context="and oslo", handle_impossible_answer=True)


def test_a_tokenizer_that_reads_the_context_first(by_token):
    left = word_level(WORDS, padding_side="left")
    pipe = pipeline("question-answering", model=by_token.model, tokenizer=left, device="cpu")
    for options in ({}, {"padding": "max_length", "max_seq_len": 40}):
        found = pipe(question="who", context="oslo and rome and big", top_k=2, max_answer_len=1, **options)
        assert [one["answer"] for one in found] == ["oslo", "rome"]


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
        ({"question": "x", "context": None}, "context is None"),
        ({"question": "x", "context": "\u200b"}, "context has no tokens"),
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
    with pytest.raises(InputError, match=r"doc_stride \(120\) leaves nothing new to read"):
        answer(question=QUESTION, context=CONTEXT, doc_stride=120)
    assert answer(question=QUESTION, context="Berlin", doc_stride=120) == answer(question=QUESTION, context="Berlin")
    with pytest.raises(InputError, match="doc_stride is -1"):
        answer(question="a", context="b", doc_stride=-1)


def test_a_question_that_fails_is_named(answer):
    good = {"question": QUESTION, "context": CONTEXT}
    with pytest.raises(PipelineInputError, match=r"inputs\[1\]") as caught:
        answer([good, {"question": "", "context": "x"}, good])
    assert_same(caught.value.results, [answer(good), None, answer(good)])
