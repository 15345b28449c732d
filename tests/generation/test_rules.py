"""Each rule and each filter gives the scores that the oracle's counterpart gives."""

from __future__ import annotations

import pytest
import torch
import transformers.generation.logits_process as oracle

import notebook_kit.generation as ours
from notebook_kit.errors import InputError

VOCABULARY = 60
NEVER = float("-inf")


def sequences() -> torch.Tensor:
    """Rows that repeat themselves."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 12, (4, 9), generator=draw)
    ids[0] = torch.tensor([5, 6, 7, 8, 5, 6, 7, 5, 6])
    return ids


def many_scores() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(2)
    plain = torch.randn(4, VOCABULARY, generator=draw) * 3
    flat = torch.zeros(4, VOCABULARY)  # all alike
    peaked = flat.clone()
    peaked[:, 7] = 40.0
    some = plain.clone()
    some[:, 20:] = NEVER
    ties = (plain * 2).round() / 2
    return {"plain": plain, "flat": flat, "peaked": peaked, "some forbidden": some, "ties": ties}


def allowed(row: int, tokens: torch.Tensor) -> list[int]:
    return [int(tokens[-1]), row, 30 + row]


SOURCE = torch.tensor([[5, 6, 3, 5, 6, 9], [1, 2, 3, 1, 2, 4]])
# Name of the class, and its arguments.
RULES = [
    ("MinLengthLogitsProcessor", {"min_length": 12, "eos_token_id": [2, 7]}),
    ("MinLengthLogitsProcessor", {"min_length": 9, "eos_token_id": 2}),
    ("MinNewTokensLengthLogitsProcessor", {"prompt_length_to_skip": 5, "min_new_tokens": 5, "eos_token_id": [2]}),
    ("MinNewTokensLengthLogitsProcessor", {"prompt_length_to_skip": 5, "min_new_tokens": 4, "eos_token_id": [2]}),
    ("RepetitionPenaltyLogitsProcessor", {"penalty": 1.4}),
    ("RepetitionPenaltyLogitsProcessor", {"penalty": 0.7}),
    ("RepetitionPenaltyLogitsProcessor", {"penalty": 1.4, "prompt_ignore_length": 6}),
    ("EncoderRepetitionPenaltyLogitsProcessor", {"penalty": 1.7, "encoder_input_ids": SOURCE.repeat(2, 1)}),
    ("NoRepeatNGramLogitsProcessor", {"ngram_size": 1}),
    ("NoRepeatNGramLogitsProcessor", {"ngram_size": 2}),
    ("NoRepeatNGramLogitsProcessor", {"ngram_size": 3}),
    ("NoRepeatNGramLogitsProcessor", {"ngram_size": 20}),
    ("EncoderNoRepeatNGramLogitsProcessor", {"encoder_ngram_size": 2, "encoder_input_ids": SOURCE}),
    ("EncoderNoRepeatNGramLogitsProcessor", {"encoder_ngram_size": 3, "encoder_input_ids": SOURCE[0]}),
    ("SequenceBiasLogitsProcessor", {"sequence_bias": {(3,): 2.0, (5, 6, 9): -7.0, (6, 11): 4.0}}),
    ("SequenceBiasLogitsProcessor", {"sequence_bias": [[[3], 2.0], [[5, 6, 9], -7.0]]}),
    ("NoBadWordsLogitsProcessor", {"bad_words_ids": [[4], [5, 6, 7], [2]], "eos_token_id": [2]}),
    ("SuppressTokensLogitsProcessor", {"suppress_tokens": [0, 7, 59]}),
    ("SuppressTokensAtBeginLogitsProcessor", {"begin_suppress_tokens": [1, 2], "begin_index": 9}),
    ("SuppressTokensAtBeginLogitsProcessor", {"begin_suppress_tokens": [1, 2], "begin_index": 8}),
    ("ForcedBOSTokenLogitsProcessor", {"bos_token_id": 3}),
    ("ForcedEOSTokenLogitsProcessor", {"max_length": 10, "eos_token_id": [2, 4]}),
    ("ForcedEOSTokenLogitsProcessor", {"max_length": 11, "eos_token_id": 2}),
    ("PrefixConstrainedLogitsProcessor", {"prefix_allowed_tokens_fn": allowed, "num_beams": 2}),
    ("InfNanRemoveLogitsProcessor", {}),
    ("LogitNormalization", {}),
]
FILTERS = [
    ("TemperatureLogitsWarper", [{"temperature": t} for t in (0.3, 1.9)]),
    ("TopKLogitsWarper", [{"top_k": k} for k in (1, 5, 500)] + [{"top_k": 2, "min_tokens_to_keep": 4}]),
    ("TopPLogitsWarper", [{"top_p": p} for p in (0.0, 0.3, 0.9, 1.0)] + [{"top_p": 0.1, "min_tokens_to_keep": 6}]),
    ("MinPLogitsWarper", [{"min_p": p} for p in (0.02, 0.5)] + [{"min_p": 1.0, "min_tokens_to_keep": 3}]),
    ("TypicalLogitsWarper", [{"mass": p} for p in (0.2, 0.95)] + [{"mass": 0.1, "min_tokens_to_keep": 6}]),
    ("EpsilonLogitsWarper", [{"epsilon": e} for e in (1e-3, 0.1)] + [{"epsilon": 0.9, "min_tokens_to_keep": 3}]),
    (
        "EtaLogitsWarper",
        [{"epsilon": e} for e in (1e-3, 0.1)] + [{"epsilon": 0.9, "min_tokens_to_keep": 3, "device": "cpu"}],
    ),
]
EVERY = [*RULES, *((name, given) for name, several in FILTERS for given in several)]


@pytest.mark.parametrize(("name", "given"), EVERY, ids=[f"{name}-{n}" for n, (name, _) in enumerate(EVERY)])
def test_each_rule_equals_the_oracles(name, given):
    ids = sequences()
    mine, theirs = getattr(ours, name)(**given), getattr(oracle, name)(**given)
    for kind, scores in many_scores().items():
        if kind == "ties" and name == "TypicalLogitsWarper":
            continue  # which of several alike ones come first is nobody's rule
        for tokens in (ids, ids[:, :1]):
            before = scores.clone()
            result = mine(tokens, scores)
            torch.testing.assert_close(
                result, theirs(tokens, scores.clone()), msg=lambda text, kind=kind: f"{kind}: {text}"
            )
            assert torch.equal(scores, before)  # what comes in is left alone


def test_the_end_grows_likelier_as_the_oracle_has_it():
    ids, scores = sequences(), many_scores()["plain"]
    for length in range(1, 10):
        given = {"exponential_decay_length_penalty": (2, 1.3), "eos_token_id": [2, 5], "input_ids_seq_length": 3}
        mine = ours.ExponentialDecayLengthPenalty(**given)(ids[:, :length], scores)
        theirs = oracle.ExponentialDecayLengthPenalty(**given)(ids[:, :length], scores.clone())
        torch.testing.assert_close(mine, theirs)


def test_every_rule_is_compared():
    compared = {name for name, _ in EVERY} | {"ExponentialDecayLengthPenalty", "LogitsProcessor", "LogitsProcessorList"}
    compared |= {"UnbatchedClassifierFreeGuidanceLogitsProcessor"}  # in test_assisted.py
    compared |= {"WhisperTimeStampLogitsProcessor"}  # in test_whisper.py, where the generated tokens equal the oracle's
    offered = {
        name for name in ours.__all__ if name.endswith(("LogitsProcessor", "Warper", "Penalty", "Normalization"))
    }
    assert offered <= compared


def test_invalid_numbers_are_made_finite():
    scores = torch.tensor([[float("nan"), float("inf"), NEVER, 1.0]])
    mine = ours.InfNanRemoveLogitsProcessor()(torch.tensor([[0]]), scores)
    assert torch.equal(mine, oracle.InfNanRemoveLogitsProcessor()(torch.tensor([[0]]), scores.clone()))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("TemperatureLogitsWarper", {"temperature": 0.0}),
        ("TopKLogitsWarper", {"top_k": 0}),
        ("TopPLogitsWarper", {"top_p": 1.2}),
        ("MinPLogitsWarper", {"min_p": -0.1}),
        ("TypicalLogitsWarper", {"mass": 2.0}),
        ("EpsilonLogitsWarper", {"epsilon": 1.5}),
        ("TopPLogitsWarper", {"top_p": 0.5, "min_tokens_to_keep": 0}),
        ("RepetitionPenaltyLogitsProcessor", {"penalty": 0.0}),
        ("NoRepeatNGramLogitsProcessor", {"ngram_size": 0}),
        ("EncoderNoRepeatNGramLogitsProcessor", {"encoder_ngram_size": 1.5, "encoder_input_ids": SOURCE}),
        ("SequenceBiasLogitsProcessor", {"sequence_bias": {(): 1.0}}),
    ],
)
def test_what_cannot_be_is_said(name, given):
    with pytest.raises(InputError, match="Pass"):
        getattr(ours, name)(**given)


def test_tokens_that_there_are_not():
    scores = torch.zeros(1, 4)
    with pytest.raises(InputError, match=r"Tokens \[9\] are not in the vocabulary"):
        ours.SequenceBiasLogitsProcessor({(9,): 1.0})(torch.tensor([[0]]), scores)
    with pytest.raises(InputError, match=r"allows no token after \[0\]"):
        ours.PrefixConstrainedLogitsProcessor(lambda row, tokens: [], 1)(torch.tensor([[0]]), scores)


def test_a_device_is_accepted_where_the_oracle_takes_one():
    ids, scores = torch.tensor([[5, 6]]), torch.randn(1, 12)
    for name, arguments in (
        ("MinLengthLogitsProcessor", {"min_length": 3, "eos_token_id": 0}),
        (
            "MinNewTokensLengthLogitsProcessor",
            {"prompt_length_to_skip": 1, "min_new_tokens": 2, "eos_token_id": [0, 1]},
        ),
        ("SuppressTokensLogitsProcessor", {"suppress_tokens": [3]}),
        ("SuppressTokensAtBeginLogitsProcessor", {"begin_suppress_tokens": [3], "begin_index": 2}),
        ("ForcedEOSTokenLogitsProcessor", {"max_length": 3, "eos_token_id": 4}),
    ):
        mine, theirs = (getattr(x, name)(**arguments, device="cpu") for x in (ours, oracle))
        assert torch.equal(mine(ids, scores), theirs(ids, scores)), name
