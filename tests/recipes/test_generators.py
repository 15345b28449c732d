"""The embedded checkpoints that write: as they lie there, what they say of themselves, and in the pipelines."""

from __future__ import annotations

import re

import pytest
import torch

from notebook_kit import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, pipeline, record_attention, zoo
from notebook_kit.recipes import __main__ as command
from notebook_kit.recipes import tiny_gpt2
from notebook_kit.recipes.tiny_gpt2_card import PROMPTS
from notebook_kit.recipes.tiny_summarizer_card import OTHERS

NAMES = ["tiny-gpt2", "tiny-summarizer"]
AUTO = {"tiny-gpt2": AutoModelForCausalLM, "tiny-summarizer": AutoModelForSeq2SeqLM}
LIMIT = 6 * 2**20  # bytes


def card(name: str) -> str:
    return (zoo.folder(name) / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_size(name):
    assert sum(path.stat().st_size for path in zoo.folder(name).iterdir()) <= LIMIT


@pytest.mark.parametrize("name", NAMES)
def test_loads_as_float32_and_its_attention_can_be_recorded(name):
    model = AUTO[name].from_pretrained(f"notebook-kit/{name}")
    tokenizer = AutoTokenizer.from_pretrained(f"notebook-kit/{name}")
    assert model.dtype == torch.float32
    inputs = tokenizer("A program that prints the time of day", return_tensors="pt")
    with record_attention(model) as record, torch.no_grad():
        model.generate(**inputs, max_new_tokens=3, min_new_tokens=3, num_beams=1, do_sample=False)
    steps = record.steps(0, kind=None if name == "tiny-gpt2" else "cross")
    assert len(steps) == 3
    assert all(step.shape[1] == model.config.num_attention_heads for step in steps)


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_writes_the_same(name):
    import transformers

    folder = str(zoo.folder(name))
    kind = transformers.AutoModelForCausalLM if name == "tiny-gpt2" else transformers.AutoModelForSeq2SeqLM
    reference = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer, theirs = AutoTokenizer.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    model = AUTO[name].from_pretrained(folder)
    texts = [*PROMPTS, *OTHERS, "Café naïve 👩‍👩‍👧 తెలుగు 你好"]
    settings = {"max_new_tokens": 20, "do_sample": False, "num_beams": 1}
    for text in texts:
        inputs, expected = tokenizer(text, return_tensors="pt"), theirs(text, return_tensors="pt")
        assert torch.equal(inputs["input_ids"], expected["input_ids"])
        written = model.generate(**inputs, **settings)
        assert torch.equal(written, reference.generate(**{k: expected[k] for k in inputs}, **settings))
        assert tokenizer.decode(written[0], skip_special_tokens=True) == theirs.decode(
            written[0], skip_special_tokens=True
        )


# Their cards ---------------------------------------------------------------------------------------------------------


def perplexities(text: str) -> dict[str, list[float]]:
    """Book -> perplexity and bits per byte of the checkpoint, then of the n-grams."""
    rows = re.findall(r"^\| \**([\w .]+?)\** \| [\d,]+ \| [\d,]+ \| (.+) \|$", text, flags=re.MULTILINE)
    return {name: [float(number) for number in numbers.split(" | ")] for name, numbers in rows}


def rouges(text: str) -> dict[str, list[float]]:
    rows = re.findall(r"^\| (\S.*?) \| (0\.\d+) \| (0\.\d+) \| (0\.\d+) \|$", text, flags=re.MULTILINE)
    return {name.strip("*"): [float(number) for number in numbers] for name, *numbers in rows}


def test_the_language_model_beats_its_baseline():
    rows = perplexities(card("tiny-gpt2"))
    assert len(rows) == 4
    perplexity, bits, perplexity_of_ngrams, bits_of_ngrams = rows["all"]
    assert perplexity < perplexity_of_ngrams
    assert bits < bits_of_ngrams
    assert "It beats the n-gram model" in card("tiny-gpt2")


def test_the_card_says_how_the_summarizer_stands_to_its_baselines():
    rows = rouges(card("tiny-summarizer"))
    ours = rows.pop("tiny-summarizer")
    assert len(rows) == 2
    beaten = all(mine > other for scores in rows.values() for mine, other in zip(ours, scores, strict=True))
    assert ("It beats the leads by each measure" in card("tiny-summarizer")) == beaten
    assert ("It does not beat the leads by every measure" in card("tiny-summarizer")) != beaten


def test_the_card_says_what_the_summarizer_writes():
    summarize = pipeline("summarization", model="notebook-kit/tiny-summarizer", device="cpu")
    for text, answer in zip(OTHERS, summarize(OTHERS), strict=True):
        assert f"> {text}\n\n→ **{answer['summary_text']}**" in card("tiny-summarizer")


@pytest.mark.parametrize("name", NAMES)
def test_the_cards_name_their_data_and_licences(name):
    text = card(name)
    assert "license: apache-2.0" in text.split("---")[1]
    assert "--quick`: only useful" not in text
    wanted = ["King James", "Jargon File", "Botchan"] if name == "tiny-gpt2" else ["Debian", "bookworm"]
    assert all(each in text for each in [*wanted, "Apache-2.0"])


@pytest.mark.slow
def test_the_language_model_is_measured_again():
    measured = tiny_gpt2.measure(zoo.folder("tiny-gpt2"), tiny_gpt2.paragraphs())
    stated = perplexities(card("tiny-gpt2"))["all"]
    ours, ngrams = measured["models"]["tiny-gpt2"]["all"], measured["models"][f"{measured['order']}-gram"]["all"]
    assert [*ours, *ngrams] == pytest.approx(stated, rel=2e-3)


# Pipelines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["text-generation", "summarization"])
def test_pipelines_write_with_no_network(task, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write = pipeline(task, model="zoo", device="cpu")
    answer = write(OTHERS[0], max_new_tokens=12)
    (text,) = answer[0].values()
    assert isinstance(text, str) and text.strip()


def test_the_same_generator_writes_the_same():
    write = pipeline("text-generation", model="notebook-kit/tiny-gpt2", device="cpu")
    one, two, other = (
        write(PROMPTS[0], max_new_tokens=20, generator=torch.Generator().manual_seed(seed))[0]["generated_text"]
        for seed in (1, 1, 2)
    )
    assert one == two != other
    assert one.startswith(PROMPTS[0])


def test_a_summary_is_short_and_of_the_kind_that_it_has_learnt():
    summarize = pipeline("summarization", model="notebook-kit/tiny-summarizer", device="cpu")
    summary = summarize(OTHERS[2])[0]["summary_text"]
    assert "Python" in summary and "heating controllers" in summary  # of which it has never read: copied
    assert len(summary.split()) < len(OTHERS[2].split()) / 2
    assert summary == summary.strip()


# The recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_quick_build(tmp_path, name):
    output = tmp_path / "output"
    arguments = ["build", name, "--quick", "--output", str(output), "--work", str(tmp_path / "work")]
    assert command.main(arguments) == 0
    assert "Made by `--quick`" in (output / "README.md").read_text(encoding="utf-8")
    first = (output / "model.safetensors").read_bytes()
    assert len(first) <= LIMIT
    assert command.main(arguments) == 0  # the weights are reused: nothing is trained again
    assert (output / "model.safetensors").read_bytes() == first
