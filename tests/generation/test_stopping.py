"""What ends a sequence: texts, time, criteria of one's own, the user."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
from oracle import BATCH, ONE, PAD, both, pair

import notebook_kit
from notebook_kit.errors import ConfigurationError, InputError, NotebookKitWarning

PLAIN = {"max_new_tokens": 12, "eos_token_id": None, "pad_token_id": PAD}


@functools.lru_cache
def tokenizers():
    """Ours and the oracle's: 99 tokens, letters and pieces of words, some of which begin one."""
    import transformers
    from tokenizers import Tokenizer, decoders, models

    letters = "abcdefghijklmnopqrst"
    pieces = [a + b for a in "abcdefghij" for b in "klmnopqr"][:78]
    pieces = [("\u2581" if number % 3 == 0 else "") + piece for number, piece in enumerate(pieces)]
    vocabulary = {piece: number for number, piece in enumerate([*letters, "\u2581", *pieces])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="a"))
    backend.decoder = decoders.Metaspace()
    return tuple(x.PreTrainedTokenizerFast(tokenizer_object=backend) for x in (notebook_kit, transformers))


def first_place(stop: str, ids: list[int], start: int) -> int:
    """How many tokens there are when `stop` is complete, by decoding ever longer beginnings."""
    ours, _ = tokenizers()
    begin = max(0, len(ours.decode(ids[:start])) - len(stop) + 1)  # it may begin in the prompt
    return next((end for end in range(start + 1, len(ids)) if stop in ours.decode(ids[:end])[begin:]), len(ids))


@pytest.mark.parametrize("cut", [(0, 3), (1, 4), (3, 5), (4, 9), (2, 12)])
def test_a_text_ends_a_sequence(cut):
    """However it is cut into tokens, and in each row of a batch where it comes there."""
    ours, _ = tokenizers()
    whole = pair("gpt2")[0].generate(**BATCH, **PLAIN)
    new = [ours.decode(row) for row in whole[:, 6:].tolist()]
    stop = new[1][5 + cut[0] : 5 + cut[1]]
    ended = pair("gpt2")[0].generate(**BATCH, **PLAIN, stop_strings=[stop, "no such text"], tokenizer=ours)
    for row, full in zip(ended.tolist(), whole.tolist(), strict=True):
        end = first_place(stop, full, 6)
        assert row[:end] == full[: min(end, len(row))] and set(row[end:]) <= {PAD}
    assert ours.decode(ended[1].tolist()).count(stop) >= 1 and ended.shape[1] <= whole.shape[1]
    alone = pair("gpt2")[0].generate(**ONE, **PLAIN, stop_strings=stop, tokenizer=ours)
    assert 6 < alone.shape[1] < 18 and stop in ours.decode(alone[0].tolist())


def test_texts_end_where_the_oracle_ends():
    mine, theirs = tokenizers()
    whole = mine.decode(pair("gpt2")[0].generate(**ONE, **PLAIN)[0, 6:].tolist())
    for start in range(0, len(whole) - 3, 2):
        stop = [whole[start : start + 3]]
        ours = pair("gpt2")[0].generate(**ONE, **PLAIN, stop_strings=stop, tokenizer=mine)
        oracle = pair("gpt2")[1].generate(**ONE, **PLAIN, stop_strings=stop, tokenizer=theirs)
        assert ours.tolist() == oracle.tolist(), stop


def test_texts_need_a_tokenizer():
    with pytest.raises(InputError, match="Pass tokenizer="):
        pair("gpt2")[0].generate(**ONE, stop_strings="a")
    with pytest.raises(ConfigurationError, match="without empty texts"):
        pair("gpt2")[0].generate(**ONE, stop_strings=[""], tokenizer=tokenizers()[0])


def test_a_text_that_no_tokenizer_can_write_never_stops():
    """Half of a surrogate pair, from a text that was cut inside an emoji."""
    whole = pair("gpt2")[0].generate(**ONE, **PLAIN)
    ended = pair("gpt2")[0].generate(**ONE, **PLAIN, stop_strings=["\ud83d"], tokenizer=tokenizers()[0])
    assert ended.tolist() == whole.tolist()


def test_a_criterion_of_ones_own():
    whole = pair("gpt2")[0].generate(**BATCH, **PLAIN)

    def long_enough(ids, scores):
        return ids.shape[1] >= 9

    class Row(notebook_kit.StoppingCriteria):
        def __call__(self, ids, scores):
            return torch.tensor([ids.shape[1] >= 7 + row for row in range(len(ids))])

    assert pair("gpt2")[0].generate(**BATCH, **PLAIN, stopping_criteria=[long_enough]).tolist() == whole[:, :9].tolist()
    rows = pair("gpt2")[0].generate(**BATCH, **PLAIN, stopping_criteria=[Row()])
    assert rows.shape == (4, 10)
    for row, (made, full) in enumerate(zip(rows.tolist(), whole.tolist(), strict=True)):
        assert made == full[: 7 + row] + [PAD] * (3 - row)


