"""The loop, entered by other code than `Trainer.train`: run on trial, stepped update by update, watched by a callback."""

import copy
import random

import numpy as np
import pytest
import torch
from tiny_training import Line, assert_same_weights, bert, dataset, line_rows, trainer, weights

from notebook_kit.errors import ConfigurationError, NotebookKitWarning
from notebook_kit.training import EarlyStoppingCallback, RunMonitor, TrainerCallback, default_data_collator
from notebook_kit.training.loop import TrainingLoop
from notebook_kit.training.seeding import rng_states
from notebook_kit.training.trials import preserved


def line(folder, **options):
    torch.manual_seed(0)
    options = {"data_collator": default_data_collator, "logging_steps": 1, **options}
    return trainer(folder, Line(), line_rows(), **options)


def losses_at_rising_rates(run, lowest, highest, steps):
    """What a search for a learning rate does: an update at each rate, on trial."""
    rates, losses = np.geomspace(lowest, highest, steps).tolist(), []
    with preserved(run), TrainingLoop(run, max_steps=steps) as loop:
        for rate, batches in zip(rates, loop.updates(), strict=False):
            for group in run.optimizer.param_groups:
                group["lr"] = rate
            losses.append(float(loop.update(batches).loss))
    return rates, losses


def test_a_sweep_over_learning_rates(tmp_path):
    run = line(tmp_path, optim="sgd", per_device_train_batch_size=20, max_steps=3)
    rates, losses = losses_at_rising_rates(run, 1e-4, 30.0, steps=25)
    assert len(losses) == len(rates) == 25  # beyond an epoch, and beyond the arguments' max_steps
    best = losses.index(min(losses))
    assert 0 < best < 24  # too low a rate learns nothing, too high a one diverges
    assert losses[best] < losses[0] / 2 and losses[-1] > 10 * losses[0]


class Counter(TrainerCallback):
    def __init__(self):
        self.events = 0

    def on_step_begin(self, args, state, control, **kwargs):
        self.events += 1

    on_epoch_end = on_log = on_train_begin = on_step_begin


@pytest.mark.parametrize("given", [False, True])
def test_a_trial_leaves_the_trainer_as_it_was(tmp_path, given):
    def make(folder):
        torch.manual_seed(0)
        model = bert(0.2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3) if given else None
        options = {"optimizers": (optimizer, None), "callbacks": [Counter(), RunMonitor()], "eval_dataset": dataset(9)}
        run = trainer(folder, model, dataset(45), max_steps=4, logging_steps=1, **options)
        run.train()
        return run

    tried, untried = make(tmp_path / "tried"), make(tmp_path / "untried")
    before = {name: value for name, value in vars(tried).items() if not isinstance(value, dict)}
    optimizer = copy.deepcopy(tried.optimizer.state_dict())
    history, counted = copy.deepcopy(tried.state.log_history), tried.callbacks[2].events
    tried.model.eval()
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    generators = rng_states()
    losses_at_rising_rates(tried, 1e-3, 1.0, steps=7)

    assert_same_weights(weights(tried.model), weights(untried.model))
    after = rng_states()
    assert torch.equal(generators["cpu"], after["cpu"]) and generators["python"] == after["python"]
    assert {name: value for name, value in vars(tried).items() if not isinstance(value, dict)} == before
    assert tried.state.log_history == history and tried.callbacks[2].events == counted
    assert not any(module.training for module in tried.model.modules())
    assert all(parameter.grad is None for parameter in tried.model.parameters())
    for name, group in zip(
        ("lr", "betas"),
        zip(*[s["param_groups"] for s in (optimizer, tried.optimizer.state_dict())], strict=True),
        strict=False,
    ):
        assert group[0][name] == group[1][name]
    for index, moments in optimizer["state"].items():
        assert torch.equal(moments["exp_avg"], tried.optimizer.state_dict()["state"][index]["exp_avg"])
    # And it trains on as one that was never used for a trial.
    for run in (tried, untried):
        run.train()
    assert_same_weights(weights(tried.model), weights(untried.model))


def test_stepping_by_hand_learns_what_train_learns(tmp_path):
    trained, stepped = (
        trainer(tmp_path / name, bert(0.2), dataset(45), max_steps=8, gradient_accumulation_steps=2)
        for name in ("trained", "stepped")
    )
    trained.train()
    # `train` seeds at its start; here that is up to the caller.
    from notebook_kit.training import set_seed

    set_seed(stepped.args.seed)
    with TrainingLoop(stepped) as loop:
        for batches in loop.updates():
            assert stepped.loop is loop and stepped.is_in_train
            assert loop.update(batches) is stepped.last_step
    assert stepped.loop is None and not stepped.is_in_train
    assert stepped.state.global_step == loop.length.max_steps == 8
    assert (loop.position.epoch, loop.length.epochs) == (3, 3)
    assert_same_weights(weights(stepped.model), weights(trained.model))


