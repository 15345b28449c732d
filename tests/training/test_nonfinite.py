"""A loss that is NaN or infinite never moves the weights, and is never logged as a number."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_training import Line, assert_same_weights, line_rows, trainer, weights

from notebook_kit.errors import NonFiniteLossError, NotebookKitWarning
from notebook_kit.training import Trainer, TrainerCallback, default_data_collator
from notebook_kit.training.losses import LossMeter
from notebook_kit.training.run_folder import Manifest, checkpoints


def bad_rows(row=13):
    rows = line_rows()
    rows[row]["x"] = [math.nan]
    return rows


def make(folder, data=None, **options):
    torch.manual_seed(0)
    options = {"save_strategy": "steps", "save_steps": 2, "logging_steps": 1, "max_steps": 8, **options}
    options |= {"per_device_train_batch_size": 4, "data_collator": default_data_collator}
    return trainer(folder, Line(), bad_rows() if data is None else data, **options)


class StopAfter(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


def test_the_run_stops_before_the_weights_move_and_names_the_rows(tmp_path):
    run = make(tmp_path)
    with pytest.raises(NonFiniteLossError, match=r"The loss is nan in step \d, with the examples .*\b13\b") as raised:
        run.train()
    assert 13 in raised.value.rows and len(raised.value.rows) == 4
    assert "Its input 'x' is not finite" in str(raised.value)
    assert raised.value.step == run.state.global_step + 1
    assert all(torch.isfinite(tensor).all() for tensor in weights(run.model).values())
    assert all(math.isfinite(log["loss"]) for log in run.state.log_history if "loss" in log)
    done = run.state.global_step
    assert 0 < done < 5 and checkpoints(tmp_path)[-1].name == f"checkpoint-{done}"
    clean = make(tmp_path / "clean", line_rows(), callbacks=[StopAfter(done)])
    clean.train()
    assert_same_weights(weights(run.model), weights(clean.model))


@pytest.mark.filterwarnings("ignore:1 losses of the last 1 steps")
def test_skipping_leaves_out_the_update_alone(tmp_path):
    seen = []

    class Count(TrainerCallback):
        def on_optimizer_step(self, args, state, control, **kwargs):
            seen.append(state.global_step)

    run = make(tmp_path, nan_policy="skip", num_train_epochs=1, max_steps=-1, callbacks=[Count()])
    run.train()
    assert run.state.global_step == 5 and len(seen) == 4
    losses = [log["loss"] for log in run.state.log_history if "loss" in log]
    assert sum(map(math.isnan, losses)) == 1 and 0.0 not in losses
    assert run.state.log_history[-1]["train_loss"] == pytest.approx(sum(x for x in losses if x == x) / 4)
    assert all(torch.isfinite(tensor).all() for tensor in weights(run.model).values())


def test_skipped_rows_are_named_in_a_warning(tmp_path):
    with pytest.warns(NotebookKitWarning, match=r"Their updates were skipped \(examples .*\b13\b"):
        make(tmp_path, nan_policy="skip", logging_steps=5, num_train_epochs=1, max_steps=-1).train()


@pytest.mark.filterwarnings("ignore:. losses of the last")
def test_ignoring_keeps_good_checkpoints_and_logs_no_zero(tmp_path):
    rows = line_rows()

    class Spoil(TrainerCallback):
        def on_optimizer_step(self, args, state, control, model=None, **kwargs):
            if state.global_step == 3:
                with torch.no_grad():
                    model.layer.weight.fill_(math.nan)

    options = {"nan_policy": "ignore", "save_total_limit": 1, "save_steps": 1, "max_steps": 6}
    run = make(tmp_path, rows, callbacks=[Spoil()], **options)
    run.train()
    manifests = {path.name: Manifest.of(path).finite for path in checkpoints(tmp_path)}
    assert manifests["checkpoint-3"] is True and manifests["checkpoint-6"] is False
    assert 0.0 not in [log["loss"] for log in run.state.log_history if "loss" in log]


def test_an_update_without_labels_is_left_out_and_does_not_stop_the_run(tmp_path):
    class Empty(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            logits = model(inputs["x"])["logits"]
            pairs = torch.stack([logits, -logits], 1)
            return torch.nn.functional.cross_entropy(pairs, inputs["labels"], ignore_index=-100)

    rows = [{"x": [0.1], "labels": -100}] * 4 + [{"x": [0.2], "labels": 1}] * 4
    run = make(tmp_path, rows, kind=Empty, train_sampling_strategy="sequential", max_steps=2)
    with pytest.warns(NotebookKitWarning, match="1 losses of the last 1 steps were NaN"):
        run.train()
    assert run.state.global_step == 2


@pytest.mark.parametrize("keep_all", [False, True])
def test_the_meter_counts_what_it_leaves_out(keep_all):
    meter = LossMeter(keep_all=keep_all)
    for value in (1.0, math.nan, 3.0):
        meter.add(torch.tensor(value))
    again = LossMeter.from_state(meter.state())
    again.keep_all = keep_all
    for each in (meter, again):
        mean, bad = each.take(3)
        assert bad == 1 and (math.isnan(mean) if keep_all else mean == 2.0)
    meter.add(torch.tensor(math.inf))
    assert (math.inf if keep_all else "nan") == (meter.take(4)[0] if keep_all else str(meter.take(4)[0]))


def test_judging_changes_no_weight(tmp_path):
    found = []
    for policy in ("stop", "ignore"):
        run = make(tmp_path / policy, line_rows(), nan_policy=policy, save_strategy="no")
        run.train()
        found.append(weights(run.model))
    assert_same_weights(*found)
