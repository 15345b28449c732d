"""Greedy and beam search equal the oracle's, token for token; what is returned besides equals it in numbers."""

from __future__ import annotations

import pytest
import torch
from oracle import BATCH, NAMES, ONE, PAD, assert_same, both, pair

from notebook_kit import record_attention

ENDS = list(range(54, 68))  # so many, that some row soon ends
GREEDY = {
    "plain": {},
    "no end": {"eos_token_id": None},
    "soon ends": {"eos_token_id": ENDS},
    "max_length": {"max_length": 9, "max_new_tokens": None},
    "repetition": {"repetition_penalty": 1.7},
    "ngrams": {"no_repeat_ngram_size": 2, "eos_token_id": None},
    "prompt ngrams": {"encoder_no_repeat_ngram_size": 1},
    "prompt again": {"encoder_repetition_penalty": 2.5},
    "bad words": {"bad_words_ids": [[5], [7, 40], [12, 55, 3]]},
    "bias": {"sequence_bias": [[[45], 3.0], [[45, 46], 30.0], [[90], -4.0]]},
    "at least, new": {"min_new_tokens": 8, "eos_token_id": ENDS},
    "at least": {"min_length": 11, "eos_token_id": ENDS},
    "forced end": {"forced_eos_token_id": 2},
    "suppressed": {"suppress_tokens": list(range(50)), "begin_suppress_tokens": list(range(50, 90))},
    "decay": {"exponential_decay_length_penalty": (2, 1.6), "eos_token_id": ENDS},
    "together": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "min_new_tokens": 3, "eos_token_id": ENDS},
    "no cache": {"use_cache": False, "eos_token_id": ENDS},
}
BEAMS = {
    "plain": {},
    "no end": {"eos_token_id": None},
    "ends": {"eos_token_id": ENDS},
    "n-best": {"num_return_sequences": 4, "eos_token_id": ENDS},
    "early": {"early_stopping": True, "eos_token_id": ENDS, "num_return_sequences": 2},
    "never early": {"early_stopping": "never", "eos_token_id": ENDS, "num_return_sequences": 2},
    "long": {"length_penalty": 2.5, "eos_token_id": ENDS, "num_return_sequences": 3},
    "short": {"length_penalty": -1.0, "eos_token_id": ENDS, "num_return_sequences": 3},
    "canonical": {"length_penalty": 0.0, "early_stopping": "never", "eos_token_id": ENDS},
    "rules": {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "min_new_tokens": 4, "eos_token_id": ENDS},
    "words": {"bad_words_ids": [[5], [7, 40]], "forced_eos_token_id": 2, "num_return_sequences": 4},
    "no cache": {"use_cache": False, "eos_token_id": ENDS, "num_return_sequences": 4},
}


@pytest.mark.parametrize("what", GREEDY)
@pytest.mark.parametrize("model_type", NAMES)
def test_greedy_equals_the_oracle(model_type, what):
    for given in (BATCH, ONE):
        assert_same(model_type, given, **{"max_new_tokens": 20, **GREEDY[what]})


@pytest.mark.parametrize("what", BEAMS)
@pytest.mark.parametrize("model_type", NAMES)
def test_beam_search_equals_the_oracle(model_type, what):
    for given in (BATCH, ONE):
        for beams in (2, 4) if BEAMS[what].get("num_return_sequences", 1) < 3 else (4,):
            assert_same(model_type, given, num_beams=beams, **{"max_new_tokens": 12, **BEAMS[what]})


def test_some_rows_end_early():
    """Else the comparisons above would say nothing about ends."""
    mine, _ = both("gpt2", BATCH, max_new_tokens=20, eos_token_id=ENDS)
    ended = (mine[:, 6:] == PAD).any(dim=1)
    assert ended.any() and not ended.all()


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", NAMES)
@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_returned_besides_equals_the_oracle(model_type, beams):
    settings = {
        "num_beams": beams,
        "max_new_tokens": 6,
        "eos_token_id": ENDS,
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
        "output_attentions": True,
        "output_hidden_states": True,
        "repetition_penalty": 1.2,
    }
    mine, theirs = both(model_type, BATCH, **settings)
    assert type(mine).__name__ == type(theirs).__name__
    assert mine.sequences.tolist() == theirs.sequences.tolist()
    for name in ("scores", "logits"):
        assert len(mine[name]) == len(theirs[name])
        for a, b in zip(mine[name], theirs[name], strict=True):
            close(a, b)
    real = BATCH["attention_mask"].bool().repeat_interleave(beams, 0)
    for name in ("attentions", "hidden_states"):
        assert len(mine[name]) == len(theirs[name])
        for step, (ours, expected) in enumerate(zip(mine[name], theirs[name], strict=True)):
            assert len(ours) == len(expected)
            for a, b in zip(ours, expected, strict=True):
                assert a.shape == b.shape
                if step == 0:  # what stands at places of padding means nothing
                    rows = real[:, None, :, None] if name == "attentions" else real[:, :, None]
                    a, b = a * rows, b * rows
                close(a, b)
    if beams > 1:
        close(mine.sequences_scores, theirs.sequences_scores)
        assert mine.beam_indices.tolist() == theirs.beam_indices.tolist()


