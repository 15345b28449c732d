"""The greedy learning rate is that of the reference, step by step."""

from __future__ import annotations

import random

import pytest
import torch
import transformers
from transformers.optimization import GreedyLR as Reference

import notebook_kit
from notebook_kit.errors import ConfigurationError
from notebook_kit.utils import GreedyLR


def optimizer(groups=1):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(groups)]
    return torch.optim.SGD([{"params": [p], "lr": 0.1 / (i + 1)} for i, p in enumerate(parameters)], lr=0.1)


def rates(kind, values, groups=1, **options):
    schedule = kind(optimizer(groups), **options)
    shown = []
    for value in values:
        schedule.step(value)
        shown.append([group["lr"] for group in schedule.optimizer.param_groups])
    return shown


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 1},
        {"patience": 0, "factor": 0.7, "mode": "max"},
        {"patience": 1, "threshold": 0.05, "threshold_mode": "rel", "mode": "max"},
        {"patience": 1, "threshold": 0.05, "threshold_mode": "rel"},
        {"patience": 1, "cooldown": 3, "warmup": 2},
        {"patience": 2, "smooth": True, "window_size": 4},
        {"patience": 0, "factor": 0.5, "min_lr": 0.02, "max_lr": 0.2, "reset_start": 3},
        {"patience": 0, "factor": 0.5, "min_lr": [0.02, 0.01], "max_lr": [0.2, 0.4], "reset_start": 2, "groups": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_reference(options, seed):
    draw = random.Random(seed)
    values = [1 + 3 / (1 + i) * draw.random() + (i > 60) * 0.02 * i for i in range(150)]
    mine, theirs = rates(GreedyLR, values, **options), rates(Reference, values, **options)
    assert len({rate for row in theirs for rate in row}) > 3
    for a, b in zip(mine, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-9)


def test_goes_on_from_its_state():
    first = GreedyLR(optimizer(), patience=0, factor=0.5, warmup=1, smooth=True, window_size=3)
    for value in (4.0, 3.0, 5.0, 6.0):
        first.step(value)
    second = GreedyLR(optimizer(), patience=0, factor=0.5, warmup=1, smooth=True, window_size=3)
    second.load_state_dict(first.state_dict())
    for value in (2.0, 1.0, 7.0, 8.0, 9.0):
        first.step(value)
        second.step(value)
        assert first.get_last_lr() == second.get_last_lr()


def test_mistakes():
    for options, message in (
        ({"mode": "low"}, "mode is 'low'"),
        ({"factor": 1.0}, "factor is 1.0"),
        ({"min_lr": [1, 2]}, "2 values"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            GreedyLR(optimizer(), **options)


def test_by_name_and_in_the_trainer(tmp_path):
    assert isinstance(
        notebook_kit.get_scheduler("greedy", optimizer(), scheduler_specific_kwargs={"patience": 2}), GreedyLR
    )
    assert {kind.value for kind in notebook_kit.SchedulerType} == {kind.value for kind in transformers.SchedulerType}
    with pytest.raises(ConfigurationError, match="eval_strategy"):
        notebook_kit.TrainingArguments(str(tmp_path), lr_scheduler_type="greedy")

    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def forward(self, x, labels=None):
            y = self.layer(x).squeeze(-1)
            return {"loss": ((y - labels) ** 2).mean(), "logits": y}

    data = [{"x": [float(i)], "labels": 2.0 * i} for i in range(8)]
    args = notebook_kit.TrainingArguments(
        str(tmp_path),
        num_train_epochs=4,
        learning_rate=0.001,
        lr_scheduler_type="greedy",
        lr_scheduler_kwargs={"patience": 0, "factor": 0.5, "min_lr": 1e-6},
        eval_strategy="epoch",
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
    )
    trainer = notebook_kit.Trainer(Line(), args, train_dataset=data, eval_dataset=data)
    trainer.train()
    rising = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
    assert rising == sorted(rising, reverse=True) and trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.016)
