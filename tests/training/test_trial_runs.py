"""Trial runs that leave no trace: the range test of rates, the profile of a step, and the estimate of a run."""

from __future__ import annotations

import pytest
import torch
from tiny_training import bert, dataset
from tiny_training import trainer as make_trainer

from notebook_kit.errors import ConfigurationError, InputError, NotebookKitError
from notebook_kit.training import TrainerCallback, profiling


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class Spy(TrainerCallback):
    def __init__(self):
        self.steps = 0

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1


@pytest.mark.parametrize("call", ["find_lr", "profile", "estimate"])
def test_nothing_changes(tmp_path, call):
    spy = Spy()
    trainer = make_trainer(
        tmp_path, data=dataset(40), callbacks=[spy], max_steps=6, eval_dataset=dataset(8), eval_strategy="steps"
    )
    before, random = weights(trainer.model), torch.get_rng_state()
    getattr(trainer, call)(steps=4)
    assert same(trainer.model, before) and torch.equal(torch.get_rng_state(), random)
    assert spy.steps == trainer.state.global_step == 0 and not trainer.state.log_history
    assert not list(tmp_path.glob("checkpoint*")) and trainer.optimizer is None
    assert "compute_loss" not in vars(trainer)
    trainer.train()
    assert trainer.state.global_step == 6 and spy.steps == 6


def test_the_rate_at_which_the_loss_falls_fastest(tmp_path):
    trainer = make_trainer(tmp_path, bert(dropout=0.0), dataset(64), max_steps=5, per_device_train_batch_size=16)
    curve = trainer.find_lr(start=1e-6, end=10.0, steps=40)
    assert len(curve.rates) == len(curve.losses) == len(curve.smoothed) <= 40
    assert curve.suggestion < curve.rates[curve.smoothed.index(min(curve.smoothed))] or curve.suggestion is None
    ratios = [after / before for before, after in zip(curve.rates, curve.rates[1:], strict=False)]
    assert ratios == pytest.approx([10.0 ** (7 / 39)] * len(ratios))
    assert 1e-5 < curve.suggestion < 1.0 and max(curve.losses) > 1.5 * curve.losses[0]
    assert curve._repr_png_().startswith(b"\x89PNG")
    axes = curve.plot().axes[0]
    assert axes.get_xscale() == "log" and any("falls fastest" in text.get_text() for text in axes.get_legend().texts)


def test_rates_that_do_not_rise(tmp_path):
    trainer = make_trainer(tmp_path, data=dataset(16), max_steps=5)
    for wrong in (
        {"start": 1.0, "end": 0.1},
        {"steps": 1},
        {"window": 2},
        {"start": 0.0},
        {"start": "a"},
        {"steps": None},
    ):
        with pytest.raises(ConfigurationError, match="find_lr got"):
            trainer.find_lr(**wrong)
    for trial in (trainer.profile, trainer.estimate):
        with pytest.raises(ConfigurationError, match="got steps='ten'"):
            trial(steps="ten")
    with pytest.raises(InputError, match="output_dir is 3; expected text or a path"):
        trainer.save_model(3)
    with torch.no_grad():
        trainer.model.classifier.bias.fill_(float("nan"))
    for policy, message in (("stop", "nan"), ("ignore", "loss of the first update is nan")):
        trainer.args.nan_policy = policy
        with pytest.raises(NotebookKitError, match=message):
            trainer.find_lr(steps=3)


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def spend(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("notebook_kit.training.profiling.time", clock)
    return clock


def test_each_part_has_its_time(tmp_path, clock):
    trainer = make_trainer(tmp_path, data=dataset(40), max_steps=6)
    collate, prepare = trainer.data_collator, trainer._prepare_inputs

    def collated(examples):
        clock.spend(0.4)
        return collate(examples)

    def prepared(inputs):
        clock.spend(0.03)
        return prepare(inputs)

    trainer.data_collator, trainer._prepare_inputs = collated, prepared
    trainer.model.register_forward_pre_hook(lambda *_: clock.spend(0.2))
    trainer.model.classifier.register_full_backward_hook(lambda *_: clock.spend(0.1))
    create = trainer.create_optimizer_and_scheduler

    def created(steps):
        create(steps)
        trainer.optimizer.register_step_post_hook(lambda *_: clock.spend(0.07))

    trainer.create_optimizer_and_scheduler = created
    found = trainer.profile(steps=3)
    assert found.seconds == pytest.approx(
        {"data": 0.4, "forward": 0.2, "backward": 0.1, "optimizer": 0.07, "rest": 0.03}
    )
    assert found.steps == 3 and found.total == pytest.approx(0.8) and found.share("data") == pytest.approx(0.5)
    assert str(found).endswith("→ 50 % of the time goes into data. " + profiling._ADVICE["data"])
    assert len(found.plot().axes[0].patches) == 5


def test_the_time_of_a_run(tmp_path, clock):
    trainer = make_trainer(
        tmp_path, data=dataset(40), max_steps=30, eval_dataset=dataset(24), eval_strategy="steps", eval_steps=10
    )
    trainer.model.register_forward_pre_hook(lambda *_: clock.spend(0.03))
    found = trainer.estimate(steps=5)
    assert (found.steps, found.training) == (30, pytest.approx(30 * 0.03))
    batches = len(trainer.get_eval_dataloader())
    assert found.evaluation == pytest.approx(3 * batches * 0.03) and found.saving == 0
    assert found.seconds == pytest.approx(found.training + found.evaluation)
    assert found.memory is None or found.memory > 50e6
    start = clock.now
    trainer.train()
    assert clock.now - start == pytest.approx(found.seconds)


def test_the_trial_has_the_longest_batch(tmp_path):
    trainer = make_trainer(tmp_path, data=dataset(61), max_steps=50)
    widest = []
    trainer.model.register_forward_pre_hook(
        lambda _, args, given: widest.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    trainer.estimate(steps=1)
    assert widest[0] == max(widest) == max(len(row["input_ids"]) for row in dataset(61))
