"""The recorded runs among the samples are those that the recipe records."""

import json
import math

import pytest

from notebook_kit.recipes.faulty_runs import FAULTS, STEPS, record
from notebook_kit.training import RunRecord
from notebook_kit.zoo import sample


def logged(name):
    return json.loads(sample(f"{name}.json").read_text("utf-8"))["log_history"]


@pytest.mark.parametrize("name", FAULTS)
def test_a_record_is_complete_and_does_not_name_its_fault(name):
    run = RunRecord.load(sample(f"{name}.json"))
    assert run.series["loss"].steps.tolist() == list(range(5, STEPS + 1, 5))
    assert run.series["eval_loss"].steps.tolist() == list(range(20, STEPS + 1, 20))
    assert set().union(*logged(name)) == {"loss", "grad_norm", "eval_loss", "eval_accuracy", "epoch", "step"}


def test_a_record_can_be_made_again():
    again = record("run_4", steps=10)
    assert [entry["step"] for entry in again] == [5, 10]
    for entry, stored in zip(again, logged("run_4"), strict=False):
        assert entry["loss"] == pytest.approx(stored["loss"], rel=0.01), "up to the rounding of another processor"


def test_the_clues_of_the_chapter_are_there():
    losses = {name: [entry["loss"] for entry in logged(name) if "loss" in entry] for name in FAULTS}
    measured = {name: [entry for entry in logged(name) if "eval_loss" in entry] for name in FAULTS}
    assert losses["run_1"][0] > 4 and losses["run_1"][-1] == pytest.approx(math.log(10), abs=0.02)
    assert max(losses["run_2"]) > 4 and max(entry["eval_accuracy"] for entry in measured["run_2"]) < 0.2
    assert losses["run_3"][-1] < 0.4 and measured["run_3"][-1]["eval_loss"] > 1.5
    assert losses["run_4"][-1] < 0.01
    assert measured["run_4"][-1]["eval_loss"] > min(entry["eval_loss"] for entry in measured["run_4"]) + 0.5
    assert losses["run_5"][-1] > measured["run_5"][-1]["eval_loss"] + 0.3
