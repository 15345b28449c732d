from __future__ import annotations

import itertools
import types
from collections.abc import Generator

import pytest
import torch
from pipeline_helpers import TEXTS, assert_same, ours

from notebook_kit.errors import InputError, PipelineInputError
from notebook_kit.pipelines import KeyDataset, KeyPairDataset, TextClassificationPipeline
from notebook_kit.pipelines.inputs import kind_of


@pytest.fixture(scope="module")
def pipe(checkpoints):
    return ours("text-classification", checkpoints("ForSequenceClassification", num_labels=3))


@pytest.fixture(scope="module")
def expected(pipe):
    return [pipe(text)[0] for text in TEXTS]


class Counting:
    """An endless source that counts what was read from it."""

    def __init__(self, bad=()):
        self.read = 0
        self.bad = bad

    def __iter__(self):
        for i in itertools.count():
            self.read += 1
            yield 5 if i in self.bad else TEXTS[i % len(TEXTS)]


# Kinds of input -------------------------------------------------------------------------------------------------------


class Numbered:
    """Like a dataset: a length and rows, and no more."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


class TorchDataset(Numbered, torch.utils.data.Dataset):
    pass


def test_lists_give_lists(pipe, expected):
    import datasets
    import numpy as np
    import pandas as pd
    import pyarrow

    column = datasets.Dataset.from_dict({"text": TEXTS, "label": [0] * len(TEXTS)})["text"]
    arrow = pyarrow.array(TEXTS)
    columns = (column, column[:], np.array(TEXTS), pd.Series(TEXTS, index=range(5, 5 + len(TEXTS))), pd.array(TEXTS))
    for inputs in (TEXTS, tuple(TEXTS), *columns, arrow, pyarrow.chunked_array([arrow]), {"a": TEXTS}["a"]):
        answers = pipe(inputs)
        assert isinstance(answers, list), type(inputs)
        assert_same(answers, expected)
    assert pipe([]) == []


def test_streams_give_streams(pipe, expected):
    import datasets

    rows = [{"text": text} for text in TEXTS]
    dataset = datasets.Dataset.from_list(rows)
    streams = [
        (text for text in TEXTS),
        iter(TEXTS),
        map(str, TEXTS),
        KeyDataset(dataset, "text"),
        KeyDataset(Numbered(rows), "text"),
        Numbered(TEXTS),
        TorchDataset(TEXTS),
        dataset,
        dataset.to_iterable_dataset(),
    ]
    for inputs in streams:
        answers = pipe(inputs)
        assert isinstance(answers, Generator), type(inputs)
        assert_same(list(answers), expected)
    assert list(pipe(iter([]))) == []


def test_the_oracles_key_dataset_is_a_stream(pipe, expected):
    from transformers.pipelines.pt_utils import KeyDataset as OraclesKeyDataset

    answers = pipe(OraclesKeyDataset([{"text": text} for text in TEXTS], "text"))
    assert len(answers) == len(TEXTS)
    assert_same(list(answers), expected)


def test_pairs_of_columns(pipe):
    rows = [{"a": text, "b": "very good"} for text in TEXTS]
    assert_same(
        list(pipe(KeyPairDataset(rows, "a", "b"))), pipe([{"text": row["a"], "text_pair": row["b"]} for row in rows])
    )


FRAME = {"label": [0, 1], "text": ["good", "dull"]}


class DataFrame:
    """As polars has it, which is not installed here."""

    __module__ = "polars.dataframe.frame"
    columns = ["label", "text"]

    def __iter__(self):
        return iter([])

    def __len__(self):
        return 2


@pytest.mark.parametrize(
    "make", [lambda: __import__("pandas").DataFrame(FRAME), DataFrame, lambda: __import__("pyarrow").table(FRAME)]
)
def test_a_table_is_not_read_as_the_names_of_its_columns(pipe, checkpoints, make):
    table = make()
    name = "table" if type(table).__name__ == "Table" else "df"
    with pytest.raises(InputError, match=f"with the columns 'label', 'text'.*\n→ Pass {name}\\[\"text\"\\]"):
        pipe(table)
    for task, head, options in [
        ("token-classification", "ForTokenClassification", {}),
        ("fill-mask", "ForMaskedLM", {}),
        ("feature-extraction", "Model", {}),
        ("question-answering", "ForQuestionAnswering", {}),
        ("zero-shot-classification", "ForSequenceClassification", {"candidate_labels": ["a", "b"]}),
    ]:
        with pytest.raises(InputError, match="and a pipeline reads"):
            ours(task, checkpoints(head))(table, **options)


def test_the_advice_on_a_table_names_its_columns(pipe, checkpoints):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InputError, match=r"with the column 'review', .*\n→ Pass df\[\"review\"\]\.$"):
        pipe(pandas.DataFrame({"review": ["good"]}))
    ask = ours("question-answering", checkpoints("ForQuestionAnswering"))
    frame = pandas.DataFrame({"id": [1], "context": ["It rains."], "question": ["What?"]})
    with pytest.raises(InputError, match=r'→ Pass question=df\["question"\], context=df\["context"\]\.'):
        ask(frame)
    with pytest.raises(InputError, match=r'→ Pass question=df\["q"\], context=df\["text"\]\.'):
        ask(frame.rename(columns={"question": "text", "context": "q"})[["q", "text"]])
    assert ask(question=frame["question"], context=frame["context"]) == ask(question="What?", context="It rains.")


@pytest.mark.parametrize("make", [set, frozenset])
def test_a_set_has_no_order(pipe, make):
    with pytest.raises(InputError, match=f"a {make.__name__}, whose elements have no order.*\n.*sorted"):
        pipe(make(TEXTS))


def test_views_of_a_dict_are_lists(pipe, expected):
    texts = dict(enumerate(TEXTS))
    assert_same([pipe(texts.values()), pipe(dict.fromkeys(TEXTS, 0).keys())], [expected, expected])


def test_a_stream_says_what_it_is(pipe):
    stream = pipe(text for text in TEXTS)
    next(stream)
    assert repr(stream) == (
        "<ResultStream of text-classification: 1 of ? read; loop over it, or compute all with list(stream)>"
    )
    assert f"0 of {len(TEXTS)} read" in repr(pipe(KeyDataset([{"text": text} for text in TEXTS], "text")))
    with pytest.raises(TypeError, match=r"no element 0, .*list\(stream\)"):
        stream[0]
    with pytest.raises(TypeError, match=r"no element slice.*next\(stream\)"):
        stream[:2]
    with pytest.raises(TypeError, match=r"list\(stream\)"):
        len(stream)


@pytest.mark.parametrize("inputs", [5, None, 1.5, torch.tensor(3), __import__("numpy").array("text")])
def test_no_input_at_all(pipe, inputs):
    with pytest.raises(InputError, match="cannot read"):
        pipe(inputs)


def test_a_column_that_the_dataset_lacks():
    rows = [{"text": "one", "label": 1}]
    for columns in (KeyDataset(rows, "txt"), KeyPairDataset(rows, "text", "txt")):
        with pytest.raises(InputError, match=r"no column 'txt'\. Did you mean 'text'") as caught:
            list(columns)
        assert caught.value.next_step == "Its columns are text, label."


def test_kinds():
    assert kind_of(b"bytes") == "one"
    assert kind_of(range(3)) == "list"
    assert kind_of({"a": 1}.values()) == "list"


# Reading ahead --------------------------------------------------------------------------------------------------------


def test_a_stream_reads_ahead_at_most_one_window(pipe):
    source = Counting()
    answers = pipe(iter(source), window=16)
    assert source.read == 0
    furthest = 0
    for taken in range(1, 100):
        next(answers)
        furthest = max(furthest, source.read - taken)
        assert source.read - taken < 16
        assert taken > 1 or source.read == 1, "the first answer needs one input alone"
    assert furthest == 15
    answers.close()


def test_a_window_of_one_reads_nothing_ahead(pipe):
    for options in ({"window": 1}, {"batch_size": 1}):
        source = Counting()
        answers = pipe(iter(source), **options)
        for taken in range(1, 9):
            next(answers)
            assert source.read == taken


def test_closing_a_stream_closes_its_source(pipe):
    closed = []

    def source():
        try:
            yield from itertools.repeat("good")
        finally:
            closed.append(True)

    answers = pipe(source())
    next(answers)
    answers.close()
    assert closed == [True]
    with pytest.raises(StopIteration):
        next(answers)


def test_a_source_that_fails_loses_nothing_that_was_read(pipe, expected):
    def source():
        yield from TEXTS[:7]
        raise OSError("the disk is gone")

    answers = pipe(source())
    got = [next(answers) for _ in range(7)]
    assert_same(got, expected[:7])
    with pytest.raises(OSError, match="the disk is gone"):
        next(answers)


def test_lengths_of_streams(pipe):
    assert len(pipe(KeyDataset([{"text": "a"}] * 3, "text"))) == 3
    with pytest.raises(TypeError):
        len(pipe(iter(TEXTS)))


# Inputs that fail -----------------------------------------------------------------------------------------------------


def test_a_wrong_input_is_named_and_the_rest_is_kept(pipe, expected):
    inputs = [*TEXTS[:3], 5, *TEXTS[3:], "good " * 400]
    with pytest.raises(PipelineInputError) as caught:
        pipe(inputs, window=4)
    error = caught.value
    assert error.positions == (3, 11)
    assert "inputs[3]: The input contains '5' of the type int, where a text was expected" in str(error)
    assert "inputs[11]: The input is 402 tokens long" in str(error)
    assert "2 of 12" in str(error)
    assert "error.results" in str(error)
    assert error.results[3] is error.results[11] is None
    assert_same(error.results[:3] + error.results[4:11], expected)
    assert isinstance(error.__cause__, InputError)
    assert isinstance(error, ValueError)


def test_errors_as_results(pipe, expected):
    answers = pipe([TEXTS[0], None, TEXTS[1]], on_error="return")
    assert_same([answers[0], answers[2]], expected[:2])
    assert isinstance(answers[1], PipelineInputError)
    assert answers[1].positions == (1,)
    streamed = list(pipe(iter([TEXTS[0], None, TEXTS[1]]), on_error="return"))
    assert streamed[1].positions == (1,)
    assert_same([streamed[0], streamed[2]], expected[:2])


def test_a_stream_goes_on_after_a_wrong_input(pipe, expected):
    answers = pipe(iter([*TEXTS[:4], None, *TEXTS[4:]]))
    got, errors = [], []
    while True:
        try:
            got.extend(answers)
            break
        except PipelineInputError as error:
            errors.append(error)
    assert [error.positions for error in errors] == [(4,)]
    assert "The stream continues" in errors[0].next_step and "on_error='return'" in errors[0].next_step


def test_each_result_before_a_wrong_input_of_a_stream_comes_first(pipe, expected):
    answers = pipe(iter([*TEXTS[:4], None, *TEXTS[4:]]))
    assert_same([next(answers) for _ in range(4)], expected[:4])
    with pytest.raises(PipelineInputError, match=r"inputs\[4\]"):
        next(answers)
    assert_same(list(answers), expected[4:])


class Picky(TextClassificationPipeline):
    """Fails inside the model on batches that hold the word "bad"."""

    calls = 0

    def forward(self, batch):
        type(self).calls += 1
        bad = self.tokenizer.convert_tokens_to_ids("dull")
        if (batch["input_ids"] == bad).any():
            raise RuntimeError("the model does not like this")
        return super().forward(batch)


def test_a_batch_that_fails_is_divided_until_the_culprit_stands_alone(pipe):
    picky = Picky(pipe.model, pipe.tokenizer, device="cpu")
    inputs = [f"very good film {i}" for i in range(20)]
    inputs[13] = "very dull film 13"
    with pytest.raises(PipelineInputError, match="the model does not like this") as caught:
        picky(inputs)
    assert caught.value.positions == (13,)
    assert all(result is not None for i, result in enumerate(caught.value.results) if i != 13)
    assert picky.calls < 15


def test_a_run_of_which_nothing_works_stops_early(pipe):
    picky = Picky(pipe.model, pipe.tokenizer, device="cpu")
    with pytest.raises(PipelineInputError) as caught:
        picky(["dull"] * 100, window=10)
    assert caught.value.positions == tuple(range(10))
    assert caught.value.results == [None] * 100


def test_one_input_raises_its_own_error(pipe):
    with pytest.raises(InputError) as caught:
        pipe({"text": 5})
    assert not isinstance(caught.value, PipelineInputError)


# Interrupts -----------------------------------------------------------------------------------------------------------


class Interrupted(TextClassificationPipeline):
    """Presses Ctrl-C in the third batch, once."""

    batches = 0

    def forward(self, batch):
        self.batches += 1
        if self.batches == 3:
            raise KeyboardInterrupt
        return super().forward(batch)


def test_an_interrupt_breaks_nothing(pipe, expected):
    interrupted = Interrupted(pipe.model, pipe.tokenizer, device="cpu", batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        interrupted(TEXTS)
    assert_same(interrupted(TEXTS), expected)


def test_a_stream_goes_on_after_an_interrupt(pipe, expected):
    interrupted = Interrupted(pipe.model, pipe.tokenizer, device="cpu", batch_size=2)
    answers = interrupted(iter(TEXTS))
    got = []
    with pytest.raises(KeyboardInterrupt):
        for answer in answers:
            got.append(answer)
    assert 0 < len(got) < len(TEXTS)
    assert_same(got + list(answers), expected)


# Progress -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bars(monkeypatch):
    import tqdm.auto

    made = []

    class Bar(tqdm.auto.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    return made


def test_one_bar_when_asked_for(pipe, bars, capsys):
    pipe(TEXTS, progress=True)
    (bar,) = bars
    assert (bar.n, bar.total, bar.desc) == (len(TEXTS), len(TEXTS), "text-classification")
    list(pipe(iter(TEXTS), progress=True))
    assert len(bars) == 2
    assert bars[1].n == len(TEXTS)


def test_a_bar_counts_inputs_that_fail_too(pipe, bars):
    pipe([*TEXTS, None, "good " * 400], progress=True, on_error="return")
    assert bars[0].n == len(TEXTS) + 2


def test_no_bar_for_a_short_run_and_one_for_a_long_run(pipe, bars, monkeypatch):
    pipe(TEXTS)
    assert not bars
    now = [0.0]

    def clock():
        now[0] += 0.5
        return now[0]

    monkeypatch.setattr("notebook_kit.pipelines.progress.time", types.SimpleNamespace(monotonic=clock))
    pipe(TEXTS, progress=False)
    list(pipe(iter(TEXTS)))
    assert not bars, "the loop around a stream is the caller's, and so is its bar"
    pipe(TEXTS)
    assert len(bars) == 1
    assert bars[0].n == len(TEXTS)


@pytest.mark.parametrize("method", ["__init__", "update", "refresh", "close"])
def test_a_bar_that_fails_loses_no_result(pipe, expected, monkeypatch, method):
    import tqdm.auto

    whole = tqdm.auto.tqdm.__init__

    def fail(self, *args, **kwargs):
        if method == "__init__" and kwargs.get("disable"):
            return whole(self, *args, **kwargs)
        raise RuntimeError("the widget is broken")

    monkeypatch.setattr(tqdm.auto, "tqdm", type("tqdm", (tqdm.auto.tqdm,), {method: fail}))
    assert_same(pipe(TEXTS, progress=True), expected)
    assert_same(list(pipe(iter(TEXTS), progress=True)), expected)


# Options --------------------------------------------------------------------------------------------------------------


def test_options_of_a_run(pipe):
    for options, message in [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_tokens": -1}, "batch_tokens is -1"),
        ({"window": "all"}, "window is 'all'"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"batchsize": 3}, "Did you mean 'batch_size'"),
    ]:
        with pytest.raises(InputError, match=message):
            pipe(TEXTS, **options)
    assert len(pipe(TEXTS, num_workers=4)) == len(TEXTS)


def test_the_model_is_put_back_into_evaluation_mode(pipe, expected):
    pipe.model.train()
    assert_same(pipe(TEXTS), expected)
    assert not pipe.model.training


def test_no_gradients_are_kept(pipe):
    pipe(TEXTS)
    assert all(parameter.grad is None for parameter in pipe.model.parameters())


def test_a_tokenizer_of_another_model_is_told(pipe):
    class Other:
        pad_token_id = 0
        padding_side = "right"
        model_max_length = 128

        def __call__(self, text, **options):
            return {"input_ids": [2, 40_000, 3], "attention_mask": [1, 1, 1]}

    other = TextClassificationPipeline(pipe.model, Other(), device="cpu")
    with pytest.raises(InputError, match="40000, but the model has only 133 tokens"):
        other("a text")


def test_a_vocabulary_that_grows_is_noticed(checkpoints):
    pipe = ours("text-classification", checkpoints("ForSequenceClassification", num_labels=3))
    pipe("good")
    pipe.tokenizer.add_tokens(["<new>"])
    with pytest.raises(InputError, match="the model has only 133 tokens"):
        pipe("a <new> text")
    pipe.model.resize_token_embeddings(len(pipe.tokenizer))
    assert pipe("a <new> text")