def test_defaults_of_the_checkpoint_hold():
    ours, theirs = pair("gpt2")
    assert ours.generation_config.eos_token_id == theirs.generation_config.eos_token_id == 2
    assert ours.generate(**ONE).tolist() == theirs.generate(**ONE).tolist()  # 20 new tokens where nothing is said


def test_goes_on_from_a_returned_cache():
    ours, _ = pair("gpt2")
    whole = ours.generate(**ONE, max_new_tokens=10, eos_token_id=None)
    half = ours.generate(**ONE, max_new_tokens=5, eos_token_id=None, return_dict_in_generate=True)
    rest = ours.generate(half.sequences, past_key_values=half.past_key_values, max_new_tokens=5, eos_token_id=None)
    assert rest.tolist() == whole.tolist()


def test_starts_from_vectors():
    ours, theirs = pair("gpt2")
    vectors = ours.get_input_embeddings()(ONE["input_ids"])
    expected = ours.generate(**ONE, max_new_tokens=8, eos_token_id=None)[:, 6:]
    assert ours.generate(inputs_embeds=vectors, max_new_tokens=8, eos_token_id=None).tolist() == expected.tolist()
    given = {
        "inputs_embeds": ours.get_input_embeddings()(BATCH["input_ids"]),
        "attention_mask": BATCH["attention_mask"],
    }
    settings = {"max_new_tokens": 8, "eos_token_id": 2, "num_beams": 3}
    assert ours.generate(**given, **settings).tolist() == theirs.generate(**given, **settings).tolist()


def test_padding_is_told_by_its_token():
    ours, _ = pair("gpt2")
    assert ours.generate(BATCH["input_ids"], pad_token_id=PAD, max_new_tokens=6).tolist() == (
        ours.generate(**BATCH, pad_token_id=PAD, max_new_tokens=6).tolist()
    )


def test_groups_of_beams_differ():
    ours, _ = pair("gpt2")
    plain = {"num_beams": 6, "num_return_sequences": 6, "max_new_tokens": 8, "eos_token_id": None}
    groups = {**plain, "num_beam_groups": 3}
    alike = ours.generate(**ONE, **groups, diversity_penalty=0.0)
    alone = ours.generate(**ONE, **{**plain, "num_beams": 2, "num_return_sequences": 2})
    assert sorted(alike.tolist()) == sorted(alone.tolist() * 3)  # without a penalty each group is a search of its own
    apart = ours.generate(**ONE, **groups, diversity_penalty=100.0)
    assert len({row[6] for row in apart.tolist()}) >= 3  # with a large one no first token is shared between groups


def contrastive_by_the_book(model, ids, alpha, k, steps):
    """Su et al., 2022, section 3: with no cache and no batch."""
    for _ in range(steps):
        out = model(ids, output_hidden_states=True)
        likely, candidates = out.logits[0, -1].softmax(-1).topk(k)
        context = torch.nn.functional.normalize(out.hidden_states[-1][0], dim=-1)
        best, chosen = None, None
        for probability, token in zip(likely, candidates, strict=True):
            longer = torch.cat([ids, token.view(1, 1)], dim=1)
            state = model(longer, output_hidden_states=True).hidden_states[-1][0, -1]
            alike = (context @ torch.nn.functional.normalize(state, dim=-1)).max()
            score = (1 - alpha) * probability - alpha * alike
            if best is None or score > best:
                best, chosen = score, longer
        ids = chosen
    return ids


@torch.no_grad()
def test_contrastive_search():
    ours, _ = pair("gpt2")
    settings = {"penalty_alpha": 0.6, "top_k": 4, "max_new_tokens": 8, "eos_token_id": None, "pad_token_id": PAD}
    made = ours.generate(**BATCH, **settings)
    for row, (ids, mask) in enumerate(zip(BATCH["input_ids"], BATCH["attention_mask"], strict=True)):
        prompt = ids[mask.bool()][None]
        expected = contrastive_by_the_book(ours, prompt, 0.6, 4, 8)
        assert made[row, 6:].tolist() == expected[0, prompt.shape[1] :].tolist()
    assert made.tolist() != ours.generate(**BATCH, max_new_tokens=8, eos_token_id=None, pad_token_id=PAD).tolist()


@pytest.mark.parametrize("model_type", NAMES)
def test_recorded_attention_is_the_oracles(model_type):
    """`record_attention` around `generate`: for each new token, what it looked at."""
    ours, theirs = pair(model_type)
    settings = {"max_new_tokens": 5, "eos_token_id": None, "pad_token_id": PAD}
    expected = theirs.generate(**BATCH, **settings, return_dict_in_generate=True, output_attentions=True)
    with record_attention(ours) as record:
        made = ours.generate(**BATCH, **settings)
    assert made.tolist() == expected.sequences.tolist()
    layers = len(expected.attentions[0])
    assert layers > 1 and len(record.steps(0)) == len(expected.attentions) == 5
    real = BATCH["attention_mask"].bool()
    for layer in range(layers):
        for step, weights in enumerate(expected.attentions):
            mine, weights = record.steps(layer)[step], weights[layer]
            assert mine.shape == weights.shape
            if step == 0:  # what stands at places of padding means nothing
                mine, weights = (x * real[:, None, :, None] for x in (mine, weights))
            close(mine, weights)
