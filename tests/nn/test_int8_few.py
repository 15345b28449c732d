"""Products of few rows with small 8-bit matrices: near the exact ones, and only where they are faster."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from notebook_kit import GPT2Config, GPT2LMHeadModel
from notebook_kit.nn import int8_few
from notebook_kit.nn.int8 import MANY, ONE, best_product
from notebook_kit.pipelines.quantization import LEAST_SHARE, Int8Linear, Int8Output, quantized


def given(rows: int, outputs: int = 32, inputs: int = 64, count: int = 3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, inputs, generator=generator)
    weight = torch.randint(-127, 128, (outputs, inputs), generator=generator).to(torch.int8)
    columns = torch.randperm(inputs, generator=generator)[:count]
    weight[:, columns] = 0
    scale, shift = torch.rand(2, outputs, generator=generator)
    exact = torch.randn(count, outputs, generator=generator)
    return x, weight, torch.ones(outputs).bfloat16(), scale / 127, shift, exact, columns


@pytest.fixture
def used(monkeypatch):
    """Use it on every processor, and count its calls."""
    monkeypatch.setattr(int8_few, "gain", lambda *given: 2.0)
    calls, compute = [], int8_few.product
    monkeypatch.setattr(int8_few, "product", lambda *args: calls.append(args[0].shape) or compute(*args))
    return calls


@pytest.mark.parametrize("rows", [1, 2, 8])
@pytest.mark.parametrize("count", [0, 3])
def test_near_the_exact_product(rows, count):
    x, weight, ones, scale, shift, exact, columns = given(rows, count=count)
    expected = x @ (weight.float() * scale[:, None]).t() + x[:, columns] @ exact + shift
    found = int8_few.product(x, weight, ones, scale, shift, exact, columns)
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 0.004 * expected.norm()  # of bfloat16: 1 in 256


def test_a_layer_takes_it_for_few_rows_of_generating_models(used):
    torch.manual_seed(0)
    linear, columns = torch.nn.Linear(64, 32), torch.tensor([5])
    layer, of_encoder = Int8Linear(linear, columns, ONE), Int8Linear(linear, columns, MANY)
    with torch.no_grad():
        for rows in (1, 8, 9):
            x = torch.randn(rows, 1, 64)
            assert torch.allclose(layer(x), linear(x), atol=0.03)
            of_encoder(x)
    assert used == [(1, 64), (8, 64)]


@pytest.mark.parametrize("share, count", [(1.0, 2), (0.6, 2), (0.5, 0), (0.0, 0), (float("nan"), 2)])
@pytest.mark.parametrize("size", [1.0, 3.0])
def test_columns_with_a_small_share_are_rounded_with_the_others(monkeypatch, share, count, size):
    given, compute = [], int8_few.product
    monkeypatch.setattr(int8_few, "gain", lambda *shape: given.append(shape[4]) or 2.0)
    monkeypatch.setattr(int8_few, "product", lambda *args: given.append(len(args[-1])) or compute(*args))
    torch.manual_seed(0)
    linear, columns, x = torch.nn.Linear(64, 32), torch.tensor([5, 40]), torch.randn(4, 64)
    with torch.no_grad():
        linear.weight[:, columns] *= size  # larger than all others: they share a step, which grows
        layer = Int8Linear(linear, columns, ONE, share)
        error = (layer(x) - linear(x)).norm() / linear(x).norm()
        assert error < 0.01 * size and given == [count, count]
        assert (layer.to_float()(x) - linear(x)).norm() <= 0.01 * linear(x).norm(), "there they are exact"


@pytest.mark.parametrize("size, uneven", [(1.0, False), (9.0, True)])
def test_the_share_is_that_of_a_trial(size, uneven):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=60, n_embd=48, n_layer=1, n_head=2, n_positions=32)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        model.transformer.h[0].ln_1.weight[7] *= size
    layer = quantized(model).transformer.h[0].attn.c_attn
    assert 7 in layer.columns or not uneven
    assert (layer._share > LEAST_SHARE) == uneven and 0 < layer._share < 1


@pytest.mark.parametrize("share, count", [(0.6, 5), (0.5, 3), (0.0, 3)])
def test_output_layers_have_fewer_columns(share, count):
    table, output = torch.nn.Embedding(500, 64), torch.nn.Linear(64, 500, bias=False)
    output.weight = table.weight
    columns, x = torch.tensor([5, 40, 3, 2, 9]), torch.randn(2, 64)
    with torch.no_grad():
        layer = Int8Output(output, columns, ONE, table, share)
        assert torch.equal(layer.columns, columns[:count]), "those with the largest values"
        assert (layer(x) - output(x)).norm() < 0.02 * output(x).norm()
    assert len(Int8Output(output, None, ONE, table, share).columns) == 0


def test_values_that_are_not_numbers_stay_seen(used):
    layer = Int8Linear(torch.nn.Linear(64, 32), torch.tensor([3]), ONE)
    for column in (3, 40):
        for value in ("nan", "inf"):
            x = torch.ones(2, 64)
            x[1, column] = float(value)
            with torch.no_grad():
                found = layer(x)
            assert found[0].isfinite().all() and not found[1].isfinite().any()


def test_other_weights_are_seen(used):
    first, second = (Int8Linear(torch.nn.Linear(64, 32), None, ONE) for _ in range(2))
    x = torch.randn(1, 64)
    with torch.no_grad():
        before, expected = first(x), second(x)
        first.load_state_dict(second.state_dict())
        assert torch.equal(first(x), expected) and not torch.equal(before, expected)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_and_pickles(used, again):
    layer, x = Int8Linear(torch.nn.Linear(64, 32), None, ONE), torch.randn(1, 64)
    with torch.no_grad():
        expected = layer(x)
        size = len(pickle.dumps(layer))
        other = again(layer)
        assert torch.equal(other(x), expected)
    assert size < 9_000, "weights are stored once"


def test_the_gain_is_measured():
    gain = int8_few.gain.__wrapped__
    product, threads = best_product(ONE), torch.get_num_threads()
    assert gain(product, 2, 64, 64, 3, threads) >= 0
    assert gain(product, int8_few.MOST_ROWS + 1, 64, 64, 3, threads) == 0
    assert gain(product, 2, 64, 50, 3, threads) == 0
    assert gain(product, 0, 64, 64, 3, threads) == 0


@pytest.mark.parametrize("fault", [AttributeError("no such operation"), RuntimeError("another signature"), None])
def test_an_operation_that_is_missing_or_wrong_is_not_taken(monkeypatch, fault):
    def broken(x, weight, scale):
        if fault is not None:
            raise fault
        return torch.ones(len(x), len(weight), dtype=x.dtype)

    monkeypatch.setattr(torch, "_weight_int8pack_mm", broken)
    assert int8_few.gain.__wrapped__(best_product(ONE), 2, 64, 64, 3, torch.get_num_threads()) == 0
