from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_helpers import CONTEXT, NER_LABELS, TEXTS, assert_same, ours

from notebook_kit.pipelines.batching import similar_batches
from notebook_kit.processing.padding import pad_features

LENGTHS = st.lists(st.integers(1, 200), max_size=60)


@given(LENGTHS, st.none() | st.integers(1, 40), st.none() | st.integers(1, 3000), st.booleans())
def test_every_sequence_is_in_one_batch_within_the_limits(lengths, most, budget, padding):
    batches = similar_batches(lengths, None if padding else lengths, most=most, budget=budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert most is None or len(batch) <= most
        assert budget is None or len(batch) == 1 or len(batch) * longest <= budget
        assert padding or all(lengths[i] == longest for i in batch)
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.sampled_from(["left", "right"]))
def test_padding(lengths, side):
    rows = [list(range(1, n + 1)) for n in lengths]
    features = [
        {"input_ids": row, "attention_mask": np.array(row), "wide": torch.tensor(row)[:, None].float(), "other": "kept"}
        for row in rows
    ]
    names = ["input_ids", "attention_mask", "wide", "absent"]
    batch = pad_features(features, names, fill={"input_ids": 99, "wide": -1.0}, side=side)
    assert list(batch) == names[:3]
    assert batch["input_ids"].dtype == torch.int64
    for i, row in enumerate(rows):
        gap = [99] * (max(lengths) - len(row))
        assert batch["input_ids"][i].tolist() == (row + gap if side == "right" else gap + row)
        assert batch["attention_mask"][i].tolist() == [0 if x == 99 else x for x in batch["input_ids"][i].tolist()]
        assert batch["wide"][i, :, 0].tolist() == [-1.0 if x == 99 else x for x in batch["input_ids"][i].tolist()]


NER = {"id2label": dict(enumerate(NER_LABELS)), "label2id": {label: i for i, label in enumerate(NER_LABELS)}}
NLI = {"id2label": {0: "contradiction", 1: "entailment"}, "label2id": {"contradiction": 0, "entailment": 1}}
TASKS = {
    "text-classification": ("ForSequenceClassification", {"num_labels": 3}, {"top_k": None}, TEXTS),
    "token-classification": ("ForTokenClassification", NER, {"aggregation_strategy": "first", "stride": 3}, TEXTS),
    "feature-extraction": ("Model", {}, {}, TEXTS),
    "fill-mask": ("ForMaskedLM", {}, {"top_k": 2}, [f"{text} [MASK] [MASK]"[-90:] for text in TEXTS]),
    "zero-shot-classification": ("ForSequenceClassification", NLI, {"candidate_labels": ["a film", "city"]}, TEXTS[:7]),
    "question-answering": (
        "ForQuestionAnswering",
        {},
        {"max_seq_len": 60, "doc_stride": 10},
        [{"question": text[:20] or "Where?", "context": CONTEXT[: 40 + 30 * i]} for i, text in enumerate(TEXTS)],
    ),
}


@pytest.fixture(scope="module")
def one_by_one(checkpoints):
    """For each task the pipeline, its inputs, and their answers, each computed alone."""
    made = {}

    def make(task):
        if task not in made:
            head, config, options, inputs = TASKS[task]
            pipe = ours(task, checkpoints(head, **config), **options)
            if "stride" in options:
                pipe.tokenizer.model_max_length = 20
            made[task] = pipe, inputs, [unwrapped(pipe(item)) for item in inputs]
        return made[task]

    return make


def unwrapped(answer):
    """A single text gives a list of one answer where a list of texts gives the answer."""
    return answer[0] if isinstance(answer, list) and len(answer) == 1 else answer


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_answers_do_not_depend_on_the_batch(one_by_one, task, data):
    pipe, inputs, alone = one_by_one(task)
    order = data.draw(st.lists(st.integers(0, len(inputs) - 1), min_size=2, max_size=14))
    options = {
        "batch_size": data.draw(st.none() | st.integers(1, 20)),
        "batch_tokens": data.draw(st.none() | st.integers(1, 500)),
        "window": data.draw(st.none() | st.integers(1, 20)),
    }
    chosen = [inputs[i] for i in order]
    expected = [alone[i] for i in order]
    together = [unwrapped(answer) for answer in pipe(chosen, **options)]
    assert_same(together, expected)
    streamed = [unwrapped(answer) for answer in pipe(iter(chosen), **options)]
    assert_same(streamed, expected)


def test_without_a_token_to_pad_with(checkpoints):
    """Only inputs of one length share a batch then."""
    pipe = ours("text-classification", checkpoints("ForSequenceClassification", num_labels=3))
    expected = [pipe(text)[0] for text in TEXTS]
    before = pipe.tokenizer.pad_token
    pipe.tokenizer.pad_token = None
    try:
        assert not pipe.can_pad
        assert_same(pipe(TEXTS), expected)
    finally:
        pipe.tokenizer.pad_token = before
