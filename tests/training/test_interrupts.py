"""The stop button at moments in which it must wait."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from tiny_training import dataset
from tiny_training import trainer as make_trainer

from notebook_kit.training import TrainerCallback


@pytest.mark.parametrize(
    ("call", "step"), [("train", "wrap"), ("train", "create_optimizer_and_scheduler"), ("evaluate", "wrap")]
)
def test_the_imports_of_a_first_run_are_finished(tmp_path, monkeypatch, call, step):
    trainer = make_trainer(tmp_path, data=dataset(8), max_steps=1)
    trainer.eval_dataset = dataset(8)
    owner = trainer.distributed if step == "wrap" else trainer
    former, finished = getattr(owner, step), []

    def interrupted(*given, **options):
        signal.raise_signal(signal.SIGINT)
        finished.append(former(*given, **options))
        return finished[-1]

    monkeypatch.setattr(owner, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        getattr(trainer, call)()
    assert len(finished) == 1
    monkeypatch.undo()
    trainer.train()
    assert trainer.state.global_step == 1


def test_gradients_are_on_again_after_a_stop_on_the_border_of_no_grad(tmp_path, monkeypatch):
    trainer = make_trainer(
        tmp_path, data=dataset(8), eval_dataset=dataset(8), eval_strategy="steps", eval_steps=1, max_steps=3
    )

    def stopped(*given, **options):
        torch.set_grad_enabled(False)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(trainer, "prediction_step", stopped)
    with pytest.raises(KeyboardInterrupt, match="after step 1"):
        trainer.train()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_training_turns_gradients_on(tmp_path, off):
    """A cell that was stopped at the wrong moment may have left them off."""
    trainer = make_trainer(tmp_path, data=dataset(8), max_steps=2)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    with off():
        trainer.train()
        assert not torch.is_grad_enabled()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())


@pytest.mark.parametrize(("processes", "step"), [("2", 3), ("1", 2)])
def test_an_interrupt_that_a_launcher_passes_on_counts_once(tmp_path, monkeypatch, processes, step):
    class Interrupt(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 2:
                monkeypatch.setenv("WORLD_SIZE", processes)
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    run = make_trainer(tmp_path, max_steps=6, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert run.state.global_step == step


@pytest.mark.parametrize("enabled", [True, False])
def test_sigterm_saves_a_run_that_would_not_save(tmp_path, enabled):
    class Terminate(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    run = make_trainer(tmp_path, max_steps=6, enable_jit_checkpoint=enabled, callbacks=[Terminate()])
    with pytest.raises(SystemExit) as ended:
        run.train()
    assert ended.value.code == 143 and run.state.global_step == 3
    assert (tmp_path / "checkpoint-3").exists() == enabled
