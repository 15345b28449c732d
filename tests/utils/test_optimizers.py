"""Adafactor and its schedule compute what the reference computes."""

from __future__ import annotations

import pytest
import torch
import transformers.optimization as reference

import notebook_kit.utils as ours
from notebook_kit.errors import ConfigurationError, InputError

SHAPES = [(4, 3), (5,), (), (2, 3, 4)]


def trained(library, kind, steps=12, dtype=torch.float32, schedule=False, **options):
    """The parameters after some steps, and the learning rates that a schedule showed."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape).to(dtype)) for shape in SHAPES]
    goals = [torch.randn(shape).to(dtype) for shape in SHAPES]
    optimizer = getattr(library, kind)(parameters, **options)
    shown = library.AdafactorSchedule(optimizer, 0.25) if schedule else None
    rates = []
    for _ in range(steps):
        loss = sum(((p - goal) ** 2).sum() for p, goal in zip(parameters, goals, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if shown is not None:
            rates.append(float(shown.get_last_lr()[0]))
            shown.step()
    return [p.detach() for p in parameters], rates


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"warmup_init": True},
        {"scale_parameter": False},
        {"lr": 0.05, "relative_step": False},
        {"lr": 0.05, "relative_step": False, "scale_parameter": False, "weight_decay": 0.1},
        {"beta1": 0.9, "clip_threshold": 0.5, "decay_rate": -0.5, "eps": (1e-20, 1e-2), "weight_decay": 0.01},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_adafactor_equals_the_references(options, dtype):
    mine, rates = trained(ours, "Adafactor", dtype=dtype, schedule=True, **options)
    theirs, expected = trained(reference, "Adafactor", dtype=dtype, schedule=True, **options)
    for a, b in zip(mine, theirs, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert rates == pytest.approx(expected, rel=1e-6) and rates[0] == 0.25


def test_adafactor_resumes_from_its_state():
    weight = torch.nn.Parameter(torch.ones(3, 2))
    optimizer = ours.Adafactor([weight])
    for _ in range(3):
        weight.grad = torch.full_like(weight, 0.5)
        optimizer.step()
    twin = torch.nn.Parameter(weight.detach().clone())
    again = ours.Adafactor([twin])
    again.load_state_dict(optimizer.state_dict())
    for parameter, by in ((weight, optimizer), (twin, again)):
        parameter.grad = torch.ones_like(parameter)
        by.step()
    assert torch.equal(weight, twin)


def test_adafactor_takes_a_closure():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = ours.Adafactor([weight])

    def closure():
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert optimizer.step(closure).item() < 2.0


def test_mistakes():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    with pytest.raises(ConfigurationError, match="relative_step=True computes the learning rate"):
        ours.Adafactor([weight], lr=0.1)
    with pytest.raises(ConfigurationError, match="warmup_init"):
        ours.Adafactor([weight], lr=0.1, relative_step=False, warmup_init=True)
    with pytest.raises(ConfigurationError, match="correct_bias"):
        ours.AdamW([weight], correct_bias=False)
    weight.grad = torch.ones(2, 2).to_sparse()
    with pytest.raises(InputError, match="sparse"):
        ours.Adafactor([weight]).step()


def test_adamw_has_its_former_defaults():
    """By hand: the first step of Adam is lr * sign(gradient), apart from epsilon; without weight decay nothing else."""
    weight = torch.nn.Parameter(torch.tensor([2.0, -3.0]))
    optimizer = ours.AdamW([weight], lr=0.5)
    assert optimizer.defaults["weight_decay"] == 0.0 and optimizer.defaults["eps"] == 1e-6
    (weight**2).sum().backward()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([1.5, -2.5]), rtol=0, atol=1e-5)