def test_time_ends_all():
    out = pair("gpt2")[0].generate(**BATCH, **PLAIN, max_time=0.0)
    assert out.shape == (4, 7)  # the token that is being computed is kept


def test_criteria_equal_the_oracles():
    from transformers.generation import stopping_criteria as oracle

    ids = torch.tensor([[5, 9], [9, 5], [4, 4]])
    for eos in (9, [5, 9], torch.tensor([4])):
        theirs = oracle.EosTokenCriteria(eos)(ids, None)
        assert notebook_kit.EosTokenCriteria(eos)(ids, None).tolist() == theirs.tolist()
    for length in (1, 2, 3):
        theirs = oracle.MaxLengthCriteria(length)(ids, None)
        assert torch.equal(notebook_kit.MaxLengthCriteria(length)(ids, None), theirs)
        assert torch.equal(notebook_kit.MaxLengthCriteria(length, max_position_embeddings=9)(ids, None), theirs)
    for start in (0.0, 1e12):
        theirs = oracle.MaxTimeCriteria(1.0, initial_timestamp=start)(ids, None)
        assert torch.equal(notebook_kit.MaxTimeCriteria(1.0, initial_timestamp=start)(ids, None), theirs)


class Interrupts(notebook_kit.LogitsProcessor):
    """The user's stop button, while the fourth token is computed."""

    def __init__(self):
        self.calls = 0

    def __call__(self, ids, scores):
        self.calls += 1
        if self.calls == 4:
            raise KeyboardInterrupt
        return scores


@pytest.mark.parametrize("settings", [{}, {"do_sample": True, "top_k": 1}, {"penalty_alpha": 0.5, "top_k": 3}], ids=str)
def test_an_interrupt_keeps_what_was_made(settings):
    model = pair("gpt2")[0]
    whole = model.generate(**BATCH, **PLAIN, **settings)
    with pytest.warns(NotebookKitWarning, match="Interrupted after 3 new tokens"):
        cut = model.generate(**BATCH, **PLAIN, **settings, logits_processor=[Interrupts()])
    assert cut.tolist() == whole[:, :9].tolist()
    with pytest.raises(KeyboardInterrupt):
        model.generate(**BATCH, **PLAIN, **settings, logits_processor=[Interrupts()], on_interrupt="raise")


def test_an_interrupted_beam_search_gives_its_best():
    model, settings = pair("gpt2")[0], {**PLAIN, "num_beams": 3, "num_return_sequences": 2}
    with pytest.warns(NotebookKitWarning, match="Interrupted after 3 new tokens"):
        cut = model.generate(**BATCH, **settings, logits_processor=[Interrupts()])
    assert cut.tolist() == model.generate(**BATCH, **{**settings, "max_new_tokens": 3}).tolist()


def test_what_an_interrupt_left_can_be_gone_on_from():
    """The cache that is returned holds no half-made step."""
    model = pair("gpt2")[0]
    layer = model.transformer.h[1]
    calls = []

    def stop(*_):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt  # when the first of two layers has stored the newest position

    with pytest.warns(NotebookKitWarning, match="Interrupted after 3"):
        handle = layer.register_forward_pre_hook(stop)
        try:
            half = model.generate(**ONE, **PLAIN, return_dict_in_generate=True)
        finally:
            handle.remove()
    whole = model.generate(**ONE, **PLAIN)
    rest = model.generate(half.sequences, past_key_values=half.past_key_values, **{**PLAIN, "max_new_tokens": 9})
    assert rest.tolist() == whole.tolist()


def test_at_least_is_more_than_at_most():
    with pytest.warns(NotebookKitWarning, match="The minimum length is 10 tokens and the maximum 8"):
        assert pair("gpt2")[0].generate(**ONE, max_new_tokens=2, min_new_tokens=4).shape == (1, 8)


def test_settings_without_effect_are_told_once():
    from notebook_kit.generation import engine

    engine._warned.clear()
    model = pair("gpt2")[0]
    for name, value, why in (
        ("top_p", 0.5, "tokens are not sampled"),
        ("length_penalty", 2.0, "there is one beam"),
        ("output_scores", True, "the result is only the tokens"),
    ):
        with pytest.warns(NotebookKitWarning, match=f"{name} has no effect: .*{why}"):
            model.generate(**ONE, max_new_tokens=2, **{name: value})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.generate(**ONE, max_new_tokens=2, **{name: value})


def test_lists_of_ends():
    mine, theirs = both("gpt2", BATCH, eos_token_id=[28, 55], max_new_tokens=14)
    assert mine.tolist() == theirs.tolist() and PAD in mine[:, 6:]
