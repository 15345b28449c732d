"""The stop button at moments in which it must wait."""

from __future__ import annotations

import signal

import pytest
from tiny_training import dataset
from tiny_training import trainer as make_trainer


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
