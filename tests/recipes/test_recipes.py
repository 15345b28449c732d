"""What the recipes measure with and fetch from: n-grams, ROUGE, leads, the parts of the data, apt, the optimizer."""

from __future__ import annotations

import copy
import doctest
import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from notebook_kit import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration
from notebook_kit.errors import CheckpointError, HubUnreachableError, MissingDependencyError
from notebook_kit.recipes import debian, ngrams, rouge, shared, tiny_gpt2, tiny_summarizer
from notebook_kit.recipes.copying import start_with_copying
from notebook_kit.recipes.debian import Description
from notebook_kit.recipes.muon import Muon, MuonWithAdamW
from notebook_kit.recipes.ngrams import KneserNey


@pytest.mark.parametrize("module", [ngrams, rouge, shared])
def test_examples_run(module):
    failed, ran = doctest.testmod(module)
    assert failed == 0
    assert ran > 0


# N-grams -------------------------------------------------------------------------------------------------------------


def random_texts(seed: int, size: int, count: int = 60) -> list[list[int]]:
    """Texts in which some tokens and pairs are much more frequent than others."""
    chance = np.random.default_rng(seed)
    weights = 1 / np.arange(1, size) ** 1.2
    return [
        (1 + chance.choice(size - 1, size=chance.integers(1, 12), p=weights / weights.sum())).tolist()
        for _ in range(count)
    ]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_after_any_context_sum_to_one(order):
    size = 9
    model = KneserNey(random_texts(order, size), order, size)
    contexts = [*itertools.islice(itertools.product(range(size), repeat=order - 1), 400)]
    for context in contexts:
        chances = model.probabilities(np.array([[*context, token] for token in range(size)]))
        assert (chances > 0).all()
        assert chances.sum() == pytest.approx(1, abs=1e-12)


def slow_bigram(texts: list[list[int]], size: int, context: int, token: int) -> float:
    """Chen and Goodman's formula for pairs, written with loops."""
    pairs: dict[tuple[int, int], int] = {}
    for text in texts:
        for pair in itertools.pairwise([0, *text, 0]):
            pairs[pair] = pairs.get(pair, 0) + 1
    after: dict[int, int] = {}
    for _, second in pairs:
        after[second] = after.get(second, 0) + 1

    def discounts(counts):
        n = [sum(count == times for count in counts) for times in range(5)]
        y = n[1] / (n[1] + 2 * n[2])
        return [0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]

    def level(count, counts, discount, lower):
        left_over = sum(discount[min(each, 3)] for each in counts)
        return (max(count - discount[min(count, 3)], 0) + left_over * lower) / sum(counts)

    unigram = level(after.get(token, 0), list(after.values()), discounts(list(after.values())), 1 / size)
    followers = [count for (first, _), count in pairs.items() if first == context]
    return level(pairs.get((context, token), 0), followers, discounts(list(pairs.values())), unigram)


def test_bigrams_are_those_of_the_formula():
    size, texts = 30, random_texts(7, 30, count=80)
    model = KneserNey(texts, 2, size)
    seen = sorted({token for text in texts for token in text[:-1]})
    for context in seen[:8]:
        for token in range(size):
            wanted = slow_bigram(texts, size, context, token)
            assert model.probabilities(np.array([[context, token]]))[0] == pytest.approx(wanted, rel=1e-12)


def test_longer_contexts_help_where_texts_repeat():
    texts = [[1, 2, 3, 4, 5], [6, 2, 3, 7, 5]] * 20
    nats = [KneserNey(texts, order, 8).nats(texts[:2]) for order in (1, 2, 4)]
    assert nats[0] > nats[1] > nats[2]


def test_too_many_tokens_for_the_order():
    with pytest.raises(ValueError, match="63 bits"):
        KneserNey([[1]], 6, 4096)


# ROUGE and leads -----------------------------------------------------------------------------------------------------


def test_rouge_by_hand():
    scores = rouge.rouge("the cat sat on the mat", "The cat, on a mat!")
    assert scores["rouge1"] == pytest.approx(2 * 4 / (6 + 5))
    assert scores["rouge2"] == pytest.approx(2 * 1 / (5 + 4))
    assert scores["rougeL"] == pytest.approx(2 * 4 / (6 + 5))
    assert rouge.rouge("mat the on", "on the mat")["rougeL"] == pytest.approx(2 / 6)


@pytest.mark.parametrize(("written", "wanted"), [("", "a"), ("a", ""), ("…", "…"), ("x", "y")])
def test_rouge_of_nothing_shared(written, wanted):
    assert set(rouge.rouge(written, wanted).values()) == {0.0}