def test_callbacks_of_a_trial_take_the_place_of_the_trainers(tmp_path):
    class Profiler(TrainerCallback):
        def __init__(self):
            self.seen = []

        def on_step_begin(self, args, state, control, **kwargs):
            self.seen.append(["begin"])

        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            self.seen[-1].append(all(parameter.grad is not None for parameter in model.parameters()))

        def on_step_end(self, args, state, control, **kwargs):
            self.seen[-1].append(state.global_step)
            control.should_training_stop = state.global_step == 3

    own, profiler = Counter(), Profiler()
    run = line(tmp_path, callbacks=[own])
    with preserved(run, [profiler]), TrainingLoop(run, max_steps=100) as loop:
        for batches in loop.updates():
            loop.update(batches)
    assert profiler.seen == [["begin", True, step] for step in (1, 2, 3)]
    assert own.events == 0 and run.callbacks[-1] is own
    assert not run.control.should_training_stop


def test_a_trial_over_a_stream_ends_without_a_warning(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(line_rows())

    run = trainer(tmp_path, Line(), Stream(), data_collator=default_data_collator, max_steps=50)
    _, losses = losses_at_rising_rates(run, 1e-4, 1e-2, steps=7)
    assert len(losses) == 7


def test_a_trial_that_fails_restores_too(tmp_path):
    run = line(tmp_path)
    before = weights(run.model)
    with pytest.raises(ZeroDivisionError), preserved(run), TrainingLoop(run, max_steps=9) as loop:
        for batches in loop.updates():
            loop.update(batches)
            1 / 0  # noqa: B018
    assert_same_weights(weights(run.model), before)
    assert run.loop is None and not run.is_in_train and run.optimizer is None


def test_no_trial_within_a_run_and_no_run_within_a_trial(tmp_path):
    class Tries(TrainerCallback):
        def on_step_end(self, args, state, control, trainer=None, **kwargs):
            with preserved(trainer):
                pass

    with pytest.raises(ConfigurationError, match="step 1 of 2"):
        line(tmp_path, callbacks=[Tries()], max_steps=2).train()
    run = line(tmp_path)
    with preserved(run), TrainingLoop(run, max_steps=2), pytest.raises(ConfigurationError, match="train a second time"):
        run.train()


def test_many_runs_of_one_trainer(tmp_path):
    """As a search over hyperparameters does: each run from a new model, with its own settings."""
    torch.manual_seed(0)
    run = trainer(tmp_path, model_init=Line, data=line_rows(), data_collator=default_data_collator, max_steps=20)
    losses = {}
    for rate in (1e-5, 0.1, 1e-5):
        run.args.learning_rate = rate
        losses.setdefault(rate, []).append(run.train().training_loss)
    assert losses[0.1][0] < losses[1e-5][0] == losses[1e-5][1]


def test_no_attribute_is_first_set_in_a_run(tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    stopping = EarlyStoppingCallback(3)
    options |= {"eval_dataset": line_rows(), "metric_for_best_model": "loss", "callbacks": [stopping]}
    run = line(tmp_path, max_steps=5, **options)
    known = set(vars(run))

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, trainer=None, **kwargs):
            self.loop = set(vars(trainer.loop)) if state.global_step == 1 else self.loop
            assert set(vars(trainer.loop)) == self.loop

    run.add_callback(Watch())
    run.train()
    run.evaluate()
    run.predict(line_rows())
    with pytest.warns(NotebookKitWarning, match="already at step 5 of 5"):
        run.train(resume_from_checkpoint=True)
    assert set(vars(run)) == known


def test_a_checkpoint_needs_a_run(tmp_path):
    run = line(tmp_path, max_steps=1)
    with pytest.raises(ConfigurationError, match="save_model"):
        run.save_checkpoint()


def test_a_subclass_may_write_checkpoints_its_own_way(tmp_path):
    from notebook_kit.training import Trainer

    class Own(Trainer):
        saved = 0

        def _save_checkpoint(self, model, trial):
            self.saved += 1
            super()._save_checkpoint(model, trial)

    run = line(tmp_path, kind=Own, max_steps=4, save_strategy="steps", save_steps=2)
    run.train()
    assert run.saved == 2
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}
