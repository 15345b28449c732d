"""Products of few rows as sums of weighted rows."""

from __future__ import annotations

import pytest
import torch

from notebook_kit.nn import weighted_sums as module
from notebook_kit.nn.weighted_sums import available, in_bytes, in_floats, weighted_sums

SIZES = [(1, 1, 1, 1), (6, 1, 1500, 64), (4, 1, 64, 777), (2, 5, 33, 7), (1, 5, 1, 7), (0, 1, 5, 3), (3, 0, 5, 3)]


def weights_and_rows(matrices, few, count, width):
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(matrices, few, count, generator=generator)
    return weights, torch.randn(matrices, count, width, generator=generator)


def assert_as_products(found, weights, rows):
    exact = weights.double() @ rows.double()
    rounding = 1e-7 * weights.shape[-1] ** 0.5 * (weights.double() @ rows.double().abs())
    assert found.shape == exact.shape and found.dtype == torch.float32
    assert ((found.double() - exact).abs() <= rounding + 1e-7).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("most", [module.MOST_INDICES, 100])
def test_same_as_products(monkeypatch, size, most):
    monkeypatch.setattr(module, "MOST_INDICES", most)
    weights, rows = weights_and_rows(*size)
    assert available(torch.float32)
    assert_as_products(weighted_sums(weights, rows), weights, rows)


@pytest.mark.parametrize("size", SIZES[:-2])
@pytest.mark.parametrize("most", [module.MOST_INDICES, 100])
def test_rows_in_bytes(monkeypatch, size, most):
    monkeypatch.setattr(module, "MOST_INDICES", most)
    weights, rows = weights_and_rows(*size)
    rounded = in_bytes(rows)
    assert available(torch.uint8) and rounded.shape == (*rows.shape[:-1], size[-1] + module.ENDING)
    step = (rows.amax(2, keepdim=True) - rows.amin(2, keepdim=True)) / 255
    assert ((in_floats(rounded) - rows).abs() <= 0.501 * step + 1e-6).all()
    assert_as_products(weighted_sums(weights, rounded), weights, in_floats(rounded))


def test_weights_in_any_layout():
    weights, rows = torch.randn(3, 40, 2).transpose(1, 2), torch.randn(3, 40, 8)
    torch.testing.assert_close(weighted_sums(weights, rows), weights @ rows)


def test_after_a_call_in_inference_mode():
    weights, rows = torch.randn(3, 2, 41), torch.randn(3, 41, 8)
    with torch.inference_mode():
        weighted_sums(weights, rows)
    torch.testing.assert_close(weighted_sums(weights.requires_grad_(), rows), weights @ rows)