def test_leads():
    text = "Foo is a fast tool for copying files. It runs everywhere."
    cuts = tiny_summarizer.leads()
    assert cuts["the first sentence"](text) == "Foo is a fast tool for copying files."
    assert cuts["the first sentence without its `X is a`"](text) == "fast tool for copying files."
    assert cuts["the first 4 words"](text) == "Foo is a fast"
    assert cuts["the first 4 words after `X is a`"](text) == "fast tool for copying"
    assert cuts["the first 4 words after `X is a`"]("Copies files.") == "Copies files."


# Descriptions --------------------------------------------------------------------------------------------------------


def described(package: str, source: str, synopsis: str, words: str) -> Description:
    return Description(package, source, synopsis, " ".join([words] * 30))


def test_a_source_is_in_one_part_whatever_its_digits():
    found = [
        described(
            f"{source}{number}-{kind}",
            f"{source}-{number}",
            f"{source} {kind} x{'yz'[number - 1]}",
            f"{source}{kind}q{'ab'[number - 1]}",
        )
        for source in ("aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", "jj", "kk", "ll")
        for number in (1, 2)
        for kind in ("dev", "doc")
    ]
    parts = tiny_summarizer.examples(found)
    assert sum(map(len, parts.values())) == len(found)
    letters = {part: {each.source.split("-")[0] for each in rows} for part, rows in parts.items()}
    assert not letters["train"] & letters["test"]
    assert not letters["train"] & letters["validation"]
    assert len(letters["train"]) > 4


def test_near_copies_and_short_ones_are_left_out():
    first = described("a", "a", "Tool for maps", "many words")
    again = described("b", "b", "Tool for maps (2.0)", "other words")
    same_text = described("c", "c", "Another tool", "many, words!")
    short = Description("d", "d", "Short", "Too few words")
    parts = tiny_summarizer.examples([first, again, same_text, short])
    assert [each.package for rows in parts.values() for each in rows] == ["a"]


def test_the_index_is_read():
    text = (
        "Package: b\nDescription-md5: 1\nDescription-en: Second  thing\n One.\n .\n  * two\n\n"
        "Package: a\nDescription-en: First\n\nPackage: no-text\nDescription-md5: 2\n"
    )
    packages = "Package: b\nVersion: 1\nSource: bee (2)\n\nPackage: a\nDescription: Source: not this\n"
    assert debian.parse_descriptions(text, packages) == [
        Description("a", "a", "First", ""),
        Description("b", "bee", "Second thing", "One. * two"),
    ]


# Books ---------------------------------------------------------------------------------------------------------------


def test_verses_of_a_chapter_are_joined():
    lines = [f"Ge1:{verse} Verse {verse}." for verse in range(1, 8)] + ["Ge2:1 A “new” one."]
    assert list(tiny_gpt2._of_bible("\n".join(lines))) == [
        "Verse 1. Verse 2. Verse 3. Verse 4. Verse 5.",
        "Verse 6. Verse 7.",
        'A "new" one.',
    ]


def test_entries_of_the_dictionary_are_kept_together():
    text = "   zap\n\n   :zap: vt.\n\n   To  be rid of all the contents of a\n   file at once.\n\n   :zen: n.\n"
    assert list(tiny_gpt2._of_jargon(text)) == [
        ":zap: vt.\nTo be rid of all the contents of a file at once.",
        ":zen: n.",
    ]


def test_a_text_with_another_hash_is_refused(tmp_path):
    (tmp_path / "jargon.txt").write_text("not it")
    with pytest.raises(CheckpointError, match="SHA-256"):
        debian.jargon(tmp_path)


def test_without_apt(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MissingDependencyError, match="no apt") as caught:
        debian.bible(tmp_path)
    assert "Debian" in str(caught.value)


def test_apt_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 100, b"", b"E: no route")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(HubUnreachableError, match="no route"):
        debian.descriptions(tmp_path)
    assert asked[0][0] == "apt-get"
    assert any(part.startswith(f"Dir::State::Lists={tmp_path}") for part in asked[0])
    with pytest.raises(HubUnreachableError):  # what failed is tried again
        debian.descriptions(tmp_path)
    assert len(asked) == 2
    assert list(tmp_path.iterdir()) == []  # and leaves nothing half fetched behind


