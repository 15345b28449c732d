"""Summaries, translations and other texts made of texts: what transformers 4.57 gave, and what it could not do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from pipeline_helpers import CONTEXT, TEXTS, ours

from notebook_kit import SummarizationPipeline
from notebook_kit.errors import ConfigurationError, InputError, PipelineInputError, UnknownArchitectureError

DATA = Path(__file__).parent / "data"
RECORDED = json.loads((DATA / "generation_v4.json").read_text(encoding="utf-8"))
SHORT = {"max_new_tokens": 6}
LONG = " ".join([CONTEXT] * 4)
STORY = " ".join([CONTEXT, *TEXTS[:7]])


@pytest.fixture(scope="module")
def made():
    """`made(task, checkpoint)`: a pipeline, made once."""
    pipes: dict = {}

    def make(task: str, name: str):
        if (task, name) not in pipes:
            pipes[task, name] = ours(task, str(DATA / f"tiny-{name}"))
        return pipes[task, name]

    return make


def plain(answer):
    """Ids as lists, as they were recorded."""
    if isinstance(answer, list):
        return [plain(one) for one in answer]
    if isinstance(answer, dict):
        return {name: plain(value) for name, value in answer.items()}
    return answer.tolist() if hasattr(answer, "tolist") else answer


@pytest.mark.parametrize("case", RECORDED, ids=[f"{c['task']}-{c['checkpoint']}-{n}" for n, c in enumerate(RECORDED)])
def test_equals_what_was_recorded(made, case):
    pipe = made(case["task"], case["checkpoint"])
    assert plain(pipe(case["inputs"], **case["options"])) == case["answer"]


def test_what_was_recorded_differs():
    """Else the comparison would say little: options change answers, and tasks do."""
    one = [c for c in RECORDED if c["inputs"] == TEXTS[1] and c["checkpoint"] == "t5"]
    assert len({str([*c["answer"][0].values()]) for c in one}) > 12
    tasks = {c["task"]: str([*c["answer"][0].values()]) for c in one if c["options"] == {"max_new_tokens": 12}}
    assert len(set(tasks.values())) == 3 and len(tasks) == 4  # German has no settings of its own


# Lengths ---------------------------------------------------------------------------------------------------------------


def test_the_call_says_how_long(made):
    """transformers 4.57 lets its default of 256 new tokens win over the `max_length` of a call. Here the call wins."""
    pipe = made("summarization", "t5")
    for options, length in (
        ({"max_length": 5}, 5),
        ({"max_new_tokens": 3}, 4),
        ({"max_length": 3, "min_length": 3}, 3),
    ):
        ids = pipe(TEXTS[0], **options, eos_token_id=1, return_tensors=True)[0]["summary_token_ids"]
        assert len(ids) == length


def test_the_checkpoint_says_how_long(made, tmp_path):
    shutil.copytree(DATA / "tiny-t5", tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["task_specific_params"]["summarization"]["max_length"] = 7
    (tmp_path / "config.json").write_text(json.dumps(config))
    pipe = ours("summarization", str(tmp_path))
    assert len(pipe(TEXTS[0], return_tensors=True)[0]["summary_token_ids"]) == 7
    assert len(pipe(TEXTS[0], return_tensors=True, max_new_tokens=9)[0]["summary_token_ids"]) == 10
    config["task_specific_params"]["summarization"]["max_new_tokens"] = 6
    (tmp_path / "config.json").write_text(json.dumps(config))
    pipe = ours("summarization", str(tmp_path))
    assert len(pipe(TEXTS[0], return_tensors=True)[0]["summary_token_ids"]) == 7
    assert len(pipe(TEXTS[0], return_tensors=True, max_length=4)[0]["summary_token_ids"]) == 4
    assert len(pipe(TEXTS[0], return_tensors=True, generate_kwargs={"max_new_tokens": 9})[0]["summary_token_ids"]) == 10
    plain_text = ours("text2text-generation", str(tmp_path))
    assert len(plain_text(TEXTS[0], return_tensors=True)[0]["generated_token_ids"]) > 20


def test_never_beyond_the_positions(tmp_path):
    """Where nobody says how long, 256 tokens are no more than a model with fewer positions can write."""
    from notebook_kit import BartConfig, BartForConditionalGeneration, GPT2Config, GPT2LMHeadModel, pipeline

    source = ours("summarization", str(DATA / "tiny-bart"))
    size = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    size |= {"decoder_attention_heads": 2, "max_position_embeddings": 20, "vocab_size": len(source.tokenizer)}
    model = BartForConditionalGeneration(BartConfig(**size, eos_token_id=None, forced_eos_token_id=None))
    ids = pipeline("summarization", model=model, tokenizer=source.tokenizer)("Good.", return_tensors=True)
    assert len(ids[0]["summary_token_ids"]) == 20
    source = ours("text-generation", str(DATA / "tiny-gpt2"))
    size = {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": len(source.tokenizer), "n_positions": 30}
    model = GPT2LMHeadModel(GPT2Config(**size, eos_token_id=None))
    write = pipeline("text-generation", model=model, tokenizer=source.tokenizer)
    ids = write(["Good.", "The city lies on"], return_tensors=True, suppress_tokens=[source.tokenizer.eos_token_id])
    assert max(len(answer[0]["generated_token_ids"]) for answer in ids) == 30


def test_a_notice_of_truncation(made, caplog):
    pipe = made("summarization", "bart")
    long = LONG * 2
    count = len(pipe.tokenizer(long, verbose=False).input_ids)
    assert count > 264
    answers = pipe([long, TEXTS[0], long], **SHORT)
    (said,) = caplog.records  # one notice a call
    assert f"{count} tokens is read up to token 264" in said.getMessage() and "stride=32" in said.getMessage()
    ids = pipe.tokenizer(long, truncation=True, max_length=264).input_ids
    assert answers[0] == answers[2] != pipe(TEXTS[0], **SHORT)[0] == answers[1]
    expected = pipe.model.generate(torch.tensor([ids]), num_beams=4, **SHORT)
    assert answers[0]["summary_text"] == pipe.tokenizer.decode(expected[0].tolist(), skip_special_tokens=True)
    caplog.clear()
    pipe(long, **SHORT, truncation=True)  # asked for, so nothing is said
    pipe(TEXTS[:3], **SHORT)
    assert not caplog.records
    with pytest.raises(InputError, match="264"):
        pipe(long, **SHORT, truncation=False)
    pipe(long, **SHORT, max_input_tokens=50)
    assert "read up to token 50" in caplog.text


@pytest.mark.parametrize("stride", [0, 4, 20])
@pytest.mark.parametrize(("name", "prefix"), [("bart", ""), ("t5", "summarize: ")])
def test_a_long_text_is_read_in_pieces(made, caplog, name, prefix, stride):
    pipe = made("summarization", name)
    assert pipe.prefix == prefix
    features = pipe.preprocess(STORY, stride=stride, max_input_tokens=60)
    assert len(features) > 3 and max(len(one["input_ids"]) for one in features) <= 60
    read = 0
    pieces = [pipe.tokenizer.decode(one["input_ids"], skip_special_tokens=True) for one in features]
    for place, piece in enumerate(pieces):
        assert piece.startswith(prefix)
        start = STORY.index(piece.removeprefix(prefix))
        assert STORY[read:start].strip() == "" if place == 0 or stride == 0 else start <= read - stride
        read = start + len(piece) - len(prefix)
    assert read == len(STORY)
    answer = pipe(STORY, stride=stride, max_input_tokens=60, **SHORT)[0]["summary_text"]
    parts = [pipe(piece, **SHORT, prefix="")[0]["summary_text"] for piece in pieces]
    assert answer == " ".join(part.strip() for part in parts if part.strip())
    assert not caplog.records
    ids = pipe(STORY, stride=stride, max_input_tokens=60, **SHORT, return_tensors=True)[0]["summary_token_ids"]
    assert len(ids) >= 2 * len(pieces)


def test_a_stride_that_leaves_nothing_new(made):
    with pytest.raises(InputError, match="stride=58 leaves nothing new to read in pieces of 58 tokens"):
        made("summarization", "bart")(LONG, stride=58, max_input_tokens=60)
    for options in ({"stride": -1}, {"stride": 2.5}, {"max_input_tokens": 0}):
        with pytest.raises(InputError, match=f"{next(iter(options))} is"):
            made("summarization", "bart")(LONG, **options)
    short = made("summarization", "bart")
    assert short(TEXTS[0], stride=8, **SHORT) == short(TEXTS[0], **SHORT)


# Kinds of input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"num_beams": 1, "num_return_sequences": 1}], ids=str)
@pytest.mark.parametrize("name", ["bart", "t5"])
def test_every_kind_of_input(made, name, options):
    import datasets

    from notebook_kit.pipelines import KeyDataset

    pipe = made("summarization", name)
    options = {**SHORT, **options}
    single = [pipe(text, **options) for text in TEXTS]
    assert [len(answer) for answer in single] == [1] * len(TEXTS)
    assert pipe(TEXTS, **options) == [answer[0] for answer in single]
    assert list(pipe((text for text in TEXTS), **options)) == single
    dataset = datasets.Dataset.from_dict({"text": TEXTS})
    assert list(pipe(KeyDataset(dataset, "text"), **options)) == single


def test_several_answers_for_each(made):
    pipe = made("text2text-generation", "bart")
    options = {**SHORT, "num_beams": 3, "num_return_sequences": 3}
    single = [pipe(text, **options) for text in TEXTS[:4]]
    assert [len(answer) for answer in single] == [3] * 4
    assert pipe(TEXTS[:4], **options) == single
    long = pipe(LONG, **options, stride=4, max_input_tokens=60)
    assert len(long) == 3 and long[0] == pipe(LONG, **SHORT, num_beams=3, stride=4, max_input_tokens=60)[0]


def test_settings_and_objects_of_generate(made):
    from notebook_kit import GenerationConfig, TokenIteratorStreamer

    pipe = made("text2text-generation", "t5")
    config = GenerationConfig(max_new_tokens=4, num_beams=2)
    assert pipe(TEXTS[1], generation_config=config) == pipe(TEXTS[1], max_new_tokens=4, num_beams=2)
    streamer = TokenIteratorStreamer(skip_prompt=True)
    ids = pipe(TEXTS[1], **SHORT, num_beams=1, streamer=streamer, return_tensors=True)[0]["generated_token_ids"]
    assert [int(step) for step in streamer] == ids[1:].tolist()
    drawn = []
    for seed in (1, 1, 2):
        chance = torch.Generator().manual_seed(seed)
        drawn.append(pipe(TEXTS[1], **SHORT, num_beams=1, do_sample=True, temperature=3.0, generator=chance))
    assert drawn[0] == drawn[1] != drawn[2]
    assert ours("summarization", str(DATA / "tiny-t5"), max_new_tokens=3)(TEXTS[1]) == (
        made("summarization", "t5")(TEXTS[1], max_new_tokens=3)
    )


# Translation -----------------------------------------------------------------------------------------------------------


def test_languages_of_the_call(made):
    pipe = made("translation", "mbart")
    both = {"src_lang": "en_XX", "tgt_lang": "fr_XX"}
    ids = pipe(TEXTS[0], **both, **SHORT, return_tensors=True)[0]["translation_token_ids"]
    assert ids[1] == pipe.tokenizer.lang_code_to_id["fr_XX"]
    named = ours("translation_en_XX_to_fr_XX", str(DATA / "tiny-mbart"))
    assert named(TEXTS[0], **SHORT) == pipe(TEXTS[0], **both, **SHORT)
    fixed = ours("translation", str(DATA / "tiny-mbart"), **both)
    assert fixed(TEXTS[:3], **SHORT) == pipe(TEXTS[:3], **both, **SHORT)
    with pytest.raises(InputError, match="languages of this text are missing"):
        pipe(TEXTS[0])
    with pytest.raises(InputError, match=r"tgt_lang is 'fr_XY'.*Did you mean 'fr_XX'"):
        pipe(TEXTS[0], src_lang="en_XX", tgt_lang="fr_XY")


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (5, {}, "the type int, which a pipeline cannot read"),
        (["Good.", b"Good."], {}, "a bytes, where a text was expected"),
        ("Good.", {"max_new_token": 3}, "no option 'max_new_token'. Did you mean 'max_new_tokens'"),
        ("Good.", {"num_beams": 0}, "num_beams is 0"),
        ("Good.", {"output_scores": True}, "cannot return what output_scores requests"),
        ("Good.", {"num_beams": 2, "num_return_sequences": 3}, "2 beams give 2"),
    ],
)
def test_says_what_does_not_fit(made, given, options, message):
    with pytest.raises((InputError, ConfigurationError), match=message):
        made("summarization", "bart")(given, **options)


def test_one_bad_input_loses_no_other(made):
    pipe = made("summarization", "bart")
    with pytest.raises(PipelineInputError) as caught:
        pipe([TEXTS[0], 5, TEXTS[1]], **SHORT)
    assert caught.value.positions == (1,) and caught.value.results[0] == pipe(TEXTS[0], **SHORT)


def test_a_decoder_writes_no_summaries():
    with pytest.raises(UnknownArchitectureError, match="no AutoModelForSeq2SeqLM"):
        ours("summarization", str(DATA / "tiny-gpt2"))
    made = ours("text-generation", str(DATA / "tiny-gpt2"))
    with pytest.raises(InputError, match="not a generating encoder-decoder"):
        SummarizationPipeline(made.model, made.tokenizer)


def test_stops_at_texts_and_at_the_models_end():
    from tokenizers import Tokenizer, models, pre_tokenizers

    from notebook_kit import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration, pipeline

    words = ["<pad>", "</s>", "<unk>", "hot", "dog", "soup", "stand", "open"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    size = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": len(words)}
    model = T5ForConditionalGeneration(T5Config(**size, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1))
    pipe = pipeline("text2text-generation", model=model, tokenizer=tokenizer, device="cpu")

    def answer(plan, **options):
        ids = [words.index(word) for word in plan.split()]

        def rule(input_ids, scores):
            return torch.full_like(scores, -1e9).index_fill(1, torch.tensor([ids[input_ids.shape[1] - 1]]), 0.0)

        return pipe("open", logits_processor=[rule], max_new_tokens=len(ids), **options)[0]["generated_text"]

    for beams in (1, 3):
        options = {"num_beams": beams}
        assert answer("hot soup hot dog stand </s>", stop_sequence="hot dog", **options) == "hot soup hot dog"
        assert answer("soup </s> stand open", stop_sequence="hot dog", **options) == "soup"
        assert answer("soup stand hot dog", stop_sequence=["hot dog", "stand"], **options) == "soup stand"
        assert answer("soup stand hot", stop_sequence=None, **options) == "soup stand hot"
        assert answer("soup stand hot", stop_sequence="stand", eos_token_id=5, **options) == "soup"
    for empty in ("", [], [""], ["hot", ""], 5):
        with pytest.raises(ConfigurationError, match="stop_strings is"):
            answer("soup", stop_sequence=empty)
