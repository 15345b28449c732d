"""The Trainer's steps with products by oneDNN, where they are faster."""

import pytest
import torch
from tiny_training import arguments, assert_same_weights, bert, curve, dataset, trainer, weights

from notebook_kit import TrainingLoop, preserved
from notebook_kit.nn import few_rows, many_rows, training_products
from notebook_kit.training import Trainer, TrainerCallback

pytestmark = pytest.mark.skipif(not few_rows.available(), reason="this torch has no such kernels")


@pytest.fixture
def gain(monkeypatch):
    """Sets how many times as fast oneDNN is; it computes the smallest products too, and those of training are counted."""
    for name in ("LEAST_WORK", "LEAST_PRODUCT", "LEAST_ROWS"):
        monkeypatch.setattr(training_products, name, 1)
    product, counts = training_products.product, []

    def counting(*given):
        counts.append(1)
        return product(*given)

    monkeypatch.setattr(training_products, "product", counting)
    monkeypatch.setattr(many_rows, "gain", lambda few, threads: 1.0)

    def set_to(value):
        monkeypatch.setattr(training_products, "gain", lambda threads: value)
        counts.clear()
        return counts

    return set_to


def run(folder, **options):
    made = trainer(folder, data=dataset(32), max_steps=4, **{"logging_steps": 1, **options})
    made.train()
    return made


def test_a_run_by_either_is_the_same_but_for_rounding(gain, tmp_path):
    counts = gain(2.0)
    fast = run(tmp_path / "fast")
    linear = sum(isinstance(module, torch.nn.Linear) for module in fast.model.modules())
    assert len(counts) == 4 * 3 * linear
    again = run(tmp_path / "again")
    assert_same_weights(weights(fast.model), weights(again.model))
    counts = gain(1.1)
    plain = run(tmp_path / "plain")
    assert not counts, "where both are equally fast, nothing changes"
    for one, other in zip(curve(fast.state.log_history), curve(plain.state.log_history), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


class StopAt(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 2


@pytest.mark.parametrize("first, second", [(2.0, 1.0), (1.0, 2.0)])
def test_a_resumed_run_multiplies_as_it_did(first, second, gain, tmp_path):
    """Though another process measures something else, since the machine is busy."""
    gain(first)
    options = {"save_strategy": "steps", "save_steps": 2}
    whole = run(tmp_path / "whole", **options)
    trainer(tmp_path / "cut", data=dataset(32), max_steps=4, callbacks=[StopAt()], **options).train()
    counts = gain(second)
    resumed = trainer(tmp_path / "cut", data=dataset(32), max_steps=4, **options)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 4 and bool(counts) == (first > second)
    assert_same_weights(weights(whole.model), weights(resumed.model))


def test_not_in_mixed_precision(gain, tmp_path):
    counts = gain(2.0)
    run(tmp_path, bf16=True)
    assert not counts


def test_gradient_checkpointing_accumulation_and_overrides(gain, tmp_path):
    class Own(Trainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            loss = model(**self._prepare_inputs(inputs))["loss"] / 2
            loss.backward()
            return loss.detach()

    options = {"gradient_checkpointing": True, "gradient_accumulation_steps": 2}
    for kind, folder in ((Trainer, "own"), (Own, "other")):
        counts = gain(2.0)
        fast = trainer(tmp_path / folder, data=dataset(32), max_steps=2, kind=kind, **options)
        fast.train()
        assert counts
        gain(1.0)
        plain = trainer(tmp_path / folder, data=dataset(32), max_steps=2, kind=kind, **options)
        plain.train()
        for name, value in weights(fast.model).items():
            torch.testing.assert_close(value, weights(plain.model)[name], rtol=1e-3, atol=1e-4)


def test_evaluations_of_any_model(gain, tmp_path, monkeypatch):
    """Models of this library multiply by oneDNN wherever they are called; those of others in the Trainer's evaluations."""

    class Wrap(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(8, 2)

        def forward(self, x, labels=None):
            logits = self.layer(x)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    gain(1.0)
    rows = [{"x": torch.randn(8), "labels": n % 2} for n in range(16)]
    made = Trainer(Wrap(), arguments(tmp_path), train_dataset=rows, eval_dataset=rows)
    expected = made.evaluate()["eval_loss"]
    for name in ("LEAST_WORK", "LEAST_PRODUCT"):
        monkeypatch.setattr(many_rows, name, 1)
    monkeypatch.setattr(many_rows, "gain", lambda few, threads: 2.0)
    counts, product = [], many_rows.product
    monkeypatch.setattr(many_rows, "product", lambda *given: counts.append(1) or product(*given))
    assert made.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5) and counts


def test_a_loop_that_is_driven_from_outside(gain, tmp_path):
    counts = gain(2.0)
    made = trainer(tmp_path, model=bert(), data=dataset(32), max_steps=4)
    with preserved(made), TrainingLoop(made) as loop:
        loop.update(next(iter(loop.updates())))
    assert counts
