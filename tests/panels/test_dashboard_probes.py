"""Probes of TrainingDashboard: what a model says while it learns, and that asking it changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from dashboard_page import (
    both,
    page_fixture,  # noqa: F401 - pytest finds it here
    until,
)
from training.tiny_training import SIZES, assert_same_weights, bert, weights

from notebook_kit.errors import InputError
from notebook_kit.models.bert import BertForMaskedLM, BertForTokenClassification
from notebook_kit.panels import TrainingDashboard


@both
def test_probes_leave_the_training_as_it_is(tmp_path, make):
    """Dropout is on: one random number more or less would change the weights."""
    probe = {"input_ids": [5, 6, 7, 8], "attention_mask": [1, 1, 1, 1], "text": "four words"}
    plain = make(tmp_path / "plain", max_steps=6)
    plain.train()
    board = TrainingDashboard(probes=[probe, probe], probe_every=2)
    probed = make(tmp_path / "probed", board, max_steps=6)
    probed.train()
    assert_same_weights(weights(plain.model), weights(probed.model))
    taken = [event for event in board.record.events if event["kind"] == "probe"]
    assert [event["step"] for event in taken] == [0, 2, 4, 6] and board.record.facts["probes"] == ["four words"] * 2
    probed.model.eval()
    with torch.no_grad():
        logits = probed.model(input_ids=torch.tensor([[5, 6, 7, 8]]), attention_mask=torch.ones(1, 4)).logits[0]
    assert taken[-1]["rows"][0]["values"] == pytest.approx(logits.softmax(-1).tolist(), abs=1e-5)


def test_a_look_at_a_model_restores_modes_and_random_numbers():
    from notebook_kit.inspection.training.probes import undisturbed

    model = bert()
    model.train()
    model.bert.embeddings.eval()
    modes = [module_.training for module_ in model.modules()]
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    with pytest.raises(ZeroDivisionError), undisturbed(model, torch.device("cpu")):
        torch.rand(5)
        assert not torch.is_grad_enabled() and not any(module_.training for module_ in model.modules())
        raise ZeroDivisionError
    assert torch.equal(torch.rand(3), expected) and torch.is_grad_enabled()
    assert [module_.training for module_ in model.modules()] == modes


def test_kinds_of_predictions():
    from notebook_kit.inspection.training.probes import Probes
    from notebook_kit.models.bert import BertConfig

    probes = Probes([{"input_ids": [5, 6, 7, 8]}])
    config = BertConfig(**SIZES, id2label={0: "NO", 1: "YES", 2: "MAYBE"})
    [tokens] = probes.take(BertForTokenClassification(config), None)
    assert tokens["kind"] == "tokens" and tokens["labels"] == ["NO", "YES", "MAYBE"]
    assert sum(tokens["values"]) == pytest.approx(1, abs=1e-4)
    [words] = probes.take(BertForMaskedLM(BertConfig(**SIZES)), None)
    assert words["kind"] == "words" and len(words["labels"]) == 5 and words["values"] == sorted(words["values"])[::-1]
    [number] = probes.take(bert(num_labels=1), None)
    assert number["kind"] == "numbers" and len(number["values"]) == 1
    [several] = probes.take(bert(num_labels=3, problem_type="multi_label_classification"), None)
    assert several["kind"] == "classes" and all(0 < value < 1 for value in several["values"])
    with pytest.raises(InputError, match="no logits"):
        probes.take(bert().bert, None)


def test_probes_of_a_model_that_diverged_cross_as_missing(page):
    board = TrainingDashboard()
    board.begin()
    board.record.event("probe", 1, rows=[{"kind": "classes", "labels": ["A", "B"], "values": [math.nan, 0.5]}])
    board.log(1, loss=math.nan)
    board.finish()
    until(lambda: not board._sender.is_alive)
    assert page().runs["0"]["probes"][0]["rows"][0]["values"] == [None, 0.5]