def test_the_index_is_fetched_aside(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    (tmp_path / "apt" / "lists").mkdir(parents=True)  # left by a fetch that was cut off

    def run(command, **_):
        (lists,) = (Path(part.split("=", 1)[1]) for part in command if part.startswith("Dir::State::Lists="))
        assert lists.parent != tmp_path / "apt"
        (lists / "index").write_text("whole")
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(subprocess, "run", run)
    assert debian._apt_folder(tmp_path) == tmp_path / "apt"
    assert (tmp_path / "apt" / "lists" / "index").read_text() == "whole"
    monkeypatch.setattr(subprocess, "run", None)  # not asked again
    assert debian._apt_folder(tmp_path) == tmp_path / "apt"
    assert [path.name for path in tmp_path.iterdir()] == ["apt"]


# Training ------------------------------------------------------------------------------------------------------------


def tiny_models():
    return [
        GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=20, n_positions=16)),
        T5ForConditionalGeneration(T5Config(d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2, vocab_size=20)),
    ]


@pytest.mark.parametrize("model", tiny_models(), ids=["gpt2", "t5"])
def test_the_optimizer_takes_every_parameter_once(model):
    optimizer = MuonWithAdamW(model, 1e-2)
    taken = [id(each) for group in optimizer.param_groups for each in group["params"]]
    assert sorted(taken) == sorted(id(each) for each in model.parameters())
    in_muon = {id(each) for group in optimizer.muon.param_groups for each in group["params"]}
    assert id(model.get_input_embeddings().weight) not in in_muon
    assert len(in_muon) > 3


def test_the_optimizer_follows_a_schedule_and_goes_on_exactly():
    def steps(model, optimizer, count):
        for _ in range(count):
            ids = torch.arange(12).reshape(2, 6)
            model(ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    torch.manual_seed(0)
    model = tiny_models()[0].eval()
    optimizer = MuonWithAdamW(model, 1e-2)
    steps(model, optimizer, 3)
    other = tiny_models()[0].eval()
    other.load_state_dict(model.state_dict())
    resumed = MuonWithAdamW(other, 1e-2)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one in (optimizer, resumed):
        for group in one.param_groups:
            group["lr"] = 5e-3
        assert {group["lr"] for group in (*one.muon.param_groups, *one.adamw.param_groups)} == {5e-3}
    steps(model, optimizer, 2)
    steps(other, resumed, 2)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_steps_equal_those_of_torch_up_to_its_bfloat16():
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in ((16, 24), (40, 16), (8, 8))]
    ours, theirs = ([torch.nn.Parameter(weight.clone()) for weight in start] for _ in range(2))
    steps = [Muon(ours, 1e-2), torch.optim.Muon(theirs, 1e-2, adjust_lr_fn="match_rms_adamw")]
    for _ in range(3):
        for one, two in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            two.grad = one.grad.clone()
        for optimizer in steps:
            optimizer.step()
    for one, two, weight in zip(ours, theirs, start, strict=True):
        assert (one - two).norm() < 0.03 * (one - weight).norm()


def test_an_untrained_model_copies_with_written_heads():
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(vocab_size=6144, dropout_rate=0.0, **tiny_summarizer.SHAPE)).eval()
    with torch.no_grad():
        model.shared.weight.mul_(0.25)
    ids = torch.randint(2, 6144, (8, 60))
    labels = ids[:, 10:30]

    def share_copied():
        written = model(input_ids=ids, labels=labels).logits.argmax(-1)
        return (written == labels)[:, 2:].float().mean()  # two written tokens show where to go on

    assert share_copied() < 0.05
    start_with_copying(model)
    assert share_copied() > 0.7


def test_byte_level_bpe_writes_any_text():
    tokenizer = shared.byte_level_bpe(
        ["low lower lowest"] * 9, 300, {"pad_token": "<pad>", "eos_token": "</s>"}, ends_with_eos=True
    )
    ids = tokenizer("naïve 你好")["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id == 1
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "naïve 你好"
    assert tokenizer.unk_token_id is None


def test_windows_of_a_long_paragraph_count_each_token_once():
    torch.manual_seed(0)
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 20, "n_positions": tiny_gpt2.BLOCK}
    model = GPT2LMHeadModel(GPT2Config(**shape)).eval()
    with torch.no_grad():
        for each in model.parameters():  # every token equally likely, whatever comes before
            each.zero_()
    for length in (0, 1, 254, 255, 256, 300, 511, 512, 900):
        assert tiny_gpt2._nats(model, [3] * length) == pytest.approx((length + 1) * np.log(20), rel=1e-6)
