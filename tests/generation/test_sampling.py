"""What is drawn follows the distribution that the oracle's rules give, and a generator makes it repeatable."""

from __future__ import annotations

import pytest
import torch
import transformers.generation.logits_process as oracle
from oracle import BATCH, ONE, PAD, pair

DRAWS = 20_000
WAYS = {
    "plain": {},
    "temperature": {"temperature": 0.6},
    "hot": {"temperature": 1.8},
    "top_k": {"top_k": 12},
    "top_p": {"top_p": 0.7},
    "min_p": {"min_p": 0.15},
    "typical_p": {"typical_p": 0.6},
    "epsilon_cutoff": {"epsilon_cutoff": 0.02},
    "eta_cutoff": {"eta_cutoff": 0.05},
    "together": {"temperature": 1.3, "top_k": 30, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.5},
}


def sharpened(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """A rule of the caller's own: random weights say little, so that without it all tokens would be almost alike."""
    return 4 * scores


COUNTERPARTS = {
    "repetition_penalty": oracle.RepetitionPenaltyLogitsProcessor,
    "own": lambda _: sharpened,
    "temperature": oracle.TemperatureLogitsWarper,
    "top_k": oracle.TopKLogitsWarper,
    "top_p": oracle.TopPLogitsWarper,
    "min_p": oracle.MinPLogitsWarper,
    "typical_p": oracle.TypicalLogitsWarper,
    "epsilon_cutoff": oracle.EpsilonLogitsWarper,
    "eta_cutoff": oracle.EtaLogitsWarper,
}


def expected_probabilities(ids: torch.Tensor, settings: dict) -> torch.Tensor:
    """`(vocabulary,)`: the oracle's model and the oracle's rules, in the order that it applies them."""
    settings = {"own": None, **settings}
    with torch.no_grad():
        scores = pair("gpt2")[1](ids).logits[:, -1]
    for name, kind in COUNTERPARTS.items():
        if name in settings:
            scores = kind(settings[name])(ids, scores)
    return scores.softmax(dim=-1)[0].double()


def chance_of_such_a_draw(drawn: torch.Tensor, probabilities: torch.Tensor) -> float:
    """Pearson's chi-square test: how probable it is that draws from `probabilities` differ from them as much or more.

    Tokens that are expected fewer than five times are counted as one.
    """
    counts = torch.bincount(drawn, minlength=probabilities.shape[0]).double()
    assert counts[probabilities == 0].sum() == 0  # what is left out never comes
    expected = probabilities * len(drawn)
    rare = expected < 5
    counts, expected = (torch.cat([x[~rare], x[rare].sum()[None]]) for x in (counts, expected))
    counts, expected = counts[expected > 0], expected[expected > 0]
    distance = ((counts - expected) ** 2 / expected).sum()
    return float(torch.special.gammaincc(torch.tensor((len(counts) - 1) / 2).double(), distance / 2))


def draws(settings: dict, steps: int = 1, seed: int = 0) -> torch.Tensor:
    """`(20,000, steps)` new tokens."""
    ours, _ = pair("gpt2")
    settings = {"top_k": 0, "eos_token_id": None, **settings, "do_sample": True, "num_return_sequences": DRAWS}
    settings |= {"generator": torch.Generator().manual_seed(seed), "logits_processor": [sharpened]}
    return ours.generate(**ONE, **settings, max_new_tokens=steps)[:, ONE["input_ids"].shape[1] :]


@pytest.mark.parametrize("what", WAYS)
def test_draws_follow_the_oracles_distribution(what):
    settings = WAYS[what]
    probabilities = expected_probabilities(ONE["input_ids"], settings)
    assert (probabilities > 0).sum() >= 5
    drawn = draws(settings)[:, 0]
    assert chance_of_such_a_draw(drawn, probabilities) > 0.001
    if "temperature" not in settings:
        return
    other = expected_probabilities(ONE["input_ids"], {**settings, "temperature": 1.1 * settings["temperature"]})
    assert chance_of_such_a_draw(drawn, other) < 0.001  # so the test would tell


def test_the_second_token_follows_the_first():
    """Each row goes on from its own first token."""
    drawn = draws({"temperature": 0.5}, steps=2)
    first = int(drawn[:, 0].mode().values)
    rows = drawn[drawn[:, 0] == first]
    longer = torch.cat([ONE["input_ids"], torch.tensor([[first]])], dim=1)
    assert len(rows) > 1000
    assert chance_of_such_a_draw(rows[:, 1], expected_probabilities(longer, {"temperature": 0.5})) > 0.001


def test_a_generator_repeats():
    ours, _ = pair("gpt2")
    settings = {"do_sample": True, "max_new_tokens": 12, "eos_token_id": None, "pad_token_id": PAD}

    def drawn(seed: int, **more) -> list:
        return ours.generate(**BATCH, **settings, **more, generator=torch.Generator().manual_seed(seed)).tolist()

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(1, num_beams=2) == drawn(1, num_beams=2) != drawn(2, num_beams=2)
    chance = torch.Generator().manual_seed(1)
    one, two = (ours.generate(**BATCH, **settings, generator=chance).tolist() for _ in range(2))
    assert one == drawn(1) and two != one  # the generator goes on where it was
    torch.manual_seed(5)
    before = torch.get_rng_state()
    drawn(3)
    assert torch.equal(torch.get_rng_state(), before)  # and nobody else's chance is touched


@pytest.mark.parametrize(
    "settings", [{}, {"top_p": 0.8, "temperature": 1.4}, {"num_beams": 3}, {"num_return_sequences": 3}]
)
def test_the_same_chance_gives_the_oracles_tokens(settings):
    """With the global generator at the same place, the draws are the same ones."""
    settings = {"do_sample": True, "top_k": 0, "max_new_tokens": 8, "eos_token_id": 2, "pad_token_id": PAD, **settings}
    made = []
    for model in pair("gpt2"):
        torch.manual_seed(11)
        made.append(model.generate(**BATCH, **settings).tolist())
    assert made[0] == made[1]


def test_scores_are_those_that_were_drawn_from():
    torch.manual_seed(0)
    settings = {"do_sample": True, "max_new_tokens": 4, "eos_token_id": None, "top_k": 7, "temperature": 0.8}
    out = pair("gpt2")[0].generate(**ONE, **settings, return_dict_in_generate=True, output_scores=True)
    for place, scores in enumerate(out.scores):
        assert int(scores.isfinite().sum()) == 7 and scores[0, out.sequences[0, 6 + place]].isfinite()
